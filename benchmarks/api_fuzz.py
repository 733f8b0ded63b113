"""T10: hostile requests against the admin API, a table model, a language model and somebody else's models. One line each.

    python benchmarks/api_fuzz.py --cases 20000

Of every server a part of the cases comes from its OpenAPI description (schemathesis), the others are bytes on sockets. Passed: no 5xx
but 503 with Retry-After, no connection open after 15 s, no look inside, no error logged, every answer as described. Exit 1 where not.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from lode.app.admin.service import OPERATIONS
from lode.app.books.contracts import Store
from lode.app.books.open import open_books
from tests.flows.hostile import sweep
from tests.flows.hostile_schema import described
from tests.flows.hostile_servers import Targets, targets

_KINDS = 2.9
"""Sets of examples that an operation gets, on average: names that exist or not, right bodies or wrong ones."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--books", metavar="LOCATION", help="an empty PostgreSQL database for the admin API (default: a SQLite file)"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, targets(Path(folder), _store(args.books)) as found:
        return _all(found, args.cases, args.seed)


def _all(found: Targets, cases: int, seed: int) -> int:
    part, failed = cases // 4, False
    for target in found.all:
        began_s = time.monotonic()
        result = asyncio.run(sweep(target.port, target.maker(seed), part))
        print(f"{result.line(f'{target.name}, bytes')}, {time.monotonic() - began_s:.0f} s, {_load()}", flush=True)
        print("".join(f"    {text}\n" for text in result.bad[:10]), end="")
        failed |= not result.passed
    for target in found.all:
        name, began_s = target.name, time.monotonic()
        examples = part / len(OPERATIONS) / _KINDS * 4 if name == "admin" else part / 12
        count, bad = described(
            target.url, target.described, target.key, examples=round(examples), seed=seed, known={"organisation": "acme"}
        )
        word, took_s = "FAIL" if bad else "pass", time.monotonic() - began_s
        print(
            f"{name}, from its description: {count} cases, {len(bad)} bad answers {word}, {took_s:.0f} s, {_load()}",
            flush=True,
        )
        print("".join(f"    {text}\n" for text in bad[:10]), end="")
        failed |= bool(bad)
    faults = found.faults.found
    print(f"errors logged: {len(faults)} {'FAIL' if faults else 'pass'}")
    print("\n".join(faults[:3]))
    return 1 if failed or faults else 0


def _store(location: str | None) -> Store | None:
    return None if location is None else open_books(location, Path())


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    sys.exit(main())
