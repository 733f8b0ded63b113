"""Where and how a model errs: confusion, curves, calibration, residuals, worst mistakes. Arrays in, JSON out.

Shape letters: N rows, K classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lode.model import calibrate
from lode.model.contracts import Task
from lode.pipeline import scoring

CURVE_POINTS = 200
SCATTER_POINTS = 1000
NUM_BINS = 10
MAX_MATRIX_CLASSES = 100
NUM_WORST = 10
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def confusion(target_N: np.ndarray, answer_N: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """Counts by truth (row) and answer (column), figures of each class, and the pairs that are confused most.

    The matrix is left out beyond 100 classes; the pairs are there always.
    """
    num = len(classes)
    matrix = np.bincount(target_N * num + answer_N, minlength=num * num).reshape(num, num)
    right, true, said = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    per_class = [
        {
            "class": name,
            "rows": int(true[code]),
            "precision": _share(right[code], said[code]),
            "recall": _share(right[code], true[code]),
            "f1": _share(2 * right[code], true[code] + said[code]),
        }
        for code, name in enumerate(classes)
    ]
    wrong = matrix - np.diag(right)
    order = np.argsort(-wrong, axis=None, kind="stable")[:NUM_WORST]
    pairs = [(int(place) // num, int(place) % num) for place in order if wrong.flat[place] > 0]
    confused = [{"truth": classes[a], "answer": classes[b], "rows": int(wrong[a, b])} for a, b in pairs]
    shown = matrix.tolist() if num <= MAX_MATRIX_CLASSES else None
    return {"classes": list(classes), "matrix": shown, "per_class": per_class, "confused": confused}


def _share(part: int, whole: int) -> float | None:
    return float(part) / float(whole) if whole else None


def curves(probability_N: np.ndarray, target_N: np.ndarray) -> dict[str, Any] | None:
    """ROC and precision-recall curve over all thresholds, thinned to 200 points; None if one class is absent."""
    positives = int(target_N.sum())
    negatives = len(target_N) - positives
    if not positives or not negatives:
        return None
    order = np.argsort(-probability_N, kind="stable")
    sorted_N, hits_N = probability_N[order], target_N[order]
    last = np.append(np.flatnonzero(np.diff(sorted_N)), len(sorted_N) - 1)
    true_positive = np.cumsum(hits_N)[last]
    flagged = last + 1
    recall = np.concatenate([[0.0], true_positive / positives])
    fall_out = np.concatenate([[0.0], (flagged - true_positive) / negatives])
    precision = np.concatenate([[1.0], true_positive / flagged])
    keep = _thin(fall_out, recall)
    roc = {"false_positive_rate": fall_out[keep].tolist(), "true_positive_rate": recall[keep].tolist()}
    keep = _thin(recall, precision)
    pair = {"recall": recall[keep].tolist(), "precision": precision[keep].tolist()}
    return {"roc": roc, "precision_recall": pair, "prevalence": positives / len(target_N)}


def _thin(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Indices of at most CURVE_POINTS points, evenly spread along the curve; both ends stay."""
    if len(x) <= CURVE_POINTS:
        return np.arange(len(x))
    along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    wanted = np.searchsorted(along, np.linspace(0, along[-1], CURVE_POINTS))
    return np.unique(np.concatenate([[0], np.minimum(wanted, len(x) - 1), [len(x) - 1]]))


def calibration(task: Task, scores_NK: np.ndarray, target_N: np.ndarray, temperature: float) -> dict[str, Any]:
    """Expected calibration error with and without the model's temperature, and the bins of the reliability picture.

    Of a binary output the probability of the positive class is judged, of several classes that of the likeliest one, of several labels a
    row that of each label.
    """
    said = scoring.figures(task, scores_NK, temperature)
    plain = said if temperature == 1.0 else scoring.figures(task, scores_NK)
    if task.kind == "labels":
        said, plain, target_N = said.ravel(), plain.ravel(), target_N.ravel().astype(np.int64)
    bins = calibrate.reliability(said, target_N, NUM_BINS)
    return {
        "error": calibrate.expected_calibration_error(said, target_N),
        "error_before": calibrate.expected_calibration_error(plain, target_N),
        "temperature": temperature,
        "bins": [
            {"confidence": float(confidence), "share": float(share), "rows": int(rows)}
            for rows, confidence, share in zip(bins.count, bins.predicted, bins.observed, strict=True)
        ],
    }


def numbers(prediction_N: np.ndarray, target_N: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Points for prediction against truth (a sample of 1,000) and the distribution of prediction minus truth."""
    error_N = prediction_N - target_N
    shown = np.arange(len(target_N))
    if len(shown) > SCATTER_POINTS:
        shown = np.sort(rng.choice(len(target_N), SCATTER_POINTS, replace=False))
    # A few wild errors must not squeeze all others into one bar: the outer half per cent on each side is only counted.
    low, high = np.quantile(error_N, [0.005, 0.995])
    inside_N = error_N[(error_N >= low) & (error_N <= high)]
    rows, edges = np.histogram(inside_N, bins=int(min(40, max(10, 2 * len(inside_N) ** 0.5))))
    return {
        "points": {"truth": target_N[shown].tolist(), "prediction": prediction_N[shown].tolist()},
        "residuals": {
            "histogram": {"edges": edges.tolist(), "rows": rows.tolist()},
            "outside": int(len(error_N) - len(inside_N)),
            "quantiles": {str(q): float(np.quantile(error_N, q)) for q in QUANTILES},
        },
    }


def worst(prediction: np.ndarray, target_N: np.ndarray, row_N: np.ndarray, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """The ten most confident mistakes, or the ten largest errors of a number, with the position of their raw rows."""
    if not classes:
        order = np.argsort(-np.abs(prediction - target_N), kind="stable")[:NUM_WORST]
        return [
            {
                "row": int(row_N[i]),
                "truth": float(target_N[i]),
                "answer": float(prediction[i]),
                "error": float(prediction[i] - target_N[i]),
            }
            for i in order
        ]
    chance_NK = np.stack([1 - prediction, prediction], axis=1) if prediction.ndim == 1 else prediction
    said_N = (prediction >= 0.5).astype(np.int64) if prediction.ndim == 1 else prediction.argmax(1)
    confidence_N = chance_NK[np.arange(len(said_N)), said_N]
    wrong = np.flatnonzero(said_N != target_N)
    order = wrong[np.argsort(-confidence_N[wrong], kind="stable")][:NUM_WORST]
    return [
        {
            "row": int(row_N[i]),
            "truth": classes[target_N[i]],
            "answer": classes[said_N[i]],
            "probability": float(confidence_N[i]),
        }
        for i in order
    ]
