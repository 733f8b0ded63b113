"""What requests cost adds up to what the period costs, in whatever portions and order they come; and T18 in small."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import rating_oracle
from lode.app.prices import lines
from lode.app.prices.plan import Plan, make
from lode.app.prices.subscription import Subscription
from lode.app.prices.tariff import Rated, Tariff
from lode.core import money

LABEL = "2026-01-01T00:00:00Z"


def plan_of(*charges: dict[str, Any], **rest: Any) -> Plan:
    findings: list[Any] = []
    made = make({"name": "p", "version": 1, "currency": "EUR", "charges": list(charges), **rest}, findings)
    assert made is not None, findings
    return made


def tariff_of(plan: Plan, model: str = "m", **rest: Any) -> Tariff:
    return Tariff(plan, Subscription("s", "o", "p", 1, "EUR", 0, **rest), model)


def rate_all(tariff: Tariff, units: list[dict[str, int]]) -> tuple[list[Rated], dict[str, int]]:
    """Rated one by one, told no more than `names` asks for."""
    counters: dict[str, int] = {}
    rated = []
    for used in units:
        rated.append(tariff.rate({name: counters.get(name, 0) for name in tariff.names(LABEL)}, used, LABEL))
        for name, change in rated[-1].counters.items():
            counters[name] = counters.get(name, 0) + change
    return rated, counters


def test_a_third_of_a_price_is_not_lost() -> None:
    """1 EUR for 3 rows: 0.333..., and the third row brings what the first two left."""
    tariff = tariff_of(plan_of({"name": "rows", "type": "standard", "unit": "rows", "price": "1", "per": 3}))
    rated, counters = rate_all(tariff, [{"rows": 1}] * 3)
    assert [item.amount for item in rated] == [333_333_333_333, 333_333_333_333, 333_333_333_334]
    assert counters == {f"quantity|s|{LABEL}|rows": 3, f"amount|s|{LABEL}|rows": money.UNIT}


def test_what_is_finer_than_a_billionth_of_a_thousandth_waits() -> None:
    tariff = tariff_of(plan_of({"name": "share", "type": "percentage", "rate": "0.5"}))
    rated, counters = rate_all(tariff, [{"requests": 1, "transaction_value": 1}] * 3)
    assert [item.amount for item in rated] == [0, 1, 0]
    assert counters[f"rest|s|{LABEL}|share"] == 10**12 // 2


def test_a_cap_holds_however_requests_come() -> None:
    for charge in (
        {"type": "standard", "unit": "rows", "price": "0.3"},
        {"type": "standard", "unit": "rows", "price": "0.3", "free": 1},
        {"type": "percentage", "unit": "rows", "rate": "0.3"},
    ):
        tariff = tariff_of(plan_of({"name": "c", "cap": "1", **charge}))
        rated, counters = rate_all(tariff, [{"rows": rows, "requests": 1} for rows in (1, 2, 3, 4, 0, 9)])
        assert counters[f"amount|s|{LABEL}|c"] == money.UNIT and rated[-1].amount == 0
        assert tariff.most({"rows": 1000, "requests": 1}, LABEL) == money.UNIT


def test_a_volume_price_gives_back() -> None:
    tiers = [{"up_to": 10, "price": "5"}, {"price": "1"}]
    tariff = tariff_of(plan_of({"name": "v", "type": "volume", "unit": "rows", "tiers": tiers}))
    rated, _ = rate_all(tariff, [{"rows": 10}, {"rows": 1}])
    assert [item.amount for item in rated] == [50 * money.UNIT, -39 * money.UNIT]


def test_models_have_their_own_charges_and_shared_tiers() -> None:
    plan = plan_of(
        {"name": "every", "type": "package", "price": "1", "size": 2},
        {"name": "big", "type": "standard", "price": "3", "model": "big"},
        {"name": "rest", "type": "standard", "price": "1", "model": "others"},
    )
    assert set(tariff_of(plan, "big").rate({}, {"requests": 1}, LABEL).charges) == {"every", "big"}
    assert set(tariff_of(plan, "new").rate({}, {"requests": 1}, LABEL).charges) == {"every", "rest"}
    assert tariff_of(plan, "big").names(LABEL) == tariff_of(plan, "new").names(LABEL) == (f"quantity|s|{LABEL}|every",)


def test_tiers_go_on_where_the_plan_before_left_off_in_the_first_period_only() -> None:
    plan = plan_of({"name": "g", "type": "graduated", "unit": "rows", "tiers": [{"up_to": 10, "price": "5"}, {"price": "1"}]})
    tariff = tariff_of(plan, carried={"g": 9})
    assert tariff.rate({}, {"rows": 2}, "1970-01-01T00:00:00Z").amount == 6 * money.UNIT
    assert tariff.rate({}, {"rows": 2}, LABEL).amount == 10 * money.UNIT


def test_nothing_used_costs_nothing_and_counts_nothing() -> None:
    tariff = tariff_of(plan_of({"name": "rows", "type": "standard", "unit": "rows", "price": "1"}))
    assert tariff.rate({}, {"requests": 1, "rows": 0}, LABEL) == Rated({}, {}, 0)


def test_random_plans_agree_with_the_oracle() -> None:
    rated, wrong = rating_oracle.check_plans(300, 7)
    assert rated > 500 and not wrong, wrong[:3]


def test_the_oracle_finds_a_wrong_price() -> None:
    """One 10^-12 in one charge is a mismatch."""
    written = {"name": "p", "version": 1, "currency": "EUR", "charges": [{"name": "c0", "type": "standard", "price": "0.01"}]}
    found = []
    for price in ("0.01", "0.010000000001"):
        oracle = rating_oracle.owed({**written["charges"][0], "price": price}, [{"requests": 1}])  # type: ignore[dict-item]
        rated, _ = rate_all(tariff_of(plan_of(*written["charges"])), [{"requests": 1}])  # type: ignore[arg-type]
        found.append(rated[0].amount == oracle * money.UNIT)
    assert found == [True, False]


@pytest.mark.prove
def test_a_hundred_thousand_plans_agree_with_the_oracle() -> None:
    rated, wrong = rating_oracle.check_plans(100_000, 1)
    assert rated > 100_000 and not wrong, wrong[:3]
    count, astray = rating_oracle.check_periods(300, 1)
    assert count > 40_000 and not astray, astray[:3]


def test_events_lie_on_one_period_each() -> None:
    """In a few of the forty zones, those with a skipped day and with midnights that do not exist among them."""
    count, astray = rating_oracle.check_periods(1, 3, ("Pacific/Apia", "America/Sao_Paulo", "Australia/Lord_Howe"))
    assert count > 400 and len(set(rating_oracle.ZONES)) == 40 and not astray, astray[:3]


USES = st.lists(st.fixed_dictionaries({"rows": st.integers(0, 40), "requests": st.just(1)}), max_size=8)


@settings(max_examples=60)
@given(uses=USES, order=st.randoms(use_true_random=False))
def test_the_order_of_requests_does_not_change_the_sum(uses: list[dict[str, int]], order: random.Random) -> None:
    tiers = [{"up_to": 7, "price": "0.5", "flat": "1"}, {"up_to": 50, "price": "0.3"}, {"price": "0.1"}]
    plan = plan_of(
        {"name": "g", "type": "graduated", "unit": "rows", "tiers": tiers, "flat_at_zero": True, "per": 3},
        {"name": "v", "type": "volume", "unit": "rows", "tiers": tiers, "flat_at_zero": False},
        {"name": "p", "type": "package", "unit": "rows", "price": "0.1", "size": 7},
        {"name": "s", "type": "percentage", "unit": "rows", "rate": "0.0000001", "maximum": "0.000001"},
    )
    moved = list(uses)
    order.shuffle(moved)
    first, second = (rate_all(tariff_of(plan), given)[1] for given in (uses, moved))
    assert first == second
    held = Subscription("s", "o", "p", 1, "EUR", 0)
    period = held.period(1_767_225_600_000_000)
    assert period.label == LABEL
    total = sum(line.amount for line in lines.closing(plan, held, period, first))
    rows = sum(use["rows"] for use in uses)
    graduated = rating_oracle.graduated({"tiers": tiers, "per": 3, "flat_at_zero": True}, rows)
    others = rating_oracle.volume({"tiers": tiers}, rows) + rating_oracle.package({"price": "0.1", "size": 7}, rows)
    others += sum(min(Fraction(use["rows"], 10**7), Fraction(1, 10**6)) for use in uses)
    assert total == graduated * money.UNIT // 1 + others * money.UNIT
