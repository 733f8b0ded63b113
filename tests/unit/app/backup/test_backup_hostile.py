"""Targets that somebody else can write to, and runs folders that cannot be brought back: told, never half believed."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from lode.app.backup import command
from lode.app.backup.repository import Repository
from lode.app.targets.open import open_target
from lode.core.errors import BackupError
from lode.data.storage.keys import file_key, new_key
from tests.unit.app.audit.sample import books


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """key, runs/, and target/ with one snapshot of it."""
    new_key(tmp_path / "key")
    (tmp_path / "runs").mkdir()
    books(tmp_path / "runs" / "books.sqlite", 5)
    (tmp_path / "runs" / "tool").write_text("x")
    (tmp_path / "runs" / "tool").chmod(0o4755)
    make(tmp_path)
    return tmp_path


def make(place: Path, location: str | None = None, keep: int | None = None) -> None:
    command.make(str(place / "target"), place / "key", place / "runs", location, keep=keep)


def test_a_forged_snapshot_pushes_no_real_one_out(place: Path) -> None:
    real = {path.name for path in (place / "target" / "snapshots").iterdir()}
    (place / "target" / "snapshots" / "99999999T000000").write_bytes(b"forged")
    with pytest.raises(BackupError, match="not what was written"):
        make(place, keep=1)
    assert real <= {path.name for path in (place / "target" / "snapshots").iterdir()}
    listed = command.snapshots(str(place / "target"), place / "key")["snapshots"]
    assert [item["damaged"] for item in listed] == [False, False, True]
    command.restore(str(place / "target"), place / "key", None, at=listed[0]["snapshot"], check=True)


def test_a_file_that_is_no_piece_of_the_journal_is_none(place: Path) -> None:
    (snapshot,) = (place / "target" / "snapshots").iterdir()
    (place / "target" / "journal").mkdir()
    (place / "target" / "journal" / f"{snapshot.name}.garbage").write_bytes(b"x")
    assert command.restore(str(place / "target"), place / "key", None, check=True)["checked"]["entries"] == 65
    (place / "target" / "journal" / f"{snapshot.name}.000000000066-000000000067").write_bytes(b"x" * 99)
    with pytest.raises(BackupError, match="not what was written"):
        command.restore(str(place / "target"), place / "key", None, check=True)


@pytest.mark.parametrize("path", ["../evil", "/evil", "a/../../evil", "", "..", ".", "a\0b"])
def test_no_snapshot_leads_out_of_the_folder(place: Path, path: str) -> None:
    repository = Repository(open_target(place / "target"), file_key(place / "key", "key"))
    item = {"path": path, "mode": 0o6777, "size": 0, "sha256": "", "lists": []}
    snapshot = {"format": 1, "at_us": 1, "what": ["settings"], "books": None, "files": [item]}
    repository.put_object("snapshots/20990101T000000", orjson.dumps(snapshot))
    with pytest.raises(BackupError, match="leads out"):
        command.restore(str(place / "target"), place / "key", place / "to" / "runs")
    assert not list(place.glob("**/evil")) and not list((place / "to").iterdir())


def test_a_restored_file_acts_in_nobody_elses_name(place: Path) -> None:
    command.restore(str(place / "target"), place / "key", place / "back")
    assert (place / "back" / "tool").stat().st_mode & 0o7777 == 0o755
    assert (place / "back").stat().st_mode & 0o077 == 0


def test_what_could_not_be_brought_back_is_refused_at_once(place: Path) -> None:
    books(place / "other.sqlite", 5)
    with pytest.raises(BackupError, match="where a restore puts the books"):
        make(place, str(place / "other.sqlite"))
    (place / "runs" / os.fsdecode(b"a\xff")).touch()
    with pytest.raises(BackupError, match="no UTF-8"):
        make(place)
