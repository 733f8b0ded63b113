"""Books in a temporary file with three customers, and a clock that the tests turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lode.app.access import organisations
from lode.app.books.contracts import Store
from lode.app.books.open import open_books
from lode.app.prices import plans
from lode.app.prices.periods import micros


@dataclass
class Clock:
    now: int = 0

    def __call__(self) -> int:
        return self.now

    def at(self, text: str) -> int:
        """Turn to a moment in UTC."""
        self.now = us(text)
        return self.now


def us(text: str) -> int:
    return micros(datetime.fromisoformat(text).replace(tzinfo=UTC))


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.at("2026-01-10T12:00:00")
    return clock


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    books = open_books(tmp_path / "books.sqlite", tmp_path)
    for slug, currency in (("acme", "EUR"), ("tokyo", "JPY"), ("gone", "EUR")):
        organisations.add(books, "test", slug, {"currency": currency, "zone": "Europe/Berlin"}, now_us=clock)
    organisations.close(books, "test", "gone", now_us=clock)
    yield books
    books.close()


RECORDS = {
    "small": {
        "fees": [{"name": "base", "amount": "31"}],
        "charges": [{"name": "rows", "type": "standard", "unit": "rows", "price": "0.01"}],
    },
    "large": {
        "counters": "carry",
        "fees": [{"name": "base", "amount": "62"}],
        "charges": [
            {"name": "rows", "type": "graduated", "unit": "rows", "tiers": [{"up_to": 100, "price": "0.01"}, {"price": "0.001"}]},
        ],
    },
    "yearly": {"period": "year", "fees": [{"name": "base", "amount": "365"}]},
    "yen": {"currency": "JPY", "fees": [{"name": "base", "amount": "4000"}]},
}


@pytest.fixture
def with_plans(store: Store, clock: Clock) -> Store:
    for name, rest in RECORDS.items():
        plans.add_record(store, "test", {"name": name, "version": 1, "currency": "EUR", **rest}, now_us=clock)
    return store
