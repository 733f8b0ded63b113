"""Orders that come while others are under way, or soon after, share a commit; nobody waits for more for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from lode.app.metering import groups
from lode.app.metering.groups import Groups


def carried_out(
    conversation: Callable[[Groups[int, int]], Awaitable[None]], run: Callable[[], None] = lambda: None
) -> list[list[int]]:
    """The groups in which the orders of a conversation were carried out."""
    found: list[list[int]] = []

    def work(orders: Sequence[int]) -> list[int]:
        found.append(list(orders))
        run()
        return [-order for order in orders]

    async def main() -> None:
        made: Groups[int, int] = Groups(work, name="test")
        await conversation(made)
        await made.close()

    asyncio.run(main())
    return found


def test_a_group_waits_for_those_who_were_there_lately_and_not_for_ever() -> None:
    """Eight share a commit, and come back one by one: they share the next one too. Of these only one comes back: it is not kept waiting."""

    async def conversation(made: Groups[int, int]) -> None:
        await asyncio.gather(*(made.add(number) for number in range(8)))
        back = []
        for number in range(8):
            back.append(made.add(number))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await asyncio.gather(*back)
        assert await made.add(9) == -9

    assert carried_out(conversation, lambda: time.sleep(0.2)) == [[*range(8)], [*range(8)], [9]]


def test_an_order_alone_does_not_wait_for_others() -> None:
    async def conversation(made: Groups[int, int]) -> None:
        first = made.add(1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        made.add(2)
        assert await first == -1

    assert carried_out(conversation) == [[1], [2]]


def test_what_comes_meanwhile_is_the_next_group_and_none_is_larger_than_allowed() -> None:
    gate = threading.Event()

    async def conversation(made: Groups[int, int]) -> None:
        made.add(0)
        await asyncio.sleep(0.02)
        rest = [made.add(number) for number in range(1, 2 * groups.LARGEST)]
        gate.set()
        await asyncio.gather(*rest)

    found = carried_out(conversation, lambda: assert_set(gate))
    assert [len(group) for group in found] == [1, groups.LARGEST, groups.LARGEST - 1]


def test_books_that_were_locked_for_long_keep_nobody_waiting_afterwards() -> None:
    """Patience is a part of the last group's time, but a quarter of half a minute would be a fault of its own."""

    async def conversation(made: Groups[int, int]) -> None:
        await asyncio.gather(*(made.add(number) for number in range(4)))
        assert made._until_s <= time.perf_counter() + groups._LONGEST_S

    carried_out(conversation, lambda: time.sleep(0.2))


def test_who_is_asked_to_close_does_first_what_waits() -> None:
    async def conversation(made: Groups[int, int]) -> None:
        await asyncio.gather(*(made.add(number) for number in range(4)))
        made.add(4)  # waits for others a moment, while it is closed

    assert carried_out(conversation, lambda: time.sleep(0.05)) == [[0, 1, 2, 3], [4]]


class Clock:
    """Time that stands still but for `pass_s`, and timers that ring when they are told to."""

    def __init__(self, patch: pytest.MonkeyPatch):
        self.now_s = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        patch.setattr(groups, "time", SimpleNamespace(perf_counter=lambda: self.now_s))

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds

    def catch(self) -> None:
        """From now on this loop's timers are ours."""
        loop: Any = asyncio.get_running_loop()
        loop.call_later = lambda delay_s, call, *args: self._caught(delay_s, lambda: call(*args))

    def ring(self) -> None:
        _, call = self.timers.pop()
        call()

    def _caught(self, delay_s: float, call: Callable[[], None]) -> SimpleNamespace:
        self.timers.append((delay_s, call))
        return SimpleNamespace(cancel=self.timers.clear)


def test_a_group_waits_as_long_as_they_keep_coming_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten share a commit of 4 ms. Two are back when the timer rings, then two more: it is set again; then nobody: it begins."""
    clock = Clock(monkeypatch)

    async def conversation(made: Groups[int, int]) -> None:
        await asyncio.gather(*(made.add(number) for number in range(10)))
        clock.catch()
        back = [made.add(0), made.add(1)]
        for number in (2, 4):
            assert [delay_s for delay_s, _ in clock.timers] == [pytest.approx(0.002)]
            back += [made.add(number), made.add(number + 1)] if number == 2 else []
            clock.ring()
        await asyncio.gather(*back)

    assert carried_out(conversation, lambda: clock.pass_s(0.004)) == [[*range(10)], [0, 1, 2, 3]]


def test_nobody_waits_longer_than_twice_the_last_group(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    async def conversation(made: Groups[int, int]) -> None:
        await asyncio.gather(*(made.add(number) for number in range(10)))
        clock.catch()
        back = [made.add(0)]
        clock.pass_s(0.009)
        back.append(made.add(1))
        clock.ring()
        await asyncio.gather(*back)
        assert not clock.timers

    assert carried_out(conversation, lambda: clock.pass_s(0.004)) == [[*range(10)], [0, 1]]


def test_where_they_do_not_come_back_at_once_it_is_waited_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind an upstream eight leave, and one comes that is alone: one group does not wait then; the next time three, then seven."""
    clock, waited = Clock(monkeypatch), list[bool]()

    async def conversation(made: Groups[int, int]) -> None:
        clock.catch()
        for _ in range(8):
            await asyncio.gather(*(made.add(number) for number in range(8)))
            alone = made.add(3)
            waited.append(bool(clock.timers))
            if clock.timers:
                clock.ring()
            await alone

    carried_out(conversation, lambda: clock.pass_s(0.004))
    assert waited == [True, True, False, True, False, False, False, True]


@pytest.mark.parametrize(("count", "took_s"), [(8, 0.0004), (7, 0.004)])
def test_after_a_small_or_quick_group_nobody_waits(monkeypatch: pytest.MonkeyPatch, count: int, took_s: float) -> None:
    clock = Clock(monkeypatch)

    async def conversation(made: Groups[int, int]) -> None:
        clock.catch()
        await asyncio.gather(*(made.add(number) for number in range(count)))
        assert await made.add(9) == -9
        assert not clock.timers

    carried_out(conversation, lambda: clock.pass_s(took_s))


def assert_set(gate: threading.Event) -> None:
    assert gate.wait(10)
