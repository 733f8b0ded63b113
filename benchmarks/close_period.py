"""How long closing a period takes with so many requests in it, how long the writer stands still meanwhile, and how fast exports are.

python benchmarks/close_period.py [REQUESTS] [OLDER] prints one line each: name, figure, whether what must hold held. OLDER: periods
before, each with as many requests; closing the last must take at most twice as long as closing the first (an index of the journal is read).
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
from lode.app.prices.periods import Period, period_of
from lode.app.prices.plan import read_plan
from lode.app.prices.tariff import Tariff

NOVEMBER, DECEMBER = 1_793_491_200_000_000, 1_796_083_200_000_000
DAY_US = 86_400_000_000
PLAN = (
    'name = "team"\nversion = 1\ncurrency = "EUR"\nanchor = "1"\n[[charges]]\nname = "tokens"\ntype = "standard"\nprice = "1.7"\n'
    'per = 1000000\nunit = "output_tokens"\n[[charges]]\nname = "requests"\ntype = "standard"\nprice = "0.0001"\n'
)
SELLER = 'name = "S"\naddress = ["A"]\ncountry = "DE"\n'


def opened(folder: Path, begin_us: int) -> Any:
    """Books with one customer since a moment."""
    (folder / "team.toml").write_text(PLAN)
    (folder / "seller.toml").write_text(SELLER)
    store = open_books(folder / "books.sqlite", folder)
    organisations.add(store, "cli", "acme", {"currency": "EUR", "country": "DE"}, now_us=lambda: begin_us)
    plans.add(store, "cli", read_plan(folder / "team.toml"), now_us=lambda: begin_us)
    subscriptions.subscribe(store, "cli", "acme", "team", now_us=lambda: begin_us)
    return store


def filled(store: Any, period: Period, requests: int) -> None:
    """So many requests in a period."""
    with store.view() as session:
        tariff = subscriptions.tariff_at(session, "acme", "m", period.start_us)
    assert tariff is not None
    for start in range(0, requests, 2000):
        numbers = range(start, min(start + 2000, requests))
        store.transact(lambda session, numbers=numbers: _some(session, tariff, period, numbers, requests))


def _some(session: Session, tariff: Tariff, span: Period, numbers: range, requests: int) -> None:
    known = dict(journal.counter(session, tariff.names(span)))
    acts = []
    for number in numbers:
        units = {"requests": 1, "output_tokens": number % 700, "rows": 1}
        rated = tariff.rate(known, units, span)
        for name, amount in rated.counters.items():
            known[name] = known.get(name, 0) + amount
        at_us, id = span.start_us + number * ((span.end_us - span.start_us) // requests), f"{span.label}-{number}"
        used = Used(
            id, at_us, "acme", "prj", f"key{number % 5}", "m", 1, 200, units, rated.amount, rated.charges, "team@1",
            tariff.subscription.id, span.label,
        )  # fmt: skip
        move = Transfer(accounts.accrued("acme"), accounts.revenue("EUR"), rated.amount)
        acts.append(Act("usage.settle", "key:k", "acme", id, "f", (move,), used=used, counters=rated.counters))
    journal.append(session, acts, span.end_us - 1)


def closed(store: Any, folder: Path, period: Period) -> tuple[float, str]:
    """Seconds of processor that closing a period took, and its total: of other work on the machine nothing is in it."""
    sells, begun = seller.read(folder / "seller.toml"), time.process_time()
    (body,) = closing.bill(store, "cli", "acme", sells, now_us=lambda: period.end_us + 2 * DAY_US)["issued"]
    return time.process_time() - begun, body["total"]


def main() -> None:
    requests, older = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000, int(sys.argv[2]) if len(sys.argv) > 2 else 0
    periods = [period_of(NOVEMBER, 1, "UTC")]
    while len(periods) <= older:
        periods.insert(0, period_of(periods[0].start_us - 1, 1, "UTC"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = opened(folder, periods[0].start_us)
        transact, held, spent = store.transact, [], []

        def timed(work: Any) -> Any:
            begun = time.perf_counter()
            found = transact(work)
            held.append(time.perf_counter() - begun)
            return found

        for period in periods:
            filled(store, period, requests)
            store.transact = timed
            seconds, total = closed(store, folder, period)
            store.transact = transact
            spent.append(seconds)
        print(
            f"close {requests:,} requests: {spent[-1]:.2f} s of processor, writer held {max(held) * 1000:.0f} ms, total {total} EUR"
        )
        if older:
            ratio = spent[-1] / spent[0]
            print(f"close with {older} older periods: {ratio:.2f} x the first ({spent[0]:.2f} s); at most 2 x: {ratio <= 2}")
        for suffix in ("csv", "focus.csv", "parquet"):
            before, begun = _peak_mb(), time.perf_counter()
            told = export.write(store, usage.asked("", "", ""), folder / f"u.{suffix}", now_us=lambda: DECEMBER)
            seconds = time.perf_counter() - begun
            print(
                f"export {suffix}: {told['rows']:,} rows, {requests * len(periods) / seconds:,.0f} requests/s, "
                f"peak memory +{_peak_mb() - before:.0f} MB"
            )
    print(f"load average {os.getloadavg()[0]:.1f}")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
