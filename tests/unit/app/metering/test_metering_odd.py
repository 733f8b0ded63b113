"""What a budget must hold under: a second process that comes late, prices that fall, units known only afterwards, clocks and faults."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from lode.app.access import organisations
from lode.app.books import accounts, journal
from lode.app.books.contracts import Act, Session, Transfer
from lode.app.contracts import Asked, RequestError, Usage
from lode.app.invoices import wallet
from lode.app.metering.allowances import Allowance
from lode.app.metering.gate import BooksGate
from lode.app.metering.profile import Credit
from lode.app.metering.terms import Terms
from lode.app.metering.watch import _Seen
from lode.app.prices import subscriptions
from lode.core.errors import BooksError
from lode.core.money import UNIT
from lode.testing.shop import Shop
from tests.unit.app.metering.test_metering_gate import ROWS, bearer, request, run

VOLUME = {"name": "v", "type": "volume", "unit": "requests", "tiers": [{"up_to": 3, "price": "1"}, {"price": "0.10"}]}


def plan(*charges: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "p", "version": 1, "currency": "EUR", "period": "month", "charges": list(charges), **more}


def usage(id: str) -> Usage:
    return Usage(id, "sample", 1, 200, ROWS, 0.1)


def leases(shop: Shop) -> list[tuple[str, int]]:
    found = shop.read(lambda session: session.rows("SELECT process, amount FROM leases WHERE allowance <> ''"))
    return [(process, int(amount)) for process, amount in found]


def test_what_is_being_settled_when_a_second_process_comes_is_not_set_aside_for_ever(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    key = shop.customer(limits=["1.00 EUR/month"])

    async def conversation(first: BooksGate, second: BooksGate) -> list[Any]:
        caller = await first.authorize(bearer(key))
        holds = [await first.reserve(caller, Asked(f"a{number}", "sample", {"rows": 1})) for number in range(50)]
        async with second.running():
            tasks = [asyncio.create_task(first.settle(hold, usage(f"a{number}"))) for number, hold in enumerate(holds)]
            await asyncio.sleep(0)
            await first._watch._act(_Seen(first._watch.directory, frozenset({"elsewhere|1|1"}), ()))
            await asyncio.gather(*tasks)
            return await asyncio.gather(*(request(second, key, f"b{number}") for number in range(55)))

    async def main() -> list[Any]:
        first, second = (shop.gate(process=f"elsewhere|{number}|1", wait_s=2.0) for number in range(2))
        async with first.running():
            return await conversation(first, second)

    assert Counter(asyncio.run(main())) == {200: 50, 402: 5}
    assert shop.balance(accounts.accrued("acme")) == UNIT


def test_a_lease_that_could_not_be_given_back_is_not_lost(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    key = shop.customer(limits=["1.00 EUR/month"])
    good = shop.store.transact

    def full(work: Any) -> Any:
        raise BooksError("disk full", retry_s=5)

    async def conversation(first: BooksGate, second: BooksGate) -> None:
        await asyncio.sleep(0.5)
        assert await request(first, key, "a") == 200
        allowance = next(iter(first._allowances._known.values()))
        before = allowance.lease
        assert before > 0
        shop.store.transact = full  # type: ignore[method-assign]
        with pytest.raises(BooksError):
            await first._watch._give_back(first._allowances.slack([allowance.name]))
        shop.store.transact = good  # type: ignore[method-assign]
        assert allowance.lease == before == sum(amount for process, amount in leases(shop) if process == "elsewhere|0|1")

    run(shop, conversation, gates=2)


def test_a_price_that_falls_makes_no_lease_larger(tmp_path: Path) -> None:
    shop = Shop(tmp_path, plan=plan(VOLUME))
    key = shop.customer(limits=["20.00 EUR/month"])

    async def conversation(*gates: BooksGate) -> None:
        await asyncio.sleep(0.5)
        for number in range(6):
            assert await request(gates[0], key, f"a{number}") == 200
            held = dict(leases(shop)).get("elsewhere|0|1", 0)
            assert next(iter(gates[0]._allowances._known.values())).lease <= held

    run(shop, conversation, gates=2)
    assert shop.balance(accounts.accrued("acme")) == 6 * UNIT // 10


def test_a_price_that_falls_in_a_trial_gives_nobody_money(tmp_path: Path) -> None:
    shop = Shop(tmp_path, plan=plan(VOLUME, trial_days=30))
    key = shop.customer()

    async def conversation(gate: BooksGate) -> list[Any]:
        return [await request(gate, key, f"r{number}") for number in range(6)]

    assert run(shop, conversation) == [200] * 6
    assert shop.balance(accounts.accrued("acme")) == 0
    assert shop.balance(accounts.waived("EUR")) == -shop.balance(accounts.revenue("EUR")) == 6 * UNIT // 10


@pytest.mark.parametrize(
    ("limit", "price_of", "found"),
    [
        ("0.50 EUR/month", "compute_us", [200] * 8 + [402] * 2),  # 7 at 0.01 each; the last is charged what was left
        ("20 compute_us/day", "requests", [200] * 3 + [429] * 7),
        ("20 compute_us/minute", "requests", [200] * 3 + [429] * 7),
        ("0 compute_us/total", "requests", [429] * 10),
    ],
)
def test_what_is_known_only_afterwards_is_limited_too(tmp_path: Path, limit: str, price_of: str, found: list[int]) -> None:
    shop = Shop(tmp_path, plan=plan({"name": "c", "type": "standard", "unit": price_of, "price": "0.01"}))
    key = shop.customer(limits=[limit])

    async def conversation(gate: BooksGate) -> list[Any]:
        return [await request(gate, key, f"r{number}") for number in range(10)]

    assert run(shop, conversation) == found
    assert shop.balance(accounts.accrued("acme")) <= UNIT // 2


def test_a_hold_counts_in_the_month_in_which_it_was_made(tmp_path: Path) -> None:
    now = [int(datetime(2026, 7, 31, 23, 59, 59, tzinfo=ZoneInfo("Europe/Berlin")).timestamp() * 1e6)]
    shop = Shop(tmp_path, now_us=lambda: now[0])
    key = shop.customer(limits=["0.05 EUR/month"], zone="Europe/Berlin")

    async def conversation(gate: BooksGate) -> list[Any]:
        caller = await gate.authorize(bearer(key))
        holds = [await gate.reserve(caller, Asked(f"a{number}", "sample", {"rows": 1})) for number in range(5)]
        now[0] += 2_000_000
        found = [await request(gate, key, f"b{number}") for number in range(6)]
        for number, hold in enumerate(holds):
            await gate.settle(hold, usage(f"a{number}"))
        return [*found, await request(gate, key, "last")]

    assert run(shop, conversation) == [200] * 5 + [402] * 2
    counted = shop.read(lambda session: session.rows("SELECT amount FROM counters WHERE name LIKE 'used|%'"))
    assert [int(amount) for (amount,) in counted] == [5 * UNIT // 100] * 2


def test_a_clock_that_was_set_back_is_in_its_own_window(tmp_path: Path) -> None:
    now = [1_800_000_000_000_000]
    shop = Shop(tmp_path, now_us=lambda: now[0])
    key = shop.customer(limits=["1 requests/day"])
    now[0] += 365 * 86_400_000_000

    async def conversation(gate: BooksGate) -> list[Any]:
        found = [await request(gate, key, "a"), await request(gate, key, "b")]
        now[0] -= 364 * 86_400_000_000
        return [*found, await request(gate, key, "c"), await request(gate, key, "d")]

    assert run(shop, conversation) == [200, 429, 200, 429]


def test_two_processes_spend_credit_and_credit_line_to_the_last_unit(tmp_path: Path) -> None:
    shop = Shop(tmp_path, plan=plan({"name": "c", "type": "standard", "unit": "rows", "price": "0.000000000001"}))
    key = shop.customer(payment="prepaid", credit_line="0.000000000002")
    act = Act("credit.top_up", "test", "acme", transfers=(Transfer(accounts.cash("EUR"), accounts.prepaid("acme"), 3),))
    shop.store.transact(lambda session: journal.append(session, [act], shop.now_us()))

    async def conversation(*gates: BooksGate) -> list[Any]:
        return await asyncio.gather(*(request(gate, key, f"{id(gate)}-{number}") for gate in gates for number in range(6)))

    assert Counter(run(shop, conversation, gates=2)) == {200: 5, 402: 7}
    assert (shop.balance(accounts.prepaid("acme")), shop.balance(accounts.accrued("acme"))) == (0, 2)


def test_what_a_slow_reader_read_of_old_prices_is_not_kept(tmp_path: Path) -> None:
    shop, terms = Shop(tmp_path), Terms()
    organisations.add(shop.store, "test", "acme", {"name": "acme", "currency": "EUR"}, now_us=shop.now_us)

    def changes(session: Session) -> int:
        return int(session.rows("SELECT changes FROM head")[0][0])

    with shop.store.view() as old:
        subscriptions.subscribe(shop.store, "test", "acme", "team", now_us=shop.now_us)
        terms.refresh(shop.read(changes))  # the writer sees the subscription
        assert terms.at(old, ("acme", "sample"), shop.now_us()) is None
    assert terms.seen(("acme", "sample"), shop.now_us()) == (False, None)
    assert shop.read(lambda session: terms.at(session, ("acme", "sample"), shop.now_us())) is not None


def test_credit_that_another_process_takes_away_is_noticed_before_the_next_commit(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    key = shop.customer(payment="prepaid")
    store, now = shop.store, shop.now_us
    wallet.add(store, "test", "acme", "1.00", now_us=now)

    async def conversation(gate: BooksGate) -> list[Any]:
        found = [await request(gate, key, "a")]
        await asyncio.to_thread(wallet.refund, store, "test", "acme", "0.97", "gone", now_us=now)
        async with asyncio.timeout(5):
            while next(iter(gate._allowances._known.values())).used is not None:
                await asyncio.sleep(0.01)
        return found + await asyncio.gather(*(request(gate, key, f"b{number}") for number in range(10)))

    assert Counter(run(shop, conversation)) == {200: 3, 402: 8}
    assert shop.balance(accounts.prepaid("acme")) == 0 == shop.balance(accounts.accrued("acme"))


def test_a_gate_that_sees_the_books_no_more_lets_nobody_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shop = Shop(tmp_path)
    key = shop.customer()

    def crash(session: Session) -> Any:
        raise RuntimeError("a fault of ours")

    async def conversation(gate: BooksGate) -> list[Any]:
        found = [await request(gate, key, "a")]
        gate._watch._look = crash  # type: ignore[method-assign]
        async with asyncio.timeout(5):
            while not gate._watch.is_blind:
                await asyncio.sleep(0.01)
        return [*found, await request(gate, key, "b")]

    assert run(shop, conversation) == [200, 503]
    assert "not looked at any more" in caplog.text


@pytest.mark.parametrize(
    ("written", "expected"),
    [({}, 503), ({"provider_currency": "USD", "exchange": "0.9"}, 200), ({"provider_currency": "CHF"}, 503)],
)
def test_a_providers_cost_in_a_currency_that_the_plan_does_not_read_is_not_billed_one_to_one(
    tmp_path: Path, written: dict[str, str], expected: int
) -> None:
    shop = Shop(tmp_path, plan=plan({"name": "far", "type": "cost_plus", "markup": "0.5", **written}))
    key = shop.customer()

    async def conversation(gate: BooksGate) -> int:
        caller = await gate.authorize(bearer(key))
        try:
            hold = await gate.reserve(caller, Asked("a", "sample", {"rows": 1}, cost_most=UNIT, cost_currency="USD"))
        except RequestError as failure:
            return failure.status
        used = Usage("a", "sample", 1, 200, ROWS, 0.1, cost=UNIT, cost_currency="USD", provider="far")
        await gate.settle(hold, used)
        return 200

    assert run(shop, conversation) == expected
    assert shop.balance(accounts.accrued("acme")) == (UNIT * 135 // 100 if expected == 200 else 0)


def test_who_has_credit_and_an_open_invoice_reads_why_it_may_not_be_used() -> None:
    held = Allowance("credit|acme", 0)
    held.used = -2 * UNIT  # 5,000 JPY of credit, and its pack of 4,998 is not paid
    told = Credit("JPY").refused(held, 3 * UNIT)
    assert told.status == 402 and "2 JPY is left after all that is owed, this request may cost 3" in str(told)
