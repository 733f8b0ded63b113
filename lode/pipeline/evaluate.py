"""Evaluation on the test rows: figures with intervals, beside the baselines' and, where a value is given, in money.

`evaluate` returns the report as JSON; `lode/pipeline/report.py` makes a page and a terminal summary from it. Its parts
live in `diagnosis`, `fairness`, `importance`, `robustness`, `slices` and `valuation`. The test rows decide nothing:
thresholds and temperatures come with the model.
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
from lode.core.types import ColumnName, DamageSpec, Range
from lode.data.contracts import ROW
from lode.model import bootstrap
from lode.model.contracts import Task
from lode.pipeline import development, diagnosis, fairness, kinds, robustness, scoring, slices, valuation, wording
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
        protected: columns of people's groups that decisions should not depend on, inputs or not; the report shows what each group gets
            and which gaps are surely there. A number of many values is cut into quarters.
        favourable: which answer of a binary output people wish for: a loan granted, or a fraud not suspected.
        importance: whether each input is shuffled to see what the model loses without it.
        importance_rows: at most so many test rows are used for that.
        repeats: how often each input is shuffled.
        robustness: damage the inputs as they are in production and show what the model loses: true for every damage that fits an input,
            or a list of damages. It takes as long as scoring the rows once for each damage, and once for each input; of large networks
            without an accelerator that is minutes, so it is asked for.
        robustness_rows: at most so many test rows are used for that.
        learning_curve: fit the chosen model on an eighth, a quarter and a half of the rows too, each so many times with other rows; the
            report shows what more rows brought so far and what twice as many are expected to bring, in money too. More fits make the
            interval narrower; each takes up to as long as the training of the chosen model.
        map: a picture of the test rows in two dimensions, by t-SNE or by UMAP (which needs lodeml[umap]); it takes a while.
        map_rows: at most so many test rows are drawn in it.
        seed: everything random here derives from it.
    """

    folds: Annotated[int, Range(2, 100)] | None = None
    resamples: Annotated[int, Range(100, 100000)] = 1000
    slices: list[ColumnName] | None = None
    protected: list[ColumnName] | None = None
    favourable: Literal["positive", "negative"] = "positive"
    importance: bool = True
    importance_rows: Annotated[int, Range(10)] = 2000
    repeats: Annotated[int, Range(1, 100)] = 3
    robustness: bool | list[DamageSpec] = False
    robustness_rows: Annotated[int, Range(10)] = 2000
    learning_curve: Annotated[int, Range(2, 20)] | None = None
    map: Literal["none", "tsne", "umap"] = "none"
    map_rows: Annotated[int, Range(50, 20000)] = 1000
    seed: Annotated[int, Range(0, 4_294_967_295)] = 0


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

    test: inputs, outputs, `__row__` and the columns that slices, groups of people and value need. facts: what the run knows beside that;
    read are "name", "run" and "rows" (per split), the report shows the rest: "notes" (list), "inferred", "selection"
    (list of records), "history" (candidate -> list of records), "seconds", "hardware", "costs", "learning_curve" (list
    of {"rows", "score"}, or candidate -> such a list) and whatever else.
    Errors: DataError for no test rows, no usable label, or a column of slices or groups that is not there.
    """
    if test.is_empty():
        raise DataError("data.split.test: no test rows, at least one is needed to judge the model. Give a larger share.")
    sliced = slices.columns_of(test, model.columns, options.slices)
    slices.columns_of(test, model.columns, options.protected or [], "evaluate.protected")
    contests = _contests(model, baselines, test)
    outputs = {name: _judge(model, contest, test, options) for name, contest in contests.items()}
    for name, contest in contests.items():
        outputs[name] |= _by_groups(model, contest, test, sliced, value, options)
    for name, record in _importance(model, contests, test, options).items():
        outputs[name]["importance"] = record
    for name, record in _robustness(model, contests, test, options).items():
        outputs[name]["robustness"] = record
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


def _by_groups(
    model: Predictor, contest: _Contest, test: pl.DataFrame, sliced: list[str], value: ValueSpec | None, options: Evaluation
) -> dict[str, Any]:
    """The slices of an output, and the fairness of one that is a decision or a number."""
    word, protected = contest.task.metrics[0], list(dict.fromkeys(options.protected or ()))
    settings = {"resamples": options.resamples, "seed": options.seed}
    figures = _figures(model, contest, test, value, options.favourable) if protected else {}
    # Of other outputs a protected column is one more to slice by.
    columns = sliced if figures else list(dict.fromkeys([*sliced, *protected]))
    found: dict[str, Any] = {"slices": slices.slices(test, columns, word, contest.prediction, contest.truth, **settings)}
    if figures:
        audited = fairness.audit(test[contest.truth.rows], protected, figures, **settings)
        found["fairness"] = {"favourable": _favourable(contest, options.favourable), "columns": audited}
    return found


def _robustness(
    model: Predictor, contests: Mapping[str, _Contest], test: pl.DataFrame, options: Evaluation
) -> dict[str, dict[str, Any]]:
    """Per output; nothing unless it is asked for."""
    if not options.robustness:
        return {}
    truths = {name: contest.truth for name, contest in contests.items()}
    constants = {name: _same_for_all(contest) for name, contest in contests.items()}
    settings = robustness.Settings(options.robustness_rows, options.resamples, options.seed)
    return robustness.robustness(model, test, truths, constants, options.robustness, settings)


def _figures(
    model: Predictor, contest: _Contest, test: pl.DataFrame, value: ValueSpec | None, favourable: str
) -> dict[str, fairness.Figure]:
    """What groups are compared by, at the decisions that are really taken; nothing of outputs that are neither classes nor numbers."""
    truth, said = contest.truth, contest.prediction
    if truth.kind == "binary":
        figures = fairness.decisions(said, _answers(model, contest)[0], truth.target, favourable)
    elif truth.kind == "multiclass":
        figures = fairness.classes(_answers(model, contest)[0], truth.target, contest.task.classes)
    elif truth.kind == "number":
        figures = fairness.numbers(said, truth.target)
    else:
        return {}
    if value is not None and model.policy is not None and truth.name == next(iter(model.tasks)):
        outcomes = development.outcomes(test[truth.rows], model.policy, said, truth.target)
        money = np.asarray(model.policy.worth(model.policy.act(said), outcomes), np.float64) * 1000 / 10**model.policy.scale
        figures["value"] = fairness.Figure(money, np.ones(len(money)), share=False)
    return figures


def _favourable(contest: _Contest, favourable: str) -> str | None:
    """The class that people wish for, of two."""
    return contest.task.classes[favourable == "positive"] if contest.truth.kind == "binary" else None


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
    word, other = contest.task.metrics[0], _same_for_all(contest)
    value = bootstrap.figure(word, other, contest.truth.target)
    return {"metric": word, "value": value, **_difference(word, contest, other, options)}


def _same_for_all(contest: _Contest) -> np.ndarray:
    """The same answer for every row, (M, ...)."""
    truth, other = contest.truth, contest.baselines.get("constant")
    if other is not None:
        return other
    if truth.kind not in ("number", "binary", "multiclass"):
        return contest.prediction  # only a packaged `constant` has no such baseline beside it
    if truth.kind == "number":
        return np.full(len(truth.target), truth.target.mean())
    shares = np.bincount(truth.target, minlength=len(contest.task.classes)) / len(truth.target)
    return np.tile(shares, (len(truth.target), 1)) if truth.kind == "multiclass" else np.full(len(truth.target), shares[1])


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


def audited(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What `--json` prints of fairness and robustness, per output; nothing where they were not asked for."""
    found = {
        word: {name: record[word] for name, record in report["outputs"].items() if word in record}
        for word in ("fairness", "robustness")
    }
    return {word: records for word, records in found.items() if records}


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
