"""`lode margin` and `lode worth` as a person types them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from lode.cli import _margin_words
from lode.cli.main import main
from tests.unit.app.economics.world import FLAT, GRADUATED, World

PLAN = """name = "flat"
version = 1
currency = "EUR"
period = "month"
anchor = 1
[[charges]]
name = "rows"
type = "standard"
unit = "rows"
price = "0.005"
"""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two customers, thirty decisions of today."""
    world = World(tmp_path)
    world.time_us = time.time_ns() // 1000 - 3_600_000_000
    world.artifact()
    world.customer("acme", GRADUATED)
    world.customer("whale", FLAT)
    with world.together():
        for number in range(30):
            world.settle_said("acme", f"r{number}", [0.9 if number % 2 else 0.1], rows=1, compute_us=2000)
        world.settle("whale", "w", rows=1, compute_us=60_000_000)
    world.store.close()
    return tmp_path


def lode(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = main([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out + said.err


def as_json(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    code, said = lode(capsys, *words, "--json")
    assert code == 0, said
    return json.loads(said)


def test_margins_are_a_table_with_what_stands_out(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = lode(capsys, "margin", "--runs", runs, "--floor", "0.9", "--machine-hours", "1")
    assert code == 0, said
    assert "acme      credit        30      0.3  0.00006       0.29994       100.0 %          0.002" in said
    assert "Customers that lose money: whale (-0.055 EUR)." in said and "2 % of 1.00 machine hours were used" in said.replace(
        "1.67", "2"
    )
    found = as_json(capsys, "margin", "--runs", runs, "--by", "customer")
    assert [line["customer"] for line in found["lines"]] == ["acme", "whale"] and found["total"]["revenue"] == "0.305"


def test_a_plan_is_tried_without_a_trace(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = runs / "flat.toml"
    plan.write_text(PLAN)
    code, said = lode(capsys, "margin", "--runs", runs, "--plan", plan)
    assert code == 0 and "acme            30    0.3      0.15       -0.15" in said and "0 would pay more, 1 less" in said
    assert as_json(capsys, "margin", "--runs", runs, "--plan", plan)["simulated"]["after"] == "0.155"


def test_a_plan_of_the_books_is_tried_by_its_name(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = runs / "flat.toml"
    plan.write_text(PLAN)
    assert main(["plans", "add", str(plan), "--runs", str(runs)]) == 0
    capsys.readouterr()
    assert as_json(capsys, "margin", "--runs", runs, "--plan", "flat")["simulated"]["after"] == "0.155"
    assert "never added" in lode(capsys, "margin", "--runs", runs, "--plan", "flut")[1]


def test_a_floor_is_a_share(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = lode(capsys, "margin", "--runs", runs, "--floor", "50")
    assert code == 2 and said == '--floor: found "50", wanted a share from 0 to 1, such as 0.5. Write it so.\n'


def test_outcomes_come_from_a_file_and_the_page_is_written(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, page = runs / "labels.csv", runs / "page.html"
    lines = [f"acme,r{number},0,{number % 2},0" for number in range(30)]
    file.write_text("\n".join(["organisation,request_id,row,outcome,rule", *lines]))
    assert as_json(capsys, "worth", "outcomes", file, "--runs", runs) == {"recorded": 30, "repeated": 0, "requests": 30}
    assert lode(capsys, "worth", "outcomes", file, "--runs", runs)[1] == "0 outcomes recorded, 30 were known, of 30 requests.\n"
    code, said = lode(capsys, "worth", "credit", "--runs", runs, "-o", page)
    assert code == 0 and said.startswith("credit earned more than the best simple policy (treat all): 2.50 EUR per decision"), said
    assert "Not causal" in said and page.read_text("utf-8").startswith("<!doctype html>")
    found = as_json(capsys, "worth", "credit", "--runs", runs)
    assert found["lead"] == "75" and found["share_estimated"] == "0"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "request_id,row,outcome\nr1,0,1\n", ":2: found no organisation"),
        ("a.csv", "organisation,row,outcome\nacme,0,1\n", ":2: found no request_id"),
        ("a.csv", "organisation,request_id,row,outcome\nacme,r1,7,1\n", ":2: outcomes: found row 7, the request had 1"),
        ("a.jsonl", '{"organisation": "acme", "request_id": "r1", "outcome": 2e99}\n', "wanted 0 or 1, or a number"),
        ("a.jsonl", "[]\n", ":1: found no object"),
        ("a.jsonl", "{\n", "cannot be read"),
    ],
)
def test_a_file_that_is_wrong_is_told_by_its_line(
    runs: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, words: str
) -> None:
    (runs / name).write_text(content)
    code, said = lode(capsys, "worth", "outcomes", runs / name, "--runs", runs)
    assert code == 2 and words in said, said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["margin", "--spread", "0"], "--spread: found"),
        (["margin", "--rate", "USD"], "--rate: found"),
        (["margin", "--rate", "USD=-1"], "--rate: found"),
        (["margin", "--rate", "USD=nan"], "--rate: found"),
        (["margin", "--from", "tomorrow"], "--from: found"),
        (["margin", "--fixed", "1e400"], "--fixed: found"),
        (["margin", "--plan", "nowhere.toml"], "nowhere.toml"),
        (["worth", "credits"], 'Did you mean "credit"'),
        (["worth", "outcomes"], "found no file"),
        (["worth", "credit", "x.csv"], "Leave it out"),
        (["worth", "credit", "--months", "0"], "--months: found 0"),
        (["worth", "credit", "--close", "2020-13"], "--close: found"),
    ],
)
def test_mistakes_are_told_without_a_traceback(runs: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    code, said = lode(capsys, *words, "--runs", runs)
    assert code == 2 and told in said and "Traceback" not in said, said


def test_a_break_even_of_nothing_is_not_said() -> None:
    unit = {"price": "0.1", "variable_cost": "0", "break_even_price": "0", "break_even_volume": 0}
    assert _margin_words._unit(unit, "EUR") == []
    assert _margin_words._unit({**unit, "break_even_price": "0.02", "break_even_volume": 9}, "EUR")[0].endswith(
        "0.02, or at 9 requests."
    )
