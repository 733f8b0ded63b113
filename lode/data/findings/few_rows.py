"""Parts with too few rows. Read lode/data/contracts.py first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from lode.core.types import Range
from lode.data.contracts import Finding, Observation


class FewRows(Finding):
    """Too few rows to learn from, or to judge by.

    Args:
        train: fewer training rows than this are few.
        test: fewer test rows than this give intervals that are too wide to decide anything.
    """

    title: ClassVar[str] = "too few rows"

    def __init__(self, *, train: Annotated[int, Range(1)] = 200, test: Annotated[int, Range(1)] = 100) -> None:
        self.limits = {"train": train, "test": test}

    def look(self, profile: Mapping[str, Any]) -> list[Observation]:
        advice = {
            "train": "Collect more; until then trust a simple model, and its interval.",
            "test": "Read every figure with its interval; collect more, or give test a larger share.",
        }
        return [
            Observation("info", (), f"{profile['rows'][part]:,} {part} rows only, fewer than {limit:,}.", advice[part])
            for part, limit in self.limits.items()
            if profile["rows"][part] < limit
        ]
