"""What it costs to know who calls: 100,000 keys of 1,000 customers. Prints one line.

    PYTHONPATH=. python benchmarks/access_directory.py

per call: from the Authorization header to the Caller (checksum, HMAC, look-up). read: the whole directory from SQLite, once at the
start. newer: the same after one key was revoked; what a running process does while it answers.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from lode.app.access import credentials, keys, organisations
from lode.app.access.directory import Directory
from lode.app.books import journal
from lode.app.books.contracts import Act, Document, Session
from lode.app.books.sqlite import SqliteStore

CUSTOMERS, KEYS, CALLS = 1_000, 100_000, 200_000
PASSES = "per call <= 20 us, newer <= 250 ms"


def now_us() -> int:
    return time.time_ns() // 1000


def filled(store: SqliteStore, pepper: bytes) -> str:
    """Books with customers and keys; the last key."""
    made = [credentials.make_key() for _ in range(KEYS)]

    def work(session: Session) -> None:
        customers = [organisations.Organisation(f"c{number}", f"Customer {number}", "EUR") for number in range(CUSTOMERS)]
        acts = [Act("organisation.create", "cli", item.slug, documents=(item.document(),)) for item in customers]
        for number, key in enumerate(made):
            secret = {"hmac": credentials.hmac_of(pepper, key).hex(), "pepper": "", "hint": "", "created_us": 0, "until_us": None}
            body = {
                "name": "", "scopes": ["predict"], "models": [], "expires_us": None, "status": "active", "reason": "",
                "created_us": 0, "project": "", "account": "", "secrets": [secret],
            }  # fmt: skip
            owner = f"c{number % CUSTOMERS}"
            acts.append(Act("key.create", "cli", owner, documents=(Document(keys.KIND, f"key_{number}", owner, body),)))
        journal.append(session, acts, now_us())

    store.transact(work)
    return made[-1]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        pepper = credentials.stored_pepper(Path(folder))
        store = SqliteStore(Path(folder) / "books.sqlite")
        header = f"Bearer {filled(store, pepper)}".encode()
        started = time.perf_counter()
        with store.view() as session:
            directory = Directory.read(session)
        read_s = time.perf_counter() - started
        started = time.perf_counter()
        for _ in range(CALLS):
            directory.caller(credentials.hmac_of(pepper, credentials.key_in(header)), 1)
        call_us = (time.perf_counter() - started) / CALLS * 1e6
        keys.revoke(store, "cli", "c0", "key_0", now_us=now_us)
        started = time.perf_counter()
        with store.view() as session:
            directory = directory.newer(session)
        newer_s = time.perf_counter() - started
        store.close()
    good = call_us <= 20 and newer_s <= 0.25
    print(
        f"access_directory: {KEYS} keys, {call_us:.1f} us per call, read {read_s:.2f} s, newer {newer_s * 1e3:.0f} ms "
        f"({PASSES}): {'pass' if good else 'FAIL'}, load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
