"""`evaluate.learning_curve` against what came true: the last doubling of the rows, foretold from the smaller sizes alone.

    python benchmarks/more_rows.py [--quick] [--sets adult,telco] [--models linear,trees] [--fits 3]

Needs LODE_DATA for all sets but breast-cancer and digits. Each run fits the model on an eighth, a quarter and a half of the rows, `--fits`
times each, and on all. From the first three sizes the gain of the last doubling is foretold as the report foretells the next one. Peers:
"as before" (the last gain again) and "half of it" (errors that fall as one over the rows). Prints a line for each run, how often the
measured gain lies within the interval (meant for 95 %), and the mean absolute error of each forecast over that of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from quality import SETS

import lode

DATA = Path(os.environ.get("LODE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
TEXTS: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "hotels": ({"type": "csv", "path": "sentiment/zh_ChnSentiCorp_htl_all.csv.gz"}, "label", {"type": "binary", "positive": 1}),
    "takeaway": ({"type": "csv", "path": "sentiment/zh_waimai_10k.csv.gz"}, "label", {"type": "binary", "positive": 1}),
    "spam": (
        {"type": "csv", "path": "text-classification/en_sms_spam.tsv.gz", "separator": "\t", "quote": "", "header": False,
         "columns": ["label", "message"]},
        "label",
        {"type": "binary", "positive": "spam"},
    ),
    "digits": ({"type": "sklearn", "name": "digits"}, "digit", {"type": "multiclass"}),
}  # fmt: skip
ALL = {**SETS, **TEXTS}
QUICK = ("breast-cancer", "german_credit", "telco")


def one(name: str, model: str, fits: int, folder: Path) -> dict[str, Any]:
    """What was foretold for the last doubling, and what it brought, in the first metric; better counted positive."""
    source, output, task = ALL[name]
    spec = {
        "name": name.replace("_", "-"), "data": {"source": source}, "outputs": {output: task}, "model": model,
        "evaluate": {"learning_curve": fits, "importance": False},
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "lode.yaml").write_text(yaml.safe_dump(spec, sort_keys=False), "utf-8")
    begin_s = time.perf_counter()
    report = lode.run(folder / "lode.yaml", data=DATA, until="evaluate").report
    record = report["facts"]["learning_curve"]["outputs"][output]
    sign = 1.0 if record["higher_is_better"] else -1.0
    values = [sign * point["value"] for point in record["points"]]
    last = record["last"]
    before = values[2] - values[1]
    return {
        "set": name, "model": model, "metric": record["metric"], "rows": record["points"][-1]["rows"], "expected": last["value"],
        "low": last["low"], "high": last["high"], "measured": last["measured"], "inside": last["low"] <= last["measured"] <= last["high"],
        "as before": before, "half of it": before / 2, "nothing": 0.0, "next": record["gain"], "seconds": time.perf_counter() - begin_s,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three small sets")
    parser.add_argument("--sets", default=None, help="with commas between")
    parser.add_argument("--models", default="linear,trees")
    parser.add_argument("--fits", type=int, default=3)
    options = parser.parse_args()
    names = options.sets.split(",") if options.sets else list(QUICK if options.quick else ALL)
    found = []
    print(f"{'set':14} {'model':7} {'metric':9} {'rows':>7} {'foretold':>9} {'interval':>20} {'measured':>9}  inside")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            for model in options.models.split(","):
                if model == "trees" and name in ("hotels", "takeaway", "spam"):
                    continue  # minutes each, and no better
                item = one(name, model, options.fits, Path(folder) / f"{name}-{model}")
                found.append(item)
                interval = f"{item['low']:+.4f} to {item['high']:+.4f}"
                print(
                    f"{name:14} {model:7} {item['metric']:9} {item['rows']:>7} {item['expected']:>+9.4f} {interval:>20} "
                    f"{item['measured']:>+9.4f}  {item['inside']}",
                    flush=True,
                )
    inside = sum(item["inside"] for item in found)
    print(f"within the interval: {inside} of {len(found)}")
    # In units of each run's own last gain, so that metrics of different scale count alike.
    ours = statistics.mean(_error(item, "expected") for item in found)
    claims = []
    for peer in ("as before", "half of it", "nothing"):
        ratio = statistics.mean(_error(item, peer) for item in found) / max(ours, 1e-12)
        print(f"mean absolute error of {peer!r} over ours: {ratio:.2f}")
        claims.append({"name": "more rows", "peer_name": peer, "ratio": ratio, "runs": len(found), "inside": inside})
    print(json.dumps({"claims": claims, "runs": found}))


def _error(item: dict[str, Any], forecast: str) -> float:
    scale = abs(item["as before"]) + abs(item["measured"]) + 1e-12
    error: float = abs(item[forecast] - item["measured"]) / scale
    return error


if __name__ == "__main__":
    main()
