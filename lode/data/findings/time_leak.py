"""Training rows that are later than the rows they are tested on. Read lode/data/contracts.py first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from lode.core.types import Range
from lode.data.contracts import Finding, Observation


class TimeLeak(Finding):
    """The output changes with a date, but the split mixes earlier and later rows: the model is tested on a past whose future it knows.

    Args:
        auc: how well the date alone must tell classes before it counts as a change with time.
        r2: the same for an output of numbers.
    """

    title: ClassVar[str] = "training on the future of the test rows"

    def __init__(self, *, auc: Annotated[float, Range(0.5, 1)] = 0.6, r2: Annotated[float, Range(0, 1)] = 0.05) -> None:
        self.limits = {"auc": auc, "r2": r2}

    def look(self, profile: Mapping[str, Any]) -> list[Observation]:
        found = []
        for name, record in profile["columns"].items():
            if record["kind"] != "date" or record["role"] == "output" or profile["split"]["by"] == "time":
                continue
            (train_low, train_high), (test_low, _) = record["by_part"]["train"], record["by_part"]["test"]
            if train_high is None or test_low is None or train_high <= test_low:
                continue
            if train_low >= record["by_part"]["test"][1]:
                text = f"{name}: every training row is later than the test rows."
                found.append(Observation("error", (name,), text, "Swap the parts, or split by time."))
                continue
            relation = record.get("relation")
            if relation is not None and relation["power"] >= self.limits[relation["measure"]]:
                measure = f"{relation['measure'].upper()} {relation['power']:.2f} by the date alone"
                text = f"{name}: {profile['target']['name']} changes with it ({measure}), and training rows lie between test rows."
                advice = f"Split as the model will be used: `split: {{by: time, column: {name}}}`."
                found.append(Observation("warning", (name,), text, advice))
        return found
