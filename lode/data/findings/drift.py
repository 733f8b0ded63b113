"""Test rows that look unlike the training rows. Figures: lode/data/quality/drift.py. Read lode/data/contracts.py first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from lode.core.types import Range
from lode.data.contracts import Finding, Observation

_SURE = 0.001
"""Less likely than this by chance, over all columns together."""
_ID = 0.5
_ADVICE = "Find out what changed; if the test rows are what the model will meet, train on rows like them."


class Drift(Finding):
    """A column's cells in test are not what they are in training: shifted, more often empty, or words that training never saw.

    Small parts differ by chance: that much is taken off first.

    Args:
        psi: from this population stability index on, above what chance gives (0.1 is small, 0.25 large).
        new: from this share of test cells on whose word does not occur in training.
    """

    title: ClassVar[str] = "test rows unlike the training rows"

    def __init__(
        self, *, psi: Annotated[float, Range(0, open_low=True)] = 0.2, new: Annotated[float, Range(0, 1, open_low=True)] = 0.05
    ) -> None:
        self.psi, self.new = psi, new

    def look(self, profile: Mapping[str, Any]) -> list[Observation]:
        found = []
        num_columns = len(profile["columns"])
        for name, record in profile["columns"].items():
            if name == profile["split"]["column"] or (record["kind"] == "date" and profile["split"]["by"] == "time"):
                continue  # the split itself made these parts differ
            figures = (record.get("drift") or {}).get("test")
            if figures is None:
                continue
            if figures["psi"] - figures["chance"] >= self.psi and figures["p"] * num_columns < _SURE:
                word = "total variation" if record["kind"] == "word" else "Kolmogorov-Smirnov"
                text = f"{name}: test differs from training (PSI {figures['psi']:.2f}, {word} {figures['distance']:.2f})."
                found.append(Observation("warning", (name,), text, _ADVICE))
            new = record.get("new", {}).get("test", 0.0)
            known = record["rows"] - record["missing"]["rows"]
            is_id = record["kind"] == "word" and record["distinct"]["values"] > _ID * known  # every row has a new word, always
            if record["kind"] == "word" and record["role"] == "input" and not is_id and new >= self.new:
                text = f"{name}: {new:.1%} of the test cells hold words that training does not have."
                found.append(
                    Observation("warning", (name,), text, "A model treats them as unknown; group rare words, or leave it out.")
                )
        return found
