"""Rows of Python values (what drivers of databases give) -> typed columns, and one type per column over many parts.

Nothing is lost silently: where a column cannot keep its cells exactly, or mixes kinds, there is a note. Read
lode/data/access/landing.py next.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

_INT64 = 1 << 63
_TIME = pl.Datetime("us")
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "bool"),
    (int, "int"),
    ((float, Decimal), "float"),
    (str, "text"),
    ((bytes, bytearray, memoryview), "bytes"),
    (datetime, "time"),
    (date, "day"),
    ((dict, list, tuple), "json"),
)
"""The first that fits; all else (times of day, uuids, addresses) is text."""
_WIDER = {
    frozenset(pair): wider for pair, wider in ((("int", "float"), "float"), (("bool", "int"), "int"), (("day", "time"), "time"))
}
_TYPES: Mapping[str, pl.DataType] = {
    "bool": pl.Boolean(), "int": pl.Int64(), "float": pl.Float64(), "text": pl.String(), "bytes": pl.Binary(), "time": _TIME,
    "day": pl.Date(), "json": pl.String(), "other": pl.String(),
}  # fmt: skip


def frame_of(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[pl.DataFrame, list[str]]:
    """A frame and notes on columns that could not be kept as they were.

    names: of the columns, each once. rows: cells in the order of the names; None is missing.
    """
    notes: list[str] = []
    cells = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return pl.DataFrame([_column(name, column, notes) for name, column in zip(names, cells, strict=True)]), notes


def _column(name: str, cells: Sequence[Any], notes: list[str]) -> pl.Series:
    found = set(map(type, cells)) - {type(None)}
    if not found:
        return pl.Series(name, cells, dtype=pl.Null)
    kinds = {_kind(kind) for kind in found}
    kind = kinds.pop() if len(kinds) == 1 else _WIDER.get(frozenset(kinds), "")
    if not kind:
        notes.append(f'column "{name}" mixes kinds of cells and is read as text')
        return pl.Series(name, [None if cell is None else _text(cell) for cell in cells], dtype=pl.String)
    if kind == "int" and not all(-_INT64 <= cell < _INT64 for cell in cells if cell is not None):
        notes.append(f'column "{name}" holds whole numbers of more than 64 bits and is read as text')
        return pl.Series(name, [None if cell is None else str(cell) for cell in cells], dtype=pl.String)
    if Decimal in found:
        notes.append(f'column "{name}" holds exact decimals and is read as 64-bit numbers (about 15 digits)')
    convert = _CONVERT.get(kind)
    values = cells if convert is None else [None if cell is None else convert(cell) for cell in cells]
    return pl.Series(name, values, dtype=_TYPES[kind])


def _kind(kind: type) -> str:
    return next((word for classes, word in _KINDS if issubclass(kind, classes)), "other")


def _text(cell: Any) -> str:
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell).decode("utf-8", "backslashreplace")
    if isinstance(cell, dict | list | tuple):
        return json.dumps(cell, ensure_ascii=False, default=_text)
    if isinstance(cell, datetime | date):
        return cell.isoformat()
    return _span(cell) if isinstance(cell, timedelta) else str(cell)


def _span(cell: timedelta) -> str:
    """Hours, minutes and seconds, as databases write a span of time: "-01:00:00", "771:00:00"."""
    minutes, seconds = divmod(abs(cell), timedelta(minutes=1))
    fraction = f".{seconds.microseconds:06d}" if seconds.microseconds else ""
    return f"{'-' if cell < timedelta() else ''}{minutes // 60:02d}:{minutes % 60:02d}:{seconds.seconds:02d}{fraction}"


def _moment(cell: date) -> datetime:
    """A moment in UTC, without its zone; a day is its midnight."""
    if not isinstance(cell, datetime):
        return datetime(cell.year, cell.month, cell.day)
    return cell.astimezone(UTC).replace(tzinfo=None) if cell.tzinfo is not None else cell


_CONVERT: Mapping[str, Callable[[Any], Any]] = {
    "int": int,
    "float": float,
    "bytes": bytes,
    "time": _moment,
    "json": _text,
    "other": _text,
}


def common_schema(schemas: Sequence[Mapping[str, pl.DataType]], notes: list[str]) -> dict[str, pl.DataType]:
    """The columns of all parts in order of appearance, each in the narrowest type that keeps every cell; adds notes."""
    found: dict[str, pl.DataType] = {}
    for schema in schemas:
        for name, dtype in schema.items():
            before = found.get(name, pl.Null())
            found[name] = both = _wider(before, dtype)
            if both == pl.String and before != dtype and pl.Null() not in (before, dtype):
                notes.append(f'column "{name}" mixes kinds of cells and is read as text')
    return {name: pl.String() if dtype == pl.Null else dtype for name, dtype in found.items()}


def _wider(one: pl.DataType, other: pl.DataType) -> pl.DataType:
    if one == other or other == pl.Null:
        return one
    if one == pl.Null:
        return other
    words = {str(dtype): word for word, dtype in _TYPES.items()}
    word = _WIDER.get(frozenset((words.get(str(one), ""), words.get(str(other), ""))))
    return _TYPES[word] if word else pl.String()


def conform(frame: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The columns of a part in the types of all parts; columns that it lacks are missing cells."""
    return frame.select(
        pl.lit(None, dtype).alias(name) if name not in frame.columns else _cast(frame[name], dtype)
        for name, dtype in schema.items()
    )


def _cast(column: pl.Series, dtype: pl.DataType) -> pl.Series:
    if column.dtype == pl.Binary and dtype == pl.String:
        return pl.Series(column.name, [None if cell is None else _text(cell) for cell in column.to_list()], dtype=pl.String)
    return column.cast(dtype)
