"""The bound of the data stage, held against what the run measured. Read lode/data/contracts.py first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lode.core.disk import size_text
from lode.data.contracts import Finding, Observation


class Memory(Finding):
    """The data stage came to more memory than `data.memory` allows."""

    title: ClassVar[str] = "more memory than allowed"

    def __init__(self) -> None:
        """Its limit stands under `data`."""

    def look(self, profile: Mapping[str, Any]) -> list[Observation]:
        """Of `memory` (`allowed_bytes`, `peak_bytes`, `before_bytes`), which a run adds: the same rows may take another way each time."""
        found = profile.get("memory")
        if found is None or found["peak_bytes"] <= found["allowed_bytes"]:
            return []
        peak, allowed, before = (size_text(found[f"{word}_bytes"]) for word in ("peak", "allowed", "before"))
        text = f"the data stage came to {peak} of memory, {before} of them before it began; allowed are {allowed}."
        advice = (
            "Set data.memory to what this machine can give, or name fewer inputs; long texts, pictures and wide rows take most."
        )
        return [Observation("warning", (), text, advice)]
