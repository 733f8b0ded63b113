"""Calibration: do events that were given 30 % happen in 30 % of the rows, do 80 % of the numbers lie in a range that says so?

Measured in bins; probabilities are mended by one temperature, quantiles by one shift each. Used by the pipeline on rows that the model
was not fitted on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_expit, log_softmax

_LOWEST, _HIGHEST = 0.05, 20.0


@dataclass(frozen=True, slots=True)
class Reliability:
    """Bins of predicted probability that hold rows.

    count: int64 (M,), rows in each. predicted, observed: mean probability and share of events (M,).
    """

    count: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray


def temperature(scores_NK: np.ndarray, target_N: np.ndarray, folds: int = 5, seed: int = 0) -> float:
    """The number to divide scores by before they become probabilities; 1.0 unless it helps on held-out folds.

    It is fitted on all but one fold and tried on that fold, for every fold. Only where the log loss of the held-out rows falls by
    more than one standard error is it fitted on all rows and returned. scores_NK: raw scores, K = 1 is a binary logit;
    target_N: int64 codes, rows with -1 are left out. Source: Guo et al. 2017, arXiv:1706.04599.
    """
    known_N = target_N >= 0
    scores_NK, target_N = scores_NK[known_N].astype(np.float64), target_N[known_N]
    if len(target_N) < 2 * folds or len(np.unique(target_N)) < 2:
        return 1.0
    fold_N = np.random.default_rng(seed).permutation(len(target_N)) % folds
    gain_N = _losses(scores_NK, target_N, 1.0)
    for fold in range(folds):
        held_N = fold_N == fold
        fitted = _fit(scores_NK[~held_N], target_N[~held_N])
        gain_N[held_N] -= _losses(scores_NK[held_N], target_N[held_N], fitted)
    helps = gain_N.mean() > gain_N.std() / np.sqrt(len(gain_N))
    return _fit(scores_NK, target_N) if helps else 1.0


def conformal_shift(scores_NK: np.ndarray, target_N: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """What to add to each quantile, float32 (K,), so that the ranges between them hold new rows as often as their levels say, or oftener.

    Of fewer rows than a level needs (1 / level) the farthest one decides. scores_NK: sorted in each row; target_N:
    float (N,), rows with NaN are left out; zeros where none is left.
    Source: Romano, Patterson and Candes 2019, Conformalized quantile regression, theorem 2 (each side on its own), arXiv:1905.03222.
    """
    known_N = np.isfinite(target_N)
    error_NK = np.sort(target_N[known_N, None].astype(np.float64) - scores_NK[known_N], axis=0)
    num_rows = len(error_NK)
    found_K = np.zeros(scores_NK.shape[1], np.float32)
    for place, level in enumerate(levels if num_rows else ()):
        # One row more than there are: the new one may be anywhere among them. Rounded away from the middle.
        rank = round((num_rows + 1) * level, 9)
        rank = math.ceil(rank) if level > 0.5 else math.floor(rank) if level < 0.5 else round(rank)
        found_K[place] = error_NK[min(max(rank, 1), num_rows) - 1, place]
    return found_K


def shifted(scores_NK: np.ndarray, shift_K: np.ndarray | None) -> np.ndarray:
    """Sorted quantiles with what `conformal_shift` found added, float32 (N, K); without a shift the scores as they are."""
    return scores_NK if shift_K is None else np.sort(scores_NK, axis=1) + shift_K


def reliability(prediction: np.ndarray, target_N: np.ndarray, bins: int = 15) -> Reliability:
    """Predicted against observed in bins of equal width; empty bins are left out.

    prediction: P(positive) (N,), compared with the share of positives; or P (N, K), the most probable class's probability
    compared with the share of right answers. target_N: int64 codes, rows with -1 are left out.
    """
    known_N = target_N >= 0
    prediction, target_N = np.asarray(prediction, dtype=np.float64)[known_N], target_N[known_N]
    if prediction.ndim == 2:
        confidence_N, event_N = prediction.max(axis=1), prediction.argmax(axis=1) == target_N
    else:
        confidence_N, event_N = prediction, target_N == 1
    bin_N = np.clip((confidence_N * bins).astype(np.int64), 0, bins - 1)
    count_M = np.bincount(bin_N, minlength=bins)
    used_M = count_M > 0
    sums = [np.bincount(bin_N, weights=values_N, minlength=bins)[used_M] for values_N in (confidence_N, event_N)]
    return Reliability(count_M[used_M], sums[0] / count_M[used_M], sums[1] / count_M[used_M])


def expected_calibration_error(prediction: np.ndarray, target_N: np.ndarray, bins: int = 15) -> float:
    """Mean distance between predicted and observed over the bins of `reliability`, weighted by rows; NaN of no rows."""
    found = reliability(prediction, target_N, bins)
    total = found.count.sum()
    return float((found.count * np.abs(found.predicted - found.observed)).sum() / total) if total else float("nan")


def _losses(scores_NK: np.ndarray, target_N: np.ndarray, heat: float) -> np.ndarray:
    return _class_losses(scores_NK, heat)[target_N, np.arange(len(target_N))]


def _class_losses(scores_NK: np.ndarray, heat: float) -> np.ndarray:
    """The loss of each row if each class were the right one, float64 (C, N): all classes in one pass."""
    if scores_NK.shape[1] == 1:
        return np.stack([-log_expit(sign * scores_NK[:, 0] / heat) for sign in (-1.0, 1.0)])
    return np.ascontiguousarray(-log_softmax(scores_NK / heat, axis=1).T)


def _fit(scores_NK: np.ndarray, target_N: np.ndarray) -> float:
    from scipy.optimize import minimize_scalar  # here: it takes half a second, and a run that only cleans has no need of it

    # Rows that are separated perfectly would call for a temperature of zero. One row more, spread over all classes and rows, says
    # how sure so few rows can make anybody (after Platt 1999, Probabilistic outputs for support vector machines, section 2.2).
    num_classes = max(2, scores_NK.shape[1])
    doubt = 1.0 / (len(target_N) + num_classes)

    def loss(log_heat: float) -> float:
        loss_KN = _class_losses(scores_NK, float(np.exp(log_heat)))
        own_N = loss_KN[target_N, np.arange(len(target_N))]
        uniform = sum(each_N.mean() for each_N in loss_KN) / num_classes
        return float((1 - doubt) * own_N.mean() + doubt * uniform)

    # The loss is convex in 1 / temperature; the logarithm keeps both ends equally far away.
    found = minimize_scalar(
        loss,
        bounds=(np.log(_LOWEST), np.log(_HIGHEST)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))
