"""The cleaners of a file at work on a table: raw cells, whole source, training rows, and what those inside the model will change.

What each changed goes into the change log, and into a sentence. Read lode/data/ingest.py first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl

from lode.core.errors import DataError, listed
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.changes import REDACTED, ChangeLog, Tally, reasoned
from lode.data.contracts import Cleaner, State
from lode.data.infer import Repair
from lode.data.split import PARTS
from lode.data.table import Change, Table, changed_rows

_LOG_ROWS = 1 << 18
_NUM_SAMPLES = 5


@dataclass(slots=True)
class _Step:
    """One cleaner of the file. name: its word, with its place where the word occurs twice."""

    name: str
    component: Component
    cleaner: Cleaner
    hides: Literal["before", "both"] | None = None
    """What the log must not hold: old values of personal data, and all values that a later step will find personal."""


@dataclass(slots=True)
class Cleaning:
    """All cleaners, in the order of the file. notes and dropped are those of the ingestion."""

    components: Sequence[Component]
    log: ChangeLog
    notes: list[str]
    dropped: dict[str, int]
    steps: list[_Step] = field(init=False)

    def __post_init__(self) -> None:
        words = [component.type for component in self.components]
        names = [word if words.count(word) == 1 else f"{word} {words[: place + 1].count(word)}" for place, word in enumerate(words)]
        made = [REGISTRIES["cleaner"].create(component) for component in self.components]
        self.steps = [_Step(*item) for item in zip(names, self.components, made, strict=True)]
        last_secret = max((place for place, step in enumerate(self.steps) if step.cleaner.secret), default=-1)
        for step in self.steps[: last_secret + 1]:
            step.hides = "before" if step.cleaner.secret else "both"

    @property
    def leaves_numbers(self) -> bool:
        """Whether columns of numbers may be read as such: no raw cleaner wants to see how they are written."""
        return all(step.cleaner.leaves_numbers for step in self._on("raw"))

    def repair(self) -> Repair | None:
        """What raw cleaners would make of cells, if their column were of a type; for inference."""
        components = [step.component for step in self._on("raw", "cells")]
        if not components:
            return None

        def repair(values: pl.Series, word: str) -> pl.Series:
            frame = values.to_frame("value")
            for component in components:
                # Columns are looked at side by side: every one has cleaners of its own.
                cleaner = REGISTRIES["cleaner"].create(component)
                cleaner.fit(frame.lazy(), {"value": word})
                frame = cleaner.apply(frame)
            return frame["value"]

        return repair

    @property
    def learnt(self) -> list[State]:
        """States of the raw cleaners of cells, in order."""
        return [step.cleaner.state() for step in self._on("raw", "cells")]

    def raw(self, table: Table, types: Mapping[str, str], carried: Sequence[str]) -> None:
        """Mend cells as the source gave them; words that occur often are mended once each.

        types: inputs that are no pictures. carried: columns that only come along (groups to split by): looked at for personal data.
        """
        for step in self._on("raw"):
            also = {name: "category" for name in carried if name not in types and table.dtype(name) in (pl.String, pl.Enum)}
            seen = {**types, **(also if step.cleaner.secret else {})}
            dtypes = {name: table.dtype(name) for name in seen}
            often = [name for name, dtype in dtypes.items() if dtype == pl.Enum] if step.cleaner.scope == "cells" else []
            skip = {name for name, dtype in dtypes.items() if step.cleaner.leaves_numbers and dtype.is_numeric()}
            rest = [name for name in dtypes if name not in often and name not in skip]
            self._fit(step, table.rows([*often, *rest], table.keep), seen)
            for name in often:
                self._mend_words(table, name, step)
            if rest:
                self._apply(table, rest, step, None, table.keep.copy())
            self._note(step, None)

    def source(self, table: Table, names: Sequence[str], types: Mapping[str, str]) -> None:
        """Cleaners that see all rows before the split. Errors: DataError where no rows are left."""
        self.need_rows(table)
        for step in self._on("typed", "source"):
            self._fit(step, table.rows(names, table.keep, plain=not step.cleaner.coded), types)
            self._apply(table, names, step, None, table.keep.copy())
            self._note(step, None)
            self.need_rows(table)

    def training(self, table: Table, names: Sequence[str], types: Mapping[str, str], train: np.ndarray) -> None:
        """Cleaners of training rows only. Errors: DataError where none of them is left."""
        steps = self._on("typed", "training")
        for step in steps:
            mask = train & table.keep
            self._fit(step, table.rows(names, mask, plain=not step.cleaner.coded), types)
            self._apply(table, names, step, "train", mask)
            self._note(step, "train")
            if not (train & table.keep).any():
                raise DataError(
                    f"data.clean: no training rows are left after {listed(step.name for step in steps)}. Change the cleaners."
                )

    def cells(self, table: Table, types: Mapping[str, str], masks: Mapping[str, np.ndarray]) -> None:
        """What the cleaners that are part of the model will change, one after another. masks: part -> bool (N,).

        The snapshot, which is written already, keeps the cells as they were; a cleaner learns from what those before it made.
        """
        names, steps = list(types), self._on("typed", "cells")
        if not steps:
            return
        place_of = np.zeros(table.num_rows, dtype=np.uint8)
        for place, mask in enumerate(masks.values()):
            place_of[mask] = place
        codes = pl.Series(place_of)
        rows = np.logical_or.reduce(list(masks.values()))
        again: list[Cleaner] = []  # whose work is done anew whenever the rows are read: less than keeping what they changed
        for place, step in enumerate(steps):
            plain, keep = not step.cleaner.coded, place < len(steps) - 1
            first = _all_of(again)
            train = table.rows(names, masks["train"], plain=plain)
            self._fit(step, train if first is None else changed_rows(train, first), types)
            if keep and step.cleaner.own_column:
                again, keep = [*again, step.cleaner], False
            elif keep:
                again = []
            found = table.change(names, step.cleaner.apply, rows, first=first, why=step.cleaner.why, plain=plain, keep=keep)
            for changed in found:
                self.log.add(step.name, codes.gather(changed["row"]).cat.to(pl.Enum(PARTS)), changed, step.hides)
            for part in PARTS:
                self._note(step, part)

    def need_rows(self, table: Table) -> None:
        """Errors: DataError where no rows are left, with what became of them."""
        if not table.keep.any():
            reasons = listed(f"{why}: {count:,} rows" for why, count in self.dropped.items())
            raise DataError(f"data: no rows are left ({reasons or 'the sources have none'}). Check the sources and the cleaners.")

    def _on(self, on: str, scope: str | None = None) -> list[_Step]:
        return [step for step in self.steps if step.cleaner.on == on and scope in (None, step.cleaner.scope)]

    def _fit(self, step: _Step, rows: pl.LazyFrame, types: Mapping[str, str]) -> None:
        step.cleaner.fit(rows, types)
        self.notes += [f"clean {step.name}: {note}" for note in step.cleaner.notes]

    def _apply(self, table: Table, names: Sequence[str], step: _Step, part: str | None, rows: np.ndarray) -> None:
        seen = () if step.cleaner.by_row else names
        for changed in table.change(seen, step.cleaner.apply, rows, why=step.cleaner.why, plain=not step.cleaner.coded):
            self.log.add(step.name, part, changed, step.hides)

    def _mend_words(self, table: Table, name: str, step: _Step) -> None:
        as_it_was = table.one(name)
        mask = table.change_words(name, lambda words: step.cleaner.apply(words.to_frame(name)).to_series())
        if mask is None:
            return
        before = as_it_was.collect().to_series()
        after, rows = table.column(name), np.flatnonzero(mask & table.keep)
        for start in range(0, len(rows), _LOG_ROWS):
            some = rows[start : start + _LOG_ROWS]
            columns = {
                "row": pl.Series(some, dtype=pl.UInt64),
                "column": pl.repeat(name, len(some), dtype=pl.String, eager=True),
                "before": before.gather(some).cast(pl.String),
                "after": after.gather(some).cast(pl.String),
            }
            self.log.add(step.name, None, reasoned(pl.DataFrame(columns), step.cleaner.why), step.hides)

    def _note(self, step: _Step, part: str | None) -> None:
        """Say how much a cleaner changed."""
        where = f" of {part}" if part else ""
        dropped, found = self.log.rows_dropped(step.name, part), self.log.cells_of(step.name, part)
        if dropped:
            self.dropped[step.name] = self.dropped.get(step.name, 0) + dropped
            self.notes.append(f"clean {step.name}: {dropped:,} rows{where} were dropped.")
        if found:
            num_changed = sum(tally.changed for tally in found)
            self.notes.append(f"clean {step.name}: {num_changed:,} cells{where} were changed{_lost(found)}.")


def _all_of(cleaners: Sequence[Cleaner]) -> Change | None:
    """The work of all of them, one after another; None where there are none."""
    if not cleaners:
        return None

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        for cleaner in cleaners:
            frame = cleaner.apply(frame)
        return frame

    return change


def _lost(found: Sequence[Tally]) -> str:
    """How many cells a cleaner could not read, with examples."""
    num_lost = sum(tally.lost for tally in found)
    if not num_lost:
        return ""
    cells = [sample["before"] for tally in found for sample in tally.lost_samples if sample["before"] != REDACTED]
    samples = ", ".join(repr(cell) for cell in list(dict.fromkeys(cells))[:_NUM_SAMPLES])
    return f", {num_lost:,} of them to missing{f' ({samples})' if samples else ''}"
