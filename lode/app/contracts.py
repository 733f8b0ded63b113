"""The contracts of the app layer: protocol (a wire format) and gate (who may call, and what is noted about a call).

A protocol turns bytes into `Cells` and an `Answer` into bytes; it knows no queue and no sockets. `lode/app/service.py`
mounts every protocol of the folder and does the rest.
"""

from __future__ import annotations

import typing
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from lode.core.errors import ServeError
from lode.core.types import ColumnSchema, Problem, quick

if TYPE_CHECKING:
    import polars as pl

    from lode.app.books.contracts import Store

MAX_PROBLEMS = 100
"""Problems that one answer lists; the rest is counted."""

OPERATOR = "operator"
"""The scope that only keys of an organisation of kind "own" have: what concerns all customers (metrics)."""

Dtype = Literal["Float64", "Int64", "String", "Boolean", "Binary"]
"""The polars type in which a column of a request travels."""


class Servable(typing.Protocol):
    """What the service needs of a model; `lode.pipeline.artifact.Model` is one."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int | None: ...
    @property
    def hash(self) -> str: ...
    @property
    def card(self) -> Mapping[str, Any]: ...
    @property
    def columns(self) -> tuple[ColumnSchema, ...]: ...
    @property
    def ignored(self) -> frozenset[str]: ...
    @property
    def answers(self) -> tuple[ColumnSchema, ...]: ...

    def problems(self, frame: pl.DataFrame) -> list[Problem]: ...
    def unseen(self, frame: pl.DataFrame) -> dict[str, int]: ...
    def predict(self, frame: pl.DataFrame, *, check: bool = True) -> pl.DataFrame: ...


@dataclass(frozen=True, slots=True)
class Cells:
    """The rows of one request, column by column, in the order of the model's columns.

    columns: name -> cells; None where a cell is empty.
    dtypes: one per column; requests with equal dtypes can be merged into one model call.
    id: the request's own name for itself, given back in the answer; "" where it has none.
    outputs: answer columns that were asked for; empty means all.
    """

    num_rows: int
    columns: Mapping[str, list[Any]]
    dtypes: tuple[Dtype, ...]
    id: str = ""
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """Predictions of one request, column by column, and how many cells held a value that training never saw.

    compute_us: microseconds of the model call that were this request's: its share, by rows, of those merged with it.
    """

    num_rows: int
    columns: Mapping[str, list[Any]]
    unseen: Mapping[str, int] = field(default_factory=dict)
    compute_us: int = 0


class RequestError(ServeError):
    """A request that is answered with an error.

    status: HTTP status. type: one word for programs, and the label of the metric ("invalid_request").
    problems: what is wrong with which row, the first MAX_PROBLEMS; the message counts the rest.
    headers: extra headers of the answer. param: the key of the request that is meant, where the format of the answer names it.
    compute_us: what the model call took nevertheless; set by the batcher.
    """

    def __init__(
        self,
        status: int,
        type: str,
        message: str,
        problems: Sequence[Problem] = (),
        *,
        headers: Sequence[tuple[bytes, bytes]] = (),
        param: str | None = None,
    ):
        super().__init__(message)
        self.status = status
        self.type = type
        self.message = message
        self.problems = tuple(problems[:MAX_PROBLEMS])
        self.headers = tuple(headers)
        self.param = param
        self.compute_us = 0

    @classmethod
    def of_problems(cls, problems: Sequence[Problem], count: int | None = None) -> RequestError:
        """The one answer that holds every problem of a request. count: of all, if `problems` holds the first."""
        total = len(problems) if count is None else count
        words = f"{total} problems" if total > 1 else "1 problem"
        more = f", the first {MAX_PROBLEMS} are listed" if total > MAX_PROBLEMS else ""
        return cls(422, "invalid_request", f"{words} in the request{more}. Nothing was predicted.", problems)


@dataclass(frozen=True, slots=True)
class Status:
    """What descriptive routes may want to know.

    ready: False once the server was told to stop. live: False once it can answer nothing any more, and must be started again.
    """

    ready: bool
    live: bool = True


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route of a protocol.

    path: complete, the model's name filled in and percent-encoded where needed.
    describe: makes (HTTP status, JSON) for a route that predicts nothing; None where the body is to be predicted.
    public: True where no key is needed (health). scope: what the key must be allowed otherwise; OPERATOR: a key of our own.
    """

    method: Literal["GET", "POST"]
    path: str
    describe: Callable[[Status], tuple[int, Any]] | None = None
    public: bool = False
    scope: str = "predict"


class Protocol(ABC):
    """One wire format: one file in lode/app/protocols. `__init__(self, model: Servable, *, max_rows: int)`.

    Pure: same bytes, same result; no waiting, no shared state. Every error a client can cause is a `RequestError` below
    500.
    """

    @abstractmethod
    def routes(self) -> tuple[Endpoint, ...]:
        """What it answers, and where."""

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """The paths of its OpenAPI description (`lode/app/describing.py` has the parts)."""

    @abstractmethod
    def decode(self, body: bytes) -> Cells:
        """The rows of a request body.

        Errors: RequestError 400 where the bytes are not of the format, 413 for too many rows, 422 with every problem.
        """

    @abstractmethod
    def encode(self, cells: Cells, answer: Answer) -> bytes:
        """The body of a good answer. cells: the request that is answered."""

    @abstractmethod
    def encode_error(self, failure: RequestError) -> bytes:
        """The body of a bad answer."""

    def encode_stream(self, cells: Cells, answers: Iterator[Answer]) -> AsyncIterator[bytes]:
        """Parts of an answer as they become known. Errors: RequestError 400 where the format has no streaming."""
        raise RequestError(
            400,
            "unsupported",
            f"{type(self).__name__}: streaming is not supported. Send the request without asking for a stream.",
        )


@dataclass(frozen=True, slots=True)
class Limit:
    """One ceiling, and who shares it. Written and read by `lode/app/access/limits.py`, enforced by `lode/app/metering`.

    subject: "key/ID", "project/ID", "organisation/SLUG" or "model/NAME"; all requests of the subject count together.
    unit: "requests", "rows", "input_tokens", ... or "money". amount: whole units, or 10^-12 of the organisation's currency.
    window: "second", "minute", "hour" (a rate: a token bucket in each process), "day", "month" (calendar, in the
    organisation's zone) or "total" (for ever): a quota, of money a budget, counted in the books.
    model: requests to this model only; "" for all. burst: capacity of a rate's bucket, in units.
    """

    subject: str
    unit: str
    amount: int
    window: str
    model: str = ""
    burst: int = 0

    @property
    def name(self) -> str:
        """Of its bucket or its counter: "key/key_1/requests/minute/"; no part of it holds a "|"."""
        return f"{self.subject}/{self.unit}/{self.window}/{self.model}"

    @property
    def is_rate(self) -> bool:
        """Whether it is a rate; else a quota or a budget."""
        return self.window in ("second", "minute", "hour")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. name: the key's public id, never the key; "open" where no key is asked for.

    organisation, project, key, account: ids, "" for none. scopes: what the key may do ("predict", "outcomes", ...).
    models: those it may call; empty for all. limits: all that hold for it, the narrowest subject first; which model is called
    decides the rest (`Limit.model`, subjects "model/NAME"). currency, zone: the organisation's. payment: "invoice", or "prepaid": what it
    owes in all, less what it paid in advance, may not pass its credit_line (10^-12 units).
    kind: "customer" or "own", as in `Used.kind`.
    """

    name: str
    organisation: str = ""
    project: str = ""
    key: str = ""
    account: str = ""
    scopes: frozenset[str] = frozenset({"predict"})
    models: frozenset[str] = frozenset()
    limits: tuple[Limit, ...] = ()
    currency: str = ""
    zone: str = "UTC"
    payment: str = "invoice"
    credit_line: int = 0
    kind: str = "customer"


@quick
class Asked:
    """What a request asks for: known once its body was read, before the model runs.

    request_id: of the bill: the client's `Idempotency-Key`, else one made here. is_repeatable: True for the client's own: whoever
    sends it again gets the same answer. fingerprint: sha256 (hex) of path and body, "" where is_repeatable is False.
    model: as the request names it. most: units that it can take at most ("rows"; "input_tokens", "output_tokens"), so that what it
    can cost is set aside before. cost_most: the same of a provider's cost, 10^-12 of `cost_currency`.
    """

    request_id: str
    model: str
    most: Mapping[str, int]
    is_repeatable: bool = False
    fingerprint: str = ""
    cost_most: int = 0
    cost_currency: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it was sent: what a client gets that asks again."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@quick
class Usage:
    """What one request took that reached the model. seconds: from its head to the end of its answer.

    units: whole numbers by name: rows; input_tokens, output_tokens, cached_tokens (exact also where the client hung up);
    compute_us, request_bytes, answer_bytes. cost: what a provider took, 10^-12 of cost_currency; estimated: it gave no figures.
    predicted: what to keep of the predictions until outcomes are known (`lode.app.books.predictions.kept`), "" for nothing.
    """

    request_id: str
    model: str
    version: int | None
    status: int
    units: Mapping[str, int]
    seconds: float
    cost: int = 0
    cost_currency: str = ""
    provider: str = ""
    estimated: bool = False
    predicted: str = ""


class Hold:
    """What is set aside for one request, until it is settled or released; whichever comes first, once.

    replay: the answer that this request id was given before: it is sent, and nothing runs. Gates have their own kinds of Hold.
    """

    __slots__ = ("asked", "caller", "replay")

    def __init__(self, caller: Caller, asked: Asked, replay: Kept | None = None):
        self.caller = caller
        self.asked = asked
        self.replay = replay


class Gate(ABC):
    """Who may call, what they may use, and what is noted of it. One per process; used on the event loop.

    A predicting route (`lode.app.metered.Metered`) goes authorize -> reserve -> model -> settle -> answer, and releases what
    is left in every other case; it cannot do without. keeps_bytes: of an answer that is kept for who asks again; 0 keeps none.
    """

    keeps_bytes: int = 0
    books: Store | None = None
    """Where it notes what is used, and outcomes are reported to; None where nothing is noted."""

    @abstractmethod
    async def authorize(self, headers: Mapping[bytes, bytes], scope: str = "predict") -> Caller:
        """Errors: RequestError 401 (no or a wrong key), 403 (a key without the scope), 503 (the books cannot be read)."""

    @abstractmethod
    async def reserve(self, caller: Caller, asked: Asked) -> Hold:
        """Set aside what the request can take at most.

        Errors: RequestError 402 (budget, credit), 403 (model), 409 (request id), 429 (rate, quota, held by others), 503 (books).
        """

    @abstractmethod
    async def settle(self, hold: Hold, usage: Usage, kept: Kept | None = None) -> Kept | None:
        """Note what a request took; durable when it returns. Its answer (the end of a stream) is sent only then.

        kept: the answer, for a client that asks again. Returns the answer to send instead, where another process answered the
        same request id meanwhile. Errors: RequestError 409, 503: then there is no answer.
        """

    @abstractmethod
    def release(self, hold: Hold) -> None:
        """End a hold without noting anything. Does nothing where it was settled or released before."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the service runs."""
        yield
