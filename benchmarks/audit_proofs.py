"""T8: tampering with the audit log is found, and a million entries are verified in time.

    python benchmarks/audit_proofs.py [--quick]

One line for each claim: name, figure, pass; then the load of the machine. Verifying is measured against the least that any
verifier must do in the same run: one SELECT over the journal and one sha256 for each row.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lode.app.audit.evidence import evidence
from lode.app.audit.signing import signer
from lode.app.audit.verify import verify
from tests.unit.app.audit.sample import books
from tests.unit.app.audit.tampering import Lab

AIM = 5.0 / 2.3
"""The reference asks for 5 s a million where its prototype, which did no more than SELECT and sha256, took 2.3 s."""


def plain(path: Path) -> float:
    """Seconds of the processor for SELECT and sha256 alone."""
    began_s = time.process_time()
    previous = "0" * 64
    with sqlite3.connect(path) as db:
        for sequence, at_us, record, _ in db.execute("SELECT sequence, at_us, record, hash FROM journal ORDER BY sequence"):
            previous = hashlib.sha256(f"{previous}|{sequence}|{at_us}|{record}".encode()).hexdigest()
    return time.process_time() - began_s


def timed(path: Path, *, chain_only: bool) -> tuple[float, int]:
    with evidence(path, path.parent) as session:
        began_s = time.process_time()
        found = verify(session, chain_only=chain_only)
        assert not found["num_problems"], found["problems"]
        return time.process_time() - began_s, found["entries"]


def main() -> int:
    quick = "--quick" in sys.argv
    folder = Path(tempfile.mkdtemp(prefix="lode-audit-"))
    try:
        lab = Lab(books(folder / "small.sqlite", 150), folder, signer(folder))
        lab.run(300 if quick else 3000, seed=8)
        found, missed = sum(lab.found.values()), len(lab.missed)
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(lab.found.items()))
        print(
            f"T8 tampering: {found} of {found + missed} found ({kinds}; {sum(lab.harmless.values())} bits of free space changed no value): "
            f"{'pass' if not missed else 'FAIL'}"
        )
        large = books(folder / "large.sqlite", 20_000 if quick else 1_000_000)
        rounds = [(plain(large), timed(large, chain_only=True), timed(large, chain_only=False)[0]) for _ in range(3)]
        least_s, (chain_s, entries), whole_s = sorted(rounds)[1]
        per_million = 1e6 / entries
        ratio = chain_s / least_s
        print(
            f"T8 speed: {entries:,} entries, a million in {chain_s * per_million:.1f} s of CPU for the chain, {ratio:.2f} x plain "
            f"SELECT + sha256 ({least_s * per_million:.1f} s; aim {AIM:.2f} x); with balances, transfers, documents, usage and counters "
            f"replayed {whole_s * per_million:.1f} s, {whole_s / least_s:.1f} x: {'pass' if ratio <= AIM else 'FAIL'}"
        )
        print(f"load average {os.getloadavg()[0]:.1f}")
        return int(bool(missed) or ratio > AIM)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
