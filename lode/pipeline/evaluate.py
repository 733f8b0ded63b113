"""Evaluation on the test rows: figures with intervals, beside the baselines' and, where a value is given, in money.

`evaluate` returns the report as JSON; `lode/pipeline/report.py` makes a page and a terminal summary from it. Its parts
live in `diagnosis`, `importance`, `slices` and `valuation`. The test rows decide nothing: thresholds and temperatures
come with the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl

from lode.core.errors import DataError
from lode.core.spec import ValueSpec
from lode.core.types import ColumnName, Range
from lode.data.contracts import ROW
from lode.model import bootstrap
from lode.model.contracts import Task
from lode.pipeline import diagnosis, kinds, scoring, slices, valuation, wording
from lode.pipeline.importance import importance
from lode.pipeline.scoring import Predictor, Truth

FORMAT = 1
"""Format version of report.json."""

_NO_SKILL = {"auc": 0.5, "r2": 0.0}
"""Metrics whose value without any skill is the same on all data."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a model is judged on the test rows.

    Args:
        folds: judge every candidate on so many folds of the training and validation rows too, cut as the split is (at random, by group, by
            time), each row by a model that never saw it; the report shows these figures beside those of the test rows.
        resamples: bootstrap resamples behind every 95 % interval.
        slices: columns whose groups are judged one by one; without it every category or binary input of 2 to 20 values.
        importance: whether each input is shuffled to see what the model loses without it.
        importance_rows: at most so many test rows are used for that.
        repeats: how often each input is shuffled.
        map: a picture of the test rows in two dimensions, by t-SNE or by UMAP (which needs lodeml[umap]); it takes a while.
        map_rows: at most so many test rows are drawn in it.
        seed: everything random here derives from it.
    """

    folds: Annotated[int, Range(2, 100)] | None = None
    resamples: Annotated[int, Range(100, 100000)] = 1000
    slices: list[ColumnName] | None = None
    importance: bool = True
    importance_rows: Annotated[int, Range(10)] = 2000
    repeats: Annotated[int, Range(1, 100)] = 3
    map: Literal["none", "tsne", "umap"] = "none"
    map_rows: Annotated[int, Range(50, 20000)] = 1000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Contest:
    """One output: the M labelled rows, the model's raw scores, and what it and every baseline said, (M, ...)."""

    task: Task
    truth: Truth
    scores: np.ndarray
    prediction: np.ndarray
    baselines: Mapping[str, np.ndarray]


def evaluate(
    model: Predictor,
    baselines: Mapping[str, Predictor],
    test: pl.DataFrame,
    value: ValueSpec | None,
    options: Evaluation,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """The report, as JSON.

    test: inputs, outputs, `__row__` and the columns that slices and value need. facts: what the run knows beside that;
    read are "name", "run" and "rows" (per split), the report shows the rest: "notes" (list), "inferred", "selection"
    (list of records), "history" (candidate -> list of records), "seconds", "hardware", "costs", "learning_curve" (list
    of {"rows", "score"}, or candidate -> such a list) and whatever else.
    Errors: DataError for no test rows, no usable label, or a slice column that is not there.
    """
    if test.is_empty():
        raise DataError("data.split.test: no test rows, at least one is needed to judge the model. Give a larger share.")
    sliced = slices.columns_of(test, model.columns, options.slices)
    contests = _contests(model, baselines, test)
    outputs = {name: _judge(model, contest, test, options) for name, contest in contests.items()}
    for name, contest in contests.items():
        word, settings = contest.task.metrics[0], {"resamples": options.resamples, "seed": options.seed}
        outputs[name]["slices"] = slices.slices(test, sliced, word, contest.prediction, contest.truth, **settings)
    for name, record in _importance(model, contests, test, options).items():
        outputs[name]["importance"] = record
    report = {
        "format": FORMAT,
        "name": facts.get("name", ""),
        "run": facts.get("run"),
        "rows": {**facts.get("rows", {}), "test": test.height},
        "resamples": options.resamples,
        "seed": options.seed,
        "outputs": outputs,
        "value": _value(model, contests, baselines, test, value, options, facts),
        "facts": {key: entry for key, entry in facts.items() if key not in ("name", "run", "rows")},
    }
    report["learnt"] = any(output["learnt"] for output in outputs.values())
    report["headline"] = wording.headline(report)
    report["warnings"] = wording.warnings(report)
    found: dict[str, Any] = plain(report)
    return found


def _contests(model: Predictor, baselines: Mapping[str, Predictor], test: pl.DataFrame) -> dict[str, _Contest]:
    """Every output with what was said about it; each model scores the test rows once.

    Errors: DataError where no test row has a usable label.
    """
    others = {name: other for name, other in baselines.items() if other is not model}
    own = model.scores(scoring.inputs_of(model, test))
    theirs = {name: other.scores(scoring.inputs_of(other, test)) for name, other in others.items()}

    def said(who: Predictor, scores: Mapping[str, np.ndarray], truth: Truth) -> np.ndarray:
        task, temperature = who.tasks[truth.name], who.temperatures.get(truth.name, 1.0)
        return scoring.figures(task, scores[truth.name][truth.rows], temperature)

    contests = {}
    for name, task in model.tasks.items():
        truth = scoring.truth_of(name, task, test)
        if not len(truth.rows):
            raise DataError(
                f'outputs.{name}: no label that training saw in {test.height} test rows, one is needed. Check the column "{name}".'
            )
        beside = {other: said(who, theirs[other], truth) for other, who in others.items()}
        contests[name] = _Contest(task, truth, own[name][truth.rows], said(model, own, truth), beside)
    return contests


def _importance(
    model: Predictor, contests: Mapping[str, _Contest], test: pl.DataFrame, options: Evaluation
) -> dict[str, dict[str, Any]]:
    """Per output; nothing with one input, because all that the model knows comes from it."""
    if not options.importance or len(model.columns) < 2:
        return {}
    truths = {name: contest.truth for name, contest in contests.items()}
    return importance(model, test, truths, rows=options.importance_rows, repeats=options.repeats, seed=options.seed)


def _judge(model: Predictor, contest: _Contest, test: pl.DataFrame, options: Evaluation) -> dict[str, Any]:
    """Everything about one output but importance and slices."""
    task, truth = contest.task, contest.truth
    record: dict[str, Any] = {
        "kind": truth.kind,
        "rows": len(truth.rows),
        "unlabelled": test.height - len(truth.rows),
        "classes": list(task.classes),
        "metrics": {word: _metric(word, contest, options) for word in task.metrics},
    }
    record["against"] = _against(contest, record["metrics"], options)
    record["constant"] = _constant(contest, options)
    record["learnt"] = _learnt(record["metrics"][task.metrics[0]], record["constant"])
    row_M = (test[ROW].to_numpy() if ROW in test.columns else np.arange(test.height))[truth.rows]
    if truth.kind == "number":
        record |= diagnosis.numbers(contest.prediction, truth.target, np.random.default_rng([options.seed, 103]))
    elif truth.kind not in ("binary", "multiclass"):
        record |= kinds.details(truth.kind, task, contest.prediction, truth.target)
    else:
        answer_M, threshold = _answers(model, contest)
        record["threshold"] = threshold
        record["confusion"] = diagnosis.confusion(truth.target, answer_M, task.classes)
    if truth.kind in ("binary", "multiclass", "labels"):
        temperature = model.temperatures.get(truth.name, 1.0)
        record["calibration"] = diagnosis.calibration(task, contest.scores, truth.target, temperature)
    if truth.kind == "binary":
        record["curves"] = diagnosis.curves(contest.prediction, truth.target)
    record["worst"] = kinds.worst(truth.kind, task, contest.prediction, truth.target, row_M)
    record["sentence"] = wording.sentence(truth.name, record)
    return record


def _metric(word: str, contest: _Contest, options: Evaluation) -> dict[str, Any]:
    """Value and interval of the model and of every baseline."""

    def figure(prediction: np.ndarray) -> dict[str, float]:
        found = bootstrap.intervals(word, prediction, contest.truth.target, options.resamples, options.seed)
        return {"value": found.value, "low": found.low, "high": found.high}

    beside = {name: figure(prediction) for name, prediction in contest.baselines.items()}
    better = scoring.higher_is_better(word)
    return {**figure(contest.prediction), "title": scoring.title(word), "higher_is_better": better, "baselines": beside}


def _against(contest: _Contest, metrics: Mapping[str, Any], options: Evaluation) -> dict[str, Any] | None:
    """The paired difference to the baseline that does best on the first metric; better counted positive."""
    word = contest.task.metrics[0]
    sign = 1.0 if metrics[word]["higher_is_better"] else -1.0
    ranked = {name: sign * entry["value"] for name, entry in metrics[word]["baselines"].items() if math.isfinite(entry["value"])}
    if not ranked:
        return None
    best = max(ranked, key=lambda name: ranked[name])
    return {"baseline": best, "metric": word, **_difference(word, contest, contest.baselines[best], options)}


def _difference(word: str, contest: _Contest, other: np.ndarray, options: Evaluation) -> dict[str, float]:
    target = contest.truth.target
    found = bootstrap.difference(word, contest.prediction, other, target, options.resamples, options.seed)
    gain = bootstrap.figure(word, contest.prediction, target) - bootstrap.figure(word, other, target)
    if scoring.higher_is_better(word):
        return {"difference": gain, "low": found[0], "high": found[1]}
    return {"difference": -gain, "low": -found[1], "high": -found[0]}


def _constant(contest: _Contest, options: Evaluation) -> dict[str, Any]:
    """What the same answer for every row reaches on the first metric, and the paired difference to it.

    It is the baseline `constant` where there is one, else the best constant answer of the test rows themselves.
    Better is counted positive.
    """
    word, truth = contest.task.metrics[0], contest.truth
    other = contest.baselines.get("constant")
    if other is None and truth.kind not in ("number", "binary", "multiclass"):
        other = contest.prediction  # only a packaged `constant` has no such baseline beside it
    elif other is None and truth.kind == "number":
        other = np.full(len(truth.target), truth.target.mean())
    elif other is None:
        shares = np.bincount(truth.target, minlength=len(contest.task.classes)) / len(truth.target)
        other = np.tile(shares, (len(truth.target), 1)) if truth.kind == "multiclass" else np.full(len(truth.target), shares[1])
    return {
        "metric": word,
        "value": bootstrap.figure(word, other, truth.target),
        **_difference(word, contest, other, options),
    }


def _learnt(first: Mapping[str, Any], constant: Mapping[str, Any]) -> bool:
    """False where the paired difference to the constant answer reaches 0, or the metric's interval reaches "no skill".

    Undefined figures (one class only among the test rows) prove nothing either way: comparisons with NaN are False.
    """
    no_skill = _NO_SKILL.get(constant["metric"], -math.inf)
    return not (constant["low"] <= 0 or first["low"] <= no_skill)


def _answers(model: Predictor, contest: _Contest) -> tuple[np.ndarray, float | None]:
    """The class said for each row (M,), and the threshold of a binary decision: its policy's, else 0.5."""
    if contest.truth.kind == "multiclass":
        return contest.prediction.argmax(1), None
    policy = model.policy
    if policy is None or type(policy).task != "binary" or contest.truth.name != next(iter(model.tasks)):
        return (contest.prediction >= 0.5).astype(np.int64), 0.5
    threshold = policy.state().get("threshold")
    return np.asarray(policy.act(contest.prediction), np.int64), None if threshold is None else float(threshold)


def _value(
    model: Predictor,
    contests: Mapping[str, _Contest],
    baselines: Mapping[str, Predictor],
    test: pl.DataFrame,
    value: ValueSpec | None,
    options: Evaluation,
    facts: Mapping[str, Any],
) -> dict[str, Any] | None:
    """What the decisions on the first output earn; None without a `value:` block."""
    if value is None or model.policy is None:
        return None
    contest = next(iter(contests.values()))
    beside = {}
    for name, said in contest.baselines.items():
        policy = baselines[name].policy
        if policy is not None:
            beside[name] = (policy, said)
    rows, own = test[contest.truth.rows], (model.policy, contest.prediction)
    return valuation.valuation(
        value, rows, contest.truth.target, own, beside, facts, resamples=options.resamples, seed=options.seed
    )


def plain(value: Any) -> Any:
    """JSON values only: NaN and infinities become None, exact amounts and dates become text."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
