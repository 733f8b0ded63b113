"""Columns that say the same in every row. Read lode/data/contracts.py first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from lode.core.types import Range
from lode.data.contracts import Finding, Observation


class Constant(Finding):
    """An input has the same value in (nearly) all rows, or no value at all: nothing can be learnt from it.

    Args:
        share: from this share of rows with the same value on; 1 is every row.
    """

    title: ClassVar[str] = "inputs that never change"

    def __init__(self, *, share: Annotated[float, Range(0.5, 1)] = 0.9999) -> None:
        self.share = share

    def look(self, profile: Mapping[str, Any]) -> list[Observation]:
        found = []
        for name, record in profile["columns"].items():
            if record["role"] != "input" or not record["rows"]:
                continue
            how = self._how(record)
            if how is not None:
                found.append(Observation("info", (name,), f"{name}: {how}.", "Leave it out: it costs time and says nothing."))
        return found

    def _how(self, record: Mapping[str, Any]) -> str | None:
        if record["missing"]["rows"] == record["rows"]:
            return "every cell is empty"
        if not record.get("top_exact") or not record["top"]:
            return None
        first = record["top"][0]
        share = sum(first["rows"].values()) / record["rows"]
        if share < self.share:
            return None
        rows = "every row" if share == 1 else f"{share:.2%} of the rows"
        return f'it is "{first["value"]}" in {rows}'
