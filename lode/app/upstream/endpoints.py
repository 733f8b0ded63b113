"""The endpoints of somebody else's model: a call is read, reserved, sent to a provider, and its answer passed on, whole or as it comes.

`_Passed` (key, body) -> `calls.read_*` (the most it can take) -> Gate.reserve -> `Tries` (a provider, else the next) -> answer or
`Events` -> Gate.settle, before the end is sent. What all endpoints do is in `lode/app/metered.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from starlette.types import Receive

from lode.app.answering import JSON, Describe, Reply, Stream, until_gone
from lode.app.contracts import Caller, Endpoint, RequestError
from lode.app.metered import Metered, Order, Tally
from lode.app.openai_form import DONE, SSE_HEADERS, error_record, event
from lode.app.upstream.calls import Call, Read
from lode.app.upstream.counting import Counted, counted, likely_tokens, text_bytes
from lode.app.upstream.desk import UpstreamDesk
from lode.app.upstream.events import Events, written
from lode.app.upstream.failure import TryError
from lode.app.upstream.lines import Line, asked_only, read_whole

_THREAD_BYTES = 1 << 20
Checked = Callable[[dict[str, Any]], bool]


class Told(Describe):
    """A route that asks no provider, with errors in OpenAI's form."""

    def encode_error(self, failure: RequestError) -> bytes:
        return orjson.dumps(error_record(failure))


@dataclass(slots=True)
class _Whole:
    """An answer, and what it took."""

    body: bytes
    taken: Counted


@dataclass(slots=True)
class _Opened:
    """An answer of which the first part has come."""

    response: aiohttp.ClientResponse
    events: Events
    first: bytes


class Passed(Metered[Call]):
    """A route that a provider answers. read_call: reads the body. is_answer: whether a provider's JSON is an answer. form: of errors."""

    desk: UpstreamDesk

    def __init__(self, desk: UpstreamDesk, endpoint: Endpoint, read_call: Read, is_answer: Checked):
        super().__init__(desk, endpoint)
        self._read_call, self._is_answer = read_call, is_answer

    def encode_error(self, failure: RequestError) -> bytes:
        return orjson.dumps(error_record(failure))

    def told(self, tally: Tally) -> None:
        self.desk.upstream.used(tally)

    async def read(self, body: bytes, caller: Caller) -> Order[Call]:
        desk = self.desk
        if desk.active > desk.options.max_waiting:
            raise desk.full()
        arguments = (body, desk.model.name, desk.max_tokens, desk.tokens_word)
        call = self._read_call(*arguments) if len(body) < _THREAD_BYTES else await asyncio.to_thread(self._read_call, *arguments)
        found = {"rows": call.rows, "input_tokens": call.input_most, "output_tokens": call.output_most}
        most = {name: count for name, count in found.items() if count}
        cost_most, currency = desk.cost_most(most)
        return Order(call.asked or desk.model.name, most, call, cost_most, currency)

    async def work(self, order: Order[Call], receive: Receive, tally: Tally) -> Reply:
        call, asked = order.content, list[Line]()
        gone = asyncio.create_task(until_gone(receive))
        attempt = self._opened if call.streams else self._whole
        told = False

        async def one(line: Line) -> Any:
            asked.append(line)
            return await attempt(line, call)

        try:
            async with _heard(gone, self.desk.options.answer_s):
                line, found = await self.desk.tries.run(one, self._noted(order, tally))
            if isinstance(found, _Opened):
                told = True
                return 200, Stream(self._events(line, found, gone, tally), _broken, lambda: DONE), SSE_HEADERS
            self.desk.charge(tally, line, found.taken)
            return 200, found.body, [(b"content-type", JSON)]
        except RequestError as failure:
            if failure.status in (499, 504) and asked:
                # Nobody waits for it any more, but the provider has the request.
                self.desk.charge(tally, asked[-1], asked_only(call))
            raise
        finally:
            if not told:
                gone.cancel()

    def _noted(self, order: Order[Call], tally: Tally) -> Callable[[Line, TryError], Any]:
        return lambda line, failure: self.desk.lost(tally.caller, order.model, line, failure)

    async def _whole(self, line: Line, call: Call) -> _Whole:
        """One try for a whole answer. Errors: TryError, RequestError."""
        response = await line.open(self.desk.session, call)
        body = await read_whole(response, call, self.desk.options.max_answer_bytes)
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict) or not self._is_answer(found):
            raise TryError("garbage", "answered with what is no answer", lost=_with_answer(call, len(body)))
        taken = Counted(rows=call.rows) if call.rows else counted(found.get("usage")) or _with_answer(call, _answer_bytes(found))
        self._rename(found, call)
        return _Whole(written(found, taken), taken)

    def _rename(self, found: dict[str, Any], call: Call) -> None:
        """The customer asked for our model, so that is what answers."""
        found["model"] = call.asked

    async def _opened(self, line: Line, call: Call) -> _Opened:
        """One try for a stream: until its first part has come, another provider may be asked. Errors: TryError, RequestError."""
        response, is_open = await line.open(self.desk.session, call), False
        try:
            events = Events(response, call, self.desk.options.max_answer_bytes)
            first = b""
            while not events.has_begun:
                first = await events.some()  # before the answer begins there are only comments: they are not collected
            is_open = True
            return _Opened(response, events, first)
        finally:
            if not is_open:
                response.close()

    async def _events(self, line: Line, opened: _Opened, gone: asyncio.Task[None], tally: Tally) -> AsyncGenerator[bytes, None]:
        """What comes, as it comes: nothing more is read before the client has taken what there is.

        Errors: RequestError 499 where the client hung up, 502 where the provider failed, 504 where it takes too long.
        """
        events, part, end = opened.events, opened.first, tally.started + self.desk.options.answer_s
        # What hangs up is noticed also while the provider says nothing.
        gone.add_done_callback(lambda task: opened.response.close())
        try:
            while True:
                if part:
                    yield part
                if events.is_over:
                    break
                part = await self._next(events, line, gone, end)
        finally:
            self.desk.charge(tally, line, events.counted())
            gone.cancel()
            opened.response.close() if not events.is_over else opened.response.release()

    async def _next(self, events: Events, line: Line, gone: asyncio.Task[None], end: float) -> bytes:
        try:
            async with asyncio.timeout(max(0.0, end - time.perf_counter())):
                return await events.some()
        except TryError as failure:
            if gone.done():
                raise _hung_up() from None
            line.breaker.failed()
            self.desk.upstream.failed(line, failure)
            raise RequestError(502, "provider_failed", "the model's provider broke off in the middle of the answer.") from None
        except TimeoutError:
            raise _too_slow(self.desk.options.answer_s) from None


class PassedRows(Passed):
    """`POST /v2/models/NAME/infer`."""

    def encode_error(self, failure: RequestError) -> bytes:
        return orjson.dumps({"error": failure.message})

    def _rename(self, found: dict[str, Any], call: Call) -> None:
        model = self.desk.model
        found["model_name"], found["model_version"] = model.name, str(model.version or "")


class ToldRows(Describe):
    """A route of the Open Inference Protocol that predicts nothing."""

    def encode_error(self, failure: RequestError) -> bytes:
        return orjson.dumps({"error": failure.message})


@asynccontextmanager
async def _heard(gone: asyncio.Task[None], seconds: float) -> AsyncIterator[None]:
    """What is inside is broken off when the client hangs up, or after so many seconds. Errors: RequestError 499 and 504."""
    inside = True

    def stop(task: asyncio.Task[None]) -> None:
        if inside and not task.cancelled():
            scope.reschedule(asyncio.get_running_loop().time())

    try:
        async with asyncio.timeout(seconds) as scope:
            gone.add_done_callback(stop)
            try:
                yield
            finally:
                inside = False
                gone.remove_done_callback(stop)
    except TimeoutError:
        raise (_hung_up() if gone.done() else _too_slow(seconds)) from None


def _hung_up() -> RequestError:
    return RequestError(499, "client_gone", "the client hung up before the end of the answer.")


def _too_slow(seconds: float) -> RequestError:
    return RequestError(504, "timeout", f"no end of the answer within {seconds:g} s. Ask for fewer tokens, or try again later.")


def _with_answer(call: Call, answer_bytes: int) -> Counted:
    """An estimate where the provider says nothing."""
    taken = asked_only(call)
    taken.output_tokens = min(likely_tokens(answer_bytes), call.output_most)
    return taken


def _answer_bytes(found: dict[str, Any]) -> int:
    """Bytes of the texts of an answer."""
    choices = [item for item in found.get("choices") or () if isinstance(item, dict)]
    return sum(text_bytes(item.get("message") or item.get("text") or "") for item in choices)


def _broken(failure: RequestError) -> bytes:
    """The end of a stream that broke off: OpenAI's clients raise it as an error. No [DONE] follows."""
    return event(error_record(failure))
