"""Column types of JSON records: the type that fits all cells of all blocks; nested objects become columns `outer.inner`.

Used by the sources that read JSON.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import polars as pl

from lode.core.errors import DataError

_INT64 = 1 << 63


def union(first: pl.DataType, second: pl.DataType) -> pl.DataType:
    """The type that fits cells of both; text where only JSON text does."""
    if first == second or second == pl.Null:
        return first
    if first == pl.Null:
        return second
    if first.is_numeric() and second.is_numeric():
        return pl.Float64() if first.is_float() or second.is_float() else pl.Int128()
    if isinstance(first, pl.Struct) and isinstance(second, pl.Struct):
        return pl.Struct(union_fields(_fields(first), _fields(second)))
    if isinstance(first, pl.List) and isinstance(second, pl.List):
        return pl.List(union(_inner(first), _inner(second)))
    return pl.String()


def union_fields(first: Mapping[str, pl.DataType], second: Mapping[str, pl.DataType]) -> dict[str, pl.DataType]:
    """`union` of each column; new ones are appended."""
    if first == second:
        return dict(first)
    return {**first, **{name: union(first[name], dtype) if name in first else dtype for name, dtype in second.items()}}


def _fields(dtype: pl.Struct) -> dict[str, pl.DataType]:
    return {field.name: _made(field.dtype) for field in dtype.fields}


def _inner(dtype: pl.List) -> pl.DataType:
    return _made(dtype.inner)


def _made(dtype: Any) -> pl.DataType:
    """An instance, where polars gives a class."""
    made: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return made


def dtype_of(value: Any) -> pl.DataType:
    """The type of one JSON value."""
    if value is None:
        return pl.Null()
    if isinstance(value, bool):
        return pl.Boolean()
    if isinstance(value, int):
        return pl.Int64() if -_INT64 <= value < _INT64 else pl.Int128()
    if isinstance(value, float):
        return pl.Float64()
    if isinstance(value, dict):
        return pl.Struct(fields_of(value))
    if isinstance(value, list):
        inner: pl.DataType = pl.Null()
        for item in value:
            inner = union(inner, dtype_of(item))
        return pl.List(inner)
    return pl.String()


def fields_of(record: Mapping[str, Any]) -> dict[str, pl.DataType]:
    """The types of one JSON object."""
    return {name: dtype_of(value) for name, value in record.items()}


def final(dtype: pl.DataType) -> pl.DataType:
    """The type to read with: columns without a cell, and numbers of more than 64 bits, are text."""
    if isinstance(dtype, pl.Struct):
        return pl.Struct({name: final(inner) for name, inner in _fields(dtype).items()})
    if isinstance(dtype, pl.List):
        return pl.List(final(_inner(dtype)))
    return pl.String() if dtype in (pl.Null, pl.Int128) else dtype


def is_wide(dtype: pl.DataType) -> bool:
    """Whether cells hold numbers of more than 64 bits, at any depth."""
    if isinstance(dtype, pl.Struct):
        return any(is_wide(inner) for inner in _fields(dtype).values())
    return is_wide(_inner(dtype)) if isinstance(dtype, pl.List) else dtype == pl.Int128


def num_columns(schema: Mapping[str, pl.DataType]) -> int:
    """How many columns `flat` makes."""
    return sum(num_columns(_fields(dtype)) if isinstance(dtype, pl.Struct) else 1 for dtype in schema.values())


def depth(dtype: pl.DataType) -> int:
    """How many lists and objects lie in one another."""
    deepest, level = 0, [dtype]
    while level:
        inner: list[pl.DataType] = []
        for item in level:
            if isinstance(item, pl.List):
                inner.append(_inner(item))
            elif isinstance(item, pl.Struct):
                inner += _fields(item).values()
        deepest, level = deepest + bool(inner), inner
    return deepest


def covers(name: str, wanted: Collection[str]) -> bool:
    """Whether a column, or a part of it, is asked for."""
    return name in wanted or any(other.startswith(f"{name}.") for other in wanted)


def flat(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    """Objects become columns `outer.inner`, as deep as they go.

    Errors: DataError where two columns get the same name.
    """
    try:
        while structs := [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Struct)]:
            empty = [name for name in structs if not frame.schema[name].fields]  # type: ignore[attr-defined]
            frame = frame.drop(empty).unnest([name for name in structs if name not in empty], separator=".")
    except pl.exceptions.DuplicateError as error:
        raise DataError(
            f"{where}: a key with a dot and a nested object give the same column ({str(error).splitlines()[0]}). Rename one of them."
        ) from error
    return frame


def frame_of(columns: Mapping[str, Sequence[Any]]) -> pl.DataFrame:
    """The table of Python values, each column in the type that fits all its cells."""
    types: dict[str, pl.DataType] = {}
    for name, cells in columns.items():
        types[name] = pl.Null()
        for cell in cells:
            types[name] = union(types[name], dtype_of(cell))
    return frame_as(columns, {name: final(dtype) for name, dtype in types.items()})


def frame_as(columns: Mapping[str, Sequence[Any]], types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The table of Python values in types that fit them; what is no text becomes JSON where text is asked for."""
    return pl.DataFrame(
        [pl.Series(name, [_as(cell, types[name]) for cell in cells], dtype=types[name]) for name, cells in columns.items()]
    )


def _as(value: Any, dtype: pl.DataType) -> Any:
    if value is None or dtype == pl.String:
        return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if isinstance(dtype, pl.Struct):
        return {name: _as(value.get(name), inner) for name, inner in _fields(dtype).items()}
    if isinstance(dtype, pl.List):
        return [_as(item, _inner(dtype)) for item in value]
    return float(value) if dtype == pl.Float64 else value
