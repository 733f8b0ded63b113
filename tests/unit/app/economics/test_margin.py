"""Margins come from the entries that invoices select; costs are counted, converted, written off and posted exactly."""

from __future__ import annotations

from fractions import Fraction

import pytest

from lode.app.books import accounts, journal
from lode.app.books.contracts import Act, Transfer
from lode.app.economics.compute import HourPrice, hour_price, model_facts
from lode.app.economics.margin import Line, Terms, margin
from lode.app.economics.posting import post
from lode.app.economics.readings import INCOME, Window, window
from lode.app.economics.retained import customers_over_time, units_of
from lode.app.economics.unit import break_even, kept, lifetime_value, payback_months
from lode.core import money
from lode.core.errors import BillingError
from tests.unit.app.economics.world import DAY_US, FLAT, GRADUATED, START_US, World

SPAN = Window(START_US, START_US + 30 * DAY_US)
EUR = 10**12


def priced(world: World, **more: object) -> Terms:
    return Terms(models=model_facts(world.runs), **more)  # type: ignore[arg-type]


def test_revenue_is_the_ledgers_and_costs_are_measured(world: World) -> None:
    world.artifact()
    world.customer("acme", FLAT)
    world.customer("beta", GRADUATED)
    for number in range(10):
        world.settle("acme", f"a{number}", rows=3, compute_us=1_000_001)
        world.settle("beta", f"b{number}", rows=17, compute_us=500)
    world.settle("acme", "broken", status=500, compute_us=2_000_000)
    found = margin(world.store, priced(world), SPAN)
    acme, beta = found["lines"]
    assert (acme["customer"], acme["requests"], acme["served"], acme["failed"], acme["rows"]) == ("acme", 11, 10, 1, 30)
    assert acme["revenue"] == "0.15" and acme["compute_cost"] == "0.01200001"  # an hour costs 3.60: a microsecond 10^-9
    assert acme["gross_profit"] == "0.13799999" and acme["gross_margin"] == "0.9200"
    assert acme["cost_per_1000"] == "1.200001", "what failed is paid for by what was answered"
    assert beta["revenue"] == money.plain(100 * EUR // 100 + 70 * 3_333_333_333)
    with world.store.view() as session:
        balances = session.rows("SELECT account, amount FROM balances")
    assert Fraction(found["total"]["revenue"]) * EUR == -sum(int(amount) for name, amount in balances if name.startswith(INCOME))


def test_what_no_request_explains_has_no_model_and_what_is_given_away_comes_off(world: World) -> None:
    world.customer("acme", FLAT)
    world.settle("acme", "a", rows=1000)
    fee = Transfer(accounts.receivable("acme"), accounts.revenue("EUR"), 2 * EUR)
    gift = Transfer(accounts.waived("EUR"), accounts.receivable("acme"), EUR // 2)
    world.store.transact(
        lambda session: journal.append(session, [Act("invoice.issue", "cli", "acme", transfers=(fee, gift))], world.time_us)
    )
    lines = margin(world.store, Terms(), SPAN)["lines"]
    assert [(line["model"], line["revenue"]) for line in lines] == [("", "1.5"), ("credit", "5")]


def test_grouping_by_day_and_project(world: World) -> None:
    world.customer("acme", FLAT)
    for number in range(3):
        world.settle("acme", f"a{number}", rows=1)
        world.later(1)
    lines = margin(world.store, Terms(), SPAN, ("project", "day"))["lines"]
    assert [(line["project"], line["day"], line["requests"]) for line in lines] == [
        ("prj_1", "2026-11-01", 1), ("prj_1", "2026-11-02", 1), ("prj_1", "2026-11-03", 1)
    ]  # fmt: skip
    with pytest.raises(BillingError, match=r'found "modell".*Did you mean "model"'):
        margin(world.store, Terms(), SPAN, ("modell",))


def test_every_grouping_adds_up_to_the_same(world: World) -> None:
    """What is not asked for apart is added up by the database: no figure may hang on that."""
    world.artifact()
    world.customer("acme", FLAT)
    world.customer("beta", GRADUATED)
    for number in range(12):
        slug, model = ("acme", "beta")[number % 2], ("credit", "other")[number % 3 == 0]
        world.settle(slug, f"r{number}", rows=60, compute_us=333_333, model=model, status=(200, 500)[number == 7], cost=7 * number)
        world.later(0.5)
    fee = Transfer(accounts.receivable("acme"), accounts.revenue("EUR"), 2 * EUR)
    act = Act("invoice.issue", "cli", "acme", transfers=(fee,))
    world.store.transact(lambda session: journal.append(session, [act], world.time_us))
    terms = Terms(price=HourPrice(EUR // 7, "EUR", "me"))
    for model in (None, "credit"):
        found = [
            margin(world.store, terms, SPAN, by, model=model)
            for by in (("customer", "project", "model", "day"), ("customer", "model"), ("day",), ("model",), ("project",))
        ]
        whole = {name: found[0][name] for name in ("total", "losing", "share_losing", "prices", "notes", "currency")}
        assert all({name: one[name] for name in whole} == whole for one in found)
        for one in found:
            assert sum(Fraction(line["revenue"]) for line in one["lines"]) == Fraction(whole["total"]["revenue"])


def test_customers_that_lose_money_are_named(world: World) -> None:
    world.artifact()
    world.customer("acme", FLAT)
    world.customer("whale", FLAT)
    world.settle("acme", "a", rows=100, compute_us=1000)
    world.settle("whale", "b", rows=1, compute_us=60_000_000)
    found = margin(world.store, priced(world, floor=Fraction(1, 2)), SPAN)
    assert [item["customer"] for item in found["losing"]] == ["whale"] and found["share_losing"] == "0.5000"
    assert [line["below_floor"] for line in found["lines"]] == [False, True]


def test_computing_without_a_price_is_said_and_not_guessed(world: World) -> None:
    world.customer("acme", FLAT)
    world.settle("acme", "a", rows=1, compute_us=1_500_000)
    found = margin(world.store, Terms(), SPAN)
    assert found["total"]["compute_cost"] == "0" and found["notes"][0].startswith("1.500 s of computing have no price (credit)")
    with pytest.raises(BillingError, match="found none for credit"):
        post(world.store, "cli", Terms(), SPAN, now_us=lambda: SPAN.end_us)


def test_currencies_are_never_mixed_without_a_rate(world: World) -> None:
    world.customer("acme", FLAT)
    world.settle("acme", "a", rows=100, compute_us=3_600_000_000)
    dollars = Terms(price=HourPrice(EUR, "USD", "test"))
    with pytest.raises(BillingError, match=r"found amounts in USD and a report in EUR.*--rate USD=0.92"):
        margin(world.store, dollars, SPAN)
    found = margin(world.store, Terms(price=HourPrice(EUR, "USD", "test"), rates={"USD": Fraction("0.9")}), SPAN)
    assert found["total"]["compute_cost"] == "0.9" and "1 USD = 0.9 EUR" in found["notes"][-1]


def test_idle_machines_are_reported_apart(world: World) -> None:
    world.artifact()
    world.customer("acme", FLAT)
    world.settle("acme", "a", rows=1000, compute_us=900_000_000)
    idle = margin(world.store, priced(world, machine_us=3_600_000_000), SPAN)["idle"]
    assert idle["utilisation"] == "0.2500" and idle["cost_at_full_utilisation"] == "0.9"
    assert (idle["cost_real"], idle["cost_idle"], idle["margin_with_idle"]) == ("3.6", "2.7", "0.2800")


def test_a_machine_that_served_another_model_is_not_idle_for_this_one(world: World) -> None:
    world.artifact()
    world.customer("acme", FLAT)
    world.settle("acme", "a", rows=1000, compute_us=900_000_000)
    rows = [("one", "credit", 2), ("two", "other", 10)]  # hours
    for name, model, hours in rows:
        values = (name, START_US, START_US + hours * 3_600_000_000, model)
        world.store.transact(lambda session, values=values: session.run("INSERT INTO processes VALUES (?, ?, ?, ?)", values))
    found = [margin(world.store, priced(world), SPAN, model=model)["idle"]["machine_hours"] for model in (None, "credit")]
    assert found == ["12.0000", "2.0000"]


def test_making_the_model_is_written_off_over_requests_or_months(world: World) -> None:
    world.artifact()  # 100 s at 3.60 an hour: 0.10
    world.customer("acme", FLAT)
    for number in range(4):
        world.settle("acme", f"a{number}", rows=1)
    assert margin(world.store, priced(world, spread=1000), SPAN)["total"]["training_cost"] == "0.0004"
    year = Window(START_US, START_US + int(365.25 * DAY_US))
    assert Fraction(margin(world.store, priced(world, spread_months=24), year)["total"]["training_cost"]) == Fraction("0.05")


def test_compute_costs_are_posted_once_a_day_and_late_ones_later(world: World) -> None:
    world.artifact()
    world.customer("acme", FLAT)
    world.settle("acme", "a", rows=1, compute_us=1_000_000)
    world.later(1)
    world.settle("acme", "b", rows=1, compute_us=5_000_000)  # of a day that is not over
    terms = priced(world)
    assert post(world.store, "cli", terms, SPAN, now_us=world.now_us) == {"days": 1, "posted": {"EUR": "0.001"}}
    assert post(world.store, "cli", terms, SPAN, now_us=world.now_us) == {"days": 0, "posted": {}}
    world.later(1)
    assert post(world.store, "cli", terms, SPAN, now_us=world.now_us)["posted"] == {"EUR": "0.005"}
    with world.store.view() as session:
        assert journal.balance(session, accounts.compute_cost("EUR")) == 6 * EUR // 1000
        assert journal.balance(session, accounts.payable("compute", "EUR")) == -6 * EUR // 1000


def test_break_even_volume_and_price() -> None:
    line = Line(served=100, revenue=Fraction(50 * EUR), compute=Fraction(10 * EUR))
    found = break_even(line, Fraction(81 * EUR))
    assert found is not None and found.to_json() == {
        "price": "0.5", "variable_cost": "0.1", "contribution": "0.4", "break_even_price": "0.91", "break_even_volume": 203,
    }  # fmt: skip
    losing = break_even(Line(served=1, revenue=Fraction(1), compute=Fraction(1)), Fraction(1))
    assert losing is not None and losing.volume_needed is None and break_even(Line(), Fraction(1)) is None


def test_payback_lifetime_value_and_retention() -> None:
    assert (
        payback_months(Fraction(90), Fraction(30), Fraction(1, 2)) == 6
        and payback_months(Fraction(1), Fraction(1), Fraction(0)) is None
    )
    before = {"a": Fraction(10), "b": Fraction(10), "c": Fraction(10), "d": Fraction(0)}
    change = kept(before, {"a": Fraction(15), "b": Fraction(4), "new": Fraction(99)})
    assert (change.customers, change.lost, change.expansion, change.contraction, change.churned) == (3, 1, 5, 6, 10)
    assert change.retention == Fraction(19, 30) and kept({}, {}).churn is None
    value = lifetime_value(Fraction(100 * EUR), Fraction(1, 2), 100, 5)
    assert value is not None and value["ltv"] == "1000"
    assert 400 < float(value["low"]) < 1000 < float(value["high"]) < 2500
    assert lifetime_value(Fraction(100), Fraction(1, 2), 100, 0) is None, "nobody left: no bound"


def test_customers_over_two_months(world: World) -> None:
    world.artifact()
    for slug in ("acme", "beta"):
        world.customer(slug, FLAT)
        world.settle(slug, "first", rows=200, compute_us=100)
    world.later(31)
    world.settle("acme", "second", rows=300, compute_us=100)
    span = Window(START_US, START_US + 61 * DAY_US)
    found = customers_over_time(world.store, priced(world), span, Fraction(3 * EUR))
    assert found is not None and (found["months"], found["lost"], found["churn"]) == (["2026-11", "2026-12"], 1, "0.5")
    assert found["net_revenue_retention"] == "0.75" and found["payback_months"] == "2"
    assert customers_over_time(world.store, priced(world), SPAN, None) is None
    assert units_of(margin(world.store, priced(world), span), Fraction(0))["break_even_volume"] == 0  # type: ignore[index]


def test_prices_of_an_hour_are_read_and_refused() -> None:
    assert hour_price("0.12 EUR", None).amount == 120_000_000_000
    assert hour_price("l4", None).currency == "USD"
    for written, words in (("0.12", "without a currency"), ("rtx409", 'Did you mean "rtx4090"'), ("1e3 EUR", "wanted an amount")):
        with pytest.raises(BillingError, match=words):
            hour_price(written, None)


def test_windows_are_days_in_utc() -> None:
    assert window("2026-11-01", "2026-12-01", SPAN.end_us + 5) == SPAN
    early = window("2026-11-01", "2027-03-01", START_US + 5)
    assert early == Window(START_US, START_US + 5), "months that are not over count nobody as lost"
    with pytest.raises(BillingError, match="--from: found 2027-01-01, which has not begun"):
        window("2027-01-01", "2027-03-01", START_US)
    for start, end in (("2026-13-01", None), ("2026-11-02", "2026-11-02"), ("2026-12-01", "2026-11-01")):
        with pytest.raises(BillingError, match="wanted a day"):
            window(start, end, START_US)
