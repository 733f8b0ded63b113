"""What more rows are worth: the train stage again on an eighth, a quarter and a half of the rows, judged on the same test rows.

The chosen model alone is fitted, as it would have been with so few rows. Its error falls with the number of rows about as
a + b * rows ** -c (Hestness et al. 2017, Deep learning scaling is predictable, empirically; Viering and Loog 2023, The shape of learning
curves): from one doubling to the next the gain shrinks by one factor, 2 ** -c. That factor and the size of the gains are fitted to what
was measured; the next doubling follows. Sizes need not double: whole groups make others. Shape letters: K sizes, the last one all rows;
R resamples of the test rows; M test rows with a label.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lode.core.errors import DataError
from lode.model import bootstrap
from lode.model.contracts import Progress
from lode.pipeline import artifact, development, portfolio, scoring, train
from lode.pipeline.artifact import Model
from lode.pipeline.evaluate import Evaluation
from lode.pipeline.fewer import Share
from lode.pipeline.fitting import Fitting
from lode.pipeline.state import load_state, save_state
from lode.value.contracts import money

SHARES = (0.125, 0.25, 0.5)
MIN_ROWS = 40
"""Development rows below which nothing is fitted."""
_FACTORS = np.linspace(0.25, 1.0, 301)
"""Of one gain to the next: rates from 1 / rows ** 2 to no slowing down."""
_USUAL, _SPREAD = 2**-0.5, 0.15
"""What the factor is where nothing is known of it, and how far it is usually off."""
_PER, _SEED = 1000, 31


@dataclass(frozen=True, slots=True)
class Answers:
    """What one model says about the test rows. rows: it learnt from. figures: per output as metrics read them, (M, ...).

    worth: money of each row of the first output (M,), or None without a value block.
    """

    rows: int
    figures: Mapping[str, np.ndarray]
    worth: np.ndarray | None


def learning_curve(
    made: Fitting, chosen: str, whole: Model, test: pl.DataFrame, options: Evaluation, folder: Path,
    progress: Progress, say: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """For the report: `outputs` -> metric, points and the gain of twice the rows; `money`, the same; `notes`.

    chosen, whole: the chosen model, of all rows. folder: each fit is kept there as soon as it is judged, so that a
    killed stage goes on where it was.
    """
    # `train.log` shows the training of the model that is packaged; these fits would write over it.
    made = replace(made, plan=replace(made.plan, log_folder=None))
    everything = made.read()
    members = () if whole.ensemble is None else whole.ensemble.names
    slate, asked = portfolio.alone(train.slate_of(everything, made.plan), chosen, members), options.learning_curve or 0
    sizes: list[list[Answers]] = []
    notes: list[str] = []
    if made.inputs["split"]["by"] == "time":
        asked = 1
        notes.append("Each size was fitted once: the latest rows are always the same. The intervals are of the test rows alone.")
    for share in SHARES:
        rows = round(share * everything.frame.height)
        if rows < MIN_ROWS:
            notes.append(f"{rows} rows are too few to learn from: at least {MIN_ROWS} are asked for.")
            continue
        try:
            sizes.append([])
            for draw in range(asked):
                say(f"evaluate: learning curve, {chosen} on {rows:,} rows ({draw + 1} of {asked})")
                sizes[-1].append(_kept(made, Share(share, draw), slate, test, folder / f"{share}-{draw}", progress))
        except DataError as error:  # too few for a split by time or by group
            sizes.pop()
            notes.append(f"{rows:,} rows: not fitted ({error})")
    sizes.append([_answers(whole, test, everything.frame.height)])
    return {**_told(whole, test, sizes, options), "notes": notes, "model": chosen}


def _kept(made: Fitting, share: Share, slate: portfolio.Slate, test: pl.DataFrame, folder: Path, progress: Progress) -> Answers:
    """Fitted and judged, unless an earlier try did it."""
    if not (folder / "answers.json").is_file():
        rows = made.read(share)
        found = train.train(rows, test, made.plan, folder / "fit", progress, slate=slate)
        model = artifact.read(folder / "fit" / "models" / found["chosen"])
        answers = _answers(model, test, rows.frame.height)
        save_state({"rows": answers.rows, "figures": answers.figures, "worth": answers.worth}, folder, "answers")
        shutil.rmtree(folder / "fit")
    state = load_state(folder, "answers")
    return Answers(state["rows"], state["figures"], state["worth"])


def _answers(model: Model, test: pl.DataFrame, rows: int) -> Answers:
    scores, figures, worth = model.scores(scoring.inputs_of(model, test)), {}, None
    for place, (name, task) in enumerate(model.tasks.items()):
        truth = scoring.truth_of(name, task, test)
        figures[name] = scoring.figures(task, scores[name][truth.rows], model.temperatures.get(name, 1.0))
        if place == 0 and model.policy is not None:
            policy = model.policy
            outcomes = development.outcomes(test[truth.rows], policy, figures[name], truth.target)
            worth = np.array(
                [float(money(units, policy.scale)) for units in policy.worth(policy.act(outcomes.prediction), outcomes)]
            )
    return Answers(rows, figures, worth)


def _told(whole: Model, test: pl.DataFrame, sizes: Sequence[Sequence[Answers]], options: Evaluation) -> dict[str, Any]:
    resamples, seed = options.resamples, options.seed
    outputs = {}
    for name, task in whole.tasks.items():
        word, target = task.metrics[0], scoring.truth_of(name, task, test).target

        def measured(one: Answers, name: str = name, word: str = word, target: np.ndarray = target) -> tuple[float, np.ndarray]:
            figures = one.figures[name]
            return bootstrap.figure(word, figures, target), bootstrap.drawn(word, figures, target, resamples, seed)

        better = scoring.higher_is_better(word)
        outputs[name] = {"metric": word, "title": scoring.title(word), **_curve(sizes, measured, better, seed)}
    if sizes[-1][0].worth is None:
        return {"outputs": outputs, "money": None}

    def earned(one: Answers) -> tuple[float, np.ndarray]:
        assert one.worth is not None, "every model of a file with a value block has a policy"
        worth_M = _PER * one.worth / len(one.worth)
        return float(worth_M.sum()), np.array([drawn_M @ worth_M for drawn_M in bootstrap.draws(len(worth_M), resamples, seed)])

    return {"outputs": outputs, "money": {"currency": whole.currency, **_curve(sizes, earned, True, seed)}}


def _curve(
    sizes: Sequence[Sequence[Answers]], measured: Callable[[Answers], tuple[float, np.ndarray]], better: bool, seed: int
) -> dict[str, Any]:
    """points: rows, mean over the fits, its 95 % interval. gain: of twice the rows, better counted positive; None of too few sizes.

    last: what the smaller sizes alone would have foretold of the last doubling, and what it brought; None of too few of them.
    """
    sign = 1.0 if better else -1.0
    found = [[measured(one) for one in fits] for fits in sizes]
    rows_K = np.array([float(np.mean([one.rows for one in fits])) for fits in sizes])
    value_K = np.array([np.mean([value for value, _ in each]) for each in found])
    drawn_KR = np.stack([np.mean([values_R for _, values_R in each], axis=0) for each in found])
    points = [
        {"rows": round(rows), "fits": len(each), "value": float(value), **_bounds(values_R)}
        for rows, each, value, values_R in zip(rows_K, found, value_K, drawn_KR, strict=True)
    ]
    noise_KR = _noise(rows_K, [[value for value, _ in each] for each in found], drawn_KR.shape[1], seed)
    # A row more or less, which whole rows of each class make, is no other size.
    place_N = np.round(np.log2([*rows_K, 2 * rows_K[-1]]) - np.log2(rows_K[-1]), 2)
    gain = _expected(place_N, sign * value_K, sign * drawn_KR, noise_KR)
    last = _expected(place_N[:-1], sign * value_K[:-1], sign * drawn_KR[:-1], noise_KR[:-1])
    return {
        "higher_is_better": better, "points": points,
        "gain": None if gain is None else {"rows": points[-1]["rows"], **gain},
        "last": None if last is None else {**last, "measured": float(sign * (value_K[-1] - value_K[-2]))},
    }  # fmt: skip


def _noise(rows_K: np.ndarray, value_KD: Sequence[Sequence[float]], resamples: int, seed: int) -> np.ndarray:
    """How far the mean of a size's fits may lie from that of many such fits, (K + 1, R); the last row is one fit of twice the rows.

    The variance of one fit is taken as c / rows, c from all sizes with several fits, drawn from Student's t because they are few.
    """
    several = [(rows, values) for rows, values in zip(rows_K, value_KD, strict=True) if len(values) > 1]
    fits = np.array([*(len(values) for values in value_KD), 1])
    if not several:
        return np.zeros((len(fits), resamples))
    freedom = sum(len(values) - 1 for _, values in several)
    scaled = sum(rows * np.var(values, ddof=1) * (len(values) - 1) for rows, values in several) / freedom
    deviation_K = np.sqrt(scaled / np.append(rows_K, 2 * rows_K[-1]) / fits)
    return deviation_K[:, None] * np.random.default_rng([seed, 29]).standard_t(freedom, (len(fits), resamples))


def _expected(place_N: np.ndarray, value_K: np.ndarray, value_KR: np.ndarray, noise_KR: np.ndarray) -> dict[str, float] | None:
    """What the next size would add to a model, with its 95 % interval; at least three different sizes tell it."""
    if len(np.unique(place_N[:-1])) < 3:
        return None
    chance_KR = value_KR + noise_KR[: len(value_K)]
    known_R = np.isfinite(chance_KR).all(0)
    variance_J = np.var(np.diff(chance_KR[:, known_R], axis=0), axis=1) if known_R.any() else None
    usual_R = np.random.default_rng(_SEED).normal(_USUAL, _SPREAD, chance_KR.shape[1])
    drawn_R = next_gain(chance_KR, place_N, variance_J, usual_R) + noise_KR[len(value_K)]
    return {"value": float(next_gain(value_K[:, None], place_N, variance_J)[0]), **_bounds(drawn_R)}


def next_gain(
    value_KR: np.ndarray,
    place_N: np.ndarray | None = None,
    variance_J: np.ndarray | None = None,
    usual_R: np.ndarray | float = _USUAL,
) -> np.ndarray:
    """What the next size is expected to add, float64 (R,), from K >= 3 values; least squares.

    place: the binary logarithm of each size and of the next one (K + 1,); without it sizes double. Gains of doublings are taken as
    gain * factor ** j, j = 0 .. K - 2, with a factor of 1 / 4 to 1. variance: of each measured gain (K - 1,); the less they are known,
    the more the factor is the usual one, that of errors that fall with the square root of the rows; drawn for each resample, what is not
    known of it is in the interval. NaN where a value is.
    """
    gain_JR = np.diff(value_KR, axis=0)
    part_FN = _parts(np.arange(len(value_KR) + 1.0) if place_N is None else place_N - place_N[0])
    known_R, weight_J, doubt_FR = np.isfinite(value_KR).all(0), np.ones(len(gain_JR)), np.zeros((1, 1))
    if variance_J is not None and (variance_J > 0).all():
        weight_J, doubt_FR = 1 / variance_J, ((_FACTORS[:, None] - usual_R) / _SPREAD) ** 2
    power_FJ = part_FN[:, :-1]
    size_FR = (power_FJ * weight_J @ gain_JR) / (power_FJ**2 @ weight_J)[:, None]
    error_FR = (weight_J[:, None] * (gain_JR[None] - size_FR[:, None] * power_FJ[:, :, None]) ** 2).sum(1) + doubt_FR
    best_R = np.argmin(np.where(known_R, error_FR, 0.0), axis=0)
    expected_R = np.take_along_axis(size_FR, best_R[None], axis=0)[0] * part_FN[best_R, -1]
    return np.where(known_R, expected_R, np.nan)


def _parts(place_N: np.ndarray) -> np.ndarray:
    """What each step adds per unit of the first doubling, (F, N - 1): factor ** j of the doubling from j to j + 1."""
    power_FN = _FACTORS[:-1, None] ** place_N
    # The last factor is 1: every doubling adds the same.
    return np.vstack([-np.diff(power_FN) / (1 - _FACTORS[:-1, None]), np.diff(place_N)])


def _bounds(values_R: np.ndarray) -> dict[str, float]:
    low, high = bootstrap.bounds(values_R)
    return {"low": low, "high": high}
