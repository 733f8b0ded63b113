"""The books when disks, files and clocks fail (T6): never told of without a record, and well again by themselves."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lode.app.books import journal
from lode.app.books.sqlite import SqliteStore, connect
from lode.core.errors import BooksError
from lode.testing.books import assert_whole, opened, settled, written
from tests.unit.app.books.faults import survive

# fsync fails while the file that FAULT names is there
_SHIM = r"""
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/syscall.h>
static int fails(void) { const char *flag = getenv("FAULT"); return flag && access(flag, F_OK) == 0; }
int fsync(int file) { if (fails()) { errno = EIO; return -1; } return syscall(SYS_fsync, file); }
int fdatasync(int file) { if (fails()) { errno = EIO; return -1; } return syscall(SYS_fdatasync, file); }
"""


class _Child:
    """A process with the books open."""

    def __init__(self, path: Path, **env: str):
        command = [sys.executable, "-m", "tests.unit.app.books.child", str(path)]
        environment = {**os.environ, **env}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def say(self, line: str) -> str:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@contextmanager
def _child(path: Path, **env: str) -> Iterator[_Child]:
    child = _Child(path, **env)
    try:
        yield child
    finally:
        child.process.kill()
        child.process.communicate()


def test_faults_of_the_disk_lose_and_double_nothing(tmp_path: Path) -> None:
    told = survive(tmp_path / "books.sqlite", 300, seed=1)
    assert told.acknowledged == 301 and told.refused > 10 and told.kinds >= 8


@pytest.mark.prove
def test_faults_of_the_disk_at_full_count(tmp_path: Path) -> None:
    for seed in range(100):
        survive(tmp_path / f"{seed}.sqlite", 500, seed)


def test_a_file_that_may_not_grow_gives_no_acknowledgement_until_it_may(tmp_path: Path) -> None:
    path = tmp_path / "books.sqlite"
    with _child(path) as child:
        _fill(child, path, "limit 400000", "limit 0")


def test_a_full_disk_gives_no_acknowledgement_until_there_is_room(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("a tmpfs cannot be mounted here (needs Linux and root)")
    try:
        with _child(folder / "books.sqlite") as child:
            full, after = _until_full(child)
            assert "full" in full, full
            subprocess.run(["mount", "-o", "remount,size=20m", str(folder)], check=True)
            _goes_on(child, folder / "books.sqlite", after)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _until_full(child: _Child) -> tuple[str, int]:
    """What the last refusal says, and how many were told of before."""
    for number in range(2000):
        answers = [child.say(f"add {number}")]
        while answers[-1].startswith("retry") and len(answers) < 4:  # a refused one may fit once the log was emptied
            answers.append(child.say(f"add {number}"))
        if len(answers) == 4:
            return answers[-1], number
        assert answers[-1] == f"ok {number + 1}"
    raise AssertionError("the disk did not fill up")


def _fill(child: _Child, path: Path, narrow: str, wide: str) -> None:
    assert child.say(narrow) == "ok 0"
    _, after = _until_full(child)
    assert child.say(wide) == "ok 0"
    _goes_on(child, path, after)


def _goes_on(child: _Child, path: Path, after: int) -> None:
    assert [child.say(f"add {number}") for number in (after, after + 1)] == [f"ok {after + 1}", f"ok {after + 2}"]
    with opened(str(path)) as store:
        assert_whole(store, after + 2)


def test_an_error_of_fsync_gives_no_acknowledgement_until_it_ends(tmp_path: Path) -> None:
    compiler, flag, path = shutil.which("cc"), tmp_path / "flag", tmp_path / "books.sqlite"
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("no C compiler here, or no Linux")
    (tmp_path / "shim.c").write_text(_SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(tmp_path / "shim.so"), str(tmp_path / "shim.c")], check=True)
    with _child(path, LD_PRELOAD=str(tmp_path / "shim.so"), FAULT=str(flag)) as child:
        assert child.say("add 1") == "ok 1"
        flag.touch()
        assert all("disk I/O error" in child.say(f"add {number}") for number in (2, 3, 2))
        flag.unlink()
        # What failed to sync may be in the books or not; asked again with its id it is there once.
        assert all(child.say(f"add {number}").startswith("ok") for number in (2, 3, 4, 2))
    with opened(str(path)) as store:
        assert_whole(store, 4)


def test_a_torn_end_of_the_log_is_a_transaction_that_never_was(tmp_path: Path) -> None:
    path, chance = tmp_path / "books.sqlite", random.Random(5)
    with opened(str(path)) as store:
        for number in range(4):
            written(store, *(settled(number * 10 + n) for n in range(10)))
        before = path.with_name("books.sqlite-wal").stat().st_size
        written(store, *(settled(90 + n) for n in range(10)))  # its commit is torn below: nobody was told of it
        whole, log = path.read_bytes(), path.with_name("books.sqlite-wal").read_bytes()
    for number in range(12):
        copy, cut = tmp_path / f"{number}.sqlite", chance.randrange(before + 1, len(log))
        torn = bytes(byte ^ 0xFF for byte in log[cut:]) if number % 2 else b""
        copy.write_bytes(whole)
        copy.with_name(f"{copy.name}-wal").write_bytes(log[:cut] + torn)
        with opened(str(copy)) as store:
            assert_whole(store, 40)
            written(store, settled(1), *(settled(90 + n) for n in range(10)))
            assert_whole(store, 50)


def test_books_that_are_read_only_take_nothing_and_go_on_when_they_may(tmp_path: Path) -> None:
    mode = ["rw"]

    def opening(path: Path) -> sqlite3.Connection:
        if mode[0] == "rw":
            return connect(path)
        return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)

    store = SqliteStore(tmp_path / "books.sqlite", connect=opening)
    written(store, settled(1))
    store.close()
    mode[0] = "ro"
    for _ in range(2):
        with pytest.raises(BooksError, match="readonly") as found:
            written(store, settled(2))
        assert found.value.retry_s
    mode[0] = "rw"
    written(store, settled(2))
    assert_whole(store, 2)
    store.close()


def test_a_lost_file_is_not_made_anew_and_a_restored_one_is_used(tmp_path: Path) -> None:
    path, kept = tmp_path / "books.sqlite", tmp_path / "kept.sqlite"
    with opened(str(path)) as store:
        written(store, settled(1))
    shutil.copy(path, kept)
    with opened(str(path)) as store:
        written(store, settled(2))
        for name in ("books.sqlite", "books.sqlite-wal", "books.sqlite-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        with pytest.raises(BooksError, match=r"are gone .*`lode restore`"):
            written(store, settled(3))
        assert not path.exists()
        kept.rename(path)
        written(store, settled(3))
        with store.view() as session:
            assert [entry.act.reference for entry, _ in journal.read(session)] == ["req-1", "req-3"]
        assert_whole(store, 2)
