"""Keys of two tables: made comparable, and counted. Memory goes with the number of different keys, not with the rows.

Used by lode/data/sources/join.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from lode.core.errors import DataError

Side = Literal["left", "right"]
_NUM_SAMPLES = 5
_ROWS = {"left": "__rows_left__", "right": "__rows_right__"}


@dataclass(frozen=True, slots=True)
class Keys:
    """names: of the internal key columns; left, right: what makes them from the columns of each side."""

    names: list[str]
    left: list[pl.Expr]
    right: list[pl.Expr]


def comparable(
    left: pl.LazyFrame, right: pl.LazyFrame, on: tuple[Sequence[str], Sequence[str]], key_type: str | None, where: str
) -> Keys:
    """Key columns of one type on both sides.

    Errors: DataError where one side has text and the other numbers (or dates) and `key_type` does not say how they compare.
    """
    schemas = left.collect_schema(), right.collect_schema()
    keys = Keys([f"__key_{index}__" for index in range(len(on[0]))], [], [])
    for alias, one, other in zip(keys.names, *on, strict=True):
        kinds = schemas[0][one], schemas[1][other]
        cast = _forced(key_type) if key_type else _common(*kinds)
        if cast is None:
            samples = [_first(frame, name) for frame, name in ((left, one), (right, other))]
            raise DataError(
                f'{where}: the left column "{one}" holds {_kind(kinds[0])} ({samples[0]}), the right column "{other}" holds '
                f"{_kind(kinds[1])} ({samples[1]}), which are never equal. Write `key_type: text` to compare them as they are written, "
                "or `key_type: number` to compare them as numbers (007 is 7)."
            )
        for expressions, name, kind in ((keys.left, one, kinds[0]), (keys.right, other, kinds[1])):
            expressions.append(_as(pl.col(name), kind, cast).alias(alias))
    return keys


def _forced(key_type: str) -> pl.DataType:
    return pl.String() if key_type == "text" else pl.Float64()


def _common(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    """The type in which two columns are compared, None where that has no meaning."""
    if pl.Null in (one, other) or one == other:
        return one if one != pl.Null else other
    if _is_text(one) and _is_text(other):
        return pl.String()
    if one.is_integer() and other.is_integer():
        return pl.Int128()
    if one.is_numeric() and other.is_numeric():
        return pl.Float64()
    return pl.Datetime("us") if _is_day(one) and _is_day(other) else None


def _as(column: pl.Expr, kind: pl.DataType, wanted: pl.DataType) -> pl.Expr:
    if wanted == kind:
        return column
    if wanted == pl.Float64 and _is_text(kind):
        return column.cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
    if wanted == pl.String and kind.is_float():
        # 7.0 is written 7 where it stands among whole numbers.
        whole = column.cast(pl.Int64, strict=False)
        return pl.when(whole.cast(pl.Float64) == column).then(whole.cast(pl.String)).otherwise(column.cast(pl.String))
    return column.cast(wanted, strict=False)


def _is_text(kind: pl.DataType) -> bool:
    return isinstance(kind, pl.String | pl.Categorical | pl.Enum)


def _is_day(kind: pl.DataType) -> bool:
    return isinstance(kind, pl.Date) or (isinstance(kind, pl.Datetime) and kind.time_zone is None)


def _kind(kind: pl.DataType) -> str:
    return "text" if _is_text(kind) else "numbers" if kind.is_numeric() else str(kind)


def _first(frame: pl.LazyFrame, name: str) -> str:
    """The first cell that is not empty, as a message shows it."""
    cells = frame.select(pl.col(name).drop_nulls().first()).collect(engine="streaming").to_series().to_list()
    return f'"{cells[0]}"' if isinstance(cells[0], str) else str(cells[0])


@dataclass(frozen=True, slots=True)
class Match:
    """Every key with its number of rows on each side. num_null: rows with an empty cell in their key."""

    counts: pl.DataFrame
    names: list[str]
    num_null: dict[str, int]

    @property
    def num_left(self) -> int:
        return self._sum("left") + self.num_null["left"]

    @property
    def num_right(self) -> int:
        return self._sum("right") + self.num_null["right"]

    @property
    def num_pairs(self) -> int:
        """Rows that have a partner, each as often as it has partners."""
        return int(self.counts.select(pl.col(_ROWS["left"]).cast(pl.Int64) * pl.col(_ROWS["right"])).to_series().sum())

    @property
    def num_multiplied(self) -> int:
        """Rows that are there only because a left row has several partners."""
        return self.num_pairs - int(self.counts.filter(self._has("right"))[_ROWS["left"]].sum())

    def num_rows(self, how: str) -> int:
        """Rows of the result."""
        lone_left, lone_right = self._lone("left") + self.num_null["left"], self._lone("right") + self.num_null["right"]
        return {
            "inner": self.num_pairs,
            "left": self.num_pairs + lone_left,
            "full": self.num_pairs + lone_left + lone_right,
            "semi": self.num_left - lone_left,
            "anti": lone_left,
        }[how]

    def unmatched(self, side: str) -> tuple[int, int, list[tuple[object, ...]]]:
        """(rows, keys, some keys) of a side without a partner; empty keys left out."""
        lone = self.counts.filter(~self._has("right" if side == "left" else "left"))
        return self._lone(side), lone.height, self._samples(lone)

    def duplicates(self, side: str) -> tuple[int, list[tuple[object, ...]]]:
        """(number, some) of the keys that stand more than once on a side."""
        found = self.counts.filter(pl.col(_ROWS[side]) > 1)
        return found.height, self._samples(found)

    def sample(self, side: str) -> list[tuple[object, ...]]:
        """Some keys of a side."""
        return self._samples(self.counts.filter(self._has(side)))

    def _has(self, side: str) -> pl.Expr:
        return pl.col(_ROWS[side]) > 0

    def _sum(self, side: str) -> int:
        return int(self.counts[_ROWS[side]].sum())

    def _lone(self, side: str) -> int:
        other = "right" if side == "left" else "left"
        return int(self.counts.filter(~self._has(other))[_ROWS[side]].sum())

    def _samples(self, rows: pl.DataFrame) -> list[tuple[object, ...]]:
        return rows.select(self.names).bottom_k(_NUM_SAMPLES, by=self.names).rows()


def match(left: pl.LazyFrame, right: pl.LazyFrame, keys: Keys) -> Match:
    """Count every key on both sides, in one pass over each."""
    whole = pl.all_horizontal(pl.col(name).is_not_null() for name in keys.names)
    sides = {}
    for side, frame, expressions in (("left", left, keys.left), ("right", right, keys.right)):
        counted = frame.select(expressions).group_by(keys.names).agg(pl.len().alias(_ROWS[side]))
        sides[side] = counted.collect(engine="streaming")
    num_null = {side: int(counted.filter(~whole)[_ROWS[side]].sum()) for side, counted in sides.items()}
    one, other = (sides[side].filter(whole) for side in ("left", "right"))
    counts = one.join(other, on=keys.names, how="full", coalesce=True)
    return Match(counts.with_columns(pl.col(*_ROWS.values()).fill_null(0)), keys.names, num_null)
