"""A price that was wrong: open periods are rated anew, closed ones give one line on the next invoice, to the last 10^-12."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from lode.app.access import organisations
from lode.app.audit import verify
from lode.app.books import journal
from lode.app.economics import simulate
from lode.app.economics.readings import Window
from lode.app.invoices import closing, events, identity, notes, overview, payments, rerating, selection, usage, wallet
from lode.app.invoices.documents import lines_of
from lode.app.invoices.events import Event
from lode.app.prices import plans, subscriptions
from lode.core import money
from lode.core.errors import BillingError, ConflictError
from tests.unit.app.invoices.world import FEE, PLAN, STANDARD, TAXED, World, made, us

RIGHT = PLAN.replace("version = 1", "version = 2") + STANDARD.replace("0.01", "0.02")


def corrected(world: World, since: str = "", wrong: str = "team@1", right: str = "team@2") -> dict[str, Any]:
    return rerating.correct(world.store, "cli", wrong, right, since, "a zero too many", now_us=world.clock)


def bill(world: World, **options: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock, **options)["issued"]
    return found


def texts(body: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(line["kind"], line["text"], line["exact"]) for line in body["lines"]]


def assert_whole(world: World) -> None:
    """The identity, read whole and read from the last close; the ledger; the journal."""
    with world.store.view() as session:
        for done in (None, selection.checked(session, "acme")):
            found = identity.compare(session, "acme", "EUR", selection.parts(session, "acme", "EUR", done), done)
            assert found.problems == () and found.leakage == 0
        assert verify.verify(session)["num_problems"] == 0
    assert world.sum() == 0


def test_usage_of_an_open_period_is_invoiced_at_the_corrected_price(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.use(7)
    world.plan(RIGHT)
    told = corrected(world)
    assert [(row["period"], row["state"], row["before"], row["after"]) for row in told["periods"]] == [
        ("2026-11-01", "open", "0.07", "0.14")
    ]
    world.use(3)
    world.turn("2026-12-02")
    (body,) = bill(world)
    assert texts(body) == [("usage", "requests", "0.2")]
    assert (body["lines"][0]["quantity"], body["lines"][0]["unit_price"], body["lines"][0]["plan"]) == ("10", "0.02", "team@2")
    assert_whole(world)


def test_a_closed_period_gives_one_line_on_the_next_invoice_and_no_issued_one_changes(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.use(100)
    world.turn("2026-12-02")
    (first,) = bill(world)
    world.use(4)
    world.plan(RIGHT)
    seen = rerating.preview(world.store, "team@1", "team@2", "", "why", now_us=world.clock)
    assert seen["difference"] == "1.04" and not seen["applied"]
    with world.store.view() as session:
        assert journal.documents(session, "correction") == []
    told = corrected(world)
    assert [row["difference"] for row in told["periods"]] == ["1", "0.04"]
    assert told["periods"] == seen["periods"]
    world.turn("2027-01-02")
    (second,) = bill(world)
    assert texts(second) == [("usage", "requests", "0.08"), ("correction", "requests, price corrected", "1")]
    assert second["lines"][1]["start"].startswith("2026-11-01")
    with world.store.view() as session:
        found = journal.document(session, "invoice", first["number"])
    assert found is not None and found.body == first
    assert_whole(world)


def in_favour(tmp_path: Path) -> tuple[World, dict[str, Any], dict[str, Any]]:
    """An invoice of 1 EUR that is open, and the next one, which gives 0.6 EUR back."""
    world = made(tmp_path)
    world.use(100)
    world.turn("2026-12-02")
    (first,) = bill(world)
    world.plan(RIGHT.replace("0.02", "0.004"))
    corrected(world)
    world.turn("2027-01-02")
    (second,) = bill(world)
    return world, first, second


def test_what_was_charged_too_much_is_in_the_customers_favour(tmp_path: Path) -> None:
    world, _, second = in_favour(tmp_path)
    assert (second["total"], second["due"]) == ("-0.6", "-0.6")
    assert_whole(world)


def test_what_is_in_the_customers_favour_pays_another_invoice(tmp_path: Path) -> None:
    world, first, second = in_favour(tmp_path)
    rows = {row["number"]: (row["open"], row["status"]) for row in overview.listed(world.store)["invoices"]}
    assert rows == {first["number"]: ("1", "open"), second["number"]: ("0", "in favour")}
    assert wallet.listed(world.store, "acme")["kept"] == "0.6"
    paid = payments.pay(world.store, "cli", first["number"], "", now_us=world.clock, from_balance=True)
    assert (paid["amount"], paid["open"]) == ("0.6", "0.4") and wallet.listed(world.store, "acme")["kept"] == "0"
    with pytest.raises(BillingError, match=r"found 0 EUR left of the 0.6 in its favour, which paid another one"):
        notes.void(world.store, "cli", world.seller, second["number"], "wrong", now_us=world.clock)
    payments.pay(world.store, "cli", first["number"], "", now_us=world.clock)
    assert world.balance("cash/EUR") == "0.4" and world.balance("customer/acme/receivable") == "0"
    assert_whole(world)


def test_an_invoice_in_the_customers_favour_can_be_voided_while_nothing_of_it_was_used(tmp_path: Path) -> None:
    world, _, second = in_favour(tmp_path)
    notes.void(world.store, "cli", world.seller, second["number"], "wrong", now_us=world.clock)
    assert world.balance("customer/acme/receivable") == "1" and wallet.listed(world.store, "acme")["kept"] == "0"


def test_a_voided_invoice_in_favour_is_not_open_whatever_was_credited_of_it_before(tmp_path: Path) -> None:
    reduced = '[[tax.rate]]\ncountry = "DE"\ncategory = "reduced"\nname = "VAT"\nrate = "7"\nfrom = 2021-01-01\n'
    plan = PLAN + FEE + 'tax = "reduced"\n' + STANDARD
    world = made(tmp_path, plan)
    world.sells(TAXED + reduced)
    world.use(100, units={"requests": 100})
    world.turn("2026-12-02")
    bill(world)
    world.plan(plan.replace("version = 1", "version = 2").replace("0.01", "0.001"))
    corrected(world)
    world.turn("2027-01-02")
    (second,) = bill(world)
    assert [line["amount"] for line in second["lines"]] == ["30", "-90"] and second["due"] == "-75"  # 32.10 - 107.10

    def standing() -> tuple[str, str, str]:
        (row,) = (row for row in overview.listed(world.store)["invoices"] if row["number"] == second["number"])
        return row["open"], row["status"], wallet.listed(world.store, "acme")["kept"]

    notes.note(world.store, "cli", world.seller, second["number"], 1, "5", "slow", now_us=world.clock)
    assert standing() == ("0", "in favour", "80.35")
    notes.void(world.store, "cli", world.seller, second["number"], "wrong", now_us=world.clock, to="cash")
    assert standing() == ("0", "credited", "0") and world.balance("cash/EUR") == "0"
    assert_whole(world)


def test_a_correction_is_taxed_at_the_rate_of_its_period(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.sells(TAXED + '[[tax.rate]]\ncountry = "DE"\nname = "VAT"\nrate = "16"\nfrom = 2026-12-01\n')
    world.use(100)
    world.turn("2026-12-02")
    bill(world)
    world.plan(RIGHT)
    corrected(world)
    world.use(100)
    world.turn("2027-01-02")
    (second,) = bill(world)
    assert [(row["name"], row["base"], row["amount"]) for row in second["taxes"]] == [
        ("VAT 16 %", "2", "0.32"), ("VAT 19 %", "1", "0.19"),
    ]  # fmt: skip


def test_late_usage_and_a_correction_of_the_same_period_are_two_lines(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.use(10)
    world.turn("2026-12-02")
    bill(world)
    late = [Event("acme", f"late{number}", us("2026-11-20"), "m", {"requests": 1}) for number in range(3)]
    events.record(world.store, "cli", late[:2], now_us=world.clock)
    world.plan(RIGHT)
    corrected(world)
    events.record(world.store, "cli", late[2:], now_us=world.clock)
    world.turn("2027-01-02")
    (second,) = bill(world)
    assert texts(second) == [
        ("adjustment", "requests, late usage", "0.06"), ("correction", "requests, price corrected", "0.1"),
    ]  # fmt: skip
    assert_whole(world)


def test_fees_and_minimums_are_corrected_too(tmp_path: Path) -> None:
    least = '[[charges]]\nname = "least"\ntype = "minimum"\namount = "{}"\n'
    world = made(tmp_path, PLAN + FEE + STANDARD + least.format(5))
    world.use(100)
    bill(world)
    world.turn("2026-12-02")
    bill(world)
    setup = '[[fees]]\nname = "setup"\namount = "3"\ndue = "arrears"\n'
    world.plan(RIGHT.replace("[[charges]]", FEE.replace("30", "25") + setup + "[[charges]]", 1) + least.format("1.50"))
    told = corrected(world)
    assert [(row["before"], row["after"]) for row in told["periods"]] == [("35", "30"), ("35", "29.5")]
    world.turn("2027-01-02")
    (body,) = [body for body in bill(world) if body["kind"] == "period"]
    assert ("adjustment", "base, price corrected", "-5") in texts(body)
    assert ("adjustment", "setup, price corrected", "3") in texts(body)
    assert ("adjustment", "least, missing, price corrected", "-4") in texts(body)
    with world.store.view() as session:
        lines = [line for item in journal.documents(session, "invoice") for line in lines_of(item.body)]
    assert sum(line.exact for line in lines if line.start.startswith("2026-11")) == 30 * money.UNIT
    assert_whole(world)


def test_twice_is_once(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.use(9)
    world.plan(RIGHT)
    corrected(world)
    with world.store.view() as session:
        before = selection.head(session)
    assert corrected(world)["periods"] == []
    with world.store.view() as session:
        assert selection.head(session) == before


def test_only_periods_that_begin_on_the_day_or_later(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.use(10)
    world.turn("2026-12-02")
    bill(world)
    world.use(10)
    world.plan(RIGHT)
    assert [row["period"] for row in corrected(world, "2026-12-01")["periods"]] == ["2026-12-01"]
    late = Event("acme", "late", us("2026-11-20"), "m", {"requests": 1})
    assert events.record(world.store, "cli", [late], now_us=world.clock) == [("accepted", "EUR", 10**10)]
    assert [row["period"] for row in corrected(world, "2026-11-01")["periods"]] == ["2026-11-01"]
    assert_whole(world)


def test_a_correction_that_was_wrong_is_corrected(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.use(10)
    world.turn("2026-12-02")
    bill(world)
    world.plan(RIGHT)
    corrected(world)
    world.plan(RIGHT.replace("version = 2", "version = 3").replace("0.02", "0.03"))
    with pytest.raises(ConflictError, match="it was corrected by team@2, allowed: to correct that one"):
        corrected(world, "", "team@1", "team@3")
    corrected(world, "", "team@2", "team@3")
    world.turn("2027-01-02")
    (second,) = bill(world)
    assert texts(second) == [("correction", "requests, price corrected", "0.2")]
    assert_whole(world)


def test_a_correction_that_was_corrected_can_hold_from_an_earlier_day_on(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.use(10)
    world.turn("2026-12-02")
    world.use(10)
    world.plan(RIGHT)
    corrected(world, "2026-12-01")
    world.plan(RIGHT.replace("version = 2", "version = 3").replace("0.02", "0.03"))
    corrected(world, "", "team@2", "team@3")
    told = corrected(world, "2026-11-01")["periods"]
    assert [(row["period"], row["before"], row["after"]) for row in told] == [("2026-11-01", "0.1", "0.3")]
    assert_whole(world)


def test_prepaid_credit_pays_what_was_charged_too_little(tmp_path: Path) -> None:
    world = made(tmp_path)
    wallet.add(world.store, "cli", "acme", "1.00", now_us=world.clock)
    world.use(60)
    world.plan(RIGHT)
    corrected(world)
    assert (world.balance("customer/acme/prepaid"), world.balance("customer/acme/accrued")) == ("0", "0.2")
    assert_whole(world)


def test_credit_that_has_expired_pays_for_nothing(tmp_path: Path) -> None:
    world = made(tmp_path)
    wallet.add(world.store, "cli", "acme", "1.00", now_us=world.clock, expires_us=us("2026-11-10"))
    world.use(10)
    world.turn("2026-11-20")
    world.plan(RIGHT)
    corrected(world)
    assert (world.balance("customer/acme/accrued"), world.balance("breakage/EUR")) == ("0.1", "-0.9")
    assert_whole(world)


def test_credit_pays_no_more_than_a_correction_comes_to(tmp_path: Path) -> None:
    """One day became dearer and another cheaper: together they owe nothing more, so no credit is drawn."""
    world = made(tmp_path)
    wallet.add(world.store, "cli", "acme", "5.00", now_us=world.clock)
    world.use(10)
    world.turn("2026-11-10")
    world.use(10)
    tiers = 'type = "graduated"\ntiers = [{up_to = 10, price = "0.02"}, {price = "0"}]'
    world.plan(RIGHT.replace('type = "standard"\nprice = "0.02"', tiers))
    corrected(world)
    assert (world.balance("customer/acme/prepaid"), world.balance("customer/acme/accrued")) == ("-4.8", "0")
    assert_whole(world)


def test_what_a_budget_gave_away_is_not_paid_back(tmp_path: Path) -> None:
    world = made(tmp_path)
    entry = world.use(2)[0]

    def give(session: Any) -> None:
        session.run("UPDATE transfers SET debit = 'waived/EUR' WHERE sequence = ?", (entry,))
        session.run("UPDATE balances SET amount = '10000000000' WHERE account = 'customer/acme/accrued'")
        session.run("INSERT INTO balances VALUES ('waived/EUR', '10000000000')")

    world.store.transact(give)
    world.plan(RIGHT.replace("0.02", "0.004"))
    corrected(world)
    assert (world.balance("customer/acme/accrued"), world.balance("waived/EUR")) == ("0.004", "0.004")
    world.plan(RIGHT.replace("version = 2", "version = 3"))
    corrected(world, "", "team@2", "team@3")
    assert (world.balance("customer/acme/accrued"), world.balance("waived/EUR")) == ("0.02", "0.02")
    world.turn("2026-12-02")
    assert texts(bill(world)[0]) == [("usage", "requests", "0.04"), ("waived", "given away", "-0.02")]


def test_a_trial_stays_free(tmp_path: Path) -> None:
    world = made(tmp_path, PLAN + "trial_days = 5\n" + STANDARD)
    world.use(10)
    world.plan(RIGHT.replace("[[charges]]", "trial_days = 5\n[[charges]]"))
    assert [row["difference"] for row in corrected(world)["periods"]] == ["0"]
    assert world.balance("waived/EUR") == "0.2"
    assert_whole(world)


def test_a_credit_note_on_the_wrong_invoice_stays_what_it_was(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.use(100)
    world.turn("2026-12-02")
    (first,) = bill(world)
    notes.note(world.store, "cli", world.seller, first["number"], 1, "0.40", "slow", now_us=world.clock)
    world.plan(RIGHT)
    corrected(world)
    world.turn("2027-01-02")
    assert texts(bill(world)[0]) == [("correction", "requests, price corrected", "1")]
    assert_whole(world)


def test_fees_of_a_price_that_was_corrected_say_whether_a_change_waits(tmp_path: Path) -> None:
    world = made(tmp_path, PLAN + FEE.replace("30", "300") + STANDARD)
    world.plan(PLAN.replace("team", "big") + FEE.replace("30", "50") + STANDARD)
    world.plan(RIGHT.replace("[[charges]]", FEE + "[[charges]]", 1))
    corrected(world)
    world.turn("2026-11-10")
    subscriptions.change(world.store, "cli", "acme", "big", now_us=world.clock)
    assert [item["since"] for item in subscriptions.listed(world.store, "acme")["subscriptions"]][1:] == ["2026-11-10T00:00:00Z"]


def test_nobody_new_gets_the_wrong_version(tmp_path: Path) -> None:
    world = made(tmp_path)
    plans.set_default(world.store, "cli", "team", 1, now_us=world.clock)
    world.plan(RIGHT)
    corrected(world)
    world.customer("globex", "")
    assert subscriptions.listed(world.store, "globex")["subscriptions"][0]["version"] == 2
    organisations.add(world.store, "cli", "initech", {"currency": "EUR"}, now_us=world.clock)
    with pytest.raises(ConflictError, match=r"its price was wrong, allowed: team@2"):
        subscriptions.change(world.store, "cli", "initech", "team", version=1, now_us=world.clock)


@pytest.mark.parametrize("day", ["2026-13-01", "20261101", "2026-W45-1", "tomorrow"])
def test_a_day_is_written_as_a_day(tmp_path: Path, day: str) -> None:
    """A week's day would be a date, too, and compare as text with no day of a period."""
    world = made(tmp_path)
    world.plan(RIGHT)
    with pytest.raises(BillingError, match="wanted the first day of a period, like 2026-10-01"):
        corrected(world, day)


@pytest.mark.parametrize(
    ("right", "wrong_text"),
    [
        (RIGHT.replace('"EUR"', '"USD"'), "found currency USD"),
        (RIGHT.replace("version = 2", 'version = 2\nperiod = "week"'), "found period week"),
        (RIGHT.replace('price = "0.02"', 'price = "0.02"\nunit = "rows"'), "found rows, allowed: requests"),
        (RIGHT + '[[charges]]\nname = "pack"\ntype = "prepaid"\nprice = "5"\n', "other packs of prepaid credit"),
    ],
)
def test_a_correction_changes_prices_only(tmp_path: Path, right: str, wrong_text: str) -> None:
    world = made(tmp_path)
    world.plan(right)
    with pytest.raises(BillingError, match=wrong_text):
        corrected(world)


def test_what_was_sold_is_shown_where_it_was_sold(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.use(10)
    world.plan(RIGHT)
    corrected(world)
    (row,) = usage.totals(world.store, usage.Asked(), ["customer", "model", "day"])["totals"]
    assert (row["requests"], row["amount"], row["day"]) == (10, "0.2", "2026-11-01")
    with world.store.view() as session:
        plan = plans.found(session, "team", 2)
    told = simulate.simulate(world.store, plan, Window(us("2026-11-01"), us("2026-12-01")))
    assert (told["before"], told["after"], told["customers"][0]["requests"]) == ("0.2", "0.2", 10)


def test_what_happens_while_it_is_rated_anew_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are settled at the wrong price, and an invoice is issued, between reading and writing."""
    world = made(tmp_path)
    world.use(10)
    world.turn("2026-12-02")
    world.plan(RIGHT)
    read, times = rerating._of, []

    def slowly(*args: Any) -> Any:
        found = read(*args)
        times.append(1)
        if len(times) == 2:  # the first time only looks whether all of it can be done
            world.use(3)
            bill(world)
        if len(times) == 3:
            world.use(4)
        return found

    monkeypatch.setattr(rerating, "_of", slowly)
    corrected(world)
    assert len(times) == 3
    world.turn("2027-01-02")
    assert texts(bill(world)[0]) == [("usage", "requests", "0.14"), ("correction", "requests, price corrected", "0.1")]
    assert_whole(world)


def test_a_close_reads_only_what_came_since_the_last_one(tmp_path: Path) -> None:
    """A row that an invoice took can change no invoice any more; it is found by what reads everything. A new one stops the close."""
    world = made(tmp_path)
    (old, *_) = world.use(5)
    world.turn("2026-12-02")
    bill(world)
    (new, *_) = world.use(5)

    def set_amount(entry: int, amount: str) -> None:
        world.store.transact(lambda session: session.run("UPDATE usage SET amount = ? WHERE sequence = ?", (amount, entry)))

    set_amount(old, "5")
    assert closing.draft(world.store, "acme", world.seller, now_us=world.clock)["identity"]["problems"] == []
    assert usage.totals(world.store, usage.Asked(), ["customer"])["books"]["acme"]["problems"]
    with world.store.view() as session:
        assert verify.verify(session)["first_bad"] == old
    set_amount(old, "10000000000")
    set_amount(new, "5")
    with pytest.raises(BillingError, match=rf"the books do not agree, nothing was closed(.|\n)*entry {new} "):
        closing.draft(world.store, "acme", world.seller, now_us=world.clock)


def test_what_came_late_and_what_was_lost_since_the_last_close_is_found(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.use(5)
    world.turn("2026-12-02")
    bill(world)
    events.record(world.store, "cli", [Event("acme", "late", us("2026-11-01"), "m", {"requests": 1})], now_us=world.clock)
    (lost,) = world.use(1)
    books = closing.draft(world.store, "acme", world.seller, now_us=world.clock)["identity"]
    assert (books["acknowledged"], books["metered"], books["rated"]) == (7, 7, "0.07")
    world.store.transact(lambda session: session.run("DELETE FROM usage WHERE sequence = ?", (lost,)))
    with pytest.raises(BillingError, match=rf"the journal has 7 customer requests, the usage table 6: entry {lost} "):
        closing.draft(world.store, "acme", world.seller, now_us=world.clock)


def _random(world: World, chance: random.Random, tiers: tuple[Fraction, Fraction], least: Fraction) -> None:
    """Months of use, bills and corrections; then what every invoice says of each period, against rationals counted by hand."""
    used: dict[str, list[int]] = {}
    months = ["2026-11", "2026-12", "2027-01", "2027-02"]
    version, prices, floor = 1, tiers, least
    for month in months:
        for day in (3, 11, 25):
            world.turn(f"{month}-{day:02d}")
            for rows in [chance.randint(1, 60) for _ in range(chance.randint(0, 4))]:
                world.use(units={"requests": 1, "rows": rows})
                used.setdefault(month, []).append(rows)
            if chance.random() < 0.5:
                closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock, interim=chance.random() < 0.4)
            if version < 4 and chance.random() < 0.4:
                version += 1
                prices, floor = (_price(chance), _price(chance)), Fraction(chance.randint(0, 400), 100)
                world.plan(_plan(version, prices, floor))
                corrected(world, "", f"team@{version - 1}", f"team@{version}")
                assert_whole(world)
    world.turn("2027-03-05")
    closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)
    subscriptions.cancel(world.store, "cli", "acme", when="now", now_us=world.clock)
    world.turn("2027-04-05")
    closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)
    with world.store.view() as session:
        lines = [line for item in journal.documents(session, "invoice") for line in lines_of(item.body)]
    for month in months:
        total = sum(used.get(month, []))
        cost = min(total, 50) * prices[0] + max(total - 50, 0) * prices[1]
        wanted = int(cost * 10**12)
        rated = sum(line.exact for line in lines if line.charge == "rows" and line.start.startswith(month))
        assert rated == wanted
        missing = sum(line.exact for line in lines if line.charge == "least" and line.start.startswith(month))
        assert missing == max(int(floor * 10**12) - wanted, 0)
    assert_whole(world)


def _price(chance: random.Random) -> Fraction:
    return Fraction(chance.randint(0, 10**6), 10**8) + Fraction(chance.randint(0, 9), 10**12)


def _plan(version: int, prices: tuple[Fraction, Fraction], least: Fraction) -> str:
    first, rest = (money.plain(int(price * 10**12)) for price in prices)
    return PLAN.replace("version = 1", f"version = {version}") + (
        f'[[charges]]\nname = "rows"\ntype = "graduated"\nunit = "rows"\n'
        f'tiers = [{{up_to = 50, price = "{first}"}}, {{price = "{rest}"}}]\n'
        f'[[charges]]\nname = "least"\ntype = "minimum"\namount = "{money.plain(int(least * 10**12))}"\n'
    )


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.prove) for seed in range(3, 60))])
def test_invoices_add_up_to_what_the_corrected_plan_would_have_given(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    prices, least = (_price(chance), _price(chance)), Fraction(chance.randint(0, 400), 100)
    world = made(tmp_path, _plan(1, prices, least))
    _random(world, chance, prices, least)
