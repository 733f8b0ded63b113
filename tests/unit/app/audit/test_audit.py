"""`lode audit`: what was changed is found (T8), checkpoints cannot be forged, and what happened can be read."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lode.app.audit import checkpoint, command, entries
from lode.app.audit.automatic import Automatic
from lode.app.audit.signing import KEY_FILE, PUBLIC_FILE, signer
from lode.app.books import journal
from lode.app.books.contracts import Act
from lode.app.books.sqlite import SqliteStore
from lode.app.targets.open import open_target
from lode.cli.main import main
from lode.core.errors import AuditError, LodeError
from tests.unit.app.audit.sample import START_US, books, fill
from tests.unit.app.audit.tampering import Lab


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    books(folder / "books.sqlite", 60)
    return folder


def change(runs: Path, sql: str) -> None:
    with closing(sqlite3.connect(runs / "books.sqlite")) as db:
        db.execute(sql)
        db.commit()


def test_every_tampering_is_found(runs: Path) -> None:
    lab = Lab(runs / "books.sqlite", runs, signer(runs))
    lab.run(100, seed=5)
    assert not lab.missed
    assert len(lab.found) >= 12


@pytest.mark.prove
def test_every_tampering_is_found_at_full_count(tmp_path: Path) -> None:
    lab = Lab(books(tmp_path / "books.sqlite", 150), tmp_path, signer(tmp_path))
    lab.run(3000, seed=8)
    assert not lab.missed
    assert sum(lab.found.values()) >= 2000


def test_books_that_nobody_changed_are_right_and_stay_as_they_are(runs: Path) -> None:
    before = (runs / "books.sqlite").read_bytes()
    found = command.check(runs, None, [], None)
    assert (found["entries"], found["checkpoints"]) == (120, 0)
    assert (runs / "books.sqlite").read_bytes() == before


def test_the_first_bad_entry_is_named_and_what_to_do(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(runs, 'UPDATE journal SET record = replace(record, \'"amount":"1\', \'"amount":"9\') WHERE sequence = 77')
    assert main(["audit", "verify", "--runs", str(runs)]) == 2
    told = capsys.readouterr().err
    assert "journal, entry 77: the record" in told
    assert "Entries before 77 agree" in told and "lode restore TARGET" in told


def test_a_head_of_another_time_is_told_with_both(runs: Path) -> None:
    change(runs, "UPDATE head SET at_us = at_us + 7")
    with pytest.raises(AuditError, match=r"says entry (\d+) at (\d+)7 .*, hash (\w+); the journal ends with \1 at \2\d, hash \3"):
        command.check(runs, None, [], None)


def test_a_projection_alone_is_compared_too(runs: Path) -> None:
    change(runs, "UPDATE balances SET amount = '1' WHERE account = 'cash/EUR'")
    with pytest.raises(AuditError, match=r"cash/EUR: found 1, the journal says 1000000000000000"):
        command.check(runs, None, [], None)
    assert command.check(runs, None, [], None, chain_only=True)["entries"] == 120  # and it says that it looked at the chain only


def test_a_checkpoint_betrays_a_tail_that_was_removed_without_a_trace(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = runs.parent / "elsewhere"
    assert main(["audit", "checkpoint", "--runs", str(runs), "-o", str(elsewhere), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["sequence"] == 120 and Path(made["stored"]).is_file()
    (runs / "books.sqlite").unlink()
    books(runs / "books.sqlite", 50)  # the same beginning, ten entries less
    assert command.check(runs, None, [], None)["entries"] == 110
    with pytest.raises(AuditError, match=r"journal, entry 111: .* has 120 entries, the journal 110: its tail was removed"):
        command.check(runs, None, [str(elsewhere)], None)


def test_a_checkpoint_of_the_same_length_betrays_another_chain(runs: Path) -> None:
    command.make(runs, None, str(runs / "checkpoints"), 5)
    (runs / "books.sqlite").unlink()
    store = SqliteStore(runs / "books.sqlite")
    fill(store, 60, seed=1)
    store.close()
    with pytest.raises(AuditError, match="has another hash: the chain was rewritten somewhere after entry 0"):
        command.check(runs, None, [], None)  # runs/checkpoints is looked at by itself


@pytest.mark.parametrize("field", ["sequence", "hash", "at_us", "made_us", "first", "public_key", "signature"])
def test_a_changed_checkpoint_is_refused(runs: Path, field: str) -> None:
    place = runs.parent / "one.json"
    command.make(runs, None, str(place), 5)
    fields = json.loads(place.read_text())
    value = fields[field]
    fields[field] = value + 1 if isinstance(value, int) else ("0" if value[0] != "0" else "1") + value[1:]
    place.write_text(json.dumps(fields))
    with pytest.raises(AuditError, match=r"signature is wrong|signed by the key"):
        command.check(runs, None, [str(place)], None)


def test_a_checkpoint_that_another_key_signed_is_refused(runs: Path) -> None:
    place, own = runs.parent / "one.json", runs.parent / "own.pub"
    command.make(runs, None, str(place), 5)
    (runs / PUBLIC_FILE).rename(own)
    (runs / KEY_FILE).unlink()
    signer(runs)
    with pytest.raises(AuditError, match="signed by the key"):
        command.check(runs, None, [str(place)], None)
    assert command.check(runs, None, [str(place)], str(own))["checkpoints"] == 1


def test_the_key_is_for_its_owner_only_and_is_refused_otherwise(runs: Path) -> None:
    signer(runs)
    assert (runs / KEY_FILE).stat().st_mode & 0o777 == 0o600
    (runs / KEY_FILE).chmod(0o644)
    with pytest.raises(LodeError, match="chmod 600"):
        command.make(runs, None, None, 5)


def test_checkpoints_make_themselves_and_a_target_that_is_gone_stops_nothing(runs: Path) -> None:
    said: list[str] = []
    clock = [START_US]
    store = SqliteStore(runs / "books.sqlite")
    place = runs.parent / "elsewhere"
    automatic = Automatic(
        store, signer(runs), open_target(place), lambda: clock[0], every_s=60, every_entries=5, look_s=60, say=said.append
    )
    assert automatic.look() is not None  # 120 entries are more than 5
    assert automatic.look() is None
    store.transact(lambda session: journal.append(session, [Act("note.write", "cli")], START_US))
    assert automatic.look() is None
    clock[0] += 61_000_000
    place.rename(runs.parent / "gone")
    place.write_text("no folder")
    assert automatic.look() is None and automatic.look() is None
    assert len(said) == 1 and "no checkpoint" in said[0]
    place.unlink()
    with automatic:
        pass
    assert [item.sequence for _, item in checkpoint.read(str(place), None)] == [121]
    store.close()


def test_what_happened_can_be_read(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def shown(*words: str) -> list[dict[str, Any]]:
        assert main(["audit", "show", "--runs", str(runs), "--json", *words]) == 0
        return list(json.loads(capsys.readouterr().out)["entries"])

    assert [entry["sequence"] for entry in shown("--limit", "2")] == [119, 120]
    assert {entry["kind"] for entry in shown("--kind", "key")} == {"key.create"}
    assert {entry["organisation"] for entry in shown("--organisation", "customer-3")} == {"customer-3"}
    assert len(shown("--actor", "user:usr_1")) == 20
    assert shown("--from", "2030-01-01") == []
    assert len(shown("--to", "2026-09-22", "--kind", "credit.top_up")) == 20
    assert main(["audit", "show", "--runs", str(runs), "--kind", "credit", "--limit", "1"]) == 0
    assert "50 cash/EUR <- customer/customer-19/prepaid; reference top-up-19" in capsys.readouterr().out
    assert main(["audit", "show", "--runs", str(runs), "--from", "yesterday"]) == 2


def test_no_books_and_other_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="found no books"):
        command.check(tmp_path, None, [], None)
    (tmp_path / "books.sqlite").write_bytes(b"not a database, but long enough to be looked at" * 40)
    with pytest.raises(AuditError, match="cannot be read as books"):
        command.check(tmp_path, None, [], None)


def test_the_commands_load_no_torch() -> None:
    code = (
        "import sys; from lode.app.audit import command; from lode.app.backup import command; "
        "print(sorted({'torch', 'polars'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("public_key", value) for value in ("zz", 5, "00", [])],
        *[("signature", 5), ("sequence", 1e300), ("made_us", 10**19), ("hash", [1])],
    ],
)
def test_a_checkpoint_of_the_wrong_kind_is_told_not_stumbled_over(runs: Path, field: str, value: Any) -> None:
    text = command.make(runs, None, None, 1)["text"]
    wrong = json.dumps({**json.loads(text), field: value}).encode()
    for trusted in (None, signer(runs).public):
        with pytest.raises(AuditError):
            checkpoint.parse(wrong, "here", trusted)


def test_a_day_begins_at_midnight_of_utc() -> None:
    assert entries.at("1970-01-02", "--to") == 86_400_000_000
    for text in ("2026-02-29", "soon", "9999-12-31x"):
        with pytest.raises(AuditError, match="wanted a date"):
            entries.at(text, "--to")
