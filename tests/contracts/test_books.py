"""SQLite and PostgreSQL keep the books' contract: one suite for both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lode.testing.books import CHECKS
from tests.flows.books_server import books_server, new_database
from tests.flows.servers import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with books_server() as made:
        yield made


@pytest.mark.parametrize("check", CHECKS)
def test_sqlite_keeps_the_contract(check: Callable[[str], None], tmp_path: Path) -> None:
    check(str(tmp_path / "books.sqlite"))


@pytest.mark.servers
@pytest.mark.parametrize("check", CHECKS)
def test_postgresql_keeps_the_contract(check: Callable[[str], None], server: Server) -> None:
    check(new_database(server))
