"""How long closing a period takes with so many requests in it, how long the writer stands still meanwhile, and how fast exports are.

python benchmarks/close_period.py [REQUESTS] prints one line each: name, figure, whether what must hold held.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lode.app.access import organisations
from lode.app.books import accounts, journal
from lode.app.books.contracts import Act, Session, Transfer, Used
from lode.app.books.open import open_books
from lode.app.invoices import closing, export, seller, usage
from lode.app.prices import plans, subscriptions
from lode.app.prices.plan import read_plan
from lode.app.prices.tariff import Tariff

NOVEMBER, DECEMBER = 1_793_491_200_000_000, 1_796_083_200_000_000
PLAN = (
    'name = "team"\nversion = 1\ncurrency = "EUR"\nanchor = "1"\n[[charges]]\nname = "tokens"\ntype = "standard"\nprice = "1.7"\n'
    'per = 1000000\nunit = "output_tokens"\n[[charges]]\nname = "requests"\ntype = "standard"\nprice = "0.0001"\n'
)
SELLER = 'name = "S"\naddress = ["A"]\ncountry = "DE"\n'


def filled(folder: Path, requests: int) -> Any:
    (folder / "team.toml").write_text(PLAN)
    (folder / "seller.toml").write_text(SELLER)
    store = open_books(folder / "books.sqlite", folder)
    organisations.add(store, "cli", "acme", {"currency": "EUR", "country": "DE"}, now_us=lambda: NOVEMBER)
    plans.add(store, "cli", read_plan(folder / "team.toml"), now_us=lambda: NOVEMBER)
    subscriptions.subscribe(store, "cli", "acme", "team", now_us=lambda: NOVEMBER)
    with store.view() as session:
        tariff = subscriptions.tariff_at(session, "acme", "m", NOVEMBER)
    assert tariff is not None
    for start in range(0, requests, 2000):
        store.transact(lambda session, first=start: _some(session, tariff, range(first, min(first + 2000, requests)), requests))
    return store


def _some(session: Session, tariff: Tariff, numbers: range, requests: int) -> None:
    span = tariff.period(NOVEMBER)
    known = dict(journal.counter(session, tariff.names(span)))
    acts = []
    for number in numbers:
        units = {"requests": 1, "output_tokens": number % 700, "rows": 1}
        rated = tariff.rate(known, units, span)
        for name, amount in rated.counters.items():
            known[name] = known.get(name, 0) + amount
        at_us = NOVEMBER + number * ((DECEMBER - NOVEMBER) // requests)
        used = Used(
            f"r{number}", at_us, "acme", "prj", f"key{number % 5}", "m", 1, 200, units, rated.amount, rated.charges, "team@1",
            tariff.subscription.id, span.label,
        )  # fmt: skip
        move = Transfer(accounts.accrued("acme"), accounts.revenue("EUR"), rated.amount)
        acts.append(Act("usage.settle", "key:k", "acme", f"r{number}", "f", (move,), used=used, counters=rated.counters))
    journal.append(session, acts, NOVEMBER)


def main() -> None:
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = filled(folder, requests)
        transact, held = store.transact, []

        def timed(work: Any) -> Any:
            begun = time.perf_counter()
            found = transact(work)
            held.append(time.perf_counter() - begun)
            return found

        store.transact = timed
        begun = time.perf_counter()
        (body,) = closing.bill(
            store, "cli", "acme", seller.read(folder / "seller.toml"), now_us=lambda: DECEMBER + 2 * 86_400_000_000
        )["issued"]
        spent = time.perf_counter() - begun
        print(f"close {requests:,} requests: {spent:.2f} s, writer held {max(held) * 1000:.0f} ms, total {body['total']} EUR")
        for suffix in ("csv", "focus.csv", "parquet"):
            before, begun = _peak_mb(), time.perf_counter()
            told = export.write(store, usage.asked("", "", ""), folder / f"u.{suffix}", now_us=lambda: DECEMBER)
            spent = time.perf_counter() - begun
            print(
                f"export {suffix}: {told['rows']:,} rows, {requests / spent:,.0f} requests/s, peak memory +{_peak_mb() - before:.0f} MB"
            )
    print(f"load average {os.getloadavg()[0]:.1f}")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
