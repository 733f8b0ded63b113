"""Permutation importance: what an output's first metric loses when one input column is shuffled (Breiman 2001).

Works on raw cells through the whole model, preprocessing included, so that it explains what is served. Inputs that say
the same share their importance: shuffle one, and the model still reads the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from lode.model import bootstrap
from lode.pipeline import scoring
from lode.pipeline.scoring import Predictor, Truth


def importance(
    model: Predictor, frame: pl.DataFrame, truths: Mapping[str, Truth], *, rows: int, repeats: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Per output: {"metric", "value", "rows", "repeats", "inputs": [{"input", "loss", "low", "high"}]}, largest first.

    frame: test rows; at most `rows` of them are used, drawn once. loss: mean over the repeats; low and high: the
    smallest and the largest loss of a repeat. One scoring pass serves every output.
    """
    generator = np.random.default_rng([seed, 101])
    if frame.height > rows:
        chosen = np.sort(generator.choice(frame.height, rows, replace=False))
        frame, truths = frame[chosen], {name: among(truth, chosen) for name, truth in truths.items()}
    truths = {name: truth for name, truth in truths.items() if len(truth.rows)}
    frame = scoring.inputs_of(model, frame)
    base = _values(model, frame, truths)
    losses: dict[str, dict[str, list[float]]] = {name: {} for name in truths}
    for column in frame.columns:
        for _ in range(repeats):
            # One scoring pass a repeat: copies of an image column never pile up.
            shuffled = frame.with_columns(frame[column].gather(generator.permutation(frame.height)))
            for name, value in _values(model, shuffled, truths).items():
                losses[name].setdefault(column, []).append(_sign(model, name) * (base[name] - value))
    # A figure that is undefined (an AUC of one class) has nothing to lose.
    judged = [name for name in truths if math.isfinite(base[name])]
    return {name: _record(model, truths[name], base[name], losses[name], repeats) for name in judged}


def among(truth: Truth, chosen: np.ndarray) -> Truth:
    """The same output on the rows at `chosen` (sorted), positions counted among them."""
    kept = np.isin(truth.rows, chosen, assume_unique=True)
    return Truth(truth.name, truth.kind, np.searchsorted(chosen, truth.rows[kept]), truth.target[kept])


def _values(model: Predictor, frame: pl.DataFrame, truths: Mapping[str, Truth]) -> dict[str, float]:
    scores = model.scores(frame)
    values = {}
    for name, truth in truths.items():
        task = model.tasks[name]
        prediction = scoring.figures(task, scores[name][truth.rows], model.temperatures.get(name, 1.0))
        values[name] = bootstrap.figure(task.metrics[0], prediction, truth.target)
    return values


def _sign(model: Predictor, name: str) -> float:
    return 1.0 if scoring.higher_is_better(model.tasks[name].metrics[0]) else -1.0


def _record(model: Predictor, truth: Truth, base: float, losses: Mapping[str, list[float]], repeats: int) -> dict[str, Any]:
    inputs: list[dict[str, Any]] = [
        {"input": column, "loss": float(np.mean(found)), "low": float(min(found)), "high": float(max(found))}
        for column, found in losses.items()
    ]
    inputs.sort(key=lambda item: -item["loss"])
    word = model.tasks[truth.name].metrics[0]
    return {"metric": word, "value": base, "rows": len(truth.rows), "repeats": repeats, "inputs": inputs}
