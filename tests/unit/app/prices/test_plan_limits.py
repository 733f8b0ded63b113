"""Limits that a plan brings hold for its customers' keys, from the moment at which the plan does."""

from __future__ import annotations

import pytest

from lode.app.access import credentials, keys, limits, organisations
from lode.app.access.directory import Directory
from lode.app.books.contracts import Store
from lode.app.prices import plans, subscriptions
from lode.app.prices.plan import make
from lode.core.check import Finding
from tests.unit.app.prices.conftest import Clock, us

WRITTEN = (
    "600 requests/minute",
    "10 requests/second burst 50",
    "1000 rows/day of big",
    "5000 input_tokens/total",
    "50.00 EUR/month",
)
REFUSED = (
    "0 requests/minute", "often", "600 request/minute", "600 requests/fortnight", "5 requests/day burst 3", "5.5 rows/day", "50 USD/month",
    "5 EUR/minute", "5 rows/day of ../x", 5, "9" * 30 + " rows/day", "",
)  # fmt: skip


def problems(*written: object) -> list[Finding]:
    findings: list[Finding] = []
    make({"name": "p", "version": 1, "currency": "EUR", "limits": list(written)}, findings)
    return findings


@pytest.mark.parametrize("text", WRITTEN)
def test_what_a_plan_may_say_is_what_keys_obey(text: str) -> None:
    assert problems(text) == []
    assert limits.text_of(limits.parse(text, "plan/acme", "EUR"), "EUR") == text.replace("50.00", "50")


@pytest.mark.parametrize("written", REFUSED)
def test_what_keys_could_not_obey_is_refused_in_the_plan(written: object) -> None:
    assert [item.key for item in problems(written)] == [("limits", 0)]


def test_the_same_limit_twice_is_refused() -> None:
    assert 'a second limit of "rows/day"' in problems("5 rows/day", "5 rows/day of big", "6 rows/day")[0].text


def test_a_change_of_plan_that_waits_changes_the_limits_when_its_time_comes(store: Store, clock: Clock) -> None:
    for name, fee in (("small", "1"), ("large", "9")):
        record = {
            "name": name,
            "version": 1,
            "currency": "EUR",
            "limits": [f"{fee} rows/day"],
            "fees": [{"name": "base", "amount": fee}],
        }
        plans.add_record(store, "cli", record, now_us=clock)
    organisations.add(store, "cli", "beta", {"currency": "EUR"}, now_us=clock)
    pepper = b"p" * 32
    made = keys.create(store, "cli", "beta", {}, pepper, now_us=clock)
    digest = credentials.hmac_of(pepper, made["key"])

    def held(directory: Directory) -> list[str]:
        return [limits.text_of(limit, "EUR") for limit in directory.caller(digest, clock.now).limits]

    with store.view() as session:
        before = Directory.read(session)
    assert held(before) == []
    subscriptions.subscribe(store, "cli", "beta", "large", now_us=clock)
    subscriptions.change(store, "cli", "beta", "small", now_us=clock)
    with store.view() as session:
        directory = before.newer(session)
    assert held(before) == [] and held(directory) == ["9 rows/day"]
    clock.at("2026-02-10T00:00:00")
    assert held(directory) == ["1 rows/day"], "nothing was written, and the plan is another"
    assert clock.now > us("2026-02-09T23:00:00")
