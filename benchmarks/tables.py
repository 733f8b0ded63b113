"""`model: auto` within a minute against LightGBM tuned by Optuna and AutoGluon in the same minute, on public tables: who ranks first?

    python benchmarks/tables.py [--quick | --full] [--sets adult,telco] [--seeds 3] [--seconds 60] [--systems lode,optuna,autogluon]

Needs LODE_DATA. Every system gets the same two CSV files (80 % train, 20 % test, another draw for each seed), one process of its own
at a time, and all cores. Its seconds run from the first byte read to the finished model (refit and packaging included; imports are
not); predictions on the test rows and the size on disk are measured besides. Scores: AUC for two classes, log loss for more (of classes
that the training rows have; probabilities at least 1e-6), RMSE for numbers. Rank 1 is the best score of a set and seed; ties share.

Every result is appended to ~/.cache/lode-bench/tables/results.jsonl as soon as it is there: the same command goes on where it was
killed. Peers live in an environment of their own under ~/.cache/lode-bench/autogluon. Last line: a JSON object; exit 1: we are not first.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.metrics import log_loss, roc_auc_score, root_mean_squared_error
from tables_systems import PROGRAMS

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("LODE_DATA", ROOT.parent / "shared" / "data"))
HOME = Path.home() / ".cache" / "lode-bench"
RESULTS, PEERS = HOME / "tables" / "results.jsonl", HOME / "autogluon"
PACKAGES = (("torch==2.13.0",), ("autogluon.tabular[lightgbm,xgboost,catboost]==1.6.*", "optuna==5.*"))
SYSTEMS = ("lode", "optuna", "autogluon")
ADULT = ("age,workclass,fnlwgt,education,education_num,marital_status,occupation,relationship,race,sex,capital_gain,capital_loss,"
         "hours_per_week,native_country,income")  # fmt: skip
GERMAN = ",".join([*(f"a{number}" for number in range(1, 21)), "class"])
PIMA = ",".join([*(f"x{number}" for number in range(1, 9)), "diabetes"])
SETS: dict[str, dict[str, Any]] = {
    "adult": {"path": "tabular/adult_train.csv.gz", "header": ADULT, "target": "income", "positive": ">50K"},
    "bank": {"path": "tabular/bank_full.csv.gz", "separator": ";", "target": "y", "positive": "yes"},
    "california": {"path": "tabular/california_housing.csv.gz", "target": "median_house_value"},
    "card": {"path": "tabular/uci_credit_default_30k.csv.gz", "target": "Default", "positive": 1},
    "telco": {"path": "tabular/telco_churn.csv.gz", "target": "Churn", "positive": "Yes"},
    "german": {"path": "tabular/german_credit.csv.gz", "header": GERMAN, "target": "class", "positive": 2},
    "corporate": {"path": "credit-rating/corporate_rating.csv.gz", "target": "Rating", "drop": ["Name", "Symbol"], "classes": True},
    "ames": {"path": "tabular/ames_housing.csv.gz", "target": "Sale_Price"},
    "heart": {"path": "tabular/heart_cleveland.csv.gz", "target": "condition", "drop": ["diagnosis"], "positive": "D"},
    "pima": {"path": "tabular/pima_diabetes.csv.gz", "header": PIMA, "target": "diabetes", "positive": 1},
}
"""Without `positive` and `classes` the target is a number. Dropped columns would give the answer away, or name the row's company."""
FIRST = ("adult", "bank", "california", "card", "telco", "german", "corporate")
QUICK = ("german", "telco")


def kind_of(name: str) -> str:
    """ "binary", "multiclass" or "number"."""
    found = SETS[name]
    return "binary" if "positive" in found else "multiclass" if "classes" in found else "number"


def split(name: str, seed: int) -> Path:
    """A folder with train.csv and test.csv: the cells as they are, each written as text."""
    folder = HOME / "tables" / "splits" / f"{name}-{seed}"
    if (folder / "test.csv").is_file():
        return folder
    found = SETS[name]
    text = gzip.decompress((DATA / found["path"]).read_bytes())
    header = found.get("header")
    frame = pl.read_csv(io.BytesIO(text), separator=found.get("separator", ","), has_header=header is None, infer_schema=False)
    frame = frame.rename(dict(zip(frame.columns, header.split(","), strict=True))) if header else frame
    frame = frame.drop(found.get("drop", [])).filter(pl.col(found["target"]).is_not_null())
    order = np.random.default_rng([seed, 21]).permutation(frame.height)
    if kind_of(name) != "number":  # every class has its share of the test rows
        order = order[np.argsort(frame[found["target"]].to_numpy()[order], kind="stable")]
    is_test = np.zeros(frame.height, dtype=bool)
    is_test[order[seed % 5 :: 5]] = True
    folder.mkdir(parents=True, exist_ok=True)
    frame.filter(~is_test).write_csv(folder / "train.csv")
    test = frame.filter(is_test)
    test = (
        test.filter(pl.col(found["target"]).is_in(frame.filter(~is_test)[found["target"]].unique())) if "classes" in found else test
    )
    test.write_csv(folder / "test.partial")
    (folder / "test.partial").rename(folder / "test.csv")
    return folder


def score(name: str, folder: Path, said: Path) -> float:
    """Of the predictions: a column of numbers, of probabilities of the positive class, or one column a class."""
    truth, found = pl.read_csv(folder / "test.csv", infer_schema=False)[SETS[name]["target"]], pl.read_csv(said)
    if kind_of(name) == "number":
        return float(root_mean_squared_error(truth.cast(pl.Float64).to_numpy(), found["value"].to_numpy()))
    words = truth.str.strip_chars()
    if kind_of(name) == "binary":
        return float(roc_auc_score((words == str(SETS[name]["positive"])).to_numpy(), found["value"].to_numpy()))
    classes = sorted(found.columns)
    shares = np.clip(found.select(classes).to_numpy(), 1e-6, 1.0)
    return float(log_loss(words.to_numpy(), shares / shares.sum(axis=1, keepdims=True), labels=classes))


def higher(name: str) -> bool:
    return kind_of(name) == "binary"


def state_of(system: str, preset: str) -> str:
    """What a cached result depends on: our own code, or the program and its versions."""
    text = PROGRAMS[system].encode()
    if system == "lode":
        for path in sorted((ROOT / "lode").rglob("*.py")):
            text += path.read_bytes()
    else:
        text += repr(PACKAGES).encode() + (preset.encode() if system == "autogluon" else b"")
    return hashlib.sha256(text).hexdigest()[:12]


def measured(name: str, seed: int, system: str, seconds: float, preset: str) -> dict[str, Any]:
    """One system on one split, in a process of its own."""
    folder, said = split(name, seed), HOME / "tables" / f"said-{os.getpid()}.csv"
    job = {"folder": str(folder), "said": str(said), "seconds": seconds, "seed": seed, "preset": preset, "kind": kind_of(name),
           **{key: SETS[name].get(key) for key in ("target", "positive")}}  # fmt: skip
    python = sys.executable if system == "lode" else str(PEERS / "bin" / "python")
    environment = {**os.environ, **({"PYTHONPATH": str(ROOT)} if system == "lode" else {})}
    done = subprocess.run(
        [python, "-c", PROGRAMS[system], json.dumps(job)], capture_output=True, text=True, env=environment, timeout=10 * seconds + 300,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{system} on {name}: {done.stderr[-3000:]}")
    facts = json.loads(done.stdout.strip().splitlines()[-1])
    row = {"set": name, "seed": seed, "system": system, "limit": seconds, "state": state_of(system, preset), **facts}
    row["score"] = score(name, folder, said)
    said.unlink()
    return row


def results(names: list[str], seeds: int, systems: list[str], seconds: float, preset: str) -> list[dict[str, Any]]:
    """Every result, from the cache where it is there; the systems take turns."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    known = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.is_file() else []
    cached = {(row["set"], row["seed"], row["system"], row["limit"], row["state"]): row for row in known}
    found = []
    for seed in range(seeds):
        for name in names:
            for system in systems:
                key = name, seed, system, seconds, state_of(system, preset)
                if key not in cached:
                    cached[key] = measured(name, seed, system, seconds, preset)
                    with RESULTS.open("a") as file:
                        file.write(json.dumps(cached[key]) + "\n")
                row = cached[key]
                found.append(row)
                print(
                    f"  {name} seed {seed} {system}: {row['score']:.5f}, {row['seconds']:.1f} s, {row['note']}",
                    file=sys.stderr,
                    flush=True,
                )
    return found


def ranks(rows: list[dict[str, Any]]) -> dict[tuple[str, int], dict[str, float]]:
    """(set, seed) -> system -> rank, 1 the best."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    for at in dict.fromkeys((row["set"], row["seed"]) for row in rows):
        own = {row["system"]: row["score"] * (-1 if higher(at[0]) else 1) for row in rows if (row["set"], row["seed"]) == at}
        # Equal scores share the mean of their places.
        found[at] = {
            system: 1 + sum(other < value for other in own.values()) + (sum(other == value for other in own.values()) - 1) / 2
            for system, value in own.items()
        }
    return found


def show(rows: list[dict[str, Any]], by_place: dict[tuple[str, int], dict[str, float]], systems: list[str]) -> None:
    """A line for each set, then what each system took."""
    print(f"{'set':<12}{'score':<10}" + "".join(f"{system:>24}" for system in systems))
    for name in dict.fromkeys(row["set"] for row in rows):
        cells = ""
        for system in systems:
            own = [row["score"] for row in rows if (row["set"], row["system"]) == (name, system)]
            places = [by_place[at][system] for at in by_place if at[0] == name]
            cells += f"{np.mean(own):>12.5g} rank {np.mean(places):.2f} "
        print(f"{name:<12}{ {'binary': 'AUC', 'multiclass': 'log loss', 'number': 'RMSE'}[kind_of(name)]:<10}{cells}")
    for key, unit in (("seconds", "s to fit"), ("predict", "s to predict"), ("megabytes", "MB on disk")):
        print(
            f"{unit:<22}"
            + "".join(f"{np.median([row[key] for row in rows if row['system'] == system]):>24.2f}" for system in systems)
        )


def verdict(by_place: dict[tuple[str, int], dict[str, float]], systems: list[str], seconds: float) -> dict[str, Any]:
    """The protocol's object: mean ranks over sets and seeds; the spread is that of the seeds."""
    mean = {system: float(np.mean([places[system] for places in by_place.values()])) for system in systems}
    peers = {system: rank for system, rank in mean.items() if system != "lode"}
    best = min(peers, key=lambda system: peers[system])
    ratios = []
    for seed in dict.fromkeys(at[1] for at in by_place):
        own = [places for at, places in by_place.items() if at[1] == seed]
        ratios.append(float(np.mean([places[best] for places in own]) / np.mean([places["lode"] for places in own])))
    return {
        "name": f"tables, {seconds:g} s each", "ours": round(mean["lode"], 3), "peer": round(peers[best], 3), "peer_name": best,
        "unit": "mean rank of " + ", ".join(f"{system} {rank:.2f}" for system, rank in mean.items()),
        "ratio": round(peers[best] / mean["lode"], 3), "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "aim": "first", "holds": bool(mean["lode"] < peers[best]),
    }  # fmt: skip


def make_peers() -> None:
    """The peers' environment; torch first, so that its CPU build is taken."""
    if (PEERS / "made").is_file():
        return
    subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
    for packages in PACKAGES:
        subprocess.run([str(PEERS / "bin" / "pip"), "install", "-q", *packages], check=True)
    (PEERS / "made").touch()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{', '.join(QUICK)}, one seed, 20 seconds")
    parser.add_argument("--full", action="store_true", help="all ten sets, five seeds, 120 seconds")
    parser.add_argument("--sets")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument("--preset", default="best", help="of AutoGluon: best, good, medium")
    chosen = parser.parse_args()
    names, seeds, seconds = (QUICK, 1, 20.0) if chosen.quick else (tuple(SETS), 5, 120.0) if chosen.full else (FIRST, 3, 60.0)
    names = tuple(chosen.sets.split(",")) if chosen.sets else names
    systems = chosen.systems.split(",")
    make_peers()
    rows = results(list(names), chosen.seeds or seeds, systems, chosen.seconds or seconds, chosen.preset)
    by_place = ranks(rows)
    show(rows, by_place, systems)
    if "lode" not in systems or len(systems) < 2:
        return 0
    found = verdict(by_place, systems, chosen.seconds or seconds)
    print(json.dumps(found))
    return 0 if found["holds"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
