"""The formulas of charges by hand, at their edges."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from lode.app.prices.contracts import ACTIVE_US, ELIGIBLE, PERIODS, WHOLE_US, Charge
from lode.core import money
from lode.core.registry import REGISTRIES
from lode.core.types import Component

TIERS = [{"up_to": 10, "price": "5", "flat": "1"}, {"up_to": 20, "price": "3", "flat": "7"}, {"price": "2"}]


def charge(word: str, **options: Any) -> Charge:
    made: Charge = REGISTRIES["charge"].create(Component(word, options), "EUR")
    return made


def cost(made: Charge, **usage: int) -> Fraction:
    return made.opening() + made.amount({}, usage)


@pytest.mark.parametrize(("rows", "total"), [(0, 0), (1, 6), (10, 51), (11, 61), (20, 88), (21, 90)])
def test_graduated_a_boundary_belongs_to_the_lower_tier(rows: int, total: int) -> None:
    assert cost(charge("graduated", tiers=TIERS, unit="rows", flat_at_zero=False), rows=rows) == total


@pytest.mark.parametrize(("rows", "total"), [(0, 0), (1, 6), (10, 51), (11, 40), (20, 67), (21, 42)])
def test_volume_falls_behind_a_boundary(rows: int, total: int) -> None:
    assert cost(charge("volume", tiers=TIERS, unit="rows", flat_at_zero=False), rows=rows) == total


@pytest.mark.parametrize("word", ["graduated", "volume"])
def test_the_first_flat_is_due_at_zero_where_the_plan_says_so(word: str) -> None:
    due = charge(word, tiers=TIERS, unit="rows", flat_at_zero=True)
    assert due.opening() == 1 and cost(due, rows=0) == 1 and cost(due, rows=1) == 6


@pytest.mark.parametrize(
    ("rows", "packages"), [(0, 0), (5, 0), (6, 1), (15, 1), (16, 2), (10**15 + 5, 10**14), (10**15 + 6, 10**14 + 1)]
)
def test_package_is_an_exact_ceiling(rows: int, packages: int) -> None:
    assert cost(charge("package", price="2", size=10, free=5, unit="rows"), rows=rows) == 2 * packages


def test_free_units_come_first() -> None:
    made = charge("standard", price="0.5", free=3, unit="rows")
    assert [made.amount({"rows": before}, {"rows": 2}) for before in (0, 1, 2, 3, 9)] == [0, 0, Fraction(1, 2), 1, 1]


def test_tokens_that_were_cached_have_their_own_price() -> None:
    made = charge("tokens", input="3", cached="0.3", output="15", per=1_000_000)
    used = {"input_tokens": 1000, "cached_tokens": 400, "output_tokens": 10}
    assert cost(made, **used) == Fraction(600 * 3 + 400 * Fraction(3, 10) + 10 * 15, 10**6)
    assert cost(charge("tokens", input="3", output="15", per=1), **used) == 1000 * 3 + 150


def test_a_percentage_has_bounds_for_each_transaction() -> None:
    made = charge("percentage", rate="0.02", fixed="0.10", minimum="0.5", maximum="3")
    costs = [made.amount({}, {"requests": 1, "transaction_value": euros * money.UNIT}) for euros in (0, 10, 50, 1000)]
    assert costs == [Fraction(1, 2), Fraction(1, 2), Fraction(11, 10), 3]
    assert made.amount({}, {}) == 0


def test_cost_plus_has_a_floor_and_a_frozen_rate() -> None:
    made = charge("cost_plus", markup="0.25", floor="0.01", exchange="0.9", provider_currency="USD")
    assert made.amount({}, {"requests": 1, "provider_cost": money.UNIT}) == Fraction(1125, 1000)
    assert made.amount({}, {"requests": 1, "provider_cost": 0}) == Fraction(1, 100)


def test_true_ups_are_prorated_by_time() -> None:
    used = {ELIGIBLE: 10 * money.UNIT, ACTIVE_US: 15, WHOLE_US: 30}
    assert charge("minimum", amount="100").amount({}, used) == 40
    assert charge("minimum", amount="20").amount({}, used) == 0
    assert charge("commitment", amount="100", share="0.5").amount({}, used) == 20


def test_packs_of_credit_are_sold_each_period_or_once() -> None:
    each, once = charge("prepaid", price="10", credit="12"), charge("prepaid", price="10", every="once")
    assert [each.amount({PERIODS: number}, {PERIODS: 1}) for number in range(3)] == [10, 10, 10]
    assert [once.amount({PERIODS: number}, {PERIODS: 1}) for number in range(3)] == [10, 0, 0]
