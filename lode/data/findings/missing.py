"""Empty cells. Read lode/data/contracts.py first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from lode.core.types import Range
from lode.data.contracts import Finding, Observation

_MOST = 0.5


class Missing(Finding):
    """An input is empty in many rows.

    Args:
        share: from this share of empty cells on.
    """

    title: ClassVar[str] = "empty cells"

    def __init__(self, *, share: Annotated[float, Range(0, 1, open_low=True)] = 0.1) -> None:
        self.share = share

    def look(self, profile: Mapping[str, Any]) -> list[Observation]:
        found = []
        for name, record in profile["columns"].items():
            share = record["missing"]["share"]
            if record["role"] != "input" or share < self.share or share == 1:
                continue
            severity: Literal["warning", "info"] = "warning" if share >= _MOST else "info"
            text = f"{name}: {record['missing']['rows']:,} of {record['rows']:,} cells are empty ({share:.1%})."
            advice = "Find out why; fill it (`clean: [missing]`), or leave it out if it is empty where it would matter."
            found.append(Observation(severity, (name,), text, advice))
        return found
