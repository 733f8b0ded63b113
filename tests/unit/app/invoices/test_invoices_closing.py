"""Closing periods: what is on an invoice, what it does to the ledger, and when the books refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lode.app.books import journal
from lode.app.books.contracts import Act, Session, Transfer
from lode.app.invoices import closing, events, usage
from lode.app.invoices.documents import is_sealed
from lode.app.invoices.events import Event
from lode.app.prices import subscriptions
from lode.core.errors import BillingError
from tests.unit.app.invoices.world import FEE, PLAN, STANDARD, TAXED, World, made, us

TIERS = (
    '[[charges]]\nname = "requests"\ntype = "graduated"\ntiers = [{up_to = 100, price = "0.01"}, {price = "0.005"}]\n'
    '[[charges]]\nname = "floor"\ntype = "minimum"\namount = "2"\n'
)


def bill(world: World, slug: str = "acme", **options: Any) -> list[dict[str, Any]]:
    return closing.bill(world.store, "cli", slug, world.seller, now_us=world.clock, **options)["issued"]


def lines(body: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(line["kind"], line.get("charge", ""), line["amount"]) for line in body["lines"]]


def test_usage_is_rounded_once_per_line_and_the_rest_is_booked(tmp_path: Path) -> None:
    world = made(tmp_path, PLAN + '[[charges]]\nname = "requests"\ntype = "standard"\nprice = "0.0005"\n')
    world.use(30)  # 0.015: half a cent goes up, as on Stripe's page
    world.turn("2026-12-02")
    (body,) = bill(world)
    assert (body["number"], body["kind"], body["due"]) == ("2026-000001", "period", "0.02")
    assert body["lines"][0] | {"exact": "0.015", "quantity": "30", "unit_price": "0.0005"} == body["lines"][0]
    assert world.balances() == {"customer/acme/receivable": "0.02", "revenue/EUR": "-0.015", "rounding/EUR": "-0.005"}
    assert is_sealed(body) and not is_sealed({**body, "due": "0.01"})


def test_a_period_is_billed_once_however_often_it_is_asked_for(tmp_path: Path) -> None:
    world = made(tmp_path, PLAN + FEE + STANDARD)
    assert [body["kind"] for body in bill(world)] == ["advance"]
    world.use(3)
    world.turn("2026-12-02")
    first = bill(world)
    assert [lines(body) for body in first] == [[("fee", "base", "30"), ("usage", "requests", "0.03")]]
    before = world.balances()
    assert bill(world) == [] and bill(world, period="2026-11") == [] and world.balances() == before
    world.turn("2027-02-02")  # two months without a request: a fee for each, in order, numbers by the year of issue
    assert [(body["number"], body["period"]["label"]) for body in bill(world)] == [
        ("2027-000001", "2026-12-01"),
        ("2027-000002", "2027-01-01"),
    ]
    assert world.sum() == 0


def test_what_is_not_over_is_refused_with_the_way_out(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.use(1)
    world.turn("2026-11-30")
    with pytest.raises(BillingError, match=r"2026-11-01: it is not over, it ends 2026-12-01.*--draft.*--interim"):
        bill(world, period="2026-11")
    world.turn("2026-12-01")
    with pytest.raises(BillingError, match="stays a draft for late events until 2026-12-02"):
        bill(world, period="2026-11")
    with pytest.raises(BillingError, match=r'found "2025-01".*Its periods begin: 2026-11-01, 2026-12-01'):
        bill(world, period="2025-01")
    with pytest.raises(BillingError, match=r"grace-days: found 9, allowed: 0 to 3"):
        bill(world, grace_days=9)
    with pytest.raises(BillingError, match=r'found "acmee".*Did you mean "acme"'):
        bill(world, "acmee")
    assert [body["due"] for body in bill(world, period="2026-11", grace_days=0)] == ["0.01"]


def test_a_draft_writes_nothing(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.use(5)
    before = world.balances()
    (body,) = closing.draft(world.store, "acme", world.seller, now_us=world.clock)["issued"]
    assert (body["kind"], body["number"], body["due"]) == ("draft", "", "0.05")
    assert world.balances() == before


def test_interim_invoices_and_the_last_one_hold_everything_once(tmp_path: Path) -> None:
    world = made(tmp_path, PLAN + TIERS)
    world.use(90)
    assert [lines(body) for body in bill(world, interim=True)] == [[("usage", "requests", "0.9")]]
    assert bill(world, interim=True) == []
    world.use(20)  # 10 in the first tier, 10 in the second
    assert [lines(body) for body in bill(world, interim=True)] == [[("usage", "requests", "0.15")]]
    world.turn("2026-12-02")
    assert [lines(body) for body in bill(world)] == [[("true_up", "floor", "0.95")]]
    assert world.balance("customer/acme/accrued") == "0" and world.sum() == 0


def test_late_usage_is_an_adjustment_at_the_old_price_and_lowers_the_true_up(tmp_path: Path) -> None:
    world = made(tmp_path, PLAN + TIERS)
    world.use(50)
    world.turn("2026-12-02")
    (first,) = bill(world)
    assert lines(first) == [("usage", "requests", "0.5"), ("true_up", "floor", "1.5")]
    world.use(60, at="2026-11-20")
    world.turn("2027-01-02")
    (second,) = bill(world)
    late = [("adjustment", "floor", "-0.55"), ("adjustment", "requests", "0.55")]  # 50 at 0.01, 10 at 0.005
    assert lines(second) == [("true_up", "floor", "2"), *late]
    with world.store.view() as session:
        found = journal.documents(session, "statement", "acme")
    assert [item.body["rated"] for item in found] == ["0.5", "1.05"]
    assert (
        found[0].body["restates"] == "" and found[1].body["restates"] == found[0].id and all(is_sealed(item.body) for item in found)
    )


def test_a_plan_change_credits_what_was_debited_for_the_unused_seconds(tmp_path: Path) -> None:
    world = made(tmp_path, PLAN + FEE + STANDARD)
    world.plan(PLAN.replace("team", "big") + FEE.replace("30", "60") + STANDARD)
    assert lines(bill(world)[0]) == [("fee", "base", "30")]
    world.turn("2026-11-16")
    subscriptions.change(world.store, "cli", "acme", "big", now_us=world.clock)
    (body,) = bill(world)
    assert lines(body) == [("fee", "base", "30"), ("credit", "base", "-15")] and body["kind"] == "advance"
    world.use(1)
    world.turn("2026-12-02")
    (closed,) = bill(world)
    assert lines(closed) == [("fee", "base", "60"), ("usage", "requests", "0.01")]
    assert world.sum() == 0


def test_a_trial_costs_nothing_and_says_so(tmp_path: Path) -> None:
    world = made(
        tmp_path, PLAN + "trial_days = 14\n" + FEE + '[[charges]]\nname = "requests"\ntype = "standard"\nprice = "0.0049"\n'
    )
    world.use(1)
    world.turn("2026-12-02")
    (body,) = bill(world)
    # the fee of 16 of 30 days, and of December; the trial's cent is taken off whole
    assert sorted(line["amount"] for line in body["lines"]) == ["0", "0", "16", "30"]
    assert world.balance("waived/EUR") == "0.0049" and world.balance("customer/acme/accrued") == "0" and world.sum() == 0


@pytest.mark.parametrize(
    ("coupon", "total", "given"),
    [({"percent": "100"}, "0", "0.32"), ({"percent": "10"}, "0.29", "0.03"), ({"amount": "0.2", "currency": "EUR"}, "0.12", "0.2")],
)
def test_a_coupon_is_a_line_and_leaves_no_coin_over(tmp_path: Path, coupon: dict[str, Any], total: str, given: str) -> None:
    plan = PLAN + "".join(
        f'[[charges]]\nname = "c{i}"\ntype = "standard"\nprice = "0.0135"\nunit = "{u}"\n'
        for i, u in enumerate(("requests", "rows"))
    )
    world = made(tmp_path, plan, has="")
    world.coupon("SPRING", **coupon)
    subscriptions.subscribe(world.store, "cli", "acme", "team", coupon="SPRING", now_us=world.clock)
    world.use(10, units={"requests": 1, "rows": 1})
    world.use(2, units={"requests": 1, "rows": 1})
    world.turn("2026-12-02")
    (body,) = bill(world)  # 0.162 twice, so 0.16 + 0.16, less the coupon
    assert body["total"] == total
    assert lines(body)[-1][0] == "coupon" and world.sum() == 0
    assert world.balance("waived/EUR") == given


def test_a_changed_row_stops_the_close_and_is_named(tmp_path: Path) -> None:
    world = made(tmp_path)
    entries = world.use(3)
    world.store.transact(lambda session: session.run("UPDATE usage SET amount = '5' WHERE sequence = ?", (entries[1],)))
    world.turn("2026-12-02")
    with pytest.raises(BillingError, match=rf"the books do not agree, nothing was closed:\n.*entry {entries[1]} \(r2\)\n"):
        bill(world)
    assert "customer/acme/receivable" not in world.balances()


def test_an_answer_without_an_entry_stops_the_close_and_lowers_completeness(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.use(3)
    world.store.transact(lambda session: session.run("INSERT INTO answers VALUES ('acme', 'lost-1', 9, 200, '[]', ?)", (b"{}",)))
    world.turn("2026-12-02")
    with pytest.raises(BillingError, match=r"answered and not metered: lost-1"):
        bill(world)
    found = usage.totals(world.store, usage.asked("acme", "", ""), ["customer"])
    assert found["completeness"] == "0.750000000" and found["totals"][0]["requests"] == 3


def test_money_that_no_request_explains_is_leakage(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.use(1)

    def work(session: Session) -> None:
        journal.append(
            session, [Act("odd.act", "cli", "acme", transfers=(Transfer("customer/acme/accrued", "revenue/EUR", 7),))], world.now
        )

    world.store.transact(work)
    world.turn("2026-12-02")
    with pytest.raises(
        BillingError, match=r"holds 0.010000000007, its requests that no invoice took 0.01: something else wrote to it"
    ):
        bill(world)


def test_a_removed_entry_is_missed(tmp_path: Path) -> None:
    world = made(tmp_path)
    (entry,) = world.use(1)
    world.store.transact(lambda session: session.run("DELETE FROM usage WHERE sequence = ?", (entry,)))
    with pytest.raises(BillingError, match="the journal has 1 customer requests, the usage table 0"):
        closing.scene(world.store, "acme", world.now)


def test_a_clock_that_went_back_closes_nothing(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.turn("2026-12-05")
    world.use(1)
    world.turn("2026-12-02")
    with pytest.raises(BillingError, match=r"clock: found 2026-12-02.*last entry of the books is of 2026-12-05"):
        bill(world)


def test_one_customer_that_cannot_be_closed_stops_nobody_else(tmp_path: Path) -> None:
    world = made(tmp_path)
    for slug in ("bolt", "core"):
        world.customer(slug)
        world.use(2, slug)
    (entry,) = world.use(1)
    world.store.transact(lambda session: session.run("UPDATE usage SET amount = '5' WHERE sequence = ?", (entry,)))
    world.turn("2026-12-02")
    found = closing.bill_all(world.store, "cli", world.seller, now_us=world.clock)
    assert [(row["organisation"], len(row["issued"]), "failed" in row) for row in found] == [
        ("acme", 0, True), ("bolt", 1, False), ("core", 1, False),
    ]  # fmt: skip


def event(request_id: str, at: str, **more: Any) -> Event:
    return Event("acme", request_id, us(at), "m", {"requests": 1}, **more)


def test_events_from_elsewhere_are_billed_once_or_held_where_everybody_sees_them(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.turn("2026-12-20")
    given = [
        event("a", "2026-12-01"),
        event("a", "2026-12-01"),
        event("a", "2026-12-02"),
        event("old", "2026-11-14"),
        event("new", "2026-12-21"),
    ]
    done = events.record(world.store, "cli", given, now_us=world.clock)
    assert [word for word, _, _ in done] == ["accepted", "known", "quarantined", "quarantined", "quarantined"]
    held = events.quarantined(world.store)["held"]
    assert [(row["request_id"], row["why"]) for row in held] == [
        ("old", "older than 35 days"), ("a", "this id was used for another request"), ("new", "more than 5 minutes ahead of our clock"),
    ]  # fmt: skip
    told = usage.totals(world.store, usage.asked("", "", ""), ["customer"])
    assert told["quarantined"] == 3 and told["unpriced"] == {}
    world.turn("2026-12-21")  # what was ahead is not any more
    assert events.record(world.store, "cli", [event("new", "2026-12-21")], now_us=world.clock)[0][0] == "accepted"
    assert len(events.quarantined(world.store)["held"]) == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not JSON"), ('{"organisation": "acme", "unit": 1}', 'Did you mean "units"'), ("[]", "wanted an object"),
        ('{"organisation":"acme","request_id":"x","at":"tomorrow","model":"m"}', "wanted a time like"),
        ('{"organisation":"acme","request_id":"x","at":"2026-11-01T00:00:00Z","model":"m","units":{"rows":-1}}', "found -1"),
        ('{"organisation":"acme","request_id":"x","at":"2026-11-01T00:00:00Z","model":"m","units":{"rows":NaN}}', "found NaN"),
        ('{"organisation":"acme","request_id":"x","at":"2026-11-01T00:00:00Z","model":"m","units":{"rows":1e400}}', "found"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_event_is_named(line: str, words: str) -> None:
    with pytest.raises(BillingError, match=words):
        events.event_of(line, "f.jsonl:1")


def test_exchange_rates_are_frozen_where_providers_are_paid_in_other_money(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.use(1, cost=5, cost_currency="USD", provider="p")
    world.turn("2026-12-02")
    told = closing.draft(world.store, "acme", world.seller, now_us=world.clock, period="2026-11")
    assert told["issued"][0]["fx"] == [] and "no [[fx]] from USD to EUR" in told["warnings"][0]
    world.sells(TAXED + '[[fx]]\nfrom = "USD"\nto = "EUR"\nrate = "0.92"\nsource = "ECB"\ndate = 2026-11-30\n')
    (body,) = bill(world)
    assert body["fx"] == [{"from": "USD", "to": "EUR", "rate": "0.92", "source": "ECB", "date": "2026-11-30"}]
    assert "cost" not in str(body)


def test_a_period_without_a_document_hides_nothing(tmp_path: Path) -> None:
    """Nothing was due in the first, so no invoice closes it: a draft shows the next, and late usage of who left is billed."""
    world = made(tmp_path)
    world.turn("2026-12-05")
    world.use(5)
    (shown,) = closing.draft(world.store, "acme", world.seller, now_us=world.clock)["issued"]
    assert (shown["period"]["label"], shown["total"]) == ("2026-12-01", "0.05")
    world.turn("2027-01-05")
    world.use(3)
    subscriptions.cancel(world.store, "cli", "acme", now_us=world.clock)
    world.turn("2027-02-05")
    assert [(body["kind"], body["total"]) for body in bill(world)] == [("period", "0.05"), ("period", "0.03")]
    events.record(world.store, "cli", [Event("acme", "late", us("2027-01-20"), "m", {"requests": 1})], now_us=world.clock)
    assert [(body["kind"], body["total"]) for body in bill(world)] == [("final", "0.01")]
