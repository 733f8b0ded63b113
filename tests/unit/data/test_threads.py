from __future__ import annotations

import threading
from collections.abc import Generator
from queue import Queue
from typing import cast

import pytest

from lode.data.threads import in_turn, side_by_side, team


@pytest.mark.parametrize("num_rows", [10, 100_000])
def test_results_come_in_order_and_the_first_error_is_raised(num_rows: int) -> None:
    assert side_by_side(lambda item: item * 2, range(20), num_rows) == list(range(0, 40, 2))
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda item: 1 // item, [1, 0, 2], num_rows)


def test_short_columns_stay_in_the_thread_that_asks() -> None:
    here = threading.get_ident()
    assert side_by_side(lambda item: threading.get_ident(), range(3), 10) == [here] * 3


def test_a_team_keeps_its_threads_for_every_list_of_columns() -> None:
    with team(100_000) as together:
        used = {thread for _ in range(30) for thread in together(lambda item: threading.get_ident(), range(8))}
    assert len(used) <= 4


def test_batches_may_be_let_go_in_one_of_their_own_threads() -> None:
    """As polars does with a source that was not read to its end: whichever thread of Python comes next drops it."""
    is_waiting, found = threading.Event(), Queue[BaseException | None]()

    def work(item: int) -> int:
        if item == 1:
            is_waiting.wait(5)
            try:
                batches.close()
                found.put(None)
            except RuntimeError as error:
                found.put(error)
        return item

    batches = cast("Generator[int, None, None]", in_turn(work, range(20)))
    assert next(batches) == 0
    is_waiting.set()
    assert found.get(timeout=5) is None
