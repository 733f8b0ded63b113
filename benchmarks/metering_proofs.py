"""Metering under kill -9 (T1), SIGTERM (T2), races for a budget (T4), overload (T12), at full count; a line each, exit 1 where one fails.

`python benchmarks/metering_proofs.py [--quick] [T1 T2 T4 T12]`. The servers are processes of their own on real sockets; the books lie in
a temporary folder. Reference: application-layer.md 4.2.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import uvloop

from lode.app.audit.verify import verify
from lode.app.books import accounts, journal
from lode.testing.shop import Shop

PREDICT = "/v1/models/sample:predict"
BODY = json.dumps({"rows": [{"age": 39, "job": "clerk", "born": None, "member": True, "photo": None}]}).encode()
PRICE = 10**10
"""0.01 in 10^-12: what one request costs by `Shop`'s plan."""
WORDS = {
    "name": "words", "version": 1, "currency": "EUR", "period": "month",
    "charges": [{"name": "tokens", "type": "standard", "price": "0.01", "unit": "output_tokens"}],
}  # fmt: skip
LOST = (OSError, EOFError)
Answer = tuple[int, dict[str, str], bytes]
Late = tuple[int, dict[str, str]]


class Wire:
    """One kept connection to a server. Errors: LOST where it breaks off."""

    def __init__(self, port: int):
        self.port = port
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, path: str, key: str = "", id: str = "", body: bytes = b"") -> Answer:
        """Status, headers and body of an answer."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        head += (f"Authorization: Bearer {key}\r\n" if key else "") + (f"Idempotency-Key: {id}\r\n" if id else "")
        try:
            self._writer.write(head.encode() + b"\r\n" + body)
            found = await self._answer()
        except BaseException:
            self.close()
            raise
        if found[1].get("connection") == "close":
            self.close()
        return found

    async def _answer(self) -> Answer:
        text = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = text.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if "content-length" in headers:
            return int(first.split()[1]), headers, await self._reader.readexactly(int(headers["content-length"]))
        parts = b""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            parts += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)
        return int(first.split()[1]), headers, parts

    def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None


class Server:
    """A metered service that can be killed and started again on the same port."""

    def __init__(self, kind: str, folder: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._command = [sys.executable, str(Path(__file__).with_name("metering_server.py")), kind, str(self.port), str(folder)]
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> float:
        """Seconds until it is ready."""
        started = time.perf_counter()
        self.process = subprocess.Popen(self._command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        while True:
            with contextlib.suppress(*LOST):
                if (await Wire(self.port).ask("GET", "/health/ready"))[0] == 200:
                    return time.perf_counter() - started
            assert self.process.poll() is None, "the server ended"
            await asyncio.sleep(0.02)

    async def stop(self, number: int) -> float:
        """Send a signal and wait for the end; seconds."""
        assert self.process is not None
        started = time.perf_counter()
        self.process.send_signal(number)
        while self.process.poll() is None:
            await asyncio.sleep(0.01)
        return time.perf_counter() - started


@asynccontextmanager
async def running(*servers: Server) -> AsyncIterator[None]:
    try:
        for server in servers:
            await server.start()
        yield
    finally:
        for server in servers:
            if server.process is not None and server.process.poll() is None:
                server.process.kill()
                server.process.wait()


def audited(shop: Shop) -> list[str]:
    """What is wrong with the books."""
    return [*shop.store.check(), *shop.read(lambda session: verify(session)["problems"])]


async def kill_9(folder: Path, quick: bool) -> tuple[bool, str]:
    kills, shop, rng = 3 if quick else 50, Shop(folder), random.Random(1)
    key, server = shop.customer(limits=["1000000 EUR/month"]), Server("rows", folder)
    acked: dict[str, bytes] = {}
    tried: set[str] = set()
    stopping = asyncio.Event()

    async def persistent(number: int) -> None:
        wire, count = Wire(server.port), 0
        while not stopping.is_set():
            id, count = f"p{number}-{count}", count + 1
            while id not in acked:
                with contextlib.suppress(*LOST):
                    status, _, body = await wire.ask("POST", PREDICT, key, id, BODY)
                    if status == 200:
                        acked[id] = body
                        continue
                await asyncio.sleep(0.02)

    async def fickle(number: int) -> None:
        count = 0
        while not stopping.is_set():
            id, count = f"f{number}-{count}", count + 1
            tried.add(id)
            with contextlib.suppress(*LOST, TimeoutError):
                async with asyncio.timeout(rng.uniform(0.001, 0.05)):
                    await Wire(server.port).ask("POST", PREDICT, key, id, BODY)
            await asyncio.sleep(0.01)

    ready, unequal = [], []
    async with running(server):
        tasks = [asyncio.create_task(persistent(number)) for number in range(16)]
        tasks += [asyncio.create_task(fickle(number)) for number in range(4)]
        for _ in range(kills):
            await asyncio.sleep(rng.uniform(0.3, 1.0))
            await server.stop(signal.SIGKILL)
            ready.append(await server.start())
            unequal.append(await asyncio.to_thread(_unequal, shop))
        stopping.set()
        await asyncio.gather(*tasks)
        await server.stop(signal.SIGTERM)  # requests of those who gave up may wait in the socket: then only the rows are final
        await server.start()
        rows = Counter(line[0] for line in shop.used())
        wrong = [id for id in tried & rows.keys() if not await _again(server, key, id)]
        wrong += [id for id in rng.sample(sorted(acked), min(500, len(acked))) if not await _again(server, key, id, acked[id])]
        await server.stop(signal.SIGTERM)
        after = len(shop.used())
    settled, debited = sum(id in rows for id in acked), shop.balance(accounts.accrued("acme")) // PRICE
    double, problems = sum(count > 1 for count in rows.values()), audited(shop)
    abandoned = len(rows) - settled
    good = len(acked) == settled and debited == len(rows) == after and not (double or wrong or problems or any(unequal))
    good = good and set(rows) <= set(acked) | tried and max(ready) <= 2.0
    return good, (
        f"{kills} kill -9 under 16 retrying and 4 abandoning clients: acked {len(acked):,} = settled {settled:,}, {abandoned:,} settled "
        f"for those who gave up (of {len(tried):,} tries), debited {debited:,}; lost {len(acked) - settled}, double {double}, not fetched "
        f"again {len(wrong)}, debited without a row after a kill {sum(map(abs, unequal))}, audit problems {len(problems)}; ready again in "
        f"p50 {sorted(ready)[len(ready) // 2]:.2f}, at most {max(ready):.2f} s"
    )


def _unequal(shop: Shop) -> int:
    """Money debited less what the rows say, in one view of the books, while requests go on."""
    with shop.store.view() as session:
        ((amounts,),) = session.rows("SELECT exact_sum(amount) FROM usage")
        return journal.balance(session, accounts.accrued("acme")) - int(amounts or 0)


async def _again(server: Server, key: str, id: str, body: bytes | None = None) -> bool:
    """Whether a settled request is answered as before."""
    status, headers, found = await Wire(server.port).ask("POST", PREDICT, key, id, BODY)
    return status == 200 and headers.get("x-lode-replayed") == "true" and body in (None, found)


async def sigterm(folder: Path, quick: bool) -> tuple[bool, str]:
    stops, shop, rng = 3 if quick else 50, Shop(folder), random.Random(2)
    key, server = shop.customer(), Server("rows", folder)
    acked: set[str] = set()
    outcomes: Counter[str] = Counter()
    stopping = asyncio.Event()

    async def client(number: int) -> None:
        wire, count = Wire(server.port), 0
        while not stopping.is_set():
            id, count = f"c{number}-{count}", count + 1
            try:
                status, _, _ = await wire.ask("POST", PREDICT, key, id, BODY)
            except ConnectionRefusedError:
                outcomes["refused"] += 1
                await asyncio.sleep(0.05)
                continue
            except LOST:
                outcomes["closed"] += 1  # if it was taken after all, it is a row without an answer, and fails the proof
                continue
            outcomes[str(status)] += 1
            if status == 200:
                acked.add(id)
            else:
                await asyncio.sleep(0.02)

    drained = []
    async with running(server):
        tasks = [asyncio.create_task(client(number)) for number in range(16)]
        for _ in range(stops):
            await asyncio.sleep(rng.uniform(0.3, 1.0))
            drained.append(await server.stop(signal.SIGTERM))
            await server.start()
        stopping.set()
        await asyncio.gather(*tasks)
    rows = Counter(line[0] for line in shop.used())
    failed, lost = len(set(rows) - acked), len(acked - set(rows))
    debited, problems = shop.balance(accounts.accrued("acme")) // PRICE, audited(shop)
    other = {word: count for word, count in outcomes.items() if word not in ("200", "503", "refused", "closed")}
    good = not failed and not lost and not other and debited == len(acked) == sum(rows.values()) and not problems
    return good, (
        f"{stops} SIGTERM under 16 clients: answered {len(acked):,} = settled {sum(rows.values()):,} = debited {debited:,}; in flight and "
        f"failed {failed}, usage lost {lost}, other answers {other or 0}; told 503 while stopping {outcomes['503']:,}, refused while away "
        f"{outcomes['refused']:,}, closed before read {outcomes['closed']:,}; audit problems {len(problems)}; gone after at most "
        f"{max(drained):.2f} s"
    )


async def budget_race(folder: Path, quick: bool) -> tuple[bool, str]:
    runs, shop = 5 if quick else 100, Shop(folder, plan=WORDS)
    servers = [Server("words", folder), Server("words", folder)]
    results: Counter[int] = Counter()
    odd, over, streams, refused = Counter[int](), 0, 0, 0
    async with running(*servers):
        for number in range(runs):
            slug = f"race-{number}"
            keys = shop.customer(slug, limits=["0.50 EUR/month"]), shop.customer(f"{slug}-s", limits=["4.00 EUR/month"])
            await asyncio.sleep(0.6)  # until both processes know them
            found = await _volley(servers, keys[0], 200, lambda index: (1, 1))
            results[found.count(200)] += 1
            odd.update(status for status in found if status not in (200, 402))
            # At most 40 tokens are reserved, 1 to 3 are used: 100 need some 200 of 400; then all that is left, in pieces.
            many = await _volley(servers, keys[1], 100, lambda index: (40, 1 + index % 3))
            refused += sum(status != 200 for status in many)
            streams += len(many)
            await _volley(servers, keys[1], 60, lambda index: (10, 10))
            over += shop.balance(accounts.accrued(f"{slug}-s")) > 400 * PRICE
            over += shop.balance(accounts.accrued(slug)) > 50 * PRICE
    good = results == {50: runs} and not odd and not refused and not over
    return good, (
        f"200 calls at once in 2 processes, budget for 50: exactly 50 in {results[50]} of {runs} runs (all counts: {dict(results)}); "
        f"streams of unknown length: {streams:,}, falsely refused {refused}; budgets overshot {over}; other answers {dict(odd) or 0}"
    )


async def _volley(servers: list[Server], key: str, count: int, of: Callable[[int], tuple[int, int]]) -> list[int]:
    """Statuses of calls at once, in turn to each server. of: tokens to reserve and to use, by the call's number."""

    async def one(index: int) -> int:
        most, used = of(index)
        wire = Wire(servers[index % len(servers)].port)
        try:
            return (await wire.ask("POST", "/words", key, "", json.dumps({"most": most, "used": used}).encode()))[0]
        finally:
            wire.close()

    return await asyncio.gather(*(one(index) for index in range(count)))


async def overload(folder: Path, quick: bool) -> tuple[bool, str]:
    seconds, shop = 6.0 if quick else 30.0, Shop(folder)
    key, server = shop.customer(limits=["1000000 EUR/month", "1000000 requests/second"]), Server("slow", folder)
    async with running(server):
        await _closed(server, key, 16, 1.0)
        peak = await _closed(server, key, 16, 4.0)
        health, watch = list[float](), asyncio.Event()
        task = asyncio.create_task(_probe(server, health, watch))
        statuses, times, late = await _opened(server, key, 10 * peak, seconds)
        watch.set()
        await task
        back = await _closed(server, key, 16, 3.0)
    goodput = sum(second <= 0.5 for second in times) / seconds
    bare = sum("retry-after" not in headers for status, headers in late if status in (429, 503))
    p99 = sorted(times)[int(len(times) * 0.99)] if times else 9.9
    good = goodput >= 0.9 * peak and max(health) < 0.1 and not bare and set(statuses) <= {200, 429, 503} and back >= 0.9 * peak
    return good, (
        f"open loop at 10 x peak for {seconds:.0f} s, keys and ledger on: goodput {goodput:.0f}/s of a peak of {peak:.0f}/s = "
        f"{goodput / peak:.1%}, admitted p99 {1000 * p99:.0f} ms; {dict(statuses)}, {bare} refusals without Retry-After; /health/live at "
        f"most {1000 * max(health):.0f} ms; then again {back:.0f}/s"
    )


async def _closed(server: Server, key: str, num_clients: int, seconds: float) -> float:
    """Answers a second of clients that wait for each."""
    end, count = time.perf_counter() + seconds, [0]

    async def one() -> None:
        wire = Wire(server.port)
        while time.perf_counter() < end:
            status, _, _ = await wire.ask("POST", PREDICT, key, "", BODY)
            count[0] += status == 200
        wire.close()

    await asyncio.gather(*(one() for _ in range(num_clients)))
    return count[0] / seconds


async def _opened(server: Server, key: str, per_s: float, seconds: float) -> tuple[Counter[int], list[float], list[Late]]:
    """Requests come whether or not others were answered. Statuses; seconds of the good ones; status and headers of the others."""
    statuses, times, others = Counter[int](), list[float](), list[Late]()
    idle: list[Wire] = []
    tasks: set[asyncio.Task[None]] = set()

    async def one() -> None:
        started, wire = time.perf_counter(), idle.pop() if idle else Wire(server.port)
        status, headers, _ = await wire.ask("POST", PREDICT, key, "", BODY)
        statuses[status] += 1
        if status == 200:
            times.append(time.perf_counter() - started)
        else:
            others.append((status, headers))
        idle.append(wire)

    begin, sent = time.perf_counter(), 0
    while (now := time.perf_counter() - begin) < seconds:
        while sent < now * per_s:
            sent += 1
            task = asyncio.create_task(one())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.sleep(0.005)
    await asyncio.gather(*tasks)
    for wire in idle:
        wire.close()
    return statuses, times, others


async def _probe(server: Server, health: list[float], stop: asyncio.Event) -> None:
    wire = Wire(server.port)
    while not stop.is_set():
        started = time.perf_counter()
        status, _, _ = await wire.ask("GET", "/health/live")
        assert status == 200
        health.append(time.perf_counter() - started)
        await asyncio.sleep(0.1)
    wire.close()


PROOFS: dict[str, Callable[[Path, bool], Any]] = {"T1": kill_9, "T2": sigterm, "T4": budget_race, "T12": overload}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="small counts")
    parser.add_argument("proofs", nargs="*", metavar="|".join(PROOFS), help="only these")
    args = parser.parse_args()
    failed = 0
    for name in args.proofs or PROOFS:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            good, text = uvloop.run(PROOFS[name](Path(folder), args.quick))
        failed += not good
        spent = f"{time.perf_counter() - started:.0f} s, load {os.getloadavg()[0]:.1f}"
        sys.stdout.write(f"{name} {'pass' if good else 'FAIL'}: {text}. {spent}\n")
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
