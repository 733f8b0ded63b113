"""A connection: heads of requests bounded in bytes and time, whole answers in one system call. On uvicorn's protocol."""

from __future__ import annotations

from asyncio import Event, TimerHandle, Transport
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES = 65536
HEAD_S = 20.0
"""Bytes of a request's head (its line and headers), and seconds within which it must have come: uvicorn bounds neither."""
_CLOSE = (b"connection", b"close")
_SHORT_URL = 256
"""Bytes of a request's target that is remembered: nearly all requests are for a few of them."""


class Connection(HttpToolsProtocol):
    """A connection whose heads are bounded in bytes and in time. So is whatever else is no part of a body (trailers, framing)."""

    _bytes = 0
    _in_head = True
    _late: TimerHandle | None = None
    _idle_s: float | None = None
    """Since when nothing is asked; None while something is. The clock runs through meanwhile, and looks here when it rings: uvicorn makes
    one anew after each request."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._known()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        super().data_received(data)
        if self._bytes > MAX_HEAD_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")
        elif self._in_head:
            if self._late is None:  # nearly every head comes in one piece, and needs no timer
                self._wait()
        elif self._idle_s is None and self.cycle is not None and self.cycle.response_complete:
            # The rest of a body that was refused, a blank line: uvicorn stops its clock, and would wait for ever.
            self._idle()

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False
        if not self._in_head:
            self._in_head, self._bytes = True, 0

    def on_headers_complete(self) -> None:
        """What uvicorn does, less what a service of ours has not: web sockets, a limit of requests, a log, a folder of its own."""
        self._in_head = False
        if self._late is not None:
            self._known()
        parser, url, before = self.parser, self.url, self.cycle
        version = parser.get_http_version()
        path, raw_path, query = _known_target(url) if len(url) <= _SHORT_URL else _target(url)
        scope: Any = {
            "type": "http", "asgi": {"version": self.asgi_version, "spec_version": "2.3"}, "http_version": version, "server": self.server,
            "client": self.client, "scheme": self.scheme, "root_path": "", "headers": self.headers, "state": self.app_state.copy(),
            "method": parser.get_method().decode("ascii"), "path": path, "raw_path": raw_path, "query_string": query,
        }  # fmt: skip
        cycle = self.cycle = Exchange(
            scope, self.transport, self.flow, self.logger, self.access_logger, False, self.server_state.default_headers,
            Event(), self.expect_100_continue, version != "1.0" and parser.should_keep_alive(), self.on_response_complete,
        )  # fmt: skip
        self._bytes, self.headers = 0, []  # what follows are trailers, which nobody reads: no key and no id comes in one
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def on_body(self, body: bytes) -> None:
        self._bytes, cycle = 0, self.cycle
        if not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._bytes, cycle = 0, self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())
            else:
                self._idle()

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._idle_s is not None:
            left_s = self._idle_s + self.timeout_keep_alive - self.loop.time()
            if left_s > 0:
                self.timeout_keep_alive_task = self.loop.call_later(left_s, self.timeout_keep_alive_handler)
            else:
                super().timeout_keep_alive_handler()

    def _unset_keepalive_if_required(self) -> None:
        self._idle_s = None

    def _idle(self) -> None:
        self._idle_s = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

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

    def arrived(self) -> bytes | None:
        """The body, where all of it is there: what `receive` gives, without its turns. None where somebody has to wait for it."""
        if self.more_body or self.disconnected or self.response_complete or self.waiting_for_100_continue:
            return None
        self.flow.resume_reading()
        self.message_event.clear()
        body, self.body = bytes(self.body), bytearray()
        return body

    async def send(self, message: Any) -> None:
        head, self._head = self._head, None
        if message["type"] == "http.response.start":
            headers = message["headers"]
            if headers and headers[-1][0] == b"content-length" and not self.response_started and self.scope["method"] != "HEAD":
                self._head = message
                return
        elif head is not None:
            if not message.get("more_body", False):
                await self.send_whole(head["status"], head["headers"], message.get("body", b""))
                return
            await super().send(head)
        await super().send(message)

    async def send_whole(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """An answer at once, of which nothing was sent and no part comes later. headers: the last one says its length."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        lines = [*self.default_headers, *headers]
        if _CLOSE in lines:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(_CLOSE)
        text = STATUS_LINE[status] + b"\r\n".join(map(b": ".join, lines)) + b"\r\n\r\n"
        if not text.count(b"\n") == text.count(b"\r") == len(lines) + 2 or b"\0" in text:
            raise RuntimeError("a header holds a line break")
        if headers[-1][1] != b"%d" % len(body):
            raise RuntimeError("the body is not as long as its head says")
        self.transport.write(text if self.scope["method"] == "HEAD" else text + body)
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def _target(url: bytes) -> tuple[str, bytes, bytes]:
    """Path, the same as it came, query. Errors: httptools.HttpParserInvalidURLError."""
    parsed = httptools.parse_url(url)
    raw: bytes = parsed.path
    path = raw.decode("ascii")
    return unquote(path) if "%" in path else path, raw, parsed.query or b""


_known_target = lru_cache(maxsize=256)(_target)
