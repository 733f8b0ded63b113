"""How candidates' scores become one: weights or a learner, found on the judged rows only, where every score is of a model that did not
see the row. What the ensemble itself is judged by is found out of fold once more: each row under weights from the other folds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lode.model.contracts import Context, Family, Task
from lode.model.pooling import can_pool, greedy, pooled, row_losses
from lode.pipeline.development import Development
from lode.pipeline.ensemble import Weights, combined, learner, stacked

Scores = Mapping[str, np.ndarray]
"""Output -> float32 (J, K) of the judged rows."""


@dataclass(frozen=True, slots=True)
class Blend:
    """method: as in the file. names: the candidates that take part. scores: the ensemble's own, each row's out of fold.

    weights: output -> share of each; meta: decides instead where it is not None. Both found on all judged rows, for serving.
    """

    method: str
    names: tuple[str, ...]
    weights: Mapping[str, Weights]
    meta: Family | None
    scores: dict[str, np.ndarray]


def can_blend(tasks: Mapping[str, Task]) -> bool:
    """Whether every output can be averaged."""
    return all(map(can_pool, tasks.values()))


def blend(method: str, development: Development, candidates: Mapping[str, Scores], seed: int) -> Blend:
    """candidates: scores of the first J judged rows, the same rows for all."""
    tasks = development.tasks
    num_rows = len(next(iter(next(iter(candidates.values())).values())))
    rows, fold = development.judged(num_rows)
    targets = {name: development.targets[name][rows] for name in tasks}
    if method == "stacking":
        return _stacked(development, candidates, targets, fold, seed)
    if method != "greedy":
        equal = {name: dict.fromkeys(candidates, 1.0 / len(candidates)) for name in tasks}
        return Blend(method, tuple(candidates), equal, None, combined(tasks, candidates, equal, None))
    weights, scores = {}, {}
    for name, task in tasks.items():
        own = {word: found[name] for word, found in candidates.items()}
        weights[name], scores[name] = _greedy(task, own, targets[name], fold)
    names = tuple(word for word in candidates if any(weights[name][word] for name in tasks))
    kept = {name: {word: weights[name][word] for word in names} for name in tasks}
    return Blend(method, names, kept, None, scores)


def _greedy(task: Task, own: Scores, target: np.ndarray, fold: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
    """Weights from all rows, and scores of each row under weights from the other folds."""
    known = task.known(target)
    made = np.empty_like(next(iter(own.values())))
    for number in np.unique(fold):
        inside = fold == number
        learn = known & ~inside
        shares = greedy(task, {word: found[learn] for word, found in own.items()}, target[learn])
        made[inside] = pooled(task, [found[inside] for found in own.values()], [shares[word] for word in own])
    return greedy(task, {word: found[known] for word, found in own.items()}, target[known]), made


def _stacked(
    development: Development, candidates: Mapping[str, Scores], targets: Mapping[str, np.ndarray], fold: np.ndarray, seed: int
) -> Blend:
    """A linear model over the candidates' scores, fitted on the judged rows."""
    tasks, names = development.tasks, tuple(candidates)
    everything = stacked(tasks, candidates, targets)
    made = {name: np.empty_like(found) for name, found in next(iter(candidates.values())).items()}
    for number in np.unique(fold):
        inside = np.flatnonzero(fold == number)
        meta = learner(tasks, names)
        meta.fit(everything.take(np.flatnonzero(fold != number)), None, Context(seed=seed))
        for name, found in meta.predict(everything.take(inside)).items():
            made[name][inside] = found
    meta = learner(tasks, names)
    meta.fit(everything, None, Context(seed=seed))
    return Blend("stacking", names, {}, meta, made)


def surely_better(other: Blend, one: Blend, development: Development) -> bool:
    """Whether the other's mean loss on the rows that both judged is lower by more than one standard error. First output."""
    name, task = development.first, development.tasks[development.first]
    count = min(len(other.scores[name]), len(one.scores[name]))
    rows, _ = development.judged(count)
    target = development.targets[name][rows]
    known = task.known(target)
    losses = [row_losses(task, found.scores[name][:count][known], target[known]) for found in (one, other)]
    less_N = losses[0] - losses[1]
    return bool(less_N.mean() > less_N.std() / np.sqrt(len(less_N)))


def equal_weights(tasks: Sequence[str], name: str) -> dict[str, Weights]:
    """One candidate alone."""
    return {task: {name: 1.0} for task in tasks}
