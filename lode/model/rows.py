"""What metrics share: which rows count, ratios, and the confusion counts of weighted classes."""

from __future__ import annotations

import numpy as np


def known(
    prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(prediction, target, weight) of the rows that count, the prediction in float64.

    prediction, target: (N, ...), a target int64 codes or numbers; weight: (N,), 1 where None. A row without a target (code -1, NaN)
    or of weight 0 is left out: it can be neither right nor wrong.
    """
    prediction_f = np.asarray(prediction, dtype=np.float64)
    target_N = np.asarray(target)
    weight_N = np.ones(len(target_N)) if weight is None else np.asarray(weight, dtype=np.float64)
    if not len(prediction_f) == len(target_N) == len(weight_N):
        raise ValueError(f"{len(prediction_f)} predictions, {len(target_N)} targets, {len(weight_N)} weights")
    is_codes = np.issubdtype(target_N.dtype, np.integer)
    known_N = target_N >= 0 if is_codes else ~np.isnan(target_N)
    if known_N.ndim > 1:  # a row of tags ends somewhere, a row of numbers is whole
        axes = tuple(range(1, known_N.ndim))
        known_N = known_N.any(axis=axes) if is_codes else known_N.all(axis=axes)
    kept_N = known_N & (weight_N > 0)
    if kept_N.all():
        return prediction_f, target_N, weight_N
    return prediction_f[kept_N], target_N[kept_N], weight_N[kept_N]


def counted(values_N: np.ndarray) -> np.ndarray:
    """Units (N, 2) of a mean: each row's value, and one."""
    return np.stack([values_N, np.ones(len(values_N))], axis=1).astype(np.float64)


def ratio(part: float, whole: float) -> float:
    """A share; NaN of nothing."""
    return float(part) / float(whole) if whole > 0 else float("nan")


def mean(values_N: np.ndarray, weight_N: np.ndarray) -> float:
    """Weighted mean; NaN of no rows."""
    total = float(weight_N.sum())
    return float((values_N * weight_N).sum() / total) if total > 0 else float("nan")


def groups(prediction_N: np.ndarray, target_N: np.ndarray, weight_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of (positives, negatives) for each distinct prediction, from the highest prediction down; G values each.

    Equal predictions form one group, because no threshold can part them.
    """
    # A stable sort is linear on rows that are sorted already, as the bootstrap's are.
    order_N = np.argsort(-prediction_N, kind="stable")
    sorted_N = prediction_N[order_N]
    starts_G = np.flatnonzero(np.concatenate(([True], sorted_N[1:] != sorted_N[:-1])))
    weight_N, positive_N = weight_N[order_N], target_N[order_N] == 1
    positives_G = np.add.reduceat(np.where(positive_N, weight_N, 0.0), starts_G)
    return positives_G, np.add.reduceat(np.where(positive_N, 0.0, weight_N), starts_G)


def class_counts(
    predicted_N: np.ndarray, target_N: np.ndarray, weight_N: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per class (K,): weight of rows that are rightly in it, that are predicted to be, that truly are."""
    right_N = weight_N * (predicted_N == target_N)
    right_K = np.bincount(target_N, weights=right_N, minlength=num_classes)
    predicted_K = np.bincount(predicted_N, weights=weight_N, minlength=num_classes)
    return right_K, predicted_K, np.bincount(target_N, weights=weight_N, minlength=num_classes)
