"""Corrections, credit notes, refunds and voids in any order: nothing goes back twice, and no more money leaves than came."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lode.app.books import journal
from lode.app.invoices import categories, closing, notes, payments, replacing, rerating, returned, wallet
from lode.app.invoices.documents import Line, lines_of
from lode.app.prices import subscriptions
from lode.core import money
from lode.core.errors import BillingError, ConflictError
from tests.unit.app.invoices.world import PLAN, STANDARD, TAXED, World, made

UNIT = money.UNIT
PRICES = ("0.10", "0.02", "0.05", "0")
FEES = ("30", "12.50", "20", "0.01")


def plan(version: int, name: str = "team", cap: str = "") -> str:
    """A version with prices, of two tax categories, and a fee of its own."""
    head = PLAN.replace('"team"', f'"{name}"').replace("version = 1", f"version = {version}") + cap
    fee = f'[[fees]]\nname = "base"\namount = "{FEES[version - 1]}"\ntax = "reduced"\n'
    books = f'[[charges]]\nname = "books"\ntype = "standard"\nunit = "rows"\nprice = "{PRICES[-version]}"\ntax = "reduced"\n'
    return head + fee + f'[[charges]]\nname = "requests"\ntype = "standard"\nprice = "{PRICES[version - 1]}"\n' + books


MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Thousands of commits wait for no disk there."""
REDUCED = '[[tax.rate]]\ncountry = "DE"\ncategory = "reduced"\nname = "VAT"\nrate = "7"\nfrom = 2021-01-01\n'


def business(folder: Path, *, coupon: str = "", cap: str = "") -> World:
    """A customer on `team@1`; versions that correct it."""
    world = made(folder, plan(1, cap=cap), has="")
    for version in (2, 3, 4):
        world.plan(plan(version, cap=cap))
    world.plan(plan(1, "big", cap))
    world.sells(TAXED + REDUCED)
    if coupon:
        world.coupon("SAVE", percent=coupon)
    subscriptions.subscribe(world.store, "cli", "acme", "team", version=1, coupon="SAVE" if coupon else "", now_us=world.clock)
    return world


def bill(world: World, **options: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock, **options)["issued"]
    return found


def void(world: World, number: str, to: notes.To = "balance") -> dict[str, Any]:
    return notes.void(world.store, "cli", world.seller, number, "why", now_us=world.clock, to=to)


def note(world: World, number: str, line: int, amount: str, to: notes.To = "balance") -> dict[str, Any]:
    return notes.note(world.store, "cli", world.seller, number, line, amount, "why", now_us=world.clock, to=to)


def pay(world: World, number: str, **more: Any) -> dict[str, Any]:
    return payments.pay(world.store, "cli", number, "", now_us=world.clock, **more)


def correct(world: World, by: int = 2) -> dict[str, Any]:
    return rerating.correct(world.store, "cli", f"team@{by - 1}", f"team@{by}", "", "a typo", now_us=world.clock)


def first(world: World) -> dict[str, Any]:
    """A paid invoice of November: 1,000 requests at 0.10, and fees."""
    world.use(1000)
    world.turn("2026-12-02")
    (body,) = bill(world)
    pay(world, body["number"])
    return body


def place(body: dict[str, Any], charge: str = "requests") -> int:
    return next(number for number, line in enumerate(body["lines"], 1) if line.get("charge") == charge)


def cash(world: World) -> int:
    return money.parse(world.balance("cash/EUR"), "cash", least=None)


def check(world: World) -> None:
    """What must hold after anything."""
    assert world.sum() == 0 and cash(world) >= 0
    closing.scene(world.store, "acme", world.now)  # raises where the four books differ
    with world.store.view() as session:
        known = returned.read(session, "acme")
        for thing in known.times:
            assert known.left(thing) * thing.sign >= 0, thing  # nobody is given back more than was charged
            assert known.given[thing] * thing.sign >= 0, thing  # nor charged anew what was not given back
        for line in (line for item in journal.documents(session, "invoice", "acme") for line in lines_of(item.body)):
            assert known.whole(line) >= 0, line  # not with discounts either


def test_a_void_after_a_correction_gives_back_the_rest_only(tmp_path: Path) -> None:
    world = business(tmp_path)
    body = first(world)
    correct(world)
    world.turn("2027-01-02")
    (late,) = bill(world)
    assert "-80" in [line["amount"] for line in late["lines"]]
    done = void(world, body["number"], "cash")
    credited = {line["charge"]: line["amount"] for line in done["lines"]}
    assert credited["requests"] == "20" and credited["base"] == "12.5"  # of one fee of November
    assert {row["by"] for row in done["before"]} == {late["number"]} and "80" in {row["amount"] for row in done["before"]}
    with pytest.raises(BillingError, match=f"allowed: up to 0 EUR.*after what {late['number']} gave back of it"):
        note(world, body["number"], place(body), "0.01")
    check(world)


def test_a_correction_after_a_void_gives_back_nothing_more(tmp_path: Path) -> None:
    world = business(tmp_path)
    body = first(world)
    done = void(world, body["number"], "cash")
    assert done["paid_out"] == body["total"] and cash(world) == 0
    told = correct(world)
    row = next(row for row in told["periods"] if row["period"] == "2026-11-01")
    assert (row["difference"], row["given_back"], row["remains"]) == ("-97.5", "130", "0")
    world.turn("2027-01-02")
    (late,) = bill(world)
    november = [line for line in late["lines"] if line["period"].startswith("2026-11")]
    assert sum(money.parse(line["amount"], "a", least=None) for line in november) == 0
    assert f"given back by {done['number']}" in " ".join(line["text"] for line in november)
    check(world)


def test_a_part_that_was_credited_counts_against_a_correction(tmp_path: Path) -> None:
    world = business(tmp_path)
    body = first(world)
    note(world, body["number"], place(body), "50", "cash")
    correct(world)
    world.turn("2027-01-02")
    (late,) = bill(world)
    of_requests = [line for line in late["lines"] if line["charge"] == "requests" and line["period"].startswith("2026-11")]
    assert sorted(line["amount"] for line in of_requests) == ["-80", "30"]  # 50 and 50: all of the 100
    with pytest.raises(BillingError, match="allowed: up to 0 EUR"):
        note(world, body["number"], place(body), "1")
    check(world)


def test_with_a_coupon_a_note_gives_back_what_was_paid(tmp_path: Path) -> None:
    world = business(tmp_path, coupon="20")
    body = first(world)
    correct(world)
    world.turn("2027-01-02")
    bill(world)
    with pytest.raises(BillingError, match="allowed: up to 16 EUR"):  # 20 less a fifth
        note(world, body["number"], place(body), "20")
    note(world, body["number"], place(body), "16")
    check(world)


def test_an_unused_fee_that_was_voided_is_not_credited_again(tmp_path: Path) -> None:
    world = business(tmp_path)
    (body,) = bill(world)  # the fee of November, in advance
    pay(world, body["number"])
    void(world, body["number"], "cash")
    world.turn("2026-11-16")
    subscriptions.cancel(world.store, "cli", "acme", when="now", now_us=world.clock)
    world.turn("2026-12-02")
    (last,) = bill(world)
    assert [(line["kind"], line["amount"]) for line in last["lines"]] == [("credit", "-15"), ("returned", "15")]
    assert last["total"] == "0" and cash(world) == 0
    check(world)


def test_what_a_balance_paid_does_not_leave_as_money_that_never_came(tmp_path: Path) -> None:
    world = business(tmp_path)
    world.use(1000)
    world.turn("2026-12-02")
    (unpaid,) = bill(world)
    correct(world)
    world.turn("2027-01-02")
    (favour,) = bill(world)
    assert money.parse(favour["total"], "total", least=None) < 0
    world.use(200)
    world.turn("2027-02-02")
    (third,) = bill(world)
    pay(world, third["number"], from_balance=True)
    with pytest.raises(BillingError, match='to: found "cash", allowed: "balance", because 0 EUR came from acme'):
        void(world, third["number"], "cash")
    assert unpaid["number"] and cash(world) == 0
    check(world)


def test_what_is_kept_is_paid_out_once_and_not_beyond_what_came(tmp_path: Path) -> None:
    world = business(tmp_path)
    first(world)
    correct(world)
    world.turn("2027-01-02")
    (favour,) = bill(world)
    kept = favour["total"].removeprefix("-")

    def out(amount: str, reference: str = "") -> dict[str, Any]:
        return payments.pay_out(world.store, "cli", "acme", amount, "asked for", now_us=world.clock, reference=reference)

    with pytest.raises(BillingError, match="is kept for acme beyond its open invoices"):
        out("1000")
    done = out(kept, "ticket-1")
    assert (done["refunded"], done["kept"]) == (kept, "0") and out(kept, "ticket-1") == done
    with pytest.raises(ConflictError, match="ticket-1"):
        out("1", "ticket-1")
    with pytest.raises(BillingError, match="allowed: whole coins up to 0 EUR"):
        out("0.01")
    with pytest.raises(BillingError, match="in its favour, which paid another one or was paid out"):
        void(world, favour["number"])
    assert wallet.listed(world.store, "acme")["kept"] == "0"
    check(world)


def test_a_replacement_holds_what_the_void_took(tmp_path: Path) -> None:
    world = business(tmp_path)
    body = first(world)
    note(world, body["number"], place(body), "40")
    before = world.balance("revenue/EUR")
    void(world, body["number"])
    new = replacing.replace(world.store, "cli", world.seller, body["number"], now_us=world.clock)
    assert next(line["amount"] for line in new["lines"] if line["charge"] == "requests") == "60"
    assert world.balance("revenue/EUR") == before
    check(world)


def test_a_replacement_holds_what_a_corrected_price_left(tmp_path: Path) -> None:
    world = business(tmp_path, coupon="20")
    body = first(world)
    void(world, body["number"])
    correct(world)
    world.turn("2027-01-02")
    (late,) = bill(world)
    note = void(world, late["number"])
    assert note["total"] == late["total"] and "before" not in note  # what it had taken off is in force again
    replacing.replace(world.store, "cli", world.seller, late["number"], now_us=world.clock)
    check(world)
    replacing.replace(world.store, "cli", world.seller, body["number"], now_us=world.clock)
    check(world)
    with world.store.view() as session:
        known = returned.read(session, "acme")
    left = {(thing.period[:7], thing.name): money.plain(known.left(thing)) for thing in known.times}
    assert left["2026-11", "requests"] == "20" and left["2026-11", "base"] == left["2026-12", "base"] == "12.5"
    assert (left["2026-11", "SAVE"], left["2026-12", "SAVE"]) == ("-6.5", "-2.5")


def test_money_that_another_customer_paid_is_not_paid_out(tmp_path: Path) -> None:
    world = business(tmp_path)
    world.customer("rich", "")
    wallet.add(world.store, "cli", "rich", "1000", now_us=world.clock)
    wallet.add(world.store, "cli", "acme", "40", now_us=world.clock)
    wallet.refund(world.store, "cli", "acme", "40", "asked for", now_us=world.clock)
    with pytest.raises(BillingError, match="allowed: up to 0 EUR"):
        wallet.refund(world.store, "cli", "acme", "1", "again", now_us=world.clock)
    with world.store.view() as session:
        assert [returned.cash(session, name, "EUR") for name in ("acme", "rich")] == [(40 * UNIT, 40 * UNIT), (1000 * UNIT, 0)]


def test_an_interim_invoice_takes_off_at_once_what_a_correction_would_give_back_again(tmp_path: Path) -> None:
    """Until then who pays in advance may use it: what an invoice does not say is not booked."""
    world = business(tmp_path)
    body = first(world)
    note(world, body["number"], place(body), "90")
    correct(world)
    (late,) = bill(world, interim=True, grace_days=0)
    assert [(line["charge"], line["amount"]) for line in late["lines"] if line["kind"] == "returned"] == [("requests", "70")]
    check(world)


def test_what_a_coupon_takes_off_a_replacement_is_of_the_category_it_was_taken_off_since(tmp_path: Path) -> None:
    """It takes off everything, of a fee at 7 % and of requests: prices that are corrected lower both, and nothing is charged."""
    world = business(tmp_path, coupon="100")
    world.use(40)
    (body,) = bill(world, interim=True, grace_days=0)
    assert [line["amount"] for line in body["lines"]] == ["30", "4", "-30", "-4"]
    void(world, body["number"])
    correct(world)
    world.turn("2026-12-02")
    (late,) = bill(world)
    back = sorted((line["charge"], line["amount"]) for line in late["lines"] if line["kind"] == "returned")
    assert back == [("SAVE", "-17.5"), ("SAVE", "-3.2"), ("base", "17.5"), ("requests", "3.2")]
    again = replacing.replace(world.store, "cli", world.seller, body["number"], now_us=world.clock)
    assert [line["amount"] for line in again["lines"]] == ["12.5", "0.8", "-12.5", "-0.8"] and again["total"] == "0"
    check(world)


def capped(folder: Path) -> tuple[World, str]:
    """At most 40 a month; 60 used, invoiced before its end and paid."""
    world = made(folder, PLAN + 'cap = "40"\n' + STANDARD)
    world.use(units={"requests": 6000})
    (body,) = bill(world, interim=True)
    pay(world, body["number"])
    return world, body["number"]


def test_a_cap_after_a_void_gives_back_nothing_more(tmp_path: Path) -> None:
    world, number = capped(tmp_path)
    done = void(world, number, "cash")
    world.turn("2026-12-02")
    (last,) = bill(world)
    found = [(line["kind"], line["charge"], line["amount"], line["text"]) for line in last["lines"]]
    assert found == [
        ("cap", "cap", "-20", "above the most per period"), ("returned", "requests", "20", f"requests, given back by {done['number']}")
    ]  # fmt: skip
    assert last["total"] == "0" and cash(world) == 0
    check(world)


def test_a_void_after_a_cap_gives_back_the_rest_only(tmp_path: Path) -> None:
    world, number = capped(tmp_path)
    world.turn("2026-12-02")
    bill(world)
    done = void(world, number)
    assert done["total"] == "40" and done["before"] == [{"line": 1, "amount": "20", "by": "discounts"}]
    check(world)


NOVEMBER = {"start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z", "period": "2026-11-01T00:00:00Z"}


def line(kind: str, amount: str, category: str = "", **more: str) -> Line:
    pico = money.parse(amount, "amount", least=None)
    return Line(kind, kind, pico, pico, category=category, **{**NOVEMBER, **more})


def parted(lines: list[Line], kind: str = "coupon") -> list[tuple[str, str]]:
    return [(one.category, money.plain(one.amount)) for one in categories.spread(lines, "EUR") if one.kind == kind]


def test_a_coupon_that_shrinks_is_divided_by_what_each_category_changed() -> None:
    lines = [line("usage", "11.4"), line("credit", "-29.02", "reduced"), line("coupon", "3.52")]
    assert parted(lines) == [("", "-2.28"), ("reduced", "5.8")]
    assert sum(one.exact for one in categories.spread(lines, "EUR") if one.kind == "coupon") == lines[-1].exact


def test_a_coupon_takes_nothing_off_packs_or_what_a_trial_gave_away() -> None:
    assert parted([line("fee", "30", "reduced"), line("prepaid", "10"), line("coupon", "-8")]) == [("reduced", "-8")]
    used = [line("usage", "20"), line("usage", "10", "reduced"), line("waived", "-30")]
    later = line("fee", "6", "reduced", period="2026-11-21T00:00:00Z")  # the trial ended then
    trial = [replace(one, end="2026-11-21T00:00:00Z") for one in used]
    assert parted([line("coupon", "-3"), *trial, later]) == [("reduced", "-3")]


def test_an_unused_fee_counts_in_the_period_that_ends_where_it_begins() -> None:
    lines = [line("fee", "30", "reduced"), line("usage", "5"), line("credit", "-30", "reduced", start=NOVEMBER["end"])]
    assert parted([*lines, line("coupon", "-1")]) == [("", "-1")]


ACTS = st.tuples(
    st.sampled_from(("use", "month", "interim", "pay", "balance", "note", "void", "replace", "refund", "top_up", "gift", "correct",
                     "change", "half", "pay_out")),
    st.integers(0, 7), st.integers(1, 100), st.booleans(),
)  # fmt: skip


def act(world: World, what: str, which: int, size: int, to_cash: bool) -> None:
    """One act of a random order; what is refused is refused in words."""
    world.now += 1_000_000
    with world.store.view() as session:
        invoices = journal.documents(session, "invoice", "acme")
    store, now, to = world.store, world.clock, "cash" if to_cash else "balance"
    simple: dict[str, Callable[[], Any]] = {
        "use": lambda: world.use(size % 7 + 1, units={"requests": size, "rows": size * which}),
        "interim": lambda: bill(world, interim=True, grace_days=0),
        "refund": lambda: wallet.refund(store, "cli", "acme", str(size), "why", now_us=now),
        "pay_out": lambda: payments.pay_out(store, "cli", "acme", str(size), "why", now_us=now),
        "top_up": lambda: wallet.add(store, "cli", "acme", str(size), now_us=now),
        "gift": lambda: wallet.add(store, "cli", "acme", str(size), now_us=now, given=True, reason="why"),
        "correct": lambda: correct(world, 2 + which % 3),
        "change": lambda: subscriptions.change(store, "cli", "acme", ("team", "big")[to_cash], when="now", now_us=now),
    }
    if what in ("month", "half"):
        world.now += (31 if what == "month" else 15) * 86_400_000_000
        bill(world, grace_days=0)
    elif what in simple:
        simple[what]()
    elif invoices:
        body = invoices[which % len(invoices)].body
        line = size % len(body["lines"]) + 1
        amount = money.coins(abs(money.parse(body["lines"][line - 1]["amount"], "a", least=None)) * size // 100, "EUR")
        {
            "pay": lambda: pay(world, body["number"]),
            "balance": lambda: pay(world, body["number"], from_balance=True),
            "note": lambda: note(world, body["number"], line, money.plain(amount), to),  # type: ignore[arg-type]
            "void": lambda: void(world, body["number"], to),  # type: ignore[arg-type]
            "replace": lambda: replacing.replace(store, "cli", world.seller, body["number"], now_us=now),
        }[what]()  # type: ignore[no-untyped-call]


def orders(examples: int, length: int) -> Callable[[], None]:
    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(ACTS, min_size=length // 2, max_size=length), st.booleans(), st.booleans())
    def run(acts: list[tuple[str, int, int, bool]], with_coupon: bool, with_cap: bool) -> None:
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            world = business(Path(folder), coupon="20" if with_coupon else "", cap='cap = "25"\n' if with_cap else "")
            for step in (("use", 0, 90, False), ("month", 0, 1, False), ("pay", 0, 1, False), *acts):
                with contextlib.suppress(BillingError, ConflictError):
                    act(world, *step)
                check(world)
            world.store.close()

    return run


def test_no_order_gives_back_twice() -> None:
    orders(12, 10)()


@pytest.mark.prove
def test_no_order_of_many_gives_back_twice() -> None:
    orders(400, 24)()
