"""Classes of very different size. Read lode/data/contracts.py first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from lode.core.types import Range
from lode.data.contracts import Finding, Observation


class Imbalance(Finding):
    """One class of the first output has many times the rows of another: accuracy says little then.

    Args:
        ratio: from so many rows of the most frequent class per row of the rarest on.
    """

    title: ClassVar[str] = "classes of very different size"

    def __init__(self, *, ratio: Annotated[float, Range(1)] = 20.0) -> None:
        self.ratio = ratio

    def look(self, profile: Mapping[str, Any]) -> list[Observation]:
        target = profile["target"]
        if target is None or not target["classes"]:
            return []
        counts = {word: sum(rows.values()) for word, rows in target["classes"].items()}
        most, least = max(counts, key=lambda word: counts[word]), min(counts, key=lambda word: counts[word])
        if len(counts) < 2 or counts[most] < self.ratio * counts[least]:
            return []
        text = f'{target["name"]}: {counts[most]:,} rows are "{most}", {counts[least]:,} are "{least}".'
        advice = "Judge by AUC or average precision, not accuracy; say in a value block what each mistake costs."
        return [Observation("warning", (target["name"],), text, advice)]
