"""Requests that go alone, and requests that are given up: what waits, in which order, and that nothing stays held."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lode.app.contracts import Asked, Caller, Hold
from lode.app.metering.gate import BooksGate
from lode.app.metering.sole import Sole
from lode.testing.shop import Shop
from tests.unit.app.metering.test_metering_border import FREE
from tests.unit.app.metering.test_metering_gate import bearer, request, run
from tests.unit.app.metering.test_metering_odd import plan, usage


def test_who_waits_for_one_that_goes_alone_is_counted_once_against_a_rate(tmp_path: Path) -> None:
    shop = Shop(tmp_path, plan=plan(FREE))
    key = shop.customer(payment="prepaid", limits=["4 requests/hour"])

    async def conversation(gate: BooksGate) -> list[Any]:
        caller = await gate.authorize(bearer(key))
        hold = await gate.reserve(caller, Asked("first", "sample", {"rows": 1}))
        other = replace(caller, name="other", payment="invoice")  # lacks nothing, and is kept out until the first has ended
        waiting = [asyncio.create_task(gate.reserve(other, Asked(id, "sample", {"rows": 1}))) for id in "ab"]
        await asyncio.sleep(0.02)
        gate.release(hold)
        for task in waiting:
            gate.release(await task)
        return [await request(gate, key, id) for id in "cd"]

    assert run(shop, conversation) == [200, 429]


def test_those_who_go_alone_stand_in_one_line_of_which_only_the_first_looks() -> None:
    looking: set[Any] = set()
    is_busy, entered = True, list[int]()

    def look(owner: str) -> bool:
        looking.add(asyncio.current_task())
        return is_busy

    async def go(sole: Sole, number: int) -> None:
        hold = Hold(Caller("k", organisation="acme"), Asked(str(number), "m", {}))
        await sole.enter(hold, sole.deadline_s())
        entered.append(number)
        assert not sole.bars(hold) and sole.bars(Hold(hold.caller, hold.asked))
        await asyncio.sleep(0)
        sole.leave(hold)

    async def main() -> None:
        nonlocal is_busy
        sole = Sole(look, wait_s=60.0)
        tasks = [asyncio.create_task(go(sole, number)) for number in range(9)]
        await asyncio.sleep(0.03)
        assert len(looking) == 1 and not entered
        for gone in (0, 4):
            tasks[gone].cancel()
        is_busy = False
        await asyncio.wait(tasks)
        assert entered == [1, 2, 3, 5, 6, 7, 8] and not sole._going and not any(turn.locked() for turn in sole._turns.values())

    asyncio.run(main())


class Cut(Coroutine[Any, Any, None]):
    """A coroutine whose task is cancelled when it waits for the at-th time."""

    def __init__(self, work: Coroutine[Any, Any, None], at: int):
        self._work, self._left = work, at

    def send(self, value: Any) -> Any:
        return self._waits(self._work.send(value))

    def throw(self, *error: Any) -> Any:
        return self._waits(self._work.throw(*error))

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Any:
        return self

    def _waits(self, future: Any) -> Any:
        self._left -= 1
        task = asyncio.current_task()
        if not self._left and task is not None:
            task.cancel()
        return future


@pytest.mark.parametrize("is_repeatable", [True, False])
def test_a_request_that_is_cancelled_wherever_it_waits_leaves_nothing_behind(tmp_path: Path, is_repeatable: bool) -> None:
    """It goes alone; others are there, before or behind it, so that they wait for one another."""
    shop = Shop(tmp_path, plan=plan({**FREE, "free": 1000}))
    key = shop.customer(limits=["0.99 EUR/month"])

    async def conversation(gate: BooksGate) -> list[str]:
        caller = await gate.authorize(bearer(key))

        async def whole(id: str) -> None:
            hold = await gate.reserve(caller, Asked(id, "sample", {"rows": 1}, is_repeatable, id if is_repeatable else ""))
            try:
                await asyncio.sleep(0.001)
                await gate.settle(hold, usage(id))
            finally:
                gate.release(hold)

        async def cut(at: int, is_first: bool) -> str:
            works = [Cut(whole(f"{at}-{is_first}-cut"), at), whole(f"{at}-{is_first}-a"), whole(f"{at}-{is_first}-b")]
            tasks = [asyncio.create_task(work) for work in (works if is_first else works[::-1])]
            ends = [type(end).__name__ for end in await asyncio.gather(*tasks, return_exceptions=True)]
            await gate._orders.drained()
            assert not any(item.held or item.wanted for item in gate._allowances._known.values()), at
            assert not (gate._open or gate._settling or gate._sole._going or gate._answers._running), at
            assert not any(turn.locked() for turn in gate._sole._turns.values()), at
            assert ends.count("NoneType") == 3 - ends.count("CancelledError")
            return ends[0 if is_first else -1]

        return [await cut(at, is_first) for is_first in (True, False) for at in range(1, 16)]

    ends = run(shop, conversation)
    assert ends.count("CancelledError") > 10 and ends[14] == ends[-1] == "NoneType", ends  # to the last place where it waits
