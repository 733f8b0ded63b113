"""What the engine brought, in OpenAI's words: whole answers, and the chunks of a stream. Both are made by the same code.

Sources: https://platform.openai.com/docs/api-reference/chat/object, .../chat/streaming, .../completions/object.
"""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lode.app.contracts import RequestError
from lode.app.language.contracts import Asked
from lode.app.language.pieces import Pieces, Ruler
from lode.app.language.tools import CallReader, Said
from lode.app.openai_form import DONE as DONE
from lode.app.openai_form import error_record as error_record
from lode.app.openai_form import event as event
from lode.model.language.engine.contracts import Delta, Request, TokenFacts


class Counts:
    """Tokens of one request: exact as far as it got."""

    def __init__(self, requests: Sequence[Request], asked: Asked):
        # Of several choices of one prompt, the prompt counts once.
        self._firsts = {request.id for request in requests[:: asked.count]}
        self.input_tokens = sum(len(request.tokens) for request in requests[:: asked.count])
        self._output: dict[str, int] = {}
        self._cached: dict[str, int] = {}

    def add(self, delta: Delta) -> None:
        """Count a delta; the last one of a sequence has the exact figures."""
        seen = self._output.get(delta.id, 0) + len(delta.tokens)
        self._output[delta.id] = delta.output_tokens if delta.finish_reason is not None else max(seen, delta.output_tokens)
        if delta.id in self._firsts:
            self._cached[delta.id] = delta.cached_tokens

    @property
    def output_tokens(self) -> int:
        return sum(self._output.values())

    @property
    def cached_tokens(self) -> int:
        return sum(self._cached.values())

    def to_json(self) -> dict[str, Any]:
        """OpenAI's `usage`."""
        return {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }


class Answer(ABC):
    """The answer to one request. take: a delta in, the chunks that a stream sends for it out; whole: everything, at the end."""

    kind: str
    chunk_kind: str

    def __init__(self, id: str, asked: Asked, requests: Sequence[Request], pieces: Pieces):
        self.asked, self.counts = asked, Counts(requests, asked)
        self._pieces = pieces
        self._numbers = {request.id: number for number, request in enumerate(requests)}
        self._head = {"id": id, "created": int(time.time()), "model": asked.model}
        self._finished: dict[int, str] = {}
        self._ends = {token for request in requests for token in request.sampling.stop_tokens}

    def take(self, delta: Delta) -> list[dict[str, Any]]:
        """Errors: RequestError 500 where the model failed on this sequence."""
        self.counts.add(delta)
        if delta.finish_reason == "error":
            raise RequestError(500, "model_failed", f"the model failed on this request: {delta.error}.")
        number = self._numbers[delta.id]
        if delta.finish_reason == "stop" and delta.tokens and delta.tokens[-1].token in self._ends:
            delta = replace(delta, tokens=delta.tokens[:-1])  # the mark of the end is counted, but no part of the text
        choices = [choice | {"finish_reason": None} for choice in self.parts(number, delta)]
        if delta.finish_reason is not None:
            reason = self._finished[number] = self.reason(number, delta)
            if not choices:
                choices.append(self.empty(number) | {"finish_reason": None})
            choices[-1]["finish_reason"] = reason
        return [self._chunk([choice]) for choice in choices]

    @property
    def is_over(self) -> bool:
        """Whether every choice has ended."""
        return len(self._finished) == len(self._numbers)

    def opening(self) -> list[dict[str, Any]]:
        """The chunks before the first delta."""
        return []

    def closing(self) -> list[dict[str, Any]]:
        """The chunk after the last delta, where it was asked for: usage, and no choice."""
        return [self._chunk([]) | {"usage": self.counts.to_json()}] if self.asked.with_usage else []

    def whole(self) -> dict[str, Any]:
        """The answer without a stream."""
        choices = [self.choice(number) | {"finish_reason": self._finished[number]} for number in range(len(self._numbers))]
        return {**self._head, "object": self.kind, "choices": choices, "usage": self.counts.to_json()}

    @abstractmethod
    def parts(self, number: int, delta: Delta) -> Iterator[dict[str, Any]]:
        """What a delta adds to a choice, as a stream says it; it is kept for `choice` too."""

    @abstractmethod
    def empty(self, number: int) -> dict[str, Any]:
        """A part that adds nothing: it carries the reason for the end."""

    @abstractmethod
    def choice(self, number: int) -> dict[str, Any]:
        """A choice as a whole."""

    def reason(self, number: int, delta: Delta) -> str:
        """Why a choice ended."""
        return str(delta.finish_reason)

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        usage = {"usage": None} if self.asked.with_usage else {}
        return {**self._head, "object": self.chunk_kind, "choices": choices, **usage}


class ChatAnswer(Answer):
    """`chat.completion` and `chat.completion.chunk`."""

    kind, chunk_kind = "chat.completion", "chat.completion.chunk"

    def __init__(self, id: str, asked: Asked, requests: Sequence[Request], pieces: Pieces):
        super().__init__(id, asked, requests, pieces)
        count = len(requests)
        self._readers = [CallReader() for _ in range(count)] if asked.calls else []
        self._texts: list[list[str]] = [[] for _ in range(count)]
        self._calls: list[list[dict[str, Any]]] = [[] for _ in range(count)]
        self._logprobs: list[list[dict[str, Any]]] = [[] for _ in range(count)]

    def opening(self) -> list[dict[str, Any]]:
        return [
            self._chunk([self._part(number, {"role": "assistant", "content": ""}, None) | {"finish_reason": None}])
            for number in range(len(self._numbers))
        ]

    def parts(self, number: int, delta: Delta) -> Iterator[dict[str, Any]]:
        logprobs = None
        if self.asked.sampling.logprobs is not None and delta.tokens:
            entries = [self._entry(facts) for facts in delta.tokens]
            self._logprobs[number] += entries
            logprobs = {"content": entries, "refusal": None}
        said = [self._said(number, item) for item in self._read(number, delta)]
        if logprobs is not None and not said:
            said.append({})
        for at, record in enumerate(said):
            yield self._part(number, record, logprobs if at == 0 else None)

    def empty(self, number: int) -> dict[str, Any]:
        return self._part(number, {}, None)

    def choice(self, number: int) -> dict[str, Any]:
        text = "".join(self._texts[number])
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if self._calls[number]:
            message |= {"content": text or None, "tool_calls": self._calls[number]}
        wanted = self.asked.sampling.logprobs is not None
        logprobs = {"content": self._logprobs[number], "refusal": None} if wanted else None
        return {"index": number, "message": message, "logprobs": logprobs}

    def reason(self, number: int, delta: Delta) -> str:
        if self._calls[number] and delta.finish_reason == "stop":
            return "tool_calls"
        return super().reason(number, delta)

    def _read(self, number: int, delta: Delta) -> list[Said]:
        """The text of a delta, cut into text and calls where tools are there."""
        if not self._readers:
            return [Said(delta.text)] if delta.text else []
        reader = self._readers[number]
        found = reader.feed(delta.text) if delta.text else []
        return found + reader.end() if delta.finish_reason is not None else found

    def _said(self, number: int, said: Said) -> dict[str, Any]:
        """A part of the answer as a delta of the stream; kept for the whole too."""
        if said.call is None:
            self._texts[number].append(said.text)
            return {"content": said.text}
        if said.name:
            function = {"name": said.name, "arguments": ""}
            call = {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}
            self._calls[number].append(call)
            return {"tool_calls": [{"index": said.call, **call, "function": dict(function)}]}
        self._calls[number][said.call]["function"]["arguments"] += said.text
        return {"tool_calls": [{"index": said.call, "function": {"arguments": said.text}}]}

    def _entry(self, facts: TokenFacts) -> dict[str, Any]:
        top = [self._token(token, logprob) for token, logprob in facts.top]
        return self._token(facts.token, facts.logprob) | {"top_logprobs": top}

    def _token(self, token: int, logprob: float | None) -> dict[str, Any]:
        written = self._pieces.bytes_of(token)
        return {"token": written.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(written)}

    def _part(self, number: int, delta: Mapping[str, Any], logprobs: Any) -> dict[str, Any]:
        return {"index": number, "delta": dict(delta), "logprobs": logprobs}


class CompletionAnswer(Answer):
    """`text_completion`, whole and in chunks."""

    kind = chunk_kind = "text_completion"

    def __init__(self, id: str, asked: Asked, requests: Sequence[Request], pieces: Pieces, echoes: Sequence[str]):
        super().__init__(id, asked, requests, pieces)
        self._texts = [[echo] if echo else [] for echo in echoes]
        self._echoes = list(echoes)
        self._facts: list[list[TokenFacts]] = [[] for _ in requests]
        self._rulers = [Ruler(pieces) for _ in requests]

    def opening(self) -> list[dict[str, Any]]:
        return [
            self._chunk([self._part(number, echo, ()) | {"finish_reason": None}])
            for number, echo in enumerate(self._echoes)
            if echo
        ]

    def parts(self, number: int, delta: Delta) -> Iterator[dict[str, Any]]:
        self._texts[number].append(delta.text)
        self._facts[number] += delta.tokens
        wanted = self.asked.sampling.logprobs is not None
        if delta.text or (wanted and delta.tokens):
            yield self._part(number, delta.text, delta.tokens)

    def empty(self, number: int) -> dict[str, Any]:
        return self._part(number, "", ())

    def choice(self, number: int) -> dict[str, Any]:
        self._rulers[number] = Ruler(self._pieces)
        return self._part(number, "".join(self._texts[number]), self._facts[number])

    def _part(self, number: int, text: str, facts: Sequence[TokenFacts]) -> dict[str, Any]:
        wanted = self.asked.sampling.logprobs is not None
        return {"index": number, "text": text, "logprobs": self._logprobs(number, facts) if wanted else None}

    def _logprobs(self, number: int, facts: Sequence[TokenFacts]) -> dict[str, Any]:
        """The older form: lists side by side; offsets are characters from the beginning of the text."""
        texts = [self._pieces.text_of(fact.token) for fact in facts]
        offsets = [self._rulers[number].before(fact.token) for fact in facts]
        # The chosen token stands among them too, even where it is not one of the likeliest.
        pairs = [(*fact.top, (fact.token, fact.logprob)) for fact in facts]
        top = [{self._pieces.text_of(token): logprob for token, logprob in each} for each in pairs]
        return {"tokens": texts, "token_logprobs": [fact.logprob for fact in facts], "top_logprobs": top, "text_offset": offsets}
