"""T16: what keys, limits, prices and the durable ledger cost a gateway, as a ratio of a bare ASGI echo under the same uvicorn.

`python benchmarks/gateway.py [--seconds 5] [--rounds 3] [--clients 50] [--minutes 10]`: both lanes are running, each is measured in turn,
once behind a 50 ms upstream (a sleep) and once at zero delay. One process, one event loop each. The servers have one core and the load
generator has another, so that the system does not move threads about in the middle of a burst; with --roaming both go where they like.
Prints one line for each; --minutes instead loads the gateway for so long and prints its memory.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

LANES = ("echo", "lode")
DELAYS_S = (0.05, 0.0)
WANTED = {0.05: 0.85, 0.0: 0.18}
SERVER, LOAD = 0, 1
"""Which of the cores that this process may use each of them gets."""
ANSWER = json.dumps(
    {"id": "chatcmpl-1", "object": "chat.completion", "model": "relay", "choices": [{"index": 0, "finish_reason": "stop",
     "message": {"role": "assistant", "content": "A fish costs what it weighs. " * 8}}],
     "usage": {"prompt_tokens": 52, "completion_tokens": 56, "total_tokens": 108}}
).encode()  # fmt: skip
PATH = "/v1/chat/completions"
PLAN = {
    "name": "bench", "version": 1, "currency": "EUR", "period": "month",
    "charges": [{"name": "tokens", "type": "tokens", "input": "0.50", "output": "1.50", "per": 1000000}],
}  # fmt: skip
LIMITS = ("1000000 requests/second", "1000000 EUR/month", "1000000000000 output_tokens/day")


def echo_app(delay_s: float) -> Any:
    """Reads the body, waits, answers."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]

    async def app(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body", False):
            pass
        if delay_s:
            await asyncio.sleep(delay_s)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": ANSWER})

    return app


def lode_app(delay_s: float, folder: Path) -> Any:
    """The same behind lode's endpoint: key, rate, quota, budget, price, one durable commit."""
    import orjson
    from starlette.types import Receive

    from lode.app.answering import JSON, Desk, Reply
    from lode.app.contracts import Caller, Endpoint
    from lode.app.metered import Metered, Order, Tally
    from lode.app.monitor import Monitor
    from lode.app.routes import App, not_routed, own_routes, route
    from lode.testing.shop import Shop

    class Relay(Metered[None]):
        async def read(self, body: bytes, caller: Caller) -> Order[None]:
            asked = orjson.loads(body)
            most = {"input_tokens": len(body) // 4, "output_tokens": asked["max_tokens"]}
            return Order(asked["model"], most, None)

        async def work(self, order: Order[None], receive: Receive, tally: Tally) -> Reply:
            if delay_s:
                await asyncio.sleep(delay_s)
            tally.units = lambda: {"input_tokens": 52, "output_tokens": 56, "compute_us": 10}
            return 200, ANSWER, [(b"content-type", JSON)]

    @dataclass
    class Model:
        name: str = "relay"
        version: int | None = 1

    shop = Shop(folder, plan=PLAN)
    (folder / "key").write_text(shop.customer(limits=LIMITS))
    gate = shop.gate("relay")
    desk = Desk(Model(), gate, Monitor(name="relay", version=1, hash="-"), max_body_bytes=1 << 20, body_timeout_s=30.0)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with gate.running():
            yield

    app = App([route(Relay(desk, Endpoint("POST", PATH))), *own_routes(desk)], lifespan, not_routed)
    app.state.service = desk
    return app


def serve(lane: str, port: int, delay_s: float, folder: Path) -> None:
    """One lane, until it is stopped."""
    if lane == "echo":
        import uvicorn

        uvicorn.run(echo_app(delay_s), port=port, log_level="warning", lifespan="off", access_log=False, server_header=False)
        return
    from lode.app.listening import listen, run_app
    from lode.app.options import ServeOptions

    app, options = lode_app(delay_s, folder), ServeOptions(port=port)
    with listen(options) as listener:
        run_app(app, options, listener)


def pin(process: subprocess.Popen[Any], number: int, roaming: bool) -> None:
    """Give a process that begins a core, where the system can and there is more than one."""
    if not roaming and hasattr(os, "sched_setaffinity") and len(cores := sorted(os.sched_getaffinity(0))) > 1:
        os.sched_setaffinity(process.pid, {cores[number]})


@contextlib.contextmanager
def running(lane: str, delay_s: float, folder: Path, roaming: bool) -> Iterator[tuple[int, int]]:
    """(port, process id) of a lane in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True)
    command = [sys.executable, __file__, "--serve", lane, str(port), str(delay_s), str(folder)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    pin(process, SERVER, roaming)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(30)


def measure(port: int, key: str, num_clients: int, seconds: float, roaming: bool) -> dict[str, float]:
    """One burst of load."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("gateway_load.py")),
        str(port),
        PATH,
        key,
        str(num_clients),
        str(seconds),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    pin(process, LOAD, roaming)
    found: dict[str, float] = json.loads(process.communicate()[0])
    assert not found["failed"], f"{found['failed']} requests were refused"
    return found


def ratio(delay_s: float, folder: Path, num_clients: int, seconds: float, rounds: int, roaming: bool) -> bool:
    """Measure the lanes in turn and print one line. Whether it is as wanted."""
    with contextlib.ExitStack() as stack:
        ports = {lane: stack.enter_context(running(lane, delay_s, folder / f"{lane}-{delay_s}", roaming))[0] for lane in LANES}
        key = (folder / f"lode-{delay_s}" / "key").read_text()
        found = [{lane: measure(ports[lane], key, num_clients, seconds, roaming) for lane in LANES} for _ in range(rounds)]
    shares = [item["lode"]["per_s"] / item["echo"]["per_s"] for item in found]
    share, good = statistics.median(shares), statistics.median(shares) >= WANTED[delay_s]
    middle = {lane: {word: statistics.median(item[lane][word] for item in found) for word in found[0][lane]} for lane in LANES}
    lanes = "; ".join(
        f"{lane} {figures['per_s']:,.0f}/s, p50 {figures['p50_ms']:.1f}, p99 {figures['p99_ms']:.1f} ms"
        for lane, figures in middle.items()
    )
    spread, place = f"{min(shares):.3f} to {max(shares):.3f}", ", roaming" if roaming else ""
    sys.stdout.write(
        f"T16 {'pass' if good else 'FAIL'}: upstream {1000 * delay_s:.0f} ms, {num_clients} clients{place}: {share:.3f} of a bare echo "
        f"({spread}; wanted {WANTED[delay_s]}). {lanes}. Load {os.getloadavg()[0]:.1f}\n"
    )
    sys.stdout.flush()
    return good


def memory(folder: Path, num_clients: int, minutes: float, roaming: bool) -> bool:
    """Load the gateway and watch its memory: it must be flat after the first minutes."""
    with running("lode", 0.0, folder / "memory", roaming) as (port, pid):
        key, sizes, started = (folder / "memory" / "key").read_text(), list[float](), time.monotonic()
        requests = 0.0
        while time.monotonic() - started < minutes * 60:
            requests += measure(port, key, num_clients, 10.0, roaming)["per_s"] * 10.0
            sizes.append(_megabytes(pid))
    half = sizes[len(sizes) // 2]
    good = sizes[-1] <= half * 1.03 + 2
    sys.stdout.write(
        f"T16 {'pass' if good else 'FAIL'}: memory over {minutes:g} min and some {requests:,.0f} requests: {sizes[0]:.0f} MB after 10 s, "
        f"{half:.0f} MB at half time, {sizes[-1]:.0f} MB at the end. Load {os.getloadavg()[0]:.1f}\n"
    )
    return good


def _megabytes(pid: int) -> float:
    """Resident memory that is the process's own."""
    fields = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in fields.splitlines() if line.startswith("RssAnon"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=0.0, help="only watch the memory for so long")
    parser.add_argument("--delay", type=float, action="append", help="only this upstream, in seconds")
    parser.add_argument("--roaming", action="store_true", help="leave it to the system who runs on which core")
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        lane, port, delay_s, folder = args.serve
        serve(lane, int(port), float(delay_s), Path(folder))
        return 0
    with tempfile.TemporaryDirectory() as name:
        if args.minutes:
            return 0 if memory(Path(name), args.clients, args.minutes, args.roaming) else 1
        good = [
            ratio(delay_s, Path(name), args.clients, args.seconds, args.rounds, args.roaming) for delay_s in args.delay or DELAYS_S
        ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
