"""A socket, and uvicorn on it: how every service of ours listens and stops. What a client sends first: `lode/app/connection.py`."""

from __future__ import annotations

import gc
import socket
import time
from types import FrameType
from typing import Protocol

import uvicorn
from starlette.applications import Starlette

from lode.app.answering import Desk
from lode.app.connection import Connection
from lode.core.errors import ServeError

_BACKLOG = 2048
_COLLECT_AFTER = 20_000
"""Objects between two looks of the collector; Python's own 700 are made by a few requests, which leave hardly a cycle."""
_IDLE_S = 75
"""A kept connection is closed after so long without a request: later than load balancers (60 s) close theirs, so that none sends a
request into one that is being closed."""


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
    if not 0 <= options.port <= 65535:  # getaddrinfo takes what is left of it: 99999 would listen on 34463
        raise ServeError(f"{where}: found {options.port}, allowed: 0 to 65535; 0 takes a free one. Choose another --port.")
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
            http=Connection,
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
