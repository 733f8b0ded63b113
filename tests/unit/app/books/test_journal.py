"""What the journal writes is fixed for ever: the bytes of a record, the hash of a row, and how a reference is looked up."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from lode.app.books import journal
from lode.app.books.contracts import Act, Document, Session, Transfer
from lode.app.books.open import open_books
from lode.app.books.records import act_of, record_of
from lode.core.errors import MissingPackageError
from lode.testing.books import assert_whole, opened, settled, written
from tests.unit.app.books.machine import ACTS

_PLAN = Act(
    "plan.publish", "cli", "acme", "r1", "ab", documents=(Document("plan", "p", "acme", {"b": 1, "a": "free"}),), facts={"y": 1, "x": None}
)  # fmt: skip
_PLAN_RECORD = (
    '{"actor":"cli","documents":[{"body":{"a":"free","b":1},"id":"p","kind":"plan","organisation":"acme"}],"facts":{"x":null,"y":1},'
    '"fingerprint":"ab","kind":"plan.publish","organisation":"acme","reference":"r1"}'
)
_SETTLED_RECORD = (
    '{"actor":"key_1","counters":{"amount|sub_1|2026-01|calls":"1500000","quantity|sub_1|2026-01|calls":"1"},"fingerprint":'
    f'"{1:064x}","kind":"usage.settle","organisation":"acme","reference":"req-1","transfers":[["customer/acme/accrued","revenue/EUR",'
    '"1500000"]],"used":{"amount":"1500000","at_us":1760000000000001,"charges":{"calls":"1500000"},"cost":"0","cost_currency":"",'
    '"estimated":false,"key":"key_1","kind":"customer","model":"m","organisation":"acme","period":"2026-01-01T00:00:00Z",'
    '"plan":"team@1","project":"prj_1","provider":"","request_id":"req-1","status":200,"subscription":"sub_1",'
    '"units":{"compute_us":700,"requests":1,"rows":2},"version":1}}'
)


def test_the_bytes_of_a_record_and_the_chain_never_change(tmp_path: Path) -> None:
    assert [record_of(act).decode() for act in (_PLAN, settled(1))] == [_PLAN_RECORD, _SETTLED_RECORD]
    with opened(str(tmp_path / "b")) as store:
        hashes = [entry.hash for entry in written(store, _PLAN, settled(1), now_us=7)]
    first = hashlib.sha256(f"{'0' * 64}|1|7|{_PLAN_RECORD}".encode()).hexdigest()
    assert hashes == [first, hashlib.sha256(f"{first}|2|7|{_SETTLED_RECORD}".encode()).hexdigest()]


@settings(max_examples=200, deadline=None)
@given(ACTS)
def test_an_act_comes_back_from_its_record(act: Act) -> None:
    assert act_of(record_of(act)) == act and record_of(act_of(record_of(act))) == record_of(act)


class _Explained(Session):
    """Asks SQLite how it would find what is asked for."""

    def __init__(self, session: Session):
        self.session, self.plans = session, list[str]()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self.plans += [str(row[3]) for row in self.session.rows(f"EXPLAIN QUERY PLAN {sql}", values)]
        return self.session.rows(sql, values)

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        return self.session.run(sql, values)

    def run_many(self, sql: str, values: Sequence[Sequence[Any]]) -> None:
        self.session.run_many(sql, values)

    def storage(self) -> tuple[list[str], str]:
        return self.session.storage()


def test_writing_reads_no_table_from_end_to_end(tmp_path: Path) -> None:
    with opened(str(tmp_path / "b")) as store:

        def work(session: Session) -> list[str]:
            explained = _Explained(session)
            journal.append(explained, [settled(number) for number in range(3)], 1)
            return explained.plans

        plans = store.transact(work)
    scans = [plan for plan in plans if plan.startswith("SCAN") and plan.split()[1] in ("journal", "usage", "balances", "counters")]
    assert any("journal_reference" in plan for plan in plans) and not scans, plans


@pytest.mark.parametrize("amount", [0, -1])
def test_a_transfer_of_nothing_is_a_fault_of_ours_and_leaves_nothing(amount: int, tmp_path: Path) -> None:
    with opened(str(tmp_path / "b")) as store:
        with pytest.raises(AssertionError, match="moves nothing"):
            written(store, Act("x", "cli", transfers=(Transfer("cash/EUR", "revenue/EUR", amount),)))
        assert_whole(store, 0)


def test_postgresql_without_its_package_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "lode.app.books.postgres", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingPackageError, match=r"lodeml\[postgres\]"):
        open_books("postgresql://lode@host/books", tmp_path)
