"""The contracts of the app layer: protocol (a wire format) and gate (who may call, and what is noted about a call).

A protocol turns bytes into `Cells` and an `Answer` into bytes; it knows no queue and no sockets. `lode/app/service.py`
mounts every protocol of the folder and does the rest.
"""

from __future__ import annotations

import typing
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from lode.core.errors import ServeError
from lode.core.types import ColumnSchema, Problem

MAX_PROBLEMS = 100
"""Problems that one answer lists; the rest is counted."""

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
    """Predictions of one request, column by column, and how many cells held a value that training never saw."""

    num_rows: int
    columns: Mapping[str, list[Any]]
    unseen: Mapping[str, int] = field(default_factory=dict)


class RequestError(ServeError):
    """A request that is answered with an error.

    status: HTTP status. type: one word for programs, and the label of the metric ("invalid_request").
    problems: what is wrong with which row, the first MAX_PROBLEMS; the message counts the rest.
    headers: extra headers of the answer. param: the key of the request that is meant, where the format of the answer names it.
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
    public: True where no key is needed (health).
    """

    method: Literal["GET", "POST"]
    path: str
    describe: Callable[[Status], tuple[int, Any]] | None = None
    public: bool = False


class Protocol(ABC):
    """One wire format: one file in lode/app/protocols. `__init__(self, model: Servable, *, max_rows: int)`.

    Pure: same bytes, same result; no waiting, no shared state. Every error a client can cause is a `RequestError` below
    500.
    """

    @abstractmethod
    def routes(self) -> tuple[Endpoint, ...]:
        """What it answers, and where."""

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
class Caller:
    """Who calls. name: the key's public id, never the key; "open" where no key is asked for."""

    name: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What one answered request took. rows: predicted (0 where it failed). seconds: from its head to the end of its answer.

    input_tokens, output_tokens: of a language model, exact also where the client hung up; cached_tokens: of the input, those that
    another request of the caller had paid for with time.
    """

    request_id: str
    model: str
    version: int | None
    status: int
    rows: int
    request_bytes: int
    answer_bytes: int
    seconds: float
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


class Gate(ABC):
    """Who may call, and what is noted when a call is answered. The seam for tenants, quotas and metering."""

    @abstractmethod
    async def authorize(self, authorization: bytes | None) -> Caller:
        """authorization: the header as it came. Errors: RequestError 401 (no or a wrong key)."""

    @abstractmethod
    async def settle(self, caller: Caller, usage: Usage) -> None:
        """Called once for each predict request that passed `authorize`, before its answer (the end of a stream) is sent."""
