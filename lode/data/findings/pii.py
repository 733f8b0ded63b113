"""Personal data in inputs. Figures: lode/data/mending/personal.py. Read lode/data/contracts.py first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from lode.core.types import Range
from lode.data.contracts import Finding, Observation

_NUMBERS = 0.5
"""Of long numbers, some look like an identity number by chance: of a column of numbers, this share at least must pass."""


class Pii(Finding):
    """Cells hold what points to a person: e-mail addresses, telephone, card, account or identity numbers, IP addresses.

    Args:
        share: from this share of the filled cells on.
    """

    title: ClassVar[str] = "personal data"

    def __init__(self, *, share: Annotated[float, Range(0, 1, open_low=True)] = 0.01) -> None:
        self.share = share

    def look(self, profile: Mapping[str, Any]) -> list[Observation]:
        found = []
        for name, record in profile["columns"].items():
            limit = max(self.share, _NUMBERS) if record["kind"] == "number" else self.share
            kinds = {kind: share for kind, share in record.get("personal", {}).items() if share >= limit}
            if kinds:
                told = ", ".join(f"{kind} in {share:.0%}" for kind, share in kinds.items())
                text = f"{name}: cells look like personal data ({told})."
                advice = "Leave it out, or add `{type: pii}` to data.clean; ask whether you may use it."
                found.append(Observation("warning", (name,), text, advice))
        return found
