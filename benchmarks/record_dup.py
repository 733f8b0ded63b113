"""Records that mean the same thing: precision, recall and F1 on labelled pairs, by default and with a threshold chosen on others.

    python benchmarks/record_dup.py

Beer (Structured, 91 test pairs) and Abt-Buy (Textual, 1,916 test pairs) of the Magellan collection, with the official parts
(near-duplicates/er_*.zip under LODE_DATA). What is rare is learnt from all records, without labels. "default": the threshold of
`{type: duplicates, near: record, between: ...}`; "chosen": the threshold with the best F1 on the validation pairs. Then the search through
both lists as the cleaner does it: how many of the matching pairs it compares at all, and what it finds with and without `between` (pairs of
two lists that nobody labelled are not judged). Peers are published figures of models trained on the labelled training pairs (DeepMatcher,
Mudgal et al. 2018; Ditto, Li et al. 2020), orders of magnitude only: the aim is to be above DeepMatcher's (Magellan's where that is
higher) without any label.
"""

from __future__ import annotations

import json
import os
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lode.data.alike.near_record import THRESHOLD, THRESHOLD_BETWEEN, find_near_records, similarities  # noqa: E402

SETS = (
    ("beer", "er_Structured_Beer.zip", ("ABV",), ("Magellan 0.788", 0.788)),
    ("abt-buy", "er_Textual_Abt-Buy.zip", ("price",), ("DeepMatcher 0.628", 0.628)),
)
PARTS = ("train", "valid", "test")


def record(text: str, numbers: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    """Column and cell of "COL name VAL ... COL price VAL ..."; numbers as numbers, empty cells as None."""
    found = []
    for name, cell in re.findall(r"COL (\S+) VAL(.*?)(?= COL \S+ VAL|$)", text):
        number = re.search(r"-?\d+(?:\.\d+)?", cell.replace(",", ""))
        value = (float(number[0]) if number else None) if name in numbers else (cell.strip() or None)
        found.append((name, value))
    return tuple(found)


def load(path: Path, numbers: tuple[str, ...]) -> tuple[pl.DataFrame, dict[str, np.ndarray]]:
    """All different records, and per part int (P, 3): places of two records, and whether they match."""
    places: dict[tuple[tuple[str, Any], ...], int] = {}
    pairs: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as archive:
        for part in PARTS:
            name = next(entry for entry in archive.namelist() if entry.endswith(f"{part}.txt"))
            lines = [line.split("\t") for line in archive.read(name).decode().splitlines() if line.strip()]
            rows = [[*(places.setdefault(record(text, numbers), len(places)) for text in line[:2]), int(line[2])] for line in lines]
            pairs[part] = np.array(rows)
    return pl.DataFrame([dict(item) for item in places]), pairs


def judged(share: np.ndarray, match: np.ndarray, threshold: float) -> tuple[float, float, float]:
    """Precision, recall, F1."""
    told = share >= threshold
    right = float((told & match).sum())
    told_sum, match_sum = float(told.sum()), float(match.sum())
    return right / max(told_sum, 1.0), right / max(match_sum, 1.0), 2 * right / max(told_sum + match_sum, 1.0)


def whole(frame: pl.DataFrame, pairs: dict[str, np.ndarray]) -> list[str]:
    """Sentences on what the search through both lists compares and finds."""
    everything = np.concatenate([pairs[part] for part in PARTS])
    match = {(min(left, right), max(left, right)): bool(label) for left, right, label in everything.tolist()}
    matching = {pair for pair, label in match.items() if label}
    first = set(everything[:, 0].tolist())
    lists = pl.Series("list", ["a" if place in first else "b" for place in range(frame.height)])
    rows = frame.with_columns(lists).with_row_index("__row__").with_columns(pl.col("__row__").cast(pl.UInt64)).lazy()
    said = []
    for kind, between, threshold in (("", None, 0.0), ("one list", None, THRESHOLD), ("two lists", "list", THRESHOLD_BETWEEN)):
        found = find_near_records(rows, frame.columns, threshold, between=between)
        have = list(zip(found.left.tolist(), found.right.tolist(), strict=True))
        right = sum(pair in matching for pair in have)
        if not kind:
            possible = frame.height * (frame.height - 1) // 2
            said.append(f"found {right / len(matching):.3f} of the matching pairs, comparing {len(have):,} of {possible:,}")
            continue
        within = sum(lists[left] == lists[other] for left, other in have)
        wrong = sum(match.get(pair) is False for pair in have)
        told = f"{right:,} of {len(matching):,} matching ones, {wrong:,} labelled wrong, {within:,} in one list"
        said.append(f"{kind}, threshold {threshold}: {len(have):,} pairs, {told}")
    return said


def main() -> int:
    """Judge, print a table and one line of JSON; 1 where an aim does not hold."""
    folder = Path(os.environ.get("LODE_DATA", ROOT.parent / "shared" / "data")) / "near-duplicates"
    records = []
    print(f"{'set':10}{'threshold':>20}{'precision':>11}{'recall':>8}{'F1':>8}   trained peer")
    for name, file, numbers, (peer_name, peer) in SETS:
        frame, pairs = load(folder / file, numbers)
        share = {part: similarities(frame, pairs[part][:, 0], pairs[part][:, 1]) for part in PARTS}
        match = {part: pairs[part][:, 2] == 1 for part in PARTS}
        grid = np.arange(0.05, 1.0, 0.01)
        chosen = float(max(grid, key=lambda threshold: judged(share["valid"], match["valid"], threshold)[2]))
        for kind, threshold in (("default", THRESHOLD_BETWEEN), ("chosen", chosen)):
            precision, recall, f1 = judged(share["test"], match["test"], threshold)
            print(f"{name:10}{kind:>12}{threshold:8.2f}{precision:11.3f}{recall:8.3f}{f1:8.3f}   {peer_name}")
            figures = {
                "name": f"record_dup {name} {kind}",
                "ours": round(f1, 3),
                "peer": peer,
                "peer_name": peer_name,
                "unit": "F1",
            }
            ratio = round(f1 / peer, 3)
            records.append({**figures, "ratio": ratio, "spread": [ratio, ratio], "aim": 1.0, "holds": ratio >= 1.0})
        for sentence in whole(frame, pairs):
            print(f"{name:10}{sentence}")
    print(json.dumps(records))
    return 0 if all(line["holds"] for line in records) else 1


if __name__ == "__main__":
    sys.exit(main())
