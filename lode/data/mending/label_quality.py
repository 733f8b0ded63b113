"""Which labels are probably wrong, from out-of-fold probabilities. Pure arithmetic on arrays.

Source: Northcutt, Jiang, Chuang, "Confident learning: estimating uncertainty in dataset labels", JAIR 70 (2021). Used by the cleaner
`labels`; benchmarks/label_errors.py holds the ranking against cleanlab's on the same probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

_FLOOR = 1e-6
_MAX_CALIBRATION_ROWS = 50_000
_FEW_ROWS = 2_000
"""Up to here a model is too careful to put rows in order by its own probabilities; with more, calibration no longer helps that."""
_PULL = 1.0
"""How strongly the offset of a class is pulled to 0, in rows."""
_MAD_TO_DEVIATION = 1.4826
"""The standard deviation of a normal distribution, in median absolute deviations."""


@dataclass(frozen=True, slots=True)
class LabelQuality:
    """What is thought of N labels.

    scores: float64 (N,), the probability of the given label: 0 (surely wrong) to 1. The lowest are to be looked at first.
    suspects: bool (N,), another class is `odds` times as probable.
    suggested: int64 (N,), the most probable class of a suspect; the given one for others.
    probabilities: float64 (N, K), calibrated.
    joint: int64 (K, K), the confident joint: rows by given and by confident class, as many as are confidently of one.
    """

    scores: np.ndarray
    suspects: np.ndarray
    suggested: np.ndarray
    probabilities: np.ndarray
    joint: np.ndarray


def label_quality(probabilities: np.ndarray, labels: np.ndarray, odds: float = 10.0) -> LabelQuality:
    """Judge labels by the probabilities that a model gave which had not seen the row.

    probabilities: float (N, K), rows sum to 1. labels: int (N,), classes 0 to K - 1. odds: of the best class against the given one.
    """
    found_NK = calibrated(probabilities, labels)
    rows = np.arange(len(labels))
    own = found_NK[rows, labels]
    best = found_NK.argmax(axis=1)
    suspects = (best != labels) & (found_NK.max(axis=1) >= odds * own)
    scores, suggested = _order(probabilities, found_NK)[rows, labels], np.where(suspects, best, labels)
    return LabelQuality(scores, suspects, suggested, found_NK, confident_joint(found_NK, labels))


def _order(probabilities: np.ndarray, calibrated_NK: np.ndarray) -> np.ndarray:
    """float64 (N, K): what rows are ordered by. Of few rows halfway to the calibrated ones, which have seen the wrong labels, too."""
    plain_NK = probabilities.astype(np.float64)
    if len(plain_NK) > _FEW_ROWS:
        return plain_NK
    found_NK = np.sqrt(np.clip(plain_NK, _FLOOR, 1.0) * calibrated_NK)
    return found_NK / found_NK.sum(axis=1, keepdims=True)


def confident_joint(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """int64 (K, K), rows by given class and by the class they are confidently of (section 3.1 of the paper).

    A row is confidently of a class where its probability is at least what rows given as that class have on average. Divided by its sum, it
    estimates the joint distribution of given and true labels.
    """
    num_rows, num_classes = probabilities.shape
    own = probabilities[np.arange(num_rows), labels]
    counts = np.bincount(labels, minlength=num_classes)
    thresholds = np.bincount(labels, weights=own, minlength=num_classes) / np.maximum(counts, 1)
    confident_NK = probabilities >= np.where(counts > 0, thresholds, np.inf)
    best, decided = np.where(confident_NK, probabilities, -1.0).argmax(axis=1), confident_NK.any(axis=1)
    joint = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(joint, (labels[decided], best[decided]), 1)
    return joint


def calibrated(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float64 (N, K): probabilities with the sharpness, and the offset of each class, that fit the given labels best (vector scaling).

    A model of few rows is too careful, and more so for some classes; as it stands, all their rows would rank as doubtful. It is only
    sharpened, never flattened: wrong labels themselves look like over-confidence. Where that does not fit the labels better by one nat
    per parameter (Akaike), the probabilities stay as they came. Source: Guo et al., "On calibration of modern neural networks", ICML
    2017, section 4.2.
    """
    logits_NK = np.log(np.clip(probabilities.astype(np.float64), _FLOOR, 1.0))
    num_rows, num_classes = logits_NK.shape
    step = -(-num_rows // _MAX_CALIBRATION_ROWS)
    sample_NK, given_NK = logits_NK[::step], np.eye(num_classes)[labels[::step]]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        offsets = weights[1:]
        scaled_NK = _log_softmax(weights[0] * sample_NK + offsets)
        difference_NK = np.exp(scaled_NK) - given_NK
        value = -float((scaled_NK * given_NK).sum()) + 0.5 * _PULL * float(offsets @ offsets)
        return value, np.append((difference_NK * sample_NK).sum(), difference_NK.sum(axis=0) + _PULL * offsets)

    start = np.append(1.0, np.zeros(num_classes))
    found = minimize(loss, start, jac=True, method="L-BFGS-B").x
    found[0] = max(found[0], 1.0)
    if loss(start)[0] - loss(found)[0] < len(start):
        return np.exp(_log_softmax(logits_NK))
    fitted: np.ndarray = np.exp(_log_softmax(found[0] * logits_NK + found[1:]))
    return fitted


def _log_softmax(logits_NK: np.ndarray) -> np.ndarray:
    shifted = logits_NK - logits_NK.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def number_quality(predicted: np.ndarray, given: np.ndarray) -> np.ndarray:
    """How many robust standard deviations each number lies from its out-of-fold prediction. float64 (N,), 0 and more."""
    residuals = np.asarray(given, dtype=np.float64) - predicted
    centred = np.abs(residuals - np.median(residuals))
    spread = float(np.median(centred)) * _MAD_TO_DEVIATION
    return centred / spread if spread > 0.0 else np.where(centred > 0.0, np.inf, 0.0)
