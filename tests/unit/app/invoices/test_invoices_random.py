"""Months of random business: whatever happens, every request is on exactly one document and the books add up to 0."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lode.app.books import journal
from lode.app.invoices import closing, events, notes, payments, selection, wallet
from lode.app.invoices.documents import is_sealed, lines_of
from lode.app.invoices.events import Event
from lode.app.invoices.standing import standing
from lode.app.prices import subscriptions
from lode.core import money
from lode.core.errors import BillingError
from tests.unit.app.invoices.world import FEE, PLAN, TAXED, World, made

DAY_US = 86_400_000_000
CHARGES = (
    '[[charges]]\nname = "answers"\ntype = "graduated"\ntiers = [{up_to = 40, price = "0.0137"}, {price = "0.005", flat = "0.31"}]\n'
    '[[charges]]\nname = "rows"\ntype = "volume"\nunit = "rows"\ntiers = [{up_to = 100, price = "0.0113"}, {price = "0.0071"}]\n'
    '[[charges]]\nname = "tokens"\ntype = "package"\nunit = "output_tokens"\nsize = 1000\nprice = "0.333"\n'
    '[[charges]]\nname = "least"\ntype = "minimum"\namount = "2.5"\n'
)


def step(world: World, chance: random.Random) -> None:
    """One thing that may happen."""
    what = chance.choices(
        ("use", "late", "bill", "interim", "note", "pay", "top_up", "change", "void"), (40, 8, 12, 5, 6, 5, 5, 2, 1)
    )[0]
    units = {"requests": 1, "rows": chance.randint(0, 9), "output_tokens": chance.randint(0, 900)}
    if what == "use":
        world.use(chance.randint(1, 6), units=units)
    elif what == "late":
        event = Event("acme", f"late{world.now}{chance.random()}", world.now - chance.randint(0, 40) * DAY_US, "m", units)
        events.record(world.store, "cli", [event], now_us=world.clock)
    elif what in ("bill", "interim"):
        closing.bill(
            world.store, "cli", "acme", world.seller, now_us=world.clock, interim=what == "interim", grace_days=chance.randint(0, 3)
        )
    elif what == "top_up":
        wallet.expire(world.store, "cli", now_us=world.clock)
        expires_us = world.now + chance.randint(1, 50) * DAY_US
        wallet.add(world.store, "cli", "acme", f"{chance.randint(1, 300) / 100:.2f}", now_us=world.clock, expires_us=expires_us)
    elif what == "change":
        _change(world, chance)
    else:
        _with_invoice(world, chance, what)


def _change(world: World, chance: random.Random) -> None:
    try:
        subscriptions.change(world.store, "cli", "acme", chance.choice(("team", "big")), when="now", now_us=world.clock)
    except BillingError as error:
        assert "allowed: another plan" in str(error)


def _with_invoice(world: World, chance: random.Random, what: str) -> None:
    with world.store.view() as session:
        found = journal.documents(session, "invoice")
    if not found:
        return
    chosen = chance.choice(found)
    try:
        if what == "note":
            line = chance.randint(1, len(chosen.body["lines"]))
            notes.note(
                world.store, "cli", world.seller, chosen.id, line, f"{chance.randint(1, 200) / 100:.2f}", "why", now_us=world.clock
            )
        elif what == "pay":
            payments.pay(world.store, "cli", chosen.id, "", now_us=world.clock)
        else:
            notes.void(world.store, "cli", world.seller, chosen.id, "why", now_us=world.clock)
    except BillingError as error:
        assert any(words in str(error) for words in ("allowed: up to", "allowed: whole coins", "nothing is left to credit"))


def check(world: World) -> None:
    """What must hold after anything."""
    with world.store.view() as session:
        parts = selection.parts(session, "acme", "EUR")
        invoices = journal.documents(session, "invoice")
        numbers = sorted(item.id for item in invoices)
        taken = sum(line.exact for item in invoices for line in lines_of(item.body) if line.quantity)
        assert taken == sum(part.before.rated for part in parts)
        assert numbers == sorted({item.id for item in invoices}) and all(is_sealed(item.body) for item in invoices)
        owed = sum(standing(session, item).owed for item in invoices)
        kept = [note.body for note in journal.documents(session, "credit_note")]
        beyond = sum(
            money.parse(note[name], name, least=None) * sign
            for note in kept
            for name, sign in (("total", 1), ("settled", -1), ("to_prepaid", -1))
        )
        assert journal.balance(session, "customer/acme/receivable") == owed - beyond
        assert sum(grant.left for grant in wallet.grants(session, "acme")) == -journal.balance(session, "customer/acme/prepaid")
    assert world.sum() == 0
    # rounding takes parts of coins: anything more was somebody's money
    most = sum(len(item.body["lines"]) + 4 for item in invoices) * money.UNIT // 100 // 2
    assert abs(money.parse(world.balance("rounding/EUR"), "rounding", least=None)) <= most
    seen = closing.scene(world.store, "acme", world.now)  # raises where the four books differ
    assert seen.identity.leakage == 0 and seen.identity.completeness == "1"


def business(folder: Path, seed: int, steps: int) -> None:
    chance, world = random.Random(seed), made(folder, PLAN + FEE + CHARGES)
    world.plan(PLAN.replace("team", "big") + FEE.replace("30", "61.11") + CHARGES)
    world.sells(TAXED if seed % 2 else TAXED.replace("[tax]", '[tax]\nprices = "inclusive"\nrounding = "line"'))
    for _ in range(steps):
        world.now += int(chance.expovariate(1) * DAY_US * 2)
        step(world, chance)
    check(world)
    world.now += 70 * DAY_US
    closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)
    check(world)
    with world.store.view() as session:
        still = [part for part in selection.parts(session, "acme", "EUR") if part.is_open]
    assert not still or all(part.new.rated == 0 for part in still)


@pytest.mark.parametrize("seed", range(4))
def test_random_business_adds_up(tmp_path: Path, seed: int) -> None:
    business(tmp_path, seed, 40)


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(100, 160))
def test_more_random_business_adds_up(tmp_path: Path, seed: int) -> None:
    business(tmp_path, seed, 150)
