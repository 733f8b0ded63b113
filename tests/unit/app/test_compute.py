"""What a model call takes is divided among the requests that were merged into it, to the last microsecond."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from lode.app.batching import Batcher, shared
from lode.app.contracts import Answer, Cells, RequestError
from lode.app.language import runner
from lode.app.language.runner import Runner
from lode.model.language.engine.contracts import Delta, Facts, Request, Sampling


@pytest.mark.parametrize("weights", [[1], [1, 1, 1], [3, 1, 4, 1, 5], [1, 1000], [7] * 100])
@pytest.mark.parametrize("total", [0, 1, 2, 10, 999_999_999_999])
def test_shares_add_up_and_follow_the_weights(weights: list[int], total: int) -> None:
    parts = shared(weights, total)
    assert sum(parts) == total and all(part >= 0 for part in parts)
    assert all(abs(part - total * weight / sum(weights)) <= 1 for part, weight in zip(parts, weights, strict=True))


def model(batch: Sequence[Cells]) -> list[Answer | RequestError]:
    """Takes 20 ms, and refuses requests of two rows."""
    time.sleep(0.02)
    return [RequestError(422, "bad", "no.") if cells.num_rows == 2 else Answer(cells.num_rows, {"y": [1]}) for cells in batch]


async def never() -> None:
    await asyncio.Event().wait()


def test_rows_of_a_batch_share_its_time_and_a_failure_has_its_part() -> None:
    async def main() -> tuple[list[Any], list[float]]:
        calls: list[float] = []
        batcher = Batcher(
            model, max_batch=8, queue_rows=64, timeout_s=30, on_batch=lambda requests, rows, seconds: calls.append(seconds)
        )
        asked = [Cells(count, {"x": [0.0] * count}, ("Float64",)) for count in (1, 2, 5)]
        found = await asyncio.gather(*(batcher.submit(cells, never) for cells in asked), return_exceptions=True)
        batcher.close()
        return found, calls

    found, calls = asyncio.run(main())
    spent = [result.compute_us for result in found]
    assert len(calls) == 1 and sum(spent) == round(calls[0] * 1e6) >= 20_000
    assert isinstance(found[1], RequestError) and spent[1] == pytest.approx(sum(spent) / 4, abs=1)
    assert spent[2] == pytest.approx(5 * spent[0], abs=5)


class Engine:
    """Two sequences at once, three tokens each; the third waits."""

    def __init__(self) -> None:
        self.left: dict[str, int] = {}

    @property
    def has_work(self) -> bool:
        return bool(self.left)

    def submit(self, request: Request) -> None:
        self.left[request.id] = 3

    def cancel(self, request_id: str) -> bool:
        return self.left.pop(request_id, None) is not None

    def step(self) -> list[Delta]:
        deltas = []
        for id in list(self.left)[:2]:
            self.left[id] -= 1
            over = self.left[id] == 0
            deltas.append(Delta(id, "x", finish_reason="stop" if over else None))
            if over:
                del self.left[id]
        return deltas

    def facts(self) -> Facts:
        running = min(2, len(self.left))
        return Facts(running, len(self.left) - running, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, ())


def test_steps_of_an_engine_are_shared_by_the_sequences_that_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    clock = SimpleNamespace(perf_counter=lambda: next(ticks) / 100, monotonic=time.monotonic)  # each step takes 10 ms
    monkeypatch.setattr(runner, "time", clock)
    spent, steps = asyncio.run(_generate())
    assert sum(spent) == pytest.approx(sum(steps) * 1e6, abs=20)
    # Two share three steps of 10 ms, one has three of its own; it may count as running in the step that ended the others
    assert 26_640 <= spent[0] <= 30_020 and sum(spent) == pytest.approx(60_000, abs=20)


async def _generate() -> tuple[list[int], list[float]]:
    steps: list[float] = []
    worker = Runner(Engine(), parallel=2, most=8, on_step=lambda seconds, facts: steps.append(seconds or 0.0))  # type: ignore[arg-type]
    worker.start(asyncio.get_running_loop())
    requests = [Request(id=id, tokens=[1], sampling=Sampling()) for id in "abc"]
    together, last = await asyncio.gather(worker.submit(requests[:2]), worker.submit(requests[2:]))
    for ticket in (together, last):
        while ticket.open:
            await ticket.take(10.0)
    worker.close()
    return [together.compute_us, last.compute_us], steps
