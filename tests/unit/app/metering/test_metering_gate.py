"""The gate alone: who may, what is held, what is billed, what is given again. Two gates are two processes on the same books."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lode.app.access import keys
from lode.app.books import accounts
from lode.app.contracts import Asked, Kept, Limit, RequestError, Usage
from lode.app.metering.gate import BooksGate
from lode.app.metering.limits import Rates
from lode.app.metering.policy import CASES, billed_units, case_of
from lode.core.errors import BooksError
from lode.core.money import UNIT
from lode.testing.shop import Shop

ROWS = {"rows": 1, "compute_us": 7}
ANSWER = Kept(200, ((b"content-type", b"application/json"),), b'{"n": 1}')


def bearer(key: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + key.encode()}


async def request(
    gate: BooksGate,
    key: str,
    id: str,
    *,
    status: int = 200,
    units: Mapping[str, int] = ROWS,
    most: Mapping[str, int] | None = None,
    payload: str = "",
    kept: Kept | None = None,
    work: Callable[[], Awaitable[None]] | None = None,
    cost: int = 0,
) -> Any:
    """One request as an endpoint makes it: the status that it got, or the answer that was given before."""
    try:
        caller = await gate.authorize(bearer(key))
        hold = await gate.reserve(caller, Asked(id, "sample", most or {"rows": 1}, bool(payload), payload))
        try:
            if hold.replay is not None:
                return hold.replay
            if work is not None:
                await work()
            usage = Usage(id, "sample", 1, status, units, 0.1, cost=cost, cost_currency="USD", provider="far")
            again = await gate.settle(hold, usage, kept)
            return status if again is None else again
        finally:
            gate.release(hold)
    except RequestError as failure:
        return failure.status


def run(shop: Shop, conversation: Callable[..., Awaitable[Any]], gates: int = 1, **options: Any) -> Any:
    async def main() -> Any:
        made = [shop.gate(process=f"elsewhere|{number}|1", **options) for number in range(gates)]
        async with made[0].running():
            if gates == 1:
                return await conversation(made[0])
            async with made[1].running():
                return await conversation(*made)

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "units", "amount", "noted"),
    [
        (200, ROWS, UNIT // 100, True),
        (200, {}, UNIT // 100, True),  # an answer without rows is an answer
        (499, {"output_tokens": 3}, UNIT // 100, True),
        (499, {}, 0, False),
        (408, {"output_tokens": 3}, UNIT // 100, True),
        (422, {}, 0, False),
        (429, {}, 0, False),
        (400, {"compute_us": 9}, 0, True),
        (500, {"compute_us": 9}, 0, True),
        (504, {"output_tokens": 2}, 0, True),
        (503, {}, 0, False),
    ],
)
def test_what_is_billed_in_which_case(tmp_path: Path, status: int, units: dict[str, int], amount: int, noted: bool) -> None:
    shop = Shop(tmp_path)
    key = shop.customer(limits=["5 requests/day"])
    run(shop, lambda gate: request(gate, key, "r", status=status, units=units))
    found = shop.used()
    assert [(line[1], line[2]) for line in found] == ([(status, amount)] if noted else [])
    assert shop.balance(accounts.accrued("acme")) == amount == -shop.balance(accounts.revenue("EUR"))
    counted = shop.read(lambda session: session.rows("SELECT amount FROM counters WHERE name LIKE 'used|%'"))
    assert [int(count) for (count,) in counted] == ([1] if amount else [])


def test_the_policy_has_one_row_for_every_status() -> None:
    assert {case_of(status) for status in range(100, 600)} == set(CASES)
    assert billed_units(case_of(200), {}) == {"requests": 1} and billed_units(case_of(500), ROWS) == {}


def test_a_failed_request_may_be_sent_again_under_its_id_and_a_repeated_one_is_never_billed_twice(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    key = shop.customer()

    async def conversation(gate: BooksGate) -> list[Any]:
        ask = lambda **rest: request(gate, key, "id-1", payload="a" * 64, kept=ANSWER, **rest)  # noqa: E731
        return [await ask(status=500), await ask(), await ask(), await request(gate, key, "id-1", payload="b" * 64)]

    assert run(shop, conversation) == [500, 200, ANSWER, 409]
    assert run(shop, lambda gate: request(gate, key, "id-1", payload="a" * 64)) == ANSWER  # another process, later
    assert [(line[1], line[2]) for line in shop.used()] == [(500, 0), (200, UNIT // 100)]


def test_an_answer_that_is_not_kept_any_more_is_a_409_and_not_a_second_bill(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    key = shop.customer()

    async def conversation(gate: BooksGate) -> list[Any]:
        return [await request(gate, key, "id-1", payload="a" * 64), await request(gate, key, "id-1", payload="a" * 64)]

    assert run(shop, conversation) == [200, 409]


def test_duplicates_at_once_run_once_in_one_process_and_are_billed_once_in_two(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    key = shop.customer()
    ran = []

    async def work() -> None:
        ran.append(1)
        await asyncio.sleep(0.02)

    async def conversation(*gates: BooksGate) -> list[Any]:
        return await asyncio.gather(
            *(request(gate, key, "id-1", payload="a" * 64, kept=ANSWER, work=work) for gate in gates for _ in range(4))
        )

    found = run(shop, conversation, gates=2)
    assert len(ran) == 2  # one in each process
    assert sorted(str(item) for item in found) == sorted([str(ANSWER)] * 7 + ["200"])
    assert len(shop.used()) == 1


@pytest.mark.parametrize("gates", [1, 2])
def test_a_budget_for_50_lets_exactly_50_of_200_pass(tmp_path: Path, gates: int) -> None:
    shop = Shop(tmp_path)
    key = shop.customer(limits=["0.50 EUR/month"])

    async def conversation(*made: BooksGate) -> list[Any]:
        each = 200 // len(made)
        return await asyncio.gather(*(request(gate, key, f"{at}-{n}") for at, gate in enumerate(made) for n in range(each)))

    found = run(shop, conversation, gates=gates)
    assert {status: found.count(status) for status in set(found)} == {200: 50, 402: 150}
    assert shop.balance(accounts.accrued("acme")) == UNIT // 2


def test_nobody_is_refused_because_others_hold_and_a_stream_of_unknown_length_never_overshoots(tmp_path: Path) -> None:
    plan = {
        "name": "words", "version": 1, "currency": "EUR", "period": "month",
        "charges": [{"name": "tokens", "type": "standard", "price": "0.01", "unit": "output_tokens"}],
    }  # fmt: skip
    shop = Shop(tmp_path, plan=plan)
    key = shop.customer(limits=["1.00 EUR/month"])

    async def conversation(*gates: BooksGate) -> list[Any]:
        async def one(gate: BooksGate, number: int) -> Any:
            units = {"output_tokens": 1 + number % 3}  # at most 40, which only two at once could hold
            return await request(gate, key, f"{id(gate)}-{number}", units=units, most={"output_tokens": 40})

        return await asyncio.gather(*(one(gate, number) for gate in gates for number in range(15)))

    assert run(shop, conversation, gates=2) == [200] * 30
    assert shop.balance(accounts.accrued("acme")) == 60 * UNIT // 100

    def late(gate: BooksGate) -> Awaitable[Any]:
        return request(gate, key, "last", most={"output_tokens": 41})

    assert run(shop, late) == 402


def test_prepaid_credit_is_used_first_and_nothing_goes_below_the_credit_line(tmp_path: Path) -> None:
    from lode.app.books import journal
    from lode.app.books.contracts import Act, Transfer

    shop = Shop(tmp_path)
    key = shop.customer(payment="prepaid", credit_line="0.02")
    top_up = Act(
        "credit.top_up", "test", "acme", transfers=(Transfer(accounts.cash("EUR"), accounts.prepaid("acme"), 3 * UNIT // 100),)
    )

    async def conversation(gate: BooksGate) -> list[Any]:
        before = [await request(gate, key, f"a{n}") for n in range(3)]
        await asyncio.to_thread(shop.store.transact, lambda session: journal.append(session, [top_up], shop.now_us()))
        return before + [await request(gate, key, f"b{n}") for n in range(4)]

    assert run(shop, conversation) == [200, 200, 402, 200, 200, 200, 402]
    assert (shop.balance(accounts.prepaid("acme")), shop.balance(accounts.accrued("acme"))) == (0, 2 * UNIT // 100)


def test_holds_end_however_a_request_ends(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    key = shop.customer(limits=["0.02 EUR/month"])

    async def conversation(gate: BooksGate) -> None:
        async def crash() -> None:
            raise RuntimeError("crash")

        async def hang() -> None:
            await asyncio.Event().wait()

        for number in range(5):
            with pytest.raises(RuntimeError):
                await request(gate, key, f"crash-{number}", work=crash)
            task = asyncio.create_task(request(gate, key, f"hang-{number}", work=hang))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await request(gate, key, f"late-{number}", status=504) == 504
        assert [await request(gate, key, f"good-{number}") for number in range(3)] == [200, 200, 402]
        assert not gate._open and all(item.held == 0 for item in gate._allowances._known.values())

    run(shop, conversation)


def test_a_hold_that_nobody_ends_is_free_after_its_time(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    key = shop.customer(limits=["0.01 EUR/month"])

    async def conversation(gate: BooksGate) -> Any:
        await gate.reserve(await gate.authorize(bearer(key)), Asked("lost", "sample", {"rows": 1}))
        return await request(gate, key, "next")

    assert run(shop, conversation, lost_s=0.05) == 200


def test_a_process_that_was_thought_dead_charges_only_what_is_left(tmp_path: Path) -> None:
    now = [1_790_000_000_000_000]
    shop = Shop(tmp_path, now_us=lambda: now[0])
    key = shop.customer(limits=["0.02 EUR/month"])

    async def conversation(gate: BooksGate) -> None:
        holds = [
            await gate.reserve(await gate.authorize(bearer(key)), Asked(f"s{number}", "sample", {"rows": 1})) for number in range(2)
        ]
        gate._watch._beaten_s += 3600  # it stalls: no beat
        now[0] += 60_000_000
        other = shop.gate(process="elsewhere|9|9")
        async with other.running():
            assert await request(other, key, "other") == 200
            for number, hold in enumerate(holds):
                await gate.settle(hold, Usage(f"s{number}", "sample", 1, 200, ROWS, 0.1))

    run(shop, conversation)
    assert len(shop.used()) == 3
    assert shop.balance(accounts.accrued("acme")) <= 2 * UNIT // 100
    waived = shop.balance(accounts.waived("EUR"))
    assert waived > 0 and shop.balance(accounts.accrued("acme")) + waived == 3 * UNIT // 100


def test_full_books_are_a_503_with_retry_after_and_recover_by_themselves(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    key = shop.customer(limits=["1 EUR/month"])
    good = shop.store.transact

    def full(work: Any) -> Any:
        raise BooksError("disk full", retry_s=5)

    async def conversation(gate: BooksGate) -> list[Any]:
        found = [await request(gate, key, "a")]
        shop.store.transact = full  # type: ignore[method-assign]
        found += [await request(gate, key, "b"), await request(gate, key, "c")]
        shop.store.transact = good  # type: ignore[method-assign]
        return [*found, await request(gate, key, "d")]

    assert run(shop, conversation) == [200, 503, 503, 200]
    assert [line[0] for line in shop.used()] == ["a", "d"]


def test_scopes_models_and_revocation(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.customer()
    other, only = shop.key(scopes=["usage:read"]), shop.key(models=["other"])
    third = keys.create(shop.store, "test", "acme", {}, shop.pepper, now_us=shop.now_us)

    async def conversation(gate: BooksGate) -> None:
        assert await request(gate, other, "a") == 403
        assert await request(gate, only, "b") == 403
        assert await request(gate, third["key"], "c") == 200
        await asyncio.to_thread(keys.revoke, shop.store, "test", "acme", third["id"], now_us=shop.now_us)
        async with asyncio.timeout(5):
            while await request(gate, third["key"], "d") != 401:
                await asyncio.sleep(0.05)
        with pytest.raises(RequestError) as refused:
            await gate.authorize(bearer(only), "operator")
        assert refused.value.status == 403

    run(shop, conversation)


def test_buckets_fill_by_the_clock_give_back_and_are_shared_among_processes() -> None:
    now = [0.0]
    rates, limit = Rates(lambda: now[0]), Limit("key/k", "rows", 60, "minute", "", 60)
    named = [(limit.name, limit)]
    for _ in range(6):
        taken = rates.take(named, {"rows": 10})
    with pytest.raises(RequestError) as refused:
        rates.take(named, {"rows": 5})
    headers = dict(refused.value.headers)
    assert refused.value.status == 429 and headers[b"retry-after"] == b"5"
    assert headers[b"ratelimit-policy"] == b'"key-rows";q=60;w=60' and headers[b"ratelimit"] == b'"key-rows";r=0;t=60'
    rates.give_back(taken, {"rows": 4})
    assert rates.take(named, {"rows": 6})
    now[0] += 60
    assert rates.take(named, {"rows": 500})  # larger than the bucket: it passes when that is full, and leaves a debt
    now[0] += 60
    with pytest.raises(RequestError):
        rates.take(named, {"rows": 1})
    now[0] += 3600
    rates.share = 2
    rates.take(named, {"rows": 30})
    with pytest.raises(RequestError, match="1/2"):
        rates.take(named, {"rows": 1})
