from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop

from lode.app import batching
from lode.app.batching import Batcher
from lode.app.contracts import Answer, Cells, RequestError


class Model:
    """Answers with its input; waits for `go`, notes its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()

    def run(self, batch: Sequence[Cells]) -> list[Answer | RequestError]:
        assert self.go.wait(30)
        self.batches.append([cells.num_rows for cells in batch])
        return [Answer(cells.num_rows, {"y": cells.columns["x"]}) for cells in batch]


def cells(value: Any, num_rows: int = 1, dtype: Any = "Float64") -> Cells:
    return Cells(num_rows, {"x": [value] * num_rows}, (dtype,))


async def never() -> None:
    await asyncio.Event().wait()


def play(model: Model, scene: Callable[[Batcher], Awaitable[Any]], **options: Any) -> Any:
    async def main() -> Any:
        batcher = Batcher(model.run, **{"max_batch": 8, "queue_rows": 64, "timeout_s": 30.0} | options)
        try:
            return await scene(batcher)
        finally:
            model.go.set()
            batcher.close()

    return asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


def test_everyone_gets_their_own_answer() -> None:
    async def scene(batcher: Batcher) -> list[Answer]:
        return await asyncio.gather(*(batcher.submit(cells(value), never) for value in range(100)))

    answers = play(Model(), scene, queue_rows=1000)
    assert [answer.columns["y"] for answer in answers] == [[value] for value in range(100)]


def test_requests_that_wait_are_merged_up_to_max_batch() -> None:
    model = Model()

    async def scene(batcher: Batcher) -> None:
        model.go.clear()
        first = asyncio.create_task(batcher.submit(cells(0), never))
        await until(lambda: batcher.waiting_rows == 0 and bool(batcher._open))
        rest = [asyncio.create_task(batcher.submit(cells(value, rows), never)) for value, rows in enumerate([3, 3, 3, 20, 1])]
        await until(lambda: batcher.waiting_rows == 30)
        model.go.set()
        await asyncio.gather(first, *rest)

    play(model, scene)
    assert model.batches == [[1], [3, 3], [3], [20], [1]]


def test_only_requests_with_equal_types_are_merged_and_order_is_kept() -> None:
    model = Model()

    async def scene(batcher: Batcher) -> list[Answer]:
        model.go.clear()
        kinds = ["Float64", "String", "Float64", "String", "Float64"]
        tasks = [asyncio.create_task(batcher.submit(cells(n, 1, kind), never)) for n, kind in enumerate(kinds)]
        await asyncio.sleep(0)
        model.go.set()
        return await asyncio.gather(*tasks)

    answers = play(model, scene)
    assert model.batches == [[1, 1, 1], [1, 1]]
    assert [answer.columns["y"][0] for answer in answers] == [0, 1, 2, 3, 4]


def test_a_full_queue_is_a_429_with_a_time_to_wait() -> None:
    model = Model()

    async def scene(batcher: Batcher) -> None:
        model.go.clear()
        busy = asyncio.create_task(batcher.submit(cells(0), never))
        await until(lambda: batcher.waiting_rows == 0 and bool(batcher._open))
        waits = asyncio.create_task(batcher.submit(cells(1, 60), never))
        await until(lambda: batcher.waiting_rows == 60)
        with pytest.raises(RequestError, match="60 rows are waiting, at most 64") as caught:
            await batcher.submit(cells(2, 5), never)
        assert caught.value.status == 429
        assert dict(caught.value.headers)[b"retry-after"] == b"1"
        fits = asyncio.create_task(batcher.submit(cells(3, 4), never))
        await until(lambda: batcher.waiting_rows == 64)
        model.go.set()
        await asyncio.gather(busy, waits, fits)
        assert batcher.waiting_rows == 0

    play(model, scene)


def test_an_empty_queue_takes_a_request_that_is_larger_than_the_queue() -> None:
    answer = play(Model(), lambda batcher: batcher.submit(cells(1, 500), never))
    assert answer.num_rows == 500


def test_a_request_that_waits_too_long_is_a_504_and_is_not_predicted() -> None:
    model = Model()

    async def scene(batcher: Batcher) -> None:
        model.go.clear()
        results = await asyncio.gather(*(batcher.submit(cells(n, 8), never) for n in range(2)), return_exceptions=True)
        assert [result.status for result in results if isinstance(result, RequestError)] == [504, 504]
        model.go.set()
        await batcher.submit(cells(2), never)
        assert batcher.waiting_rows == 0

    play(model, scene, timeout_s=0.2)
    assert model.batches == [[8], [1]]


def test_a_client_that_hangs_up_is_not_predicted() -> None:
    model = Model()

    async def scene(batcher: Batcher) -> None:
        async def at_once() -> None: ...

        model.go.clear()
        busy = asyncio.create_task(batcher.submit(cells(0, 8), never))
        await until(lambda: batcher.waiting_rows == 0 and bool(batcher._open))
        with pytest.raises(RequestError) as caught:
            await batcher.submit(cells(1, 5), at_once)
        assert caught.value.status == 499
        model.go.set()
        await busy
        await until(lambda: batcher.waiting_rows == 0)

    play(model, scene)
    assert model.batches == [[8]]


def test_a_cancelled_caller_leaves_nothing_behind() -> None:
    model = Model()

    async def scene(batcher: Batcher) -> None:
        model.go.clear()
        tasks = [asyncio.create_task(batcher.submit(cells(n), never)) for n in range(3)]
        await until(lambda: len(batcher._open) == 3)
        tasks[1].cancel()
        model.go.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert tasks[1].cancelled()
        assert not batcher._open

    play(model, scene)


def test_with_max_wait_requests_wait_for_company_until_the_batch_is_full() -> None:
    model = Model()

    async def scene(batcher: Batcher) -> None:
        tasks = []
        for value in range(4):
            tasks.append(asyncio.create_task(batcher.submit(cells(value, 2), never)))
            await asyncio.sleep(0.005)
        await asyncio.gather(*tasks)

    play(model, scene, max_wait_ms=20_000.0)
    assert model.batches == [[2, 2, 2, 2]]


def test_a_model_call_that_breaks_off_fails_its_requests_and_not_the_next() -> None:
    class Broken(Model):
        def run(self, batch: Sequence[Cells]) -> list[Answer | RequestError]:
            if not self.batches:
                self.batches.append([])
                raise KeyboardInterrupt
            return super().run(batch)

    async def scene(batcher: Batcher) -> Answer:
        with pytest.raises(RequestError, match="broken off"):
            await batcher.submit(cells(1), never)
        return await batcher.submit(cells(2), never)

    assert play(Broken(), scene).columns["y"] == [2]


def test_the_worker_takes_what_waits_by_itself() -> None:
    """Under load the event loop is busy refusing others: the model must not wait for its turn."""
    model = Model()
    both = threading.Event()

    class Counting(Model):
        def run(self, batch: Sequence[Cells]) -> list[Answer | RequestError]:
            answers = model.run(batch)
            if len(model.batches) == 2:
                both.set()
            return answers

    async def scene(batcher: Batcher) -> None:
        model.go.clear()
        first = asyncio.create_task(batcher.submit(cells(0), never))
        await until(lambda: batcher.waiting_rows == 0 and bool(batcher._open))
        second = asyncio.create_task(batcher.submit(cells(1, 3), never))
        await until(lambda: batcher.waiting_rows == 3)
        model.go.set()
        assert both.wait(30)  # the event loop's thread does nothing meanwhile
        await asyncio.gather(first, second)

    play(Counting(), scene)
    assert model.batches == [[1], [3]]


def test_a_call_broken_off_while_others_wait_does_not_lose_them() -> None:
    model = Model()

    class Broken(Model):
        def run(self, batch: Sequence[Cells]) -> list[Answer | RequestError]:
            answers = model.run(batch)
            if len(model.batches) == 1:
                raise KeyboardInterrupt
            return answers

    async def scene(batcher: Batcher) -> list[Answer | BaseException]:
        model.go.clear()
        first = asyncio.create_task(batcher.submit(cells(0), never))
        await until(lambda: batcher.waiting_rows == 0 and bool(batcher._open))
        second = asyncio.create_task(batcher.submit(cells(1), never))
        await until(lambda: batcher.waiting_rows == 1)
        model.go.set()
        return await asyncio.gather(first, second, return_exceptions=True)

    broken, answer = play(Broken(), scene)
    assert isinstance(broken, RequestError)
    assert answer.columns["y"] == [1]


def test_what_a_call_took_is_measured_finer_than_the_loops_clock() -> None:
    """uvloop's clock has whole milliseconds; requests are costed by these figures."""

    class Brief(Model):
        def run(self, batch: Sequence[Cells]) -> list[Answer | RequestError]:
            time.sleep(0.0003)
            return super().run(batch)

    async def main() -> list[int]:
        batcher = Batcher(Brief().run, max_batch=1, queue_rows=8, timeout_s=30.0)
        answers = [await batcher.submit(cells(value), never) for value in range(10)]
        batcher.close()
        return [answer.compute_us for answer in answers]

    took_us = uvloop.run(main())
    assert min(took_us) >= 300
    assert any(each % 1000 for each in took_us)


def test_looking_for_the_next_batch_is_no_part_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop may hold the queue just then: nobody is charged for that."""
    clock = SimpleNamespace(now_s=1.0)
    monkeypatch.setattr(batching, "time", SimpleNamespace(perf_counter=lambda: clock.now_s))
    take = Batcher._take

    def slow(batcher: Batcher, now: float) -> Any:
        clock.now_s += 7.0
        return take(batcher, now)

    monkeypatch.setattr(Batcher, "_take", slow)

    class Two(Model):
        def run(self, batch: Sequence[Cells]) -> list[Answer | RequestError]:
            clock.now_s += 2.0
            return super().run(batch)

    answer = play(Two(), lambda batcher: batcher.submit(cells(1), never))
    assert answer.compute_us == 2_000_000
