"""Sentiment without pretraining: recipes of lode against TF-IDF + linear SVM, on the same split in the same run.

    python benchmarks/sentiment.py [--quick] [--sets hotels,takeaway,sst2] [--seeds 3] [--validate] [--data DIR]

The recipes text/sentiment-zh-hotels, text/sentiment-zh-takeaway and text/sentiment-sst2 run as they are, but for the seed (of the split and
of training; SST-2 has a split of its own). The peer is scikit-learn's TfidfVectorizer (characters for Chinese, words for English, 1 and 2
of them) and LinearSVC, as they come, fitted on training and validation rows together. --validate leaves the test rows out of everything and
judges on an eighth of the others: what options are chosen by. Prints a table and, as its last line, one JSON list.
Exits 1 where an aim does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
import yaml  # noqa: E402

from lode.data import snapshot  # noqa: E402
from lode.pipeline import artifact  # noqa: E402
from lode.pipeline.run import run  # noqa: E402

PEER = "TF-IDF + linear SVM (scikit-learn)"


@dataclass(frozen=True)
class Task:
    """recipe: below recipes/text. analyzer: what the peer counts. aim: points of accuracy above the peer."""

    recipe: str
    column: str
    analyzer: str
    aim: float


TASKS = {
    "hotels": Task("sentiment-zh-hotels", "review", "char", 1.0),
    "takeaway": Task("sentiment-zh-takeaway", "review", "char", 1.0),
    "sst2": Task("sentiment-sst2", "text", "word", 0.0),
}


def one(task: Task, seed: int, data: Path, validate: bool, folder: Path) -> dict[str, Any]:
    """Accuracies of both, seconds of ours, on one seed."""
    spec = yaml.safe_load((ROOT / "recipes" / "text" / task.recipe / "lode.yaml").read_text(encoding="utf-8"))
    if "split" in spec["data"]:
        spec["data"]["split"]["seed"] = seed
    if "train" in spec:
        spec["train"]["seed"] = seed
    if validate:
        spec["data"] = _without_test(_written(spec, folder / f"{task.recipe}-{seed}-all"), data, seed)
    path = _written(spec, folder / f"{task.recipe}-{seed}")
    begin_s = time.perf_counter()
    done = run(path, data=data, until="evaluate")
    seconds = time.perf_counter() - begin_s
    parts = {name: snapshot.read(done.folders["data"], name) for name in ("train", "validation", "test")}
    known, truth = pl.concat([parts["train"], parts["validation"]]), _labels(parts["test"])
    chosen = done.manifests["train"].result["chosen"]
    models = {path.name: artifact.read(path) for path in sorted((done.folders["train"] / "models").iterdir())}
    right = {name: 100 * float(np.mean(_labels(model.predict(parts["test"])) == truth)) for name, model in models.items()}
    peer = 100 * float(np.mean(_peer(known, parts["test"], task) == truth))
    return {"seed": seed, "ours": right[chosen], "peer": peer, "seconds": seconds, "chosen": chosen, "right": right}


def _written(spec: dict[str, Any], folder: Path) -> Path:
    folder.mkdir(parents=True)
    path = folder / "lode.yaml"
    path.write_text(yaml.safe_dump(spec, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


def _without_test(path: Path, data: Path, seed: int) -> dict[str, Any]:
    """The section `data` of a file whose test rows are an eighth of the rows that may be learnt from."""
    done = run(path, data=data, until="data")
    rows = pl.concat([snapshot.read(done.folders["data"], name) for name in ("train", "validation")]).drop("__row__")
    order = np.random.default_rng(seed).permutation(rows.height)
    source = {}
    for name, part in (("test", order[: rows.height // 8]), ("train", order[rows.height // 8 :])):
        rows[part].write_parquet(path.parent / f"{name}.parquet")
        source[name] = {"type": "parquet", "path": str(path.parent / f"{name}.parquet")}
    return {"source": source}


def _labels(frame: pl.DataFrame) -> np.ndarray:
    return frame["label"].cast(pl.String).to_numpy()


def _peer(known: pl.DataFrame, judged: pl.DataFrame, task: Task) -> np.ndarray:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    terms = TfidfVectorizer(analyzer=task.analyzer, ngram_range=(1, 2))
    model = LinearSVC().fit(terms.fit_transform(known[task.column].fill_null("").to_list()), _labels(known))
    found: np.ndarray = model.predict(terms.transform(judged[task.column].fill_null("").to_list()))
    return found


def claim(name: str, task: Task, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean over the seeds, and the lowest and the highest."""
    gains = [item["ours"] - item["peer"] for item in runs]
    gain = statistics.mean(gains)
    return {
        "name": f"sentiment, {name}", "ours": statistics.mean(item["ours"] for item in runs),
        "peer": statistics.mean(item["peer"] for item in runs), "peer_name": PEER, "unit": "% right",
        "ratio": statistics.mean(item["ours"] for item in runs) / statistics.mean(item["peer"] for item in runs),
        "spread": [min(gains), max(gains)], "gain": gain, "aim": task.aim, "holds": gain >= task.aim,
        "seconds": statistics.median(item["seconds"] for item in runs),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed")
    parser.add_argument("--sets", default=",".join(TASKS), help="which sets, with commas between")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--validate", action="store_true", help="validation rows instead of test rows")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LODE_DATA", ROOT.parent / "shared" / "data")))
    chosen = parser.parse_args()
    claims = []
    print(f"{'set':9} {'seed':>4} {'ours':>6} {'peer':>6} {'gain':>6} {'s':>6}  chosen; accuracies")
    for name in chosen.sets.split(","):
        runs = []
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(1 if chosen.quick else chosen.seeds):
                found = one(TASKS[name], seed, chosen.data, chosen.validate, Path(folder))
                runs.append(found)
                print(
                    f"{name:9} {seed:>4} {found['ours']:>6.2f} {found['peer']:>6.2f} {found['ours'] - found['peer']:>+6.2f} "
                    f"{found['seconds']:>6.0f}  {found['chosen']}; { {name: round(value, 2) for name, value in found['right'].items()} }",
                    flush=True,
                )
        claims.append(claim(name, TASKS[name], runs))
    print(json.dumps(claims))
    return 0 if all(item["holds"] for item in claims) else 1


if __name__ == "__main__":
    sys.exit(main())
