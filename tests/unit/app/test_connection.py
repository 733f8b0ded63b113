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


def talk(app: Any, conversation: Callable[[Connection, Wire], Coroutine[Any, Any, None]]) -> Wire:
    """What reaches the wire while a client speaks with an application."""

    async def main() -> Wire:
        config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none", date_header=False, server_header=False)
        connection, wire = Connection(config, ServerState(), {}, asyncio.get_running_loop()), Wire()
        connection.connection_made(wire)
        await conversation(connection, wire)
        connection.connection_lost(ConnectionResetError())  # with None it would close the wire, which is asked below
        return wire

    return asyncio.run(main())


async def give(connection: Connection, wire: Wire, *parts: bytes) -> None:
    for data in parts:
        if not wire.closed:
            connection.data_received(data)
            await asyncio.sleep(0.005)


def answered(*messages: dict[str, Any], request: bytes = KEPT, times: int = 1) -> Wire:
    """What reaches the wire of an application that sends these messages."""

    async def app(scope: Any, receive: Any, send: Send) -> None:
        for message in messages:
            await send(message)

    return talk(app, lambda connection, wire: give(connection, wire, *[request] * times))


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


def test_an_answer_handed_over_whole_has_no_body_for_a_head_either() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send.__self__.send_whole(200, [(b"content-length", b"4")], b"body")

    wire = talk(app, lambda connection, wire: give(connection, wire, KEPT.replace(b"GET", b"HEAD"), KEPT))
    assert wire.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n" + body for body in (b"", b"body")]


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


CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
FILLER = b"x" * 60_000


async def refusing(scope: Any, receive: Any, send: Send) -> None:
    """Before the body was read."""
    await send(start((b"content-length", b"2")))
    await send(part(b"no"))


async def reading(scope: Any, receive: Any, send: Send) -> None:
    """Its answer: the headers as they are once the body was read."""
    while (await receive()).get("more_body"):
        pass
    names = b" ".join(name for name, _ in scope["headers"])
    await send(start((b"content-length", b"%d" % len(names))))
    await send(part(names))


def test_what_follows_a_body_is_no_header() -> None:
    """No key and no request id behind the back of whoever looked at the head."""
    request = CHUNKED + b"2\r\n{}\r\n0\r\nauthorization: Bearer y\r\nidempotency-key: z\r\n\r\n"
    wire = talk(reading, lambda connection, wire: give(connection, wire, request, KEPT))
    assert [text.partition(b"\r\n\r\n")[2] for text in wire.writes] == [b"host transfer-encoding", b"host"]


@pytest.mark.parametrize("begin", [b"0\r\n", b"0\r\na: ", b"2;"])
@pytest.mark.parametrize("app", [refusing, reading])
def test_what_is_no_part_of_a_body_is_bounded_too(begin: bytes, app: Any) -> None:
    """Trailers and the framing of chunks, without an end."""
    fillers = [b"a: " + FILLER + b"\r\n"] * 4 if begin == b"0\r\n" else [FILLER] * 4
    wire = talk(app, lambda connection, wire: give(connection, wire, CHUNKED + begin, *fillers))
    assert wire.closed
    assert wire.writes[1:] == [
        b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    ] * (app is refusing)


def test_a_body_in_small_chunks_is_no_head() -> None:
    wire = talk(reading, lambda connection, wire: give(connection, wire, CHUNKED, *[b"1\r\nx\r\n" * 8000] * 4, b"0\r\n\r\n"))
    assert wire.writes[0].startswith(b"HTTP/1.1 200") and not wire.closed


@pytest.mark.parametrize("late", [b"\r\n", b"x"])
def test_bytes_that_are_no_request_keep_no_connection_for_ever(late: bytes) -> None:
    """A blank line, a part of a body that was refused: uvicorn stops its clock, and starts it with the next answer only."""

    async def conversation(connection: Connection, wire: Wire) -> None:
        head = KEPT if late == b"\r\n" else b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n"
        await give(connection, wire, head, late)
        connection.timeout_keep_alive_handler()
        assert not wire.closed and connection.timeout_keep_alive_task is not None
        connection.timeout_keep_alive = 0
        connection.timeout_keep_alive_handler()

    assert talk(refusing, conversation).closed


def test_a_client_whose_next_head_we_do_not_read_is_not_late() -> None:
    """It sent three requests at once; the third is cut where we stopped reading, because the first still runs."""
    done = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Send) -> None:
        await done.wait()
        await refusing(scope, receive, send)

    async def conversation(connection: Connection, wire: Wire) -> None:
        await give(connection, wire, KEPT + KEPT + KEPT[:9])
        connection._overdue()
        assert not wire.closed
        done.set()
        await give(connection, wire, KEPT[9:])
        assert len(wire.writes) == 3
        await give(connection, wire, KEPT[:9])
        connection._overdue()

    wire = talk(slow, conversation)
    assert wire.closed and wire.writes[3].startswith(b"HTTP/1.1 408")


def test_a_connection_is_kept_as_long_as_something_is_asked() -> None:
    """The clock runs through, and looks when it rings whether something was asked meanwhile."""

    async def conversation(connection: Connection, wire: Wire) -> None:
        for _ in range(2):
            await give(connection, wire, KEPT)
            assert connection._idle_s is not None
            connection.timeout_keep_alive_handler()
            assert not wire.closed and connection.timeout_keep_alive_task is not None
            connection._idle_s -= connection.timeout_keep_alive + 1
        connection.timeout_keep_alive_handler()

    assert talk(refusing, conversation).closed


@pytest.mark.parametrize("head", [b"", b"expect: 100-continue\r\n"])
def test_a_body_that_is_there_is_taken_once(head: bytes) -> None:
    """Whoever asks whether it may send the body is told so, even if it did not wait."""
    taken: list[bytes | None] = []

    async def app(scope: Any, receive: Any, send: Send) -> None:
        taken.append(receive.__self__.arrived())
        if taken[0] is None:
            taken.append((await receive())["body"])
        waits = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        assert not waits.done()  # for the client to hang up
        waits.cancel()
        await refusing(scope, receive, send)

    wire = talk(
        app, lambda connection, wire: give(connection, wire, b"POST / HTTP/1.1\r\ncontent-length: 2\r\n" + head + b"\r\n{}")
    )
    assert taken[-1] == b"{}" and len(taken) == 1 + bool(head)
    assert [data[9:12] for data in wire.writes] == [b"100", b"200"][1 - bool(head) :]


def test_a_body_in_parts_is_waited_for() -> None:
    async def app(scope: Any, receive: Any, send: Send) -> None:
        assert receive.__self__.arrived() is None
        await reading(scope, receive, send)

    wire = talk(app, lambda connection, wire: give(connection, wire, b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{", b"}"))
    assert wire.writes[0].startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("times", [1, 100])
def test_where_a_request_goes(times: int) -> None:
    """Short targets are remembered, long ones are not."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Send) -> None:
        seen.append((scope["method"], scope["path"], scope["raw_path"], scope["query_string"], scope["http_version"]))
        await refusing(scope, receive, send)

    request = b"PUT " + b"/%C3%A9" * times + b"?a=%20 HTTP/1.1\r\nhost: x\r\n\r\n"
    talk(app, lambda connection, wire: give(connection, wire, request, request))
    assert seen == [("PUT", "/é" * times, b"/%C3%A9" * times, b"a=%20", "1.1")] * 2
