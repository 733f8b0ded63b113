"""Scores of several models put together: their weighted mean, and the weights that do best on rows that none of them saw.

Classes are averaged as probabilities, numbers as they are; the mean comes back as scores, so that everything behind it (temperature,
decoding, policies) works as with one model. Shape letters: M models, N rows, K scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import expit, log_softmax

from lode.model.contracts import Task

_LEAST = 1e-7
"""Probabilities are kept this far from 0 and 1, about the resolution of float32."""
_STEPS = 50
_PATIENCE = 10
"""Steps without a lower loss after which no more are tried: the first model added may only help once it weighs less than a half."""
_LABELS = ("labels",)
_CLASSES = ("classes", "tags")
_NUMBERS = ("number", "quantiles")


def can_pool(task: Task) -> bool:
    """Whether a mean of several models' scores means anything for this task."""
    return task.kind in (*_LABELS, *_CLASSES, *_NUMBERS)


def pooled(task: Task, scores: Sequence[np.ndarray], weights_M: Sequence[float]) -> np.ndarray:
    """The weighted mean as scores, float32, of the shape of each. weights_M: not negative, with a sum above 0."""
    total = None
    for each, weight in zip(scores, weights_M, strict=True):
        if weight:
            part = weight * _opened(task, each)
            total = part if total is None else total + part
    assert total is not None, "one weight at least is above 0"
    return _closed(task, total / float(sum(weights_M))).astype(np.float32)


def _opened(task: Task, scores: np.ndarray) -> np.ndarray:
    """Scores as what may be averaged: probabilities or numbers, float64."""
    scores = np.asarray(scores, np.float64)
    if task.kind in _NUMBERS:
        return scores
    if scores.shape[-1] == 1 or task.kind in _LABELS:
        return np.asarray(expit(scores))
    return np.exp(log_softmax(scores, axis=-1))


def _closed(task: Task, mean: np.ndarray) -> np.ndarray:
    """And back."""
    if task.kind in _NUMBERS:
        return mean
    mean = np.clip(mean, _LEAST, 1.0 - _LEAST)
    if mean.shape[-1] == 1 or task.kind in _LABELS:
        return np.asarray(np.log(mean) - np.log1p(-mean))
    return np.asarray(np.log(mean))


def greedy(task: Task, scores: Mapping[str, np.ndarray], target: np.ndarray) -> dict[str, float]:
    """Weights by adding, step by step, the model that helps the mean most (Caruana 2004, Ensemble selection from libraries of models).

    Starts from the best one; a model may be added again; of at most 50 steps those up to the least loss count. What is lowered is the log
    loss, or the squared error. target: as encoded, known rows only. Returns the share of each model, 0 for those never added.
    """
    names = list(scores)
    opened = [_opened(task, scores[name]) for name in names]
    counts, total = np.zeros(len(names)), np.zeros_like(opened[0])
    kept, reached, reached_at = counts, np.inf, 0
    for step in range(_STEPS):
        losses = [_loss(task, (total + each) / (step + 1), target) for each in opened]
        best = int(np.argmin(losses))
        counts[best], total = counts[best] + 1, total + opened[best]
        # Nothing that a different draw of rows would undo: a gain below one part in a hundred thousand is none.
        if losses[best] < reached * (1.0 - 1e-5):
            kept, reached, reached_at = counts.copy(), losses[best], step
        elif step - reached_at >= _PATIENCE:
            break
    if not np.isfinite(reached):  # no loss is finite: all alike
        kept = np.ones(len(names))
    return {name: float(count / kept.sum()) for name, count in zip(names, kept, strict=True)}


def row_losses(task: Task, scores: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Log loss or squared error of each row (of each step, where rows have steps), float64."""
    return _losses(task, _opened(task, scores), target)


def _loss(task: Task, mean: np.ndarray, target: np.ndarray) -> float:
    return float(_losses(task, mean, target).mean())


def _losses(task: Task, mean: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Of what was averaged; unknown steps are left out."""
    if task.kind in _NUMBERS:
        short_NK = np.asarray(target, np.float64).reshape(len(target), -1) - mean
        if task.kind == "number":
            return np.asarray((short_NK**2).mean(axis=-1))
        levels_K = np.array([part.level for part in task.parts()])
        return np.asarray(np.maximum(levels_K * short_NK, (levels_K - 1.0) * short_NK).mean(axis=-1))
    mean = np.clip(mean, _LEAST, 1.0 - _LEAST)
    if task.kind in _LABELS or mean.shape[-1] == 1:
        truth = np.asarray(target, np.float64).reshape(mean.shape)
        return np.asarray(-(truth * np.log(mean) + (1.0 - truth) * np.log1p(-mean)).mean(axis=-1))
    known = np.asarray(target) >= 0
    picked = np.take_along_axis(mean[known], np.asarray(target)[known][:, None], axis=-1)
    return np.asarray(-np.log(picked[:, 0]))
