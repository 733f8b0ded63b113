"""The figures of one column over all rows of a snapshot: missing, distinct, range, moments, distribution by part, most frequent.

One streaming query for the plain figures of all columns, then one for each column's distribution. Read lode/data/quality/profile.py first.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lode.data.contracts import ROW
from lode.data.folds import FOLD
from lode.data.quality.counting import PART, columns_at_once, counted
from lode.data.split import PARTS, TRAIN

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
MAX_TOP = 50
MAX_CHARS = 80
"""Longer words are cut in a profile."""
_EXACT_ROWS = 300_000
"""Up to here different values are counted one by one, whatever they are."""
_COUNTED_VALUES = 10_000
"""Columns with fewer different values are counted value by value, exactly, however many rows there are."""
_NEARLY_ALL = 0.7
"""Columns of words or whole numbers with a larger share of different values (as estimated) may be ids: theirs are counted exactly."""
_VALUE_BYTES = 100
"""A row whose value is counted one by one takes a quarter of it: its hash, sorted, and what sorting it takes."""
_DIGITS = 9
"""Of means and deviations: later ones depend on the order in which threads add up."""
_CLASSES = ("binary", "multiclass", "category")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the snapshot.

    role: "input", "output" or "kept" (money, the split). word: of its feature or task.
    kind: how it is looked at: "number", "date", "word", "text", "bytes" or "other" (only empty cells are counted).
    """

    name: str
    role: str
    word: str
    dtype: pl.DataType
    kind: str

    @property
    def value(self) -> pl.Expr:
        """Its cells as they are compared: numbers that are finite, dates as microseconds, others as they are."""
        cell = pl.col(self.name)
        if self.kind == "number":
            number = cell.cast(pl.Float64)
            return pl.when(number.is_finite()).then(number)
        if self.kind == "date":
            return cell.cast(pl.Datetime("us")).cast(pl.Int64)
        return cell

    @property
    def measure(self) -> pl.Expr:
        """What is long or short about it: its number, moment, characters or bytes."""
        if self.kind == "text":
            return pl.col(self.name).str.len_chars().cast(pl.Float64)
        return pl.col(self.name).bin.size().cast(pl.Float64) if self.kind == "bytes" else self.value.cast(pl.Float64)


def columns_of(schema: Mapping[str, pl.DataType], known: Mapping[str, Mapping[str, Any]]) -> list[Column]:
    """Outputs first, then inputs, then what else the snapshot keeps; each in the order of the snapshot."""
    found = []
    for name, dtype in schema.items():
        if name in (ROW, PART, FOLD):
            continue
        entry = known.get(name, {"role": "kept", "type": "kept"})
        found.append(Column(name, entry["role"], entry["type"], dtype, _kind(dtype, entry["type"])))
    order = {"output": 0, "input": 1}
    return sorted(found, key=lambda column: order.get(column.role, 2))


def _kind(dtype: pl.DataType, word: str) -> str:
    if dtype == pl.Binary:
        return "bytes"
    if isinstance(dtype, pl.Enum | pl.Categorical) or dtype in (pl.String, pl.Boolean):
        return "text" if word == "text" and dtype == pl.String else "word"
    if dtype.is_numeric():
        return "word" if word in _CLASSES else "number"
    return "date" if dtype == pl.Date or isinstance(dtype, pl.Datetime) else "other"


def empty(column: Column) -> pl.Expr:
    """Whether a cell holds nothing: null, or no finite number."""
    return column.value.is_null()


def basics(
    scan: pl.LazyFrame,
    columns: Sequence[Column],
    num_rows: int,
    sample: pl.DataFrame,
    memory: int,
) -> dict[str, dict[str, Any]]:
    """Column -> figures that need one pass and little memory. sample: some rows; what they rule out is not looked for.

    memory: bytes that it may take about a quarter of; nothing found depends on it.
    """
    found: dict[str, dict[str, Any]] = {}
    at_once = columns_at_once(num_rows, memory)
    for start in range(0, len(columns), at_once):
        some = columns[start : start + at_once]
        words = {column.name: column for column in some if _is_coded(column)}
        tables = counted(scan, {name: (pl.col(name).to_physical(), _num_words(column)) for name, column in words.items()})
        found |= {name: _word_record(words[name], table, num_rows) for name, table in tables.items()}
        some = [column for column in some if column.name not in words]
        found |= _plain(scan, some, num_rows, {column.name: _may_be_whole(column, sample) for column in some})
    return found


def _plain(scan: pl.LazyFrame, columns: Sequence[Column], num_rows: int, may_be_whole: Mapping[str, bool]) -> dict[str, Any]:
    """Column -> the figures of `_asked`, in one pass."""
    cells, asked = [], []
    for place, column in enumerate(columns):
        # Every cell is made comparable once, not once for every figure.
        cells.append(column.value.alias(f"{place}/value"))
        if column.kind in ("text", "bytes", "date"):
            cells.append(column.measure.alias(f"{place}/measure"))
        of = f"{place}/{'measure' if column.kind in ('text', 'bytes', 'date') else 'value'}"
        figures = _asked(column, pl.col(f"{place}/value"), pl.col(of), num_rows, may_be_whole[column.name])
        asked += [expression.alias(f"{place}/{key}") for key, expression in figures]
    if not asked:
        return {}
    row = scan.select(pl.col(PART), *cells).select(asked).collect(engine="streaming").row(0, named=True)
    found: list[dict[str, Any]] = [{} for _ in columns]
    for name, figure in row.items():
        number, key = name.split("/", 1)
        found[int(number)][key] = figure
    return {column.name: _basic_record(column, own, num_rows) for column, own in zip(columns, found, strict=True)}


def _may_be_whole(column: Column, sample: pl.DataFrame) -> bool:
    """Whether a column of numbers has no fraction in the sample."""
    if column.kind != "number" or column.name not in sample.columns:
        return column.kind == "number"
    return bool(sample.select((column.measure == column.measure.floor()).all()).item())


def _asked(column: Column, value: pl.Expr, measure: pl.Expr, num_rows: int, may_be_whole: bool) -> list[tuple[str, pl.Expr]]:
    """Name and expression of every plain figure. value, measure: those of the column."""
    blank, part = value.is_null(), pl.col(PART)
    asked = [(f"missing_{name}", (blank & (part == code)).sum()) for code, name in enumerate(PARTS)]
    if column.kind == "other":
        return asked
    if column.kind != "bytes":
        cells = value.drop_nulls()
        asked.append(("distinct", cells.n_unique() if num_rows <= _EXACT_ROWS else cells.approx_n_unique()))
    if column.kind == "word":
        return asked
    asked += [("low", measure.min()), ("high", measure.max()), ("mean", measure.mean()), ("std", measure.std())]
    if column.kind == "date":
        sides = ((name, pl.when(part == code).then(value)) for code, name in enumerate(PARTS))
        asked += [(f"{side}_{name}", getattr(cells, side)()) for name, cells in sides for side in ("min", "max")]
    if column.kind == "number":
        asked.append(("zeros", (measure == 0).sum()))
    if may_be_whole:
        asked.append(("whole", (measure == measure.floor()).all()))
    return asked


def _basic_record(column: Column, found: Mapping[str, Any], num_rows: int) -> dict[str, Any]:
    missing = {name: int(found[f"missing_{name}"]) for name in PARTS}
    total = sum(missing.values())
    record: dict[str, Any] = {
        "role": column.role, "type": column.word, "kind": column.kind, "stored": str(column.dtype).split("(")[0], "rows": num_rows,
        "missing": {"rows": total, "share": total / max(num_rows, 1), **missing},
    }  # fmt: skip
    if "distinct" in found:
        record["distinct"] = {"values": min(int(found["distinct"]), num_rows - total), "exact": num_rows <= _EXACT_ROWS}
    if found.get("low") is not None:
        record |= {key: _finite(found[key]) for key in ("low", "high", "mean", "std")}
        record |= _rounded(record["mean"], record["std"])
    if column.kind == "number":
        record |= {"zeros": int(found["zeros"]), "whole": bool(found.get("whole", False))}
    if column.kind == "date":
        record["by_part"] = {name: [found[f"min_{name}"], found[f"max_{name}"]] for name in PARTS}
    return record


def _is_coded(column: Column) -> bool:
    """Whether its cells are codes of few words, which are counted one by one."""
    return column.kind == "word" and 0 < _num_words(column) <= _COUNTED_VALUES


def _num_words(column: Column) -> int:
    return len(column.dtype.categories) if isinstance(column.dtype, pl.Enum) else 0


def _word_record(column: Column, table: np.ndarray, num_rows: int) -> dict[str, Any]:
    """What `counted` found of an Enum column."""
    missing = {f"missing_{name}": rows for name, rows in zip(PARTS, table[:, -1], strict=True)}
    record = _basic_record(column, {**missing, "distinct": np.count_nonzero(table[:, :-1].any(axis=0))}, num_rows)
    if record["missing"]["rows"] < num_rows and isinstance(column.dtype, pl.Enum):
        seen = table[:, :-1].any(axis=0)
        _take_counts(column.dtype.categories.filter(pl.Series(seen)), table[:, :-1].T[seen], record)
    return record


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _rounded(mean: float | None, std: float | None) -> dict[str, float | None]:
    """Mean and deviation as they are for every order of adding up."""
    scale = max(abs(mean or 0.0), abs(std or 0.0))
    if not 1e-290 < scale < 1e290:
        return {"mean": mean, "std": std}
    digits = _DIGITS - 1 - math.floor(math.log10(scale))
    return {key: None if value is None else round(value, digits) for key, value in (("mean", mean), ("std", std))}


def complete(scan: pl.LazyFrame, column: Column, record: dict[str, Any], sample: pl.Series | None, memory: int) -> dict[str, Any]:
    """Add the most frequent values to what `basics` found. sample: cells of the sample, None for bytes. memory: as there."""
    if column.kind == "other" or record["missing"]["rows"] == record["rows"]:
        return record
    known = record["rows"] - record["missing"]["rows"]
    if column.kind == "word" or record.get("whole"):
        estimate = record["distinct"]
        if not estimate["exact"] and estimate["values"] > _NEARLY_ALL * known:
            record["distinct"] = {"values": _distinct(scan, column, record["rows"], memory), "exact": True}
    if column.kind not in ("text", "bytes", "date") and record["distinct"]["values"] <= _COUNTED_VALUES:
        if "top" not in record:
            _take_counts(*_value_counts(scan, column), record)
    elif sample is not None:
        _count_sample(column, sample, record)
    return record


def add_quantiles(record: dict[str, Any], measured: np.ndarray, num_sample: int) -> None:
    """Add `quantiles` of the sample. measured: its measures, float64, empty cells left out; num_sample: its rows."""
    if len(measured):
        found = np.quantile(measured, QUANTILES)
        record["quantiles"] = {str(q): float(value) for q, value in zip(QUANTILES, found, strict=True)}
        record["quantiles_exact"] = num_sample == record["rows"]


def _distinct(scan: pl.LazyFrame, column: Column, num_rows: int, memory: int) -> int:
    """Different values, by their hashes of 64 bits, a share of these at a time: 8 bytes a row at most."""
    hashes = scan.select(column.value.alias("value")).drop_nulls().select(pl.col("value").hash(1))
    rounds = -(-num_rows * _VALUE_BYTES // memory)
    found = 0
    for turn in range(rounds):
        some = hashes.filter(pl.col("value") % rounds == turn).collect(engine="streaming").to_series().to_numpy()
        ordered = np.sort(some)
        found += int(np.count_nonzero(ordered[1:] != ordered[:-1])) + bool(len(ordered))
    return found


def _value_counts(scan: pl.LazyFrame, column: Column) -> tuple[pl.Series, np.ndarray]:
    """Every different value, and its rows in every part, int64 (values, parts)."""
    codes = [str(code) for code in range(len(PARTS))]
    cells = scan.select(PART, column.value.alias("value")).drop_nulls("value")
    found = cells.group_by("value").agg((pl.col(PART) == code).sum().alias(str(code)) for code in range(len(PARTS)))
    wide = found.collect(engine="streaming")
    # Of 0 and -0, which are one value, whichever came first would give the name: -0 + 0 is 0.
    values = pl.Series(wide["value"].to_numpy() + 0.0) if column.kind == "number" else wide["value"]
    return values, wide.select(codes).to_numpy().astype(np.int64)


def _take_counts(values: pl.Series, counts: np.ndarray, record: dict[str, Any]) -> None:
    """Add what the counts of every different value say. counts: int64 (values, parts)."""
    totals = counts.sum(axis=1)
    least = np.sort(totals)[-min(MAX_TOP, len(totals))]
    often = np.flatnonzero(totals >= least).tolist()
    words = dict(zip(often, values[often].cast(pl.String).to_list(), strict=True))
    ordered = sorted(often, key=lambda place: (-int(totals[place]), words[place]))[:MAX_TOP]
    record["distinct"] = {"values": len(values), "exact": True}
    record["top"] = [
        {"value": shown(values[place]), "rows": dict(zip(PARTS, counts[place].tolist(), strict=True))} for place in ordered
    ]
    record["top_exact"] = True
    record["once"] = int((totals == 1).sum())
    unknown = counts[:, TRAIN] == 0
    record["new"] = {
        name: int(counts[unknown, code].sum()) / max(int(counts[:, code].sum()), 1) for code, name in enumerate(PARTS) if code
    }


def _count_sample(column: Column, sample: pl.Series, record: dict[str, Any]) -> None:
    """The most frequent values of the sample; for texts the most frequent words."""
    if column.kind == "date":
        return
    cells = sample.drop_nulls()
    if column.kind == "text":
        record["empty_texts"] = (cells.str.strip_chars() == "").sum() / max(len(cells), 1)
        cells = cells.head(5_000).str.to_lowercase().str.extract_all(r"\p{L}[\p{L}\p{M}']*").list.explode(empty_as_null=False)
        cells = cells.drop_nulls()
    counted = cells.value_counts(name="rows").sort(["rows", sample.name], descending=[True, False]).head(MAX_TOP)
    record["top"] = [{"value": shown(value), "rows": {"sample": rows}} for value, rows in counted.iter_rows() if rows > 1]
    record["top_exact"] = False


def shown(value: Any) -> str:
    """A value as a profile has it: on at most MAX_CHARS characters."""
    if isinstance(value, float):
        return f"{value:.10g}"
    text = str(value)
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 3] + "..."


def picture_sizes(scan: pl.LazyFrame, column: Column, num_rows: int, limit: int) -> dict[str, Any]:
    """Width x height and formats of up to `limit` pictures, evenly drawn; only their headers are decoded."""
    from PIL import Image, UnidentifiedImageError  # who has no pictures does not wait for it

    step = max(1, num_rows // limit)
    places = pl.Series(np.arange(0, num_rows, step)[:limit], dtype=pl.UInt32)
    chosen = scan.with_row_index("__place__").filter(pl.col("__place__").is_in(places.implode())).select(column.name)
    sizes: dict[str, int] = {}
    formats: dict[str, int] = {}
    unreadable = 0
    for batch in chosen.collect_batches(chunk_size=64):
        for content in batch[column.name].drop_nulls():
            try:
                with Image.open(io.BytesIO(content)) as picture:
                    size, word = f"{picture.width} x {picture.height}", f"{picture.format} {picture.mode}"
            except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
                unreadable += 1
                continue
            sizes[size], formats[word] = sizes.get(size, 0) + 1, formats.get(word, 0) + 1
    most = dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:20])
    return {"looked_at": len(places), "sizes": most, "different_sizes": len(sizes), "formats": formats, "unreadable": unreadable}
