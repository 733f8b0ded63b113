"""A restore that is killed, runs out of room, comes too late or meets another format: whole or nothing, and nothing is left of it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from lode.app.backup import restoring
from lode.app.backup.following import Follower
from lode.app.backup.making import Source
from lode.app.backup.repository import Repository
from lode.app.backup.restoring import restore
from lode.app.books import schema
from lode.app.books.sqlite import SqliteStore
from lode.app.targets.open import open_target
from lode.core.errors import BackupError, DiskFullError
from lode.data.storage.keys import new_key
from tests.unit.app.audit.sample import books, fill


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A snapshot with many small files, and 200 entries that were shipped after it."""
    runs = tmp_path / "runs"
    runs.mkdir()
    books(runs / "books.sqlite", 50)
    for number in range(40):
        (runs / f"small{number}").write_bytes(random.Random(number).randbytes(300))
    made = Repository(open_target(tmp_path / "target"), new_key(tmp_path / "key"), make=True)
    with SqliteStore(runs / "books.sqlite") as store:
        follower = Follower(Source(runs, store), made, now_us=lambda: time.time_ns() // 1000)
        follower.start()
        fill(store, 200, first=50)
        assert follower.ship() == 200
    return made


def left(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if "partial" in path.name or path.name == "back"]


@pytest.mark.parametrize("spare_kib", [40, 300])
def test_a_disk_that_is_full_in_the_middle_leaves_nothing(repository: Repository, tmp_path: Path, spare_kib: int) -> None:
    """Room for the bytes; not for the blocks of small files (40), or not for the entries that were shipped (300)."""
    size = sum(item["size"] for item in repository.snapshot(repository.snapshots()[-1])["files"])
    small = tmp_path / "small"
    small.mkdir()
    options = f"size={size // 1024 + spare_kib}k"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(small)], capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here (needs Linux and root)")
    try:
        with pytest.raises(DiskFullError):
            restore(repository, small / "back", check=True)
        assert not list(small.iterdir())
        subprocess.run(["mount", "-o", "remount,size=40m", str(small)], check=True)
        assert restore(repository, small / "back", check=True)["books"]["shipped"] == 200
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_a_restore_that_is_killed_leaves_nothing_that_counts_and_the_next_one_clears_it_away(
    repository: Repository, tmp_path: Path
) -> None:
    script = (
        "import os, sys, time; from lode.app.backup import restoring; from lode.cli.main import main\n"
        "real = restoring._file\n"
        "def slow(*values):\n"
        "    real(*values)\n"
        "    if values[2]['path'] == 'small7': print('here', flush=True); time.sleep(60)\n"
        "restoring._file = slow\n"
        "main(['restore', *sys.argv[1:]])\n"
    )
    words = [str(tmp_path / "target"), "--key-file", str(tmp_path / "key"), "--to", str(tmp_path / "back")]
    process = subprocess.Popen([sys.executable, "-c", script, *words], stdout=subprocess.PIPE, env=dict(os.environ))
    assert process.stdout is not None and process.stdout.readline() == b"here\n"
    assert [path.name.endswith(".partial") for path in left(tmp_path)] == [True]
    restore(repository, tmp_path / "other")  # while it runs, what it has is left alone
    assert len(left(tmp_path)) == 1
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "back").exists()
    restore(repository, tmp_path / "back", check=True)
    assert [path.name for path in left(tmp_path)] == ["back"]


def test_a_folder_that_somebody_made_meanwhile_is_left_alone(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = restoring._file

    def slow(repository: Repository, place: Path, item: dict[str, Any]) -> None:
        (tmp_path / "back").mkdir(exist_ok=True)
        (tmp_path / "back" / "theirs").write_text("x")
        real(repository, place, item)

    monkeypatch.setattr(restoring, "_file", slow)
    with pytest.raises(BackupError, match="nothing is overwritten"):
        restore(repository, tmp_path / "back")
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["theirs"] and len(left(tmp_path)) == 1


def test_a_snapshot_of_another_format_is_refused(repository: Repository, tmp_path: Path) -> None:
    id = repository.snapshots()[-1]
    for format in (0, 2, None):
        repository.put_object(f"snapshots/{id}", orjson.dumps(repository.snapshot(id) | {"format": format}))
        with pytest.raises(BackupError, match=f"format {format}, this lode knows 1"):
            restore(repository, tmp_path / "back")
    assert not left(tmp_path)


def test_books_of_an_older_lode_come_back_as_they_were(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = repository.snapshots()[-1]
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE added (amount AMOUNT NOT NULL)",)))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    assert restore(repository, tmp_path / "exact", at=id, check=True)["checked"]["entries"] == 110
    assert restore(repository, tmp_path / "newest", check=True)["checked"]["entries"] == 310  # and these were brought up to date
    with SqliteStore(tmp_path / "exact" / "books.sqlite") as store, store.view() as session:
        assert session.rows("SELECT count(*) FROM added") == [(0,)]
