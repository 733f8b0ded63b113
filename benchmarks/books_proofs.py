"""The books under hostile delivery (T3), random acts (T5) and failing disks (T6), at full count; one line each, and exit 1 where one fails.

`python benchmarks/books_proofs.py [--quick] [T3 T5 T6]`; books lie in a temporary folder, in memory where the machine has /dev/shm.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.unit.app.books.delivery import deliver
from tests.unit.app.books.faults import survive
from tests.unit.app.books.machine import Books


def hostile_delivery(folder: Path, quick: bool) -> str:
    total: Counter[str] = Counter()
    for seed in range(2 if quick else 20):
        total.update(asdict(deliver(str(folder / f"t3-{seed}"), 1000 if quick else 10_000, seed)))
    return (
        f"{total['sent']:,} deliveries of usage events over {total['restarts']} restarts: {total['recorded']:,} recorded, "
        f"{total['repeated']:,} repeated and told the same, {total['refused']:,} of another payload refused"
    )


def random_acts(folder: Path, quick: bool) -> str:
    count, part = (300, 100) if quick else (10_000, 500)
    wanted = settings(
        max_examples=part, stateful_step_count=12, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    for _ in range(count // part):  # in parts: Hypothesis remembers all that it tried, and takes 2 GB for ten thousand at once
        run_state_machine_as_test(Books, settings=wanted)
    return (
        f"{count:,} sequences of random acts: debits = credits, every balance, counter and document as a model says, replay equal"
    )


def failing_disks(folder: Path, quick: bool) -> str:
    total: Counter[str] = Counter()
    for seed in range(5 if quick else 200):
        total.update(asdict(survive(folder / f"t6-{seed}", 500, seed)))
    return (
        f"{total['injected']:,} faults (full disk, EIO, busy, read-only, no memory; clock +- 1 h): "
        f"{total['refused']:,} refusals with Retry-After, {total['acknowledged']:,} acknowledged = recorded once, all recovered"
    )


PROOFS: dict[str, Callable[[Path, bool], str]] = {"T3": hostile_delivery, "T5": random_acts, "T6": failing_disks}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("proofs", nargs="*", metavar="T", help="T3, T5, T6 (default: all)")
    parser.add_argument("--quick", action="store_true", help="small counts")
    args = parser.parse_args()
    failed = 0
    for name in args.proofs or PROOFS:
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        with tempfile.TemporaryDirectory(prefix="lode-proofs-", dir=memory) as folder:
            start_s = time.monotonic()
            try:
                figure, verdict = PROOFS[name](Path(folder), args.quick), "pass"
            except AssertionError:
                traceback.print_exc()
                figure, verdict, failed = "see above", "FAIL", 1
        print(f"{name} {verdict}: {figure}; {time.monotonic() - start_s:.0f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
