"""Serving beside its peers: single-row requests at 1, 16 and 64 clients, one machine, the same job on every side.

Ours: `lode run` makes the artifact, `lode serve --open` serves it. Peers, in an environment of their own (serve_path_peers.py):
FastAPI with a scikit-learn pipeline, and LitServe with the same pipeline, with and without its batching. All get the same rows of
the adult table ($LODE_DATA; scikit-learn's breast-cancer where it is absent), the same kind of model (--family), and the same load
(serve_path_load.py). Servers run one at a time, in turns; a ratio is that of one turn, against the better peer of that turn.

    python benchmarks/serve_path.py [--quick] [--family linear|trees]
"""

from __future__ import annotations

import argparse
import csv
import gzip
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
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PACKAGES = [
    *("fastapi==0.165.0", "uvicorn[standard]==0.54.0", "litserve==0.2.19"),
    *("scikit-learn==1.9.1", "pandas==3.1.1", "lightgbm==4.7.0", "joblib"),
]
PEERS = ("fastapi", "fastapi-threads", "litserve", "litserve-batched")
CLIENTS = (1, 16, 64)
AIMS = {1: 1.0, 16: 1.0, 64: 2.0}
ADULT = [
    *("age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship"),
    *("race", "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income"),
]


@dataclass(frozen=True)
class Job:
    """What is served: train.csv in `folder`, rows to ask for, and what is right for them."""

    folder: Path
    target: str
    positive: str
    rows: list[dict[str, Any]]
    truth: list[bool]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two short turns")
    parser.add_argument("--family", choices=("linear", "trees"), default="linear", help="the kind of model (default: linear)")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LODE_DATA", HERE.parent.parent / "shared" / "data")))
    args = parser.parse_args()
    turns, seconds = (2, 1.5) if args.quick else (5, 4.0)
    python = peer_python()
    with tempfile.TemporaryDirectory() as name:
        job = make_job(Path(name), args.data / "tabular")
        bodies = job.folder / "bodies.jsonl"
        bodies.write_text("".join(json.dumps({"rows": [row]}) + "\n" for row in job.rows))
        commands = {"lode": ours(job, args.family)} | {peer: theirs(job, args.family, peer, python) for peer in PEERS}
        figures: dict[str, list[dict[int, dict[str, float]]]] = {server: [] for server in commands}
        for turn in range(turns):
            order = list(commands)[turn % len(commands) :] + list(commands)[: turn % len(commands)]
            for server in order:
                figures[server].append(measure(server, *commands[server], job, bodies, seconds, check=turn == 0))
    show(figures)
    results = [compare(figures, num_clients, args.family) for num_clients in CLIENTS]
    print(json.dumps(results))
    return 0 if all(result["holds"] for result in results) else 1


def peer_python() -> Path:
    """The Python of the peers; its environment is made once and kept outside the repository."""
    folder = Path.home() / ".cache" / "lode-bench" / "serve"
    python, wanted = folder / "bin" / "python", folder / "packages.txt"
    if not wanted.is_file() or wanted.read_text() != "\n".join(PACKAGES):
        print(f"making {folder}: {' '.join(PACKAGES)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", *PACKAGES], check=True)
        wanted.write_text("\n".join(PACKAGES))
    return python


def make_job(folder: Path, tabular: Path) -> Job:
    """train.csv with a header, and 1,000 rows that no side was fitted on (fewer of the small table)."""
    if (tabular / "adult_train.csv.gz").is_file():
        print("table: adult, 14 columns")
        train, test = (read_adult(tabular / f"adult_{part}.csv.gz") for part in ("train", "test"))
        names, positive = ADULT, ">50K"
    else:
        from sklearn.datasets import load_breast_cancer

        print("table: breast-cancer, 30 columns")
        bunch = load_breast_cancer()
        names, positive = [*(str(name).replace(" ", "_") for name in bunch.feature_names), "diagnosis"], "malignant"
        rows = [[*map(repr, row), bunch.target_names[code]] for row, code in zip(bunch.data.tolist(), bunch.target, strict=True)]
        train, test = rows[:400], rows[400:]
    with (folder / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([names, *train])
    asked = test[:1000]
    return Job(
        folder, names[-1], positive,
        [{name: number_or_word(cell) for name, cell in zip(names[:-1], row, strict=False)} for row in asked],
        [row[-1] == positive for row in asked],
    )  # fmt: skip


def read_adult(path: Path) -> list[list[str]]:
    with gzip.open(path, "rt") as file:
        rows = [[cell.strip() for cell in row] for row in csv.reader(file) if len(row) == len(ADULT)]
    return [[*row[:-1], row[-1].rstrip(".")] for row in rows]


def number_or_word(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def ours(job: Job, family: str) -> tuple[list[str], str]:
    """The command that serves, and the path of its route."""
    inputs = "".join(f"  {name}: {'category' if isinstance(cell, str) else 'number'}\n" for name, cell in job.rows[0].items())
    (job.folder / "lode.yaml").write_text(
        f"name: bench\ndata: {{source: {{type: csv, path: train.csv}}, split: {{by: random, seed: 7}}}}\ninputs:\n{inputs}"
        f'outputs: {{{job.target}: {{type: binary, positive: "{job.positive}"}}}}\nmodel: {family}\n'
    )
    lode, runs = [sys.executable, "-m", "lode"], str(job.folder / "runs")
    subprocess.run([*lode, "run", str(job.folder / "lode.yaml"), "--runs", runs, "--json"], check=True, stdout=subprocess.DEVNULL)
    return [*lode, "serve", "bench", "--runs", runs, "--open", "--port", "PORT"], "/v1/models/bench:predict"


def theirs(job: Job, family: str, peer: str, python: Path) -> tuple[list[str], str]:
    script, model = [str(python), str(HERE / "serve_path_peers.py")], job.folder / "peer.joblib"
    if not model.exists():
        subprocess.run([*script, "fit", str(job.folder / "train.csv"), job.target, family, str(model)], check=True)
    return [*script, peer, str(model), "PORT"], "/predict"


@contextmanager
def running(command: list[str], path: str, first: dict[str, Any]) -> Iterator[int]:
    """Start a server, wait until it answers the first row, and stop it and its workers at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [str(port) if word == "PORT" else word for word in command]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        end = time.monotonic() + 120
        while True:
            try:
                ask(port, path, [first])
                break
            except (urllib.error.URLError, OSError):
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"does not answer: {' '.join(words)}") from None
                time.sleep(0.1)
        yield port
    finally:
        # A session of its own: LitServe leaves its workers behind when only the first process is stopped.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(port: int, path: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    body = json.dumps({"rows": rows}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        predictions: list[dict[str, Any]] = json.load(response)["predictions"]
    return predictions


def measure(
    server: str, command: list[str], path: str, job: Job, bodies: Path, seconds: float, *, check: bool
) -> dict[int, dict[str, float]]:
    """One turn of one server: figures for each number of clients."""
    found: dict[int, dict[str, float]] = {}
    with running(command, path, job.rows[0]) as port:
        if check:
            key = f"{job.target}.probability.{job.positive}"
            scores = [ask(port, path, [row])[0][key] for row in job.rows[:300]]
            print(f"{server:17s} AUC of the first 300 answers {auc(scores, job.truth[:300]):.3f}", flush=True)
        for num_clients in CLIENTS:
            # One interpreter for every load, so that the generator costs every server the same.
            load = [sys.executable, str(HERE / "serve_path_load.py"), str(port), path, str(bodies), str(num_clients), str(seconds)]
            found[num_clients] = json.loads(subprocess.run(load, check=True, capture_output=True, text=True).stdout)
    return found


def auc(scores: list[float], truth: list[bool]) -> float:
    good = [score for score, true in zip(scores, truth, strict=True) if true]
    bad = [score for score, true in zip(scores, truth, strict=True) if not true]
    wins = sum((high > low) + 0.5 * (high == low) for high in good for low in bad)
    return wins / (len(good) * len(bad))


def show(figures: dict[str, list[dict[int, dict[str, float]]]]) -> None:
    """Medians over turns."""
    print(f"\n{'server':17s} {'clients':>7s} {'requests/s':>11s} {'p50 ms':>8s} {'p99 ms':>8s}")
    for server, turns in figures.items():
        for num_clients in CLIENTS:
            rate, p50, p99 = (
                statistics.median(turn[num_clients][key] for turn in turns) for key in ("requests_per_s", "p50_ms", "p99_ms")
            )
            print(f"{server:17s} {num_clients:7d} {rate:11.0f} {p50:8.2f} {p99:8.2f}")
    print()


def compare(figures: dict[str, list[dict[int, dict[str, float]]]], num_clients: int, family: str) -> dict[str, Any]:
    """Our requests a second against those of the better peer, turn by turn."""
    rates = {server: [turn[num_clients]["requests_per_s"] for turn in turns] for server, turns in figures.items()}
    better = max(PEERS, key=lambda peer: statistics.median(rates[peer]))
    ratios = [own / max(rates[peer][turn] for peer in PEERS) for turn, own in enumerate(rates["lode"])]
    ratio, aim = statistics.median(ratios), AIMS[num_clients]
    return {
        "name": f"serve_path.{family}.{num_clients}_clients",
        "ours": round(statistics.median(rates["lode"]), 1),
        "peer": round(statistics.median(rates[better]), 1),
        "peer_name": better,
        "unit": "requests/s",
        "ratio": round(ratio, 2),
        "spread": [round(min(ratios), 2), round(max(ratios), 2)],
        "aim": aim,
        "holds": ratio >= aim,
    }


if __name__ == "__main__":
    sys.exit(main())
