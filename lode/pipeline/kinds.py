"""What the report shows of an output beside its metrics where it is neither a class nor a number: by label, level, entity. JSON out.

Shape letters: N rows, K labels or levels, T steps. Read `lode/pipeline/diagnosis.py` for classes and numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lode.model import bootstrap, transitions
from lode.model.contracts import Task
from lode.pipeline import diagnosis

NUM_WORST = diagnosis.NUM_WORST
_MAX_CHARS = 200


def details(kind: str, task: Task, prediction: np.ndarray, target: np.ndarray) -> dict[str, Any]:
    """{"each": {"title", "rows": one record each, "notes", ...}}; nothing for kinds that say all in their metrics."""
    make = _DETAILS.get(kind)
    return {} if make is None else {"each": make(task, prediction, target)}


def worst(kind: str, task: Task, prediction: np.ndarray, target: np.ndarray, row_N: np.ndarray) -> list[dict[str, Any]]:
    """The ten worst rows, with the position of their raw rows; nothing where a row alone is neither right nor wrong."""
    if kind in ("binary", "multiclass", "number"):
        return diagnosis.worst(prediction, target, row_N, task.classes)
    make = _WORST.get(kind)
    return [] if make is None else make(task, prediction, target, row_N)


def _labels(task: Task, prediction_NK: np.ndarray, target_NK: np.ndarray) -> dict[str, Any]:
    said_NK, true_NK = prediction_NK >= 0.5, target_NK == 1
    right, said, true = (said_NK & true_NK).sum(axis=0), said_NK.sum(axis=0), true_NK.sum(axis=0)
    rows = [
        {
            "label": name,
            "rows": int(true[code]),
            "said": int(said[code]),
            "precision": _share(right[code], said[code]),
            "recall": _share(right[code], true[code]),
            "f1": _share(2 * right[code], said[code] + true[code]),
            "average_precision": bootstrap.figure("average_precision", prediction_NK[:, code], target_NK[:, code]),
        }
        for code, name in enumerate(task.classes)
    ]
    whole = float((said_NK == true_NK).all(axis=1).mean())
    notes = [
        f"All labels of a row are right in {whole:.1%} of the rows; {1 - target_NK.any(axis=1).mean():.1%} of the rows have none."
    ]
    return {"title": "Each label", "rows": sorted(rows, key=lambda row: -int(str(row["rows"]))), "notes": notes}


def _quantiles(task: Task, prediction_NK: np.ndarray, target: np.ndarray) -> dict[str, Any]:
    number_N, level_K = target[:, 0], target[0, 1:]
    rows, bins = [], []
    for place, level in enumerate(level_K.tolist()):
        below = int((number_N <= prediction_NK[:, place]).sum())
        low, high = _binomial(below, len(number_N))
        share = below / len(number_N)
        rows.append({"level": level, "seen_below": share, "low": low, "high": high, "holds": low <= level <= high})
        bins.append({"confidence": level, "share": share, "rows": len(number_N)})
    inside = f"{level_K[-1] - level_K[0]:.0%}"
    notes = [f"{inside} of the rows should lie between the outer quantiles; low and high are the 95 % interval of what was seen."]
    error = float(np.mean([abs(entry["confidence"] - entry["share"]) for entry in bins]))
    return {"title": "Do the quantiles hold?", "rows": rows, "bins": bins, "error": error, "notes": notes}


def _tags(task: Task, prediction: np.ndarray, target: np.ndarray) -> dict[str, Any]:
    said_E, true_E = transitions.spans(transitions.aligned(prediction, target)[:, :, 1:]), transitions.spans(target[:, :, 1:])
    names = transitions.types(task.classes, transitions.scheme_of(task.classes))
    right_E = transitions.matched(said_E, true_E)
    size = len(names)
    right, said, true = (np.bincount(part[:, 3], minlength=size) for part in (said_E[right_E], said_E, true_E))
    rows = [
        {
            "entity": name,
            "in_the_text": int(true[place]),
            "said": int(said[place]),
            "precision": _share(right[place], said[place]),
            "recall": _share(right[place], true[place]),
            "f1": _share(2 * right[place], said[place] + true[place]),
        }
        for place, name in enumerate(names)
        if true[place] or said[place]
    ]
    whole = (transitions.aligned(prediction, target)[:, :, 0] == target[:, :, 0]).all(axis=1).mean()
    notes = [
        f"Every tag of a text is right in {whole:.1%} of {len(target):,} texts. Both ends and the type of an entity must be right."
    ]
    return {"title": "Each kind of entity", "rows": sorted(rows, key=lambda row: -int(str(row["in_the_text"]))), "notes": notes}


def _anomaly(task: Any, prediction_N: np.ndarray, target_N: np.ndarray) -> dict[str, Any]:
    flagged_N = prediction_N >= -np.log10(task.share)
    low, high = _binomial(int(flagged_N.sum()), len(flagged_N))
    row: dict[str, Any] = {"flagged": int(flagged_N.sum()), "share": float(flagged_N.mean()), "low": low, "high": high}
    row |= {"asked_for": task.share}
    if (target_N == 1).any():
        right = int((flagged_N & (target_N == 1)).sum())
        row |= {
            "anomalies": int((target_N == 1).sum()),
            "precision": _share(right, flagged_N.sum()),
            "recall": _share(right, (target_N == 1).sum()),
        }
    notes = ["Clearly more flagged rows than asked for mean that the test rows are not like the training rows."]
    return {"title": "What is flagged", "rows": [row], "notes": notes}


def _binomial(count: int, total: int) -> tuple[float, float]:
    """Exact 95 % interval of a share (Clopper and Pearson 1934)."""
    from scipy.stats import beta  # here: it takes half a second, and most runs ask no such thing

    low = float(beta.ppf(0.025, count, total - count + 1)) if count else 0.0
    return low, float(beta.ppf(0.975, count + 1, total - count)) if count < total else 1.0


def _share(part: float, whole: float) -> float | None:
    return float(part) / float(whole) if whole else None


def _worst_labels(task: Task, prediction_NK: np.ndarray, target_NK: np.ndarray, row_N: np.ndarray) -> list[dict[str, Any]]:
    """Rows with the largest cross-entropy over all labels."""
    eps = np.finfo(np.float64).eps
    clipped = np.clip(prediction_NK, eps, 1 - eps)
    loss_N = -(target_NK * np.log(clipped) + (1 - target_NK) * np.log(1 - clipped)).sum(axis=1)

    def words(row: np.ndarray) -> str:
        return ", ".join(task.classes[code] for code in np.flatnonzero(row)) or "(none)"

    return [
        {
            "row": int(row_N[i]),
            "truth": words(target_NK[i] == 1),
            "answer": words(prediction_NK[i] >= 0.5),
            "log loss": float(loss_N[i]),
        }
        for i in np.argsort(-loss_N, kind="stable")[:NUM_WORST]
    ]


def _worst_quantiles(task: Task, prediction_NK: np.ndarray, target: np.ndarray, row_N: np.ndarray) -> list[dict[str, Any]]:
    """Rows that lie farthest outside their outer quantiles."""
    number_N = target[:, 0]
    beyond_N = np.maximum(prediction_NK[:, 0] - number_N, number_N - prediction_NK[:, -1])
    order = [i for i in np.argsort(-beyond_N, kind="stable")[:NUM_WORST] if beyond_N[i] > 0]
    return [
        {
            "row": int(row_N[i]),
            "truth": float(number_N[i]),
            "answer": f"{prediction_NK[i, 0]:.4g} to {prediction_NK[i, -1]:.4g}",
            "error": float(beyond_N[i]),
        }
        for i in order
    ]


def _worst_tags(task: Task, prediction: np.ndarray, target: np.ndarray, row_N: np.ndarray) -> list[dict[str, Any]]:
    """Texts with the most wrong tags."""
    said = transitions.aligned(prediction, target)
    wrong_N = (said[:, :, 0] != target[:, :, 0]).sum(axis=1)

    def words(codes_T: np.ndarray) -> str:
        text = " ".join(task.classes[code] for code in codes_T if code >= 0)
        return text if len(text) <= _MAX_CHARS else text[:_MAX_CHARS] + "..."

    return [
        {"row": int(row_N[i]), "truth": words(target[i, :, 0]), "answer": words(said[i, :, 0]), "wrong tags": int(wrong_N[i])}
        for i in np.argsort(-wrong_N, kind="stable")[:NUM_WORST]
        if wrong_N[i]
    ]


def _oddest(task: Task, prediction_N: np.ndarray, target_N: np.ndarray, row_N: np.ndarray) -> list[dict[str, Any]]:
    """The oddest rows, whatever they are labelled."""
    names = ("normal", "anomaly")
    return [
        {"row": int(row_N[i]), "truth": names[int(target_N[i])], "answer": "odd", "score": float(prediction_N[i])}
        for i in np.argsort(-prediction_N, kind="stable")[:NUM_WORST]
    ]


_DETAILS: Mapping[str, Any] = {"labels": _labels, "quantiles": _quantiles, "tags": _tags, "anomaly": _anomaly}
_WORST: Mapping[str, Any] = {"labels": _worst_labels, "quantiles": _worst_quantiles, "tags": _worst_tags, "anomaly": _oddest}
