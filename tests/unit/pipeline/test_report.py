"""The page and the summary: complete, offline, escaped, readable."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lode.pipeline import report as reports
from lode.pipeline.evaluate import Evaluation, evaluate
from lode.pipeline.report import html, render, summary

QUICK = Evaluation(resamples=100, repeats=1, importance_rows=50)
EVIL = "<script>alert(1)</script>"
FACTS: dict[str, Any] = {
    "name": "cards",
    "run": "0a1b2c",
    "rows": {"train": 350, "validation": 50},
    "notes": ["size: category, 2 values"],
    "inferred": [{"column": "size", "type": "category", "why": "2 values"}],
    "selection": [
        {"candidate": "linear", "score": 0.97, "chosen": False, "reason": "surely worse than network"},
        {"candidate": "network", "score": 0.99, "chosen": True, "reason": "best"},
    ],
    "history": {
        "network": [
            {"epoch": 1, "train_loss": 0.5, "stop_loss": 0.6},
            {"epoch": 2, "train_loss": 0.3, "stop_loss": 0.5},
        ]
    },
    "choices": {"network": {"threads": 1, "precision": "bf16", "clip": None, "measure": []}, "linear": {"penalty.ill": 0.1}},
    "seconds": {"data": 0.25, "train": 12.5},
    "hardware": {"cpu": {"model": "Xeon", "cores": 2}},
    "costs": {"linear": {"parameters": 9, "flops_per_row": 18}, "network": {"parameters": 12345, "flops_per_row": 999}},
    "learning_curve": {
        "sentence": "Twice the rows (200 more) are expected to bring nothing.",
        "outputs": {
            "ill": {
                "title": "AUC",
                "higher_is_better": True,
                "gain": None,
                "last": None,
                "points": [{"rows": 100 * size, "fits": 1, "value": 0.9 + size / 100, "low": 0.8, "high": 0.99} for size in (1, 2)],
            }
        },
        "money": None,
        "notes": [],
    },
    "forecast": {"seconds": 10},
}


class Page(HTMLParser):
    """What a browser would act upon. Fails where tags are not closed in order."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="session")
def full(cancer: Any) -> dict[str, Any]:
    return evaluate(cancer.model, cancer.baselines, cancer.test, None, QUICK, FACTS)


def test_the_page_opens_offline_without_scripts_and_every_picture_has_words(full: dict[str, Any]) -> None:
    text = html(full)
    page = Page(text)
    assert not page.of("script")
    assert not page.of("link")
    assert not re.search(r"https?://|url\(|@import", text)
    assert len(page.of("img")) >= 7
    for image in page.of("img"):
        assert (image["src"] or "").startswith("data:image/svg+xml;base64,")
        assert len(image["alt"] or "") > 20
    assert page.of("html")[0]["lang"] == "en"


def test_every_fact_has_its_section_and_absent_ones_have_none(full: dict[str, Any], noise: Any) -> None:
    titles = {"How it was chosen", "Would more data help?", "Training", "What it costs", "Time, in seconds", "Made on"}
    titles |= {"What was inferred from the data", "Notes", "Also recorded"}
    assert titles <= set(Page(html(full)).words)
    bare = evaluate(noise.model, {}, noise.test, None, QUICK, {})
    assert not titles & set(Page(html(bare)).words)


def test_costs_of_several_candidates_are_one_table_and_histories_of_rounds_are_drawn(full: dict[str, Any]) -> None:
    words = Page(html(full)).words
    assert words[words.index("flops per row") + 1 :][:20].count("12,345") == 1
    trees = copy.deepcopy(full)
    trees["facts"]["history"] = {"trees": [{"round": 10, "loss": 0.5}, {"round": 20, "loss": 0.25}]}
    alts = [image["alt"] for image in Page(html(trees)).of("img")]
    assert "Training of trees: loss from 0.5 to 0.25." in alts


def test_the_first_line_of_the_page_is_the_headline_and_the_warnings_follow(noise: Any) -> None:
    report = evaluate(noise.model, noise.baselines, noise.test, None, QUICK, {"name": "noise"})
    words = [word for word in Page(html(report)).words if word.strip()]
    body = words[words.index("noise: evaluation", 2) :]
    assert body[1] == report["headline"]
    assert set(report["warnings"]) <= set(body)


def test_words_of_the_data_are_never_markup(cancer: Any, make_task: Any, make_model: Any) -> None:
    frame = pl.DataFrame({EVIL: [1.0, 2.0] * 40, "c": [EVIL, '"><img src=x onerror=alert(1)>'] * 40, "y": [EVIL, "no"] * 40})
    task = make_task("binary", frame["y"].to_numpy(), positive=EVIL)
    model = make_model(task, "y", [EVIL, "c"], lambda part: 1.4 - part[EVIL].to_numpy(), {"c": "category"})
    facts = {
        "name": EVIL,
        "notes": [EVIL],
        "inferred": [{EVIL: EVIL}],
        "hardware": {EVIL: EVIL},
        "history": {EVIL: FACTS["history"]["network"]},
    }
    page = Page(html(evaluate(model, {EVIL: model_copy(model)}, frame, None, QUICK, facts)))
    assert not page.of("script")
    assert page.of("img") and all(set(image) == {"src", "alt"} for image in page.of("img"))
    assert EVIL in page.words


def model_copy(model: Any) -> Any:
    return copy.copy(model)


def test_the_value_section_shows_rivals_and_curve(cancer: Any) -> None:
    from lode.core.registry import REGISTRIES
    from lode.core.spec import ValueSpec
    from lode.core.types import Component

    word = Component("matrix", {"true_positive": "2500.50", "false_positive": -300, "false_negative": -5000})
    model = copy.copy(cancer.model)
    model.policy = REGISTRIES["policy"].create(word)
    value = ValueSpec(word, {"currency": "EUR", "decisions": 50000, "compute_hour": "0.5"})
    report = evaluate(model, {}, cancer.test, value, QUICK, {"training_seconds": 60})
    page = Page(html(report))
    assert {"What it is worth", "treat all", "treat none", "EUR per 1,000 decisions"} <= set(page.words)
    assert any((image["alt"] or "").startswith("Profit curve") for image in page.of("img"))
    assert report["headline"] == report["value"]["sentence"]


def test_render_writes_both_files_and_the_same_report_gives_the_same_bytes(full: dict[str, Any], tmp_path: Path) -> None:
    page = render(full, tmp_path / "one")
    again = render(json.loads((tmp_path / "one" / "report.json").read_text("utf-8")), tmp_path / "two")
    assert page == tmp_path / "one" / "report.html"
    assert page.read_bytes() == again.read_bytes()
    assert (tmp_path / "one" / "report.json").read_bytes() == (tmp_path / "two" / "report.json").read_bytes()
    assert json.loads((tmp_path / "one" / "report.json").read_text("utf-8")) == full
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["report.html", "report.json"]


def test_a_report_of_numbers_and_one_of_many_classes_can_be_rendered(digits: Any, diabetes: Any) -> None:
    for trial, words in ((digits, "Confused most often"), (diabetes, "Largest errors")):
        report = evaluate(trial.model, trial.baselines, trial.test, None, QUICK, {})
        assert words in Page(html(report)).words


def test_a_report_with_undefined_figures_can_be_rendered(cancer: Any, tmp_path: Path) -> None:
    report = evaluate(cancer.model, cancer.baselines, cancer.test.filter(pl.col("diagnosis") == 1), None, QUICK, {})
    assert "undefined" in render(report, tmp_path).read_text("utf-8")
    assert "undefined" in summary(report)


def test_the_summary_is_a_short_aligned_table_in_plain_ascii(full: dict[str, Any]) -> None:
    lines = summary(full).splitlines()
    assert lines[0] == full["headline"]
    assert len(lines) <= reports.SUMMARY_LINES
    rows = lines[2 : 3 + len(full["outputs"]["diagnosis"]["metrics"])]
    start = rows[0].index("best baseline")
    assert all(row[start - 2 : start] == "  " and row[start] != " " for row in rows)
    assert re.fullmatch(r"AUC +\d\.\d+ \[\d\.\d+, \d\.\d+\] +\d\.\d+ \[\d\.\d+, \d\.\d+\] linear", rows[1])


def test_the_summary_stays_short_and_ascii_with_many_outputs_and_other_scripts(full: dict[str, Any]) -> None:
    many = copy.deepcopy(full)
    many["outputs"] = {f"\u8f93\u51fa {place}": full["outputs"]["diagnosis"] for place in range(9)}
    many["warnings"] = [f"warning {place}" for place in range(40)]
    text = summary(many)
    assert text.isascii()
    assert len(text.splitlines()) <= reports.SUMMARY_LINES
    assert "more warnings, see report.html" in text


def test_warnings_name_the_slices_that_are_clearly_worse(cancer: Any) -> None:
    generator_size = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("flipped")).otherwise(pl.lit("kept"))
    test = cancer.test.with_columns(generator_size.alias("size"))
    flipped = pl.when(pl.col("size") == "flipped").then(1 - pl.col("diagnosis")).otherwise(pl.col("diagnosis"))
    report = evaluate(cancer.model, {}, test.with_columns(flipped.alias("diagnosis")), None, QUICK, {})
    assert any("clearly worse than over all rows where size = flipped" in text for text in report["warnings"])
