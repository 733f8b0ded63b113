"""Test rows that training has too. Figures: lode/data/quality/crossing.py. Read lode/data/contracts.py first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from lode.core.types import Range
from lode.data.contracts import Finding, Observation

_MANY = 0.1
_BEYOND_CHANCE = 3.0
"""Few inputs of few values repeat by chance: so many times what chance gives must be seen."""
_AGREE = 0.8
"""Copies have the same output, too; rows that meet by chance often do not."""


class DuplicatesAcrossSplit(Finding):
    """Test or validation rows with the same inputs (or nearly the same texts) as a training row: the model is tested on its memory.

    Args:
        share: from this share of a part's rows on.
    """

    title: ClassVar[str] = "rows on both sides of the split"

    def __init__(self, *, share: Annotated[float, Range(0, 1, open_low=True)] = 0.01) -> None:
        self.share = share

    def look(self, profile: Mapping[str, Any]) -> list[Observation]:
        return [
            found
            for part in ("test", "validation")
            for found in (self._equal(profile["crossing"], part), *self._near(profile["near"], part))
            if found is not None
        ]

    def _equal(self, crossing: Mapping[str, Any], part: str) -> Observation | None:
        rows, share = crossing["rows"].get(part, 0), crossing["share"].get(part, 0.0)
        if share < self.share or share < _BEYOND_CHANCE * crossing["chance"] or crossing["agree"][part] < _AGREE * rows:
            return None
        text = f"{rows:,} {part} rows ({share:.1%}) have the same inputs as a training row."
        advice = "Add `duplicates` to data.clean, or split by group so that copies stay together."
        return Observation("error" if share >= _MANY else "warning", (), text, advice)

    def _near(self, near: Mapping[str, Any], part: str) -> list[Observation]:
        found = []
        for name, record in near.items():
            share = record["share"].get(part, 0.0)
            if share >= self.share:
                text = f"{name}: {share:.1%} of the {part} texts nearly equal a training text (of {record['looked_at'][part]:,} looked at)."
                advice = "Let `duplicates` in data.clean drop near copies, or split by group so that copies stay together."
                found.append(Observation("error" if share >= _MANY else "warning", (name,), text, advice))
        return found
