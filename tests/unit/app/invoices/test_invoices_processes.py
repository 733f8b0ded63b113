"""Two processes that bill at once, and one that is killed in the middle: one invoice per period, no number twice, none missing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from lode.app.books import journal
from tests.unit.app.invoices.world import PLAN, STANDARD, World, made

CHILD = Path(__file__).with_name("child.py")
ROOT = Path(__file__).resolve().parents[4]


def shop(folder: Path, customers: int, location: str = "") -> World:
    """Customers with ten requests each, on the morning after November."""
    world = made(folder, PLAN + STANDARD, location=location)
    for place in range(customers):
        world.customer(f"c{place}")
        world.use(10, f"c{place}")
    world.turn("2026-12-02")
    return world


def started(world: World, location: str = "") -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(CHILD), location or world.store.where, str(world.now)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def check(world: World, customers: int) -> None:
    """One invoice each, numbers 1..n, and books that add up."""
    with world.store.view() as session:
        found = journal.documents(session, "invoice")
    assert [item.id for item in found] == [f"2026-{place:06d}" for place in range(1, customers + 1)]
    assert Counter(item.organisation for item in found) == Counter(f"c{place}" for place in range(customers))
    assert all(item.body["due"] == "0.1" for item in found)
    expected = {f"customer/c{place}/receivable": "0.1" for place in range(customers)}
    assert {name: amount for name, amount in world.balances().items() if name != "revenue/EUR"} == expected and world.sum() == 0


def test_two_processes_give_one_invoice_and_one_number_each(tmp_path: Path) -> None:
    world = shop(tmp_path, 12)
    both = [started(world) for _ in range(2)]
    told = [process.communicate(timeout=60)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    check(world, 12)
    assert {number for numbers in told for number in numbers} == {f"2026-{place:06d}" for place in range(1, 13)}


def killed(folder: Path, customers: int, times: int, seed: int) -> None:
    world, chance, heard = shop(folder, customers), random.Random(seed), set[str]()
    for _ in range(times):
        process = started(world)
        assert process.stdout is not None
        for _ in range(chance.randint(1, max(1, customers // times))):
            heard.add(process.stdout.readline().strip())
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=30) in (-signal.SIGKILL, 0), "the run after a killed one failed"
    assert started(world).wait(timeout=60) == 0
    check(world, customers)
    with world.store.view() as session:
        assert heard - {""} <= {item.id for item in journal.documents(session, "invoice")}  # what was told was durable


def test_a_killed_run_goes_on_without_gap_or_double(tmp_path: Path) -> None:
    killed(tmp_path, 12, 2, seed=1)


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(5))
def test_ten_kills_each(tmp_path: Path, seed: int) -> None:
    killed(tmp_path, 60, 10, seed)
