"""The same on PostgreSQL: closing, late usage, notes, credit, exports, two processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lode.app.invoices import closing, export, notes, rerating, usage, wallet
from tests.flows.books_server import books_server, new_database
from tests.flows.servers import Server
from tests.unit.app.invoices.test_invoices_processes import check, shop, started
from tests.unit.app.invoices.world import FEE, PLAN, STANDARD, TAXED, made

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with books_server() as found:
        yield found


def test_a_month_on_postgresql(tmp_path: Path, server: Server) -> None:
    world = made(tmp_path, PLAN + FEE + STANDARD, location=new_database(server))
    world.sells(TAXED)
    wallet.add(world.store, "cli", "acme", "1", now_us=world.clock)
    world.use(150)
    world.turn("2026-12-02")
    (body,) = closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"]
    assert (body["net"], body["prepaid"], body["due"]) == ("61.5", "1", "72.19")  # two fees of 30, 1.50 of usage
    notes.note(world.store, "cli", world.seller, body["number"], 3, "0.5", "wrong", now_us=world.clock)
    world.use(10, at="2026-11-30")
    world.turn("2027-01-02")
    (late,) = closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"]
    assert [line["kind"] for line in late["lines"]] == ["fee", "adjustment"]
    found = usage.totals(world.store, usage.asked("", "", ""), ["customer", "day"])
    assert (found["completeness"], found["leakage"], world.sum()) == ("1", {"EUR": "0"}, 0)
    assert export.write(world.store, usage.asked("", "", ""), tmp_path / "u.parquet", now_us=world.clock)["rows"] == 160
    assert export.write(world.store, usage.asked("", "", ""), tmp_path / "u.focus.csv", now_us=world.clock)["rows"] > 3


def test_a_corrected_price_on_postgresql(tmp_path: Path, server: Server) -> None:
    world = made(tmp_path, location=new_database(server))
    world.use(100)
    world.turn("2026-12-02")
    closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)
    world.use(4)
    world.plan(PLAN.replace("version = 1", "version = 2") + STANDARD.replace("0.01", "0.02"))
    assert rerating.correct(world.store, "cli", "team@1", "team@2", "", "why", now_us=world.clock)["difference"] == "1.04"
    world.turn("2027-01-02")
    (body,) = closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"]
    assert [(line["kind"], line["exact"]) for line in body["lines"]] == [("usage", "0.08"), ("correction", "1")]
    found = usage.totals(world.store, usage.asked("", "", ""), ["customer"])
    assert (found["totals"][0]["requests"], found["totals"][0]["amount"], found["leakage"]) == (104, "2.08", {"EUR": "0"})


def test_two_processes_on_postgresql(tmp_path: Path, server: Server) -> None:
    location = new_database(server)
    world = shop(tmp_path, 6, location)
    both = [started(world, location) for _ in range(2)]
    assert [process.wait(timeout=240) for process in both] == [0, 0]
    check(world, 6)
