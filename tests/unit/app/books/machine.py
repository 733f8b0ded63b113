"""Random acts on real books beside a model in plain Python (T5): every balance, counter and document must agree, always."""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lode.app.books import journal
from lode.app.books.contracts import Act, Document, Entry, Session, Store, Transfer, Used
from lode.app.books.rebuild import rebuild
from lode.core.errors import ConflictError
from lode.testing.books import opened, wrong

_ACCOUNTS = ("customer/a/prepaid", "customer/a/accrued", "customer/b/accrued", "revenue/EUR", "cash/EUR")
_HOUR_US = 3_600_000_000
_AMOUNTS = st.one_of(st.integers(1, 10**6), st.integers(2**63 - 2, 2**64), st.integers(1, 10**27))
_MOVES = st.tuples(st.sampled_from(_ACCOUNTS), st.sampled_from(_ACCOUNTS), _AMOUNTS).filter(lambda move: move[0] != move[1])
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
_BODIES = st.dictionaries(_TEXT, st.one_of(st.integers(-(2**53), 2**53), _TEXT, st.none(), st.lists(_TEXT, max_size=2)), max_size=3)
_DOCUMENTS = st.builds(Document, st.sampled_from(["plan", "key"]), st.sampled_from(["x", "y"]), st.sampled_from(["", "a"]), _BODIES)
_USED = st.builds(
    Used, request_id=_TEXT, at_us=st.integers(0, 2**52), organisation=st.sampled_from("ab"), project=_TEXT, key=_TEXT, model=_TEXT,
    version=st.integers(0, 9), status=st.sampled_from([200, 503]), amount=st.integers(0, 10**27), cost=st.integers(0, 10**27),
    units=st.dictionaries(st.sampled_from(["rows", "requests", "compute_us"]), st.integers(0, 10**12)),
    charges=st.dictionaries(_TEXT, st.integers(-(10**27), 10**27), max_size=2), estimated=st.booleans(),
)  # fmt: skip
ACTS = st.builds(
    Act, kind=st.sampled_from(["usage.settle", "credit.add", "plan.publish"]), actor=_TEXT, organisation=st.sampled_from(["", "a", "b"]),
    reference=st.sampled_from(["", "1", "2", "3", "4", "5"]), fingerprint=st.sampled_from(["f" * 64, "0" * 64]),
    transfers=st.lists(_MOVES.map(lambda move: Transfer(*move)), max_size=3).map(tuple),
    documents=st.lists(_DOCUMENTS, max_size=2).map(tuple), used=st.one_of(st.none(), _USED),
    counters=st.dictionaries(st.sampled_from(["q", "r", "s"]), st.integers(-(10**27), 10**27), max_size=2),
    facts=_BODIES,
)  # fmt: skip
_BATCHES = st.lists(ACTS, min_size=1, max_size=4)


class _StopError(Exception):
    """Raised in the middle of a transaction."""


class Books(RuleBasedStateMachine):
    """One sequence of acts."""

    @initialize()
    def new(self) -> None:
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="lode-books-", dir=memory if memory.is_dir() else None))
        self.store: Store = opened(str(self.folder / "b"))
        self.now_us = 1_760_000_000_000_000
        self.entries: list[Entry] = []
        self.known: dict[tuple[str, str], Entry] = {}
        self.balances: dict[str, int] = defaultdict(int)
        self.counters: dict[str, int] = defaultdict(int)
        self.documents: dict[tuple[str, str], Document] = {}

    @rule(batch=_BATCHES, jump_us=st.sampled_from([0, 1, -_HOUR_US, _HOUR_US]))
    def append(self, batch: list[Act], jump_us: int) -> None:
        self.now_us += jump_us
        answers = self.store.transact(lambda session: journal.append(session, batch, self.now_us))
        for act, answer in zip(batch, answers, strict=True):
            before = self.known.get((act.organisation, act.reference)) if act.reference else None
            if before is None:
                assert isinstance(answer, Entry) and answer.act == act
                self._note(answer)
            elif before.act.fingerprint == act.fingerprint:
                assert isinstance(answer, Entry) and (answer.sequence, answer.act) == (before.sequence, before.act)
            else:
                assert isinstance(answer, ConflictError)

    def _note(self, entry: Entry) -> None:
        self.entries.append(entry)
        if entry.act.reference:
            self.known[entry.act.organisation, entry.act.reference] = entry
        for moved in entry.act.transfers:
            self.balances[moved.debit] += moved.amount
            self.balances[moved.credit] -= moved.amount
        for name, amount in entry.act.counters.items():
            self.counters[name] += amount
        self.documents |= {(item.kind, item.id): item for item in entry.act.documents}

    @rule(batch=_BATCHES)
    def fail(self, batch: list[Act]) -> None:
        def work(session: Session) -> None:
            journal.append(session, batch, self.now_us)
            raise _StopError

        try:
            self.store.transact(work)
            raise AssertionError("the error was swallowed")
        except _StopError:
            pass

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = opened(str(self.folder / "b"))

    @precondition(lambda self: self.entries)
    @rule()
    def rebuild(self) -> None:
        assert rebuild(self.store) == len(self.entries)

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "store"):
            return
        with self.store.view() as session:
            found: dict[str, Any] = {}
            for table, key in (("balances", "account"), ("counters", "name")):
                found[table] = {name: int(amount) for name, amount in session.rows(f"SELECT {key}, amount FROM {table}")}
            documents = {(item.kind, item.id): item for kind in ("plan", "key") for item in journal.documents(session, kind)}
            [head] = session.rows("SELECT sequence, hash FROM head")
            [(lines, debits)] = session.rows("SELECT count(*), exact_sum(amount) FROM transfers")
        assert found == {"balances": self.balances, "counters": self.counters} and documents == self.documents
        assert sum(found["balances"].values()) == 0
        moved = [item for entry in self.entries for item in entry.act.transfers]
        assert (lines, int(debits or 0)) == (len(moved), sum(item.amount for item in moved))
        last = self.entries[-1] if self.entries else None
        assert head == ((last.sequence, last.hash) if last else (0, "0" * 64))

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        with self.store.view() as session:
            acts = [entry.act for entry, _ in journal.read(session)]
        problems = wrong(self.store)
        self.store.close()
        shutil.rmtree(self.folder)
        assert acts == [entry.act for entry in self.entries] and not problems, problems
