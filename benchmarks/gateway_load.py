"""A closed-loop HTTP/1.1 load generator for `gateway.py`: N clients, each on its own kept connection. Prints one JSON object.

Usage: gateway_load.py PORT PATH KEY CLIENTS SECONDS; each client sends when it has its answer. A process of its own, the same for each
lane.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time

import uvloop

BODY = json.dumps(
    {"model": "relay", "messages": [{"role": "user", "content": "How much is the fish? " * 8}], "max_tokens": 64}
).encode()
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_WARM_UP_S = 1.0


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, request: bytes):
        self.request = request
        self.buffer = b""
        self.seconds: list[float] = []
        self.failed = self.total = 0
        self.stopping = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.send()

    def send(self) -> None:
        self.started = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        found = _LENGTH.search(self.buffer, 0, end)
        assert found is not None
        if len(self.buffer) < end + 4 + int(found[1]):
            return
        if self.buffer.startswith(b"HTTP/1.1 200"):
            self.seconds.append(time.perf_counter() - self.started)
            self.total += 1
        else:
            self.failed += 1
        self.buffer = b""
        if self.stopping:
            self.transport.close()
        else:
            self.send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def load(port: int, path: str, key: str, num_clients: int, seconds: float) -> dict[str, float]:
    """Requests a second, and percentiles in milliseconds."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY
    loop, clients = asyncio.get_running_loop(), [Client(request) for _ in range(num_clients)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)
    await asyncio.sleep(_WARM_UP_S)
    for client in clients:
        client.seconds.clear()
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    taken = time.perf_counter() - started
    times = sorted(second for client in clients for second in client.seconds)
    for client in clients:
        client.stopping = True
    await asyncio.wait_for(asyncio.gather(*(client.done for client in clients)), 60)
    failed = sum(client.failed for client in clients)
    total = sum(client.total for client in clients)
    if not times:
        return {"per_s": 0.0, "p50_ms": 0.0, "p99_ms": 0.0, "failed": failed, "total": total}
    return {
        "per_s": round(len(times) / taken, 1),
        "p50_ms": round(1e3 * times[len(times) // 2], 2),
        "p99_ms": round(1e3 * times[int(len(times) * 0.99)], 2),
        "failed": failed,
        "total": total,
    }


if __name__ == "__main__":
    _port, _path, _key, _clients, _seconds = sys.argv[1:]
    sys.stdout.write(json.dumps(uvloop.run(load(int(_port), _path, _key, int(_clients), float(_seconds)))) + "\n")
