"""Money at its border: the last request that fits a budget, credit that expires or goes while requests run."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lode.app.books import accounts
from lode.app.contracts import Asked, Usage
from lode.app.invoices import customers, events, wallet
from lode.app.metering.gate import BooksGate
from lode.app.prices import plans, subscriptions
from lode.app.prices.subscription import Subscription
from lode.app.prices.tariff import Tariff
from lode.core.errors import BillingError
from lode.core.money import UNIT
from lode.testing.shop import Shop
from tests.unit.app.metering.test_metering_gate import bearer, request, run
from tests.unit.app.metering.test_metering_odd import plan, usage
from tests.unit.app.prices.test_tariff import plan_of

CHEAPER = {"name": "g", "type": "graduated", "unit": "requests", "tiers": [{"up_to": 10, "price": "0.10"}, {"price": "0.01"}]}
DEARER = {"name": "g", "type": "graduated", "unit": "requests", "tiers": [{"up_to": 10, "price": "0"}, {"price": "0.10"}]}
FREE = {"name": "f", "type": "standard", "price": "1", "free": 20}
PACK = {"name": "p", "type": "package", "price": "0.50", "size": 20}
CAPPED = {"name": "c", "type": "standard", "price": "0.10", "cap": "0.50"}


def at_once(shop: Shop, key: str, count: int, gates: int = 1, **options: Any) -> Counter[Any]:
    async def conversation(*made: BooksGate) -> list[Any]:
        each = count // len(made)
        return await asyncio.gather(*(request(gate, key, f"{at}-{n}") for at, gate in enumerate(made) for n in range(each)))

    return Counter(run(shop, conversation, gates=gates, **options))


@pytest.mark.parametrize(
    ("charge", "budget", "gates", "passed"),
    [
        (CHEAPER, "1.05", 1, 15),  # ten at 0.10, five at 0.01
        (CHEAPER, "1.05", 2, 15),
        (DEARER, "0.20", 1, 12),
        (FREE, "0.99", 1, 20),  # one request could cost more than the whole budget
        (PACK, "1.00", 1, 40),  # the second package is used up to its last unit
        (CAPPED, "0.50", 1, 60),  # what is capped costs nothing any more
        (CAPPED, "0.50", 2, 60),
    ],
)
def test_a_budget_is_used_up_to_the_last_request_that_fits(
    tmp_path: Path, charge: dict[str, Any], budget: str, gates: int, passed: int
) -> None:
    shop = Shop(tmp_path, plan=plan(charge))
    key = shop.customer(limits=[f"{budget} EUR/month"])
    found = at_once(shop, key, 60, gates)
    assert found == Counter({200: passed, 402: 60 - passed}), found
    assert shop.balance(accounts.accrued("acme")) <= float(budget) * UNIT and shop.balance(accounts.waived("EUR")) == 0
    assert at_once(shop, key, 4) == ({200: 4} if charge is CAPPED else {402: 4})  # a new process knows it, too


def test_who_pays_in_advance_uses_what_is_free_without_credit(tmp_path: Path) -> None:
    shop = Shop(tmp_path, plan=plan(FREE))
    key = shop.customer(payment="prepaid")
    assert at_once(shop, key, 30) == {200: 20, 402: 10}


def test_who_goes_alone_keeps_nobody_out_for_ever(tmp_path: Path) -> None:
    """Another key of the organisation, without a budget, waits for it and then goes on; one that is given up lets go."""
    shop = Shop(tmp_path, plan=plan(FREE))
    rich, poor = shop.customer(), shop.key()
    with shop.store.view() as session:
        name = session.rows("SELECT id FROM documents WHERE kind = 'key' ORDER BY sequence DESC")[0][0]
    shop.limit(f"key/{name}", "0.99 EUR/month")

    async def conversation(gate: BooksGate) -> list[Any]:
        caller = await gate.authorize(bearer(poor))
        hold = await gate.reserve(caller, Asked("first", "sample", {"rows": 1}))
        waiting = asyncio.create_task(request(gate, rich, "second"))
        tried = asyncio.create_task(request(gate, poor, "third"))
        await asyncio.sleep(0.05)
        assert not waiting.done() and not tried.done()
        tried.cancel()
        await asyncio.wait([tried])
        gate.release(hold)
        return [await waiting, await request(gate, poor, "fourth"), await request(gate, rich, "fifth")]

    assert run(shop, conversation) == [200, 200, 200]


CHARGES = st.sampled_from([CHEAPER, DEARER, FREE, PACK, CAPPED, {**PACK, "free": 7, "size": 5}, {**DEARER, "cap": "0.30"}, {
    "name": "v", "type": "volume", "unit": "requests", "tiers": [{"up_to": 7, "price": "0.10", "flat": "1"}, {"price": "0.02"}],
    "flat_at_zero": False,
}, {"name": "t", "type": "tokens", "input": "1", "cached": "0.1", "output": "3", "per": 1000}])  # fmt: skip
STEPS = st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.integers(0, 3)), min_size=1, max_size=14)


@settings(max_examples=80, deadline=None)
@given(charge=CHARGES, carried=st.integers(0, 12), steps=STEPS, others=st.randoms(use_true_random=False))
def test_what_is_reserved_is_enough_in_whatever_order_requests_end(
    charge: dict[str, Any], carried: int, steps: list[tuple[int, bool, int]], others: Any
) -> None:
    """Requests are let in and settled in any order, in two processes; each knows what one of them last read, or nothing."""
    made = plan_of(charge)
    subscription = Subscription("s", "o", "p", 1, "EUR", 0, carried={charge["name"]: carried} if charge["type"] != "tokens" else {})
    tariffs, label = [Tariff(made, subscription, "m") for _ in range(2)], others.choice((subscription.first_label, "later"))
    counters: dict[str, int] = {}
    known: list[dict[str, int] | None] = [None, None]
    waiting: list[tuple[int, dict[str, int]]] = []

    def settle(most: int, units: dict[str, int]) -> None:
        rated = tariffs[0].rate({name: counters.get(name, 0) for name in tariffs[0].names(label)}, units, label)
        assert rated.amount <= most
        for name, change in rated.counters.items():
            counters[name] = counters.get(name, 0) + change

    for size, reads, ends in steps:
        process = others.randrange(2)
        if reads:
            known[process] = dict(counters)
        units = {"requests": size, "input_tokens": size, "output_tokens": size, "cached_tokens": size}
        most = tariffs[process].most(units, label, known[process])
        assert tariffs[process].most(units, label) == most <= Tariff(made, subscription, "m").most(units, label)
        part = others.randint(0, size)
        waiting.append((most, {**dict.fromkeys(units, part), "cached_tokens": others.randint(0, part)}))
        for _ in range(min(ends, len(waiting))):
            settle(*waiting.pop(others.randrange(len(waiting))))
    for most, units in waiting:
        settle(most, units)
    units = {"requests": 3, "input_tokens": 3, "output_tokens": 3}
    exact = tariffs[0].bound({**units, "cached_tokens": 3}, label, counters, later=False)
    settle(exact, units)


class Clock:
    """Turned by hand."""

    def __init__(self) -> None:
        self.us = 1_800_000_000_000_000

    def __call__(self) -> int:
        return self.us


def add(shop: Shop, amount: str, lives_s: float | None = None, **more: Any) -> str:
    expires_us = None if lives_s is None else shop.now_us() + round(lives_s * 1e6)
    return str(wallet.add(shop.store, "test", "acme", amount, now_us=shop.now_us, expires_us=expires_us, **more)["grant"])


def left(shop: Shop) -> list[str]:
    return [grant["left"] for grant in wallet.listed(shop.store, "acme")["grants"]]


@pytest.mark.parametrize("gates", [1, 2])
def test_credit_that_expired_pays_for_nothing_that_is_asked_afterwards(tmp_path: Path, gates: int) -> None:
    """Nobody runs `lode credit expire`: the gate lets nothing in on it, and the next request books it as breakage."""
    clock = Clock()
    shop = Shop(tmp_path, now_us=clock)
    key = shop.customer(payment="prepaid", credit_line="0.01")
    add(shop, "0.50", 8.0)  # a process that is silent for 10 s counts as dead
    add(shop, "0.02")

    async def conversation(*made: BooksGate) -> list[Any]:
        if gates == 2:
            await asyncio.sleep(0.5)  # they found one another, and lease
        found = [await request(gate, key, f"{at}-before-{n}") for at, gate in enumerate(made) for n in range(4 // gates)]
        clock.us += 8_000_000
        tasks = [request(gate, key, f"{at}-after-{n}") for at, gate in enumerate(made) for n in range(8 // gates)]
        return found + await asyncio.gather(*tasks)

    assert Counter(run(shop, conversation, gates=gates)) == {200: 4 + 3, 402: 5}
    assert shop.balance(accounts.breakage("EUR")) == -46 * UNIT // 100
    assert shop.balance(accounts.prepaid("acme")) == 0 and shop.balance(accounts.accrued("acme")) == UNIT // 100
    assert shop.balance(accounts.waived("EUR")) == 0 and left(shop) == ["0", "0"]
    assert wallet.expire(shop.store, "test", now_us=clock) == []


def test_who_is_invoiced_pays_with_no_credit_that_expired_and_with_what_was_good_when_it_was_asked(tmp_path: Path) -> None:
    clock = Clock()
    shop = Shop(tmp_path, now_us=clock)
    key = shop.customer()
    add(shop, "0.50", 60.0, given=True, reason="outage")

    async def conversation(gate: BooksGate) -> None:
        caller = await gate.authorize(bearer(key))
        hold = await gate.reserve(caller, Asked("long", "sample", {"rows": 1}))
        clock.us += 60_000_000
        await gate.settle(hold, usage("long"))
        assert shop.balance(accounts.accrued("acme")) == 0
        assert await request(gate, key, "late") == 200

    run(shop, conversation)
    assert shop.balance(accounts.accrued("acme")) == UNIT // 100 and shop.balance(accounts.breakage("EUR")) == -49 * UNIT // 100


def test_credit_is_drawn_by_priority_then_earlier_expiry_then_age(tmp_path: Path) -> None:
    clock = Clock()
    shop = Shop(tmp_path, now_us=clock)
    key = shop.customer(payment="prepaid")
    names = {}
    # "old" and "new" expire together.
    for name, lives_s in (("never", None), ("late", 900.0), ("first", None), ("soon", 300.0), ("old", 600.0), ("new", 599.0)):
        clock.us += 1_000_000
        names[add(shop, "0.01", lives_s, priority=5 if name == "first" else 100)] = name
    found = []

    async def conversation(gate: BooksGate) -> None:
        before = set(names.values())
        for number in range(6):
            assert await request(gate, key, f"r{number}") == 200
            rows = {names[row["grant"]]: row["left"] for row in wallet.listed(shop.store, "acme")["grants"]}
            (drawn,) = [name for name in before if rows[name] == "0"]
            found.append(drawn)
            before.remove(drawn)

    run(shop, conversation)
    assert found == ["first", "soon", "old", "new", "late", "never"]


@pytest.mark.parametrize("gates", [1, 2])
def test_a_refund_while_requests_run_takes_nobody_below_the_credit_line(tmp_path: Path, gates: int) -> None:
    """The floor is decided where the money is: what was let in before is charged down to it, the rest is given away."""
    shop = Shop(tmp_path)
    key = shop.customer(payment="prepaid", credit_line="0.05")
    add(shop, "1.00")

    async def conversation(*made: BooksGate) -> None:
        if gates == 2:
            await asyncio.sleep(0.5)
        caller = await made[0].authorize(bearer(key))
        asked = [(gate, Asked(f"{at}-{n}", "sample", {"rows": 1})) for at, gate in enumerate(made) for n in range(20)]
        holds = [(gate, await gate.reserve(caller, one)) for gate, one in asked]
        await asyncio.to_thread(wallet.refund, shop.store, "test", "acme", "0.93", "asked for", now_us=shop.now_us)
        await asyncio.gather(*(gate.settle(hold, usage(hold.asked.request_id)) for gate, hold in holds))

    run(shop, conversation, gates=gates)
    assert shop.balance(accounts.prepaid("acme")) == 0 and shop.balance(accounts.accrued("acme")) == 5 * UNIT // 100
    assert shop.balance(accounts.waived("EUR")) == (20 * gates - 12) * UNIT // 100


def test_what_costs_more_than_could_be_known_takes_nobody_elses_part_of_a_budget(tmp_path: Path) -> None:
    """Compute is priced afterwards: it may take what is left, and what another request had set aside is then given away, not overdrawn."""
    compute = {"name": "c", "type": "standard", "unit": "compute_us", "price": "0.01"}
    shop = Shop(tmp_path, plan=plan(compute, {"name": "r", "type": "standard", "unit": "rows", "price": "0.40"}))
    key = shop.customer(limits=["0.50 EUR/month"])

    async def conversation(gate: BooksGate) -> None:
        caller = await gate.authorize(bearer(key))
        first, second = [await gate.reserve(caller, Asked(id, "sample", {"rows": rows})) for id, rows in (("a", 0), ("b", 1))]
        await gate.settle(first, Usage("a", "sample", 1, 200, {"compute_us": 60}, 0.1))
        await gate.settle(second, Usage("b", "sample", 1, 200, {"rows": 1}, 0.1))

    run(shop, conversation)
    assert shop.balance(accounts.accrued("acme")) == UNIT // 2 and shop.balance(accounts.waived("EUR")) == UNIT // 2


def test_a_share_of_a_transaction_is_of_what_the_seller_reports_and_requests_cost_nothing_by_it(tmp_path: Path) -> None:
    share = {"name": "share", "type": "percentage", "rate": "0.015", "fixed": "0.05"}
    assert "transactions that you report" in plan_of(share).warnings[0]
    shop = Shop(tmp_path, plan=plan(share, {"name": "calls", "type": "standard", "price": "0.01"}))
    key = shop.customer(limits=["0.01 EUR/month"])
    assert run(shop, lambda gate: request(gate, key, "r")) == 200
    line = '{"organisation": "acme", "request_id": "sale-1", "at": "%s", "model": "m", "units": {"transaction_value": "200"}}'
    told = events.event_of(line % customers.shown_time(shop.now_us()), "sales.jsonl:1")
    billed = [("accepted", "EUR", 306 * UNIT // 100), ("known", "", 0)]
    assert events.record(shop.store, "cli", [told, told], now_us=shop.now_us) == billed
    assert shop.balance(accounts.accrued("acme")) == 307 * UNIT // 100
    counted = dict(shop.read(lambda session: session.rows("SELECT name, amount FROM counters WHERE name LIKE 'quantity|%|share%'")))
    assert sorted(int(count) for count in counted.values()) == [1, 200 * UNIT]  # a bill shows one transaction
    for wrong in ("200.5", '"9000000"', '"-1"'):
        with pytest.raises(BillingError, match=r"sales\.jsonl:1: units\.transaction_value: found"):
            events.event_of(line.replace('"200"', wrong) % "2026-11-01T00:00:00Z", "sales.jsonl:1")


def test_an_event_from_elsewhere_is_not_paid_with_credit_that_had_expired(tmp_path: Path) -> None:
    clock = Clock()
    shop = Shop(tmp_path, now_us=clock)
    shop.customer()
    add(shop, "1.00", 60.0)
    for after_s in (59, 60):
        clock.us += 59_000_000 if after_s == 59 else 1_000_000
        told = events.Event("acme", f"e{after_s}", clock.us, "m", {"requests": 1})
        assert events.record(shop.store, "cli", [told], now_us=clock)[0][0] == "accepted"
    assert shop.balance(accounts.accrued("acme")) == UNIT // 100 and shop.balance(accounts.breakage("EUR")) == -99 * UNIT // 100


def test_what_was_free_when_it_was_let_in_is_bounded_where_it_is_not_after_all(tmp_path: Path) -> None:
    """The gate has not seen yet that the plan is another one: a request that held nothing is charged down to the credit line."""
    clock = Clock()
    shop = Shop(tmp_path, plan=plan({**FREE, "price": "0"}), now_us=clock)
    dear = plan_of({"name": "c", "type": "standard", "price": "0.10"}, name="dear")
    plans.add(shop.store, "test", dear, now_us=clock)
    key = shop.customer(payment="prepaid", credit_line="0.15", limits=["0.12 EUR/month"])

    async def conversation(gate: BooksGate) -> list[Any]:
        found = [await request(gate, key, "a")]
        subscriptions.change(shop.store, "test", "acme", "dear", when="now", now_us=clock)
        return found + await asyncio.gather(*(request(gate, key, f"b{number}") for number in range(3)))

    clock.us += 1
    found = run(shop, conversation)
    assert shop.balance(accounts.accrued("acme")) == 12 * UNIT // 100, found
    assert shop.balance(accounts.waived("EUR")) == (found.count(200) - 1) * UNIT // 10 - 12 * UNIT // 100
    counted = shop.read(lambda session: session.rows("SELECT amount FROM counters WHERE name LIKE 'used|%'"))
    assert [int(amount) for (amount,) in counted] == [12 * UNIT // 100]


def test_a_plan_that_became_cheaper_refuses_nobody_by_its_old_price(tmp_path: Path) -> None:
    clock = Clock()
    shop = Shop(tmp_path, plan=plan({"name": "c", "type": "standard", "price": "1"}), now_us=clock)
    plans.add(shop.store, "test", plan_of({"name": "c", "type": "standard", "price": "0.10"}, name="cheap"), now_us=clock)
    key = shop.customer(limits=["0.20 EUR/month"])
    clock.us += 1

    async def conversation(gate: BooksGate) -> list[Any]:
        found = [await request(gate, key, "a")]
        subscriptions.change(shop.store, "test", "acme", "cheap", when="now", now_us=clock)
        return found + [await request(gate, key, f"b{number}") for number in range(3)]

    assert run(shop, conversation) == [402, 200, 200, 402]
