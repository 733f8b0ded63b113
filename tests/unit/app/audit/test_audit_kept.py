"""Answers and predictions lie beside the journal; its entries hold their digests, and shipped lines carry predictions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lode.app.audit import command
from lode.app.backup.following import Follower
from lode.app.backup.making import Source
from lode.app.backup.repository import Repository
from lode.app.backup.restoring import restore
from lode.app.books.contracts import Session
from lode.app.books.sqlite import SqliteStore
from lode.app.contracts import Caller, Kept, Usage
from lode.app.economics import outcomes
from lode.app.metering.orders import Settlement
from lode.app.targets.open import open_target
from lode.core.errors import AuditError
from lode.data.storage.keys import new_key
from tests.unit.app.economics.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A customer with two requests whose predictions are kept, and one whose answer is."""
    made = World(tmp_path / "runs")
    made.customer("acme")
    made.customer("beta")
    made.settle_said("acme", "r1", [0.9, 0.2])
    made.settle_said("acme", "r2", [0.4])
    usage = Usage("r3", "credit", 1, 200, {"rows": 1}, 0.01)
    kept = Kept(200, ((b"content-type", b"application/json"),), b'{"predictions": [1]}')
    made._writer.run([Settlement(Caller("k", "acme", "p", "k", currency="EUR"), "r3", "f", usage, 1, (), 0, kept)])
    with made.store:
        yield made


def change(world: World, sql: str) -> None:
    def work(session: Session) -> None:
        assert session.run(sql) == 1

    world.store.transact(work)


@pytest.mark.parametrize(
    ("sql", "table", "sequence"),
    [
        ("UPDATE answers SET body = CAST('{\"predictions\": [0]}' AS BLOB)", "answers", 5),
        ("UPDATE answers SET body = CAST(body AS TEXT)", "answers", 5),
        ("UPDATE answers SET status = 201", "answers", 5),
        ("UPDATE answers SET headers = '[]'", "answers", 5),
        ("UPDATE answers SET request_id = 'r2'", "answers", 4),
        ("UPDATE answers SET organisation = 'beta'", "answers", None),
        ("UPDATE predictions SET body = replace(body, '0.4', '0.6') WHERE request_id = 'r2'", "predictions", 4),
        ("UPDATE predictions SET version = 2 WHERE request_id = 'r2'", "predictions", 4),
        ("INSERT INTO predictions SELECT organisation, 'r9', model, version, at_us, until_us, body FROM predictions "
         "WHERE request_id = 'r1'", "predictions", None),
    ],
)  # fmt: skip
def test_what_is_kept_beside_the_journal_is_bound_to_it(world: World, sql: str, table: str, sequence: int | None) -> None:
    assert "answers" in command.check(world.runs, None, [], None)["compared"]
    change(world, sql)
    place = f"{table}, entry {sequence}: r" if sequence else f"{table}: r"
    with pytest.raises(AuditError, match=place):
        command.check(world.runs, None, [], None)


@pytest.mark.parametrize("later", [False, True])
def test_nothing_is_added_to_a_request_before_the_first_digest(tmp_path: Path, later: bool) -> None:
    made = World(tmp_path / "runs")
    made.customer("acme")
    made.settle("acme", "plain", rows=1)
    if later:
        made.settle_said("acme", "said", [0.9])
    with made.store:
        command.check(made.runs, None, [], None)
        change(made, "INSERT INTO predictions VALUES ('acme', 'plain', 'credit', 1, 1, 9, '{}')")
        with pytest.raises(AuditError, match="plain of acme: is not what was kept"):
            command.check(made.runs, None, [], None)


def test_what_was_forgotten_is_no_fault(world: World) -> None:
    change(world, "DELETE FROM predictions WHERE request_id = 'r1'")
    change(world, "DELETE FROM answers")
    command.check(world.runs, None, [], None)


def test_outcomes_that_are_told_after_a_restore_find_their_request(world: World, tmp_path: Path) -> None:
    """Also of requests that were shipped after the snapshot, as lines of the journal."""
    key = new_key(tmp_path / "key")
    repository = Repository(open_target(tmp_path / "target"), key, make=True)
    follower = Follower(Source(world.runs, world.store), repository, now_us=world.now_us)
    follower.start()
    world.settle_said("acme", "late", [0.7, 0.1])
    world.settle("acme", "plain", rows=1)
    assert follower.ship() == 2
    restore(repository, tmp_path / "back", check=True)
    with SqliteStore(tmp_path / "back" / "books.sqlite") as store:
        for id in ("r1", "late"):
            told = outcomes.report(store, "key:k", "acme", id, [{"row": 1, "outcome": 1}], now_us=world.now_us)
            assert told["recorded"] == 1
        with store.view() as session, world.store.view() as live:
            sql = "SELECT * FROM predictions ORDER BY request_id"
            assert session.rows(sql) == live.rows(sql)
        with pytest.raises(outcomes.UnknownRequestError):
            outcomes.report(store, "key:k", "acme", "plain", [{"row": 0, "outcome": 1}], now_us=world.now_us)
