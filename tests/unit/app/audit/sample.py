"""Books with everything in them: customers, keys, requests, money that comes and goes. The same for the same seed."""

from __future__ import annotations

import random
from pathlib import Path

from lode.app.books import accounts, journal
from lode.app.books.contracts import Act, Document, Store, Transfer, Used
from lode.app.books.sqlite import SqliteStore

START_US = 1_790_000_000_000_000
_CUSTOMERS = 20


def customers(rng: random.Random) -> list[Act]:
    found = []
    for number in range(_CUSTOMERS):
        name = f"customer-{number}"
        body = {"name": f"Customer {number}", "currency": "EUR"}
        found.append(Act("organisation.create", "cli", name, documents=(Document("organisation", name, name, body),)))
        key = f"key_{rng.randbytes(8).hex()}"
        digest = {"hmac": rng.randbytes(32).hex(), "scopes": ["predict"], "name": "first"}
        found.append(
            Act("key.create", "user:usr_1", name, documents=(Document("key", key, name, digest),), facts={"reason": "new"})
        )
        money = (Transfer(accounts.cash("EUR"), accounts.prepaid(name), 50 * 10**12),)
        found.append(Act("credit.top_up", "cli", name, f"top-up-{number}", rng.randbytes(32).hex(), money))
    return found


def request(number: int, rng: random.Random) -> Act:
    """One settled request; its id is random, as ids of clients are."""
    name, id = f"customer-{number % _CUSTOMERS}", rng.randbytes(16).hex()
    units = {
        "requests": 1,
        "rows": 1 + number % 5,
        "input_tokens": 100 + number % 7,
        "output_tokens": number % 90,
        "compute_us": 4000 + number % 999,
    }
    amount = 1_500_000 + number % 977
    subscription = f"sub_{number % _CUSTOMERS:016x}"
    return Act(
        "usage.settle", f"key:key_{number % 40:016x}", name, id, rng.randbytes(32).hex(),
        transfers=(Transfer(accounts.accrued(name), accounts.revenue("EUR"), amount),),
        used=Used(
            id, START_US + number, name, "prj_1", f"key_{number % 40:016x}", "card-default", 1, 200, units, amount, {"requests": amount},
            "team@1", subscription, "2026-11-01T00:00:00Z",
        ),
        counters={f"quantity|{subscription}|2026-11|requests": 1, f"amount|{subscription}|2026-11|requests": amount},
    )  # fmt: skip


def fill(store: Store, count: int, *, first: int = 0, seed: int = 0, batch: int = 2000) -> None:
    """Add `count` requests; the customers too where first is 0."""
    rng = random.Random(f"{seed} {first}")
    if first == 0:
        store.transact(lambda session: journal.append(session, customers(rng), START_US))
    for start in range(first, first + count, batch):
        acts = [request(number, rng) for number in range(start, min(start + batch, first + count))]
        now_us = START_US + start * 1000
        store.transact(lambda session, acts=acts, now_us=now_us: journal.append(session, acts, now_us))  # type: ignore[misc]


def books(path: Path, count: int) -> Path:
    """A closed file of books with customers and `count` requests."""
    store = SqliteStore(path)
    fill(store, count)
    store.close()
    return path
