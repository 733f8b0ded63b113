"""Server-sent events of a provider, read one by one, never more than one buffer of them, and made into what the client gets.

https://html.spec.whatwg.org/multipage/server-sent-events.html: lines end with LF or CRLF, an empty one ends an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from lode.app.upstream.calls import Call
from lode.app.upstream.counting import Counted, counted, likely_tokens, text_bytes
from lode.app.upstream.failure import TryError

_DONE = b"[DONE]"
_ALIVE = b":\n\n"
"""A comment, so that a client that waits hears that the line is open."""


class Events:
    """The events of one answer. most_bytes: of one event."""

    def __init__(self, response: aiohttp.ClientResponse, call: Call, most_bytes: int):
        self._content = response.content
        self._call = call
        self._most_bytes = most_bytes
        self._left = b""
        self._usage: Counted | None = None
        self._answer_bytes = 0
        self._open: set[Any] = set()
        self._seen = 0
        self.is_over = False
        """Whether the provider said that this was all."""

    @property
    def has_begun(self) -> bool:
        """Whether a part of an answer has come."""
        return self._seen > 0

    def counted(self) -> Counted:
        """What it took so far: the provider's figures, or an estimate of what came."""
        if self._usage is not None:
            return self._usage
        call = self._call
        output = min(likely_tokens(self._answer_bytes), call.output_most)
        return Counted(likely_tokens(call.input_bytes), 0, output, estimated=True)

    async def some(self) -> bytes:
        """What the client gets of the events that came next, perhaps nothing.

        Errors: TryError where the provider breaks off, sends nothing in time, or what is no event of an answer.
        """
        try:
            chunk = await self._content.readany()
        except aiohttp.ServerTimeoutError:
            raise TryError("timeout", "stopped in the middle of a stream", lost=self.counted()) from None
        except (aiohttp.ClientError, OSError) as error:
            raise TryError("cut", f"cut a stream off ({type(error).__name__})", lost=self.counted()) from None
        if not chunk:
            return self._end()
        if b"\r" in chunk or self._left.endswith(b"\r"):
            chunk = (self._left + chunk).replace(b"\r\n", b"\n")
            self._left = b""
        *whole, self._left = (self._left + chunk).split(b"\n\n")
        if len(self._left) > self._most_bytes:
            raise TryError("too_large", f"sent an event of more than {self._most_bytes:,} bytes", lost=self.counted())
        return b"".join([self._taken(item) for item in whole])

    def _end(self) -> bytes:
        """The provider closed the stream: well, where every choice had said why it ended."""
        if not self._seen or self._open:
            raise TryError("cut", "ended a stream before its end", lost=self.counted())
        self.is_over = True
        return b""

    def _taken(self, item: bytes) -> bytes:
        data = item[6:] if item.startswith(b"data: ") and b"\n" not in item else _data(item)
        if data is None or self.is_over:
            return _ALIVE if item and not self.is_over else b""
        if data == _DONE:
            self.is_over = True
            return b""
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise TryError("garbage", "sent an event that is no JSON", lost=self.counted()) from None
        if not isinstance(chunk, dict) or not isinstance(chunk.get("choices"), list):
            word = "an error" if isinstance(chunk, dict) and "error" in chunk else "an event that is no part of an answer"
            raise TryError("garbage", f"sent {word} in a stream", lost=self.counted())
        return self._sent_on(chunk)

    def _sent_on(self, chunk: dict[str, Any]) -> bytes:
        """A part of the answer under our name, with the usage that the client asked for and no other."""
        call, choices = self._call, chunk["choices"]
        self._usage = counted(chunk.get("usage")) or self._usage
        self._seen += 1
        for choice in choices:
            if isinstance(choice, Mapping):
                self._choice(choice)
        chunk["model"] = call.asked
        if not call.wants_usage:
            usage = chunk.pop("usage", None)
            if usage is not None and not choices:
                return b""
        return b"data: " + written(chunk, self.counted()) + b"\n\n"

    def _choice(self, choice: Mapping[str, Any]) -> None:
        self._answer_bytes += text_bytes(choice.get("delta") or choice.get("text") or "")
        index = choice.get("index")
        if not isinstance(index, int):
            return
        if choice.get("finish_reason") is None:
            self._open.add(index)
        else:
            self._open.discard(index)


def written(record: dict[str, Any], lost: Counted) -> bytes:
    """A provider's JSON as ours. Errors: TryError where it is nested so deep that it can be read and not written."""
    try:
        return orjson.dumps(record)
    except orjson.JSONEncodeError:
        raise TryError("garbage", "answered with what is nested too deeply", lost=lost) from None


def _data(item: bytes) -> bytes | None:
    """The data of an event; None for one without any."""
    lines = [line.removeprefix(b"data:").removeprefix(b" ") for line in item.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None
