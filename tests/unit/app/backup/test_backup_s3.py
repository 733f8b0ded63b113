"""Backups in an object store: what it refuses, forgets, shows late and loses, and machines that are killed or work at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lode.app.backup.making import Source, backup
from lode.app.backup.repository import Repository
from lode.app.backup.restoring import restore
from lode.app.targets import remote
from lode.app.targets.open import open_target
from lode.core.errors import BackupError
from lode.data.storage.keys import Key, new_key
from tests.unit.app.backup.s3 import KEY, SECRET, Bucket, s3

PLACE = "s3://bucket/backups"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with s3() as found:
        for name, value in (
            ("ACCESS_KEY_ID", KEY),
            ("SECRET_ACCESS_KEY", SECRET),
            ("ENDPOINT_URL", found.url),
            ("ALLOW_HTTP", "true"),
        ):
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setattr(remote, "_RETRIES", {"max_retries": 3, "backoff": {"init_backoff": timedelta(seconds=0.01)}})
        yield found


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return new_key(tmp_path / "backup.key")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return folder(tmp_path / "runs", 1)


def folder(path: Path, seed: int, count: int = 300_000) -> Path:
    """A runs folder without books: what they add is tested with a folder as target."""
    path.mkdir(exist_ok=True)
    (path / "weights").write_bytes(random.Random(seed).randbytes(count))
    return path


def made(runs: Path, key: Key, **more: Any) -> dict[str, Any]:
    repository = Repository(open_target(PLACE), key, make=True)
    return backup(Source(runs, None), repository, now_us=lambda: time.time_ns() // 1000, **more)


def same(key: Key, to: Path, runs: Path, at: str | None = None) -> None:
    restore(Repository(open_target(PLACE), key), to, at=at)
    assert (to / "weights").read_bytes() == (runs / "weights").read_bytes()


def test_an_object_store_keeps_what_is_needed_and_no_more(runs: Path, tmp_path: Path, key: Key, bucket: Bucket) -> None:
    for seed in range(3):
        made(folder(runs, seed), key, keep=1)
    same(key, tmp_path / "back", runs)
    kept = sum(map(len, bucket.objects.values()))
    assert kept < 330_000 and not [path for path in bucket.objects if "/running/" in path]
    assert SECRET not in str(bucket.requests)


def test_a_store_that_refuses_is_told_without_the_secret_and_one_that_is_busy_is_asked_again(
    runs: Path, tmp_path: Path, key: Key, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made(runs, key)
    bucket.refuse = [503, 503]
    made(runs, key)
    told = []
    for faults in ([403], [503] * 9):
        bucket.refuse = faults
        with pytest.raises(BackupError, match="cannot be used") as found:
            made(folder(runs, 7), key)
        told.append(str(found.value))
        bucket.refuse = []
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
    before = dict(bucket.objects)
    with pytest.raises(BackupError, match="may you write to it") as found:
        made(runs, key)
    told.append(str(found.value))
    assert bucket.objects == before
    assert not [text for text in told if SECRET in text or "another-secret" in text]
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    same(key, tmp_path / "back", folder(runs, 1), first["snapshot"])


@pytest.mark.parametrize("what", ["/index/", "/packs/"])
def test_an_object_that_is_listed_and_not_there_is_told_and_nothing_restored(
    runs: Path, tmp_path: Path, key: Key, bucket: Bucket, what: str
) -> None:
    made(runs, key)
    bucket.vanish = what
    with pytest.raises(BackupError, match="found no"):
        restore(Repository(open_target(PLACE), key), tmp_path / "back")
    assert not (tmp_path / "back").exists() and not list(tmp_path.glob(".back*"))
    bucket.vanish = ""
    same(key, tmp_path / "back", runs)


def test_a_store_that_lists_late_loses_nothing(runs: Path, tmp_path: Path, key: Key, bucket: Bucket) -> None:
    bucket.lag = 3
    for seed in range(4):
        last = made(folder(runs, seed), key, keep=1)
    bucket.lagging.clear()
    same(key, tmp_path / "back", runs, last["snapshot"])


@pytest.mark.prove
def test_a_backup_that_is_killed_in_an_upload_leaves_the_older_ones(runs: Path, tmp_path: Path, key: Key, bucket: Bucket) -> None:
    first = made(runs, key)
    bucket.holds_parts = True
    folder(runs, 2, 7_000_000)  # longer than a part
    words = ["backup", PLACE, "--key-file", str(tmp_path / "backup.key"), "--runs", str(runs)]
    process = subprocess.Popen([sys.executable, "-m", "lode", *words], stderr=subprocess.PIPE, env=dict(os.environ))
    assert bucket.hold.wait(30), process.communicate()[1]
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    bucket.holds_parts = False
    second = made(runs, key)
    same(key, tmp_path / "new", runs, second["snapshot"])
    same(key, tmp_path / "old", folder(runs, 1), first["snapshot"])
    assert not [path for path in bucket.objects if "/running/" in path], "the mark of the killed one went with the next"


def test_two_machines_at_once_lose_nothing(tmp_path: Path, key: Key, bucket: Bucket) -> None:
    places = [folder(tmp_path / name, seed) for seed, name in enumerate(("one", "two"))]
    Repository(open_target(PLACE), key, make=True)
    ends: list[dict[str, Any]] = [{}, {}]

    def work(number: int) -> None:
        for seed in range(4):
            try:
                ends[number] = made(folder(places[number], 10 * number + seed), key, keep=2)
            except BackupError as error:
                assert "Try again" in str(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    repository = Repository(open_target(PLACE), key)
    ids = repository.snapshots()
    assert len(ids) >= 2
    for id in ids:
        restore(repository, tmp_path / id, at=id)
