"""`model: auto` with inputs and outputs only, against LightGBM's defaults on the same rows: paired test scores over several splits.

    python benchmarks/quality.py [--quick] [--sets adult,telco] [--splits 10]

Needs LODE_DATA for all sets but breast-cancer. The peer gets every row that is not a test row; so do we (we cut our validation rows
from them). Scores: AUC for two classes, R2 for numbers. Spread: 95 % t-interval of the mean paired difference over the splits.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import lightgbm
import numpy as np
import polars as pl
import yaml
from scipy import stats
from sklearn.metrics import r2_score, roc_auc_score

import lode

DATA = Path(os.environ.get("LODE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
ADULT = ["age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship", "race", "sex",
         "capital_gain", "capital_loss", "hours_per_week", "native_country", "income"]  # fmt: skip
GERMAN = [f"a{number}" for number in range(1, 21)] + ["class"]
SETS = {
    "breast-cancer": ({"type": "sklearn", "name": "breast_cancer"}, "diagnosis", {"type": "binary", "positive": "malignant"}),
    "adult": (
        {"type": "csv", "path": "tabular/adult_train.csv.gz", "header": False, "columns": ADULT},
        "income",
        {"type": "binary", "positive": ">50K"},
    ),
    "card-default": ({"type": "csv", "path": "tabular/uci_credit_default_30k.csv.gz"}, "Default", {"type": "binary", "positive": 1}),
    "telco": ({"type": "csv", "path": "tabular/telco_churn.csv.gz"}, "Churn", {"type": "binary", "positive": "Yes"}),
    "german_credit": (
        {"type": "csv", "path": "tabular/german_credit.csv.gz", "header": False, "columns": GERMAN},
        "class",
        {"type": "binary", "positive": 2},
    ),
    "bank_full": ({"type": "csv", "path": "tabular/bank_full.csv.gz", "separator": ";"}, "y", {"type": "binary", "positive": "yes"}),
    "california": ({"type": "csv", "path": "tabular/california_housing.csv.gz"}, "median_house_value", {"type": "number"}),
}  # fmt: skip


def peer_score(folder: Path, inputs: list[str], target: str, task: dict) -> float:
    """LightGBM's scikit-learn estimator with every default, on our training and validation rows, scored on our test rows."""
    train = pl.concat([pl.read_parquet(folder / f"{name}.parquet") for name in ("train", "validation")])
    test = pl.read_parquet(folder / "test.parquet")
    categorical = [name for name in inputs if not train[name].dtype.is_numeric()]

    def matrix(frame: pl.DataFrame) -> np.ndarray:
        columns = []
        for name in inputs:
            column = frame[name]
            if name in categorical:
                words = train[name].cast(pl.String).unique().drop_nulls().sort().to_list()
                column = column.cast(pl.String).replace_strict(
                    words, list(range(len(words))), default=None, return_dtype=pl.Float64
                )
            columns.append(column.cast(pl.Float64).fill_null(float("nan")).to_numpy())
        return np.stack(columns, axis=1)

    chosen = [inputs.index(name) for name in categorical]
    keywords = {"verbosity": -1, "n_jobs": 2}
    if task["type"] == "number":
        model = lightgbm.LGBMRegressor(**keywords).fit(matrix(train), train[target].to_numpy(), categorical_feature=chosen)
        return float(r2_score(test[target].to_numpy(), model.predict(matrix(test))))
    truth = [_positives(frame, target, task) for frame in (train, test)]
    model = lightgbm.LGBMClassifier(**keywords).fit(matrix(train), truth[0], categorical_feature=chosen)
    return float(roc_auc_score(truth[1], model.predict_proba(matrix(test))[:, 1]))


def _positives(frame: pl.DataFrame, target: str, task: dict) -> np.ndarray:
    """0 or 1 for each row."""
    return (frame[target].cast(pl.String).str.strip_suffix(".0") == str(task["positive"])).to_numpy().astype(int)


def our_score(run: lode.pipeline.run.Run, target: str, task: dict) -> float:
    """The packaged model on the same test rows."""
    test = pl.read_parquet(run.folders["data"] / "test.parquet")
    model = run.model
    answers = model.predict(test)
    if task["type"] == "number":
        return float(r2_score(test[target].to_numpy(), answers[target].to_numpy()))
    truth = _positives(test, target, task)
    return float(roc_auc_score(truth, answers[f"{target}.probability.{model.tasks[target].classes[1]}"].to_numpy()))


def compare(name: str, splits: int) -> dict:
    """Paired scores of one set."""
    source, target, task = SETS[name]
    ours, peers, chosen = [], [], []
    for seed in range(splits):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lode.yaml"
            # The report's intervals and importances are not compared here: as few as may be.
            spec = {
                "name": name.replace("_", "-"), "data": {"source": source, "split": {"seed": seed}}, "outputs": {target: task},
                "model": "auto", "evaluate": {"resamples": 100, "importance": False},
            }  # fmt: skip
            path.write_text(yaml.safe_dump(spec, sort_keys=False))
            run = lode.run(path, data=DATA)
            inputs = list(run.manifests["data"].result["inputs"])
            ours.append(our_score(run, target, task))
            peers.append(peer_score(run.folders["data"], inputs, target, task))
            chosen.append(run.manifests["train"].result["chosen"])
            print(f"  {name} split {seed}: {ours[-1]:.4f} ({chosen[-1]}) LightGBM {peers[-1]:.4f}", file=sys.stderr, flush=True)
    difference = np.subtract(ours, peers)
    half = float(stats.t.ppf(0.975, splits - 1) * difference.std(ddof=1) / np.sqrt(splits)) if splits > 1 else float("nan")
    mean = float(difference.mean())
    low, high = mean - half, mean + half
    return {
        "name": f"quality {name}", "ours": round(float(np.mean(ours)), 4), "peer": round(float(np.mean(peers)), 4),
        "peer_name": "LightGBM defaults", "unit": "R2" if task["type"] == "number" else "AUC",
        "ratio": round(float(np.mean(ours) / np.mean(peers)), 4), "difference": round(mean, 4),
        "spread": [round(low, 4), round(high, 4)], "aim": "lower end of the paired difference > -0.01", "holds": bool(low > -0.01),
        "chosen": {word: chosen.count(word) for word in sorted(set(chosen))},
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="breast-cancer and german_credit, three splits")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--splits", type=int, default=10)
    arguments = parser.parse_args()
    names = ["breast-cancer", "german_credit"] if arguments.quick else arguments.sets.split(",")
    rows = [compare(name, 3 if arguments.quick else arguments.splits) for name in names]
    mean = float(np.mean([row["difference"] for row in rows]))
    rows.append({"name": "quality mean", "ours": round(float(np.mean([row["ours"] for row in rows])), 4),
                 "peer": round(float(np.mean([row["peer"] for row in rows])), 4), "peer_name": "LightGBM defaults", "unit": "mean score",
                 "ratio": round(float(np.mean([row["ratio"] for row in rows])), 4), "difference": round(mean, 4),
                 "spread": [min(row["difference"] for row in rows), max(row["difference"] for row in rows)],
                 "aim": "mean difference >= 0", "holds": mean >= 0})  # fmt: skip
    print(f"{'set':<24}{'ours':>8}{'peer':>8}{'diff':>9}  {'95 % interval':<20}chosen")
    for row in rows:
        figures = f"{row['ours']:>8.4f}{row['peer']:>8.4f}{row['difference']:>+9.4f}"
        print(f"{row['name']:<24}{figures}  {row['spread']!s:<20}{row.get('chosen', '')}")
    print(json.dumps(rows))
    return 0 if all(row["holds"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
