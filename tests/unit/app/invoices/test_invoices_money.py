"""Money that moves after or before the invoice: credit notes, voids, prepaid credit, payments, tax."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from lode.app.access import organisations
from lode.app.invoices import closing, notes, overview, payments, replacing, rerating, seller, wallet
from lode.app.invoices.documents import is_sealed, issued
from lode.app.prices import subscriptions
from lode.core import money
from lode.core.errors import BillingError, ConflictError
from tests.unit.app.invoices.world import FEE, PLAN, STANDARD, TAXED, World, made, us


def invoice(world: World, count: int = 100) -> dict[str, Any]:
    """November's invoice, with so many requests of a cent."""
    world.use(count)
    world.turn("2026-12-02")
    (body,) = closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"]
    return body  # type: ignore[no-any-return]


def note(world: World, number: str, line: int, amount: str, **options: Any) -> dict[str, Any]:
    return notes.note(world.store, "cli", world.seller, number, line, amount, "wrong answers", now_us=world.clock, **options)


def taxed(
    tmp_path: Path, prices: str = "exclusive", rounding: str = "document", plan: str = PLAN + STANDARD, **customer: Any
) -> World:
    world = made(tmp_path, plan, **customer)
    world.sells(TAXED.replace("[tax]\n", f'[tax]\nprices = "{prices}"\nrounding = "{rounding}"\n'))
    return world


def test_credit_notes_never_pass_the_line_and_hold_exactly_its_tax(tmp_path: Path) -> None:
    world = taxed(tmp_path)
    body = invoice(world, 137)  # 1.37 + 0.26 VAT
    assert (body["net"], body["tax"], body["total"]) == ("1.37", "0.26", "1.63")
    parts = [note(world, body["number"], 1, amount) for amount in ("0.33", "0.33", "0.33", "0.38")]
    assert sum(money.parse(part["tax"], "tax") for part in parts) == money.parse("0.26", "tax")
    assert [part["number"] for part in parts] == [f"CN-2026-00000{place}" for place in (1, 2, 3, 4)]
    assert all(is_sealed(part) for part in parts) and parts[0]["invoice"] == body["number"]
    assert world.balances() == {}
    with pytest.raises(BillingError, match=r"allowed: up to 0 EUR, which is left of line 1.*lode credit goodwill acme"):
        note(world, body["number"], 1, "0.01")


@pytest.mark.parametrize("amount", ["-1", "NaN", "inf", "1e3", "0", "0.001", "2", "99999999999999999", ""])
def test_amounts_that_cannot_be_credited_are_refused(tmp_path: Path, amount: str) -> None:
    world = made(tmp_path)
    body = invoice(world)
    before = world.balances()
    with pytest.raises(BillingError, match="amount"):
        note(world, body["number"], 1, amount)
    assert world.balances() == before


def test_what_is_credited_must_exist(tmp_path: Path) -> None:
    world = made(tmp_path)
    body = invoice(world)
    with pytest.raises(BillingError, match=r'found "2026-000002", which was never issued. Did you mean "2026-000001"'):
        note(world, "2026-000002", 1, "1")
    with pytest.raises(BillingError, match="line: found 2, invoice 2026-000001 has lines 1 to 1"):
        note(world, body["number"], 2, "1")
    with pytest.raises(BillingError, match="reason: found none"):
        notes.note(world.store, "cli", world.seller, body["number"], 1, "1", " ", now_us=world.clock)
    with pytest.raises(BillingError, match='to: found "bank", allowed: balance, cash'):
        note(world, body["number"], 1, "1", to="bank")


def test_the_same_reference_is_the_same_note(tmp_path: Path) -> None:
    world = made(tmp_path)
    body = invoice(world)
    first = note(world, body["number"], 1, "0.4", reference="ticket-7")
    assert note(world, body["number"], 1, "0.4", reference="ticket-7") == first
    with pytest.raises(ConflictError, match='found "ticket-7", which was used before'):
        note(world, body["number"], 1, "0.5", reference="ticket-7")
    assert world.balance("customer/acme/receivable") == "0.6"


def test_a_void_takes_everything_back_and_is_the_end(tmp_path: Path) -> None:
    world = taxed(tmp_path, plan=PLAN + FEE + STANDARD)
    body = invoice(world)
    note(world, body["number"], 2, "0.25")
    done = notes.void(world.store, "cli", world.seller, body["number"], "wrong address", now_us=world.clock)
    assert (done["kind"], done["net"]) == ("void", money.plain(money.parse(body["net"], "net") - money.parse("0.25", "x")))
    assert world.balances() == {}
    assert overview.show(world.store, body["number"])["standing"]["status"] == "credited"
    world.turn("2027-03-01")
    assert notes.void(world.store, "cli", world.seller, body["number"], "again", now_us=world.clock) == done
    with pytest.raises(ConflictError, match=f'to: found "cash", but {done["number"]} voided {body["number"]} before, to balance'):
        notes.void(world.store, "cli", world.seller, body["number"], "again", now_us=world.clock, to="cash")
    assert world.balances() == {}
    with world.store.view() as session:
        assert issued(session, body["number"]).body == body  # the invoice itself never changes


def test_no_reference_of_a_note_stands_in_the_way_of_a_void(tmp_path: Path) -> None:
    world = made(tmp_path)
    number = invoice(world)["number"]
    note(world, number, 1, "0.4", reference=f"void|{number}")
    assert notes.void(world.store, "cli", world.seller, number, "wrong", now_us=world.clock)["total"] == "0.6"


def test_a_voided_invoice_is_written_anew_once(tmp_path: Path) -> None:
    world = taxed(tmp_path, plan=PLAN + FEE + STANDARD)
    body = invoice(world)
    before = world.balances()
    with pytest.raises(BillingError, match=r"it still stands. Void it first"):
        replacing.replace(world.store, "cli", world.seller, body["number"], now_us=world.clock)
    notes.void(world.store, "cli", world.seller, body["number"], "wrong address", now_us=world.clock)
    organisations.change(world.store, "cli", "acme", {"address": ["New Street 2"]}, now_us=world.clock)
    new = replacing.replace(world.store, "cli", world.seller, body["number"], now_us=world.clock)
    assert (new["number"], new["replaces"], new["total"]) == ("2026-000002", "2026-000001", body["total"])
    assert new["customer"]["address"] == ["New Street 2"] and is_sealed(new) and world.balances() == before
    assert replacing.replace(world.store, "cli", world.seller, body["number"], now_us=world.clock) == new
    assert closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"] == []


def test_a_contract_that_begins_anew_in_the_same_month_has_its_own_invoice(tmp_path: Path) -> None:
    world = taxed(tmp_path)
    world.use(5)
    world.turn("2026-11-10")
    subscriptions.cancel(world.store, "cli", "acme", when="now", now_us=world.clock)
    world.turn("2026-11-12")
    (first,) = closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"]
    subscriptions.subscribe(world.store, "cli", "acme", "team", now_us=world.clock)
    world.use(7)
    assert closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"] == []
    world.turn("2026-12-02")
    (second,) = closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"]
    assert [(body["kind"], body["net"], body["lines"][0]["kind"]) for body in (first, second)] == [
        ("period", "0.05", "usage"), ("period", "0.07", "usage"),
    ]  # fmt: skip


def test_a_changed_invoice_is_noticed(tmp_path: Path) -> None:
    world = made(tmp_path)
    body = invoice(world)
    world.store.transact(
        lambda session: session.run(
            'UPDATE documents SET body = REPLACE(body, \'"due":"1"\', \'"due":"2"\') WHERE kind = \'invoice\''
        )
    )
    with pytest.raises(BillingError, match=r"2026-000001: its seal is broken.*lode audit verify"):
        note(world, body["number"], 1, "0.5")


def test_prepaid_credit_pays_usage_and_refunds_go_back_to_the_same_grant(tmp_path: Path) -> None:
    world = made(tmp_path)
    late = wallet.add(world.store, "cli", "acme", "5", now_us=world.clock, expires_us=us("2028-01-01"))["grant"]
    early = wallet.add(world.store, "cli", "acme", "0.3", now_us=world.clock, expires_us=us("2027-01-01"))["grant"]
    body = invoice(world)
    assert (body["total"], body["prepaid"], body["due"]) == ("1", "1", "0")
    left = {row["grant"]: row["left"] for row in wallet.listed(world.store, "acme")["grants"]}
    assert left == {early: "0", late: "4.3"}  # the one that expires first was used first
    done = note(world, body["number"], 1, "0.5")
    assert (done["settled"], done["to_prepaid"]) == ("0", "0.5")
    left = {row["grant"]: row["left"] for row in wallet.listed(world.store, "acme")["grants"]}
    assert left == {early: "0", late: "4.8"}
    assert world.balance("customer/acme/prepaid") == "-4.8" and world.sum() == 0
    wallet.refund(world.store, "cli", "acme", "4.8", "end of contract", now_us=world.clock)
    assert world.balance("cash/EUR") == "0.5" and world.balance("customer/acme/prepaid") == "0"
    with pytest.raises(BillingError, match="allowed: up to 0 EUR"):
        wallet.refund(world.store, "cli", "acme", "0.01", "more", now_us=world.clock)


def test_the_same_command_again_is_the_same_top_up(tmp_path: Path) -> None:
    """ "--expires 90d" of a second try, seconds later, is another instant: no second grant, and no conflict."""
    world = made(tmp_path)
    first = wallet.add(world.store, "cli", "acme", "5", now_us=world.clock, expires_us=world.now + 10**9, reference="bank-1")
    again = wallet.add(world.store, "cli", "acme", "5", now_us=world.clock, expires_us=world.now + 10**9 + 7, reference="bank-1")
    assert again == first and first["balance"] == "5"
    with pytest.raises(ConflictError, match='reference: found "bank-1", which was used before'):
        wallet.add(world.store, "cli", "acme", "6", now_us=world.clock, reference="bank-1")


def test_priority_comes_before_expiry_and_what_expires_is_breakage(tmp_path: Path) -> None:
    world = made(tmp_path)
    wallet.add(world.store, "cli", "acme", "2", now_us=world.clock, expires_us=us("2026-11-10"))
    first = wallet.add(world.store, "cli", "acme", "1", now_us=world.clock, priority=1)["grant"]
    world.use(150)
    world.turn("2026-11-10")
    (gone,) = wallet.expire(world.store, "system", now_us=world.clock)
    assert gone["amount"] == "1.5" and world.balance("breakage/EUR") == "-1.5"
    assert wallet.expire(world.store, "system", now_us=world.clock) == []
    assert {row["grant"]: row["left"] for row in wallet.listed(world.store, "acme")["grants"]}[first] == "0"
    assert world.balance("customer/acme/prepaid") == "0" and world.sum() == 0


def test_goodwill_is_given_not_paid_and_never_paid_out(tmp_path: Path) -> None:
    world = made(tmp_path)
    with pytest.raises(BillingError, match="reason: found none"):
        wallet.add(world.store, "cli", "acme", "5", now_us=world.clock, given=True)
    wallet.add(world.store, "cli", "acme", "5", now_us=world.clock, given=True, reason="outage")
    assert world.balances() == {"customer/acme/prepaid": "-5", "waived/EUR": "5"}
    with pytest.raises(BillingError, match="allowed: up to 0 EUR"):
        wallet.refund(world.store, "cli", "acme", "1", "please", now_us=world.clock)


def test_a_top_up_comes_once(tmp_path: Path) -> None:
    world = made(tmp_path)
    first = wallet.add(world.store, "cli", "acme", "5", now_us=world.clock, reference="bank-1")
    assert wallet.add(world.store, "cli", "acme", "5.00", now_us=world.clock, reference="bank-1")["grant"] == first["grant"]
    with pytest.raises(ConflictError):
        wallet.add(world.store, "cli", "acme", "6", now_us=world.clock, reference="bank-1")
    for amount, words in (("-1", "amount"), ("nan", "amount"), ("0", "amount"), ("0.001", "whole coins"), ("1" * 17, "amount")):
        with pytest.raises(BillingError, match=words):
            wallet.add(world.store, "cli", "acme", amount, now_us=world.clock)
    with pytest.raises(BillingError, match="expires: found 2026-10-31"):
        wallet.add(world.store, "cli", "acme", "1", now_us=world.clock, expires_us=us("2026-10-31"))
    assert world.balance("customer/acme/prepaid") == "-5"


def test_a_refund_goes_on_with_the_grant_before_where_the_last_one_is_empty(tmp_path: Path) -> None:
    world = made(tmp_path)
    first, last = (
        wallet.add(world.store, "cli", "acme", amount, now_us=world.clock, priority=place)["grant"]
        for place, amount in ((1, "5"), (2, "3"))
    )
    paid = [wallet.refund(world.store, "cli", "acme", amount, "end", now_us=world.clock)["grant"] for amount in ("3", "5")]
    assert paid == [last, first] and world.balance("cash/EUR") == "0"


def test_the_same_reference_is_the_same_refund(tmp_path: Path) -> None:
    world = made(tmp_path)
    grant = wallet.add(world.store, "cli", "acme", "50", now_us=world.clock)["grant"]

    def refund(amount: str, reference: str = "ticket-7", **more: Any) -> dict[str, Any]:
        return wallet.refund(world.store, "cli", "acme", amount, "asked for", now_us=world.clock, reference=reference, **more)

    first = refund("20")
    assert (first["refunded"], first["grant"], first["balance"]) == ("20", grant, "30")
    world.use(100)  # what happened since changes nothing of the answer
    world.turn("2027-03-01")
    assert refund("20.00") == first and world.balance("cash/EUR") == "30"
    for other in ({"amount": "21"}, {"amount": "20", "grant": grant}):
        with pytest.raises(ConflictError, match='reference: found "ticket-7", which was used before for something else'):
            refund(**other)
    # Another kind of act, and another customer, have references of their own.
    wallet.add(world.store, "cli", "acme", "1", now_us=world.clock, reference="ticket-7")
    world.customer("globex")
    wallet.add(world.store, "cli", "globex", "20", now_us=world.clock)
    wallet.refund(world.store, "cli", "globex", "20", "asked for", now_us=world.clock, reference="ticket-7")
    assert refund("20", "ticket-8", grant=grant)["refunded"] == "20"
    assert refund("1", "", grant=grant) != refund("1", "", grant=grant)  # without a reference: two refunds
    assert world.balance("cash/EUR") == "9" and world.sum() == 0
    for wrong in ("x" * 256, "a\nb"):
        with pytest.raises(BillingError, match=r"reference: found .*, allowed: up to 255 printable characters"):
            refund("1", wrong)


def test_a_top_up_that_expired_meanwhile_is_answered_as_the_first_time(tmp_path: Path) -> None:
    world = made(tmp_path)
    expires_us = us("2026-11-20")
    first = wallet.add(world.store, "cli", "acme", "5", now_us=world.clock, expires_us=expires_us, reference="bank-1")
    world.use(100)
    world.turn("2026-12-01")
    again = wallet.add(world.store, "cli", "acme", "5", now_us=world.clock, expires_us=expires_us, reference="bank-1")
    assert again == first and world.balance("cash/EUR") == "5"


def test_payments_close_an_invoice_and_no_more(tmp_path: Path) -> None:
    world = made(tmp_path)
    body = invoice(world)
    first = payments.pay(world.store, "cli", body["number"], "0.4", now_us=world.clock, reference="b1")
    for again in ("0.4", "0.40"):
        assert payments.pay(world.store, "cli", body["number"], again, now_us=world.clock, reference="b1") == first
    assert overview.listed(world.store)["invoices"][0]["status"] == "partly paid"
    with pytest.raises(BillingError, match=r"allowed: whole coins up to 0.6 EUR.*lode credit add acme"):
        payments.pay(world.store, "cli", body["number"], "0.7", now_us=world.clock)
    payments.pay(world.store, "cli", body["number"], "", now_us=world.clock)
    assert world.balances() == {"cash/EUR": "1", "revenue/EUR": "-1"}
    done = note(world, body["number"], 1, "0.5", to="cash")  # paid already: the money goes back
    assert (done["settled"], world.balance("cash/EUR")) == ("0", "0.5") and world.sum() == 0


def test_what_a_note_left_on_a_paid_invoice_pays_the_next_one(tmp_path: Path) -> None:
    world = made(tmp_path)
    first = invoice(world)
    payments.pay(world.store, "cli", first["number"], "", now_us=world.clock)
    note(world, first["number"], 1, "0.5")
    assert wallet.listed(world.store, "acme")["kept"] == "0.5"
    world.use(100)
    world.turn("2027-01-02")
    (second,) = closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"]
    with pytest.raises(BillingError, match=r"up to 0.5 EUR, which is kept for acme"):
        payments.pay(world.store, "cli", second["number"], "0.6", now_us=world.clock, from_balance=True)
    paid = payments.pay(world.store, "cli", second["number"], "", now_us=world.clock, from_balance=True)
    assert (paid["amount"], paid["from"]) == ("0.5", "balance")
    assert wallet.listed(world.store, "acme")["kept"] == "0"
    rest = money.parse(second["due"], "due") - money.parse("0.5", "amount")
    assert money.parse(world.balance("customer/acme/receivable"), "balance") == rest and world.sum() == 0
    with pytest.raises(BillingError, match="allowed"):
        payments.pay(world.store, "cli", second["number"], "", now_us=world.clock, from_balance=True)


def test_a_plan_that_sells_credit_grants_it_with_its_invoice(tmp_path: Path) -> None:
    pack = '[[charges]]\nname = "pack"\ntype = "prepaid"\nprice = "10"\ncredit = "12"\nexpires_days = 60\n'
    world = made(tmp_path, PLAN + STANDARD + pack)
    (body,) = closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"]
    assert (body["kind"], body["due"]) == ("advance", "10")
    assert world.balances() == {"customer/acme/prepaid": "-12", "customer/acme/receivable": "10", "waived/EUR": "2"}
    assert [(row["left"], row["given"]) for row in wallet.listed(world.store, "acme")["grants"]] == [("10", False), ("2", True)]
    assert wallet.listed(world.store, "acme")["owed"] == "10", "an unpaid pack counts against prepaid calls"
    world.use(100)
    world.turn("2026-12-02")
    (closed,) = closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"]
    assert (closed["total"], closed["prepaid"], closed["due"]) == ("11", "1", "10") and world.sum() == 0


def test_prices_that_hold_the_tax_pay_it_out_of_the_revenue(tmp_path: Path) -> None:
    world = taxed(tmp_path, prices="inclusive")
    body = invoice(world, 119)
    assert (body["net"], body["tax"], body["total"], body["due"]) == ("1", "0.19", "1.19", "1.19")
    assert world.balances() == {"customer/acme/receivable": "1.19", "revenue/EUR": "-1", "tax/EUR": "-0.19"}
    note(world, body["number"], 1, "1.19")
    assert world.balances() == {}


CATEGORIES = TAXED + (
    '[[tax.rate]]\ncountry = "DE"\ncategory = "reduced"\nname = "VAT"\nrate = "7"\nfrom = 2021-01-01\n'
    '[[tax.rate]]\ncountry = "US"\nname = "Sales tax"\nrate = "0"\nfrom = 2021-01-01\n'
    '[[tax.rate]]\ncountry = "US-CA"\nname = "Sales tax"\nrate = "7.25"\nfrom = 2021-01-01\n'
)
BOOKS = PLAN + STANDARD + '[[charges]]\nname = "books"\ntype = "standard"\nprice = "0.03"\nunit = "rows"\ntax = "reduced"\n'


def test_a_charge_has_the_rate_of_its_category(tmp_path: Path) -> None:
    world = made(tmp_path, BOOKS)
    world.sells(CATEGORIES)
    world.use(100, units={"requests": 1, "rows": 1})
    world.turn("2026-12-02")
    (body,) = closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"]
    assert [(row["name"], row["base"], row["amount"]) for row in body["taxes"]] == [
        ("VAT 7 %", "3", "0.21"),
        ("VAT 19 %", "1", "0.19"),
    ]
    credit = notes.note(world.store, "cli", world.seller, body["number"], 1, "1.00", "why", now_us=world.clock)
    assert [(row["name"], row["amount"]) for row in credit["taxes"]] == [("VAT 7 %", "0.07")]


def test_a_coupon_and_a_trial_take_off_each_category_what_is_its(tmp_path: Path) -> None:
    world = made(tmp_path, BOOKS, has="")
    world.sells(CATEGORIES)
    world.coupon("HALF", percent="50")
    subscriptions.subscribe(world.store, "cli", "acme", "team", coupon="HALF", trial_days=3, now_us=world.clock)
    world.use(10, units={"requests": 1, "rows": 1})
    world.turn("2026-11-20")
    world.use(100, units={"requests": 1, "rows": 1})
    world.turn("2026-12-02")
    (body,) = closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"]
    assert [(row["name"], row["base"], row["amount"]) for row in body["taxes"]] == [
        ("VAT 7 %", "1.5", "0.11"),
        ("VAT 19 %", "0.5", "0.1"),
    ]
    assert [line["amount"] for line in body["lines"] if line["kind"] == "coupon"] == ["-1.5", "-0.5"]


def test_a_cap_takes_off_each_category_what_the_whole_period_has_of_it(tmp_path: Path) -> None:
    """Also what interim invoices hold: 40 at 19 % and 60 at 7 %, of which at most 40 are due, and 40 they remain."""
    world = made(tmp_path, BOOKS.replace('anchor = "1"', 'anchor = "1"\ncap = "40"'))
    world.sells(CATEGORIES)
    world.use(units={"requests": 4000, "rows": 2000})
    bills: list[dict[str, Any]] = []
    for day, interim in (("2026-11-20", True), ("2026-12-02", False)):
        world.turn(day)
        bills += closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock, interim=interim)["issued"]
    assert [line["amount"] for line in bills[1]["lines"]] == ["-24", "-36"]
    assert sorted((row["name"], row["amount"]) for row in bills[1]["taxes"]) == [("VAT 19 %", "-4.56"), ("VAT 7 %", "-2.52")]
    left = sum(money.parse(body["tax"], "tax", least=None) for body in bills)
    assert left == money.parse("4.72", "tax")  # 16 at 19 %, 24 at 7 %


def test_a_cap_takes_nothing_off_a_fee_in_advance_which_it_is_no_cap_of(tmp_path: Path) -> None:
    world = made(tmp_path, PLAN + 'cap = "25"\n' + FEE + 'tax = "reduced"\n' + STANDARD)
    world.sells(CATEGORIES)
    world.use(units={"requests": 10_000})
    world.turn("2026-12-02")
    (body,) = closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"]
    assert [(line["amount"], line["tax"]) for line in body["lines"] if line["kind"] == "cap"] == [("-75", "VAT 19 %")]


def nets(bills: list[dict[str, Any]]) -> dict[str, str]:
    """What documents come to together, by tax category."""
    found: dict[str, int] = {}
    for line in (line for body in bills for line in body["lines"]):
        name = line.get("category", "")
        found[name] = found.get(name, 0) + money.parse(line["amount"], "amount", least=None)
    return {name: money.plain(amount) for name, amount in found.items()}


@pytest.mark.parametrize("terms", [{"percent": "50"}, {"amount": "20", "currency": "EUR"}])
def test_a_coupon_of_an_interim_invoice_is_divided_anew_when_a_cap_takes_off_too(tmp_path: Path, terms: dict[str, str]) -> None:
    """40 at 19 %, half of it off; then 60 at 7 %, at most 40 together: 16 and 24, half of each is off."""
    world = made(tmp_path, BOOKS.replace('anchor = "1"', 'anchor = "1"\ncap = "40"'), has="")
    world.sells(CATEGORIES)
    world.coupon("HALF", **terms)
    subscriptions.subscribe(world.store, "cli", "acme", "team", coupon="HALF", now_us=world.clock)
    bills: list[dict[str, Any]] = []
    for day, units, interim in (("2026-11-20", {"requests": 4000}, True), ("2026-12-02", {"rows": 2000}, False)):
        world.use(units=units)
        world.turn(day)
        bills += closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock, interim=interim)["issued"]
    assert [(line["kind"], line["amount"]) for line in bills[1]["lines"]] == [
        ("usage", "60"), ("cap", "-24"), ("cap", "-36"), ("coupon", "12"), ("coupon", "-12"),
    ]  # fmt: skip
    assert nets(bills) == {"": "8", "reduced": "12"} and world.sum() == 0
    # Nothing was sold there: what a note gave back of it no later document would take off again.
    with pytest.raises(BillingError, match=r"line: found 4, a HALF on .*, allowed: a line of something that was sold"):
        notes.note(world.store, "cli", world.seller, bills[1]["number"], 4, "1", "goodwill", now_us=world.clock)


def test_late_usage_divides_a_cap_anew(tmp_path: Path) -> None:
    """100 at 19 %, at most 40; 60 at 7 % come late: 25 and 15 are due, and a coupon of a fifth takes off each its part."""
    world = made(tmp_path, BOOKS.replace('anchor = "1"', 'anchor = "1"\ncap = "40"'), has="")
    world.sells(CATEGORIES)
    world.coupon("FIFTH", percent="20")
    subscriptions.subscribe(world.store, "cli", "acme", "team", coupon="FIFTH", now_us=world.clock)
    world.use(units={"requests": 10_000})
    bills: list[dict[str, Any]] = []
    for day in ("2026-12-02", "2027-01-02"):
        world.turn(day)
        bills += closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"]
        if len(bills) == 1:
            world.use(units={"rows": 2000}, at="2026-11-29")
    assert nets(bills) == {"": "20", "reduced": "12"} and bills[1]["net"] == "0"
    late = [(line["charge"], line["amount"]) for line in bills[1]["lines"]]
    assert late == [("books", "60"), ("cap", "-15"), ("cap", "-45"), ("FIFTH", "3"), ("FIFTH", "-3")]


def test_corrected_prices_divide_a_cap_anew_that_stays_what_it_is(tmp_path: Path) -> None:
    """40 at 19 % and 60 at 7 %, at most 40; corrected to 60 and 40: 24 and 16 are due."""
    plan = BOOKS.replace('anchor = "1"', 'anchor = "1"\ncap = "40"')
    world = made(tmp_path, plan)
    world.plan(plan.replace("version = 1", "version = 2").replace('"0.01"', '"0.015"').replace('"0.03"', '"0.02"'))
    world.sells(CATEGORIES)
    world.use(units={"requests": 4000, "rows": 2000})
    bills: list[dict[str, Any]] = []
    for day in ("2026-12-02", "2027-01-02"):
        world.turn(day)
        bills += closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"]
        if len(bills) == 1:
            rerating.correct(world.store, "cli", "team@1", "team@2", "", "a typo", now_us=world.clock)
    assert [nets(bills[:number]) for number in (1, 2)] == [{"": "16", "reduced": "24"}, {"": "24", "reduced": "16"}]
    assert (bills[1]["net"], bills[1]["tax"]) == ("0", "0.96") and world.sum() == 0  # 8 at 19 % in place of 7 %


def test_a_part_of_a_country_has_its_own_rate_and_the_others_the_countrys(tmp_path: Path) -> None:
    world = made(tmp_path, country="US-CA")
    world.sells(CATEGORIES)
    world.customer("globex", country="US-NY")
    for slug, rate in (("acme", "Sales tax 7.25 %"), ("globex", "Sales tax 0 %")):
        world.turn("2026-11-03")
        world.use(100, slug)
        world.turn("2026-12-02")
        (body,) = closing.bill(world.store, "cli", slug, world.seller, now_us=world.clock)["issued"]
        assert [row["name"] for row in body["taxes"]] == [rate]
    with pytest.raises(BillingError, match=r"found 'US-ca'|found \"US-ca\""):
        world.customer("initech", country="US-ca")


def test_a_category_that_the_table_has_not_stops_the_bill(tmp_path: Path) -> None:
    world = made(tmp_path, BOOKS)
    world.sells(TAXED)
    world.use(1, units={"requests": 1, "rows": 1})
    world.turn("2026-12-02")
    with pytest.raises(BillingError, match='found no reduced rate for "DE"'):
        closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)


def test_reverse_charge_has_no_tax_and_its_note(tmp_path: Path) -> None:
    world = taxed(tmp_path, country="FR", tax_id="FR123")
    body = invoice(world)
    assert (body["tax"], body["total"]) == ("0", "1")
    assert body["taxes"] == [
        {"name": "VAT 0 %, reverse charge", "percent": "0", "base": "1", "amount": "0", "note": seller.REVERSE_CHARGE}
    ]


def test_a_country_without_a_row_is_not_guessed(tmp_path: Path) -> None:
    world = taxed(tmp_path, country="SE")
    world.use(1)
    world.turn("2026-12-02")
    with pytest.raises(BillingError, match=r'tax: found no rate for "SE" on 2026-11-30, the table has DE, FR'):
        closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)


def test_tax_is_rounded_per_line_or_per_document_as_the_table_says(tmp_path: Path) -> None:
    plan = PLAN + "".join(
        f'[[charges]]\nname = "c{place}"\ntype = "standard"\nprice = "0.13"\nunit = "{unit}"\n'
        for place, unit in enumerate(("requests", "rows", "output_tokens"))
    )
    totals = []
    for rounding in ("line", "document"):
        world = taxed(tmp_path / rounding, rounding=rounding, plan=plan)
        world.use(1, units={"requests": 1, "rows": 1, "output_tokens": 1})
        totals.append(invoice(world, 0)["tax"])
    assert totals == ["0.06", "0.07"]  # 3 x round(0.0247), round(0.0741)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('country = "DE"\npay', 'country = "Germany"\npay', "two capital letters"), ('rate = "19"', "rate = 19", "wanted text in quotes"),
        ('rate = "19"', 'rate = "101"', "allowed: 0 to 100"), ('rate = "19"', 'rate = "nan"', "wanted a decimal"),
        ("[tax]", "[taxes]", 'Did you mean "tax"'),
        ('name = "Seller"', "", '"name" is missing'), ("payment", 'invoice_number = "{number}"\npayment', "wanted letters"),
        ("payment", 'invoice_number = "{year}/{number}"\npayment', "wanted letters"),
        ("payment", "due_days = 400\npayment", "allowed: 0 to 365"),
        ("payment", 'credit_note_number = "{year}-{number:06d}"\npayment', "for invoices and credit notes, wanted two"),
        ("from = 2021-01-01", 'from = "2021"', "wanted a date"), ("[tax]", '[tax]\nprices = "gross"', "allowed: exclusive, inclusive"),
    ],
)  # fmt: skip
def test_a_wrong_seller_file_names_the_key(old: str, new: str, words: str) -> None:
    with pytest.raises(BillingError, match=words) as raised:
        seller.of(tomllib.loads(TAXED.replace(old, new, 1)), "seller.toml")
    assert str(raised.value).startswith("seller.toml")


def test_the_example_of_the_message_is_a_seller(tmp_path: Path) -> None:
    with pytest.raises(BillingError, match="an invoice says who sells") as raised:
        seller.read(tmp_path / "seller.toml")
    (tmp_path / "seller.toml").write_text(seller.EXAMPLE, encoding="utf-8")
    assert seller.EXAMPLE in str(raised.value) and seller.read(tmp_path / "seller.toml").rates[1].reverse_charge
