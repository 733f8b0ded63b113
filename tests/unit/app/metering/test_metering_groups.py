"""Orders that come while others are under way, or soon after, share a commit; nobody waits for more for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence

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
    """Four share a commit, and come back one by one: they share the next one too. Of these only one comes back: it is not kept waiting."""

    async def conversation(made: Groups[int, int]) -> None:
        await asyncio.gather(*(made.add(number) for number in range(4)))
        back = []
        for number in range(4):
            back.append(made.add(number))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await asyncio.gather(*back)
        assert await made.add(9) == -9

    assert carried_out(conversation, lambda: time.sleep(0.2)) == [[0, 1, 2, 3], [0, 1, 2, 3], [9]]


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
        assert made._until_s <= asyncio.get_running_loop().time() + groups._LONGEST_S

    carried_out(conversation, lambda: time.sleep(0.2))


def test_who_is_asked_to_close_does_first_what_waits() -> None:
    async def conversation(made: Groups[int, int]) -> None:
        await asyncio.gather(*(made.add(number) for number in range(4)))
        made.add(4)  # waits for others a moment, while it is closed

    assert carried_out(conversation, lambda: time.sleep(0.05)) == [[0, 1, 2, 3], [4]]


def assert_set(gate: threading.Event) -> None:
    assert gate.wait(10)
