"""`lode backup` and `lode restore`: what comes back is what was there, or nothing (T7, T9)."""

from __future__ import annotations

import hashlib
import json
import os
import random
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lode.app.audit.signing import signer
from lode.app.backup import command, cutting
from lode.app.backup.following import Follower
from lode.app.backup.making import Source, backup
from lode.app.backup.repository import Repository
from lode.app.backup.restoring import restore, snapshots
from lode.app.books import journal
from lode.app.books.contracts import Act, Document
from lode.app.books.sqlite import SqliteStore
from lode.app.targets.open import open_target
from lode.cli.main import main
from lode.core.errors import BackupError, BusyError, DiskFullError, LodeError
from lode.data.storage.keys import Key, new_key
from tests.unit.app.audit.sample import START_US, books, fill

TABLES = ("journal", "head", "transfers", "balances", "counters", "documents", "usage")


def now_us() -> int:
    return time.time_ns() // 1000


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return new_key(tmp_path / "backup.key")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A runs folder with everything that a backup holds, and something that it does not."""
    folder = tmp_path / "runs"
    (folder / "artifacts" / "card" / "1").mkdir(parents=True)
    (folder / "artifacts" / "card" / "1" / "model.safetensors").write_bytes(random.Random(1).randbytes(700_000))
    (folder / "plans").mkdir()
    (folder / "plans" / "team.toml").write_text("name = 'team'\n")
    (folder / "access.toml").write_text("roles = []\n")
    (folder / "empty").write_bytes(b"")
    (folder / "train").mkdir()
    (folder / "train" / "big").write_bytes(b"x" * 1000)
    (folder / "pepper").write_bytes(secrets.token_bytes(32))
    (folder / "pepper").chmod(0o600)
    signer(folder)
    with closing(sqlite3.connect(folder / "catalog.sqlite")) as db:
        db.execute("CREATE TABLE artifacts (name TEXT)")
        db.execute("INSERT INTO artifacts VALUES ('card')")
        db.commit()
    books(folder / "books.sqlite", 300)
    return folder


def made(runs: Path, target: Path | str, key: Key, **more: Any) -> dict[str, Any]:
    store = SqliteStore(runs / "books.sqlite")
    try:
        return backup(Source(runs, store), Repository(open_target(target), key, make=True), now_us=now_us, **more)
    finally:
        store.close()


def grow(runs: Path, first: int, count: int) -> None:
    store = SqliteStore(runs / "books.sqlite")
    fill(store, count, first=first)
    store.close()


def rows(path: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(path)) as db:
        return {table: sorted(db.execute(f"SELECT * FROM {table}").fetchall()) for table in TABLES}


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    """Mode and hash of every file but the databases."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mode & 0o777, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.rglob("*")
        if path.is_file() and ".sqlite" not in path.name and not path.name.startswith(".backup") and "train" not in path.parts
    }


def test_all_comes_back_and_only_changes_are_stored(runs: Path, tmp_path: Path, key: Key) -> None:
    target, back = tmp_path / "target", tmp_path / "back"
    first = made(runs, target, key)
    again = made(runs, target, key)
    assert again["new_chunks"] == 0 and again["stored_bytes"] < first["stored_bytes"] / 50
    grow(runs, 300, 3)
    third = made(runs, target, key)
    assert 0 < third["new_chunks"] < first["new_chunks"] / 2
    found = restore(Repository(open_target(target), key), back, check=True)
    assert found["books"]["sequence"] == 363 and found["checked"] == {"entries": 363, "accounts": 42, "looked": "the file is whole"}
    assert tree(back) == tree(runs)
    assert rows(back / "books.sqlite") == rows(runs / "books.sqlite")
    with closing(sqlite3.connect(back / "catalog.sqlite")) as db:
        assert db.execute("SELECT name FROM artifacts").fetchall() == [("card",)]
    assert not (back / "train").exists() and not list(tmp_path.glob(".back.*")) and not list(runs.glob(".backup-*"))
    restore(Repository(open_target(target), key), tmp_path / "older", at=first["snapshot"])
    assert len(rows(tmp_path / "older" / "books.sqlite")["journal"]) == 360


def test_the_restored_file_is_bit_identical_to_the_copy(runs: Path, tmp_path: Path, key: Key) -> None:
    made(runs, "memory://backups/one", key)
    repository = Repository(open_target("memory://backups/one"), key)
    restore(repository, tmp_path / "back")
    held = {item["path"]: item["sha256"] for item in repository.snapshot(repository.snapshots()[-1])["files"]}
    for name, digest in held.items():
        assert hashlib.sha256((tmp_path / "back" / name).read_bytes()).hexdigest() == digest
    assert {"books.sqlite", "catalog.sqlite", "pepper", "audit.key", "plans/team.toml"} <= held.keys()


def test_a_backup_while_others_write_holds_one_moment_and_stalls_nobody(runs: Path, tmp_path: Path, key: Key) -> None:
    stop, written = threading.Event(), [300]

    def load() -> None:
        store = SqliteStore(runs / "books.sqlite")
        while not stop.is_set():
            fill(store, 20, first=written[0])
            written[0] += 20
        store.close()

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(3):
            made(runs, tmp_path / "target", key)
    finally:
        stop.set()
        thread.join()
    assert written[0] > 300
    repository = Repository(open_target(tmp_path / "target"), key)
    live = rows(runs / "books.sqlite")["journal"]
    for number, id in enumerate(repository.snapshots()):
        back = tmp_path / f"back-{number}"
        found = restore(repository, back, at=id, check=True)
        assert rows(back / "books.sqlite")["journal"] == live[: found["books"]["sequence"]]


def test_any_flipped_byte_or_lost_object_is_refused_and_nothing_is_left(runs: Path, tmp_path: Path, key: Key) -> None:
    target = tmp_path / "target"
    made(runs, target, key)
    objects = [path for path in sorted(target.rglob("*")) if path.is_file()]
    rng = random.Random(4)
    for number in range(40):
        path = objects[number % len(objects)]
        kept = path.read_bytes()
        raw = bytearray(kept)
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        if number >= 36:
            path.unlink()
        else:
            path.write_bytes(raw)
        with pytest.raises(LodeError):
            restore(Repository(open_target(target), key), tmp_path / "back")
        path.write_bytes(kept)
        assert not (tmp_path / "back").exists() and not list(tmp_path.glob(".back*"))
    restore(Repository(open_target(target), key), tmp_path / "back", check=True)


def test_swapped_snapshots_chunks_and_another_key_are_refused(runs: Path, tmp_path: Path, key: Key) -> None:
    target = tmp_path / "target"
    made(runs, target, key)
    grow(runs, 300, 5)
    made(runs, target, key)
    left, right = sorted((target / "snapshots").iterdir())
    kept = left.read_bytes(), right.read_bytes()
    left.write_bytes(kept[1])
    right.write_bytes(kept[0])
    with pytest.raises(BackupError, match="not what was written"):
        restore(Repository(open_target(target), key), tmp_path / "back")
    left.write_bytes(kept[0])
    right.write_bytes(kept[1])
    repository = Repository(open_target(target), key)
    repository.load()
    one, two = list(repository.known)[:2]
    repository.known[one], repository.known[two] = repository.known[two], repository.known[one]
    with pytest.raises(BackupError, match="not what was written"):
        repository.chunk(one)
    with pytest.raises(BackupError, match=r"made with the key .*, found the key"):
        Repository(open_target(target), new_key(tmp_path / "other.key"))
    header = json.loads((target / "lode-backup.json").read_text())
    (target / "lode-backup.json").write_text(json.dumps(header | {"key": new_key(tmp_path / "third.key").id}))
    with pytest.raises(BackupError, match="was changed"):  # by a space
        Repository(open_target(target), key)
    upper = dict(header) | {"repository": header["repository"].upper()}
    (target / "lode-backup.json").write_bytes(json.dumps(upper, separators=(",", ":")).encode())
    with pytest.raises(BackupError, match="was changed"):  # the same number, but not the same byte
        Repository(open_target(target), key)


def test_old_snapshots_leave_and_the_rest_stays_whole(runs: Path, tmp_path: Path, key: Key) -> None:
    target = tmp_path / "target"
    weights = runs / "artifacts" / "card" / "1" / "model.safetensors"
    sizes = []
    for number in range(4):
        weights.write_bytes(random.Random(number + 10).randbytes(900_000))
        made(runs, target, key, keep=2)
        sizes.append(sum(path.stat().st_size for path in target.rglob("*") if path.is_file()))
    repository = Repository(open_target(target), key)
    assert len(repository.snapshots()) == 2
    assert sizes[3] < sizes[1] * 1.2  # two sets of weights, not four
    for number, id in enumerate(repository.snapshots()):
        restore(repository, tmp_path / str(number), at=id, check=True)
    with pytest.raises(BackupError, match="--keep: found 0"):
        made(runs, target, key, keep=0)


def test_a_killed_backup_leaves_the_older_ones_whole(runs: Path, tmp_path: Path, key: Key) -> None:
    target = tmp_path / "target"
    made(runs, target, key)
    (runs / "artifacts" / "card" / "1" / "more").write_bytes(random.Random(3).randbytes(17_000_000))
    words = ["backup", str(target), "--key-file", str(tmp_path / "backup.key"), "--runs", str(runs)]
    process = subprocess.Popen([sys.executable, "-m", "lode", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end_s = time.monotonic() + 30
    while len(list((target / "packs").glob("[0-9]*"))) < 2 and process.poll() is None and time.monotonic() < end_s:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was faster than the kill"
    repository = Repository(open_target(target), key)
    assert len(repository.snapshots()) == 1
    restore(repository, tmp_path / "back", check=True)
    made(runs, target, key)  # and it goes on, clearing away the copy that was left
    assert not list(runs.glob(".backup-*"))
    restore(Repository(open_target(target), key), tmp_path / "again", check=True)


def test_following_ships_what_is_new_and_a_restore_has_it(runs: Path, tmp_path: Path, key: Key) -> None:
    target, said = tmp_path / "target", list[str]()
    store = SqliteStore(runs / "books.sqlite")
    clock = [START_US + 10**9]
    follower = Follower(
        Source(runs, store), Repository(open_target(target), key, make=True), now_us=lambda: clock[0], say=said.append
    )
    first = follower.start()
    for number in range(3):
        fill(store, 10, first=300 + 10 * number)
        assert follower.ship() == 10
    assert follower.ship() == 0
    (target / "journal").rename(tmp_path / "aside")
    (target / "journal").write_text("gone")
    fill(store, 5, first=330)
    assert follower.ship() == 0 and "trying again" in said[-1]
    (target / "journal").unlink()
    (tmp_path / "aside").rename(target / "journal")
    assert follower.ship() == 5
    wanted = rows(runs / "books.sqlite")
    store.close()
    repository = Repository(open_target(target), key)
    found = restore(repository, tmp_path / "back", check=True)
    assert found["books"] | {"at": ""} == {"sequence": 395, "hash": wanted["head"][0][3], "at": "", "shipped": 35}
    assert rows(tmp_path / "back" / "books.sqlite") == wanted
    assert restore(repository, None, at=first["snapshot"], check=True)["books"]["sequence"] == 360
    assert snapshots(repository)[0]["entries"] == 395
    piece = sorted((target / "journal").iterdir())[1]
    piece.unlink()
    with pytest.raises(BackupError, match="the chain is broken after entry 370"):
        restore(Repository(open_target(target), key), tmp_path / "back2")


@pytest.mark.parametrize("keep", [None, 1])
def test_what_is_shipped_is_restored_though_another_command_backs_up_meanwhile(
    runs: Path, tmp_path: Path, key: Key, keep: int | None
) -> None:
    """A restore takes the newest snapshot and what follows on it, so the follower goes on from there; other books are let be."""
    clock = [START_US + 10**9]

    def now_us() -> int:
        clock[0] += 10**6
        return clock[0]

    def opened() -> Repository:
        return Repository(open_target(tmp_path / "target"), key, make=True)

    with SqliteStore(runs / "books.sqlite") as store, SqliteStore(tmp_path / "other.sqlite") as other:
        follower = Follower(Source(runs, store), opened(), now_us=now_us)
        follower.start()
        fill(store, 10, first=300)
        follower.ship()
        backup(Source(runs, store), opened(), now_us=now_us, keep=keep)
        for first in (310, 320):
            fill(store, 10, first=first)
            follower.ship()
        last = restore(opened(), tmp_path / "back", check=True)["books"]["sequence"]
        with store.view() as session:
            assert session.rows("SELECT sequence FROM head") == [(last,)]
        fill(other, 3, first=900)
        backup(Source(tmp_path / "elsewhere", other), opened(), now_us=now_us)
        fill(store, 10, first=330)
        num_snapshots = len(opened().snapshots())
        assert follower.ship() == 10 and len(opened().snapshots()) == num_snapshots


def test_secrets_and_prompts_are_in_no_backup(runs: Path, tmp_path: Path, key: Key) -> None:
    """T9, small: what lies in the runs folder is unreadable at the target, and the key nowhere."""
    canaries = [secrets.token_hex(16) for _ in range(50)]
    (runs / "notes").write_text("\n".join(canaries))
    store = SqliteStore(runs / "books.sqlite")
    acts = [Act("note.write", "cli", documents=(Document("note", word, "", {"text": word}),)) for word in canaries]
    store.transact(lambda session: journal.append(session, acts, START_US))
    store.close()
    made(runs, tmp_path / "target", key)
    grow(runs, 300, 5)
    made(runs, tmp_path / "target", key)
    content = b"".join(path.read_bytes() for path in (tmp_path / "target").rglob("*") if path.is_file())
    names = " ".join(path.name for path in (tmp_path / "target").rglob("*"))
    pepper = (runs / "pepper").read_bytes()
    hidden = [word.encode() for word in canaries] + [key.secret, key.secret.hex().encode(), pepper, b"customer-1", b"team.toml"]
    assert not [word for word in hidden if word in content]
    assert "team" not in names and canaries[0].encode() in (runs / "books.sqlite").read_bytes()


def test_cuts_follow_the_content(tmp_path: Path) -> None:
    gear = cutting.table(b"k" * 32)
    content = random.Random(2).randbytes(6_000_000)
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").write_bytes(content[:3_000_000] + b"inserted" + content[3_000_000:])
    left, right = list(cutting.chunks(tmp_path / "a", gear)), list(cutting.chunks(tmp_path / "b", gear))
    assert b"".join(left) == content and max(map(len, left)) <= cutting.MAX_BYTES
    assert all(len(chunk) >= cutting.MIN_BYTES for chunk in left[:-1]) and len(left) > 8
    assert len(set(left) & set(right)) >= len(left) - 3
    assert set(left) != set(cutting.chunks(tmp_path / "a", cutting.table(b"another key")))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["backup"], "found no target"),
        (["backup", "T"], "--make-key FILE"),
        (["backup", "T", "--key-file", "missing"], "missing"),
        (["backup", "T", "--key-file", "K", "--what", "boks"], 'Did you mean "books"'),
        (["backup", "T", "--key-file", "K", "--follow", "0"], "0.2 seconds or more"),
        (["backup", "no://such", "--key-file", "K"], "no://such"),
        (["restore", "T", "--key-file", "K"], "neither --to nor --verify"),
        (["restore", "nowhere", "--key-file", "K", "--verify"], "found no backup"),
    ],
)
def test_mistakes_are_told(
    words: list[str],
    told: str,
    runs: Path,
    tmp_path: Path,
    key: Key,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["backup.key" if word == "K" else "target" if word == "T" else word for word in words]
    assert main([*words, "--runs", str(runs)]) == 2
    assert told in capsys.readouterr().err


def test_keys_for_others_and_folders_that_are_there_are_refused(runs: Path, tmp_path: Path, key: Key) -> None:
    path = tmp_path / "backup.key"
    command.make(str(tmp_path / "target"), path, runs, None)
    found = command.restore(str(tmp_path / "target"), path, None, check=True, runs=runs)
    assert found["live"] == "beginning"
    with pytest.raises(BackupError, match="nothing is overwritten"):
        command.restore(str(tmp_path / "target"), path, runs)
    path.chmod(0o640)
    with pytest.raises(LodeError, match="chmod 600"):
        command.restore(str(tmp_path / "target"), path, tmp_path / "back")
    with pytest.raises(LodeError, match="is there already"):
        command.make_key(path)


def test_one_backup_at_a_time(runs: Path, tmp_path: Path, key: Key) -> None:
    import fcntl

    with (runs / ".backup.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="another backup"):
            made(runs, tmp_path / "target", key)


def test_a_full_disk_leaves_nothing_half_restored(runs: Path, tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    made(runs, tmp_path / "target", key)
    before = {path: path.read_bytes() for path in (tmp_path / "target").rglob("*") if path.is_file()}
    repository = Repository(open_target(tmp_path / "target"), key)
    real = os.fsync

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError):
        restore(repository, tmp_path / "back")
    grow_error = pytest.raises(BackupError, match="the disk is full")
    (runs / "more").write_bytes(b"more")
    with grow_error:
        made(runs, tmp_path / "target", key)
    monkeypatch.setattr(os, "fsync", real)
    assert not (tmp_path / "back").exists() and not list(tmp_path.glob(".back*"))
    assert before.items() <= {path: path.read_bytes() for path in (tmp_path / "target").rglob("*") if path.is_file()}.items()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(DiskFullError, match="are needed"):
        restore(repository, tmp_path / "back")
    monkeypatch.undo()
    restore(repository, tmp_path / "back", check=True)
