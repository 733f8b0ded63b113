"""A connection: heads of requests bounded in bytes and time, whole answers in one system call. On uvicorn's protocol."""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES = 65536
HEAD_S = 20.0
"""Bytes of a request's head (its line and headers), and seconds within which it must have come: uvicorn bounds neither."""


class Connection(HttpToolsProtocol):
    """A connection whose heads are bounded in bytes and in time. So is whatever else is no part of a body (trailers, framing)."""

    _bytes = 0
    _in_head = True
    _late: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._known()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        super().data_received(data)
        if self._bytes > MAX_HEAD_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")
        elif self._in_head:
            if self._late is None:  # nearly every head comes in one piece, and needs no timer
                self._wait()
        elif self.timeout_keep_alive_task is None and self.cycle is not None and self.cycle.response_complete:
            # The rest of a body that was refused, a blank line: uvicorn stopped its clock, and would wait for ever.
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._in_head:
            self._in_head, self._bytes = True, 0

    def on_headers_complete(self) -> None:
        self._known()
        super().on_headers_complete()
        self.cycle.__class__ = Exchange  # it has not begun; uvicorn asks nobody which class to take
        self._bytes, self.headers = 0, []  # what follows are trailers, which nobody reads: no key and no id comes in one

    def on_body(self, body: bytes) -> None:
        self._bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._bytes = 0

    def _wait(self) -> None:
        self._late = self.loop.call_later(HEAD_S, self._overdue)

    def _known(self) -> None:
        self._in_head = False
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _overdue(self) -> None:
        if self.flow.read_paused:  # earlier requests are being answered, and the rest of this one waits in the socket
            self._wait()
        else:
            self._refuse(b"408 Request Timeout")

    def _refuse(self, status: bytes) -> None:
        """Say so, and hang up. Answers to earlier requests of this connection may be under way: then only hang up."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()


class Exchange(RequestResponseCycle):
    """A request and its answer. One that says its length, last of its head, leaves at once; uvicorn writes head and body one by one."""

    _head: Any = None
    """The message that began an answer and waits for the body."""

    async def send(self, message: Any) -> None:
        head, self._head = self._head, None
        if message["type"] == "http.response.start":
            headers = message["headers"]
            if headers and headers[-1][0] == b"content-length" and not self.response_started and self.scope["method"] != "HEAD":
                self._head = message
                return
        elif head is not None:
            if not message.get("more_body", False):
                await self._answer(head["status"], [*self.default_headers, *head["headers"]], message.get("body", b""))
                return
            await super().send(head)
        await super().send(message)

    async def _answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if (b"connection", b"close") in headers:
            self.keep_alive = False
        elif not self.keep_alive:
            headers.append((b"connection", b"close"))
        parts = [STATUS_LINE[status]]
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n")
        text = b"".join(parts)
        if not text.count(b"\n") == text.count(b"\r") == len(headers) + 2 or b"\0" in text:
            raise RuntimeError("a header holds a line break")
        if (b"content-length", b"%d" % len(body)) not in headers:
            raise RuntimeError("the body is not as long as its head says")
        self.transport.write(text + body)
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
