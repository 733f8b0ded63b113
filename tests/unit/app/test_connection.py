"""A connection on uvicorn's protocol: what reaches the wire, in how many writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from lode.app.connection import Connection

Send = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]
KEPT = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Wire(asyncio.Transport):
    """Notes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


def start(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": list(headers)}


def part(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def answered(*messages: dict[str, Any], request: bytes = KEPT, times: int = 1) -> Wire:
    """What reaches the wire of an application that sends these messages."""

    async def app(scope: Any, receive: Any, send: Send) -> None:
        for message in messages:
            await send(message)

    async def main() -> Wire:
        config = uvicorn.Config(app, log_config=None, lifespan="off", date_header=False, server_header=False)
        connection, wire = Connection(config, ServerState(), {}, asyncio.get_running_loop()), Wire()
        connection.connection_made(wire)
        for _ in range(times):
            connection.data_received(request)
            await asyncio.sleep(0.01)
        connection.connection_lost(None)
        return wire

    return asyncio.run(main())


def test_a_whole_answer_is_one_write_and_the_connection_stays() -> None:
    wire = answered(start((b"a", b"b"), (b"content-length", b"4")), part(b"body"), times=2)
    assert wire.writes == [b"HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 4\r\n\r\nbody"] * 2


@pytest.mark.parametrize(
    ("request_", "headers"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", ()),
        (KEPT.replace(b"x\r\n", b"x\r\nconnection: close\r\n"), ()),
        (KEPT, ((b"connection", b"close"),)),
    ],
)
def test_whoever_wants_the_end_it_comes_once_and_is_said_once(request_: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> None:
    wire = answered(start(*headers, (b"content-length", b"0")), part(b""), request=request_)
    assert wire.closed and len(wire.writes) == 1 and wire.writes[0].count(b"connection: close") == 1


def test_a_stream_leaves_as_it_comes() -> None:
    wire = answered(start(), part(b"one", more=True), part(b"two"))
    assert b"".join(wire.writes).endswith(b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
    assert wire.writes[0].endswith(b"\r\n\r\n")  # its head waits for nothing


def test_parts_of_a_known_length_are_complete() -> None:
    wire = answered(start((b"content-length", b"6")), part(b"one", more=True), part(b"two"))
    assert b"".join(wire.writes) == b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nonetwo"


def test_the_head_alone_has_no_body() -> None:
    wire = answered(start((b"content-length", b"4")), part(b"body"), request=KEPT.replace(b"GET", b"HEAD"))
    assert b"".join(wire.writes) == b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


@pytest.mark.parametrize("value", [b"x\r\nset-cookie: y", b"x\ny", b"x\ry", b"x\0y"])
def test_a_header_cannot_begin_another_one(value: bytes) -> None:
    wire = answered(start((b"a", value), (b"content-length", b"4")), part(b"body"))
    assert not wire.writes[0].startswith(b"HTTP/1.1 200") and b"set-cookie" not in b"".join(wire.writes)


@pytest.mark.parametrize("body", [b"bod", b"bodyy"])
def test_a_body_of_another_length_than_said_is_not_sent(body: bytes) -> None:
    wire = answered(start((b"content-length", b"4")), part(body))
    assert wire.writes[0].startswith(b"HTTP/1.1 500") and body not in b"".join(wire.writes)


def test_an_application_that_stops_after_its_head_is_our_fault() -> None:
    assert answered(start((b"content-length", b"4"))).writes[0].startswith(b"HTTP/1.1 500")
