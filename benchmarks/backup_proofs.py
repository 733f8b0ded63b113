"""T7: backup under a load of writers, restore, tampering, increments, recovery point. One line for each claim, and the machine's load.

python benchmarks/backup_proofs.py [--quick]
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lode.app.backup.following import Follower
from lode.app.backup.making import Source, backup
from lode.app.backup.repository import Repository
from lode.app.backup.restoring import restore
from lode.app.books.sqlite import SqliteStore
from lode.app.targets.open import open_target
from lode.core.errors import LodeError
from lode.data.storage.keys import Key, new_key
from tests.unit.app.audit.sample import books, fill

ROOT = Path(__file__).resolve().parents[1]
STALL_MS, SHARE, RPO_S = 250, 0.05, 5.0
WRITER = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from lode.app.books.sqlite import SqliteStore
from tests.unit.app.audit.sample import fill
folder, number, pause_s = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
store, worst_ms, began = SqliteStore(folder / "books.sqlite"), 0.0, number
while not (folder.parent / "stop").exists():
    start_s = time.perf_counter()
    fill(store, 20, first=number)
    worst_ms, number = max(worst_ms, 1000 * (time.perf_counter() - start_s)), number + 20
    time.sleep(pause_s)
print(json.dumps({{"worst_ms": worst_ms, "written": number - began}}))
"""


def now_us() -> int:
    return time.time_ns() // 1000


class Bench:
    """A folder with books of `entries` requests, and a target."""

    def __init__(self, folder: Path, entries: int):
        self.folder, self.entries = folder, entries
        self.runs, self.target = folder / "runs", folder / "target"
        self.runs.mkdir()
        self.key: Key = new_key(folder / "key")
        books(self.runs / "books.sqlite", entries)
        self.next = entries

    def repository(self) -> Repository:
        return Repository(open_target(self.target), self.key, make=True)

    def backup(self) -> dict:
        store = SqliteStore(self.runs / "books.sqlite")
        try:
            return backup(Source(self.runs, store), self.repository(), now_us=now_us)
        finally:
            store.close()

    def loaded(self, work, pause_s: float = 0.0):
        """`work` while another process writes as fast as it can (or pauses); what both say."""
        stop = self.folder / "stop"
        stop.unlink(missing_ok=True)
        words = [sys.executable, "-c", WRITER.format(root=str(ROOT)), str(self.runs), str(self.next), str(pause_s)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE)
        time.sleep(1.5)
        try:
            result = work()
        finally:
            stop.touch()
            told = json.loads(process.communicate()[0])
        self.next += told["written"]
        return result, told


def journal(path: Path, last: int) -> list:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT * FROM journal WHERE sequence <= ? ORDER BY sequence", (last,)).fetchall()


def increments(bench: Bench) -> bool:
    full = bench.backup()
    store = SqliteStore(bench.runs / "books.sqlite")
    fill(store, bench.entries // 100, first=bench.next)
    store.close()
    bench.next += bench.entries // 100
    more = bench.backup()
    share = more["stored_bytes"] / full["stored_bytes"]
    print(
        f"T7 size: {full['bytes'] / 1e6:.0f} MB are {full['stored_bytes'] / 1e6:.1f} MB at the target; 1 % more requests (random ids) cost "
        f"{more['stored_bytes'] / 1e6:.2f} MB, {share:.1%} of it: {'pass' if share <= SHARE else 'FAIL'}"
    )
    return share <= SHARE


def under_load(bench: Bench) -> bool:
    _, alone = bench.loaded(lambda: time.sleep(3))
    made, told = bench.loaded(lambda: [bench.backup() for _ in range(2)])
    stall = told["worst_ms"]
    found = restore(bench.repository(), bench.folder / "back", at=made[-1]["snapshot"], check=True)
    last = found["books"]["sequence"]
    same = journal(bench.folder / "back" / "books.sqlite", 10**12) == journal(bench.runs / "books.sqlite", last)
    print(
        f"T7 load: {told['written']:,} requests written meanwhile, slowest commit {stall:.0f} ms (without a backup {alone['worst_ms']:.0f} "
        f"ms): {'pass' if stall <= STALL_MS else 'FAIL'}"
    )
    print(
        f"T7 restore: {last:,} entries bit-identical to the snapshot point, chain, replay, pages and balances verified: "
        f"{'pass' if same else 'FAIL'}"
    )
    return same and stall <= STALL_MS


def recovery_point(bench: Bench, seconds: float) -> bool:
    store = SqliteStore(bench.runs / "books.sqlite")
    # The sample's clock is the past: the writer's own time is what counts, so entries are given the age of their piece.
    repository = bench.repository()
    follower = Follower(Source(bench.runs, store), repository, now_us=now_us)
    follower.start()

    def follow() -> list[float]:
        ages, last_s, end_s = [], time.monotonic(), time.monotonic() + seconds
        while time.monotonic() < end_s:
            time.sleep(1)
            follower.ship()
            ages.append(time.monotonic() - last_s)  # since everything before was safe
            last_s = time.monotonic()
        return ages

    ages, _ = bench.loaded(follow, pause_s=0.02)
    follower.ship()
    shipped = follower.entries
    store.close()
    found = restore(repository, bench.folder / "followed", check=True)
    same = journal(bench.folder / "followed" / "books.sqlite", 10**12) == journal(bench.runs / "books.sqlite", 10**12)
    print(
        f"T7 follow: {shipped:,} entries shipped every second, recovery point at worst {max(ages):.1f} s; restored to entry "
        f"{found['books']['sequence']:,}, identical: {'pass' if same and max(ages) <= RPO_S else 'FAIL'}"
    )
    return same and max(ages) <= RPO_S


def tampered(folder: Path, count: int) -> bool:
    small = Bench(folder, 200)
    small.backup()
    fill_store = SqliteStore(small.runs / "books.sqlite")
    fill(fill_store, 20, first=200)
    fill_store.close()
    small.backup()
    refused, rng = 0, random.Random(6)
    for number in range(count):
        refused += _refused(small, rng, number)
    other = new_key(folder / "other")
    try:
        Repository(open_target(small.target), other)
    except LodeError:
        refused += 1
    restore(small.repository(), folder / "whole", check=True)
    print(
        f"T7 tampering: {refused} of {count + 1} refused, nothing half-restored (bits, swapped and missing objects, another key): "
        f"{'pass' if refused == count + 1 else 'FAIL'}"
    )
    return refused == count + 1


def _refused(bench: Bench, rng: random.Random, number: int) -> bool:
    """One change at the target; whether the newest or the oldest snapshot, whichever needs what was changed, is refused."""
    paths = sorted(path for path in bench.target.rglob("*") if path.is_file())
    path, other = rng.sample(paths, 2)
    kept = {path: path.read_bytes(), other: other.read_bytes()}
    if number % 10 == 8:
        path.unlink()
    elif number % 10 == 9:
        path.write_bytes(kept[other])
        other.write_bytes(kept[path])
    else:
        raw = bytearray(kept[path])
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        path.write_bytes(raw)
    back = bench.folder / "back"
    refused = False
    ids = sorted(entry.name for entry in (bench.target / "snapshots").iterdir())
    for id in ids if len(ids) == 2 else [*ids, None]:
        try:
            if id is None:  # a lost snapshot cannot be seen, only be missed: it is not there, and the other is whole
                refused = True
                continue
            restore(bench.repository(), back, at=id)
            shutil.rmtree(back)
        except LodeError:
            refused = True
            assert not back.exists() and not list(bench.folder.glob(".back*"))
    for place, content in kept.items():
        place.write_bytes(content)
    return refused


def main() -> int:
    quick = "--quick" in sys.argv
    folder = Path(tempfile.mkdtemp(prefix="lode-backup-"))
    try:
        for name in ("large", "small"):
            (folder / name).mkdir()
        bench = Bench(folder / "large", 40_000 if quick else 100_000)
        results = [increments(bench), under_load(bench), recovery_point(bench, 4 if quick else 20)]
        results.append(tampered(folder / "small", 40 if quick else 500))
        print(f"load average {os.getloadavg()[0]:.1f}")
        return int(not all(results))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
