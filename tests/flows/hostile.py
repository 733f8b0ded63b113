"""Requests that nobody should send, on real sockets: broken heads and bodies, chosen by a seed, and what must be true of every answer."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

DEADLINE_S = 15.0
"""A connection is answered or closed by then, whatever was sent."""
_TRACES = (b"Traceback", b'File "/', b"site-packages", b"sqlite3.", b"SELECT ", b"psycopg")
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")

Bytes = bytes


@dataclass(frozen=True)
class Good:
    """A request that is right: what hostile ones are made from. body: None for none."""

    method: str
    path: str
    body: Any = None


@dataclass(frozen=True)
class Hostile:
    """kind: which fault. sent: bytes. ends: whether the client says that nothing more will come."""

    kind: str
    sent: Bytes
    ends: bool = False


@dataclass
class Found:
    """What came of many requests."""

    count: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)
    hangs: int = 0

    def line(self, name: str) -> str:
        shown = " ".join(f"{status}:{count}" for status, count in sorted(self.statuses.items()))
        return f"{name}: {self.count} cases, {self.hangs} hangs, {len(self.bad)} bad answers [{shown}] {'pass' if self.passed else 'FAIL'}"

    @property
    def passed(self) -> bool:
        return not self.bad and not self.hangs


WEIRD: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**63, -(2**63) - 1, 10**400, 1.5, -0.0, 1e308, "", "x" * 5000, "\u0000", "\ud800", "\u202e", "ä\U0001f600",
    "' OR 1=1 --", "../../etc/passwd", "${jndi:ldap://x}", "NaN", [], [[]], {}, {"": {}}, [None] * 50, {"a": {"b": {"c": []}}},
)  # fmt: skip


class Maker:
    """Hostile requests from good ones. headers: that let them in."""

    def __init__(self, goods: Sequence[Good], headers: Sequence[str], seed: int):
        self._goods, self._headers, self._random = list(goods), list(headers), random.Random(seed)
        self._kinds: tuple[Callable[[Good], Hostile], ...] = (
            self._noise, self._flipped, self._chunked, self._large_head, self._characters, self._deep, self._not_json, self._twice,
            self._slow, self._lengths, self._untouched, self._changed, self._changed, self._changed, self._changed, self._addressed,
            self._cut,
        )  # fmt: skip

    def make(self) -> Hostile:
        """The next one."""
        return self._random.choice(self._kinds)(self._random.choice(self._goods))

    def _head(self, good: Good, *extra: str, length: int | None = None) -> Bytes:
        lines = [f"{good.method} {good.path} HTTP/1.1", "host: x", "connection: close", *self._headers, *extra]
        if length is not None:
            lines += ["content-type: application/json", f"content-length: {length}"]
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass")

    def _whole(self, good: Good, body: Bytes) -> Bytes:
        return self._head(good, length=len(body)) + body

    def _body(self, good: Good) -> Bytes:
        return json.dumps(good.body if good.body is not None else {}).encode()

    def _noise(self, good: Good) -> Hostile:
        return Hostile("noise", self._random.randbytes(self._random.randint(1, 400)), ends=self._random.random() < 0.7)

    def _flipped(self, good: Good) -> Hostile:
        sent = bytearray(self._whole(good, self._body(good)))
        for _ in range(self._random.randint(1, 8)):
            sent[self._random.randrange(len(sent))] = self._random.randrange(256)
        return Hostile("flipped bytes", bytes(sent), ends=True)

    def _chunked(self, good: Good) -> Hostile:
        head = self._head(good, "content-type: application/json", "transfer-encoding: chunked")
        body = self._random.choice(
            (
                b"zz\r\n{}\r\n0\r\n\r\n",
                b"ffffffffffffffff\r\n{}",
                b"-1\r\n{}\r\n",
                b"2\r\n{}X\r\n0\r\n\r\n",
                b"2;a=b\r\n{}\r\n0\r\n\r\n",
                b"2\r\n{}\r\n",
                b"\r\n\r\n",
            )
        )
        return Hostile("chunks", head + body, ends=self._random.random() < 0.8)

    def _large_head(self, good: Good) -> Hostile:
        choice = self._random.randrange(4)
        if choice == 0:
            return Hostile("large head", self._head(good, "x-a: " + "a" * self._random.choice((8_000, 70_000, 400_000))))
        if choice == 1:
            return Hostile("large head", self._head(good, *(f"x-{n}: {n}" for n in range(self._random.choice((100, 5_000))))))
        if choice == 2:
            long = Good(good.method, good.path + "?" + "q" * self._random.choice((5_000, 200_000)), good.body)
            return Hostile("large head", self._head(long))
        return Hostile(
            "large head",
            f"GET / HTTP/1.1\r\nauthorization: Bearer {'k' * 20_000}\r\nconnection: close\r\n\r\n".encode(),
        )

    def _characters(self, good: Good) -> Hostile:
        bad = self._random.choice((b"\xff\xfe", b"\xc3\x28", b"\x00", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"))
        choice = self._random.randrange(4)
        if choice == 0:
            return Hostile("characters", self._whole(good, b'{"name": "' + bad + b'"}'))
        if choice == 1:
            return Hostile("characters", self._head(good).replace(b" HTTP/1.1", bad + b" HTTP/1.1", 1))
        if choice == 2:
            return Hostile(
                "characters",
                self._head(good).replace(b"host: x", b"host: x\r\nx-request-id: " + bad + b"\r\nidempotency-key: " + bad, 1),
            )
        escaped = "".join(f"%{byte:02x}" for byte in bad)
        return Hostile("characters", self._head(Good(good.method, f"{good.path}{escaped}?limit={escaped}", good.body)))

    def _deep(self, good: Good) -> Hostile:
        depth = self._random.choice((20, 200, 2_000, 100_000))
        opened, closed = self._random.choice(((b"[", b"]"), (b'{"a":', b"}")))
        inside = opened * depth + (b"1" + closed * depth if self._random.random() < 0.5 else b"")
        names = list(good.body) if isinstance(good.body, dict) and good.body else ["name"]
        wrapped = b'{"%s": ' % self._random.choice(names).encode() + inside + b"}" if self._random.random() < 0.5 else inside
        return Hostile("deep", self._whole(good, wrapped))

    def _not_json(self, good: Good) -> Hostile:
        body = self._random.choice(
            (b"", b"NaN", b"Infinity", b"null", b"[]", b'"x"', b"1", b"{", b"{,}", b"{'a': 1}", b"9" * 5000, b"1e99999", b'{"a": NaN}',
             b'\xef\xbb\xbf{}', "{}".encode("utf-16"), b"{} {}", b'{"a": 01}', b"\x1f\x8b\x08\x00")
        )  # fmt: skip
        return Hostile("not JSON", self._whole(good, body))

    def _twice(self, good: Good) -> Hostile:
        body = self._body(good)
        return Hostile("twice", self._whole(good, body[:-1] + (b", " if len(body) > 2 else b"") + body[1:]))

    def _slow(self, good: Good) -> Hostile:
        body = self._body(good)
        return Hostile(
            "slow body",
            self._head(good, length=len(body) + self._random.randint(1, 1000)) + body,
            ends=self._random.random() < 0.8,
        )

    def _lengths(self, good: Good) -> Hostile:
        found = self._random.choice(
            (
                "-1",
                "1e3",
                "99999999999999999999",
                "0x10",
                "2, 3",
                "2\r\ncontent-length: 3",
                "2\r\ntransfer-encoding: chunked",
            )
        )
        head = self._head(good, "content-type: application/json", f"content-length: {found}")
        return Hostile("lengths", head + b"{}", ends=True)

    def _untouched(self, good: Good) -> Hostile:
        return Hostile("nothing", self._whole(good, self._body(good)))

    def _changed(self, good: Good) -> Hostile:
        record = json.loads(self._body(good))
        for _ in range(self._random.randint(1, 3)):
            record = self._mutated(record)
        return Hostile("changed values", self._whole(good, json.dumps(record).encode("utf-8", "surrogatepass")))

    def _mutated(self, value: Any) -> Any:
        if isinstance(value, dict) and value and self._random.random() < 0.85:
            name = self._random.choice(list(value))
            choice = self._random.random()
            if choice < 0.1:
                return {key: item for key, item in value.items() if key != name}
            if choice < 0.2:
                return {**value, self._random.choice(("x", "", "id", name + " ")): self._random.choice(WEIRD)}
            return {**value, name: self._mutated(value[name])}
        if isinstance(value, list) and value and self._random.random() < 0.7:
            place = self._random.randrange(len(value))
            return [*value[:place], self._mutated(value[place]), *value[place + 1 :]]
        return self._random.choice(WEIRD)

    def _addressed(self, good: Good) -> Hostile:
        method = self._random.choice(
            ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "POST")
        )
        path = self._random.choice(
            (good.path, good.path + "/", "/" + good.path, good.path.replace("/", "//", 2), "*", "", "http://evil/x", good.path + "?a=1&a=2",
             good.path + "/%2e%2e/%2e%2e/etc/passwd", good.path + "?" + "&".join(f"a{n}=1" for n in range(40)), "/health/ready", "/metrics")
        )  # fmt: skip
        return Hostile(
            "addresses",
            self._head(Good(method, path), *(("content-length: 0",) if method in ("PUT", "PATCH") else ())),
            ends=True,
        )

    def _cut(self, good: Good) -> Hostile:
        sent = self._whole(good, self._body(good))
        return Hostile("cut", sent[: self._random.randrange(1, len(sent))], ends=self._random.random() < 0.85)


async def exchanged(port: int, hostile: Hostile) -> Bytes:
    """Everything that came back until the server hung up. Errors: TimeoutError where it did not by the deadline."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(DEADLINE_S):
            try:
                writer.write(hostile.sent)
                await writer.drain()
                if hostile.ends:
                    writer.write_eof()
                return await reader.read()
            except OSError:  # hung up on; also ENOTCONN, which is no ConnectionError
                return b""
    finally:
        writer.close()


def problem(answer: Bytes) -> str | None:
    """What is wrong with what came back; None for nothing. No answer at all is allowed: the request was none."""
    status = _STATUS.match(answer)
    if not answer:
        return None
    if status is None:
        return "no HTTP"
    code, (head, _, body) = int(status[1]), answer.partition(b"\r\n\r\n")
    if code >= 500 and not (code == 503 and b"retry-after" in head.lower()):
        return f"status {code}"
    if any(trace in body for trace in _TRACES):
        return "a look inside"
    if b"application/json" in head.lower() and b"content-length" in head.lower() and body:
        return _json_problem(code, body)
    return None


def _json_problem(code: int, body: Bytes) -> str | None:
    try:
        record = json.loads(body)
    except ValueError:
        return "no JSON"
    return (
        "an error without its form"
        if code >= 400 and not (isinstance(record, dict) and (set(record) & {"error", "live", "ready"}))
        else None
    )


async def sweep(port: int, maker: Maker, count: int, at_once: int = 32) -> Found:
    """Send so many, some at a time."""
    found, slots = Found(), asyncio.Semaphore(at_once)

    async def one(hostile: Hostile) -> None:
        async with slots:
            found.count += 1
            try:
                answer = await exchanged(port, hostile)
            except TimeoutError:
                found.hangs += 1
                found.bad.append(f"{hostile.kind}: no end of {hostile.sent[:300]!r}")
                return
        status = _STATUS.match(answer)
        code = int(status[1]) if status else 0
        found.statuses[code] = found.statuses.get(code, 0) + 1
        told = problem(answer)
        if told is not None:
            found.bad.append(f"{hostile.kind}: {told} to {hostile.sent[:600]!r}: {answer[:400]!r}")

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(one(maker.make()))
    return found
