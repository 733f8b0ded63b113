"""A socket, and uvicorn on it: how every service of ours listens, bounds what a client may send before its body, and stops."""

from __future__ import annotations

import gc
import socket
import time
from asyncio import TimerHandle, Transport
from types import FrameType
from typing import Protocol

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lode.app.answering import Desk
from lode.app.connection import Joining
from lode.core.errors import ServeError

_BACKLOG = 2048
_COLLECT_AFTER = 20_000
"""Objects between two looks of the collector; Python's own 700 are made by a few requests, which leave hardly a cycle."""
_IDLE_S = 75
"""A kept connection is closed after so long without a request: later than load balancers (60 s) close theirs, so that none sends a
request into one that is being closed."""
MAX_HEAD_BYTES = 65536
HEAD_S = 20.0
"""Bytes of a request's head (its line and headers), and seconds within which it must have come: uvicorn bounds neither."""


class Listening(Protocol):
    """What options of a service have."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def grace_s(self) -> float: ...


def listen(options: Listening) -> socket.socket:
    """A listening socket, so that a taken port is an error of ours before anything else happens."""
    where = f"--host {options.host} --port {options.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, OverflowError) as error:
        raise ServeError(f"{where}: no such address ({error}). Try --host 127.0.0.1.") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # From here on clients wait instead of being refused, however long the rest of the start takes.
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise ServeError(f"{where}: cannot listen there ({error}). Choose another --port; 0 takes a free one.") from None
    return listener


def run_app(app: Starlette, options: Listening, listener: socket.socket) -> int:
    """Answer on a bound socket until SIGTERM or SIGINT, finish what is open, and return how many requests were answered."""
    # What was made so far stays: the collector need not look at the model and its libraries again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 50)
    Server(app, options).run(sockets=[listener])
    desk: Desk = app.state.service
    return desk.answered


class Server(uvicorn.Server):
    """uvicorn with a stop in two steps: first not ready and finishing, then gone; the process ends with 0."""

    def __init__(self, app: Starlette, options: Listening):
        config = uvicorn.Config(
            app,
            http=BoundedHead,
            lifespan="on",
            ws="none",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=1,
        )
        super().__init__(config)
        self._service: Desk = app.state.service
        self._grace_s = options.grace_s
        self._deadline: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain. Second: go. (uvicorn would raise the signal again at the end, and exit with it.)"""
        if self._deadline is not None:
            self.should_exit = self.force_exit = True
            return
        self._service.draining = True
        self._deadline = time.monotonic() + self._grace_s

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if self._deadline is not None and time.monotonic() > self._deadline:
            # What is open still hears that it is not complete: uvicorn waits a moment for it.
            self._service.overdue()
            self.should_exit = True
        elif self._deadline is not None and self._service.active == 0:
            self.should_exit = True
        return await super().on_tick(counter)


class BoundedHead(HttpToolsProtocol):
    """A connection whose heads are bounded in bytes and in time."""

    _bytes = 0
    _in_head = True
    _late: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(Joining(transport, self.loop))  # type: ignore[arg-type]
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._known()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        super().data_received(data)
        if self._in_head and self._bytes > MAX_HEAD_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._in_head:
            self._expect()

    def on_headers_complete(self) -> None:
        self._known()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._bytes = 0

    def _expect(self) -> None:
        self._in_head, self._bytes = True, 0
        self._late = self.loop.call_later(HEAD_S, self._refuse, b"408 Request Timeout")

    def _known(self) -> None:
        self._in_head = False
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse(self, status: bytes) -> None:
        """Say so, and hang up. Answers to earlier requests of this connection may be under way: then only hang up."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()
