"""Robustness: what a model loses when its inputs are damaged as they are in production (`lode/pipeline/damages`, one file for each way).

As in ImageNet-C (Hendrycks, Dietterich 2019, arXiv 1903.12261): the model is not trained on the damaged rows, and both figures are of
the same rows, so that their difference is paired. Arrays and raw cells in, JSON out.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl

from lode.core.registry import REGISTRIES
from lode.core.types import ColumnSchema, Component
from lode.model import bootstrap
from lode.pipeline import development, scoring
from lode.pipeline.damage import Damage
from lode.pipeline.importance import among
from lode.pipeline.scoring import Predictor, Truth
from lode.value import exact
from lode.value.bootstrap import interval

_FILE_ROWS = 256
"""So many rows are damaged and scored at once where a cell is a file: damaged pictures never pile up."""


@dataclass(frozen=True, slots=True)
class _Harm:
    """One damage as it is done: its word, what happened in words, and the damage of each input that it strikes."""

    word: str
    says: str
    damages: Mapping[str, Damage]


@dataclass(frozen=True, slots=True)
class Settings:
    """rows: at most so many test rows are damaged. resamples, seed: of the intervals, and of all that is random."""

    rows: int
    resamples: int
    seed: int


def robustness(
    model: Predictor,
    frame: pl.DataFrame,
    truths: Mapping[str, Truth],
    constants: Mapping[str, np.ndarray],
    wanted: bool | Sequence[Component],
    settings: Settings,
) -> dict[str, dict[str, Any]]:
    """Per output {"metric", "value", "low", "high", "rows", "constant", "damages": [...]}, the largest loss first.

    frame: test rows. constants: output -> the same answer for every labelled row, as the first metric reads it. wanted: True for every
    damage that fits an input. A damage: {"damage", "inputs", "says", "value", "low", "high", "drop", "drop_low", "drop_high",
    "collapsed", "money"}. drop: what the metric loses, better counted positive before, with its paired interval. collapsed: a sure
    loss that leaves the model no better than the constant. money: of the first output where it has a policy, see `_costs`; else None.
    An output whose metric is undefined on the rows has no record.
    """
    frame, truths, constants = _part(frame, truths, constants, settings)
    inputs = scoring.inputs_of(model, frame)
    base = _scored(model, inputs, None, truths, settings.seed)
    harms = list(_harms(model, inputs, wanted))
    said = [_scored(model, inputs, harm, truths, settings.seed) for harm in harms]
    records = {}
    for name, truth in truths.items():
        word = model.tasks[name].metrics[0]
        if not harms or not math.isfinite(bootstrap.figure(word, base[name], truth.target)):
            continue
        made = _Judge(word, truth.target, base[name], constants[name], settings)
        entries = [made.entry(harm, found[name]) for harm, found in zip(harms, said, strict=True)]
        if model.policy is not None and name == next(iter(model.tasks)):
            costs = _costs(model, frame[truth.rows], truth.target, [base[name], *(found[name] for found in said)], settings)
            entries = [{**entry, "money": money} for entry, money in zip(entries, costs, strict=True)]
        records[name] = made.record(sorted(entries, key=lambda entry: -entry["drop"] if math.isfinite(entry["drop"]) else math.inf))
    return records


def _part(
    frame: pl.DataFrame, truths: Mapping[str, Truth], constants: Mapping[str, np.ndarray], settings: Settings
) -> tuple[pl.DataFrame, dict[str, Truth], dict[str, np.ndarray]]:
    """At most `rows` rows, drawn once; outputs without a label among them are left out."""
    chosen = np.arange(frame.height)
    if frame.height > settings.rows:
        chosen = np.sort(np.random.default_rng([settings.seed, 107]).choice(frame.height, settings.rows, replace=False))
    kept = {name: among(truth, chosen) for name, truth in truths.items()}
    kept = {name: truth for name, truth in kept.items() if len(truth.rows)}
    same = {name: constants[name][np.isin(truths[name].rows, chosen, assume_unique=True)] for name in kept}
    return frame[chosen], kept, same


def _harms(model: Predictor, inputs: pl.DataFrame, wanted: bool | Sequence[Component]) -> Iterator[_Harm]:
    """What is done, in order. What no input allows is left out; one input missing says nothing where there is only one."""
    registry = REGISTRIES["damage"]
    components = [Component(word) for word in registry.names()] if isinstance(wanted, bool) else wanted
    # Tags lie at places of their texts: a text whose parts move has other ones.
    fixed = any(scoring.kind_of(task) == "tags" for task in model.tasks.values())

    def made(component: Component, column: ColumnSchema) -> Damage:
        damage: Damage = registry.create(component, column, inputs[column.name])
        return damage

    for component in components:
        cls: type[Damage] = registry.get(component.type)
        struck = [column for column in model.columns if cls.accepts(column) and not (cls.moves and fixed)]
        if cls.each:
            singles = struck if len(model.columns) > 1 else []
            yield from (_Harm(component.type, cls.says, {column.name: made(component, column)}) for column in singles)
        elif struck:
            yield _Harm(component.type, cls.says, {column.name: made(component, column) for column in struck})


def _scored(
    model: Predictor, inputs: pl.DataFrame, harm: _Harm | None, truths: Mapping[str, Truth], seed: int
) -> dict[str, np.ndarray]:
    """What the model says of the labelled rows of each output, (M, ...). A damage of a column draws the same whatever else is done."""
    damages = {} if harm is None else harm.damages
    word = "" if harm is None else harm.word
    random = {name: np.random.default_rng([seed, 107, zlib.crc32(f"{word}/{name}".encode())]) for name in damages}
    has_files = any(column.kind == "binary" for column in model.columns)
    parts = [
        model.scores(rows.with_columns(damage.apply(rows[name], random[name]) for name, damage in damages.items()))
        for rows in inputs.iter_slices(_FILE_ROWS if has_files else max(1, inputs.height))
    ]
    said = {}
    for name, truth in truths.items():
        scores = np.concatenate([part[name] for part in parts])
        said[name] = scoring.figures(model.tasks[name], scores[truth.rows], model.temperatures.get(name, 1.0))
    return said


@dataclass(frozen=True, slots=True)
class _Judge:
    """One output: its first metric, the truth, what is said of undamaged rows, and the constant answer."""

    word: str
    target: np.ndarray
    base: np.ndarray
    constant: np.ndarray
    settings: Settings

    @property
    def sign(self) -> float:
        return 1.0 if scoring.higher_is_better(self.word) else -1.0

    def figure(self, prediction: np.ndarray) -> dict[str, float]:
        found = bootstrap.intervals(self.word, prediction, self.target, self.settings.resamples, self.settings.seed)
        return {"value": found.value, "low": found.low, "high": found.high}

    def entry(self, harm: _Harm, prediction: np.ndarray) -> dict[str, Any]:
        figure = self.figure(prediction)
        base = bootstrap.figure(self.word, self.base, self.target)
        resamples, seed = self.settings.resamples, self.settings.seed
        pair = bootstrap.difference(self.word, self.base, prediction, self.target, resamples, seed)
        low, high = sorted(self.sign * side for side in pair)
        same = bootstrap.figure(self.word, self.constant, self.target)
        was_better, is_better = self.sign * (base - same) > 0, self.sign * (figure["value"] - same) > 0
        return {
            "damage": harm.word, "says": harm.says, "inputs": list(harm.damages), **figure,
            "drop": self.sign * (base - figure["value"]), "drop_low": low, "drop_high": high,
            "collapsed": bool(low > 0 and was_better and not is_better), "money": None,
        }  # fmt: skip

    def record(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        constant = bootstrap.figure(self.word, self.constant, self.target)
        return {
            "metric": self.word, **self.figure(self.base), "rows": len(self.target), "constant": constant, "damages": entries,
        }  # fmt: skip


def _costs(
    model: Predictor, rows: pl.DataFrame, target: np.ndarray, said: Sequence[np.ndarray], settings: Settings
) -> list[dict[str, str]]:
    """What each damage costs per 1,000 decisions, exact, with the paired interval: [{"value", "cost", "low", "high"}].

    said: predictions of undamaged rows, then of each damage. The policy is the model's own; money columns are never damaged.
    """
    policy = model.policy
    assert policy is not None, "costs are asked of a model with a policy"
    money = [policy.worth(policy.act(each), development.outcomes(rows, policy, each, target)) for each in said]
    drawn = list(exact.drawn_totals(money, settings.resamples, settings.seed))
    totals, per = [exact.total(column) for column in money], Fraction(1000, len(target) * 10**policy.scale)

    def shown(units: int) -> str:
        return f"{exact.rounded(units * per):f}"

    found = []
    for place in range(1, len(money)):
        low, high = interval([draw[0] - draw[place] for draw in drawn])
        costs = totals[0] - totals[place]
        found.append({"value": shown(totals[place]), "cost": shown(costs), "low": shown(low), "high": shown(high)})
    return found
