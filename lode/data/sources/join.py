"""Two tables on their keys, with an account of every row that was lost or multiplied. For three tables, join a join."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import polars as pl

from lode.core.errors import DataError, listed, near_miss
from lode.core.registry import REGISTRIES
from lode.core.types import ColumnName, SourceSpec
from lode.data.access import watch
from lode.data.alike import matching
from lode.data.alike.matching import Keys, Match
from lode.data.contracts import Source
from lode.data.place import Place

_EXPECT = {
    "one_to_one": ("left", "right"),
    "one_to_many": ("left",),
    "many_to_one": ("right",),
    "many_to_many": (),
}
"""The sides on which a key may stand only once."""


class Join(Source):
    """Rows of two sources side by side where their keys are equal. Lost rows, multiplied rows and keys without a partner are told.

    Args:
        left: the source whose rows are kept in their order.
        right: the source that adds columns; keys without a cell match nothing.
        on: columns that both have; keys are their cells together.
        left_on: instead of `on`, the columns of the left source.
        right_on: and those of the right one, in the same order; they are left out of the result.
        how: which rows are kept: `left` every left one, `inner` those with a partner, `full` all; `semi` and `anti` keep left rows
            with or without a partner and add no columns.
        suffix: added to the name of a right column that the left source has too.
        key_type: how keys are compared where one side has text and the other numbers: both as `text`, or both as `number`.
        expect: how often a key may stand on each side; more is an error that names keys.
    """

    def __init__(
        self,
        place: Place,
        *,
        left: SourceSpec,
        right: SourceSpec,
        on: ColumnName | list[ColumnName] | None = None,
        left_on: ColumnName | list[ColumnName] | None = None,
        right_on: ColumnName | list[ColumnName] | None = None,
        how: Literal["left", "inner", "full", "semi", "anti"] = "left",
        suffix: str = "_right",
        key_type: Literal["text", "number"] | None = None,
        expect: Literal["one_to_one", "one_to_many", "many_to_one", "many_to_many"] | None = None,
    ) -> None:
        create = REGISTRIES["source"].create
        self.left: Source = create(left, place)
        self.right: Source = create(right, place)
        self._paths = [str(side.options.get("path", "")) for side in (left, right)]
        self._sides = {"left": (left, self.left), "right": (right, self.right)}
        self._place = place
        self.within: dict[str, dict[str, Any]] = {}
        self.on = _both(on, left_on, right_on)
        self.how, self.suffix, self.key_type, self.expect = how, suffix, key_type, expect
        self.name = f"join on {listed(self.on[0])}"
        self._told: list[str] | None = None

    @property
    def notes(self) -> list[str]:  # type: ignore[override]
        """What the two sources say, and then what the join did."""
        return [*self.left.notes, *self.right.notes, *(self._told or ())]

    @property
    def num_bytes(self) -> int:  # type: ignore[override]
        return self.left.num_bytes + self.right.num_bytes

    @property
    def unpacked_bytes(self) -> int:  # type: ignore[override]
        sides = ((self._paths[0], self.left), (self._paths[1], self.right))
        known = [(path, side.num_bytes, side.unpacked_bytes) for path, side in sides]
        return sum(watch.unpacked(path, size) if whole is None else whole for path, size, whole in known)

    def fingerprint(self) -> str:
        both = ""
        for side, (component, source) in self._sides.items():
            sha256 = source.fingerprint()
            num_bytes = watch.size(component, self._place) or source.num_bytes
            own = {side: {"name": watch.label(component), "sha256": sha256, "bytes": num_bytes}}
            # Of a join within, its sides: the one that changed is what a user looks for.
            self.within |= {f"{side} {word}": facts for word, facts in source.within.items()} or own
            both += sha256
        return hashlib.sha256(both.encode()).hexdigest()

    def scan(self) -> pl.LazyFrame:
        left, right = self.left.scan(), self.right.scan()
        keys = self._keys(left, right)
        if self._told is None:
            self._told = self._account(left, right, keys)
        return self._joined(left, right, keys)

    def _keys(self, left: pl.LazyFrame, right: pl.LazyFrame) -> Keys:
        """The key columns, held against what the sources have."""
        for side, names, frame in (("left", self.on[0], left), ("right", self.on[1], right)):
            have = frame.collect_schema().names()
            for name in names:
                if name not in have:
                    raise DataError(
                        f'{self.name}: the {side} source has no column "{name}", found {listed(have)}.{near_miss(name, have)}'
                    )
        return matching.comparable(left, right, self.on, self.key_type, self.name)

    def _joined(self, left: pl.LazyFrame, right: pl.LazyFrame, keys: Keys) -> pl.LazyFrame:
        """The rows, in the order of the left source, then of the right one."""
        left_names, right_names = left.collect_schema().names(), right.collect_schema().names()
        if self.how in ("semi", "anti"):
            mine, theirs = left.with_columns(keys.left), right.select(keys.right).unique()
            found = mine.join(theirs, on=keys.names, how=self.how, maintain_order="left")  # type: ignore[arg-type]
            return found.select(left_names)
        added = {name: name + self.suffix if name in left_names else name for name in right_names if name not in self.on[1]}
        made = [*left_names, *added.values()]
        twice = sorted({name for name in made if made.count(name) > 1})
        if twice:
            raise DataError(
                f'{self.name}: suffix "{self.suffix}" makes the name {listed(twice)} a second time. Write another suffix.'
            )
        mine = left.with_columns(keys.left)
        outer = [pl.col(name).alias(f"__right_{index}__") for index, name in enumerate(self.on[1])] if self.how == "full" else []
        theirs = right.select(*keys.right, *outer, *(pl.col(old).alias(new) for old, new in added.items()))
        found = mine.join(theirs, on=keys.names, how=self.how, maintain_order="left_right", coalesce=True)  # type: ignore[arg-type]
        if self.how == "full":
            found = found.with_columns(self._filled_keys(left.collect_schema()))
        return found.select(*left_names, *added.values())

    def _filled_keys(self, left: pl.Schema) -> list[pl.Expr]:
        """Rows that only the right source has show its keys, in the type of the left one."""
        return [
            pl.coalesce(pl.col(name), pl.col(f"__right_{index}__").cast(left[name], strict=False)).alias(name)
            for index, name in enumerate(self.on[0])
        ]

    def _account(self, left: pl.LazyFrame, right: pl.LazyFrame, keys: Keys) -> list[str]:
        """What the join does to rows. Errors: DataError where `expect` is broken, or nothing is left."""
        match = matching.match(left, right, keys)
        self._check_expected(match)
        num_rows = match.num_rows(self.how)
        if not num_rows:
            raise DataError(
                f"{self.name}: no row is left ({self.how}). Keys on the left: {_shown(match.sample('left'))}; on the right: "
                f"{_shown(match.sample('right'))}. Check the columns, and how keys are written on each side."
            )
        told = [
            f"{self.name} ({self.how}): {match.num_left:,} left rows and {match.num_right:,} right rows give {num_rows:,} rows."
        ]
        return told + self._unmatched(match) + self._duplicates(match)

    def _unmatched(self, match: Match) -> list[str]:
        told = []
        for side, kept in (("left", self.how in ("left", "full", "anti")), ("right", self.how == "full")):
            rows, number, samples = match.unmatched(side)
            if rows:
                fate = "kept" if kept else "lost"
                told.append(
                    f"{self.name}: {rows:,} {side} rows ({number:,} keys: {_shown(samples)}) have no partner and are {fate}."
                )
            if match.num_null[side]:
                told.append(f"{self.name}: {match.num_null[side]:,} {side} rows have an empty key, which matches nothing.")
        return told

    def _duplicates(self, match: Match) -> list[str]:
        number, samples = match.duplicates("right")
        if not number or self.how in ("semi", "anti"):
            return []
        more = match.num_multiplied
        told = f"{self.name}: {number:,} keys stand more than once on the right ({_shown(samples)}), which makes {more:,} more rows"
        advice = "" if self.expect else "; `expect: many_to_one` makes this an error"
        return [f"{told}{advice}."]

    def _check_expected(self, match: Match) -> None:
        for side in _EXPECT[self.expect] if self.expect else ():
            number, samples = match.duplicates(side)
            if number:
                raise DataError(
                    f"{self.name}: expect {self.expect}, but {number:,} keys stand more than once on the {side} "
                    f"({_shown(samples)}). Mend the {side} source, or write another `expect`."
                )


_Names = ColumnName | list[ColumnName] | None


def _both(on: _Names, left_on: _Names, right_on: _Names) -> tuple[list[str], list[str]]:
    """The key columns of each side. Errors: DataError where they are named twice, not at all, or not in pairs."""
    if on is not None and (left_on is not None or right_on is not None):
        raise DataError("join: found `on` beside left_on or right_on, allowed: one of them. Remove the others.")
    left, right = (_list(left_on), _list(right_on)) if on is None else (_list(on), _list(on))
    if not left or len(left) != len(right):
        raise DataError(
            f"join: found {len(left)} columns of the left source and {len(right)} of the right one, allowed: as many, one at least. "
            'Write "on: COLUMN", or left_on and right_on.'
        )
    return left, right


def _list(names: _Names) -> list[str]:
    return [] if names is None else [names] if isinstance(names, str) else list(names)


def _shown(samples: Sequence[tuple[object, ...]]) -> str:
    """Keys for a message; those of several columns joined by +."""
    texts = [
        " + ".join("empty" if cell is None else repr(cell) if isinstance(cell, str) else str(cell) for cell in key)
        for key in samples
    ]
    return ", ".join(texts) or "none"
