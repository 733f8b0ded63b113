"""What every store of the books must do. `check_books(location)` runs all checks; CHECKS are single ones, each for empty books.

Read lode/app/books/contracts.py first. A location is what `open_books` opens.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lode.app.audit.verify import verify
from lode.app.books import journal
from lode.app.books.contracts import Act, Document, Entry, Session, Store, Transfer, Used
from lode.app.books.open import open_books
from lode.app.books.rebuild import FOLLOWING, rebuild
from lode.app.books.records import record_of
from lode.app.books.schema import FIRST_HASH
from lode.core.errors import ConflictError
from lode.testing.books_writer import append_one, paid

HOUR_US = 3_600_000_000
_NOW_US = 1_760_000_000_000_000
_HUGE = 10**27 - 1
_ODD = 'it\'s 100% "odd"; -- ? %s \\ \N{SNOWMAN} \x7f'


class _StopError(Exception):
    """Raised in the middle of a transaction."""


def opened(location: str) -> Store:
    """The books at a location, once more."""
    return open_books(location, Path())


def settled(number: int, organisation: str = "acme", amount: int = 1_500_000, at_us: int = _NOW_US) -> Act:
    """One request that was answered and priced."""
    used = Used(
        request_id=f"req-{number}", at_us=at_us + number, organisation=organisation, project="prj_1", key="key_1", model="m", version=1,
        status=200, units={"requests": 1, "rows": 2, "compute_us": 700}, amount=amount, charges={"calls": amount}, plan="team@1",
        subscription="sub_1", period="2026-01-01T00:00:00Z",
    )  # fmt: skip
    moved = (Transfer(f"customer/{organisation}/accrued", "revenue/EUR", amount),)
    counters = {"quantity|sub_1|2026-01|calls": 1, "amount|sub_1|2026-01|calls": amount}
    return Act("usage.settle", "key_1", organisation, f"req-{number}", f"{number:064x}", moved, (), used, counters)


def written(store: Store, *acts: Act, now_us: int = _NOW_US) -> list[Entry]:
    """Acts that must become entries."""
    found = store.transact(lambda session: journal.append(session, acts, now_us))
    entries = [entry for entry in found if isinstance(entry, Entry)]
    assert len(entries) == len(acts), f"refused: {found}"
    return entries


def wrong(store: Store) -> list[str]:
    """What a replay of the whole journal finds."""
    with store.view() as session:
        return [f"{item['table']} {item['sequence']}: {item['what']}" for item in verify(session)["problems"]]


def assert_whole(store: Store, entries: int) -> None:
    """So many entries, 1, 2, 3, ...; the chain, every sum and every row are what the journal says; the storage is sound."""
    with store.view() as session:
        numbers = [number for (number,) in session.rows("SELECT sequence FROM journal ORDER BY sequence")]
        total = int(session.rows("SELECT exact_sum(amount) FROM balances")[0][0] or 0)
    assert numbers == list(range(1, entries + 1)), f"entries {numbers[:5]} ... ({len(numbers)}), wanted 1 to {entries}"
    assert total == 0, f"debits - credits of all accounts: {total}"
    assert not wrong(store), wrong(store)
    assert not store.check(), store.check()


def check_empty(location: str) -> None:
    """New books have a head and nothing else; they open twice, and close twice."""
    with opened(location) as store, opened(location) as again:
        assert_whole(store, 0)
        with again.view() as session:
            assert session.rows("SELECT sequence, at_us, hash, changes FROM head") == [(0, 0, FIRST_HASH, 0)]
        again.close()
    assert "password" not in store.where


def check_acts(location: str) -> None:
    """An act comes back as it was written, with all that follows from it, also after the books were closed."""
    document = Document("plan", "team@1", "", {"name": _ODD, "charges": [{"price": "0.01"}], "deep": {"b": 1, "a": None}})
    act = Act("plan.publish", "cli", documents=(document,), facts={"why": _ODD})
    with opened(location) as store:
        written(store, act, settled(1), settled(2, "o" * 40))
    with opened(location) as store:
        assert_whole(store, 3)
        with store.view() as session:
            [(first, record), (second, _), _] = journal.read(session)
            assert first.act == act and record_of(first.act) == record, "another act came back"
            assert second.act == settled(1) and second.at_us == _NOW_US, "another act came back"
            assert journal.document(session, "plan", "team@1") == document
            assert journal.documents(session, "plan") == [document] and not journal.documents(session, "plan", "acme")
            assert journal.counter(session, ["quantity|sub_1|2026-01|calls", "none"]) == {
                "quantity|sub_1|2026-01|calls": 2,
                "none": 0,
            }
            assert journal.balance(session, "customer/acme/accrued") == 1_500_000 == -journal.balance(session, "revenue/EUR") // 2
            assert journal.balance(session, "nobody") == 0
            assert session.rows("SELECT changes FROM head") == [(1,)]
            assert session.rows("SELECT num_rows, compute_us, request_id FROM usage WHERE organisation = ?", ("acme",)) == [
                (2, 700, "req-1")
            ]


def check_atomic(location: str) -> None:
    """What raises in a transaction leaves nothing, and the books go on."""
    with opened(location) as store:
        written(store, settled(1))

        def half(session: Session) -> None:
            journal.append(session, [settled(2), settled(3)], _NOW_US)
            session.run("INSERT INTO processes (process, started_us, until_us, model) VALUES (?, ?, ?, ?)", ("p", 1, 2, "m"))
            raise _StopError

        for _ in range(2):
            try:
                store.transact(half)
                raise AssertionError("the error of the work was swallowed")
            except _StopError:
                pass
        assert_whole(store, 1)
        with store.view() as session:
            assert not session.rows("SELECT * FROM processes")
        written(store, settled(2))
        assert_whole(store, 2)


def check_references(location: str) -> None:
    """The same reference is the same act, for ever; for something else it is a conflict; another organisation's is another."""
    with opened(location) as store:
        [first] = written(store, settled(1))
        twice = written(store, settled(7), settled(7))
        assert twice[0] == twice[1], "the same act twice in one batch became two"
    with opened(location) as store:
        [again] = written(store, settled(1), now_us=_NOW_US + 400 * 24 * HOUR_US)
        assert (again.sequence, again.hash, again.act) == (first.sequence, first.hash, first.act), (
            "another entry for the same reference"
        )
        other = Act("usage.settle", "key_1", "acme", "req-1", "f" * 64)
        found = store.transact(lambda session: journal.append(session, [other, settled(8)], _NOW_US))
        assert isinstance(found[0], ConflictError) and isinstance(found[1], Entry), found
        # Joined by "-", these would be one.
        written(store, Act("x", "cli", "acme", "eu-1-42", "a" * 64), Act("x", "cli", "acme-eu", "1-42", "b" * 64))
        written(store, Act("x", "cli", "acme"), Act("x", "cli", "acme"))  # without a reference nothing is the same
        assert_whole(store, 7)


def check_clock(location: str) -> None:
    """The journal's time never goes back, whatever the clock does."""
    with opened(location) as store:
        times = [written(store, settled(n), now_us=_NOW_US + jump)[0].at_us for n, jump in enumerate((0, HOUR_US, -HOUR_US, 5))]
        assert times == [_NOW_US, _NOW_US + HOUR_US, _NOW_US + HOUR_US, _NOW_US + HOUR_US], times
        assert_whole(store, 4)


def check_amounts(location: str) -> None:
    """Amounts, balances and counters beyond 64 bits are exact; so are their sums."""
    with opened(location) as store:
        for number in range(3):
            written(store, settled(number, amount=_HUGE - number))
        written(store, Act("x", "cli", counters={"down": -_HUGE}), Act("x", "cli", counters={"down": -_HUGE}))
        with store.view() as session:
            assert journal.balance(session, "customer/acme/accrued") == 3 * _HUGE - 3
            assert journal.counter(session, ["down"]) == {"down": -2 * _HUGE}
            [(total, none)] = session.rows(
                "SELECT exact_sum(amount), (SELECT exact_sum(cost) FROM usage WHERE status = 0) FROM usage"
            )
            assert int(total) == 3 * _HUGE - 3 and none is None, f"exact_sum gives {total} and, of nothing, {none}"
        assert_whole(store, 5)


def check_values(location: str) -> None:
    """Values are values: quotes, marks and percent signs in them change nothing; bytes come back as bytes; counts are whole numbers."""
    body = bytes(range(256)) * 40
    with opened(location) as store:

        def write(session: Session) -> int:
            sql = "INSERT INTO answers (organisation, request_id, until_us, status, headers, body) VALUES (?, ?, ?, ?, ?, ?)"
            session.run_many(sql, [(_ODD, str(number), number, 200, "{}", body) for number in range(3)])
            return session.run("UPDATE answers SET status = ? WHERE until_us > ? AND organisation LIKE 'it%'", (201, 0))

        assert store.transact(write) == 2, "`run` must say how many rows it changed"
        with store.view() as session:
            [(owner, found)] = session.rows("SELECT organisation, body FROM answers WHERE status = ?", (200,))
            assert (owner, bytes(found)) == (_ODD, body)
            assert session.rows("SELECT count(*), sum(until_us), max(status) FROM answers") == [(3, 3, 201)]


def check_view(location: str) -> None:
    """A view sees one moment, the one in which it began, and holds up no writer."""
    with opened(location) as store, opened(location) as other:
        written(store, settled(1))
        with store.view() as session:
            written(store, settled(2))
            written(other, settled(3))
            assert len(journal.read(session)) == 1 == session.rows("SELECT count(*) FROM usage")[0][0], "a view that moves"
            with other.view() as later:
                assert len(journal.read(later)) == 3, "a new view does not see what was written"
        assert_whole(store, 3)


def check_threads(location: str) -> None:
    """Threads on one store, and on two, write one chain without gaps."""
    with opened(location) as store, opened(location) as other:

        def write(index: int) -> None:
            for number in range(10):
                written((store, other)[index % 2], paid(f"t{index}", number), settled(number, f"t{index}"))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(4)))
        assert_whole(store, 80)


def check_rebuild(location: str) -> None:
    """What follows from the journal can be lost, and is made again from it."""
    with opened(location) as store:
        plans = [Act("plan.publish", "cli", documents=(Document("plan", "p", "", {"z": n, "a": 1}),)) for n in range(3)]
        written(store, *(settled(number) for number in range(5)), *plans)
        for table in FOLLOWING:
            store.transact(lambda session, table=table: session.run(f"DELETE FROM {table}"))  # type: ignore[misc]
        assert wrong(store), "lost tables are not noticed"
        assert rebuild(store) == 8
        assert_whole(store, 8)


def check_processes(location: str) -> None:
    """Two processes at once write one chain without gaps, and every entry that they were told of is there."""
    count = 25
    with opened(location) as store:
        writers = [_writer(location, name, str(count)) for name in ("a", "b")]
        told = sorted(int(line) for writer in writers for line in (writer.communicate(timeout=60)[0] or "").split())
        assert [writer.returncode for writer in writers] == [0, 0]
        assert told == list(range(1, 2 * count + 1)), "an entry was told of that nobody wrote, or twice"
        assert_whole(store, 2 * count)


def check_kill(location: str) -> None:
    """A kill -9 in the middle of a transaction leaves nothing of it, and the next writer need not wait for long."""
    with opened(location) as store:
        writer = _writer(location, "a", "5", "hang")
        assert writer.stdout is not None
        said = [writer.stdout.readline().strip() for _ in range(6)]
        assert said == ["1", "2", "3", "4", "5", "inside"], said
        writer.kill()
        writer.communicate()
        assert append_one(store, paid("b", 1)) == 6
        assert_whole(store, 6)


def _writer(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lode.testing.books_writer", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


CHECKS: tuple[Callable[[str], None], ...] = (
    check_empty, check_acts, check_atomic, check_references, check_clock, check_amounts, check_values, check_view, check_threads,
    check_rebuild, check_processes, check_kill,
)  # fmt: skip


def check_books(make: Callable[[], str]) -> None:
    """Run every check. make: gives the location of empty books, new ones each time. Errors: AssertionError with what is wrong."""
    for check in CHECKS:
        check(make())
