"""Who has which plan: subscribing, changing, cancelling; what the books then make due."""

from __future__ import annotations

from fractions import Fraction

import pytest

from lode.app.books import journal
from lode.app.books.contracts import Act, Store
from lode.app.prices import coupons, lines, plans, subscriptions
from lode.app.prices.periods import moment
from lode.app.prices.subscription import Subscription
from lode.core import money
from lode.core.errors import BillingError, ConflictError
from tests.unit.app.prices.conftest import Clock, us


def held(store: Store, organisation: str = "acme") -> list[Subscription]:
    with store.view() as session:
        return subscriptions.all_of(session, organisation)


def spans(store: Store) -> list[tuple[str, str, str]]:
    found = [(item.plan, item.since_us, item.until_us) for item in held(store)]
    return [
        (plan, f"{moment(since):%m-%d %H:%M}", "" if until is None else f"{moment(until):%m-%d %H:%M}")
        for plan, since, until in found
    ]


def test_a_plan_is_added_once_and_never_changed(store: Store, clock: Clock) -> None:
    record = {"name": "p", "version": 1, "currency": "EUR", "charges": [{"name": "c", "type": "standard", "price": "1"}]}
    assert plans.add_record(store, "cli", record, now_us=clock)["added"] is True
    assert plans.add_record(store, "cli", record, now_us=clock)["added"] is False
    changed = {**record, "charges": [{"name": "c", "type": "standard", "price": "2"}], "trial_days": 3}
    with pytest.raises(ConflictError, match=r'charges\[0\].price: "2" instead of "1"; trial_days: "3" instead of "0".*version = 2'):
        plans.add_record(store, "cli", changed, now_us=clock)
    plans.add_record(store, "cli", {**changed, "version": 2}, now_us=clock)
    with store.view() as session:
        assert plans.versions(session) == {"p": [1, 2]} and plans.found(session, "p").version == 2
        with pytest.raises(BillingError, match=r'found "q", which was never added'):
            plans.found(session, "q")
        with pytest.raises(BillingError, match=r"found version 3 .*allowed: 1, 2"):
            plans.found(session, "p", 3)
    with pytest.raises(BillingError, match="curency"):
        plans.add_record(store, "cli", {**record, "curency": "EUR"}, now_us=clock)


def test_subscribing_takes_the_customers_zone_and_todays_anchor(with_plans: Store, clock: Clock) -> None:
    clock.at("2026-01-31T23:30:00")  # already February in Berlin
    done = subscriptions.subscribe(with_plans, "cli", "acme", "small", now_us=clock)
    (item,) = held(with_plans)
    assert (item.zone, item.anchor_day, item.since_us) == ("Europe/Berlin", 1, clock.now)
    assert done["plan"] == "small" and item.period(clock.now).end_us == us("2026-02-28T23:00:00")
    with with_plans.view() as session:
        tariff = subscriptions.tariff_at(session, "acme", "m", clock.now)
        assert tariff is not None and tariff.rate({}, {"rows": 5}, tariff.period(clock.now)).amount == money.parse("0.05", "")
        assert subscriptions.tariff_at(session, "acme", "m", clock.now - 1) is None
        assert subscriptions.tariff_at(session, "tokyo", "m", clock.now) is None


@pytest.mark.parametrize(
    ("organisation", "plan", "rest", "wanted"),
    [
        ("acne", "small", {}, r'found "acne", which does not exist. Did you mean "acme"'),
        ("gone", "small", {}, "gone is closed"),
        ("acme", "smal", {}, 'found "smal".*Did you mean "small"'),
        ("acme", "yen", {}, "found a plan in JPY, allowed: one in EUR"),
        ("acme", "small", {"version": 7}, "found version 7"),
        ("acme", "small", {"zone": "Mars"}, "IANA"),
        ("acme", "small", {"trial_days": -1}, "trial_days: found -1"),
        ("acme", "small", {"since_us": 5}, "since: found 1970-01-01T00:00:00Z, allowed: now or later"),
        ("acme", "small", {"coupon": "NO"}, 'coupon: found "NO"'),
    ],
)
def test_what_cannot_be_subscribed_to(
    with_plans: Store, clock: Clock, organisation: str, plan: str, rest: dict[str, object], wanted: str
) -> None:
    with pytest.raises(BillingError, match=wanted):
        subscriptions.subscribe(with_plans, "cli", organisation, plan, **rest, now_us=clock)  # type: ignore[arg-type]
    assert held(with_plans) == []


def test_one_subscription_at_a_time(with_plans: Store, clock: Clock) -> None:
    subscriptions.subscribe(with_plans, "cli", "acme", "small", since_us=us("2026-03-01T00:00:00"), now_us=clock)
    for since in (None, us("2026-02-01T00:00:00"), us("2027-01-01T00:00:00")):
        with pytest.raises(ConflictError, match="one subscription at a time"):
            subscriptions.subscribe(with_plans, "cli", "acme", "small", since_us=since, now_us=clock)


def test_what_has_not_begun_can_be_taken_back(with_plans: Store, clock: Clock) -> None:
    """A year mistyped in --since must not hold a customer until then."""
    subscriptions.subscribe(with_plans, "cli", "acme", "small", since_us=us("2036-03-01T00:00:00"), now_us=clock)
    with pytest.raises(BillingError, match=r"begins at 2036-03-01T00:00:00Z.*`lode plans cancel`"):
        subscriptions.change(with_plans, "cli", "acme", "large", now_us=clock)
    subscriptions.cancel(with_plans, "cli", "acme", now_us=clock)
    assert held(with_plans) == []
    subscriptions.subscribe(with_plans, "cli", "acme", "small", now_us=clock)
    clock.at("2026-01-11T00:00:00")
    subscriptions.cancel(with_plans, "cli", "acme", when="now", now_us=clock)
    with pytest.raises(BillingError, match="found no subscription"):
        subscriptions.cancel(with_plans, "cli", "acme", now_us=clock)


def test_an_upgrade_cuts_the_period_and_a_downgrade_waits(with_plans: Store, clock: Clock) -> None:
    subscriptions.subscribe(with_plans, "cli", "acme", "small", now_us=clock)
    clock.at("2026-01-20T12:00:00")
    subscriptions.change(with_plans, "cli", "acme", "large", now_us=clock)
    assert spans(with_plans) == [("small", "01-10 12:00", "01-20 12:00"), ("large", "01-20 12:00", "")]
    subscriptions.change(with_plans, "cli", "acme", "small", now_us=clock)
    assert spans(with_plans)[1:] == [("large", "01-20 12:00", "02-09 23:00"), ("small", "02-09 23:00", "")]
    with pytest.raises(BillingError, match="allowed: auto, now, period_end"):
        subscriptions.change(with_plans, "cli", "acme", "small", when="later", now_us=clock)  # type: ignore[arg-type]
    subscriptions.change(with_plans, "cli", "acme", "yearly", now_us=clock, when="now")
    assert [item[0] for item in spans(with_plans)] == ["small", "large", "yearly"], "the change that waited is dropped"
    clock.at("2026-01-20T12:00:01")
    with pytest.raises(ConflictError, match="found yearly@1 already"):
        subscriptions.change(with_plans, "cli", "acme", "yearly", now_us=clock)


def test_tiers_are_carried_where_the_new_plan_says_so(with_plans: Store, clock: Clock) -> None:
    subscriptions.subscribe(with_plans, "cli", "acme", "small", now_us=clock)
    (first,) = held(with_plans)
    name = f"quantity|{first.id}|{first.first_label}|rows"
    with_plans.transact(
        lambda session: journal.append(session, [Act("usage.settle", "test", "acme", counters={name: 99})], clock())
    )
    clock.at("2026-01-20T12:00:00")
    subscriptions.change(with_plans, "cli", "acme", "large", now_us=clock)
    second = held(with_plans)[1]
    assert dict(second.carried) == {"rows": 99} and second.previous == first.id
    with with_plans.view() as session:
        tariff = subscriptions.tariff_at(session, "acme", "m", clock.now)
    assert tariff is not None and tariff.rate({}, {"rows": 2}, tariff.period(clock.now)).amount == money.parse("0.011", "")
    assert tariff.rate({}, {"rows": 2}, tariff.period(us("2026-02-20T00:00:00"))).amount == money.parse("0.02", "")


def test_a_change_of_plan_credits_unused_seconds_and_bills_the_rest(with_plans: Store, clock: Clock) -> None:
    """31 EUR for 31 days: after 10 of them 21 EUR come back, and the plan of 62 EUR costs 42 for the 21 days that are left."""
    clock.at("2026-01-09T23:00:00")
    subscriptions.subscribe(with_plans, "cli", "acme", "small", now_us=clock)
    cut = clock.at("2026-01-19T23:00:00")
    subscriptions.change(with_plans, "cli", "acme", "large", now_us=clock)
    first, second = held(with_plans)
    with with_plans.view() as session:
        small, large = plans.found(session, "small"), plans.found(session, "large")
    debited = lines.in_advance(small, first, first.since_us)
    (credit,) = lines.unused(small, debited, cut)
    (fee,) = lines.in_advance(large, second, cut)
    assert [line.amount for line in (*debited, credit, fee)] == [31 * money.UNIT, -21 * money.UNIT, 42 * money.UNIT]
    assert (credit.start_us, credit.end_us) == (cut, fee.end_us)
    assert lines.unused(small, debited, debited[0].end_us) == []


def test_a_day_of_23_hours_costs_as_much_as_it_is_long(with_plans: Store, clock: Clock) -> None:
    """Berlin's March of 2026 has 743 hours; the contract ends at noon of the day that has 23."""
    clock.at("2026-02-28T23:00:00")
    subscriptions.subscribe(with_plans, "cli", "acme", "small", now_us=clock)
    clock.at("2026-03-29T10:00:00")
    subscriptions.cancel(with_plans, "cli", "acme", when="now", reason="moved", now_us=clock)
    (item,) = held(with_plans)
    with with_plans.view() as session:
        small = plans.found(session, "small")
    debited = lines.in_advance(small, item, item.since_us)
    hours = 28 * 24 + 11  # 28 days, and noon of a day that had no hour from 2 to 3
    assert debited[0].amount + lines.unused(small, debited, clock.now)[0].amount == 31 * money.UNIT * Fraction(hours, 743)


def test_cancelling_waits_for_the_periods_end(with_plans: Store, clock: Clock) -> None:
    subscriptions.subscribe(with_plans, "cli", "acme", "large", now_us=clock)
    subscriptions.change(with_plans, "cli", "acme", "small", now_us=clock)
    subscriptions.cancel(with_plans, "cli", "acme", now_us=clock)
    assert spans(with_plans) == [("large", "01-10 12:00", "02-09 23:00")]
    clock.at("2026-02-09T23:00:00")
    with pytest.raises(BillingError, match="found no subscription"):
        subscriptions.cancel(with_plans, "cli", "acme", now_us=clock)
    subscriptions.subscribe(with_plans, "cli", "acme", "small", now_us=clock)
    assert [item["plan"] for item in subscriptions.listed(with_plans, "acme")["subscriptions"]] == ["large", "small"]


def test_cancelling_in_the_instant_of_subscribing_leaves_it_in_the_books(with_plans: Store, clock: Clock) -> None:
    subscriptions.subscribe(with_plans, "cli", "acme", "small", now_us=clock)
    subscriptions.cancel(with_plans, "cli", "acme", when="now", now_us=clock)
    assert [(item.until_us or 0) - item.since_us for item in held(with_plans)] == [1]


def test_a_trial_is_given_away_and_then_paid_from_its_end(with_plans: Store, clock: Clock) -> None:
    subscriptions.subscribe(with_plans, "cli", "acme", "small", trial_days=14, now_us=clock)
    (item,) = held(with_plans)
    with with_plans.view() as session:
        small = plans.found(session, "small")
    trial, paid = item.periods(us("2026-02-01T00:00:00"))[0], item.period(us("2026-01-25T00:00:00"))
    assert trial.trial and not paid.trial and item.anchor_day == 24
    assert lines.in_advance(small, item, trial.start_us) == []
    assert [line.amount for line in lines.in_advance(small, item, paid.start_us)] == [31 * money.UNIT]
    clock.at("2026-01-15T12:00:00")
    subscriptions.change(with_plans, "cli", "acme", "large", now_us=clock)
    assert held(with_plans)[1].period(clock.now).trial, "a trial outlives a change of plan"


def test_a_new_customer_begins_with_the_default_plan(with_plans: Store, clock: Clock) -> None:
    with with_plans.view() as session:
        assert subscriptions.default_documents(session, "new", "EUR", "UTC", clock.now) == ()
    plans.set_default(with_plans, "cli", "small", now_us=clock)
    with with_plans.view() as session:
        (document,) = subscriptions.default_documents(session, "new", "EUR", "UTC", clock.now)
        assert (
            Subscription.of(document).plan == "small"
            and subscriptions.default_documents(session, "new", "JPY", "UTC", clock.now) == ()
        )
    assert plans.listed(with_plans)["default"] == "small@1"


def test_true_ups_and_the_cap_are_lines_of_their_own(with_plans: Store, clock: Clock) -> None:
    record = {
        "name": "least", "version": 1, "currency": "EUR", "cap": "90", "anchor": 1,
        "charges": [
            {"name": "rows", "type": "standard", "unit": "rows", "price": "1"},
            {"name": "calls", "type": "standard", "price": "1"},
            {"name": "promise", "type": "commitment", "amount": "62", "of": ["rows"]},
        ],
    }  # fmt: skip
    plans.add_record(with_plans, "cli", record, now_us=clock)
    clock.at("2026-01-16T11:00:00")
    subscriptions.subscribe(with_plans, "cli", "acme", "least", zone="UTC", now_us=clock)
    (item,) = held(with_plans)
    with with_plans.view() as session:
        plan = plans.found(session, "least")
    period = item.period(clock.now)
    used = {f"amount|{item.id}|{period.label}|{name}": amount * money.UNIT for name, amount in (("rows", 10), ("calls", 75))}
    found = {line.kind: line.amount for line in lines.closing(plan, item, period, used) if line.kind != "usage"}
    part = Fraction(15 * 24 + 13, 31 * 24)
    assert found == {"true_up": (62 * part - 10) * money.UNIT, "cap": (90 - 85 - (62 * part - 10)) * money.UNIT}
    assert sum(line.amount for line in lines.closing(plan, item, period, used)) == 90 * money.UNIT
    assert set(used) <= set(lines.names(plan, item, period))


def test_coupons(with_plans: Store, clock: Clock) -> None:
    coupons.add(with_plans, "cli", "SPRING", percent="20", periods=2, now_us=clock)
    coupons.add(with_plans, "cli", "TEN", amount="10", currency="EUR", until_us=us("2026-02-01T00:00:00"), now_us=clock)
    with pytest.raises(ConflictError, match="exists already"):
        coupons.add(with_plans, "cli", "TEN", percent="5", now_us=clock)
    subscriptions.subscribe(with_plans, "cli", "acme", "small", coupon="SPRING", now_us=clock)
    (item,) = held(with_plans)
    with with_plans.view() as session:
        spring, ten = coupons.found(session, "SPRING"), coupons.found(session, "TEN")
        with pytest.raises(BillingError, match="which ended on 2026-02-01"):
            coupons.redeemed(session, "TEN", item, us("2026-02-01T00:00:00"))
        with pytest.raises(ConflictError, match="allowed: once"):
            coupons.redeemed(session, "SPRING", item, clock.now)
    assert coupons.discount(spring, 50 * money.UNIT) == 10 * money.UNIT and coupons.discount(ten, 7 * money.UNIT) == 7 * money.UNIT
    assert coupons.discount(spring, -5) == 0
    periods = item.periods(us("2026-06-01T00:00:00"))
    counts = [coupons.applies(spring, item.coupons[0], periods[:place], period) for place, period in enumerate(periods)]
    assert counts == [True, True, False, False, False]


@pytest.mark.parametrize(
    ("rest", "wanted"),
    [
        ({"percent": "101"}, "at most 100"), ({"percent": "0"}, "more than 0"), ({}, "found neither"),
        ({"percent": "5", "amount": "5"}, "found both"),
        ({"amount": "5"}, "ISO 4217"), ({"percent": "5", "periods": 0}, "periods: found 0"), ({"percent": "NaN"}, "percent: found"),
        ({"percent": "5", "until_us": 1}, "has passed"),
    ],
)  # fmt: skip
def test_coupons_that_cannot_be_meant(store: Store, clock: Clock, rest: dict[str, object], wanted: str) -> None:
    with pytest.raises(BillingError, match=wanted):
        coupons.add(store, "cli", "X", **rest, now_us=clock)  # type: ignore[arg-type]
    with pytest.raises(BillingError, match="allowed: A-Z"):
        coupons.add(store, "cli", "spring!", percent="5", now_us=clock)


def added(store: Store, clock: Clock, name: str, **more: object) -> None:
    record = {"name": name, "version": 1, "currency": "EUR", "anchor": "1", "counters": "carry", **more}
    plans.add_record(store, "cli", record, now_us=clock)


def test_a_change_that_waits_is_dropped_without_cutting_the_period(with_plans: Store, clock: Clock) -> None:
    subscriptions.subscribe(with_plans, "cli", "acme", "large", now_us=clock)
    before = spans(with_plans)
    subscriptions.change(with_plans, "cli", "acme", "small", when="period_end", now_us=clock)
    assert len(held(with_plans)) == 2
    assert subscriptions.change(with_plans, "cli", "acme", "large", now_us=clock)["until"] is None
    assert spans(with_plans) == before
    with pytest.raises(ConflictError, match="already"):
        subscriptions.change(with_plans, "cli", "acme", "large", now_us=clock)


def test_a_fee_that_is_not_divided_by_time_is_not_given_back_by_time(with_plans: Store, clock: Clock) -> None:
    added(with_plans, clock, "once", fees=[{"name": "base", "amount": "30", "prorated": False}, {"name": "more", "amount": "3"}])
    subscriptions.subscribe(with_plans, "cli", "acme", "once", now_us=clock)
    (item,) = held(with_plans)
    with with_plans.view() as session:
        plan = plans.found(session, "once")
    credits = lines.unused(plan, lines.in_advance(plan, item, clock.now), clock.now + 1)
    assert [line.name for line in credits] == ["more"]


def test_only_what_counts_the_same_is_carried_and_counts_towards_a_cap(with_plans: Store, clock: Clock) -> None:
    rows = {"name": "a", "type": "standard", "unit": "rows", "price": "1", "cap": "5"}
    added(with_plans, clock, "one", charges=[rows, {"name": "b", "type": "standard", "unit": "rows", "price": "1"}])
    added(with_plans, clock, "two", charges=[rows, {"name": "b", "type": "standard", "price": "1"}])
    subscriptions.subscribe(with_plans, "cli", "acme", "one", now_us=clock)
    (first,) = held(with_plans)
    used = {f"quantity|{first.id}|{first.first_label}|{name}": 4 for name in "ab"}
    with_plans.transact(lambda session: journal.append(session, [Act("usage.settle", "test", "acme", counters=used)], clock()))
    clock.now += 1_000_000
    subscriptions.change(with_plans, "cli", "acme", "two", when="now", now_us=clock)
    assert dict(held(with_plans)[1].carried) == {"a": 4}
    with with_plans.view() as session:
        tariff = subscriptions.tariff_at(session, "acme", "m", clock.now)
    assert tariff is not None
    assert tariff.rate({}, {"requests": 1, "rows": 3}, tariff.period(clock.now)).charges == {"a": money.UNIT, "b": money.UNIT}
