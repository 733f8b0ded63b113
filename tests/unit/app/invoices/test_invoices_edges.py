"""Where money could be lost or made: prepaid credit beside discounts, packs taken back, plans changed to and fro, tax that changes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from lode.app.books.sqlite import SqliteSession
from lode.app.invoices import closing, drafting, events, export, notes, payments, replacing, terms, usage, wallet
from lode.app.invoices.events import Event
from lode.app.prices import subscriptions
from lode.core import money
from lode.core.errors import BillingError
from tests.unit.app.invoices.world import FEE, PLAN, STANDARD, TAXED, UNTAXED, World, made, us

VOLUME = (
    '[[charges]]\nname = "rows"\ntype = "volume"\nunit = "rows"\ntiers = [{up_to = 100, price = "0.0113"}, {price = "0.0071"}]\n'
)
FLOOR = '[[charges]]\nname = "floor"\ntype = "minimum"\namount = "2"\n'
PACK = '[[charges]]\nname = "pack"\ntype = "prepaid"\nprice = "10"\ncredit = "12"\n'


def bill(world: World, **options: Any) -> list[dict[str, Any]]:
    found = closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock, **options)["issued"]
    assert world.sum() == 0
    return found  # type: ignore[no-any-return]


def paid(body: dict[str, Any]) -> tuple[str, str, str, str]:
    return body["total"], body["prepaid"], body["to_prepaid"], body["due"]


def test_a_coupon_gives_back_the_credit_that_requests_drew(tmp_path: Path) -> None:
    world = made(tmp_path, has="")
    world.coupon("ALL", percent="100")
    subscriptions.subscribe(world.store, "cli", "acme", "team", coupon="ALL", now_us=world.clock)
    wallet.add(world.store, "cli", "acme", "10", now_us=world.clock)
    world.use(500)
    world.turn("2026-12-02")
    assert [paid(body) for body in bill(world)] == [("0", "0", "5", "0")]
    assert world.balances() == {"cash/EUR": "10", "customer/acme/prepaid": "-10", "revenue/EUR": "-5", "waived/EUR": "5"}
    assert wallet.listed(world.store, "acme")["grants"][0]["left"] == "10"


def test_a_cheaper_tier_gives_back_the_credit_that_requests_drew(tmp_path: Path) -> None:
    world = made(tmp_path, PLAN + VOLUME)
    wallet.add(world.store, "cli", "acme", "10", now_us=world.clock)
    world.use(1, units={"rows": 100})  # 1.13
    world.use(1, units={"rows": 1})  # 0.7171 in all
    world.turn("2026-12-02")
    assert [paid(body) for body in bill(world)] == [("0.72", "0.72", "0.41", "0")]
    assert world.balance("rounding/EUR") == "-0.0029" and world.balance("customer/acme/prepaid") == "-9.28"


def test_a_true_up_that_late_usage_lowers_is_not_paid_from_credit(tmp_path: Path) -> None:
    world = made(tmp_path, PLAN + STANDARD + FLOOR)
    world.turn("2026-12-02")
    bill(world)
    wallet.add(world.store, "cli", "acme", "5", now_us=world.clock)
    world.use(100, at="2026-11-20")
    world.turn("2027-01-02")
    assert [paid(body) for body in bill(world)] == [("2", "1", "0", "1")]  # late usage 1, true-ups -1 and 2
    assert world.balance("rounding/EUR") == "0"


def test_a_fee_that_is_credited_does_not_eat_prepaid_credit(tmp_path: Path) -> None:
    world = made(tmp_path, PLAN + FEE + STANDARD)
    world.plan(PLAN.replace("team", "big") + STANDARD)
    bill(world)
    wallet.add(world.store, "cli", "acme", "9", now_us=world.clock)
    world.use(500)
    world.turn("2026-11-16")
    subscriptions.change(world.store, "cli", "acme", "big", when="now", now_us=world.clock)
    world.turn("2026-12-02")
    assert [paid(body) for body in bill(world)] == [("-10", "0", "5", "-10")]
    assert world.balance("customer/acme/prepaid") == "-9" and world.balance("rounding/EUR") == "0"


def test_an_invoice_whose_coin_is_more_than_was_drawn_can_be_voided(tmp_path: Path) -> None:
    world = made(tmp_path, PLAN + STANDARD.replace("0.01", "0.0005"))
    wallet.add(world.store, "cli", "acme", "5", now_us=world.clock)
    world.use(30)  # 0.015 drawn, 0.02 on the invoice
    world.turn("2026-12-02")
    (body,) = bill(world)
    assert notes.void(world.store, "cli", world.seller, body["number"], "why", now_us=world.clock)["to_prepaid"] == "0.02"
    assert wallet.listed(world.store, "acme")["grants"][0]["left"] == "5.005" and world.sum() == 0


def test_who_need_not_pay_a_pack_does_not_keep_its_credit(tmp_path: Path) -> None:
    world = made(tmp_path, PLAN + STANDARD + PACK)
    world.sells(TAXED)
    (body,) = bill(world)
    assert (body["total"], body["tax"]) == ("10", "0")  # taxed when it is used
    with pytest.raises(BillingError, match=r"up to 0 EUR.*because 0 came from acme"):
        wallet.refund(world.store, "cli", "acme", "10", "of what was not paid", now_us=world.clock)
    payments.pay(world.store, "cli", body["number"], "", now_us=world.clock)
    with pytest.raises(BillingError, match="up to 10 EUR"):
        wallet.refund(world.store, "cli", "acme", "12", "the gift too", now_us=world.clock)
    world.use(300)
    before = world.balances()
    with pytest.raises(BillingError, match="up to 7, which was not used"):
        notes.note(world.store, "cli", world.seller, body["number"], 1, "8", "why", now_us=world.clock)
    notes.void(world.store, "cli", world.seller, body["number"], "wrong address", now_us=world.clock)
    assert world.balance("customer/acme/prepaid") == "0" and world.balance("waived/EUR") == "0" and world.sum() == 0
    replacing.replace(world.store, "cli", world.seller, body["number"], now_us=world.clock)
    assert world.balances() == before
    assert [row["left"] for row in wallet.listed(world.store, "acme")["grants"]] == ["7", "2"]


@pytest.mark.parametrize("amount", ["0.001", "1.2345"])
def test_parts_of_a_coin_are_not_paid_out(tmp_path: Path, amount: str) -> None:
    world = made(tmp_path)
    wallet.add(world.store, "cli", "acme", "5", now_us=world.clock)
    with pytest.raises(BillingError, match="whole coins of EUR"):
        wallet.refund(world.store, "cli", "acme", amount, "why", now_us=world.clock)


def test_credit_that_expired_is_not_paid_out(tmp_path: Path) -> None:
    world = made(tmp_path)
    wallet.add(world.store, "cli", "acme", "5", now_us=world.clock, expires_us=us("2026-11-10"))
    world.turn("2026-11-10")
    with pytest.raises(BillingError, match="up to 0 EUR"):
        wallet.refund(world.store, "cli", "acme", "1", "why", now_us=world.clock)


def test_each_line_has_the_tax_of_its_own_time(tmp_path: Path) -> None:
    world = made(tmp_path, PLAN + FEE + STANDARD)
    world.sells(TAXED + '[[tax.rate]]\ncountry = "DE"\nname = "VAT"\nrate = "16"\nfrom = 2026-12-01\n')
    world.use(100)
    world.turn("2026-12-02")
    (body,) = bill(world)
    taxes = [(row["name"], row["base"], row["amount"]) for row in body["taxes"]]
    assert taxes == [("VAT 19 %", "31", "5.89"), ("VAT 16 %", "30", "4.8")]  # November with its usage; December in advance
    assert (body["tax"], body["total"]) == ("10.69", "71.69")
    world.use(100, at="2026-11-30")  # late: of November
    world.turn("2027-01-02")
    (late,) = bill(world)
    assert [(row["name"], row["base"]) for row in late["taxes"]] == [("VAT 16 %", "30"), ("VAT 19 %", "1")]


def test_a_year_that_was_left_and_is_entered_again_is_not_closed(tmp_path: Path) -> None:
    yearly = PLAN.replace("team", "yearly").replace('"1"', '"01-01"') + 'period = "year"\n' + STANDARD + FLOOR
    world = made(tmp_path, yearly, has="yearly")
    world.plan(PLAN + STANDARD)
    for day, plan in (("2026-11-05", "team"), ("2026-11-12", "yearly")):
        world.turn(day)
        subscriptions.change(world.store, "cli", "acme", plan, when="now", now_us=world.clock)
        world.turn(day[:-1] + "9")
        bill(world, grace_days=0)
    world.use(1)
    world.turn("2026-11-25")
    assert bill(world, grace_days=0) == []  # the year goes on: neither its usage nor its least sum is due


def test_a_period_that_is_asked_for_is_the_last_that_is_closed(tmp_path: Path) -> None:
    world = made(tmp_path)  # nothing happened in November
    world.turn("2026-12-10")
    world.use(5)
    world.turn("2027-01-05")
    assert bill(world, period="2026-11") == []
    assert [body["period"]["label"] for body in bill(world, period="2026-12")] == ["2026-12-01"]


def test_a_document_of_nothing_is_not_issued(tmp_path: Path) -> None:
    """Another process issued the fees after this one had decided to: under another kind, so under another reference."""
    world = made(tmp_path, PLAN + FEE)
    seen = closing.scene(world.store, "acme", world.now)
    with world.store.view() as session:
        known = terms.groups(session, "acme", world.now)
    scope = drafting.Scope("EUR", tuple(known), frozenset(), None)
    assert len(bill(world, interim=True)) == 1
    order = closing.Order("advance", scope, known[-1])
    assert closing._issue(world.store, "cli", seen, order, world.seller, world.now) == (None, [])


def test_an_event_that_seems_to_lie_ahead_is_of_now(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.turn("2026-11-30T23:58:00+00:00")
    events.record(
        world.store, "cli", [Event("acme", "a", us("2026-12-01T00:01:00+00:00"), "m", {"requests": 1})], now_us=world.clock
    )
    subscriptions.cancel(world.store, "cli", "acme", now_us=world.clock)  # December never begins
    world.turn("2026-12-03")
    assert [body["net"] for body in bill(world)] == ["0.01"]


def test_more_cached_tokens_than_tokens_are_no_event() -> None:
    line = '{"organisation":"acme","request_id":"x","at":"2026-11-01T00:00:00Z","model":"m","units":{"cached_tokens":9,"input_tokens":8}}'
    with pytest.raises(BillingError, match="more cached_tokens than input_tokens"):
        events.event_of(line, "f.jsonl:1")


@pytest.mark.parametrize("seller", [UNTAXED, TAXED])
def test_focus_holds_changed_true_ups_and_replacements(tmp_path: Path, seller: str) -> None:
    world = made(tmp_path, PLAN + STANDARD + FLOOR)
    world.sells(seller)
    world.use(50)
    world.turn("2026-12-02")
    (first,) = bill(world)
    world.use(60, at="2026-11-20")
    world.turn("2027-01-02")
    (late,) = bill(world)
    void = notes.void(world.store, "cli", world.seller, late["number"], "wrong address", now_us=world.clock)
    again = replacing.replace(world.store, "cli", world.seller, late["number"], now_us=world.clock)
    path = tmp_path / "a.focus.csv"
    export.write(world.store, usage.asked("", "", ""), path, now_us=world.clock)
    with path.open(encoding="utf-8") as file:
        billed = sum(money.parse(row["BilledCost"], "x", least=None) for row in csv.DictReader(file))
    totals = [money.parse(body["total"], "x") for body in (first, late, again, void)]
    assert billed == sum(totals[:3]) - totals[3]


def test_usage_of_all_customers_reads_no_table_once_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, plans, read = made(tmp_path), list[str](), SqliteSession.rows
    world.use(2)

    def explained(session: SqliteSession, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        plans.extend(row[3] for row in read(session, f"EXPLAIN QUERY PLAN {sql}", values))
        return read(session, sql, values)

    def scans() -> int:
        plans.clear()
        usage.totals(world.store, usage.Asked(), ["customer"])
        return sum(plan.startswith("SCAN") for plan in plans)

    monkeypatch.setattr(SqliteSession, "rows", explained)
    alone = scans()
    for number in range(3):
        world.customer(f"c{number}")
        world.use(2, f"c{number}")
    assert scans() == alone


def test_a_request_that_is_in_the_journal_only_is_found_for_one_customer_and_for_all(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.customer("other")
    (entry,) = world.use(1, "other")
    world.use(2)
    world.store.transact(lambda session: session.run("DELETE FROM usage WHERE sequence = ?", (entry,)))
    whole = usage.totals(world.store, usage.Asked(), ["customer"])["books"]
    assert whole["acme"]["problems"] == [] and whole["other"]["completeness"] == "0.000000000"
    assert any(f"entry {entry} (r1)" in problem for problem in whole["other"]["problems"])
    for name in whole:
        assert usage.totals(world.store, usage.Asked(name), ["customer"])["books"][name] == whole[name]
