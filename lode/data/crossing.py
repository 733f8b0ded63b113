"""Rows of validation and test that training has too: a model that has seen them is tested on its memory. 8 bytes a row of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from lode.data.contracts import ROW
from lode.data.figures import PART, Column
from lode.data.near_text import near_groups
from lode.data.split import PARTS, TRAIN

_SEEDS = (11, 29)
_NUM_SAMPLES = 5
_ID = 0.95
_NEAR_ROWS = {"train": 20_000, "validation": 5_000, "test": 5_000}
"""Texts of each part that are looked at for near duplicates."""
_TELLING = 4
"""So many of the columns with the most different values are compared first; nearly always that is enough."""


def crossing(scan: pl.LazyFrame, columns: Sequence[Column], records: Mapping[str, Any], rows: Mapping[str, int]) -> dict[str, Any]:
    """Rows of each other part whose inputs (but for ids, which differ in copies too) all equal those of a training row.

    `rows`, `share`: by part. `chance`: the share that there would be if columns were independent of one another, from their most frequent
    values; `samples`: raw positions [row of the part, row of training].
    """
    looked = [column for column in columns if column.kind != "other"]
    used = [column for column in looked if not _is_id(column, records[column.name])] or looked
    if not used or not rows["train"]:
        return {"columns": len(used), "rows": {}, "share": {}, "chance": 0.0, "samples": []}
    names = [column.name for column in used]
    telling = sorted(names, key=lambda name: -records[name].get("distinct", {"values": 1 << 62})["values"])[:_TELLING]
    suspects = _meeting(scan, telling, None)
    if len(telling) < len(names) and len(suspects):
        suspects = _meeting(scan, names, suspects)
    found = (
        _proved(scan, names, suspects)
        if len(suspects)
        else pl.DataFrame(schema={PART: pl.UInt8, ROW: pl.UInt64, "train": pl.UInt64})
    )
    counts = {part: found.filter(pl.col(PART) == code).height for code, part in enumerate(PARTS) if code != TRAIN}
    return {
        "columns": len(names),
        "rows": counts,
        "share": {part: count / max(rows[part], 1) for part, count in counts.items()},
        "chance": _chance(records, names, rows["train"]),
        "samples": [
            list(pair) for pair in found.sort(PART, ROW, descending=[True, False]).select(ROW, "train").head(_NUM_SAMPLES).rows()
        ],
    }


def _meeting(scan: pl.LazyFrame, names: Sequence[str], suspects: pl.Series | None) -> pl.Series:
    """Raw positions of the rows, of training too, whose hash occurs in training and outside."""
    looked = scan if suspects is None else scan.filter(pl.col(ROW).is_in(suspects.implode()))
    hashed = looked.select(PART, ROW, hash=pl.struct(names).hash(_SEEDS[0]))
    train = np.sort(hashed.filter(pl.col(PART) == TRAIN).select("hash").collect(engine="streaming").to_series().to_numpy())
    # Sorted too: looking up values in order stays in the cache, which is many times faster on long columns.
    others = np.sort(hashed.filter(pl.col(PART) != TRAIN).select("hash").collect(engine="streaming").to_series().to_numpy())
    if not len(train):
        return pl.Series(ROW, [], dtype=pl.UInt64)
    place = np.minimum(np.searchsorted(train, others), len(train) - 1)
    both = pl.Series(np.unique(others[train[place] == others]))
    if not len(both):
        return pl.Series(ROW, [], dtype=pl.UInt64)
    del train, others
    return hashed.filter(pl.col("hash").is_in(both.implode())).select(ROW).collect(engine="streaming").to_series()


def _proved(scan: pl.LazyFrame, names: Sequence[str], suspects: pl.Series) -> pl.DataFrame:
    """PART, ROW and the first equal training row, by two hashes."""
    both = [pl.struct(names).hash(seed).alias(str(seed)) for seed in _SEEDS]
    keys = [str(seed) for seed in _SEEDS]
    hashed = scan.filter(pl.col(ROW).is_in(suspects.implode())).select(PART, ROW, *both).collect(engine="streaming")
    train = hashed.filter(pl.col(PART) == TRAIN).group_by(keys).agg(train=pl.col(ROW).min())
    return hashed.filter(pl.col(PART) != TRAIN).join(train, on=keys, how="inner").select(PART, ROW, "train")


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
