"""Inputs that give the answer away. Figures: lode/data/quality/relation.py. Read lode/data/contracts.py first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from lode.core.types import Range
from lode.data.contracts import Finding, Observation

_TELLS = {
    "target": "it is the target under another name",
    "value": "it tells the target without a fault",
    "threshold": "one threshold on it tells the target without a fault",
    "line": "it is the target, or a straight line of it",
}
_ADVICE = "Leave it out unless it is known before the prediction."


class Leakage(Finding):
    """One input alone predicts an output better than an honest one could.

    An input that tells an output in every row is an error; one that nearly tells the first output is a warning. That is judged out of
    fold, on values put into bins.

    Args:
        auc: from this area under the ROC curve on, of one column alone, an output with classes is called given away.
        r2: from this share of the variance on, explained by one column alone, an output of numbers is.
    """

    title: ClassVar[str] = "inputs that give the output away"

    def __init__(self, *, auc: Annotated[float, Range(0.5, 1)] = 0.995, r2: Annotated[float, Range(0, 1)] = 0.99) -> None:
        self.limits = {"auc": auc, "r2": r2}

    def look(self, profile: Mapping[str, Any]) -> list[Observation]:
        found = []
        for name, record in profile["columns"].items():
            relation, tells = record.get("relation"), record.get("tells", {})
            for output, how in tells.items():
                found.append(Observation("error", (name, output), f"{name}: {_TELLS[how]} ({output}).", _ADVICE))
            if relation is not None and not tells and relation["power"] >= self.limits[relation["measure"]]:
                what = "its length alone" if record["kind"] == "text" else "alone it"
                text = f"{name}: {what} reaches {_measured(relation)} for {profile['target']['name']}."
                found.append(Observation("warning", (name,), text, _ADVICE))
        return found


def _measured(relation: Mapping[str, Any]) -> str:
    word = {"auc": "an AUC", "r2": "an R2"}[relation["measure"]]
    return f"{word} of {relation['power']:.3f}"
