"""A closed-loop HTTP/1.1 load generator: N clients, each on its own kept connection, each sends when it has its answer.

Standard library only, a process of its own, the same for every server. Prints one JSON object.
Usage: serve_path_load.py PORT PATH BODIES CLIENTS SECONDS; BODIES is a file with one JSON body on each line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path


class Client(asyncio.Protocol):
    """One connection; answers must be 200 and have a Content-Length."""

    def __init__(self, requests: list[bytes], position: int, done: asyncio.Future[None]):
        self.requests = requests
        self.position = position
        self.done = done
        self.buffer = b""
        self.seconds: list[float] = []
        self.stopping = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.position = (self.position + 1) % len(self.requests)
        self.started = time.perf_counter()
        self.transport.write(self.requests[self.position])

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        if len(rest) < length:
            return
        if b" 200 " not in head[:16]:
            self.done.set_exception(RuntimeError(self.buffer[:2000].decode("utf-8", "replace")))
            self.transport.close()
            return
        self.seconds.append(time.perf_counter() - self.started)
        self.buffer = b""
        if self.stopping:
            self.transport.close()
        else:
            self.send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def load(port: int, path: str, bodies: list[bytes], num_clients: int, seconds: float) -> dict[str, float]:
    """Requests a second, and percentiles of the time to an answer in milliseconds."""
    loop = asyncio.get_running_loop()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
    requests = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]
    clients = [Client(requests, 17 * number, loop.create_future()) for number in range(num_clients)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)
    # The first half second warms up: connections, caches, the size of batches.
    await rest(clients, 0.5)
    for client in clients:
        client.seconds.clear()
    started = time.perf_counter()
    await rest(clients, seconds)
    taken = time.perf_counter() - started
    times = sorted(second for client in clients for second in client.seconds)
    for client in clients:
        client.stopping = True
    await asyncio.wait_for(asyncio.gather(*(client.done for client in clients)), 60)
    assert times, "no request was answered"
    p50, p99 = (1000 * times[min(len(times) - 1, int(share * len(times)))] for share in (0.50, 0.99))
    return {"requests_per_s": len(times) / taken, "p50_ms": p50, "p99_ms": p99}


async def rest(clients: list[Client], seconds: float) -> None:
    """Wait; raise what a client met, and where a server hung up on it."""
    done, _ = await asyncio.wait([client.done for client in clients], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for future in done:
        future.result()
        raise RuntimeError("the server closed a kept connection")


def main() -> None:
    port, path, bodies, num_clients, seconds = sys.argv[1:]
    lines = Path(bodies).read_bytes().splitlines()
    print(json.dumps(asyncio.run(load(int(port), path, lines, int(num_clients), float(seconds)))))


if __name__ == "__main__":
    main()
