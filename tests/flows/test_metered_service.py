"""A metered service in a process of its own: a disk that is full, SIGTERM, a process that stands still, books that are damaged."""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from lode.app.books import accounts
from lode.app.language.service import create_language_app
from lode.app.listening import Server, listen
from lode.app.metering.gate import GateOptions
from lode.app.metering.leases import LIVES_US
from lode.app.metering.opening import Where, opened
from lode.app.options import LanguageServeOptions
from lode.core.errors import BooksError
from lode.core.money import UNIT
from lode.model.language.engine.contracts import Delta
from lode.testing.shop import Shop
from tests.unit.app.language.fakes import FakeEngine, FakeModel

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "metering_server.py"
ROW = json.dumps({"rows": [{"age": 39, "job": "clerk", "born": None, "member": True, "photo": None}]}).encode()
PREDICT, WORDS = "/v1/models/sample:predict", "/words"
TOKENS = {
    "name": "words", "version": 1, "currency": "EUR", "period": "month",
    "charges": [{"name": "tokens", "type": "standard", "price": "0.01", "unit": "output_tokens"}],
}  # fmt: skip
Reply = tuple[int, dict[str, str], bytes]


class Service:
    """port: where it listens. process: it."""

    def __init__(self, kind: str, folder: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen([sys.executable, str(PROGRAM), kind, str(self.port), str(folder)])

    def ask(self, path: str, body: bytes, key: str, connection: http.client.HTTPConnection | None = None) -> Reply:
        """One request, on a connection of its own where none is given."""
        used = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            used.request("POST", path, body, {"content-type": "application/json", "authorization": f"Bearer {key}"})
            answer = used.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            if connection is None:
                used.close()

    def is_ready(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == 200
        return False


@contextmanager
def serving(kind: str, folder: Path) -> Iterator[Service]:
    service = Service(kind, folder)
    try:
        while not service.is_ready():
            assert service.process.poll() is None
            time.sleep(0.02)
        yield service
    finally:
        service.process.kill()
        service.process.wait()


def words(most: int, used: int) -> bytes:
    return json.dumps({"most": most, "used": used}).encode()


def test_a_disk_that_is_full_is_a_503_without_a_bill_and_the_service_recovers_by_itself(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    key = shop.customer(limits=["100 EUR/month"])
    with serving("rows", tmp_path) as service:
        found = Counter(service.ask(PREDICT, ROW, key)[0] for _ in range(5))
        # No file of this process may grow any more: what a full disk is to it, and to nobody else.
        _, most = resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (16384, most))
        for _ in range(5):
            status, headers, body = service.ask(PREDICT, ROW, key)
            assert status == 503 and int(headers["retry-after"]) >= 1 and b"predictions" not in body
            assert str(tmp_path).encode() not in body
        assert service.is_ready()
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (most, most))
        end = time.monotonic() + 30
        while service.ask(PREDICT, ROW, key)[0] != 200:
            assert time.monotonic() < end
            time.sleep(0.1)
        found[200] += 1
        found.update(service.ask(PREDICT, ROW, key)[0] for _ in range(5))
    assert found == {200: 11}
    assert len(shop.used()) == 11 and shop.balance(accounts.accrued("acme")) == 11 * UNIT // 100
    assert not shop.store.check()


def test_sigterm_finishes_what_is_open_and_tells_kept_connections_to_close(tmp_path: Path) -> None:
    shop = Shop(tmp_path, plan=TOKENS)
    key = shop.customer()
    answers: list[Reply] = []
    with serving("words", tmp_path) as service:
        kept = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        assert service.ask(WORDS, words(1, 1), key, kept)[0] == 200
        thread = threading.Thread(target=lambda: answers.append(service.ask(WORDS, words(900, 900), key)))
        thread.start()
        time.sleep(0.3)
        service.process.send_signal(signal.SIGTERM)
        while service.is_ready():
            time.sleep(0.02)
        status, headers, _ = service.ask(WORDS, words(1, 1), key, kept)
        assert (status, headers["connection"], headers["retry-after"]) == (503, "close", "1")
        thread.join(60)
        assert service.process.wait(30) == 0
    assert [(status, len(body)) for status, _, body in answers] == [(200, 903)]
    assert [amount for _, _, amount, _ in shop.used()] == [UNIT // 100, 900 * UNIT // 100]


@pytest.mark.prove
def test_a_process_that_stood_still_beyond_its_lease_passes_no_budget(tmp_path: Path) -> None:
    shop = Shop(tmp_path, plan=TOKENS)
    key = shop.customer(limits=["10.00 EUR/month"])
    answers: list[Reply] = []
    with serving("words", tmp_path) as first:
        threads = [threading.Thread(target=lambda: answers.append(first.ask(WORDS, words(400, 400), key))) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        os.kill(first.process.pid, signal.SIGSTOP)
        with serving("words", tmp_path) as second:
            time.sleep(LIVES_US / 1e6 + 1)
            others = Counter(second.ask(WORDS, words(100, 100), key)[0] for _ in range(12))
            assert others == {200: 10, 402: 2}, "a process that stands still holds nothing for ever"
            os.kill(first.process.pid, signal.SIGCONT)
            for thread in threads:
                thread.join(60)
            assert {status for status, _, _ in answers} == {200}
            assert first.ask(WORDS, words(1, 1), key)[0] == 402 == second.ask(WORDS, words(1, 1), key)[0]
    assert shop.balance(accounts.accrued("acme")) == 10 * UNIT
    assert shop.balance(accounts.waived("EUR")) == 8 * UNIT
    assert -shop.balance(accounts.revenue("EUR")) == 18 * UNIT


@pytest.mark.parametrize("damage", ["head", "middle", "cut"])
def test_damaged_books_are_refused_at_the_start_and_it_says_how_to_restore(tmp_path: Path, damage: str) -> None:
    shop = Shop(tmp_path)
    for number in range(20):
        shop.customer(f"c{number}")
    path = Path(shop.store.where)
    shop.store.close()
    content = bytearray(path.read_bytes())
    if damage == "head":
        content[:64] = os.urandom(64)
    elif damage == "middle":
        content[8192:] = bytes(len(content) - 8192)
    else:
        del content[len(content) // 3 :]
    path.write_bytes(content)
    with pytest.raises(BooksError, match=r"damaged.*lode restore"):
        opened(Where(runs=tmp_path), "sample", GateOptions(), lambda line: None)[1].close()


class Slow(FakeEngine):
    """Two milliseconds for each token."""

    def step(self) -> list[Delta]:
        time.sleep(0.002)
        return super().step()


class SlowModel(FakeModel):
    def engine(self, **given: Any) -> FakeEngine:
        return Slow(self.tokenizer, given["max_sequences"], given["max_waiting"])


@pytest.mark.parametrize("id", ["", "Idempotency-Key: again\r\n"])
def test_a_client_that_hangs_up_in_mid_stream_pays_for_what_was_made_or_asks_for_it_again(tmp_path: Path, id: str) -> None:
    shop = Shop(tmp_path, plan=TOKENS)
    key, length = shop.customer(limits=["10.00 EUR/month"]), 800
    gate, options = shop.gate("toy"), LanguageServeOptions(port=0)
    message = {"role": "user", "content": "say:" + "x" * length}
    body = json.dumps({"model": "toy", "messages": [message], "max_tokens": 900, "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    asked = f"{head}{id}Authorization: Bearer {key}\r\n\r\n".encode() + body
    with listen(options) as listener:
        app = create_language_app(SlowModel(), options, gate)
        server, port = Server(app, options), listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        with socket.create_connection(("127.0.0.1", port), 60) as client:
            client.sendall(asked)
            read = b""
            while read.count(b"data:") < 20:
                read += client.recv(65536)
        assert b"200 OK" in read and b"[DONE]" not in read
        end = time.monotonic() + 60
        while not shop.used() or gate._settling:
            assert time.monotonic() < end
            time.sleep(0.01)
        again = b""
        if id:
            with socket.create_connection(("127.0.0.1", port), 60) as client:
                client.sendall(asked)
                while b"[DONE]" not in again:
                    again += client.recv(65536)
        held = [item.held for item in gate._allowances._known.values()]
        server.should_exit = True
        thread.join(60)
    ((_, status, amount, units),) = shop.used()
    made = json.loads(units)["output_tokens"]
    assert amount == made * UNIT // 100 == shop.balance(accounts.accrued("acme"))
    assert held == [0] and not gate._open
    if id:
        assert status == 200 and made >= length
        assert b"x-lode-replayed: true" in again
    else:
        assert status == 499 and 10 <= made < length
