"""Classes with too few rows to learn, or none in a part. Read lode/data/contracts.py first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from lode.core.errors import listed
from lode.core.types import Range
from lode.data.contracts import Finding, Observation


class RareClasses(Finding):
    """A class of the first output has hardly any training rows, or none at all.

    Args:
        rows: fewer training rows than this are too few.
    """

    title: ClassVar[str] = "classes with hardly any rows"

    def __init__(self, *, rows: Annotated[int, Range(1)] = 10) -> None:
        self.rows = rows

    def look(self, profile: Mapping[str, Any]) -> list[Observation]:
        target = profile["target"]
        if target is None or not target["classes"]:
            return []
        name = target["name"]
        untrained = [word for word, rows in target["classes"].items() if not rows["train"]]
        rare = {word: rows["train"] for word, rows in target["classes"].items() if 0 < rows["train"] < self.rows}
        found = []
        if untrained:
            words = listed(f'"{word}"' for word in untrained)
            text = f"{name}: no training row is {words}; no model can predict it."
            found.append(Observation("error", (name,), text, "Mend the labels, leave these rows out, or split at random."))
        if rare:
            counts = listed(f'"{word}" ({rows})' for word, rows in rare.items())
            text = f"{name}: {len(rare)} classes have fewer than {self.rows} training rows: {counts}."
            found.append(Observation("warning", (name,), text, "Collect more of them, or merge them into one class."))
        return found
