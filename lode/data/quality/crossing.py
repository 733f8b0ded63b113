"""Rows of validation and test that training has too: a model that has seen them is tested on its memory.

Figures of all rows, whatever their number and however many meet: what is held follows from the bound of memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from lode.data.contracts import ROW
from lode.data.quality.counting import PART
from lode.data.quality.figures import Column
from lode.data.split import PARTS, TRAIN
from lode.data.threads import side_by_side

_SEEDS = (11, 29)
_NUM_SAMPLES = 5
_ID = 0.95
_HASH_BYTES = 100
"""A row whose telling columns are compared takes a quarter of it: its hash, sorted, and what sorting it takes."""
_ROW_BYTES = 400
"""A row that is held to be compared as a whole takes a fifth of it: position, part and three hashes, copied to be sorted and joined."""
_NEAR_ROWS = {"train": 20_000, "validation": 5_000, "test": 5_000}
"""Texts of each part that are looked at for near duplicates."""
_TELLING = 4
"""So many of the columns with the most different values are compared first; nearly always that is enough."""


def crossing(
    scan: pl.LazyFrame,
    columns: Sequence[Column],
    outputs: Sequence[str],
    records: Mapping[str, Any],
    rows: Mapping[str, int],
    memory: int,
) -> dict[str, Any]:
    """Rows of each other part whose inputs (but for ids, which differ in copies too) all equal those of a training row.

    `rows`, `share`: by part. `agree`: how many of these rows have the outputs of that training row, too (of true copies nearly all).
    `chance`: the share that there would be if columns were independent of one another, from their most frequent values. `samples`: raw
    positions [row of the part, row of training]. memory: bytes that it may take about a quarter of; nothing found depends on it.
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
        samples: list[tuple[int, int, int]] = []
        for found in _copies(scan, telling, names, outputs, sum(rows.values()), memory):
            for code, part in enumerate(PARTS):
                if part in others:
                    own = found.filter(pl.col(PART) == code)
                    record["rows"][part] += own.height
                    record["agree"][part] += int(own["agree"].sum())
            first = found.sort(PART, ROW, descending=[True, False]).select(PART, ROW, "train").head(_NUM_SAMPLES).rows()
            samples = sorted([*samples, *first], key=lambda sample: (-sample[0], sample[1]))[:_NUM_SAMPLES]
        record["samples"] = [[row, train] for _, row, train in samples]
        record["chance"] = _chance(records, names, rows["train"])
    share = {part: count / max(rows[part], 1) for part, count in record["rows"].items()}
    return {"chance": 0.0} | record | {"share": share}


def _copies(
    scan: pl.LazyFrame, telling: Sequence[str], names: Sequence[str], outputs: Sequence[str], num_rows: int, memory: int
) -> Iterator[pl.DataFrame]:
    """PART, ROW, `train` (the first equal training row) and `agree` (equal outputs, too): a share of all hashes at a time.

    Rows are equal if two hashes of 64 bits with different seeds are; they are taken only of rows whose telling columns meet.
    """
    output = pl.struct(outputs).hash(_SEEDS[0]) if outputs else pl.lit(0, pl.UInt64)
    at_once = max(1, memory // _ROW_BYTES)
    rounds = -(-num_rows * _HASH_BYTES // memory)
    key = pl.struct(telling).hash(_SEEDS[0])
    for turn in range(rounds):
        hashed = scan.select(PART, key.alias("__hash__"))
        hashed = hashed if rounds == 1 else hashed.filter(pl.col("__hash__") % rounds == turn)
        common, num_train, num_others = _common(hashed, max(1, memory // _HASH_BYTES))
        both = [pl.struct(names).hash(seed).alias(str(seed)) for seed in _SEEDS]
        # Of the columns as they lie in the file: so the others are decoded for the few rows that meet, not for all.
        met = scan.filter(key.is_in(common.implode())).select(PART, ROW, *both, output.alias("__output__"))
        if num_train + num_others <= at_once:
            met = met.collect(engine="streaming").lazy()  # read once for both sides
        shares = -(-num_train // at_once)
        for share in range(shares):
            # Of the second hash: the first is that of the telling columns where these are all.
            yield from _matched(met if shares == 1 else met.filter(pl.col(str(_SEEDS[1])) % shares == share), at_once)


def _matched(met: pl.LazyFrame, at_once: int) -> Iterator[pl.DataFrame]:
    """As `_copies`, of these rows. Of equal training rows one is held, so that it does not matter how many there are."""
    keys, train = [str(seed) for seed in _SEEDS], None
    for rows in _gathered(met.filter(pl.col(PART) == TRAIN).drop(PART), at_once):
        both = rows if train is None else pl.concat([train, rows])
        train = both.sort(ROW).unique(keys, keep="first", maintain_order=False)
    if train is None:
        return
    train = train.rename({ROW: "train", "__output__": "said"})
    for rows in _gathered(met.filter(pl.col(PART) != TRAIN), at_once):
        found = rows.join(train, on=keys, how="inner")
        yield found.select(PART, ROW, "train", agree=pl.col("__output__") == pl.col("said"))


def _common(hashed: pl.LazyFrame, at_once: int) -> tuple[pl.Series, int, int]:
    """Hashes that occur in training and outside; how many rows of training, and of the others, have one."""
    # Sorted, both: looking up values in order stays in the cache, which is many times faster on long columns.
    sides = [hashed.filter(side).select("__hash__") for side in (pl.col(PART) == TRAIN, pl.col(PART) != TRAIN)]
    (train, num_train), (others, num_others) = side_by_side(lambda side: _counted(side, at_once // len(sides) + 1), sides, at_once)
    if not len(train) or not len(others):
        return pl.Series([], dtype=pl.UInt64), 0, 0
    place = np.minimum(np.searchsorted(train, others), len(train) - 1)
    is_common = train[place] == others
    return pl.Series(others[is_common]), int(num_train[place[is_common]].sum()), int(num_others[is_common].sum())


def _counted(hashes: pl.LazyFrame, at_once: int) -> tuple[np.ndarray, np.ndarray]:
    """Every different hash, uint64, ascending, and its rows, int64."""
    values, counts = np.empty(0, np.uint64), np.empty(0, np.int64)
    for rows in _gathered(hashes, at_once):
        own, own_counts = np.unique(rows.to_series().to_numpy(), return_counts=True)
        if len(values):
            own, inverse = np.unique(np.append(values, own), return_inverse=True)
            own_counts = np.bincount(inverse, np.append(counts, own_counts)).astype(np.int64)
        values, counts = own, own_counts
    return values, counts


def _gathered(rows: pl.LazyFrame, at_once: int) -> Iterator[pl.DataFrame]:
    """The rows, about so many at a time: neither all of them nor a table for each of many small batches."""
    held, size = [], 0
    for batch in rows.collect_batches(maintain_order=False):
        held.append(batch)
        size += batch.height
        if size >= at_once:
            yield pl.concat(held)
            held, size = [], 0
    if size:
        yield pl.concat(held)


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
    from lode.data.alike.near_text import near_groups  # who has no texts does not wait for it

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
