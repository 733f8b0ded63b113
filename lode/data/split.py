"""Which row trains, which chooses, which tests. The signature of Split is the schema of `data.split`.

Same rows and seed, same split. Read lode/data/ingest.py next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import polars as pl

from lode.core import spans
from lode.core.errors import DataError, listed, near_miss
from lode.core.registry import REGISTRIES
from lode.core.types import ColumnName, Component, Range
from lode.data import cells
from lode.data.enums import coded

PARTS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = 0, 1, 2
DROPPED = 255
_MIN_ROWS = 3
_FEW_STRATA = 16


@dataclass(frozen=True, kw_only=True)
class Split:
    """How rows are divided into train, validation and test.

    Args:
        by: "random"; "time" (later rows test); "group" (a group's rows stay together); "given" (a column says it); "order" (as the rows
            stand: the first ones train, then validation, the last ones test).
        stratify: column whose values are equally frequent in all parts; by default the first output, where it has classes.
        column: the column of times, groups or given parts.
        validation: share of the rows that choose (models, thresholds).
        test: share of the rows that test, and do nothing else.
        seed: another seed, another division.
        folds: judge candidates out of fold: every training and validation row by a model that did not see its fold. A number of folds,
            or "each" for one fold per row (by group: per group). By time a fold is judged by models of earlier rows only.
        fold_column: a column that says each row's fold, instead of `folds`.
        window: by time, what a fold's model learns from: all "expanding" rows before it, or the "sliding" fold just before it.
        gap: by time, how much time lies between the rows that are learned from and those that judge: a number in the column's units,
            or for dates 90s, 30m, 12h, 7d, 2w. Rows in a gap between the parts are dropped.
    """

    by: Literal["random", "time", "group", "given", "order"] = "random"
    stratify: ColumnName | None = None
    column: ColumnName | None = None
    validation: Annotated[float, Range(0, 1)] = 0.1
    test: Annotated[float, Range(0, 1)] = 0.2
    seed: Annotated[int, Range(0, 4_294_967_295)] = 0
    folds: Annotated[int, Range(2)] | Literal["each"] | None = None
    fold_column: ColumnName | None = None
    window: Literal["expanding", "sliding"] = "expanding"
    gap: str | float | None = None


def assign(frame: pl.DataFrame, split: Split, targets: Mapping[str, str], notes: list[str] | None = None) -> pl.Series:
    """The part of every row: "train", "validation" or "test" (Enum).

    targets: output -> its task's word, first output first. notes: what was decided on the way, as sentences, is added here.
    Errors: DataError where the rows cannot be divided as asked.
    """
    codes = assign_codes(frame, split, targets, [] if notes is None else notes)
    return pl.Series("split", codes).cat.to(pl.Enum(PARTS))


def assign_codes(frame: pl.DataFrame, split: Split, targets: Mapping[str, str], notes: list[str]) -> np.ndarray:
    """`assign` as uint8 (N,): TRAIN, VALIDATION or TEST, or DROPPED for rows in a gap."""
    _check(frame, split)
    if split.by == "time":
        column = frame[_column(frame, split)]
        codes = _by_time(times(column), gap_of(split, column), split)
    elif split.by == "group":
        codes = _by_group(frame[_column(frame, split)], split)
    elif split.by == "given":
        given = _given(frame[_column(frame, split)])
        codes = complete(given, frame, split, targets, notes)
    elif split.by == "order":
        codes = _by_order(frame.height, split)
    else:
        codes = _at_random(strata(frame, split, targets, notes), split)
    _check_parts(codes, split)
    return codes


def complete(given: np.ndarray, frame: pl.DataFrame, split: Split, targets: Mapping[str, str], notes: list[str]) -> np.ndarray:
    """Given parts, with those that are missing (validation, test) cut from the training rows at random."""
    missing = [part for part in (VALIDATION, TEST) if not (given == part).any()]
    shares = {"validation": split.validation if VALIDATION in missing else 0.0, "test": split.test if TEST in missing else 0.0}
    cut = [name for name, share in shares.items() if share > 0]
    if not cut:
        return given
    rows = np.flatnonzero(given == TRAIN)
    rest = replace(split, by="random", column=None, validation=shares["validation"], test=shares["test"])
    _check(frame[:0] if not len(rows) else frame, rest)
    codes = given.copy()
    codes[rows] = _at_random(strata(frame[rows], rest, targets, notes), rest)
    notes.append(
        f"split: no {' or '.join(cut)} part is given, {_shares(shares, cut)} was cut from the training rows at random (seed {split.seed})."
    )
    return codes


def _shares(shares: Mapping[str, float], cut: list[str]) -> str:
    return " and ".join(f"{shares[name]:.0%}" for name in cut)


def _check(frame: pl.DataFrame, split: Split) -> None:
    if split.validation + split.test >= 1:
        raise DataError(
            f"data.split: validation {split.validation:g} and test {split.test:g} leave no rows to train on. Their sum must be below 1."
        )
    if frame.height < (_MIN_ROWS if split.validation + split.test > 0 else 1):
        raise DataError(
            f"data.split: {frame.height} rows are too few to divide, at least {_MIN_ROWS} are needed. "
            "Get more data; of texts, cut each into smaller documents (the source's `documents`)."
        )


def _check_parts(codes: np.ndarray, split: Split) -> None:
    wanted = {TRAIN: 1.0, VALIDATION: split.validation, TEST: split.test}
    for part, share in wanted.items():
        if share > 0 and not (codes == part).any():
            raise DataError(
                f"data.split: of {len(codes):,} rows none is left for {PARTS[part]} (by {split.by}). Get more data, or change the shares."
            )


def _column(frame: pl.DataFrame, split: Split) -> str:
    if split.column is None:
        raise DataError(f"data.split.column: nothing found, the column to split by {split.by} is needed. Add `column: NAME`.")
    return _named(frame, split.column, "column")


def _named(frame: pl.DataFrame, name: str, key: str) -> str:
    if name not in frame.columns:
        raise DataError(
            f'data.split.{key}: no column "{name}", found {listed(frame.columns)}.{near_miss(name, frame.columns)} Name one of them.'
        )
    return name


def strata(frame: pl.DataFrame, split: Split, targets: Mapping[str, str], notes: list[str]) -> np.ndarray:
    """Int (N,): which rows must be divided alike; all zero where nothing is asked for."""
    name: str | None = split.stratify
    if name is None:
        first = next(iter(targets), None)
        if first is None or targets[first] not in ("binary", "multiclass"):
            return np.zeros(frame.height, dtype=np.uint8)
        notes.append(f'split: stratified by the output "{first}", so that its classes are equally frequent in every part.')
        name = first
    codes, words = dense_codes(frame[_named(frame, name, "stratify")])
    alone = [words[code] for code in np.flatnonzero(cells.code_counts(codes, len(words)) == 1)]
    if len(alone) > 0.5 * len(codes):
        raise DataError(f'data.split.stratify: "{name}" has another value in almost every row. Name a column with few values.')
    if alone:
        notes.append(f'split: {listed(repr(word) for word in alone)} of "{name}" has one row only, which goes into training.')
    return codes


def dense_codes(column: pl.Series) -> tuple[np.ndarray, list[str]]:
    """Codes from 0 in the order of the values (sorted; null last), and the values as words."""
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        codes, words = coded(column)
        return codes, [*words, "(missing)"]
    values = column.unique().drop_nulls().sort()
    codes = (column.rank("dense").fill_null(len(values) + 1) - 1).to_numpy()
    small = np.uint8 if len(values) < 255 else np.int64
    return codes.astype(small), [*(str(value) for value in values.to_list()), "(missing)"]


def _by_order(num_rows: int, split: Split) -> np.ndarray:
    """Rows as they stand: training first, then validation, then test."""
    num_test, num_validation = round(num_rows * split.test), round(num_rows * split.validation)
    num_train = num_rows - num_validation - num_test
    return np.repeat(np.array([TRAIN, VALIDATION, TEST], np.uint8), [max(num_train, 0), num_validation, num_test])


def _at_random(strata: np.ndarray, split: Split) -> np.ndarray:
    """Shuffle, then give every stratum's first rows to test, the next ones to validation. One row alone goes into training."""
    # Four bytes per row: `permutation` would give the same order in eight.
    order = np.arange(len(strata), dtype=np.uint32 if len(strata) < 2**32 else np.uint64)
    np.random.default_rng(split.seed).shuffle(order)
    sizes = cells.code_counts(strata, int(strata.max()) + 1 if len(strata) else 0)
    codes = np.full(len(strata), TRAIN, dtype=np.uint8)
    num_test = _quotas(sizes, split.test, sizes - 1)
    num_validation = _quotas(sizes, split.validation, sizes - 1 - num_test)
    for rows, test, validation in zip(_by_stratum(order, strata, sizes), num_test, num_validation, strict=True):
        codes[rows[:test]] = TEST
        codes[rows[test : test + validation]] = VALIDATION
    return codes


def _by_stratum(order: np.ndarray, strata: np.ndarray, sizes: np.ndarray) -> Iterable[np.ndarray]:
    """The rows of each stratum as they follow one another in `order`."""
    found = strata[order]
    if len(sizes) <= _FEW_STRATA:  # to look for each of them is faster than to sort
        return (order[np.flatnonzero(found == stratum)] for stratum in range(len(sizes)))
    return np.split(order[np.argsort(found, kind="stable")], np.cumsum(sizes)[:-1])


def _quotas(sizes: np.ndarray, share: float, room: np.ndarray) -> np.ndarray:
    """Rows of each stratum for a part: rounded down, and the rest to those that lost most, so that the total is right.

    room: what each stratum can give at most; one of its rows always trains.
    """
    exact = sizes * share
    quotas = np.minimum(np.floor(exact).astype(np.int64), np.maximum(room, 0))
    rest = round(float(exact.sum())) - int(quotas.sum())
    first = [index for index in np.argsort(-(exact - quotas), kind="stable") if quotas[index] < room[index]][: max(rest, 0)]
    quotas[first] += 1
    return quotas


def times(column: pl.Series) -> np.ndarray:
    """Times (N,) as numbers that can be compared: dates as microseconds, or numbers as they are (a year, a week's number).

    Errors: DataError for cells that are neither.
    """
    found = _moments(column)
    return found.cast(pl.Datetime("us")).to_physical().to_numpy() if found.dtype.is_temporal() else found.to_numpy()


def _moments(column: pl.Series) -> pl.Series:
    times = column
    if isinstance(column.dtype, pl.String | pl.Categorical | pl.Enum):
        texts = column.cast(pl.String)
        times = cells.numbers(texts)
        if times.null_count() > 0:
            times = REGISTRIES["feature"].create(Component("date")).parse(texts)
    if not (times.dtype.is_numeric() or times.dtype.is_temporal()):
        raise DataError(
            f'data.split.column: "{column.name}" holds {column.dtype}, dates or numbers are needed. Name another column.'
        )
    bad = times.is_null()
    if bad.any():
        samples = listed((repr(value) for value in column.filter(bad).head(3).to_list()), 3)
        raise DataError(
            f'data.split.column: {int(bad.sum()):,} cells of "{column.name}" are no time ({samples}). Mend them, or drop these rows.'
        )
    return times


def gap_of(split: Split, column: pl.Series) -> float:
    """The gap in the units of `times`. Errors: DataError where it does not fit the column."""
    if split.gap is None:
        return 0.0
    is_date = _moments(column).dtype.is_temporal()
    span_s = spans.seconds(str(split.gap))
    if is_date and span_s is not None:
        return span_s * 1e6
    if not is_date and isinstance(split.gap, int | float):
        return float(split.gap)
    allowed = "a span such as 90s, 30m, 12h, 7d or 2w" if is_date else "a number"
    raise DataError(f'data.split.gap: found {split.gap!r}, allowed for "{column.name}": {allowed}. Change it.')


def _by_time(times: np.ndarray, gap: float, split: Split) -> np.ndarray:
    """Earlier rows train, later ones test; rows of one moment stay together, in the later part.

    Errors: DataError where there are too few moments.
    """
    ordered = np.sort(times)
    codes = np.full(len(times), TRAIN, dtype=np.uint8)
    starts: list[float] = []
    end = len(times)
    for part, share in ((TEST, split.test), (VALIDATION, split.validation)):
        wanted = round(len(times) * share)
        if wanted == 0:
            continue
        start = _moment_start(ordered, max(end - wanted, 0), end)
        later = times < ordered[end] if end < len(times) else np.True_
        codes[(times >= ordered[start]) & later] = part
        starts.append(ordered[start])
        end = start
    for border in starts if gap else ():
        codes[(times < border) & (times > border - gap)] = DROPPED
    return codes


def _moment_start(ordered: np.ndarray, cut: int, end: int) -> int:
    """The position before `end` at which the moment of row `cut` starts; never the very first moment, which trains."""
    start = int(np.searchsorted(ordered, ordered[cut], side="left"))
    if start == 0:
        start = int(np.searchsorted(ordered, ordered[cut], side="right"))
    if start >= end:
        raise DataError(
            "data.split.column: too few different times to put later ones into validation and test. "
            "Name another column, or split at random."
        )
    return start


def groups(column: pl.Series) -> np.ndarray:
    """The group of each row, int64 (N,) from 0 without holes; a missing group is a group of its own."""
    return np.unique(dense_codes(column)[0], return_inverse=True)[1]


def _by_group(column: pl.Series, split: Split) -> np.ndarray:
    """Whole groups in random order fill test, then validation; the rest trains. A missing group is a group of its own."""
    groups, _ = dense_codes(column)
    sizes = np.bincount(groups)
    if np.count_nonzero(sizes) < _MIN_ROWS:
        raise DataError(
            f'data.split.column: "{column.name}" has {np.count_nonzero(sizes)} groups, at least {_MIN_ROWS} are needed.'
        )
    order = np.random.default_rng(split.seed).permutation(len(sizes))
    before = np.cumsum(sizes[order]) - sizes[order]
    part = np.full(len(sizes), TRAIN, dtype=np.uint8)
    num_test, num_held = len(groups) * split.test, len(groups) * (split.test + split.validation)
    middle = before + sizes[order] / 2.0
    part[order[middle < num_held]] = VALIDATION
    part[order[middle < num_test]] = TEST
    _rescue(part, order, sizes, split)
    return part[groups]


def _rescue(part: np.ndarray, order: np.ndarray, sizes: np.ndarray, split: Split) -> None:
    """Few large groups can leave a part empty: it gets the smallest group of training."""
    for code, share in ((TEST, split.test), (VALIDATION, split.validation), (TRAIN, 1.0)):
        if share > 0 and not (part == code).any():
            donors = [group for group in order if np.count_nonzero(part == part[group]) > 1]
            part[min(donors, key=lambda group: sizes[group])] = code


_GIVEN = {
    "train": TRAIN,
    "training": TRAIN,
    "validation": VALIDATION,
    "valid": VALIDATION,
    "val": VALIDATION,
    "dev": VALIDATION,
    "test": TEST,
}


def _given(column: pl.Series) -> np.ndarray:
    """Errors: DataError for words that name no part."""
    texts = column.cast(pl.String).str.strip_chars().str.to_lowercase()
    codes = texts.replace_strict(_GIVEN, default=None, return_dtype=pl.UInt8)
    if codes.has_nulls():
        bad = column.cast(pl.String).filter(codes.is_null()).fill_null("(empty)").unique().sort().to_list()
        raise DataError(
            f'data.split.column: "{column.name}" holds {listed(bad)}, allowed are {listed(PARTS)}. Rename them in the data.'
        )
    return codes.to_numpy()
