"""What the pages about prices write is a plan, and costs what they say."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from lode.app.prices.estimate import estimate
from lode.app.prices.plan import make
from lode.cli import _actions
from lode.core.registry import REGISTRIES
from tests.docs.conftest import ROOT

PAGE = (ROOT / "docs" / "how-to" / "charges-by-example.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```\n\n([^\n]*) cost ([\d.,]+) EUR\.", PAGE, re.DOTALL)


@pytest.mark.parametrize(("fragment", "used", "total"), EXAMPLES)
def test_an_example_costs_what_the_page_says(fragment: str, used: str, total: str) -> None:
    findings: list[Any] = []
    plan = make({"name": "x", "version": 1, "currency": "EUR", "charges": [tomllib.loads(fragment)]}, findings)
    assert plan is not None, findings
    counts: dict[str, int | str] = {
        unit: number if unit in ("provider_cost", "transaction_value") else int(number.replace(",", ""))
        for number, unit in re.findall(r"(\d[\d,]*) (\w+)", used)
    }
    assert estimate(plan, {"requests": 0, **counts})["total"] == total


def test_every_charge_has_an_example() -> None:
    assert {tomllib.loads(fragment)["type"] for fragment, _, _ in EXAMPLES} == set(REGISTRIES["charge"].names())


@dataclass
class Clock:
    """What the command line takes for now: midnights in Berlin."""

    now_us: int = 0

    def turn(self, day: str) -> None:
        self.now_us = int(datetime.fromisoformat(f"{day}T00:00:00+02:00").timestamp() * 1e6)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(_actions, "clock_us", lambda: made.now_us)
    return made


def test_the_page_about_plans_is_true(clock: Clock, quick_walkthrough: Any, tmp_path: Path) -> None:
    """A month lies between its chapters: what two customers used is billed before the price is found to be wrong."""
    text = (ROOT / "docs" / "how-to" / "set-prices.md").read_text(encoding="utf-8")
    before, heading, after = text.partition("\n## A price that was wrong\n")
    assert heading
    clock.turn("2026-10-01")
    assert _ran(quick_walkthrough, tmp_path, before) == 9
    _october(clock, lambda words: quick_walkthrough.inside(shlex.split(words)))
    assert _ran(quick_walkthrough, tmp_path, after) == 6


def _ran(walkthrough: Any, folder: Path, text: str) -> int:
    page = folder / "set-prices.md"
    page.write_text(text, encoding="utf-8")
    ran: int = walkthrough.run(page)
    return ran


def _october(clock: Clock, lode: Callable[[str], str]) -> None:
    """Two customers use something, and have an invoice of it."""
    lode('customers add globex --name "Globex" --currency EUR --zone Europe/Berlin')
    lode("plans subscribe globex team --trial-days 0")
    events = [
        {"organisation": owner, "request_id": owner, "at": "2026-10-20T09:00:00Z", "model": "m", "units": {"rows": rows}}
        for owner, rows in {"acme": 4000, "globex": 1500}.items()
    ]
    Path("events.jsonl").write_text("\n".join(map(json.dumps, events)), encoding="utf-8")
    seller = 'name = "S"\naddress = ["Street 1"]\ncountry = "DE"\npayment = ["IBAN 1"]\n'
    Path("runs", "seller.toml").write_text(seller, encoding="utf-8")
    clock.turn("2026-11-20")
    assert "accepted     2" in lode("usage --import events.jsonl")
    assert "Invoice 2026-000003  Globex" in lode("bill --all")
