"""The same on PostgreSQL: a budget shared by two processes, each with a connection of its own; the same request id in both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lode.app.books import accounts
from lode.core.money import UNIT
from lode.testing.shop import Shop
from tests.flows.books_server import books_server, new_database
from tests.flows.servers import Server
from tests.unit.app.metering.test_metering_gate import ANSWER, request

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with books_server() as found:
        yield found


def test_two_processes_share_a_budget_and_never_bill_an_id_twice(tmp_path: Path, server: Server) -> None:
    location = new_database(server)
    shop = Shop(tmp_path, location=location)
    key, other = shop.customer(limits=["0.50 EUR/month"]), shop.customer("other")
    second = Shop(tmp_path, location=location)

    async def main() -> tuple[list[Any], list[Any]]:
        gates = [shop.gate(process="elsewhere|1|1"), second.gate(process="elsewhere|2|1")]
        async with gates[0].running(), gates[1].running():
            race = await asyncio.gather(*(request(gates[n % 2], key, f"r{n}") for n in range(200)))
            same = (request(gates[n % 2], other, "id-1", payload="a" * 64, kept=ANSWER) for n in range(8))
            return race, await asyncio.gather(*same)

    race, same = asyncio.run(main())
    assert {status: race.count(status) for status in set(race)} == {200: 50, 402: 150}
    assert shop.balance(accounts.accrued("acme")) == UNIT // 2
    assert shop.balance(accounts.accrued("other")) == UNIT // 100
    assert sorted(map(str, same)) == sorted([str(ANSWER)] * 7 + ["200"])
