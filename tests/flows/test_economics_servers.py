"""Margin, simulation, outcomes, worth and closed reports say the same from SQLite and from PostgreSQL."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from lode.app.books.open import open_books
from lode.app.economics import sealed
from lode.app.economics.compute import model_facts
from lode.app.economics.margin import Terms, margin
from lode.app.economics.posting import post
from lode.app.economics.readings import Window
from lode.app.economics.simulate import simulate
from lode.app.prices.plan import Plan
from tests.flows.books_server import books_server, new_database
from tests.unit.app.economics.world import DAY_US, FLAT, GRADUATED, START_US, World

pytestmark = pytest.mark.servers
SPAN = Window(START_US, START_US + 30 * DAY_US)


def reports(world: World) -> dict[str, Any]:
    """Everything that economics says about a small month."""
    world.artifact()
    world.customer("acme", GRADUATED)
    world.customer("beta", FLAT)
    with world.together():
        for number in range(60):
            chance = 0.9 if number % 3 else 0.1
            world.settle_said("acme" if number % 2 else "beta", f"r{number}", [chance] * 3, rows=3, compute_us=1001)
            world.later(0.5)
    terms = Terms(models=model_facts(world.runs), floor=Fraction(1, 2))
    found = {"margin": margin(world.store, terms, SPAN, ("customer", "model", "day"))}
    found["same plan"] = simulate(world.store, Plan.of(FLAT), SPAN)
    found["posted"] = post(world.store, "cli", terms, SPAN, now_us=world.now_us)
    for number in range(30):
        world.tell("acme" if number % 2 else "beta", f"r{number}", {"row": 1, "outcome": int(number % 3 > 0), "rule": 1})
    found["closed"] = sealed.close(world.store, "cli", world.runs, "credit", "2026-11", terms, now_us=world.now_us)
    world.tell("beta", "r30", {"row": 0, "outcome": 0})
    found["restated"] = sealed.close(world.store, "cli", world.runs, "credit", "2026-11", terms, now_us=world.now_us)
    return found


def test_both_stores_tell_the_same(tmp_path: Path) -> None:
    found = []
    with books_server() as server:
        for folder, location in (("lite", None), ("server", new_database(server))):
            runs = tmp_path / folder
            runs.mkdir()
            store = open_books(location, runs)
            found.append(reports(World(runs, store)))
            store.close()
    assert found[0] == found[1]
    assert found[0]["restated"]["restates"]["new_outcomes"] == 1 and found[0]["margin"]["total"]["requests"] == 60
