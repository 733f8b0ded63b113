"""The admin API on PostgreSQL whose own order of letters is a language's: lists come in the order that they have in SQLite."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from lode.app.books import journal
from lode.app.books.contracts import Act, Document, Session, Store
from lode.app.books.open import open_books
from tests.flows.books_server import books_server
from tests.unit.app.admin.test_admin_pages import walked
from tests.unit.app.admin.world import AdminWorld

pytestmark = pytest.mark.servers

CODES = ("B", "a", "A-1", "A1", "a_b", "ab", "Z", "z", "\u00e4", "A 1")


def _codes(folder: Path, store: Store | None) -> list[str]:
    folder.mkdir()
    world = AdminWorld(folder, store)
    body = {"percent": "5", "amount": "0", "currency": "", "periods": None, "until_us": None, "created_us": 0}

    def work(session: Session) -> None:
        made = tuple(Document("coupon", code, "", body) for code in CODES)
        journal.append(session, [Act("coupon.add", "cli", documents=made)], world.now_us())

    with world.store:
        world.store.transact(work)
        root = world.operator()
        found = asyncio.run(walked(world.app(), "/coupons", root, "coupons", 3))
        (entries,) = asyncio.run(walked(world.app(), "/audit", root, "entries", 100, "kind=organisation"))
        assert [entry["kind"] for entry in entries] == ["organisation.create"] * 3
        with world.store.view() as session:
            every = [item.id for item in journal.documents(session, "coupon")]
    assert [row["coupon"] for part in found for row in part] == every
    return every


def test_lists_have_one_order_whatever_the_database_thinks_of_letters(tmp_path: Path) -> None:
    with books_server() as server:
        server.sql(
            "CREATE DATABASE worded OWNER reader TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en' LC_COLLATE 'C' LC_CTYPE 'C'"
        )
        location = f"postgresql://reader@127.0.0.1:{server.port}/worded"
        found = _codes(tmp_path / "postgresql", open_books(location, tmp_path))
    assert found == _codes(tmp_path / "sqlite", None) == sorted(CODES)
