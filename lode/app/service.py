"""The HTTP service of one model: routes, how it starts and stops. READ FIRST in this folder, then `endpoints`.

Health and metrics are our own; every protocol of lode/app/protocols is mounted beside them. Endpoints are raw ASGI
applications on Starlette's router, with no middleware in between.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.routing import Route

from lode.app import describing
from lode.app.answering import Describe
from lode.app.batching import Batcher
from lode.app.books.contracts import Store
from lode.app.contracts import Gate, Protocol, Servable
from lode.app.endpoints import Predict, Service, Told
from lode.app.engine import Engine
from lode.app.listening import listen as listen
from lode.app.listening import run_app as run_app
from lode.app.metering.open_gate import OpenGate
from lode.app.monitor import RowMonitor
from lode.app.options import LanguageServeOptions, ServeOptions, UpstreamServeOptions
from lode.app.outcomes import Outcomes
from lode.app.routes import App, not_routed, own_routes, route
from lode.core import packages
from lode.core.errors import ServeError, listed
from lode.core.registry import REGISTRIES
from lode.core.types import Component

if TYPE_CHECKING:
    from lode.pipeline.loading import Loaded
    from lode.pipeline.upstream import UpstreamModel


Options = ServeOptions | LanguageServeOptions | UpstreamServeOptions


def create_app(model: Servable, options: ServeOptions, gate: Gate) -> Starlette:
    """The ASGI application that serves one model; `app.state.service` is its `Service`."""
    service = _service(model, options, gate)
    predict: list[Route] = []
    describe = own_routes(service)
    registry, paths = REGISTRIES["protocol"], dict[str, Any]()
    for word in registry.names():
        protocol: Protocol = registry.create(Component(word), model, options.max_rows)
        paths |= protocol.described()
        for endpoint in protocol.routes():
            if endpoint.describe is None:
                predict.append(route(Predict(service, endpoint, protocol)))
            else:
                describe.append(route(Told(service, endpoint, protocol)))

    if gate.books is not None:
        predict.append(route(Outcomes(service, gate.books, lambda: time.time_ns() // 1000)))
        paths |= describing.outcomes()
    describe.append(route(Describe(service, describing.endpoint(model.name, model.version, paths))))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with gate.running():
            yield
        service.batcher.close()

    # Predictions first: the router tries routes in order.
    app = App(predict + describe, lifespan, not_routed)
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
    books: str | None = None,
    pepper_file: str | Path | None = None,
    version: int | None = None,
    adapters: Mapping[str, str | Path] | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Serve a model until SIGTERM or SIGINT; returns {"name", "version", "url", "requests", "seconds"}.

    open: ask for no key, note nothing. Else every request is metered into the books: books: their location, before the file's
    `serve: {books: ...}` and `runs/books.sqlite`. key_file: a file with a key of ours; where there is no key at all, one is made
    and shown once. pepper_file: what keys are hashed with, before `runs/pepper`. host and port win over the file's `serve:` section.
    say: gets the lines for the person who starts it. adapters: of a language model, names for requests -> folders.

    Errors: ArtifactError where the model is missing, changed, or fails its parity check; ServeError for keys, ports and adapters.

    Example:
        lode.serve("breast-cancer", port=8000)
    """
    # `create_app` serves any Servable; only this verb needs the pipeline, and with it torch.
    from lode.pipeline.loading import load

    tell = say or _to_stderr
    if open and key_file is not None:
        raise ServeError("--open and --key-file: found both, one of them is allowed. Leave one out.")
    model = load(name, runs, version)
    parity = model.verify()
    options = _options(model, host, port, Path(runs), adapters)
    key, pepper = (None if path is None else Path(path) for path in (key_file, pepper_file))
    with listen(options) as listener, _gate(model.name, options, Path(runs), open, books, key, pepper, tell) as gate:
        address, bound_port = listener.getsockname()[:2]
        url = f"http://{f'[{address}]' if ':' in address else address}:{bound_port}"
        app = _app(model, options, gate, Path(runs))
        tell(f"{model.name} version {model.version}: {_proof(model, options, parity['rows'])}")
        tell(f"Serving at {url}")
        started = time.monotonic()
        answered = run_app(app, options, listener)
    seconds = round(time.monotonic() - started, 3)
    return {"name": model.name, "version": model.version, "url": url, "requests": answered, "seconds": seconds}


def _proof(model: Loaded, options: Options, count: int) -> str:
    """What is known of the answers before the first one."""
    if isinstance(options, UpstreamServeOptions):
        return f"somebody else's model. {model.card['headline']}."
    if isinstance(options, ServeOptions):
        return f"{count} held-out rows answered as in training."
    narrowing = getattr(model, "narrowing", None)
    return f"{count} held-out tokens answered as in training{'' if narrowing is None else f'; {narrowing}'}."


def _app(model: Any, options: Options, gate: Gate, runs: Path) -> Starlette:
    """The application for each kind of model."""
    if isinstance(options, ServeOptions):
        return create_app(model, options, gate)
    if isinstance(options, UpstreamServeOptions):
        return _upstream_app(model, options, gate, runs)
    # Here: a table model has no need of the engine and the tokenizers.
    from lode.app.language.service import create_language_app

    return create_language_app(model, options, gate)


def _upstream_app(model: UpstreamModel, options: UpstreamServeOptions, gate: Gate, runs: Path) -> Starlette:
    """Errors: MissingPackageError without the extra `upstream`."""
    # Here: no other model needs an HTTP client.
    try:
        from lode.app.upstream.service import create_upstream_app
    except ModuleNotFoundError as error:
        raise packages.missing("model upstream", error) from error
    from lode.pipeline.upstream import secret_folders

    return create_upstream_app(model, options, gate, secret_folders(runs, model.card))


def _options(model: Loaded, host: str | None, port: int | None, runs: Path, adapters: Mapping[str, str | Path] | None) -> Options:
    """The file's `serve:` section, which the artifact's card carries, and what was said at the start."""
    written: dict[str, Any] = dict(model.card.get("serve") or {})
    kind = _kind(model)
    unknown = [key for key in written if key not in kind.__dataclass_fields__]
    if unknown:
        raise ServeError(f"{model.name}: this lode knows no serve option {listed(unknown)}. Upgrade lode, or package it again.")
    if adapters and kind is not LanguageServeOptions:
        raise ServeError(f"--adapter: found {listed(adapters)}, allowed: none, {model.name} is no language model. Leave it out.")
    if kind is LanguageServeOptions:
        # Paths of a file are relative to it, and it lies beside its runs.
        found = {name: str(runs.resolve().parent / folder) for name, folder in (written.get("adapters") or {}).items()}
        written["adapters"] = {**found, **{name: str(folder) for name, folder in (adapters or {}).items()}}
    options = kind(**written)
    if host is not None:
        options = replace(options, host=host)
    return options if port is None else replace(options, port=port)


def _kind(model: Loaded) -> type[Options]:
    """By what the model has: providers, a tokenizer, or columns."""
    if hasattr(model, "providers"):
        return UpstreamServeOptions
    return LanguageServeOptions if hasattr(model, "tokenizer") else ServeOptions


@contextmanager
def _gate(
    model: str,
    options: Options,
    runs: Path,
    open: bool,
    books: str | None,
    key_file: Path | None,
    pepper_file: Path | None,
    tell: Callable[[str], None],
) -> Iterator[Gate]:
    """The gate in front of the model, and the books open behind it."""
    if open:
        tell("No key is asked for (--open): whoever reaches the port can use the model, and nothing is noted.")
        yield OpenGate()
        return
    # Here: --open needs no books.
    from lode.app.metering import opening
    from lode.app.metering.gate import GateOptions

    beside = runs.resolve().parent
    if books is None and options.books is not None:
        books = options.books if "://" in options.books else str(beside / options.books)
    plan = None if options.plan is None else beside / "plans" / f"{options.plan}.toml"
    where = opening.Where(runs=runs, books=books, key_file=key_file, pepper_file=pepper_file, plan=plan)
    kept = GateOptions(wait_s=options.budget_wait_s, keep_s=options.kept_hours * 3600, keep_bytes=options.kept_bytes)
    gate, store = opening.opened(where, model, kept, tell)
    with store, _checkpoints(options.checkpoints, beside, runs, store, tell):
        yield gate


def _checkpoints(
    place: str | None, beside: Path, runs: Path, store: Store, tell: Callable[[str], None]
) -> AbstractContextManager[object]:
    """Signed checkpoints of the books while it is served. Errors: MissingPackageError (extra `encryption`), BackupError (the place)."""
    if place is None:
        return nullcontext()
    # Here: nobody else needs what signs.
    try:
        from lode.app.audit.automatic import Automatic
        from lode.app.audit.signing import signer
    except ModuleNotFoundError as error:
        raise packages.missing("serve.checkpoints", error) from error
    from lode.app.metering.opening import clock_us
    from lode.app.targets.open import open_target

    target = open_target(place if "://" in place else beside / place)
    return Automatic(store, signer(runs), target, clock_us, say=tell)


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
