"""The service as a process of its own: sockets, signals, keys. The model is the sample of the contract suite, so no training is needed."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

PREDICT = "/v1/models/sample:predict"
ROW: dict[str, Any] = {"age": 39, "job": "clerk", "born": None, "member": True, "photo": None}
PROGRAM = """
import sys, time
from lode.app.metering.open_gate import OpenGate
from lode.app.options import ServeOptions
from lode.app.service import run_app, create_app, listen
from lode.testing.protocol import Sample

class Slow(Sample):
    def predict(self, frame, *, check=True):
        time.sleep(float(frame["age"].cast(float).max() or 0.0) / 100.0)
        return super().predict(frame)

options = ServeOptions(port=0, grace_s=20.0)
with listen(options) as listener:
    print(listener.getsockname()[1], flush=True)
    answered = run_app(create_app(Slow(), options, OpenGate()), options, listener)
print("answered", answered, flush=True)
"""


@contextmanager
def running() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The sample model in a process; killed at the end if it still lives."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port.isdigit(), process.stderr.read() if process.stderr else ""
        url = f"http://127.0.0.1:{port}"
        _until(lambda: _answers(url))
        yield process, url
    finally:
        process.kill()
        process.communicate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def _until(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def test_many_clients_get_their_own_answers_over_kept_connections() -> None:
    async def one(client: httpx.AsyncClient, number: int) -> bool:
        ages = [number % 7, number % 5 + 0.5]
        response = await client.post(PREDICT, json={"rows": [ROW | {"age": age} for age in ages]})
        found = [row["rich.probability.yes"] for row in response.json()["predictions"]]
        return response.status_code == 200 and found == pytest.approx([age / 100 for age in ages])

    async def main(url: str) -> list[bool]:
        async with httpx.AsyncClient(base_url=url, limits=httpx.Limits(max_connections=32), timeout=60) as client:
            return await asyncio.gather(*(one(client, number) for number in range(300)))

    with running() as (_, url):
        assert all(asyncio.run(main(url)))


def test_sigterm_finishes_open_requests_says_not_ready_and_exits_with_0() -> None:
    with running() as (process, url):
        found: list[httpx.Response] = []
        client = httpx.Client(base_url=url, timeout=60)
        watch = httpx.Client(base_url=url, timeout=60)
        thread = threading.Thread(target=lambda: found.append(client.post(PREDICT, json={"rows": [ROW | {"age": 100}]})))
        assert watch.get("/health/ready").status_code == 200
        thread.start()
        _until(lambda: "lode_queue_rows 0.0" in watch.get("/metrics").text and thread.is_alive())
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        _until(lambda: watch.get("/health/ready").status_code == 503)
        refused = watch.post(PREDICT, json={"rows": [ROW]})
        thread.join(30)
        output, errors = process.communicate(timeout=30)
        assert found[0].status_code == 200
        assert refused.status_code == 503
        assert process.returncode == 0, errors
        assert "answered" in output


def test_raw_bytes_that_are_no_http_do_not_stop_the_server() -> None:
    with running() as (_, url):
        port = int(url.rpartition(":")[2])
        head = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n".encode()
        for sent in (
            b"\x00\x01\x02",
            b"GET",
            head,
            head + b"content-length: -1\r\n\r\n",
            head + b"content-length: 99999999999999999999\r\n\r\n{",
            head + b"content-length: 10\r\n\r\n{",
            head + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
            head + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
        assert httpx.post(f"{url}{PREDICT}", json={"rows": [ROW]}).status_code == 200


def test_a_client_that_hangs_up_does_not_hold_the_queue() -> None:
    with running() as (_, url):
        with pytest.raises(httpx.TimeoutException):
            httpx.post(f"{url}{PREDICT}", json={"rows": [ROW | {"age": 100}] * 2}, timeout=0.2)
        with pytest.raises(httpx.TimeoutException):
            httpx.post(f"{url}{PREDICT}", json={"rows": [ROW | {"age": 99}]}, timeout=0.2)
        _until(lambda: 'status="499"} 2.0' in httpx.get(f"{url}/metrics").text)
        assert httpx.post(f"{url}{PREDICT}", json={"rows": [ROW | {"age": 1}]}, timeout=60).status_code == 200


def test_a_taken_port_is_a_message() -> None:
    from lode.app.options import ServeOptions
    from lode.app.service import listen
    from lode.core.errors import ServeError

    with listen(ServeOptions(port=0)) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(ServeError, match=f"--port {port}: cannot listen there"):
            listen(ServeOptions(port=port))
    with pytest.raises(ServeError, match="no such address"):
        listen(ServeOptions(host="no.such.host.invalid"))
