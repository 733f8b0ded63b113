"""Lines of a bill, bounds, carried days and coupons at their edges, each worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from lode.app.books import journal
from lode.app.books.contracts import Act, Document, Store
from lode.app.prices import corrections, coupons, lines, plans, subscriptions
from lode.app.prices.periods import Period
from lode.app.prices.plan import Plan
from lode.app.prices.subscription import Subscription
from lode.app.prices.tariff import counter, parts
from lode.core.errors import BillingError, ConflictError
from lode.core.money import UNIT
from tests.unit.app.prices.conftest import Clock, us
from tests.unit.app.prices.test_subscriptions import added, held
from tests.unit.app.prices.test_tariff import plan_of, tariff_of

ROWS = {"name": "rows", "type": "standard", "unit": "rows", "price": "1"}
YEAR_US = us("2026-01-01T00:00:00")


def closed(plan: Plan, amount: int = 0, quantity: int = 0, **more: Any) -> list[tuple[str, str, int, int | None]]:
    """(kind, name, amount, quantity) of the lines of January 2026, of which `rows` cost and counted so much."""
    own = Subscription("s", "o", "p", 1, "EUR", YEAR_US, **more)
    period = own.period(YEAR_US)
    counters = {counter("amount", "s", period.label, "rows"): amount, counter("quantity", "s", period.label, "rows"): quantity}
    found = lines.closing(plan, own, period, counters)
    assert all(line.amount.denominator == 1 for line in found)
    return [(line.kind, line.name, int(line.amount), line.quantity) for line in found]


def test_what_was_used_for_nothing_is_a_line_and_what_is_for_nothing_is_none() -> None:
    """Free units are told with their number; a free fee, a free tier's flat and what was not used are not."""
    free = {
        "name": "tiers",
        "type": "graduated",
        "tiers": [{"up_to": 9, "price": "1", "flat": "0"}, {"price": "1"}],
        "flat_at_zero": True,
    }
    plan = plan_of({**ROWS, "free": 5}, free, fees=[{"name": "base", "amount": "0", "due": "arrears"}])
    assert closed(plan, 0, 3) == [("usage", "rows", 0, 3)] and closed(plan) == []
    gift = plan_of(ROWS, fees=[{"name": "base", "amount": "0", "due": "advance"}])
    assert lines.in_advance(gift, Subscription("s", "o", "p", 1, "EUR", YEAR_US), YEAR_US) == []


def test_a_line_of_several_units_tells_how_many_there_were_of_the_first() -> None:
    """Of tokens those that went in, cached ones among them; also where no price of theirs came to anything yet, or only amounts did."""
    plan = plan_of({"name": "words", "type": "tokens", "input": "3", "output": "15", "per": 1})
    own = Subscription("s", "o", "p", 1, "EUR", YEAR_US)
    period = own.period(YEAR_US)
    (item,) = plan.charges
    counted = dict(zip(parts(item.name, item.charge.units), (1000, 400, 10), strict=True))
    counters = {counter("quantity", "s", period.label, part): count for part, count in counted.items()}
    (line,) = lines.closing(plan, own, period, counters)
    assert (line.quantity, line.unit, line.amount) == (1000, "input_tokens", 0)
    (line,) = lines.closing(plan, own, period, {counter("amount", "s", period.label, "words"): 7})
    assert (line.quantity, line.amount) == (0, 7)


def test_flats_that_are_due_at_zero_count_and_stop_at_their_charges_cap() -> None:
    tiers = [{"up_to": 9, "price": "1", "flat": "7"}, {"price": "1"}]
    flat = {"name": "tiers", "type": "graduated", "tiers": tiers, "flat_at_zero": True}
    assert closed(plan_of(ROWS, flat)) == [("opening", "tiers", 7 * UNIT, None)]
    assert closed(plan_of(ROWS, {**flat, "cap": "3"})) == [("opening", "tiers", 3 * UNIT, None)]
    least = {"name": "least", "type": "minimum", "amount": "10"}
    assert closed(plan_of(ROWS, flat, least))[-1] == ("true_up", "least", 3 * UNIT, None), "a flat counts towards a minimum"
    fee = [{"name": "base", "amount": "4", "due": "arrears"}]
    assert closed(plan_of(ROWS, flat, least, fees=fee))[-1][2] == 3 * UNIT, "a fee does not"


@pytest.mark.parametrize(("cap", "off"), [("0", 8), ("7.5", 0.5), ("8", None), ("9", None)])
def test_the_cap_of_a_plan_takes_off_what_is_above_it_and_nothing_else(cap: str, off: float | None) -> None:
    """Eight were used. A cap of 0 gives everything away; at 8 there is no line of nothing."""
    wanted = [("usage", "rows", 8 * UNIT, 8)] + ([] if off is None else [("cap", "cap", int(-off * UNIT), None)])
    assert closed(plan_of(ROWS, cap=cap), 8 * UNIT, 8) == wanted


def test_a_trial_gives_usage_away_and_charges_nothing_else() -> None:
    plan = plan_of(
        ROWS, {"name": "least", "type": "minimum", "amount": "10"}, fees=[{"name": "base", "amount": "4", "due": "arrears"}]
    )
    assert closed(plan, 2 * UNIT, 2, trial_until_us=us("2026-01-09T00:00:00")) == [("usage", "rows", 2 * UNIT, 2)]


def test_credit_once_is_sold_in_the_first_paid_period_alone() -> None:
    """After a trial of eight days; not after a change of plan in its very instant, nor in the next month."""
    plan = plan_of({"name": "pack", "type": "prepaid", "price": "10", "every": "once"})
    trial_us, next_us = us("2026-01-09T00:00:00"), us("2026-02-01T00:00:00")
    own = Subscription("s", "o", "p", 1, "EUR", YEAR_US, trial_until_us=trial_us)
    assert [len(lines.in_advance(plan, own, at)) for at in (YEAR_US, trial_us, next_us)] == [0, 1, 0]
    after = Subscription("s", "o", "p", 1, "EUR", YEAR_US, previous="before")
    assert [len(lines.in_advance(plan, after, at)) for at in (YEAR_US, next_us)] == [0, 0]


def test_a_period_that_is_cut_where_it_begins_or_ends_gives_nothing_back() -> None:
    plan = plan_of(ROWS, fees=[{"name": "base", "amount": "31", "due": "advance"}])
    own = Subscription("s", "o", "p", 1, "EUR", YEAR_US)
    debited = lines.in_advance(plan, own, YEAR_US)
    cuts = [YEAR_US, YEAR_US + 86_400_000_000, debited[0].end_us - 86_400_000_000, debited[0].end_us]
    assert [[line.amount for line in lines.unused(plan, debited, cut)] for cut in cuts] == [[], [-30 * UNIT], [-1 * UNIT], []]


def test_what_a_request_can_cost_is_asked_anew_in_a_new_period() -> None:
    """A cap of 5 that is used up in January is whole in February."""
    tariff = tariff_of(plan_of({**ROWS, "cap": "5"}))
    january, february = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
    spent = {f"amount|s|{january}|rows": 5 * UNIT, f"quantity|s|{january}|rows": 5}
    assert [tariff.most({"rows": 2}, january, before) for before in (None, spent, None)] == [2 * UNIT, 0, 0]
    assert tariff.most({"rows": 2}, february) == 2 * UNIT and tariff.most({"rows": 9}, february) == 5 * UNIT


def test_a_yearly_contract_keeps_its_day_of_the_year_only_where_the_new_plan_has_the_same(with_plans: Store, clock: Clock) -> None:
    """Begun on 10 January. The other plan begins its years on 10 February: the same day of another month."""
    record = {"name": "later", "version": 1, "currency": "EUR", "period": "year", "fees": [{"name": "base", "amount": "730"}]}
    plans.add_record(with_plans, "cli", {**record, "anchor": "02-10"}, now_us=clock)
    plans.add_record(with_plans, "cli", {**record, "name": "same", "anchor": "01-10"}, now_us=clock)
    plans.add_record(with_plans, "cli", {**record, "name": "open"}, now_us=clock)
    subscriptions.subscribe(with_plans, "cli", "acme", "yearly", zone="UTC", now_us=clock)
    began = held(with_plans)[0].began_us
    found = []
    for day, plan in (("03-05", "same"), ("03-06", "open"), ("03-07", "later")):
        clock.at(f"2026-{day}T12:00:00")
        subscriptions.change(with_plans, "cli", "acme", plan, when="now", now_us=clock)
        found.append((held(with_plans)[-1].anchor_month, held(with_plans)[-1].anchor_day, held(with_plans)[-1].began_us == began))
    assert found == [(1, 10, True), (1, 10, True), (2, 10, False)]


def test_a_change_to_fees_that_are_as_high_over_a_year_takes_place_now(with_plans: Store, clock: Clock) -> None:
    """31 a month are 372 a year: 372 a year is no less, 365 is."""
    record = {"name": "as-much", "version": 1, "currency": "EUR", "period": "year", "fees": [{"name": "base", "amount": "372"}]}
    plans.add_record(with_plans, "cli", record, now_us=clock)
    subscriptions.subscribe(with_plans, "cli", "acme", "small", now_us=clock)
    clock.at("2026-01-20T12:00:00")
    subscriptions.change(with_plans, "cli", "acme", "yearly", now_us=clock)
    assert held(with_plans)[0].until_us == us("2026-02-09T23:00:00"), "it waits for the period's end"
    subscriptions.change(with_plans, "cli", "acme", "as-much", now_us=clock)
    assert held(with_plans)[0].until_us == clock.now


def corrected(store: Store, wrong: str, right: str, since: str = "", reason: str = "a zero too many") -> corrections.Correction:
    with store.view() as session:
        return corrections.read(session, wrong, right, since, reason)


def test_a_correction_may_hold_from_an_earlier_day_though_it_was_corrected_itself(with_plans: Store, clock: Clock) -> None:
    for version in (2, 3, 4):
        record = {"name": "small", "version": version, "currency": "EUR", "charges": [{**ROWS, "price": f"0.0{version}"}]}
        plans.add_record(with_plans, "cli", {**record, "fees": [{"name": "base", "amount": "31"}]}, now_us=clock)

    def declare(wrong: str, right: str) -> None:
        found = corrected(with_plans, wrong, right, "2026-03-01")
        act = Act("plan.correct", "cli", documents=(found.document(),))
        with_plans.transact(lambda session: journal.append(session, [act], clock()))

    declare("small@1", "small@2")
    declare("small@2", "small@3")
    assert corrected(with_plans, "small@1", "small@2", "2026-02-01").since == "2026-02-01"
    with pytest.raises(ConflictError, match="it was corrected by small@2"):
        corrected(with_plans, "small@1", "small@3")
    with pytest.raises(BillingError, match="a later version of small"):
        corrected(with_plans, "small@3", "small@3")
    for reason in ("", "  \n"):
        with pytest.raises(BillingError, match="reason: found none"):
            corrected(with_plans, "small@3", "small@4", reason=reason)
    with pytest.raises(BillingError, match='from: found "soon"'):
        corrected(with_plans, "small@3", "small@4", since="soon")
    assert corrected(with_plans, "small@3", "small@4", reason=" a zero ").reason == "a zero"


def test_coupons_at_their_edges(with_plans: Store, clock: Clock) -> None:
    """Each of these is the last that is allowed, beside the first that is not."""
    coupons.add(with_plans, "cli", "WHOLE", percent="100", periods=1200, until_us=clock.now + 1, now_us=clock)
    for wrong in ({"percent": "100.000000000001"}, {"periods": 1201}, {"periods": True}, {"until_us": clock.now}):
        with pytest.raises(BillingError, match="coupon LAST: "):
            coupons.add(with_plans, "cli", "LAST", **{"percent": "5", **wrong}, now_us=clock)  # type: ignore[arg-type]
    coupons.add(with_plans, "cli", "DOLLARS", amount="5", currency="USD", now_us=clock)
    own = Subscription("s", "acme", "p", 1, "EUR", clock.now, trial_until_us=clock.now + 9)
    with with_plans.view() as session:
        assert coupons.redeemed(session, "WHOLE", own, clock.now) == {"coupon": "WHOLE", "since_us": clock.now + 9}
        with pytest.raises(BillingError, match="which ended on"):
            coupons.redeemed(session, "WHOLE", own, clock.now + 1)
        with pytest.raises(BillingError, match="found DOLLARS in USD, allowed: one in EUR"):
            coupons.redeemed(session, "DOLLARS", own, clock.now)


def test_a_part_of_the_smallest_unit_is_not_taken_off_and_trials_use_up_no_period() -> None:
    """70 % of 8 are 5.6. A coupon of one period counts in the first paid one that ends after it began."""
    shown = {"percent": "70", "amount": "0", "currency": "", "periods": 1, "until_us": None}
    coupon = coupons.Coupon.of(Document(coupons.KIND, "C", "", shown))
    assert coupons.discount(coupon, 8) == 5
    trial, first, second = (Period(start, start + 10, str(start), start, start + 10, trial=start == 0) for start in (0, 10, 20))
    counts = [
        [
            coupons.applies(coupon, {"since_us": since}, before, period)
            for before, period in (((), trial), ((trial,), first), ((trial, first), second))
        ]
        for since in (0, 20)
    ]
    assert counts == [[False, True, False], [False, False, True]]


def use(store: Store, clock: Clock, count: int) -> None:
    """So many rows in the period that runs."""
    own = held(store)[-1]
    name = counter("quantity", own.id, own.period(clock.now).label, "rows")
    store.transact(lambda session: journal.append(session, [Act("usage.settle", "test", "acme", counters={name: count})], clock()))


def test_what_is_carried_adds_up_over_changes_in_one_period_and_ends_with_it(with_plans: Store, clock: Clock) -> None:
    """99 and 5 rows in January, then 7 in February: the third contract begins at 104, the fourth at 7, one at a border at 0."""
    for name in ("second", "third", "fourth"):
        charges = [{"name": "rows", "type": "standard", "unit": "rows", "price": "0.01"}]
        record = {"name": name, "version": 1, "currency": "EUR", "counters": "carry", "charges": charges}
        plans.add_record(with_plans, "cli", record, now_us=clock)
    subscriptions.subscribe(with_plans, "cli", "acme", "small", now_us=clock)
    for count, at, plan in (
        (99, "01-20", "large"),
        (5, "01-25", "second"),
        (0, "02-15", ""),
        (7, "02-20", "third"),
        (3, "", "fourth"),
    ):
        use(with_plans, clock, count)
        clock.now = us(f"2026-{at}T12:00:00") if at else held(with_plans)[-1].period(clock.now).end_us
        if plan:
            subscriptions.change(with_plans, "cli", "acme", plan, when="now", now_us=clock)
    assert [dict(item.carried) for item in held(with_plans)] == [{}, {"rows": 99}, {"rows": 104}, {"rows": 7}, {}]


def test_usage_of_a_trial_is_not_carried_into_what_is_paid_and_a_coupon_is(with_plans: Store, clock: Clock) -> None:
    """A trial from the 10th to the 15th, in months that begin on the first: the month that is cut goes on, what was used does not."""
    coupons.add(with_plans, "cli", "SAVE", percent="20", now_us=clock)
    for name in ("one", "two"):
        added(with_plans, clock, name, charges=[ROWS])
    subscriptions.subscribe(with_plans, "cli", "acme", "one", trial_days=5, coupon="SAVE", now_us=clock)
    use(with_plans, clock, 99)
    clock.now = held(with_plans)[0].trial_until_us
    subscriptions.change(with_plans, "cli", "acme", "two", when="now", now_us=clock)
    first, second = held(with_plans)
    assert dict(second.carried) == {} and second.coupons == first.coupons and second.coupons[0]["coupon"] == "SAVE"
    assert second.trial_until_us == 0, "the trial is over"


def test_a_change_in_the_instant_of_subscribing_lets_both_have_been(with_plans: Store, clock: Clock) -> None:
    subscriptions.subscribe(with_plans, "cli", "acme", "small", now_us=clock)
    subscriptions.change(with_plans, "cli", "acme", "large", when="now", now_us=clock)
    first, second = held(with_plans)
    assert (first.until_us, second.since_us) == (clock.now + 1, clock.now + 1)


def test_a_bound_that_nobody_can_spoil_is_the_price_rounded_up() -> None:
    """Tiers of 10 rows at 5, then 1. Nine were carried into the first period; a cap of 6; a third of a price."""
    tiers = {"name": "g", "type": "graduated", "unit": "rows", "tiers": [{"up_to": 10, "price": "5"}, {"price": "1"}]}
    tariff, first, later = tariff_of(plan_of(tiers), carried={"g": 9}), "1970-01-01T00:00:00Z", "2026-01-01T00:00:00Z"
    assert [tariff.bound({"rows": 2}, label, {}, later=False) for label in (first, later)] == [6 * UNIT, 10 * UNIT]
    capped = tariff_of(plan_of({**tiers, "cap": "6"}))
    before = [{f"quantity|s|{later}|g": count} for count in (0, 1, 100)]
    assert [capped.bound({"rows": 2}, later, each, later=False) for each in before] == [6 * UNIT, 1 * UNIT, 0]
    third = tariff_of(plan_of({"name": "t", "type": "standard", "unit": "rows", "price": "1", "per": 3}))
    assert third.bound({"rows": 1}, later, {}, later=False) == 333_333_333_334
