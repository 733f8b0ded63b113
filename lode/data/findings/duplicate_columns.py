"""Inputs that say the same as another one. Figures: lode/data/quality/lookalike.py. Read lode/data/contracts.py first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lode.data.contracts import Finding, Observation


class DuplicateColumns(Finding):
    """Two inputs are equal in every row, or one to one under other names (a code and its word).

    Args:
        renamed: look for columns that are one to one, too, not only for equal ones.
    """

    title: ClassVar[str] = "inputs that say the same"

    def __init__(self, *, renamed: bool = True) -> None:
        self.renamed = renamed

    def look(self, profile: Mapping[str, Any]) -> list[Observation]:
        found = []
        for pair in profile["lookalikes"]:
            first, second = pair["columns"]
            if pair["how"] == "equal":
                text = f"{second}: equal to {first} in every row."
                found.append(Observation("warning", (first, second), text, "Leave one of them out."))
            elif self.renamed:
                text = f"{second}: one to one with {first}, the same under other names."
                advice = "Keep the one whose form suits the model: the number where order matters."
                found.append(Observation("info", (first, second), text, advice))
        return found
