"""Whatever is removed, killed or done at once: every snapshot that the target lists can be restored, byte by byte."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lode.app.backup import repository
from lode.app.backup.making import Source, _alone, backup
from lode.app.backup.repository import Repository
from lode.app.targets.contracts import Target
from lode.app.targets.folder import FolderTarget
from lode.core.errors import BackupError
from lode.data.storage.keys import Key, new_key

START_US = 1_790_000_000_000_000


class KilledError(Exception):
    """The process is gone: nothing that it would do later happens."""


class Watched(Target):
    """Another target, with something that happens before one of its calls: for ever after if it raises."""

    def __init__(self, target: Target, at: int, event: Callable[[], None]):
        self.where, self._target, self._left, self._event = target.where, target, at, event

    def _call(self, name: str, *values: Any) -> Any:
        self._left -= 1
        if self._left == 0 or (self._left < 0 and self._event is killed):
            self._event()
        return getattr(self._target, name)(*values)

    def write(self, name: str, content: bytes) -> None:
        self._call("write", name, content)

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        return self._call("read", name, start, length)  # type: ignore[no-any-return]

    def names(self, folder: str) -> list[str]:
        return self._call("names", folder)  # type: ignore[no-any-return]

    def remove(self, name: str) -> None:
        self._call("remove", name)


def killed() -> None:
    raise KilledError


class Machines:
    """Two runs folders that are backed up to one target, and what each snapshot must give back."""

    def __init__(self, folder: Path, key: Key, rng: random.Random):
        self.target, self.key, self.rng = FolderTarget(folder / "target"), key, rng
        self.runs = [folder / "one", folder / "two"]
        self.now_us = START_US
        self.expected: dict[str, dict[str, bytes]] = {}
        for runs in self.runs:
            runs.mkdir()
            for number in range(4):
                self.change(runs, number)

    def change(self, runs: Path, number: int) -> None:
        # Few different contents, so that what one machine has no more is what the other one adds.
        (runs / f"file{number}").write_bytes(random.Random(self.rng.randrange(12)).randbytes(1500))

    def clock_us(self) -> int:
        self.now_us += 1_000_000
        return self.now_us

    def back_up(self, which: int, target: Target | None = None) -> None:
        runs, keep = self.runs[which], self.rng.choice([None, 1, 1, 2, 3])
        for number in self.rng.sample(range(6), self.rng.randint(0, 3)):
            self.change(runs, number)
        held = {path.name: path.read_bytes() for path in runs.iterdir() if path.is_file() and not path.name.startswith(".backup")}
        try:
            made = backup(
                Source(runs, None), Repository(target or self.target, self.key, make=True), now_us=self.clock_us, keep=keep
            )
            self.expected[made["snapshot"]] = held
        except BackupError as error:
            assert "Try again" in str(error)
        except KilledError:
            for id in set(Repository(self.target, self.key).snapshots()) - self.expected.keys():
                self.expected[id] = held

    def check(self) -> None:
        found = Repository(self.target, self.key)
        found.load()
        for id in found.snapshots():
            files = found.snapshot(id)["files"]
            assert {item["path"]: b"".join(map(found.chunk, found.names_in(item["lists"]))) for item in files} == self.expected[id]


def story(folder: Path, seed: int) -> None:
    """Some backups; in the middle of most something happens: a kill, or a whole backup of the other machine."""
    folder.mkdir()
    rng = random.Random(seed)
    machines = Machines(folder, new_key(folder / "key"), rng)
    machines.back_up(0)
    for _ in range(8):
        which = rng.randrange(2)
        event = rng.choice([killed, lambda which=which: machines.back_up(1 - which)])
        machines.back_up(which, Watched(machines.target, rng.randint(1, 45), event))
        machines.now_us += rng.choice([0, 0, 100_000_000_000])  # more than a day: marks and packs of killed ones are old then
        machines.check()
    assert machines.target.names("snapshots")
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many packs of little; no disk that is waited for."""
    monkeypatch.setattr(repository, "PACK_BYTES", 4000)
    monkeypatch.setattr(os, "fsync", lambda number: None)


def test_a_runs_folder_is_itself_wherever_it_lies_and_no_other_at_its_place_is(tmp_path: Path) -> None:
    """Machines that were cloned have one name and one path, a container another name after each start."""
    runs = tmp_path / "runs"
    with _alone(runs) as own:
        pass
    runs.rename(tmp_path / "moved")
    with _alone(runs) as other, _alone(tmp_path / "moved") as again:
        assert own == again != other


def test_no_snapshot_that_is_kept_misses_a_chunk(tmp_path: Path) -> None:
    for seed in range(6):
        story(tmp_path / str(seed), seed)


@pytest.mark.prove
def test_no_snapshot_that_is_kept_misses_a_chunk_at_full_count(tmp_path: Path) -> None:
    for seed in range(100, 700):
        story(tmp_path / str(seed), seed)
