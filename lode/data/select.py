"""Which inputs are worth keeping. The signature of Select is the schema of `data.select`; lode/data/preprocess.py uses it.

Inputs are judged one by one by their plain columns (`Feature.flat`) on a fixed sample of training rows; an input counts as much as
its best column. What two inputs say together, or say twice, is not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from lode.core.errors import DataError
from lode.core.types import FlatSpec, Range

SAMPLE_ROWS = 20_000
_SAMPLE_CELLS = 50_000_000
_MIN_SAMPLE_ROWS = 1_000
_NUM_BINS = 32
_NUM_TARGET_BINS = 10
_SHUFFLES = 3


@dataclass(frozen=True, kw_only=True)
class Select:
    """Keeps the inputs that say most; learnt on the training split.

    Args:
        by: "mutual_information" with the first output, less what a shuffled output has; or "variance", how far the input differs from
            row to row whatever its unit.
        keep: how many inputs stay.
    """

    by: Literal["mutual_information", "variance"] = "mutual_information"
    keep: Annotated[int, Range(1)] = 20


def sample_step(num_rows: int, num_inputs: int) -> int:
    """Every how many rows one is looked at: 20,000 rows are enough, fewer where there are thousands of inputs."""
    wanted = max(_MIN_SAMPLE_ROWS, min(SAMPLE_ROWS, _SAMPLE_CELLS // max(num_inputs, 1)))
    return max(1, -(-num_rows // wanted))


def kept(scores: Mapping[str, float], keep: int) -> list[str]:
    """The inputs with the largest scores, in their own order; of equal ones the earlier."""
    ranked = sorted(scores, key=lambda name: -scores[name])
    chosen = set(ranked[:keep])
    return [name for name in scores if name in chosen]


def score(by: str, spec: FlatSpec, matrix: Any, target: np.ndarray | None) -> float:
    """What an input is worth: the best of its plain columns; at least 0.

    matrix: float32 (N, F) with NaN for missing, or CSR (N, F). target: as `Feature.fit_transform` gets it.
    Errors: DataError where mutual information has no output to be with.
    """
    if by == "variance":
        return (
            max((_variance(column, size) for column, size in _columns(spec, matrix)), default=0.0)
            if _dense(matrix)
            else _spread(matrix)
        )
    if target is None:
        raise DataError('data.select.by: found "mutual_information" but no output, allowed: variance. Write `by: variance`.')
    known, codes = _target_codes(target)
    if not _dense(matrix):
        return _term_information(matrix[known], codes)
    return max((_gain(_codes(column[known], size), codes) for column, size in _columns(spec, matrix)), default=0.0)


def mutual_information(left: np.ndarray, right: np.ndarray) -> float:
    """In nats, from codes int (N,) each; the plug-in estimate (counts as probabilities)."""
    if not len(left):
        return 0.0
    width = int(right.max()) + 1
    joint = np.bincount(left * width + right, minlength=(int(left.max()) + 1) * width).reshape(-1, width) / len(left)
    expected = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log(joint[there] / expected[there])).sum())


def _dense(matrix: Any) -> bool:
    return isinstance(matrix, np.ndarray)


def _columns(spec: FlatSpec, matrix: np.ndarray) -> list[tuple[np.ndarray, int]]:
    return list(zip(matrix.T, spec.cardinalities, strict=True))


def _gain(codes: np.ndarray, target: np.ndarray) -> float:
    """Mutual information less that with a shuffled target: otherwise a column that names every row would say most."""
    chance = [mutual_information(codes, np.random.default_rng(seed).permutation(target)) for seed in range(_SHUFFLES)]
    return max(mutual_information(codes, target) - float(np.mean(chance)), 0.0)


def _codes(column: np.ndarray, cardinality: int) -> np.ndarray:
    """int64 (N,): the codes of a category; of a number its bin of equal counts, 0 where it is missing."""
    if cardinality > 0:
        return np.nan_to_num(column, nan=0.0).astype(np.int64)
    missing = np.isnan(column)
    if missing.all():
        return np.zeros(len(column), np.int64)
    borders = np.unique(np.quantile(column[~missing], np.linspace(0.0, 1.0, _NUM_BINS + 1)[1:-1]))
    return np.where(missing, 0, np.searchsorted(borders, column, side="right") + 1)


def _target_codes(target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the rows that have a target, and codes int64 of those: a class, or one of ten bins of equal counts."""
    if np.issubdtype(target.dtype, np.integer):
        known = np.flatnonzero(target >= 0)
        return known, target[known].astype(np.int64)
    known = np.flatnonzero(np.isfinite(target))
    values = target[known]
    if not len(values):
        return known, np.zeros(0, np.int64)
    borders = np.unique(np.quantile(values, np.linspace(0.0, 1.0, _NUM_TARGET_BINS + 1)[1:-1]))
    return known, np.searchsorted(borders, values, side="right")


def _term_information(matrix: Any, target: np.ndarray) -> float:
    """The largest gain of a term that is there or not. matrix: CSR (N, F)."""
    if not len(target) or not matrix.shape[1]:
        return 0.0
    there = matrix.astype(bool).astype(np.float64)
    chance = [_presence(there, np.random.default_rng(seed).permutation(target)) for seed in range(_SHUFFLES)]
    return max(float((_presence(there, target) - np.mean(chance, axis=0)).max()), 0.0)


def _presence(there: Any, target: np.ndarray) -> np.ndarray:
    """Mutual information of each term's presence with the target, float64 (F,)."""
    num_rows = len(target)
    classes = np.eye(int(target.max()) + 1)[target]
    with_CF = (there.T @ classes).T / num_rows
    class_C1 = classes.mean(axis=0).reshape(-1, 1)
    total_F = with_CF.sum(axis=0)
    found = np.zeros(there.shape[1])
    for joint_CF, share_F in ((with_CF, total_F), (class_C1 - with_CF, 1.0 - total_F)):
        with np.errstate(divide="ignore", invalid="ignore"):
            part_CF = joint_CF * np.log(joint_CF / (class_C1 * share_F))
        found += np.where(joint_CF > 1e-15, part_CF, 0.0).sum(axis=0)
    return found


def _variance(column: np.ndarray, cardinality: int) -> float:
    """Of a number over its squared range, times the share of rows that have it; of a category 1 - sum of squared shares (Gini)."""
    if cardinality > 0:
        shares = np.bincount(np.nan_to_num(column, nan=0.0).astype(np.int64)) / max(len(column), 1)
        return float(1.0 - (shares**2).sum()) if len(column) else 0.0
    values = column[~np.isnan(column)].astype(np.float64)
    width = float(values.max() - values.min()) if len(values) else 0.0
    return float((values / width).var()) * len(values) / len(column) if width > 0 else 0.0


def _spread(matrix: Any) -> float:
    """Of terms that are there or not: the largest p (1 - p)."""
    shares = np.asarray(matrix.astype(bool).mean(axis=0)).ravel()
    return float((shares * (1.0 - shares)).max(initial=0.0))
