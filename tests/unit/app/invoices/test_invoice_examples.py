"""Credit notes on invoices of two rates and on two invoices of one period; credit that lapses. Figures by hand, beside each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from lode.app.invoices import wallet
from lode.core.errors import BillingError
from lode.core.money import UNIT
from tests.unit.app.invoices.test_invoices_money import taxed
from tests.unit.app.invoices.test_invoices_returned import bill, business, check, correct, first, note, pay, place, void
from tests.unit.app.invoices.world import PLAN, STANDARD, made, us


def test_parts_of_a_line_hold_its_tax_whatever_was_credited_at_another_rate(tmp_path: Path) -> None:
    """10.00 at 19 % in three parts, 3.33, 3.33 and 3.34: up to the first 0.63 of tax, to the second 1.27, to the last 1.90. Before that
    0.03 of the fee at 7 % went back, with no cent of tax.
    """
    world = business(tmp_path)
    world.use(100)
    world.turn("2026-12-02")
    (body,) = bill(world)
    assert note(world, body["number"], place(body, "base"), "0.03")["tax"] == "0"
    parts = [note(world, body["number"], place(body), amount) for amount in ("3.33", "3.33", "3.34")]
    assert [part["tax"] for part in parts] == ["0.63", "0.64", "0.63"]
    check(world)


def test_what_was_credited_of_one_invoice_is_not_left_on_it_though_another_of_the_period_is(tmp_path: Path) -> None:
    """Requests of 1 and rows of 1 on an interim invoice, requests of 2 on the period's: once the first 1 went back nothing of that line is
    left, though there is of the other line, and of the thing itself on the other invoice.
    """
    rows = '[[charges]]\nname = "rows"\ntype = "standard"\nunit = "rows"\nprice = "0.01"\n'
    world = made(tmp_path, PLAN + STANDARD + rows)
    world.use(100, units={"requests": 1, "rows": 1})
    world.turn("2026-11-20")
    (early,) = bill(world, interim=True)
    world.use(200)
    world.turn("2026-12-02")
    (late,) = bill(world)
    note(world, early["number"], place(early), "1")
    with pytest.raises(BillingError, match=r"amount: found 0\.01, allowed: up to 0 EUR"):
        note(world, early["number"], place(early), "0.01")
    with pytest.raises(BillingError, match=r"amount: found 2\.01, allowed: up to 2 EUR"):
        note(world, late["number"], place(late), "2.01")
    note(world, late["number"], place(late), "2")
    note(world, early["number"], place(early, "rows"), "1")
    check(world)


def test_a_note_that_only_lowers_what_is_open_pays_nothing_out_and_asks_for_no_money(tmp_path: Path) -> None:
    """The invoice is not paid: of 10 and 1.90 in cash nothing is left to pay out. Once it is, 5.95 are."""
    world = business(tmp_path)
    world.use(200)
    world.turn("2026-12-02")
    (body,) = bill(world)
    done = note(world, body["number"], place(body), "10", "cash")
    assert (done["total"], done["settled"], done["paid_out"]) == ("11.9", "11.9", "0")
    pay(world, body["number"])
    done = note(world, body["number"], place(body), "5", "cash")
    assert (done["total"], done["settled"], done["paid_out"]) == ("5.95", "0", "5.95")
    check(world)


@pytest.mark.parametrize("line", [0, -1, 4])
def test_lines_are_counted_from_one(tmp_path: Path, line: int) -> None:
    """An invoice of three lines; 0 is not the last one."""
    world = business(tmp_path)
    world.use(100)
    world.turn("2026-12-02")
    (body,) = bill(world)
    assert len(body["lines"]) == 3
    with pytest.raises(BillingError, match=f"line: found {line}, invoice {body['number']} has lines 1 to 3"):
        note(world, body["number"], line, "1")


def test_credit_that_was_sold_can_be_taken_back_as_far_as_it_was_not_used(tmp_path: Path) -> None:
    """A pack of 5 for 5, of which 300 requests at 0.01 took 3: 2.00 are left, and not a cent more."""
    pack = '[[charges]]\nname = "pack"\ntype = "prepaid"\nprice = "5"\n'
    world = made(tmp_path, PLAN + STANDARD + pack)
    (body,) = bill(world)
    world.use(300)
    with pytest.raises(BillingError, match=r"amount: found 2\.01, allowed: up to 2, which was not used"):
        note(world, body["number"], place(body, "pack"), "2.01")
    note(world, body["number"], place(body, "pack"), "2")
    assert world.balance("customer/acme/prepaid") == "0" and world.sum() == 0


def test_an_invoice_in_the_customers_favour_can_be_voided_while_all_of_it_is_left(tmp_path: Path) -> None:
    world = business(tmp_path)
    first(world)
    correct(world)
    world.turn("2027-01-02")
    (favour,) = bill(world)
    assert favour["total"].startswith("-")
    done = void(world, favour["number"])
    assert done["total"] == favour["total"] and wallet.listed(world.store, "acme")["kept"] == "0"
    check(world)


def test_credit_that_is_used_up_neither_lapses_nor_is_waited_for(tmp_path: Path) -> None:
    """Grants of 1 until the 10th, of 2 until the 20th and of 3 without an end; the first is used up by 100 requests at 0.01."""
    world = made(tmp_path)
    for amount, until in (("1", "2026-11-10"), ("2", "2026-11-20"), ("3", "")):
        wallet.add(world.store, "cli", "acme", amount, now_us=world.clock, expires_us=us(until) if until else None)
    with world.store.view() as session:
        assert wallet.lapsing(session, "acme", world.now) == (0, us("2026-11-10"))
    world.use(100)
    with world.store.view() as session:
        assert wallet.lapsing(session, "acme", world.now) == (0, us("2026-11-20"))
        assert wallet.lapsing(session, "acme", us("2026-11-20") - 1) == (0, us("2026-11-20"))
        assert wallet.lapsing(session, "acme", us("2026-11-20")) == (2 * UNIT, wallet.NEVER)


def test_what_prepaid_credit_paid_goes_back_to_it_once(tmp_path: Path) -> None:
    """Of 2.00 credit paid 0.50 and money the rest: of two notes of 0.50 the first fills the credit again, the second is kept."""
    world = made(tmp_path)
    wallet.add(world.store, "cli", "acme", "0.5", now_us=world.clock)
    world.use(200)
    world.turn("2026-12-02")
    (body,) = bill(world)
    assert (body["total"], body["due"]) == ("2", "1.5")
    pay(world, body["number"])
    assert [note(world, body["number"], 1, "0.5")["to_prepaid"] for _ in range(2)] == ["0.5", "0"]
    assert world.balance("customer/acme/prepaid") == "-0.5" and wallet.listed(world.store, "acme")["kept"] == "0.5"


def test_no_more_money_leaves_than_came(tmp_path: Path) -> None:
    """The first invoice is never paid, but corrected: what is in the customer's favour pays a part of the third, and money the rest of it.
    Of the whole third one that money can be paid out.
    """
    world = business(tmp_path)
    world.use(1000)
    world.turn("2026-12-02")
    bill(world)
    correct(world)
    world.turn("2027-01-02")
    bill(world)
    world.use(10_000)
    world.turn("2027-02-02")
    (third,) = bill(world)
    pay(world, third["number"], from_balance=True)
    pay(world, third["number"])
    came = world.balance("cash/EUR")
    assert 0 < float(came) < float(third["total"])
    assert void(world, third["number"], "cash")["paid_out"] == came and world.balance("cash/EUR") == "0"
    check(world)


def test_a_note_on_prices_that_hold_the_tax_says_what_is_left_without_it(tmp_path: Path) -> None:
    """Of 1.19 with 0.19 of tax 0.60 hold 0.19 x 60 / 119, which is 0.0958."""
    world = taxed(tmp_path, prices="inclusive")
    world.use(119)
    world.turn("2026-12-02")
    (body,) = bill(world)
    done = note(world, body["number"], 1, "0.60")
    (row,) = done["taxes"]
    assert (row["base"], row["amount"], done["net"], done["tax"], done["total"]) == ("0.5", "0.1", "0.5", "0.1", "0.6")
