"""Rows of validation and test that training has too: a model that has seen them is tested on its memory. 8 bytes a row of training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from lode.data.alike.near_text import near_groups
from lode.data.contracts import ROW
from lode.data.quality.counting import PART
from lode.data.quality.figures import Column
from lode.data.split import PARTS, TRAIN

_SEEDS = (11, 29)
_NUM_SAMPLES = 5
_ID = 0.95
_ROWS_AT_ONCE = 20_000_000
_NEAR_ROWS = {"train": 20_000, "validation": 5_000, "test": 5_000}
"""Texts of each part that are looked at for near duplicates."""
_TELLING = 4
"""So many of the columns with the most different values are compared first; nearly always that is enough."""


def crossing(
    scan: pl.LazyFrame, columns: Sequence[Column], outputs: Sequence[str], records: Mapping[str, Any], rows: Mapping[str, int]
) -> dict[str, Any]:
    """Rows of each other part whose inputs (but for ids, which differ in copies too) all equal those of a training row.

    `rows`, `share`: by part. `agree`: how many of these rows have the outputs of that training row, too (of true copies nearly all).
    `chance`: the share that there would be if columns were independent of one another, from their most frequent values. `samples`: raw
    positions [row of the part, row of training].
    """
    looked = [column for column in columns if column.kind != "other"]
    used = [column for column in looked if not _is_id(column, records[column.name])] or looked
    others = [part for part in PARTS if part != PARTS[TRAIN]]
    record: dict[str, Any] = {
        "columns": len(used),
        "rows": dict.fromkeys(others, 0),
        "agree": dict.fromkeys(others, 0),
        "samples": [],
    }
    if used and rows["train"]:
        names = [column.name for column in used]
        telling = sorted(names, key=lambda name: -records[name].get("distinct", {"values": 1 << 62})["values"])[:_TELLING]
        for found in _copies(scan, telling, names, outputs, sum(rows.values())):
            for code, part in enumerate(PARTS):
                if part in others:
                    own = found.filter(pl.col(PART) == code)
                    record["rows"][part] += own.height
                    record["agree"][part] += int(own["agree"].sum())
            record["samples"] += found.sort(PART, ROW, descending=[True, False]).select(ROW, "train").head(_NUM_SAMPLES).rows()
        record["chance"] = _chance(records, names, rows["train"])
    share = {part: count / max(rows[part], 1) for part, count in record["rows"].items()}
    return {"chance": 0.0} | record | {"share": share, "samples": [list(pair) for pair in record["samples"][:_NUM_SAMPLES]]}


def _copies(
    scan: pl.LazyFrame, telling: Sequence[str], names: Sequence[str], outputs: Sequence[str], num_rows: int
) -> Iterator[pl.DataFrame]:
    """PART, ROW, `train` (the first equal training row) and `agree` (equal outputs, too): a share of all hashes at a time.

    Rows are equal if two hashes of 64 bits with different seeds are; they are taken only of rows whose telling columns meet.
    """
    keys = [str(seed) for seed in _SEEDS]
    output = pl.struct(outputs).hash(_SEEDS[0]) if outputs else pl.lit(0, pl.UInt64)
    rounds = -(-num_rows // _ROWS_AT_ONCE)
    for turn in range(rounds):
        hashed = scan.with_columns(pl.struct(telling).hash(_SEEDS[0]).alias("__hash__"))
        hashed = hashed if rounds == 1 else hashed.filter(pl.col("__hash__") % rounds == turn)
        common = _common(hashed.select(PART, "__hash__"))
        if not len(common):
            continue
        both = [pl.struct(names).hash(seed).alias(str(seed)) for seed in _SEEDS]
        met = hashed.filter(pl.col("__hash__").is_in(common.implode())).select(PART, ROW, *both, output.alias("__output__"))
        rows = met.collect(engine="streaming")
        train = (
            rows.filter(pl.col(PART) == TRAIN)
            .sort(ROW)
            .group_by(keys)
            .agg(train=pl.col(ROW).first(), said=pl.col("__output__").first())
        )
        found = rows.filter(pl.col(PART) != TRAIN).join(train, on=keys, how="inner")
        yield found.select(PART, ROW, "train", agree=pl.col("__output__") == pl.col("said"))


def _common(hashed: pl.LazyFrame) -> pl.Series:
    """Hashes that occur in training and outside."""
    train, others = (
        # Sorted, both: looking up values in order stays in the cache, which is many times faster on long columns.
        np.sort(hashed.filter(side).select("__hash__").collect(engine="streaming").to_series().to_numpy())
        for side in (pl.col(PART) == TRAIN, pl.col(PART) != TRAIN)
    )
    if not len(train):
        return pl.Series([], dtype=pl.UInt64)
    place = np.minimum(np.searchsorted(train, others), len(train) - 1)
    return pl.Series(np.unique(others[train[place] == others]))


def _is_id(column: Column, record: Mapping[str, Any]) -> bool:
    known = record["rows"] - record["missing"]["rows"]
    counted = column.kind == "word" or record.get("whole", False)
    return counted and known > 0 and record["distinct"]["values"] >= _ID * known


def _chance(records: Mapping[str, Any], names: Sequence[str], num_train: int) -> float:
    """1 - exp(-n sum p^2): the probability that some of n training rows equals a new one, if columns knew nothing of one another."""
    log_equal = 0.0
    for name in names:
        record = records[name]
        known = max(record["rows"] - record["missing"]["rows"], 1)
        if record.get("top_exact"):
            squares = sum((sum(entry["rows"].values()) / known) ** 2 for entry in record["top"])
        else:
            squares = 1.0 / max(record.get("distinct", {"values": known})["values"], 1)
        log_equal += float(np.log(max(squares, 1e-300)))
    return float(-np.expm1(-num_train * np.exp(log_equal)))


def near_texts(sample: pl.DataFrame, column: Column) -> dict[str, Any]:
    """Share of each other part's texts that equal or nearly equal (Jaccard 0.8 of 5-character shingles) a training text, in the sample."""
    parts = [
        sample.filter(pl.col(PART) == code).select(PART, column.name).head(_NEAR_ROWS[part]) for code, part in enumerate(PARTS)
    ]
    rows = pl.concat(parts)
    if not rows.height or not parts[TRAIN].height:
        return {"looked_at": {}, "share": {}}
    grouped = rows.select(PART, group=near_groups(rows[column.name]))
    known = grouped.filter(pl.col(PART) == TRAIN)["group"].unique()
    others = {part: grouped.filter(pl.col(PART) == code)["group"] for code, part in enumerate(PARTS) if code != TRAIN}
    return {
        "looked_at": {part: frame.height for part, frame in zip(PARTS, parts, strict=True)},
        "share": {part: groups.is_in(known.implode()).sum() / max(len(groups), 1) for part, groups in others.items()},
    }
