"""Inputs that name the row instead of describing it. Read lode/data/contracts.py first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from lode.core.types import Range
from lode.data.contracts import Finding, Observation

_MIN_ROWS = 50


class IdLike(Finding):
    """Nearly every row has another word, or another whole number, in it: an id. A model learns rows by heart from it.

    Args:
        share: from this share of different values among the filled cells on.
    """

    title: ClassVar[str] = "inputs that are ids"

    def __init__(self, *, share: Annotated[float, Range(0, 1, open_low=True)] = 0.95) -> None:
        self.share = share

    def look(self, profile: Mapping[str, Any]) -> list[Observation]:
        found = []
        for name, record in profile["columns"].items():
            known = record["rows"] - record["missing"]["rows"]
            counted = record["kind"] == "word" or record.get("whole", False)
            if record["role"] != "input" or not counted or known < _MIN_ROWS:
                continue
            values = record["distinct"]["values"]
            if values >= self.share * known:
                text = f"{name}: {values:,} different values in {known:,} filled cells, like an id."
                advice = "Leave it out: a new row has another one. Where rows belong together by it, split by group instead."
                found.append(Observation("warning", (name,), text, advice))
        return found
