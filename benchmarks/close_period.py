"""How long closing a period takes with so many requests in it, how long the writer stands still meanwhile, and how fast exports are.

python benchmarks/close_period.py [REQUESTS] [OLDER] prints one line each: name, figure, whether what must hold held; status 1 where it
did not. OLDER: periods before, each with as many requests. A close reads what came since the last one, so that the last three may take at
most twice the processor time of the first three, by their medians: a close that reads everything takes 2.9 times, with 10 older ones.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
ROUNDS, LIMIT = 3, 2
"""Closes that are compared with as many, and how much longer they may take."""
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


class Closed(NamedTuple):
    """seconds: of processor, so that other work on the machine is not in it. held_s: longest that the writer stood still, by the clock."""

    seconds: float
    held_s: float
    total: str


def closed(store: Any, folder: Path, period: Period) -> Closed:
    """Close one period."""
    transact, held = store.transact, list[float]()

    def timed(work: Any) -> Any:
        begun = time.perf_counter()
        found = transact(work)
        held.append(time.perf_counter() - begun)
        return found

    sells, store.transact = seller.read(folder / "seller.toml"), timed
    begun = time.process_time()
    (body,) = closing.bill(store, "cli", "acme", sells, now_us=lambda: period.end_us + 2 * DAY_US)["issued"]
    seconds, store.transact = time.process_time() - begun, transact
    return Closed(seconds, max(held), body["total"])


def main() -> int:
    requests, older = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000, int(sys.argv[2]) if len(sys.argv) > 2 else 0
    if 0 < older < 2 * ROUNDS - 1:
        raise SystemExit(
            f"OLDER: found {older}, wanted 0, or at least {2 * ROUNDS - 1}: {ROUNDS} closes are compared with {ROUNDS}."
        )
    periods = _periods(1 + older)
    with tempfile.TemporaryDirectory() as name:
        _measured(Path(name) / "warm-up", _periods(1), 200)  # what is loaded once counts for no period
        store, found = _measured(Path(name) / "books", periods, requests)
        seconds, held = [item.seconds for item in found], max(item.held_s for item in found)
        is_alike = len({item.total for item in found}) == 1  # every close did the same work
        last = statistics.median(seconds[-ROUNDS:])
        print(
            f"close {requests:,} requests: {last:.2f} s of processor, writer held {held * 1000:.0f} ms at most, "
            f"total {found[-1].total} EUR, all alike: {is_alike}"
        )
        if older:
            first = statistics.median(seconds[:ROUNDS])
            is_alike = is_alike and last <= LIMIT * first
            print(
                f"close after {older} older periods: {last / first:.2f} x the first (medians of {ROUNDS}: {last:.2f} s, {first:.2f} s; "
                f"of single ones {max(seconds[-ROUNDS:]) / min(seconds[:ROUNDS]):.2f} at worst); at most {LIMIT} x: {last <= LIMIT * first}"
            )
        for suffix in ("csv", "focus.csv", "parquet"):
            before, begun = _peak_mb(), time.perf_counter()
            told = export.write(store, usage.asked("", "", ""), Path(name) / f"u.{suffix}", now_us=lambda: DECEMBER)
            taken = time.perf_counter() - begun
            print(
                f"export {suffix}: {told['rows']:,} rows, {requests * len(periods) / taken:,.0f} requests/s, "
                f"peak memory +{_peak_mb() - before:.0f} MB"
            )
    print(f"load average {os.getloadavg()[0]:.1f}")
    return 0 if is_alike else 1


def _periods(count: int) -> list[Period]:
    """So many months, the last one November 2026."""
    found = [period_of(NOVEMBER, 1, "UTC")]
    while len(found) < count:
        found.insert(0, period_of(found[0].start_us - 1, 1, "UTC"))
    return found


def _measured(folder: Path, periods: Sequence[Period], requests: int) -> tuple[Any, list[Closed]]:
    """New books; so many requests in each period, closed before the next begins."""
    folder.mkdir()
    store = opened(folder, periods[0].start_us)
    found = []
    for period in periods:
        filled(store, period, requests)
        found.append(closed(store, folder, period))
    return store, found


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    raise SystemExit(main())
