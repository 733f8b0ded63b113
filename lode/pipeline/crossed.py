"""Cross-validated figures: every metric of the first output over all judged rows, each judged by models that never saw it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lode.model import bootstrap
from lode.pipeline.development import Development
from lode.pipeline.judging import Judged, resamples_for
from lode.pipeline.portfolio import Slate
from lode.pipeline.scoring import higher_is_better, title


def figures(judged: Mapping[str, Judged], chosen: str, slate: Slate, development: Development, seed: int) -> dict[str, Any] | None:
    """Per metric and candidate the value, its 95 % interval and the value of each fold; None where nobody asked for folds.

    The figures are of the candidates' way of fitting, not of the packaged model: that one has seen these rows.
    """
    if not development.crossed:
        return None
    task = development.tasks[development.first]
    rounds = development.plan.rounds
    found: dict[str, Any] = {}
    for word in task.metrics:
        entry = {name: _figure(word, each, rounds_of(each, development), seed) for name, each in judged.items()}
        found[word] = {"title": title(word), "higher_is_better": higher_is_better(word), "candidates": entry}
    return {
        "output": development.first, "folds": len(rounds), "rows": len(judged[chosen].rows), "chosen": chosen,
        "named": list(slate.allowed), "metrics": found,
    }  # fmt: skip


def rounds_of(judged: Judged, development: Development) -> np.ndarray:
    """The round that judged each row (M,)."""
    number = np.empty(development.frame.height, np.int64)
    for place, part in enumerate(development.plan.rounds):
        number[part.judge] = place
    return number[judged.rows]


def _figure(word: str, judged: Judged, number: np.ndarray, seed: int) -> dict[str, Any]:
    found = bootstrap.intervals(word, judged.crossed, judged.truth, resamples_for(len(judged.rows)), seed)
    each = [bootstrap.figure(word, judged.crossed[number == place], judged.truth[number == place]) for place in np.unique(number)]
    finite = [value for value in each if np.isfinite(value)]
    spread = float(np.std(finite, ddof=1)) if len(finite) > 1 else None
    return {"value": found.value, "low": found.low, "high": found.high, "each_fold": each, "spread": spread}
