"""The endpoints of a language model: chat, completions, embeddings, models. What all endpoints do is in `lode/app/answering.py`.

A generation: `_Generate` (key, size, type) -> `read_chat`/`read_completion` -> `Preparer` (tokens, grammar) -> Gate.reserve -> `Runner`
(engine, in its thread) -> `Answer`, whole or as server-sent events -> Gate.settle, before its end is sent.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import orjson
from starlette.types import Receive

from lode.app.answering import JSON, Describe, Reply, Stream, until_gone
from lode.app.contracts import Caller, Endpoint, RequestError, Status
from lode.app.language.answers import DONE, Answer, ChatAnswer, CompletionAnswer, error_record, event
from lode.app.language.chat import read_chat
from lode.app.language.completions import ToEmbed, read_completion, read_embeddings
from lode.app.language.contracts import Asked
from lode.app.language.desk import LanguageDesk
from lode.app.language.fields import Fields, body_fields
from lode.app.language.runner import Ticket
from lode.app.metered import Metered, Order, Tally
from lode.model.language.engine.contracts import Delta, Request

T = TypeVar("T")
_THREAD_BYTES = 1 << 20
_EMBED_TEXTS = 8
"""Texts that are embedded between two steps of the engine."""
_SSE = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))


class Told(Describe):
    """A route that generates nothing, with errors in OpenAI's form."""

    def encode_error(self, failure: RequestError) -> bytes:
        return orjson.dumps(error_record(failure))


class _Posted(Metered[T]):
    """A body in, work for the model."""

    desk: LanguageDesk

    def encode_error(self, failure: RequestError) -> bytes:
        return orjson.dumps(error_record(failure))

    def told(self, tally: Tally) -> None:
        units = tally.units()
        self.desk.tokens.used(*(units.get(name, 0) for name in ("input_tokens", "output_tokens", "cached_tokens")))

    async def read(self, body: bytes, caller: Caller) -> Order[T]:
        fields = body_fields(body) if len(body) < _THREAD_BYTES else await asyncio.to_thread(body_fields, body)
        return await self.prepare(fields, caller)

    @abstractmethod
    async def prepare(self, fields: Fields, caller: Caller) -> Order[T]:
        """Errors: RequestError 400 and 404."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A generation that was read: its sequences, and its empty answer."""

    asked: Asked
    requests: Sequence[Request]
    answer: Answer


class _Generate(_Posted[_Prepared]):
    """Text for text."""

    prefix: str

    @abstractmethod
    def parse(self, fields: Fields) -> Asked:
        """Errors: RequestError 400."""

    @abstractmethod
    def make(self, id: str, asked: Asked, requests: Sequence[Request]) -> Answer:
        """An empty answer."""

    def refusal(self) -> RequestError | None:
        return self.desk.runner.refusal()

    async def prepare(self, fields: Fields, caller: Caller) -> Order[_Prepared]:
        id, asked = f"{self.prefix}-{secrets.token_hex(12)}", self.parse(fields)
        requests = await self.desk.preparer.requests(asked, id, caller.name)
        answer = self.make(id, asked, requests)
        most = {
            "input_tokens": answer.counts.input_tokens,
            "output_tokens": sum(request.sampling.max_tokens for request in requests),
        }
        return Order(asked.model, most, _Prepared(asked, requests, answer))

    async def work(self, order: Order[_Prepared], receive: Receive, tally: Tally) -> Reply:
        desk, content = self.desk, order.content
        asked, requests, answer = content.asked, content.requests, content.answer
        ticket = await desk.runner.submit(requests)
        tally.units = lambda: _counted(answer, ticket)
        # The body has been read, so whatever is received now is that the client hung up.
        watch = asyncio.create_task(_watch(receive, ticket))
        told = False
        try:
            first = await self._take(ticket, tally, desk.options.timeout_s, "no token")
            desk.tokens.first_chunk(time.perf_counter() - tally.started)
            if asked.stream:
                # What fails at once is answered with its status; from here on it could only break the stream off.
                opening = self._chunks(answer, requests, first)
                told = True
                parts = self._events(order.content, opening, ticket, watch, tally)
                return 200, Stream(parts, _broken, lambda: _closing(answer)), _SSE
            await self._rest(order.content, first, ticket, tally)
        finally:
            if not told:
                watch.cancel()
                ticket.close()
        return 200, orjson.dumps(answer.whole()), [(b"content-type", JSON)]

    async def _rest(self, content: _Prepared, first: list[Delta], ticket: Ticket, tally: Tally) -> None:
        """Everything up to the end of an answer without a stream."""
        self._chunks(content.answer, content.requests, first)
        while not content.answer.is_over:
            deltas = await self._take(ticket, tally, self.desk.options.answer_s, "no end of the answer")
            self._chunks(content.answer, content.requests, deltas)

    async def _events(
        self, content: _Prepared, chunks: list[dict[str, Any]], ticket: Ticket, watch: asyncio.Task[None], tally: Tally
    ) -> AsyncGenerator[bytes, None]:
        """Server-sent events; many chunks go together where the client reads slowly."""
        answer = content.answer
        try:
            part = b"".join(map(event, [*answer.opening(), *chunks]))
            while True:
                if part:
                    yield part
                if answer.is_over:
                    break
                deltas = await self._take(ticket, tally, self.desk.options.answer_s, "no end of the answer")
                part = b"".join(map(event, self._chunks(answer, content.requests, deltas)))
        finally:
            watch.cancel()
            ticket.close()

    def _chunks(self, answer: Answer, requests: Sequence[Request], deltas: Sequence[Delta]) -> list[dict[str, Any]]:
        """Errors: RequestError 500 where the model or the grammar failed on a sequence."""
        chunks = []
        for delta in deltas:
            if delta.finish_reason is not None:
                self.desk.tokens.finished(delta.finish_reason)
                _check_form(answer.asked, requests, delta)
            chunks += answer.take(delta)
        return chunks

    async def _take(self, ticket: Ticket, tally: Tally, limit_s: float, what: str) -> list[Delta]:
        left_s = tally.started + limit_s - time.perf_counter()
        try:
            return await ticket.take(max(left_s, 0.0))
        except TimeoutError:
            text = f"{what} within {limit_s:g} s. Ask for fewer tokens, or try again later."
            raise RequestError(504, "timeout", text) from None


class Chat(_Generate):
    """`POST /v1/chat/completions`."""

    prefix = "chatcmpl"

    def parse(self, fields: Fields) -> Asked:
        return read_chat(fields, self.desk.tokenizer.size, self.desk.most)

    def make(self, id: str, asked: Asked, requests: Sequence[Request]) -> Answer:
        return ChatAnswer(id, asked, requests, self.desk.pieces)


class Complete(_Generate):
    """`POST /v1/completions`."""

    prefix = "cmpl"

    def parse(self, fields: Fields) -> Asked:
        return read_completion(fields, self.desk.tokenizer.size, self.desk.most)

    def make(self, id: str, asked: Asked, requests: Sequence[Request]) -> Answer:
        decode = self.desk.tokenizer.decode
        texts = [prompt if isinstance(prompt, str) else decode(prompt) for prompt in asked.prompts]
        echoes = [texts[number // asked.count] if asked.echo else "" for number in range(len(requests))]
        return CompletionAnswer(id, asked, requests, self.desk.pieces, echoes)


@dataclass(frozen=True, slots=True)
class _Texts:
    """Texts to embed, and their tokens."""

    asked: ToEmbed
    tokens: list[list[int]]


class Embed(_Posted[_Texts]):
    """`POST /v1/embeddings`."""

    async def prepare(self, fields: Fields, caller: Caller) -> Order[_Texts]:
        desk, asked = self.desk, read_embeddings(fields)
        if desk.preparer.adapter(asked.model) is not None:
            text = f"model: vectors are made by the model itself, not by its adapters. Send {desk.model.name}."
            raise RequestError(400, "invalid_value", text, param="model")
        tokens = await asyncio.to_thread(self._tokens, asked)
        return Order(asked.model, {"input_tokens": sum(map(len, tokens))}, _Texts(asked, tokens))

    async def work(self, order: Order[_Texts], receive: Receive, tally: Tally) -> Reply:
        asked, tokens = order.content.asked, order.content.tokens
        gone = asyncio.create_task(until_gone(receive))
        try:
            vectors = await self._vectors(tokens, gone, tally)
        finally:
            gone.cancel()
        data = [
            {"object": "embedding", "index": number, "embedding": _encoded(vector, asked)} for number, vector in enumerate(vectors)
        ]
        used = order.most["input_tokens"]
        usage = {"prompt_tokens": used, "total_tokens": used}
        body = orjson.dumps({"object": "list", "data": data, "model": asked.model, "usage": usage})
        return 200, body, [(b"content-type", JSON)]

    def _tokens(self, asked: ToEmbed) -> list[list[int]]:
        context, found = self.desk.context, []
        for number, text in enumerate(asked.texts):
            tokens = self.desk.preparer.tokens(text, f"input[{number}]")
            if len(tokens) > context:
                words = f"input[{number}]: found {len(tokens):,} tokens, the model's context has {context:,}. Cut the text."
                raise RequestError(400, "context_length_exceeded", words, param="input")
            found.append(tokens)
        return found

    async def _vectors(self, tokens: list[list[int]], gone: asyncio.Task[None], tally: Tally) -> list[np.ndarray]:
        """A few texts at a time, so that what is being generated goes on meanwhile. Errors: RequestError 499 and 504."""
        desk, vectors, spent_us = self.desk, list[np.ndarray](), 0
        for start in range(0, len(tokens), _EMBED_TEXTS):
            if gone.done():
                raise RequestError(499, "client_gone", "the client hung up before the answer.")
            if time.perf_counter() > tally.started + desk.options.answer_s:
                raise RequestError(504, "timeout", f"no answer within {desk.options.answer_s:g} s. Send fewer texts.")
            part = tokens[start : start + _EMBED_TEXTS]
            made, took_us = await desk.runner.call(lambda part=part: _timed(lambda: desk.engine.embed(part)))  # type: ignore[misc]
            vectors += list(made)
            spent_us += took_us
            units = {"input_tokens": sum(map(len, tokens[: start + _EMBED_TEXTS])), "compute_us": spent_us}
            tally.units = lambda units=units: units  # type: ignore[misc]
        return vectors


def _timed(work: Callable[[], T]) -> tuple[T, int]:
    """What a piece of work gives, and the microseconds that it took."""
    started = time.perf_counter()
    return work(), round((time.perf_counter() - started) * 1e6)


def _check_form(asked: Asked, requests: Sequence[Request], delta: Delta) -> None:
    """Errors: RequestError 400 where a step of the grammar took more than its bounds allow: the sequence ended too early."""
    for request in requests:
        problem = getattr(request.grammar, "problem", "") if request.id == delta.id else ""
        if problem and asked.form is not None:
            param = asked.form.param
            text = f"{param}: the answer could not be held to it: {problem}. Make it simpler."
            raise RequestError(400, "invalid_schema", text, param=param)


async def _watch(receive: Receive, ticket: Ticket) -> None:
    await until_gone(receive)
    ticket.fail(RequestError(499, "client_gone", "the client hung up before the end of the answer."))


def _counted(answer: Answer, ticket: Ticket) -> dict[str, int]:
    """The units of a generation, as far as it got."""
    counts = answer.counts
    return {
        "input_tokens": counts.input_tokens,
        "output_tokens": counts.output_tokens,
        "cached_tokens": counts.cached_tokens,
        "compute_us": ticket.compute_us,
    }


def _closing(answer: Answer) -> bytes:
    return b"".join(map(event, answer.closing())) + DONE


def _broken(failure: RequestError) -> bytes:
    """The end of a stream that broke off: OpenAI's clients raise it as an error. No [DONE] follows."""
    return event(error_record(failure))


def _encoded(vector: np.ndarray, asked: ToEmbed) -> Any:
    if asked.encoding == "base64":
        return base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode()
    return np.asarray(vector, np.float32).tolist()


def model_endpoints(desk: LanguageDesk) -> list[Told]:
    """`GET /v1/models`, and one route for each name."""
    records = [_model_record(desk, name) for name in desk.preparer.names]
    paths = {"/v1/models": {"object": "list", "data": records}} | {f"/v1/models/{record['id']}": record for record in records}
    return [Told(desk, Endpoint("GET", path, _always(record))) for path, record in paths.items()]


def _always(record: Any) -> Callable[[Status], tuple[int, Any]]:
    return lambda status: (200, record)


def _model_record(desk: LanguageDesk, name: str) -> dict[str, Any]:
    base = desk.model.name
    record = {"id": name, "object": "model", "created": desk.created, "owned_by": "lode", "max_model_len": desk.context}
    return record | ({} if name == base else {"parent": base})
