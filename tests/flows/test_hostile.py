"""T10: what nobody should send: no 5xx, no hang, no look inside, every answer of its form. 20,000 cases: benchmarks/api_fuzz.py."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from lode.app import connection
from tests.flows.hostile import Hostile, exchanged, problem, sweep
from tests.flows.hostile_servers import Targets, targets

pytest.importorskip("llguidance")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Targets]:
    with targets(tmp_path_factory.mktemp("hostile")) as made:
        yield made


@pytest.mark.parametrize("name", ["admin", "rows", "words", "passed", "passed rows"])
def test_hostile_bytes_are_answered_or_hung_up_on(found: Targets, name: str) -> None:
    target = found[name]
    result = asyncio.run(sweep(target.port, target.maker(seed=20), 200 if name in ("admin", "rows", "words") else 60))
    assert result.passed, "\n".join([result.line(name), *result.bad[:5]])
    assert result.statuses.get(200, 0) and result.statuses.get(400, 0), "the cases are not what they should be"
    assert httpx.get(f"{target.url}/health/ready").status_code == 200
    assert found.faults.found == []


def test_requests_made_from_the_descriptions_are_answered_as_described(found: Targets) -> None:
    schema = pytest.importorskip("tests.flows.hostile_schema")
    for target in found.all:
        every = 11 if target.name == "admin" else 1
        count, bad = schema.described(
            target.url, target.described, target.key, examples=4, seed=20, known={"organisation": "acme"}, every=every
        )
        assert count and not bad, "\n".join([target.name, *bad[:5]])
    assert found.faults.found == []


def test_a_head_that_does_not_end_is_given_up_and_one_that_is_too_large_refused(found: Targets) -> None:
    port = found["admin"].port
    slow = asyncio.run(exchanged(port, Hostile("slow head", b"GET / HTTP/1.1\r\nhost: x\r\n")))
    assert slow.startswith(b"HTTP/1.1 408 ")
    large = asyncio.run(exchanged(port, Hostile("large head", b"GET / HTTP/1.1\r\nx: " + b"a" * (connection.MAX_HEAD_BYTES + 1))))
    assert large.startswith(b"HTTP/1.1 431 ") or large == b""
    kept = (
        b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n" * 3 + b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    assert asyncio.run(exchanged(port, Hostile("pipelined", kept))).count(b"HTTP/1.1 200 ") == 4


def test_the_judge_sees_what_must_not_be() -> None:
    head = b"HTTP/1.1 %d x\r\ncontent-type: application/json\r\ncontent-length: 1\r\n%s\r\n"
    assert problem(head % (500, b"") + b"{}") == "status 500"
    assert problem(head % (503, b"") + b"{}") == "status 503"
    assert problem(head % (503, b"retry-after: 1\r\n") + b'{"error": {}}') is None
    assert problem(head % (422, b"") + b'{"error": "Traceback (most recent"}') == "a look inside"
    assert problem(head % (200, b"") + b"{") == "no JSON"
    assert problem(head % (422, b"") + b'{"x": 1}') == "an error without its form"
    assert problem(b"what") == "no HTTP"
