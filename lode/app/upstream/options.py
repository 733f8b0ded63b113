"""The `serve:` section of somebody else's model. Its signature is read by the spec checker without importing this file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from lode.core.types import Range


@dataclass(frozen=True, kw_only=True)
class UpstreamServeOptions:
    """The `serve:` section of somebody else's model.

    Args:
        host: address to listen on; 0.0.0.0 is every network interface.
        port: TCP port; 0 takes a free one.
        max_waiting: requests that may be open at once; beyond, they are answered with 429.
        max_body_bytes: bytes that one request may have.
        max_answer_bytes: bytes that one answer, or one event of a stream, may have; beyond, it is broken off.
        timeout_s: seconds until a body that does not arrive is given up, and until a client that reads nothing is left.
        answer_s: seconds that one answer may take in all, every try included.
        grace_s: seconds that open requests get when the server is stopped.
        compute: what the machine costs, for `lode margin`: {price_per_hour: "0.12", currency: EUR}.
        plan: name of a plan in plans/NAME.toml beside the file; customers without a plan get it.
        books: where keys, usage and money are kept: a file, relative to this one, or postgresql://USER@HOST:PORT/DATABASE (default:
            books.sqlite in runs).
        checkpoints: folder, relative to the file, or url that gets a signed checkpoint of the books every ten minutes (default: none).
        kept_hours: hours for which an answer is given again to who sends the same Idempotency-Key.
        kept_bytes: size of an answer that is kept for that.
        budget_wait_s: seconds that a request waits where other requests hold what is left of its budget.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Range(0, 65535)] = 8000
    max_waiting: Annotated[int, Range(1)] = 1024
    max_body_bytes: Annotated[int, Range(1)] = 33554432
    max_answer_bytes: Annotated[int, Range(1024)] = 33554432
    timeout_s: Annotated[float, Range(0, open_low=True)] = 30.0
    answer_s: Annotated[float, Range(0, open_low=True)] = 600.0
    grace_s: Annotated[float, Range(0)] = 30.0
    compute: dict[str, str] | None = None
    plan: str | None = None
    books: str | None = None
    checkpoints: str | None = None
    kept_hours: Annotated[float, Range(0)] = 24.0
    kept_bytes: Annotated[int, Range(0)] = 1048576
    budget_wait_s: Annotated[float, Range(0)] = 10.0
