"""The engine's thread: a failure is its caller's, a failing step the engine's end, and what is asked for stops nothing else."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from lode.app.contracts import RequestError
from lode.app.language.runner import Runner
from lode.model.language.engine.contracts import Delta, Facts, Request, Sampling

ROUNDS = 5


class Engine:
    """Each sequence ends after ROUNDS steps of step_s. did: what happened, in order. gate: where it is closed, a step waits for it.

    is_inside: set once a step has begun.
    """

    def __init__(self) -> None:
        self.left: dict[str, int] = {}
        self.did: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.is_inside = threading.Event()
        self.is_broken, self.step_s = False, 0.0

    @property
    def has_work(self) -> bool:
        return bool(self.left)

    def submit(self, request: Request) -> None:
        self.left[request.id] = ROUNDS

    def cancel(self, request_id: str) -> bool:
        return self.left.pop(request_id, None) is not None

    def step(self) -> list[Delta]:
        self.is_inside.set()
        self.gate.wait(10)
        time.sleep(self.step_s)
        self.did.append("step")
        if self.is_broken:
            raise RuntimeError("no memory")
        self.left = {id: rounds - 1 for id, rounds in self.left.items()}
        deltas = [Delta(id, "x", finish_reason=None if rounds else "stop") for id, rounds in self.left.items()]
        self.left = {id: rounds for id, rounds in self.left.items() if rounds}
        return deltas

    def facts(self) -> Facts:
        return Facts(len(self.left), 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, ())


def ran(work: Any) -> Engine:
    """Do something with a runner that runs."""
    engine = Engine()

    async def main() -> None:
        runner = Runner(engine, parallel=8, most=8, on_step=lambda seconds, facts: None)  # type: ignore[arg-type]
        runner.start(asyncio.get_running_loop())
        await work(engine, runner)
        runner.close()

    asyncio.run(asyncio.wait_for(main(), 20))
    return engine


def request(id: str) -> list[Request]:
    return [Request(id=id, tokens=[1], sampling=Sampling())]


async def told(runner: Runner, id: str) -> int:
    """How many deltas a sequence brings."""
    ticket, found = await runner.submit(request(id)), list[Delta]()
    while not found or found[-1].finish_reason is None:
        found += await ticket.take(10.0)
    return len(found)


async def outcome(work: Coroutine[Any, Any, Any]) -> str:
    try:
        return str(await work)
    except (RuntimeError, RequestError) as error:
        return f"{type(error).__name__}: {getattr(error, 'type', error)}"


def test_work_that_fails_is_its_callers_failure_alone() -> None:
    async def work(engine: Engine, runner: Runner) -> None:
        def broken() -> None:
            raise RuntimeError("a text that is none")

        found = await asyncio.gather(
            told(runner, "a"), outcome(runner.call(broken)), told(runner, "b"), outcome(runner.call(lambda: 7))
        )
        assert found == [ROUNDS, "RuntimeError: a text that is none", ROUNDS, "7"] and not runner.is_dead

    ran(work)


def test_a_step_comes_between_two_pieces_of_other_work() -> None:
    async def work(engine: Engine, runner: Runner) -> None:
        engine.gate.clear()
        engine.step_s = 0.01  # what is generated outlasts the calls
        generated = asyncio.create_task(told(runner, "a"))
        await asyncio.to_thread(engine.is_inside.wait, 10)
        calls = [asyncio.create_task(runner.call(lambda: engine.did.append("work"))) for _ in range(3)]
        await asyncio.sleep(0.01)
        engine.gate.set()
        await asyncio.gather(generated, *calls)

    did = ran(work).did
    places = [place for place, what in enumerate(did) if what == "work"]
    assert len(places) == 3 and all(after - before > 1 for before, after in itertools.pairwise(places)), did


def test_what_is_cancelled_while_it_waits_does_not_stop_the_others() -> None:
    async def work(engine: Engine, runner: Runner) -> None:
        engine.gate.clear()
        generated = asyncio.create_task(told(runner, "a"))
        await asyncio.to_thread(engine.is_inside.wait, 10)
        gone = [asyncio.create_task(told(runner, "b")), asyncio.create_task(runner.call(lambda: engine.did.append("work")))]
        await asyncio.sleep(0.01)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        engine.gate.set()
        assert await generated == ROUNDS and await told(runner, "c") == ROUNDS

    engine = ran(work)
    assert "work" not in engine.did and not engine.left


def test_a_step_that_fails_is_the_end_and_everybody_is_told() -> None:
    async def work(engine: Engine, runner: Runner) -> None:
        engine.gate.clear()
        open_ones = [asyncio.create_task(outcome(told(runner, id))) for id in "ab"]
        await asyncio.to_thread(engine.is_inside.wait, 10)
        waiting = asyncio.create_task(outcome(runner.call(lambda: 7)))
        await asyncio.sleep(0.01)
        engine.is_broken = True
        engine.gate.set()
        assert await asyncio.gather(*open_ones, waiting) == ["RequestError: engine_failed"] * 3
        assert runner.is_dead and await outcome(told(runner, "c")) == "RequestError: engine_failed"

    assert ran(work).did == ["step"]


@pytest.mark.parametrize("is_busy", [True, False])
def test_a_runner_that_was_closed_answers_nothing(is_busy: bool) -> None:
    async def work(engine: Engine, runner: Runner) -> None:
        ticket = await runner.submit(request("a")) if is_busy else None
        runner.close()
        assert await outcome(told(runner, "b")) == "RequestError: engine_failed"
        if ticket is not None and ticket.open:
            assert await outcome(ticket.take(1.0)) == "RequestError: engine_failed"

    ran(work)
