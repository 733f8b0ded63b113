"""`POST /v1/outcomes`: what came true, told later by the id of the request that predicted it.

    {"request_id": "order-4711", "outcomes": [{"row": 0, "outcome": 1, "rule": 0, "happened": "2026-11-30"}, ...]}

Needs the scope `outcomes`. What is written, and when it is refused: `lode/app/economics/outcomes.py`. Mounted by the services.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.types import Receive

from lode.app.answering import JSON, Answering, Desk, Reply, body_of
from lode.app.books.contracts import Store
from lode.app.contracts import Endpoint, RequestError
from lode.app.economics.outcomes import UnknownRequestError, report
from lode.core.errors import BillingError, BooksError, ConflictError

_ENDPOINT = Endpoint("POST", "/v1/outcomes")
_LONGEST_ID = 255
_MOST_WAITING = 64
"""Reports that are written or wait for it: each is a commit of its own, and settlements must get through between them."""


class Outcomes(Answering):
    """The endpoint. store: the books that the gate settles in. now_us: the clock."""

    def __init__(self, desk: Desk, store: Store, now_us: Callable[[], int]):
        super().__init__(desk, _ENDPOINT)
        self._store = store
        self._now_us = now_us
        self._waiting = 0

    async def answer(self, headers: Mapping[bytes, bytes], receive: Receive, request_id: bytes, started: float) -> Reply:
        caller = await self.desk.gate.authorize(headers, "outcomes")
        id, outcomes = _read(await body_of(self.desk, headers, receive))
        if self._waiting >= _MOST_WAITING:
            text = f"{self._waiting} reports are being written. Try again in 1 s, with more outcomes in one report."
            raise RequestError(429, "queue_full", text, headers=[(b"retry-after", b"1")])
        self._waiting += 1
        try:
            result = await asyncio.to_thread(
                report, self._store, f"key:{caller.key}", caller.organisation, id, outcomes, now_us=self._now_us
            )
        except BillingError as error:
            raise _refused(error) from None
        finally:
            self._waiting -= 1
        return 200, orjson.dumps(result), [(b"content-type", JSON)]


def _read(body: bytes) -> tuple[str, list[Any]]:
    try:
        record = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, "invalid_json", f"the body is not JSON: {error}.") from None
    if not isinstance(record, dict) or set(record) != {"request_id", "outcomes"}:
        text = 'the body: wanted {"request_id": "...", "outcomes": [{"row": 0, "outcome": 1}, ...]}, with no other keys.'
        raise RequestError(422, "invalid_request", text)
    id = record["request_id"]
    if not isinstance(id, str) or not 1 <= len(id) <= _LONGEST_ID or not id.isascii() or not id.isprintable():
        text = f"request_id: wanted 1 to {_LONGEST_ID} printable ASCII characters. Send the Idempotency-Key of the request."
        raise RequestError(422, "invalid_request", text)
    return id, record["outcomes"]


def _refused(error: BillingError) -> RequestError:
    """In HTTP's words."""
    if isinstance(error, BooksError):
        wait_s = error.retry_s or 60
        return RequestError(503, "books", "the outcomes cannot be recorded now.", headers=[(b"retry-after", str(wait_s).encode())])
    if isinstance(error, UnknownRequestError):
        return RequestError(404, "unknown_request", str(error))
    if isinstance(error, ConflictError):
        return RequestError(409, "other_outcome", str(error))
    return RequestError(422, "invalid_request", str(error))
