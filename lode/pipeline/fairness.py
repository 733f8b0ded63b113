"""Fairness: what groups of people get from a model, and which gaps between them are surely there. Arrays in, JSON out.

Terms, for a decision with a favourable answer: selection rate (the share that gets it), demographic parity (equal selection rates;
Calders, Kamiran, Pechenizkiy 2009), the four-fifths rule (a rate below 80 % of the highest one is generally regarded as evidence of
adverse impact: 29 CFR 1607.4(D)), equal opportunity (equal true positive rates) and equalized odds (equal true and false positive
rates; Hardt, Price, Srebro 2016, arXiv 1610.02413), calibration by group (what is said against what happens; Pleiss 2017, arXiv
1709.02012). Where base rates differ, no useful model is fair by all of them at once (Chouldechova 2017, arXiv 1703.00056): which one
matters is for people to say.

Every figure of a group is a ratio of two sums over its rows. Rows are drawn as for every other interval of the report. Intervals of
gaps hold for all pairs of groups at once (the largest studentised deviation of any pair, as Tukey's range does for means), so that
many groups do not make a gap by chance. Shape letters: M labelled rows, G groups, R resamples, F figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lode.model import bootstrap
from lode.pipeline.slices import MIN_ROWS, group_names, ordered

FOUR_FIFTHS = 0.8
_NORMAL = 1.96
_TINY = 1e-12

TITLES: dict[str, tuple[str, str]] = {
    "base_rate": ("base rate", "share whose true answer is the favourable one"),
    "selection_rate": ("selection rate", "share that gets the favourable answer"),
    "true_positive_rate": ("true positive rate", "share that gets it of those who should"),
    "false_positive_rate": ("false positive rate", "share that gets it of those who should not"),
    "calibration": ("calibration gap", "mean probability said less the share that came true; above 0 a group is overrated"),
    "accuracy": ("accuracy", "share of rows answered rightly"),
    "bias": ("mean error", "mean of prediction less truth; above 0 a group is overrated"),
    "absolute_error": ("mean absolute error", "mean distance of prediction and truth"),
    "value": ("value per 1,000", "money per 1,000 decisions"),
}
"""Figure -> its term, what it says. `answer: CLASS`, the share that gets a class of several, needs no words."""

GAPS = {
    "selection_rate": "demographic parity difference",
    "true_positive_rate": "equal opportunity difference",
    "false_positive_rate": "false positive rate difference",
    "equalized_odds": "equalized odds difference",
    "calibration": "difference of calibration gaps",
}
"""Figure -> what the difference between two groups is called; others are a difference of what the figure is called."""


def title(word: str) -> str:
    """What a figure is called."""
    return TITLES.get(word, (word, ""))[0]


@dataclass(frozen=True, slots=True)
class Figure:
    """What is compared: sum of `above` by sum of `below` over a group's rows, float64 (M,) each. share: `above` is 0 or 1."""

    above: np.ndarray
    below: np.ndarray
    share: bool = True


def decisions(chance_M: np.ndarray, answer_M: np.ndarray, target_M: np.ndarray, favourable: str = "positive") -> dict[str, Figure]:
    """The figures of a binary output. chance: P(positive); answer, target: 1 positive; favourable: which of the two people wish for."""
    if favourable == "negative":
        chance_M, answer_M, target_M = 1 - chance_M, 1 - answer_M, 1 - target_M
    answer_M, target_M = answer_M.astype(np.float64), target_M.astype(np.float64)
    every_M = np.ones(len(target_M))
    return {
        "base_rate": Figure(target_M, every_M),
        "selection_rate": Figure(answer_M, every_M),
        "true_positive_rate": Figure(answer_M * target_M, target_M),
        "false_positive_rate": Figure(answer_M * (1 - target_M), 1 - target_M),
        "calibration": Figure(chance_M - target_M, every_M, share=False),
    }


def classes(answer_M: np.ndarray, target_M: np.ndarray, names: Sequence[str]) -> dict[str, Figure]:
    """The figures of an output of several classes: accuracy, and of the 20 most frequent answers the share that gets each."""
    every_M = np.ones(len(target_M))
    found = {"accuracy": Figure((answer_M == target_M).astype(np.float64), every_M)}
    often = np.argsort(-np.bincount(answer_M, minlength=len(names)), kind="stable")[:20]
    return found | {f"answer: {names[code]}": Figure((answer_M == code).astype(np.float64), every_M) for code in sorted(often)}


def numbers(prediction_M: np.ndarray, target_M: np.ndarray) -> dict[str, Figure]:
    """The figures of a number: mean error and mean absolute error."""
    every_M, error_M = np.ones(len(target_M)), prediction_M - target_M
    return {"bias": Figure(error_M, every_M, share=False), "absolute_error": Figure(np.abs(error_M), every_M, share=False)}


def audit(
    frame: pl.DataFrame, columns: Sequence[str], figures: Mapping[str, Figure], *, resamples: int, seed: int
) -> list[dict[str, Any]]:
    """A record for each column: {"column", "groups", "gaps", "ratio"}.

    frame: the M labelled rows. groups: [{"group" (None: missing cells), "rows", "judged", "figures": {word: {"value", "low", "high",
    "rows"}}}], most frequent first. gaps: per figure the largest difference of two groups, see `_gap`; a figure over fewer than 30 rows
    of a group is shown, never judged. ratio: the four-fifths rule, see `_ratio`; None where nothing is selected.
    """
    places = {column: _places(group_names(frame[column])) for column in columns}
    drawn = _drawn(figures, [rows for found in places.values() for rows in found.values()], frame.height, resamples, seed)
    records = []
    for column, found in places.items():
        groups = [_group(name, rows, figures, next(drawn)) for name, rows in found.items()]
        gaps = {
            word: gap for word in figures if (gap := _gap(word, groups, figures[word].share)) is not None and word != "base_rate"
        }
        odds = [gaps[word] for word in ("true_positive_rate", "false_positive_rate") if word in gaps]
        if len(odds) == 2:
            gaps["equalized_odds"] = _worse(odds)
        ratio = _ratio(groups) if "selection_rate" in figures else None
        shown = [{key: entry for key, entry in group.items() if key != "drawn"} for group in groups]
        records.append({"column": column, "groups": shown, "gaps": gaps, "ratio": ratio})
    return records


def _places(names: pl.Series) -> dict[str | None, np.ndarray]:
    """Group -> its rows."""
    found = {}
    for name in ordered(names):
        inside = names.is_null() if name is None else (names == name).fill_null(False)
        found[name] = np.flatnonzero(inside.to_numpy())
    return found


def _drawn(
    figures: Mapping[str, Figure], groups: Sequence[np.ndarray], num_rows: int, resamples: int, seed: int
) -> Iterator[np.ndarray]:
    """Per group every figure of every resample, (R, F); NaN where nothing stands below. The same rows are drawn for all groups."""
    sums_MS = np.column_stack([side for figure in figures.values() for side in (figure.above, figure.below)])
    parts = [sums_MS[rows] for rows in groups]
    totals_RGS = np.array([
        [count_M[rows] @ part for rows, part in zip(groups, parts, strict=True)]
        for count_M in bootstrap.draws(num_rows, resamples, seed)
    ])  # fmt: skip
    for place in range(len(groups)):
        above, below = totals_RGS[:, place, 0::2], totals_RGS[:, place, 1::2]
        yield np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def _group(name: str | None, rows: np.ndarray, figures: Mapping[str, Figure], drawn_RF: np.ndarray) -> dict[str, Any]:
    found = {}
    for place, (word, figure) in enumerate(figures.items()):
        below = float(figure.below[rows].sum())
        value = float(figure.above[rows].sum()) / below if below else math.nan
        defined = drawn_RF[~np.isnan(drawn_RF[:, place]), place]
        low, high = np.quantile(defined, [0.025, 0.975]) if len(defined) else (math.nan, math.nan)
        if figure.share and low == high:
            middle, error = _agresti_coull(value, below)
            low, high = min(value, max(0.0, middle - _NORMAL * error)), max(value, min(1.0, middle + _NORMAL * error))
        found[word] = {"value": value, "low": float(low), "high": float(high), "rows": round(below)}
    drawn = {word: drawn_RF[:, place] for place, word in enumerate(figures)}
    return {"group": name, "rows": len(rows), "judged": len(rows) >= MIN_ROWS, "figures": found, "drawn": drawn}


def _agresti_coull(share: Any, rows: Any) -> tuple[Any, Any]:
    """Middle and standard error of a share with two answers of each kind added (Agresti, Coull 1998): 0 of 40 is 0 in every resample."""
    middle = (share * rows + 2) / (rows + 4)
    return middle, np.sqrt(middle * (1 - middle) / (rows + 4))


@dataclass(frozen=True, slots=True)
class _Judged:
    """Figures of the groups with enough rows: value and standard error (G,).

    reach: so many standard errors of a difference its interval reaches to either side, so that those of all pairs hold at once.
    """

    names: list[str | None]
    value: np.ndarray
    error: np.ndarray
    reach: float


def _judged(word: str, groups: Sequence[Mapping[str, Any]], share: bool) -> _Judged | None:
    """None with fewer than two groups that can be judged."""
    able = [group for group in groups if group["figures"][word]["rows"] >= MIN_ROWS]
    if len(able) < 2:
        return None
    value_G = np.array([group["figures"][word]["value"] for group in able])
    rows_G = np.array([group["figures"][word]["rows"] for group in able])
    drawn_RG = np.column_stack([group["drawn"][word] for group in able])
    error_G = np.nanstd(drawn_RG, axis=0)
    if share:
        error_G = np.maximum(error_G, _agresti_coull(value_G, rows_G)[1])
    off_RG = drawn_RG - value_G
    both_GG = np.maximum(np.hypot(error_G[:, None], error_G[None, :]), _TINY)
    worst_R = np.zeros(len(off_RG))
    for place in range(1, len(able)):
        apart = np.abs(off_RG[:, :place] - off_RG[:, place, None]) / both_GG[:place, place]
        worst_R = np.fmax(worst_R, np.nanmax(np.nan_to_num(apart), axis=1))
    reach = max(_NORMAL, float(np.quantile(worst_R, bootstrap.LEVEL)))
    return _Judged([group["group"] for group in able], value_G, error_G, reach)


def _gap(word: str, groups: Sequence[Mapping[str, Any]], share: bool) -> dict[str, Any] | None:
    """{"figure", "difference", "low", "high", "higher", "lower", "sure", "surest"}; None where fewer than two groups can be judged.

    difference: the largest of any two groups, `higher` less `lower`, with its interval. surest: the same of the pair whose interval
    lies farthest from 0, which few rows in the extreme groups may make another one; None where no interval excludes 0.
    """
    found = _judged(word, groups, share)
    if found is None:
        return None
    apart_GG = found.value[:, None] - found.value[None, :]
    reach_GG = found.reach * np.hypot(found.error[:, None], found.error[None, :])

    def pair(place: int) -> dict[str, Any]:
        a, b = divmod(int(place), len(found.names))
        low, high = apart_GG[a, b] - reach_GG[a, b], apart_GG[a, b] + reach_GG[a, b]
        return {
            "difference": float(apart_GG[a, b]), "low": float(low), "high": float(high),
            "higher": found.names[a], "lower": found.names[b],
        }  # fmt: skip

    surest = pair(int(np.argmax(apart_GG - reach_GG)))
    is_sure = surest["low"] > _TINY
    # With all values alike the first two groups stand for all pairs.
    widest = int(np.argmax(apart_GG)) if (apart_GG > 0).any() else 1
    return {"figure": word, **pair(widest), "sure": is_sure, "surest": surest if is_sure else None}


def _worse(odds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Equalized odds is as far off as the worse of its two rates, and surely so where either rate is."""
    sure = [{**gap["surest"], "figure": gap["figure"]} for gap in odds if gap["sure"]]
    surest = max(sure, key=lambda gap: gap["low"]) if sure else None
    return {**max(odds, key=lambda gap: gap["difference"]), "sure": bool(sure), "surest": surest}


def _ratio(groups: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The four-fifths rule: {"value", "low", "high", "higher", "lower", "below": [{"group", "value", "low", "high"}]}.

    value: the lowest selection rate by the highest (demographic parity ratio). below: groups whose ratio to the highest rate is surely
    below 0.8, the lowest first. Intervals are Fieller's (1954); high is infinite where the highest rate itself may be 0.
    """
    found = _judged("selection_rate", groups, share=True)
    if found is None or not found.value.max():
        return None
    top = int(np.argmax(found.value))
    others = []
    for place in np.argsort(found.value, kind="stable"):
        if place != top:
            low, high = _fieller(found.value[place], found.error[place], found.value[top], found.error[top], found.reach)
            ratio = float(found.value[place] / found.value[top])
            others.append({"group": found.names[place], "value": ratio, "low": low, "high": high})
    least = others[0]
    figures = {key: least[key] for key in ("value", "low", "high")}
    below = [entry for entry in others if entry["high"] < FOUR_FIFTHS]
    return {**figures, "higher": found.names[top], "lower": least["group"], "below": below}


def _fieller(a: float, error_a: float, b: float, error_b: float, reach: float) -> tuple[float, float]:
    """Interval of a / b: every ratio r at which a - r b is within `reach` standard errors of 0."""
    square, middle, rest = b**2 - (reach * error_b) ** 2, a * b, a**2 - (reach * error_a) ** 2
    if square <= 0:
        return 0.0, math.inf
    root = math.sqrt(max(0.0, middle**2 - square * rest))
    return max(0.0, float((middle - root) / square)), float((middle + root) / square)
