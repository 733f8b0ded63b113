"""What a rule of lode/data/mending/rule_language.py means on a table: polars expressions, held against the columns' kinds before
anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import polars as pl

from lode.core.errors import listed, near_miss
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.mending.rule_language import Node, RuleError

Typed = tuple[pl.Expr, str]
"""An expression and its kind: "number", "word", "date" or "truth"."""

_DAY_US = 86_400_000_000
_KINDS = {"number": "a number", "word": "a text", "date": "a date", "truth": "true or false"}


def kind_of(dtype: pl.DataType) -> str:
    """What rules take a column for: "number", "word", "date", "truth", or "" where they cannot use it."""
    if dtype.is_numeric() or dtype == pl.Null:
        return "number"
    if dtype == pl.String or isinstance(dtype, pl.Enum | pl.Categorical):
        return "word"
    if dtype == pl.Boolean:
        return "truth"
    return "date" if dtype == pl.Date or isinstance(dtype, pl.Datetime) else ""


def check_columns(names: tuple[str, ...], schema: Mapping[str, pl.DataType]) -> None:
    """Errors: RuleError naming the first column that is not there."""
    for name in names:
        if name not in schema:
            odd = [column for column in schema if not column.isidentifier() and column.startswith(name)]
            quote = f" Write `{odd[0]}` in backticks." if odd else ""
            raise RuleError(f'no column "{name}", found {listed(schema)}.{quote or near_miss(name, schema)}')


def holds(node: Node, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    """Boolean, never null: a rule whose cells are missing holds, as a CHECK of SQL does. Errors: RuleError."""
    expression, kind = value(node, schema)
    if kind != "truth":
        raise RuleError(f"it is {_KINDS[kind]}, a rule must be true or false")
    return expression.fill_null(True)


def value(node: Node, schema: Mapping[str, pl.DataType]) -> Typed:
    """The expression of a tree, and what kind it is. Errors: RuleError for unknown columns and kinds that do not fit."""
    if node.op == "column":
        return _column(node.value, schema)
    if node.op == "literal":
        return pl.lit(node.value), _LITERALS[type(node.value)]
    if node.op in ("and", "or", "not", "implies"):
        return _logic(node, schema)
    if node.op in ("missing", "known"):
        inner = value(node.parts[0], schema)[0]
        return (inner.is_null() if node.op == "missing" else inner.is_not_null()), "truth"
    if node.op == "in":
        return _contained(node, schema)
    if node.op == "matches":
        return _as_word(value(node.parts[0], schema)).str.contains(_pattern(node.value)), "truth"
    if node.op in _COMPARE:
        left, right = _same_kind(node, schema)
        return _COMPARE[node.op](left[0], right[0]), "truth"
    if node.op in _ARITHMETIC:
        return _arithmetic(node, schema)
    return _call(node, schema)


def value_as(node: Node, kind: str, schema: Mapping[str, pl.DataType]) -> Typed:
    """`value`, with a literal read as this kind: 5 as the word "5", "2024-01-31" as a date. Errors: RuleError."""
    return _read_as(node, value(node, schema), kind)


_LITERALS = {float: "number", str: "word", bool: "truth"}
_COMPARE: dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b, "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip
_ARITHMETIC: dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a / b, "%": lambda a, b: a % b,
}  # fmt: skip


def _column(name: str, schema: Mapping[str, pl.DataType]) -> Typed:
    check_columns((name,), schema)
    dtype = schema[name]
    kind = kind_of(dtype)
    if not kind:
        raise RuleError(f'the column "{name}" holds {dtype}, which rules cannot use')
    column = pl.col(name)
    if kind == "number" and dtype != pl.Float64:
        column = column.cast(pl.Float64)
    return (column.cast(pl.String) if kind == "word" and dtype != pl.String else column), kind


def _logic(node: Node, schema: Mapping[str, pl.DataType]) -> Typed:
    parts = []
    for part in node.parts:
        expression, kind = value(part, schema)
        if kind != "truth":
            raise RuleError(f'beside "{node.op}" stands {_KINDS[kind]}, a comparison is expected')
        parts.append(expression)
    if node.op == "not":
        return ~parts[0], "truth"
    if node.op == "implies":
        return ~parts[0] | parts[1], "truth"
    return (parts[0] & parts[1] if node.op == "and" else parts[0] | parts[1]), "truth"


def _same_kind(node: Node, schema: Mapping[str, pl.DataType]) -> tuple[Typed, Typed]:
    """Both sides of a comparison; literals are read as the other side's kind."""
    left, right = (value(part, schema) for part in node.parts)
    if left[1] != right[1]:
        left, right = _read_as(node.parts[0], left, right[1]), _read_as(node.parts[1], right, left[1])
    if left[1] != right[1]:
        raise RuleError(
            f'"{node.op}" compares {_KINDS[left[1]]} with {_KINDS[right[1]]}; `number(...)` and `word(...)` turn one into the other'
        )
    if left[1] in ("word", "truth") and node.op not in ("==", "!="):
        raise RuleError(f'"{node.op}" compares {_KINDS[left[1]]}, a number or a date is expected; `number(...)` makes one')
    return left, right


def _read_as(node: Node, typed: Typed, kind: str) -> Typed:
    """A literal in the kind of what it is compared with."""
    if node.op != "literal":
        return typed
    if kind == "word":
        return pl.lit(literal_word(node.value)), "word"
    if kind == "date" and isinstance(node.value, str):
        return pl.lit(_moment(node.value)), "date"
    return typed


def literal_word(found: Any) -> str:
    """How a number or true and false are written as a category."""
    if isinstance(found, bool):
        return "true" if found else "false"
    return str(int(found)) if isinstance(found, float) and found.is_integer() else str(found)


def _moment(text: str) -> datetime:
    parsed = REGISTRIES["feature"].create(Component("date")).parse(pl.Series([text]))
    if parsed[0] is None:
        raise RuleError(f'"{text}" is no date; write it as 2024-01-31')
    found: datetime = parsed[0]
    return found


def _contained(node: Node, schema: Mapping[str, pl.DataType]) -> Typed:
    expression, kind = value(node.parts[0], schema)
    if kind == "word":
        return expression.is_in([literal_word(item) for item in node.value]), "truth"
    if kind == "number" and all(isinstance(item, float) for item in node.value):
        return expression.is_in(list(node.value)), "truth"
    if kind == "date" and all(isinstance(item, str) for item in node.value):
        return expression.is_in([_moment(item) for item in node.value]), "truth"
    raise RuleError(f"the list holds other things than {_KINDS[kind]}, which it is compared with")


def _as_word(typed: Typed) -> pl.Expr:
    expression, kind = typed
    if kind == "number":
        whole = expression.cast(pl.Int64, strict=False)
        return pl.when(whole.cast(pl.Float64) == expression).then(whole.cast(pl.String)).otherwise(expression.cast(pl.String))
    if kind == "date":
        return expression.dt.strftime("%Y-%m-%dT%H:%M:%S").str.strip_suffix("T00:00:00")
    return expression if kind == "word" else pl.when(expression).then(pl.lit("true")).when(~expression).then(pl.lit("false"))


def _pattern(text: str) -> str:
    """Errors: RuleError where it is no regular expression (of the Rust crate regex: no look-around, linear time)."""
    try:
        pl.Series([""]).str.contains(text)
    except pl.exceptions.ComputeError as error:
        reason = next((line for line in str(error).splitlines() if line.startswith("error: ")), "error: too large").removeprefix(
            "error: "
        )
        raise RuleError(f'the pattern "{text}" cannot be read ({reason})') from None
    return text


def _arithmetic(node: Node, schema: Mapping[str, pl.DataType]) -> Typed:
    left, right = (value(part, schema) for part in node.parts)
    if "date" in (left[1], right[1]):
        left, right = _read_as(node.parts[0], left, "date"), _read_as(node.parts[1], right, "date")
    kinds = {left[1], right[1]}
    if kinds == {"number"}:
        return _ARITHMETIC[node.op](left[0], right[0]), "number"
    if kinds == {"word"} and node.op == "+":
        return pl.concat_str(left[0], right[0]), "word"
    if kinds == {"date"} and node.op == "-":
        return (left[0] - right[0]).dt.total_microseconds() / _DAY_US, "number"
    raise RuleError(
        f'"{node.op}" stands between {_KINDS[left[1]]} and {_KINDS[right[1]]}, two numbers are expected (or two dates: days)'
    )


def _call(node: Node, schema: Mapping[str, pl.DataType]) -> Typed:
    parts = [value(part, schema) for part in node.parts]
    if node.op == "number":
        text = _as_word(parts[0]).str.strip_chars()
        return (parts[0][0] if parts[0][1] == "number" else text.cast(pl.Float64, strict=False)), "number"
    if node.op == "word":
        return _as_word(parts[0]), "word"
    if node.op in ("extract", "replace"):
        texts = [part.value for part in node.parts[1:] if part.op == "literal" and isinstance(part.value, str)]
        if len(texts) != len(node.parts) - 1:
            raise RuleError(f"{node.op} takes a column and texts in quotes")
        if node.op == "extract":
            return _as_word(parts[0]).str.extract(_pattern(texts[0]), 1 if "(" in texts[0] else 0), "word"
        return _as_word(parts[0]).str.replace_all(_pattern(texts[0]), texts[1]), "word"
    wanted, made, function = _FUNCTIONS[node.op]
    if parts[0][1] != wanted:
        raise RuleError(f"{node.op} is of {_KINDS[wanted]}, found {_KINDS[parts[0][1]]}")
    return function(parts[0][0]), made


_FUNCTIONS: dict[str, tuple[str, str, Callable[[pl.Expr], pl.Expr]]] = {
    "abs": ("number", "number", lambda x: x.abs()),
    "round": ("number", "number", lambda x: x.round()),
    "length": ("word", "number", lambda x: x.str.len_chars().cast(pl.Float64)),
    "lower": ("word", "word", lambda x: x.str.to_lowercase()),
    "upper": ("word", "word", lambda x: x.str.to_uppercase()),
    "year": ("date", "number", lambda x: x.dt.year().cast(pl.Float64)),
    "month": ("date", "number", lambda x: x.dt.month().cast(pl.Float64)),
    "day": ("date", "number", lambda x: x.dt.day().cast(pl.Float64)),
    "weekday": ("date", "number", lambda x: x.dt.weekday().cast(pl.Float64)),
}
