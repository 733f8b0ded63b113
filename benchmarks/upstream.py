"""Somebody else's model behind lode and behind LiteLLM's proxy: requests a second of one process each, and beside the bare provider.

The same make-believe provider (50 ms, then no delay), the same load generator (gateway_load.py: 50 clients, each on its own kept
connection, each sends when it has its answer), one after the other in turns, on the same cores. A ratio is that of one turn.

lode: one process; API key (HMAC), rate limit, quota, budget, price plan, provider's price list, one durable commit a request
(SQLite, synchronous=FULL) before its answer. LiteLLM: one worker, as `litellm --config` starts it, with a master key and no
database: virtual keys, budgets and the spend log need PostgreSQL through prisma, whose engine is downloaded from binaries.prisma.sh
when it is first used. Where that can be reached the script does not use it either: what is compared is LiteLLM at its lightest.

    python benchmarks/upstream.py [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

PACKAGES = ["litellm[proxy]>=1.80", "uvloop"]
LANES = ("provider", "lode", "litellm")
DELAYS_S = (0.05, 0.0)
AIM, SHARE_AIM = 5.0, 0.75
NUM_CLIENTS, WARM_UP_S = 50, 5.0
PATH = "/v1/chat/completions"
MASTER_KEY = "sk-bench-0123456789abcdef"
PLAN = {
    "name": "bench", "version": 1, "currency": "EUR", "period": "month",
    "charges": [{"name": "tokens", "type": "tokens", "input": "0.50", "output": "1.50", "per": 1000000}],
}  # fmt: skip
LIMITS = ("1000000 requests/second", "1000000 EUR/month", "1000000000000 output_tokens/day")
PRICES = 'provider = "example"\nversion = "1"\ncurrency = "EUR"\n[models.relay]\ninput = "0.15"\noutput = "0.60"\n'
CONFIG = """
model_list:
  - model_name: relay
    litellm_params:
      {{model: openai/relay, api_base: "http://127.0.0.1:{port}/v1", api_key: sk-of-the-provider,
       input_cost_per_token: 0.00000015, output_cost_per_token: 0.0000006}}
general_settings: {{master_key: {key}}}
"""
ANSWER = json.dumps(
    {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "relay", "choices": [{"index": 0, "finish_reason": "stop",
     "message": {"role": "assistant", "content": "A fish costs what it weighs. " * 8}}],
     "usage": {"prompt_tokens": 52, "completion_tokens": 56, "total_tokens": 108}}
).encode()  # fmt: skip


def serve_provider(port: int, delay_s: float) -> None:
    """The lightest provider that there can be: it waits for whole requests and answers always the same."""
    import uvloop

    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(ANSWER)}\r\n\r\n"
    answer = head.encode() + ANSWER

    class Connection(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport, self.buffer = transport, b""

        def data_received(self, data: bytes) -> None:
            self.buffer += data
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            lower = self.buffer[:end].lower()
            start = lower.find(b"content-length:")
            length = int(lower[start + 15 :].split(b"\r\n")[0]) if start >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            if delay_s:
                asyncio.get_running_loop().call_later(delay_s, self.transport.write, answer)
            else:
                self.transport.write(answer)

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=1024)
        await server.serve_forever()

    uvloop.run(run())


def serve_lode(port: int, provider: int, folder: Path) -> None:
    """lode, with everything on."""
    import uvicorn

    from lode.app.options import UpstreamServeOptions
    from lode.app.upstream.service import create_upstream_app
    from lode.pipeline.providers import Provider
    from lode.pipeline.upstream import UpstreamModel
    from lode.testing.shop import Shop
    from lode.value import provider_prices

    shop = Shop(folder, plan=PLAN)
    (folder / "key").write_text(shop.customer(limits=LIMITS))
    prices = provider_prices.parse(PRICES, "prices.toml")
    provided = Provider("openai", f"http://127.0.0.1:{provider}/v1", "relay", None, prices, PRICES)
    options = {"timeout_s": 60.0, "retries": 2, "connections": 100, "max_tokens": 1024, "max_tokens_word": "max_tokens"}
    model = UpstreamModel((provided,), options, name="relay", version=1, hash="-")
    app = create_upstream_app(model, UpstreamServeOptions(), shop.gate("relay"), (folder,))
    uvicorn.run(app, port=port, log_level="warning", access_log=False, lifespan="on", server_header=False, proxy_headers=False)


def peer_python() -> Path:
    """The Python of LiteLLM; its environment is made once and kept outside the repository."""
    folder = Path.home() / ".cache" / "lode-bench" / "litellm"
    python, wanted = folder / "bin" / "python", folder / "packages.txt"
    if not wanted.is_file() or wanted.read_text() != "\n".join(PACKAGES):
        print(f"making {folder}: {' '.join(PACKAGES)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", *PACKAGES], check=True)
        wanted.write_text("\n".join(PACKAGES))
    return python


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], port: int, environment: dict[str, str]) -> Iterator[int]:
    """Start a server and wait until it accepts connections. Gives its process id."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    try:
        end = time.monotonic() + 180
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"does not start: {' '.join(command)}")
            time.sleep(0.1)
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(port: int, key: str) -> dict[str, Any]:
    """One request, the usual way; also waits until the lane answers."""
    body = json.dumps({"model": "relay", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 64}).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    end = time.monotonic() + 120
    while True:
        try:
            request = urllib.request.Request(f"http://127.0.0.1:{port}{PATH}", body, headers)
            with urllib.request.urlopen(request, timeout=60) as response:
                found: dict[str, Any] = json.load(response)
                return found
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > end:
                raise RuntimeError(f"does not answer: {error}") from None
            time.sleep(0.2)


def measure(port: int, key: str, seconds: float) -> dict[str, float]:
    """One burst of load."""
    command = [sys.executable, str(HERE / "gateway_load.py"), str(port), PATH, key, str(NUM_CLIENTS), str(seconds)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert not found["failed"], f"{found['failed']} requests were refused"
    return found


def memory_mb(pid: int) -> float:
    """Resident memory that a process and its children hold for themselves."""
    children = subprocess.run(["ps", "-o", "pid=", "-g", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    total = 0.0
    for each in {str(pid), *children}:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/status").read_text().splitlines()
            total += sum(int(line.split()[1]) / 1024 for line in fields if line.startswith("RssAnon"))
    return total


def cpu_s(pid: int) -> float:
    """Processor time that a process and its children took so far."""
    children = subprocess.run(["ps", "-o", "pid=", "-g", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    ticks = 0
    for each in {str(pid), *children}:
        with contextlib.suppress(OSError):
            ticks += sum(map(int, Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def burst(port: int, key: str, seconds: float, pid: int) -> dict[str, float]:
    """One burst of load, and what a request took of a processor: that figure hardly depends on what else the machine does."""
    before = cpu_s(pid)
    found = measure(port, key, seconds)
    # The generator's warm-up of a second is load too.
    return {**found, "cpu_ms": 1e3 * (cpu_s(pid) - before) / max(1.0, found["per_s"] * (seconds + 1.0))}


def compare(delay_s: float, folder: Path, seconds: float, turns: int) -> list[dict[str, Any]]:
    """All lanes behind one provider, in turns."""
    ports, me = {lane: free_port() for lane in LANES}, [sys.executable, __file__, "--serve"]
    config = folder / "litellm.yaml"
    config.write_text(CONFIG.format(port=ports["provider"], key=MASTER_KEY))
    commands = {
        "provider": [*me, "provider", str(ports["provider"]), str(delay_s), str(folder)],
        "lode": [*me, "lode", str(ports["lode"]), str(ports["provider"]), str(folder)],
        "litellm": [str(peer_python().with_name("litellm")), "--config", str(config), "--port", str(ports["litellm"]), "--host",
                    "127.0.0.1", "--num_workers", "1"],
    }  # fmt: skip
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_TELEMETRY": "False"}
    with contextlib.ExitStack() as stack:
        pids = {lane: stack.enter_context(running(commands[lane], ports[lane], quiet)) for lane in LANES}
        keys = {"provider": "-", "lode": (folder / "key").read_text(), "litellm": MASTER_KEY}
        for lane in LANES:
            assert ask(ports[lane], keys[lane])["choices"][0]["message"]["content"].startswith("A fish"), lane
            measure(ports[lane], keys[lane], WARM_UP_S)
        found: dict[str, list[dict[str, float]]] = {lane: [] for lane in LANES}
        for turn in range(turns):
            for lane in LANES[turn % len(LANES) :] + LANES[: turn % len(LANES)]:
                found[lane].append(burst(ports[lane], keys[lane], seconds, pids[lane]))
        show(delay_s, found, {lane: memory_mb(pids[lane]) for lane in LANES})
    name = f"upstream.{1000 * delay_s:.0f}_ms"
    beside = result(f"{name}.litellm", found, "lode", "litellm", AIM)
    if not delay_s:
        return [beside]
    return [beside, result(f"{name}.provider", found, "lode", "provider", SHARE_AIM)]


def result(name: str, found: dict[str, list[dict[str, float]]], ours: str, peer: str, aim: float) -> dict[str, Any]:
    ratios = [one["per_s"] / other["per_s"] for one, other in zip(found[ours], found[peer], strict=True)]
    ratio = statistics.median(ratios)
    return {
        "name": name, "ours": statistics.median(item["per_s"] for item in found[ours]),
        "peer": statistics.median(item["per_s"] for item in found[peer]), "peer_name": peer, "unit": "requests/s",
        "ratio": round(ratio, 3), "spread": [round(min(ratios), 3), round(max(ratios), 3)], "aim": aim, "holds": ratio >= aim,
    }  # fmt: skip


def show(delay_s: float, found: dict[str, list[dict[str, float]]], memory: dict[str, float]) -> None:
    print(f"\nprovider answers after {1000 * delay_s:.0f} ms, {NUM_CLIENTS} clients, load average {os.getloadavg()[0]:.1f}")
    print(f"{'':10s} {'requests/s':>11s} {'p50 ms':>9s} {'p99 ms':>9s} {'CPU ms':>9s} {'memory MB':>10s}")
    for lane, turns in found.items():
        rate, p50, p99, cpu = (statistics.median(turn[key] for turn in turns) for key in ("per_s", "p50_ms", "p99_ms", "cpu_ms"))
        print(f"{lane:10s} {rate:11.0f} {p50:9.1f} {p99:9.1f} {cpu:9.2f} {memory[lane]:10.0f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two short turns")
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        lane, port, other, folder = args.serve
        if lane == "provider":
            serve_provider(int(port), float(other))
        else:
            serve_lode(int(port), int(other), Path(folder))
        return 0
    turns, seconds = (2, 3.0) if args.quick else (5, 6.0)
    version = subprocess.run(
        [peer_python(), "-c", "import importlib.metadata as m; print(m.version('litellm'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    print(f"LiteLLM {version}: master key on; virtual keys, budgets and spend log off (no database)")
    results: list[dict[str, Any]] = []
    for delay_s in DELAYS_S:
        with tempfile.TemporaryDirectory() as name:
            results += compare(delay_s, Path(name), seconds, turns)
    print()
    print(json.dumps(results))
    return 0 if all(item["holds"] for item in results) else 1


if __name__ == "__main__":
    sys.exit(main())
