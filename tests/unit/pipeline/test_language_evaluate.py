"""The evaluation of a language model: figures, baselines, questions, samples and the page, for texts, answers and pairs."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import ColumnName, Component
from lode.data.corpus import store
from lode.data.place import Place
from lode.model.language.scoring import nats_of_document
from lode.pipeline.language import figures
from lode.pipeline.language.contracts import Judged
from lode.pipeline.language.evaluate import evaluate
from lode.pipeline.language.options import LanguageEvaluation
from lode.pipeline.language.report import render, summary
from lode.testing.speaker import PlainSpeaker, counting_speaker, small_speaker

TEXTS = [
    f"the {animal} {verb} the {other}. "
    for animal in ("cat", "dog", "hen")
    for verb in ("sees", "hears")
    for other in ("cow", "pig", "fox")
]
NEXT = Component("next_token", {})
QUICK = LanguageEvaluation(resamples=100, sample_tokens=12, samples=2)
FACTS = {
    "name": "farm", "run": "farm-1", "rows": {"train": 12, "test": 6},
    "history": [{"epoch": 1, "loss": 3.0, "stop_loss": 3.1}, {"epoch": 2, "loss": 2.0, "stop_loss": 2.2}],
    "choices": {"tokens_per_s": 12345.0, "mfu": 0.25}, "notes": ["a note"],
}  # fmt: skip


def _judged(folder: Path, speaker: PlainSpeaker, rows: pl.DataFrame, objective: Component = NEXT, **more: Any) -> Judged:
    """Two thirds train, the rest is judged."""
    cut = rows.height * 2 // 3
    parts = {"train": rows[:cut], "test": rows[cut:]}
    separator = "\n" if more.get("packing") == "stream" else None
    for part, frame in parts.items():
        store.write(speaker.tokenizer, objective, [frame], folder / part, separator=separator)
    return Judged(split="test", tokens=folder / "test", train=folder / "train", objective=objective, texts=parts["test"], **more)


def _frame(texts: Sequence[str] = TEXTS, **columns: Any) -> pl.DataFrame:
    order = np.random.default_rng(0).permutation(len(texts))
    return pl.DataFrame({"text": list(texts), **columns})[order]


@pytest.fixture(scope="module")
def farmer() -> PlainSpeaker:
    return counting_speaker("\n".join(TEXTS), "?!", context=48)


@pytest.mark.parametrize("packing", ["documents", "stream"])
def test_the_loss_is_the_mean_over_every_token_that_can_be_told(packing: str, farmer: PlainSpeaker, tmp_path: Path) -> None:
    judged = _judged(tmp_path, farmer, _frame(), packing=packing)
    report = evaluate(farmer, judged, QUICK, FACTS)
    arrays = store.read(judged.tokens)
    edges = arrays["documents"] if packing == "documents" else arrays["documents"][[0, -1]]
    told = [nats_of_document(farmer.decoder, arrays["tokens"][a:b], 48, 48)[1:] for a, b in itertools.pairwise(edges)]
    loss = report["metrics"]["loss"]
    assert loss["value"] == pytest.approx(float(np.concatenate(told).mean()), rel=1e-5)
    assert loss["low"] < loss["value"] < loss["high"]
    assert report["judged"]["tokens"] == sum(map(len, told))
    assert report["judged"]["unit"] == ("document" if packing == "documents" else "block of 48 tokens")
    assert report["metrics"]["perplexity"]["value"] == pytest.approx(math.exp(loss["value"]))
    about = store.read_about(judged.tokens)
    bits = loss["value"] / math.log(2) * about["learned_tokens"] / about["bytes"]
    assert report["metrics"]["bits_per_byte"]["value"] == pytest.approx(bits)


def test_a_model_that_knows_beats_the_counts_and_one_that_does_not_is_said_to(farmer: PlainSpeaker, tmp_path: Path) -> None:
    judged = _judged(tmp_path, farmer, _frame())
    good = evaluate(farmer, judged, QUICK, FACTS)
    assert good["learnt"] and good["headline"].startswith("On ") and "n-gram model (" in good["headline"]
    assert set(good["metrics"]["loss"]["baselines"]) == {f"{length}-gram" for length in range(1, 7)}
    assert good["against"]["1-gram"]["low"] > 0
    ignorant = small_speaker(["\n".join(TEXTS), "?!"], context=48)
    bad = evaluate(ignorant, judged, QUICK, FACTS)
    assert not bad["learnt"] and bad["headline"].startswith("Nothing was learnt: on ")
    assert any("a table of counts" in text for text in bad["warnings"])
    chance = math.log(ignorant.tokenizer.size)
    assert abs(bad["metrics"]["loss"]["value"] - chance) < 0.2


def test_baselines_and_model_are_asked_for_the_same_tokens(farmer: PlainSpeaker, tmp_path: Path) -> None:
    """The first token of a document is nobody's: the n-gram models, which see the end of the one before, are not credited with it."""
    judged = _judged(tmp_path, farmer, _frame())
    corpus = figures.read(judged.tokens, "documents", 48, 10_000)
    nats = figures.told_by_counts(corpus, judged.train, 1, 1000, farmer.tokenizer.size)["1-gram"].copy()
    nats[corpus.documents[:-1]] = np.nan
    found = evaluate(farmer, judged, QUICK, FACTS)["metrics"]["loss"]["baselines"]["1-gram"]["value"]
    assert found == pytest.approx(float(np.nanmean(nats)), rel=1e-5)


def test_few_tokens_are_judged_where_few_are_asked_for(farmer: PlainSpeaker, tmp_path: Path) -> None:
    judged = _judged(tmp_path, farmer, _frame(TEXTS * 10))
    corpus = figures.read(judged.tokens, "documents", 48, 200)
    assert 150 < len(corpus.tokens) <= 220 and corpus.numbers[0] == 0 and corpus.numbers[-1] == 59
    arrays = store.read(judged.tokens)
    second = slice(*corpus.documents[1:3])
    own = slice(*arrays["documents"][corpus.numbers[1] : corpus.numbers[1] + 2])
    assert np.array_equal(corpus.tokens[second], arrays["tokens"][own])


def test_groups_of_a_column_get_a_loss_each(farmer: PlainSpeaker, tmp_path: Path) -> None:
    known = [text if "fox" in text else text[::-1] for text in TEXTS]
    rows = _frame(known, kind=["plain" if "fox" in text else "mirrored" for text in TEXTS])
    judged = _judged(tmp_path, farmer, rows)
    options = LanguageEvaluation(resamples=100, samples=0, ngrams=2, slices=[ColumnName("kind")])
    found = {item["group"]: item for item in evaluate(farmer, judged, options, FACTS)["slices"]["kind"]}
    assert found["mirrored"]["value"] > found["plain"]["value"] + 1
    assert sum(item["documents"] for item in found.values()) == 6
    with pytest.raises(DataError, match=r'evaluate\.slices: there is no column "sort"'):
        evaluate(farmer, judged, LanguageEvaluation(slices=[ColumnName("sort")]), FACTS)


def test_the_page_shows_everything_and_repeats_byte_by_byte(farmer: PlainSpeaker, tmp_path: Path) -> None:
    rows = [{"question": "the cat sees the", "choices": ["cow", "zzz"], "answer": 0}]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    benchmark = REGISTRIES["benchmark"].create(Component("choice", {"path": "q.jsonl", "name": "farm <quiz>"}), Place(tmp_path))
    judged = _judged(tmp_path, farmer, _frame())
    report = evaluate(farmer, judged, QUICK, {**FACTS, "corpus": {"train": store.read_about(judged.train)}}, [benchmark])
    assert report["tasks"][0]["questions"] == 1 and report["tasks"][0]["chance"] == 0.5
    page = render(report, tmp_path / "a").read_text("utf-8")
    for words in ("How well it foretells", "lzma after the training text", "Learning curve", "12,345 tokens a second", "farm &lt;quiz&gt;",
                  "word for word", "a note", "6-gram"):  # fmt: skip
        assert words in page, words
    again = evaluate(farmer, judged, QUICK, {**FACTS, "corpus": {"train": store.read_about(judged.train)}}, [benchmark])
    assert render(again, tmp_path / "b").read_bytes() == (tmp_path / "a" / "report.html").read_bytes()
    assert json.loads((tmp_path / "a" / "report.json").read_text("utf-8")) == again
    lines = summary(report).splitlines()
    assert len(lines) <= 25 and summary(report).isascii() and any(line.startswith("bits per byte") for line in lines)


def test_texts_that_are_html_stay_texts(farmer: PlainSpeaker, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><img src=http://x onerror=alert(2)>"
    report = evaluate(farmer, _judged(tmp_path, farmer, _frame()), QUICK, {**FACTS, "name": evil, "notes": [evil]})
    report["samples"] = [{"how": evil, "prompt": evil, "text": evil, "reference": evil}, {"how": "x", "prompt": evil, "text": evil}]
    report["memorised"]["passage"] = report["headline"] = evil
    report["warnings"] = [evil]
    report["slices"] = {evil: [{"group": evil, "documents": 1, "tokens": 2, "value": 1, "low": 1, "high": 1}]}
    report["tasks"] = [{"title": evil, "questions": 1, "value": 0.5, "low": 0.1, "high": 0.9, "chance": 0.5, "verdict": evil,
                        "parts": {evil: 1}, "shown": [{"question": evil, "wanted": evil, "said": evil, "right": False}]}]  # fmt: skip
    page = render(report, tmp_path / "page").read_text("utf-8")
    assert "<script" not in page
    assert "<img src=http" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 15, page.count("&lt;script&gt;alert(1)")


def test_a_sample_that_repeats_its_training_texts_is_told(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    long = "".join(random.choice(list("abcdefghij"), 400))
    parrot = counting_speaker(long, context=128)
    rows = pl.DataFrame({"text": [long, long[::-1], "".join(random.choice(list("abcdefghij"), 300))]})
    judged = _judged(tmp_path, parrot, rows)
    parrot.generate = lambda prompts, sampling=None: [long[100:190] for _ in prompts]  # type: ignore[method-assign]
    found = evaluate(parrot, judged, LanguageEvaluation(resamples=100, prompts=["a"], ngrams=0), FACTS)
    assert found["memorised"]["most"] == 90 and found["memorised"]["passage"] == long[100:190]
    assert found["memorised"]["held_out_most"] < 20
    assert any("repeats 90 tokens" in text for text in found["warnings"])


def test_answers_are_judged_against_the_model_before(farmer: PlainSpeaker, tmp_path: Path) -> None:
    rows = pl.DataFrame({"ask": [f"who {index}?" for index in range(12)], "say": [TEXTS[index].strip() for index in range(12)]})
    objective = Component("answers", {"prompt": ["ask"], "answer": "say"})
    before = small_speaker(["\n".join(TEXTS), "?!"], context=48)
    judged = _judged(tmp_path, farmer, rows, objective, start=before)
    report = evaluate(farmer, judged, QUICK, FACTS)
    learned = store.read(judged.tokens)["learned"].astype(bool)
    assert report["judged"]["tokens"] == learned.sum() < len(learned)
    assert report["best_baseline"] == "start" and "start" in report["against"]
    gain = report["metrics"]["loss"]["baselines"]["start"]["value"] - report["metrics"]["loss"]["value"]
    assert report["against"]["start"]["value"] == pytest.approx(gain, rel=1e-5)
    assert report["headline"].removeprefix("Nothing was learnt: o").removeprefix("O").startswith("n 4 held-out conversations")
    sample = report["samples"][0]
    assert sample["prompt"].startswith("who ") and sample["reference"] in rows["say"].to_list()
    assert f"(known answer) {sample['reference']}</pre>" in render(report, tmp_path / "page").read_text("utf-8")


def test_a_question_without_room_for_an_answer_is_left_out_of_the_samples(farmer: PlainSpeaker, tmp_path: Path) -> None:
    ask = ["who sees the cow?" if index % 2 else "who " * 20 for index in range(12)]
    rows = pl.DataFrame({"ask": ask, "say": [TEXTS[index].strip() for index in range(12)]})
    judged = _judged(tmp_path, farmer, rows, Component("answers", {"prompt": ["ask"], "answer": "say"}))
    options = LanguageEvaluation(resamples=100, sample_tokens=12, samples=4, memorised=False)
    samples = evaluate(farmer, judged, options, FACTS)["samples"]
    assert {sample["prompt"] for sample in samples} == {"who sees the cow?"}


def test_pairs_are_judged_by_which_answer_is_likelier(farmer: PlainSpeaker, tmp_path: Path) -> None:
    texts = [TEXTS[index % len(TEXTS)].strip() for index in range(90)]
    rows = pl.DataFrame({"ask": ["?"] * 90, "good": texts, "bad": [text[::-1] for text in texts]})
    objective = Component("preferences", {"prompt": ["ask"], "chosen": "good", "rejected": "bad"})
    before = small_speaker(["\n".join(TEXTS), "?!"], context=48)
    judged = _judged(tmp_path, farmer, rows, objective, start=before)
    report = evaluate(farmer, judged, QUICK, FACTS)
    assert report["metrics"]["accuracy"]["value"] == 1.0 and report["metrics"]["reward_accuracy"]["value"] == 1.0
    assert report["metrics"]["margin"]["low"] > 0 and report["learnt"] and report["judged"]["units"] == 30
    assert report["headline"].startswith("Of 30 held-out pairs the model finds the chosen answer likelier in 100.0 %")
    assert not any("reward accuracy alone" in text for text in report["warnings"])
    shy = copy.deepcopy(farmer)  # as sure of its order as the farmer, which gained over it in every pair, and was right before too
    shy.decoder.head.data.mul_(0.5)
    moved = evaluate(farmer, _judged(tmp_path, farmer, rows, objective, start=shy), QUICK, FACTS)
    assert moved["learnt"] and moved["metrics"]["accuracy"]["baselines"]["start"]["value"] == 1.0
    assert any("reward accuracy alone (100.0 %" in text and "(100.0 % before, 100.0 % now)" in text for text in moved["warnings"])
    alone = evaluate(before, _judged(tmp_path, farmer, rows, objective), QUICK, FACTS)
    assert "a coin would in 50 %" in alone["headline"]
    render(report, tmp_path / "page")
    assert summary(report).splitlines()[2].startswith("  ")


def test_nothing_to_judge_is_an_error(farmer: PlainSpeaker, tmp_path: Path) -> None:
    judged = _judged(tmp_path, farmer, pl.DataFrame({"text": ["abc", "def", "ab"]}))
    store.write(farmer.tokenizer, NEXT, [pl.DataFrame({"text": ["a"]})], judged.tokens, separator="")
    with pytest.raises(DataError, match=r"no token has another before it|no held-out text"):
        evaluate(farmer, judged, QUICK, FACTS)
