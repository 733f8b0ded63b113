"""What lies in a snapshot, as plain JSON: READ FIRST for quality.

Figures of all rows are exact or marked as estimates; what needs rows side by side is of a fixed sample.

profile(folder)      this file, top to bottom
  figures.py         one column: missing, distinct, range, most frequent; every row, bounded memory
  histograms.py      its distribution by part
  counting.py        how rows are counted for both, many columns in one pass
  relation.py        what one column alone tells of the first output, out of fold
  drift.py           how far another part is from training
  lookalike.py       columns that say the same
  crossing.py        rows of validation and test that training has too
Findings (lode/data/findings/) are pure functions of the result; lode/data/quality/verdict.py asks them; lode/pipeline/quality.py
draws the page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lode.data import snapshot
from lode.data.contracts import ROW
from lode.data.mending import personal
from lode.data.quality import crossing, drift, figures, histograms, lookalike, relation
from lode.data.quality.counting import LEAST_MEMORY, PART
from lode.data.quality.figures import Column
from lode.data.split import PARTS, TRAIN
from lode.data.targets import cells_of

Progress = Callable[[str, int, int, dict[str, float]], None]

FORMAT = 1
MAX_COLUMNS = 2_000
"""More are counted and named, not looked at."""
_SAMPLE_ROWS = 20_000
_SAMPLE_CELLS = 8_000_000
_SAMPLE_CHARS = 1_000
_IN_MEMORY_BYTES = 1 << 26
_PACKED = 24
"""Parquet takes eight times as much in memory, and that much may be a third of the bound."""
_SEED = 20_240_601
_MAP_BLOCKS = 48
_PICTURES = 300
_PERSONAL_CELLS = 2_000


def profile(folder: Path, split: Mapping[str, Any], progress: Progress, memory: int = 2_000_000_000) -> dict[str, Any]:
    """The profile of the snapshot in `folder` (train, validation and test.parquet, schema.json, report.json).

    split: options of `data.split`. Figures of a sample are marked: `exact` false, or under `sample`. Same snapshot, same profile.
    memory: bytes that it may take, as `data.memory`; nothing found depends on it.
    """
    schema, report = _read(folder / "schema.json")["columns"], _read(folder / "report.json")
    rows = {part: int(snapshot.scan(folder, part).select(pl.len()).collect().item()) for part in PARTS}
    memory = max(memory, LEAST_MEMORY)
    scan = _scan(folder, memory)
    every = figures.columns_of(scan.collect_schema(), schema)
    columns = every[:MAX_COLUMNS]
    total = 2 * len(columns) + 2
    progress("profile", 0, total, {})
    sample = _sample(scan, columns, rows)
    records = _records(scan, sample, columns, schema, rows, progress, memory)
    progress("profile", total - 2, total, {})
    inputs = [column for column in columns if column.role == "input"]
    target = next((column for column in columns if column.role == "output"), None)
    result = {
        "format": FORMAT,
        "rows": rows | {"read": report["rows"].get("read", sum(rows.values()))},
        "sample": {"rows": sample.height, "seed": _SEED, "how": "drawn at random from each part, the same rows every time"},
        "split": {"by": split.get("by", "random"), "column": split.get("column")},
        "target": None if target is None else {"name": target.name, "task": target.word, **_classes(records[target.name], target)},
        "columns": records,
        "ignored": {name: entry["why"] for name, entry in schema.items() if entry["role"] == "ignored"},
        "not_looked_at": [column.name for column in every[MAX_COLUMNS:]],
        "lookalikes": lookalike.pairs(scan, sample, inputs),
        "crossing": crossing.crossing(
            scan, inputs, [column.name for column in columns if column.role == "output"], records, rows, memory
        ),
        "near": {column.name: crossing.near_texts(sample, column) for column in inputs if column.kind == "text"},
        "missing_map": _missing_map(sample, [column for column in columns if records[column.name]["missing"]["rows"]]),
        "cleaning": report.get("cleaning", []),
    }  # fmt: skip
    progress("profile", total, total, {})
    return result


def _records(
    scan: pl.LazyFrame,
    sample: pl.DataFrame,
    columns: list[Column],
    schema: Mapping[str, Any],
    rows: Mapping[str, int],
    progress: Progress,
    memory: int,
) -> dict[str, Any]:
    """Column -> its figures, drift, personal data, and what it tells of the outputs.

    All rows are counted while the sample is looked at: the one is work for the threads of polars, the other for this one.
    """
    num_rows = sum(rows.values())
    with ThreadPoolExecutor(1) as beside:
        counting = beside.submit(figures.basics, scan, columns, num_rows, sample, memory)
        parted = drift.parted(sample, [column for column in columns if column.name in sample.columns])
        looked = _looked(scan, sample, columns, schema, rows, parted, progress)
        known = counting.result()
    progress("profile", len(columns), 2 * len(columns) + 2, {})
    cells = {name: sample[name] for name in sample.columns}
    records = {
        column.name: figures.complete(scan, column, known[column.name], cells.get(column.name), memory) for column in columns
    }
    for column in columns:
        if column.name in cells and column.kind != "word":
            measured = np.concatenate([part[column.name].known for part in parted])
            figures.add_quantiles(records[column.name], measured, sample.height)
    histograms.add_histograms(scan, columns, records, num_rows, memory)
    for column in columns:
        record = records[column.name]
        if column.kind == "bytes" and column.word != "audio":
            record["pictures"] = figures.picture_sizes(scan, column, num_rows, _PICTURES)
        record |= looked.get(column.name, {})
    return records


def _looked(
    scan: pl.LazyFrame,
    sample: pl.DataFrame,
    columns: Sequence[Column],
    schema: Mapping[str, Any],
    rows: Mapping[str, int],
    parted: Sequence[Mapping[str, drift.Cells]],
    progress: Progress,
) -> dict[str, dict[str, Any]]:
    """Column of the sample -> `drift`, and of an input `personal`, `relation` and `tells`."""
    train = sample.filter(pl.col(PART) == TRAIN)
    judges = [relation.Judge(train, column, schema[column.name]) for column in columns if column.role == "output"]
    others = [(code, part) for code, part in enumerate(PARTS) if code != TRAIN and rows[part]]
    looked: dict[str, dict[str, Any]] = {}
    for done, column in enumerate(columns):
        progress("profile", done, 2 * len(columns) + 2, {})
        name = column.name
        if name not in sample.columns:
            continue
        looked[name] = {"drift": {part: drift.between(parted[TRAIN][name], parted[code][name]) for code, part in others}}
        if column.role == "input":
            looked[name] |= {
                "personal": _personal(sample[name]),
                "relation": judges[0].relation(column) if judges else None,
                "tells": {judge.target.name: how for judge in judges if (how := judge.tells(column, scan))},
            }
    return looked


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def _scan(folder: Path, memory: int) -> pl.LazyFrame:
    """All rows, training first, with the code of their part; in memory where that is little."""
    parts = [snapshot.scan(folder, part).with_columns(pl.lit(code, pl.UInt8).alias(PART)) for code, part in enumerate(PARTS)]
    scan = pl.concat(parts)
    small = sum(snapshot.part_bytes(folder, part) for part in PARTS) <= min(_IN_MEMORY_BYTES, memory // _PACKED)
    return scan.collect().lazy() if small else scan


def _sample(scan: pl.LazyFrame, columns: list[Column], rows: Mapping[str, int]) -> pl.DataFrame:
    """Rows of every part, drawn with a fixed seed, in their order; long texts are cut, bytes stay away."""
    shown = [column for column in columns if column.kind not in ("bytes", "other")]
    most = max(1_000, min(_SAMPLE_ROWS, _SAMPLE_CELLS // max(len(shown), 1)))
    rng, start, chosen = np.random.default_rng(_SEED), 0, []
    for count in rows.values():
        chosen.append(start + np.sort(rng.choice(count, min(most, count), replace=False)))
        start += count
    wanted = pl.Series(np.concatenate(chosen), dtype=pl.UInt32 if start < 1 << 32 else pl.UInt64)
    cells = [
        pl.col(column.name).str.slice(0, _SAMPLE_CHARS) if column.dtype == pl.String else pl.col(column.name) for column in shown
    ]
    numbered = (
        scan if len(wanted) == start else scan.with_row_index("__place__").filter(pl.col("__place__").is_in(wanted.implode()))
    )
    return numbered.select(pl.col(ROW), pl.col(PART), *cells).collect(engine="streaming")


def _personal(cells: pl.Series) -> dict[str, float]:
    """Kind of personal data -> share of the filled cells that hold it, by a look at a few of them."""
    known = cells.drop_nulls()
    looked = known.gather_every(max(1, len(known) // _PERSONAL_CELLS)).head(_PERSONAL_CELLS)
    return {kind: count / len(looked) for kind, count in personal.find_pii(looked).items()}


def _classes(record: Mapping[str, Any], target: Column) -> dict[str, Any]:
    """Rows of each class in each part, most frequent first; nothing for numbers and lists."""
    if cells_of(target.word) != "words" or "top" not in record:
        return {"classes": None}
    return {"classes": {entry["value"]: entry["rows"] for entry in record["top"]}}


def _missing_map(sample: pl.DataFrame, columns: list[Column]) -> dict[str, list[float]]:
    """Column -> share of empty cells in each of up to 48 blocks of rows that follow one another, in the order of the raw data."""
    names = [column.name for column in columns if column.name in sample.columns]
    if not names:
        return {}
    num_blocks = min(_MAP_BLOCKS, sample.height)
    block = pl.Series("__block__", np.arange(sample.height) * num_blocks // sample.height)
    ordered = sample.sort(ROW).select(figures.empty(column).alias(column.name) for column in columns if column.name in names)
    shares = ordered.with_columns(block).group_by("__block__", maintain_order=True).agg(pl.all().mean()).sort("__block__")
    return {name: [round(share, 4) for share in shares[name].to_list()] for name in names}
