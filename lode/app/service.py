"""The HTTP service of one model: options, routes, how it starts and stops. READ FIRST in this folder, then `endpoints`.

Health and metrics are our own; every protocol of lode/app/protocols is mounted beside them. Endpoints are raw ASGI
applications on Starlette's router, with no middleware in between.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from lode.app.answering import Describe, Desk
from lode.app.batching import Batcher
from lode.app.contracts import Gate, Protocol, Servable
from lode.app.endpoints import Predict, Service
from lode.app.engine import Engine
from lode.app.keys import KeyGate, read_key_file, stored_or_made
from lode.app.language.options import LanguageServeOptions
from lode.app.monitor import RowMonitor
from lode.app.routes import not_routed, own_routes, route
from lode.core.errors import ServeError, listed
from lode.core.registry import REGISTRIES
from lode.core.types import Component, Range

if TYPE_CHECKING:
    from lode.pipeline.loading import Loaded


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """The `serve:` section of the file.

    Args:
        host: address to listen on; 0.0.0.0 is every network interface.
        port: TCP port; 0 takes a free one.
        queue_rows: rows that may wait; beyond, requests are answered with 429.
        max_batch: rows that are merged into one model call.
        max_rows: rows that one request may have.
        max_body_bytes: bytes that one request may have.
        timeout_s: seconds until a request that waits is answered with 504.
        grace_s: seconds that open requests get when the server is stopped.
        max_wait_ms: milliseconds that a request may wait for others to be merged with; 0 merges only what waits anyway.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Range(0, 65535)] = 8000
    queue_rows: Annotated[int, Range(1)] = 4096
    max_batch: Annotated[int, Range(1)] = 256
    max_rows: Annotated[int, Range(1)] = 1024
    max_body_bytes: Annotated[int, Range(1)] = 33554432
    timeout_s: Annotated[float, Range(0, open_low=True)] = 30.0
    grace_s: Annotated[float, Range(0)] = 30.0
    max_wait_ms: Annotated[float, Range(0)] = 0.0


Options = ServeOptions | LanguageServeOptions

_BACKLOG = 2048


def create_app(model: Servable, options: ServeOptions, gate: Gate) -> Starlette:
    """The ASGI application that serves one model; `app.state.service` is its `Service`."""
    service = _service(model, options, gate)
    predict: list[Route] = []
    describe = own_routes(service)
    registry = REGISTRIES["protocol"]
    for word in registry.names():
        protocol: Protocol = registry.create(Component(word), model, options.max_rows)
        for endpoint in protocol.routes():
            if endpoint.describe is None:
                predict.append(route(Predict(service, endpoint, protocol)))
            else:
                describe.append(route(Describe(service, endpoint)))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        service.batcher.close()

    # Predictions first: the router tries routes in order.
    app = Starlette(routes=predict + describe, lifespan=lifespan, exception_handlers={HTTPException: not_routed})
    app.state.service = service
    return app


def _service(model: Servable, options: ServeOptions, gate: Gate) -> Service:
    monitor = RowMonitor(name=model.name, version=model.version, hash=model.hash)
    batcher = Batcher(
        Engine(model).run,
        max_batch=options.max_batch,
        queue_rows=options.queue_rows,
        timeout_s=options.timeout_s,
        max_wait_ms=options.max_wait_ms,
        on_batch=monitor.batch,
    )
    monitor.watch_queue(lambda: batcher.waiting_rows)
    return Service(model, gate, batcher, monitor, max_body_bytes=options.max_body_bytes, body_timeout_s=options.timeout_s)


def serve(
    name: str,
    *,
    runs: str | Path = "runs",
    host: str | None = None,
    port: int | None = None,
    open: bool = False,
    key_file: str | Path | None = None,
    version: int | None = None,
    adapters: Mapping[str, str | Path] | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Serve a model until SIGTERM or SIGINT; returns {"name", "version", "url", "requests", "seconds"}.

    open: ask for no key. key_file: a file with the key; else one is made at the first start, shown once, and kept as a
    hash in `runs/keys.json`. host and port win over the file's `serve:` section. say: gets the lines for the person who
    starts it. adapters: of a language model, names for requests -> folders, beside those of the file.

    Errors: ArtifactError where the model is missing, changed, or fails its parity check; ServeError for keys, ports and adapters.

    Example:
        lode.serve("breast-cancer", port=8000)
    """
    # `create_app` serves any Servable; only this verb needs the pipeline, and with it torch.
    from lode.pipeline.loading import load

    tell = say or _to_stderr
    if open and key_file is not None:
        raise ServeError("--open and --key-file: found both, one of them is allowed. Leave one out.")
    digest = None if key_file is None else read_key_file(Path(key_file))
    model = load(name, runs, version)
    parity = model.verify()
    options = _options(model, host, port, Path(runs), adapters)
    with listen(options) as listener:
        address, bound_port = listener.getsockname()[:2]
        url = f"http://{f'[{address}]' if ':' in address else address}:{bound_port}"
        gate = KeyGate(digest) if digest is not None else _gate(Path(runs), open, tell)
        app = _app(model, options, gate)
        what = "rows" if isinstance(options, ServeOptions) else "tokens"
        tell(f"{model.name} version {model.version}: {parity['rows']} held-out {what} answered as in training.")
        tell(f"Serving at {url}")
        started = time.monotonic()
        answered = run_app(app, options, listener)
    seconds = round(time.monotonic() - started, 3)
    return {"name": model.name, "version": model.version, "url": url, "requests": answered, "seconds": seconds}


def _app(model: Any, options: Options, gate: Gate) -> Starlette:
    """The application for either kind of model."""
    if isinstance(options, ServeOptions):
        return create_app(model, options, gate)
    # Here: a table model has no need of the engine and the tokenizers.
    from lode.app.language.service import create_language_app

    return create_language_app(model, options, gate)


def run_app(app: Starlette, options: Options, listener: socket.socket) -> int:
    """Answer on a bound socket until SIGTERM or SIGINT, finish what is open, and return how many requests were answered."""
    _Server(app, options).run(sockets=[listener])
    desk: Desk = app.state.service
    return desk.answered


class _Server(uvicorn.Server):
    """uvicorn with a stop in two steps: first not ready and finishing, then gone; the process ends with 0."""

    def __init__(self, app: Starlette, options: Options):
        config = uvicorn.Config(
            app,
            lifespan="on",
            ws="none",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
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


def _options(model: Loaded, host: str | None, port: int | None, runs: Path, adapters: Mapping[str, str | Path] | None) -> Options:
    """The file's `serve:` section, which the artifact's card carries, and what was said at the start."""
    written: dict[str, Any] = dict(model.card.get("serve") or {})
    kind: type[Options] = LanguageServeOptions if hasattr(model, "tokenizer") else ServeOptions
    unknown = [key for key in written if key not in kind.__dataclass_fields__]
    if unknown:
        raise ServeError(f"{model.name}: this lode knows no serve option {listed(unknown)}. Upgrade lode, or package it again.")
    if adapters and kind is ServeOptions:
        raise ServeError(f"--adapter: found {listed(adapters)}, allowed: none, {model.name} is no language model. Leave it out.")
    if kind is LanguageServeOptions:
        # Paths of a file are relative to it, and it lies beside its runs.
        found = {name: str(runs.resolve().parent / folder) for name, folder in (written.get("adapters") or {}).items()}
        written["adapters"] = {**found, **{name: str(folder) for name, folder in (adapters or {}).items()}}
    options = kind(**written)
    if host is not None:
        options = replace(options, host=host)
    return options if port is None else replace(options, port=port)


def listen(options: Options) -> socket.socket:
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


def _gate(runs: Path, open: bool, tell: Callable[[str], None]) -> KeyGate:
    if open:
        tell("No key is asked for (--open): whoever reaches the port can use the model.")
        return KeyGate(None)
    digest, key = stored_or_made(runs)
    if key is not None:
        tell(f"Key, shown only now: {key}\nSend it with every request: Authorization: Bearer {key}")
    else:
        tell(f"The key was shown at the first start. Lost? Delete {runs / 'keys.json'} and start again.")
    return KeyGate(digest)


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
