"""READ FIRST (evaluation of language models): loss on held-out texts beside n-gram models, questions, samples; all of it as JSON.

The lane calls `evaluate`, then `render` of `lode/pipeline/language/report.py`:

    judged = Judged(split="test", tokens=FOLDER, train=FOLDER, objective=Component, packing="stream", texts=FRAME, start=None)
    report = evaluate(model, judged, LanguageEvaluation(**spec.evaluate), facts, benchmarks)    # -> dict, JSON values only
    render(report, folder)                                                          # report.json, report.html -> path of the page
    summary(report)                                                                 # <= 25 lines of ASCII for the terminal

`report["metrics"]` is {"loss" | "bits_per_byte" | "perplexity": {"value", "low", "high", "baselines": {name: the same}, ...}} for texts
and answers, {"accuracy", "reward_accuracy", "margin"} for preferences. The split decides nothing that the model is made of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from lode.core.errors import DataError
from lode.data.corpus import render
from lode.model.bootstrap import Interval
from lode.model.contracts import Progress, no_progress
from lode.model.language.resample import ratio, wilson
from lode.pipeline.evaluate import plain
from lode.pipeline.language import figures, words
from lode.pipeline.language.contracts import Benchmark, Judged, Speaker
from lode.pipeline.language.figures import Corpus, record
from lode.pipeline.language.options import LanguageEvaluation
from lode.pipeline.language.samples import Writer

FORMAT = 1
"""Format version of report.json of language models."""


def evaluate(
    model: Speaker,
    judged: Judged,
    options: LanguageEvaluation,
    facts: Mapping[str, Any],
    benchmarks: Sequence[Benchmark] = (),
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """The whole report.

    facts: `name`, `run`, `rows` ({split: how many documents}), `history` (what training noted, in order), `corpus` ({split: about.json of
    its tokens}), and whatever else is known (choices, cost, seconds, hardware, plan, notes): it is shown as it is. benchmarks: of
    `options.tasks`, made by the caller, who also needs their fingerprints.
    Errors: DataError where there is nothing to judge, a slice column is not there, or a question cannot be read.
    """
    reads = render.reads(judged.objective)
    packing = "pairs" if reads == "pairs" else judged.packing
    progress("evaluate: read", 0, 4, {})
    corpus = figures.read(judged.tokens, packing, model.architecture.shape.context, options.tokens)
    if len(corpus.documents) < 2 or not corpus.learned.any():
        raise DataError(f"data.split.{judged.split}: no held-out text to judge the model on. Give a larger share.")
    judge = _pairs if reads == "pairs" else _texts
    found = judge(model, judged, corpus, options, progress)
    progress("evaluate: ask", 2, 4, {})
    report = {
        "format": FORMAT,
        "kind": reads,
        "split": judged.split,
        "name": facts.get("name", ""),
        "run": facts.get("run"),
        "rows": facts.get("rows", {}),
        "resamples": options.resamples,
        "seed": options.seed,
        "judged": {
            "documents": len(corpus.documents) - 1, "tokens": found.pop("tokens"), "unit": corpus.unit, "units": len(corpus.edges) - 1,
            "bytes_per_token": corpus.bytes_per_token,
        },
        **found,
        "tasks": [_asked(benchmark, model, options) for benchmark in benchmarks],
    }  # fmt: skip
    progress("evaluate: write samples", 3, 4, {})
    report["samples"], report["memorised"] = Writer(model, judged, corpus, options, reads).written()
    report["facts"] = {key: entry for key, entry in facts.items() if key not in ("name", "run", "rows")}
    report["headline"], report["warnings"] = words.headline(report), words.warnings(report)
    made: dict[str, Any] = plain(report)
    return made


def _texts(model: Speaker, judged: Judged, corpus: Corpus, options: LanguageEvaluation, progress: Progress) -> dict[str, Any]:
    """Loss of the learned tokens: of texts all, of conversations the answers'."""
    nats_N = figures.told_by(model, corpus, judged.packing, options.stride)
    progress("evaluate: baselines", 1, 4, {})
    if not np.isfinite(nats_N[corpus.learned]).any():
        raise DataError(
            f"data.split.{judged.split}: no token has another before it, so nothing can be foretold. Give longer documents."
        )
    others = {} if judged.start is None else {"start": figures.told_by(judged.start, corpus, judged.packing, options.stride)}
    others |= figures.told_by_counts(corpus, judged.train, options.ngrams, options.ngram_tokens, model.tokenizer.size)
    # The same tokens for everybody: an n-gram model knows the first token of a document, the model is not asked for it.
    others = {name: np.where(np.isfinite(nats_N), found, np.nan) for name, found in others.items()}
    metrics = _metrics(corpus, nats_N, others, options)
    against = {name: record(figures.gain(corpus, nats_N, found, options.resamples, options.seed)) for name, found in others.items()}
    return {
        "tokens": int((corpus.learned & np.isfinite(nats_N)).sum()),
        "metrics": metrics,
        "against": against,
        "best_baseline": _best(metrics, judged),
        "compressed": figures.compressed(corpus, judged.train, model.tokenizer)
        if options.ngrams and render.reads(judged.objective) == "text"
        else {},
        "slices": _slices(corpus, nats_N, judged, options),
        "learnt": all(_is_better(against[name]) for name in ("1-gram", "start") if name in against),
    }


def _metrics(corpus: Corpus, nats_N: np.ndarray, others: Mapping[str, np.ndarray], options: LanguageEvaluation) -> dict[str, Any]:
    """Loss, bits a byte and perplexity: one figure in three units, each with the baselines'."""
    loss = figures.figure(corpus, nats_N, options.resamples, options.seed)
    beside = {name: figures.figure(corpus, found, options.resamples, options.seed) for name, found in others.items()}
    units = {
        "loss": ("loss, nats per token", lambda value: value),
        "bits_per_byte": ("bits per byte", corpus.bits_per_byte),
        "perplexity": ("perplexity", math.exp),
    }
    return {
        word: {
            **record(Interval(*map(unit, loss))),
            "title": title,
            "higher_is_better": False,
            "baselines": {name: record(Interval(*map(unit, found))) for name, found in beside.items()},
        }
        for word, (title, unit) in units.items()
    }


def _best(metrics: Mapping[str, Any], judged: Judged) -> str | None:
    """The baseline that the headline names: the model that training started from, else the n-gram model with the least loss."""
    beside = metrics["loss"]["baselines"]
    return "start" if judged.start is not None else min(beside, key=lambda name: beside[name]["value"], default=None)


def _is_better(difference: Mapping[str, Any]) -> bool:
    """Whether the interval of a gain lies above 0; of one unit, where there is none, the gain itself."""
    low = difference["low"]
    return bool((difference["value"] if math.isnan(low) else low) > 0)


def _slices(corpus: Corpus, nats_N: np.ndarray, judged: Judged, options: LanguageEvaluation) -> dict[str, Any]:
    """Column -> the loss of each of its values."""
    texts = judged.texts
    found: dict[str, Any] = {}
    for column in options.slices or ():
        if texts is None or column not in texts.columns:
            raise DataError(f'evaluate.slices: there is no column "{column}". Name one of the data.')
        if texts.height <= int(corpus.numbers.max()):
            raise DataError(
                f'evaluate.slices: some records gave no document, so their "{column}" cannot be matched. Remove them with a cleaner.'
            )
        groups = texts[column].cast(pl.String).to_numpy().astype(object)
        found[column] = figures.by_group(corpus, nats_N, groups, options.resamples, options.seed)
    return found


def _pairs(model: Speaker, judged: Judged, corpus: Corpus, options: LanguageEvaluation, progress: Progress) -> dict[str, Any]:
    """How often the chosen answer is the likelier one, under the model and under the one that it started from."""
    per_token = bool(judged.objective.options.get("normalised"))
    own = _margins(model, corpus, per_token)
    progress("evaluate: baselines", 1, 4, {})
    metrics: dict[str, Any] = {"accuracy": _preferred("chosen answer likelier", own)}
    against = {}
    if judged.start is not None:
        before = _margins(judged.start, corpus, per_token)
        metrics["accuracy"]["baselines"]["start"] = record(wilson(*_right(before)))
        metrics["reward_accuracy"] = _preferred("chosen answer gained more than the rejected one", own - before)
        moved = ratio(own - before, np.ones(len(own)), options.resamples, options.seed)
        title = "gain of the chosen over the rejected answer, nats" + " per token" * per_token
        metrics["margin"] = {**record(moved), "title": title, "baselines": {}}
        change = np.sign(own) / 2 - np.sign(before) / 2
        against["start"] = record(ratio(change, np.ones(len(own)), options.resamples, options.seed))
    learnt = _is_better(against["start"]) if against else metrics["accuracy"]["low"] > 0.5
    return {
        "tokens": int(corpus.learned.sum()),
        "metrics": metrics,
        "against": against,
        "best_baseline": "start" if against else None,
        "compressed": {},
        "slices": {},
        "learnt": bool(learnt or (against and _is_better(metrics["margin"]) and metrics["reward_accuracy"]["low"] > 0.5)),
    }


def _margins(model: Speaker, corpus: Corpus, per_token: bool) -> np.ndarray:
    """float64 (P,): by how many nats (per token, as the objective compares them) the chosen answer is likelier than the rejected one."""
    nats, tokens = corpus.sums(figures.told_by(model, corpus, "documents", None), corpus.documents)
    each = nats / np.maximum(tokens, 1) if per_token else nats
    return np.asarray(each[1::2] - each[0::2])


def _right(margins: np.ndarray) -> tuple[int, int]:
    return int((margins > 0).sum()), len(margins)


def _preferred(title: str, margins: np.ndarray) -> dict[str, Any]:
    return {**record(wilson(*_right(margins))), "title": title, "higher_is_better": True, "baselines": {}}


def _asked(benchmark: Benchmark, model: Speaker, options: LanguageEvaluation) -> dict[str, Any]:
    """A set of questions put to the model, compared with guessing."""
    found = benchmark.ask(model, options.seed)
    share, chance = wilson(int(found.right.sum()), len(found.right)), float(found.chance.mean())
    return {
        "title": found.title, "questions": len(found.right), **record(share), "chance": chance,
        "verdict": words.beside_chance(share.low, share.high, chance), "parts": dict(found.parts), "shown": list(found.shown),
    }  # fmt: skip
