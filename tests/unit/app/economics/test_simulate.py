"""A plan tried on past usage: the same plan gives the ledger again, another one the difference, and the books stay as they are."""

from __future__ import annotations

import random
from typing import Any

import pytest

from lode.app.economics.readings import Window
from lode.app.economics.simulate import simulate
from lode.app.prices.plan import Plan
from lode.core import money
from lode.core.errors import BillingError
from tests.unit.app.economics.world import DAY_US, FLAT, GRADUATED, START_US, World

SPAN = Window(START_US, START_US + 45 * DAY_US)


def head(world: World) -> Any:
    with world.store.view() as session:
        return session.rows("SELECT sequence, hash FROM head")[0]


def busy(world: World, requests: int, seed: int = 0) -> int:
    """Two customers on the graduated plan over 45 days; what the ledger says that they owe."""
    generator = random.Random(seed)
    for slug in ("acme", "beta"):
        world.customer(slug, GRADUATED)
    with world.together():
        for number in range(requests):
            status = generator.choice([200, 200, 200, 500, 499])
            world.settle(
                generator.choice(["acme", "beta"]), f"r{number}", status=status, rows=generator.randint(1, 40), compute_us=7
            )
            world.later(45 / requests)
    with world.store.view() as session:
        return int(session.rows("SELECT exact_sum(amount) FROM usage")[0][0])


def test_the_same_plan_gives_the_ledger_to_the_last_digit(world: World) -> None:
    owed = busy(world, 200)
    before = head(world)
    found = simulate(world.store, Plan.of(GRADUATED), SPAN)
    assert found["before"] == found["after"] == money.plain(owed) and found["difference"] == "0"
    assert all(line["difference"] == "0" for line in found["customers"]) and head(world) == before


@pytest.mark.parametrize("days", [(3, 7), (10, 40), (29, 31)])
def test_a_window_within_periods_too(world: World, days: tuple[int, int]) -> None:
    """Tiers are where they were when the window began."""
    busy(world, 150, seed=1)
    part = Window(START_US + days[0] * DAY_US, START_US + days[1] * DAY_US)
    found = simulate(world.store, Plan.of(GRADUATED), part)
    assert found["difference"] == "0" and found["before"] != "0"


MIXED = {
    "name": "mixed", "version": 1, "currency": "EUR", "period": "month", "anchor": 17, "counters": "carry",
    "charges": [
        {"name": "steps", "type": "graduated", "unit": "rows", "cap": "1.25",
         "tiers": [{"up_to": 30, "price": "0.01", "flat": "0.1"}, {"price": "0.007"}], "flat_at_zero": False},
        {"name": "whole", "type": "volume", "unit": "rows", "tiers": [{"up_to": 200, "price": "0.003"}, {"price": "0.001"}]},
        {"name": "packs", "type": "package", "unit": "compute_us", "price": "0.05", "size": 300, "free": 100},
        {"name": "each", "type": "percentage", "unit": "rows", "rate": "0.000001", "fixed": "0.0001", "minimum": "0.0002"},
        {"name": "passed-on", "type": "cost_plus", "markup": "0.333333", "floor": "0.000001"},
        {"name": "credit-only", "type": "standard", "unit": "requests", "price": "0.000000000001", "model": "credit"},
    ],
}  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_every_kind_of_charge_comes_out_as_it_was_charged(world: World, seed: int) -> None:
    """Tiers, falling sums, packages, caps, prices per request with rests, providers' costs, two models, failures: the ledger again."""
    generator = random.Random(seed)
    for slug in ("acme", "beta"):
        world.customer(slug, MIXED)
    with world.together():
        for number in range(200):
            units = {"rows": generator.randint(1, 9), "compute_us": generator.randint(1, 99)}
            cost = generator.choice([0, 1, 3_333_333, 10**9 + 7])
            model, status = generator.choice(["credit", "other"]), generator.choice([200, 200, 500, 499])
            world.settle(generator.choice(["acme", "beta"]), f"r{number}", status=status, model=model, cost=cost, **units)
            world.later(45 / 200)
    for part in (SPAN, Window(START_US + 20 * DAY_US, START_US + 33 * DAY_US)):
        found = simulate(world.store, Plan.of(MIXED), part)
        with world.store.view() as session:
            values = (part.start_us, part.end_us)
            owed = session.rows("SELECT exact_sum(amount) FROM usage WHERE at_us >= ? AND at_us < ?", values)[0][0]
        assert found["after"] == found["before"] == money.plain(int(owed)) and found["difference"] == "0"


def test_another_plan_says_who_wins_and_who_loses(world: World) -> None:
    for slug in ("small", "large"):
        world.customer(slug, GRADUATED)
    world.settle("small", "a", rows=50)
    world.settle("large", "b", rows=10_000)
    found = simulate(world.store, Plan.of(FLAT), SPAN)
    large, small = found["customers"]
    assert (large["customer"], large["before"], large["after"]) == ("large", "33.9999999967", "50")
    assert (small["customer"], small["before"], small["after"], small["difference"]) == ("small", "0.5", "0.25", "-0.25")
    assert (found["pay_more"], found["pay_less"]) == (1, 1) and large["charges"] == {"rows": "50"}


def test_another_currency_is_refused_and_requests_without_a_plan_are_counted(world: World) -> None:
    world.customer("free")
    world.settle("free", "a", rows=1)
    assert simulate(world.store, Plan.of(FLAT), SPAN)["without_plan"] == 1
    world.customer("acme", FLAT)
    world.settle("acme", "b", rows=1)
    with pytest.raises(BillingError, match="found a plan in USD, but acme pays in EUR"):
        simulate(world.store, Plan.of({**FLAT, "name": "dollars", "currency": "USD"}), SPAN)
    world.customer("liberty", {**FLAT, "name": "dollars", "currency": "USD"}, currency="USD")
    world.settle("liberty", "c", rows=1)
    world.settle("free", "d", rows=1, status=500)
    found = simulate(world.store, Plan.of(FLAT), SPAN)
    assert found["other_currencies"] == {"liberty": "USD"} and [line["customer"] for line in found["customers"]] == ["acme"]
    assert found["without_plan"] == 1, "what failed would have cost nothing anyway"


def test_what_a_provider_took_in_another_currency_is_not_taken_one_to_one(world: World) -> None:
    world.customer("acme", FLAT)
    world.settle("acme", "a", rows=1, cost=10**9)
    passed_on = {"name": "passed-on", "type": "cost_plus", "markup": "0.1", "provider_currency": "USD"}
    with pytest.raises(BillingError, match=r'cost us EUR, which no charge of dear .*provider_currency = "EUR"'):
        simulate(world.store, Plan.of({**FLAT, "name": "dear", "charges": [passed_on]}), SPAN)


def test_a_plan_with_other_periods(world: World) -> None:
    world.customer("acme", GRADUATED)
    for number in range(3):
        world.settle("acme", f"r{number}", rows=100)
        world.later(7)
    weekly = Plan.of({**GRADUATED, "name": "weekly", "period": "week"})
    assert simulate(world.store, weekly, SPAN)["after"] == "3", "each week begins in the first tier again"


@pytest.mark.prove
def test_two_thousand_requests_under_the_same_plan(world: World) -> None:
    owed = busy(world, 2000, seed=3)
    assert simulate(world.store, Plan.of(GRADUATED), SPAN)["after"] == money.plain(owed)
