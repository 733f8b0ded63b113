"""The `serve:` section of the file, for each kind of model. Its signatures are read by the spec checker without importing this file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from lode.core.types import ByteSize, FilePath, Range


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What every service takes: where it listens, what a request may be, what it is metered with.

    Args:
        host: address to listen on; 0.0.0.0 is every network interface.
        port: TCP port; 0 takes a free one.
        max_body_bytes: bytes that one request may have.
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
    max_body_bytes: Annotated[int, Range(1)] = 33554432
    grace_s: Annotated[float, Range(0)] = 30.0
    compute: dict[str, str] | None = None
    plan: str | None = None
    books: str | None = None
    checkpoints: str | None = None
    kept_hours: Annotated[float, Range(0)] = 24.0
    kept_bytes: Annotated[int, Range(0)] = 1048576
    budget_wait_s: Annotated[float, Range(0)] = 10.0


@dataclass(frozen=True, kw_only=True)
class ServeOptions(Serving):
    """The `serve:` section of the file.

    Args:
        queue_rows: rows that may wait; beyond, requests are answered with 429.
        max_batch: rows that are merged into one model call.
        max_rows: rows that one request may have.
        timeout_s: seconds until a request that waits is answered with 504.
        max_wait_ms: milliseconds that a request may wait for others to be merged with; 0 merges only what waits anyway.
    """

    queue_rows: Annotated[int, Range(1)] = 4096
    max_batch: Annotated[int, Range(1)] = 256
    max_rows: Annotated[int, Range(1)] = 1024
    timeout_s: Annotated[float, Range(0, open_low=True)] = 30.0
    max_wait_ms: Annotated[float, Range(0)] = 0.0


@dataclass(frozen=True, kw_only=True)
class LanguageServeOptions(Serving):
    """The `serve:` section of a language model's file.

    Args:
        cache: memory for the keys and values of what is being generated and of prefixes that may come again.
        max_sequences: answers that are generated together.
        max_waiting: answers that may wait for room; beyond, requests are answered with 429.
        device: where answers are generated: cpu, cuda, or auto (a GPU where torch sees one).
        weights: how weights are held: as the artifact has them, in bfloat16, or as 8-bit integers with a scale for each output.
        max_rise: by how much the perplexity of held-out tokens may rise with bf16 or int8 weights, as a share; more is an error at the
            start.
        adapters: names that requests may give as `model` -> folders of LoRA adapters for these weights, as PEFT saves them.
        timeout_s: seconds until a request without its first token is answered with 504, and until a client that reads nothing is left.
        answer_s: seconds that one answer may take in all.
    """

    cache: ByteSize = 1_000_000_000  # type: ignore[assignment]
    max_sequences: Annotated[int, Range(1, 4096)] = 32
    max_waiting: Annotated[int, Range(0)] = 256
    device: Literal["auto", "cpu", "cuda"] = "auto"
    weights: Literal["fp32", "bf16", "int8"] = "fp32"
    max_rise: Annotated[float, Range(0)] = 0.01
    adapters: dict[str, FilePath] | None = None
    timeout_s: Annotated[float, Range(0, open_low=True)] = 60.0
    answer_s: Annotated[float, Range(0, open_low=True)] = 600.0


@dataclass(frozen=True, kw_only=True)
class UpstreamServeOptions(Serving):
    """The `serve:` section of somebody else's model.

    Args:
        max_waiting: requests that may be open at once; beyond, they are answered with 429.
        max_answer_bytes: bytes that one answer, or one event of a stream, may have; beyond, it is broken off.
        timeout_s: seconds until a body that does not arrive is given up, and until a client that reads nothing is left.
        answer_s: seconds that one answer may take in all, every try included.
    """

    max_waiting: Annotated[int, Range(1)] = 1024
    max_answer_bytes: Annotated[int, Range(1024)] = 33554432
    timeout_s: Annotated[float, Range(0, open_low=True)] = 30.0
    answer_s: Annotated[float, Range(0, open_low=True)] = 600.0
