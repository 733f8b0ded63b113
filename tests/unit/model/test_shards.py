"""Checkpoints in parts: one counts only once every part is on disk; what is half written, damaged or older never does."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from lode.core.errors import ArtifactError
from lode.model import checkpoint as files
from lode.model import shards
from lode.model.checkpoint import Checkpoint


def _none(name: str) -> Any:
    return None


def _state(step: int) -> Checkpoint:
    return Checkpoint({"model.w": torch.full((3, 2), float(step)), "optimizer0.count": torch.tensor(float(step))}, {"step": step})


def _write(folder: Path, step: int, size: int = 2) -> None:
    _both([shards.ShardWriter(folder, rank, size) for rank in range(size)], step)


def test_a_checkpoint_counts_once_every_part_is_there(tmp_path: Path) -> None:
    first, second = (shards.ShardWriter(tmp_path, rank, 2) for rank in range(2))
    first.submit(_state(5))
    time.sleep(0.1)
    assert shards.read(tmp_path, _none) is None, "a part is missing: nobody may go on from it"
    second.submit(_state(5))
    second.wait()
    first.wait()
    found = shards.read(tmp_path, _none)
    assert found is not None and found.record == {"step": 5}
    assert torch.equal(found.tensors["model.w"], torch.full((3, 2), 5.0)) and float(found.tensors["optimizer0.count"]) == 5.0


def test_what_a_killed_run_left_is_removed_and_the_older_one_stays_until_then(tmp_path: Path) -> None:
    _write(tmp_path, 3)
    (tmp_path / "checkpoint-000000009-0").mkdir()
    (tmp_path / "checkpoint-000000009-0" / "part-00001-of-00002.safetensors").write_bytes(b"half")
    found = shards.read(tmp_path, _none)
    assert found is not None and found.record["step"] == 3
    _write(tmp_path, 9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-000000009-0", "checkpoint.json"]
    found = shards.read(tmp_path, _none)
    assert found is not None and found.record["step"] == 9


def test_a_part_of_the_next_one_stays_while_this_one_is_published(tmp_path: Path) -> None:
    """A process whose part was done soon may write the next one while the first process still waits for a slow one."""
    pair = [shards.ShardWriter(tmp_path, rank, 2) for rank in range(2)]
    _both(pair, 3)
    pair[0].submit(_state(9))
    shards.ShardWriter(tmp_path, 1, 2).submit(_state(10))
    while not list(tmp_path.glob("checkpoint-000000010-0/*.safetensors")):
        time.sleep(0.01)
    pair[1].submit(_state(9))
    pair[0].wait()
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-000000009-0", "checkpoint-000000010-0"]
    pair[0].submit(_state(10))
    pair[0].wait()
    found = shards.read(tmp_path, _none)
    assert found is not None and found.record["step"] == 10
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-000000010-0"]


def _both(pair: list[shards.ShardWriter], step: int) -> None:
    for writer in reversed(pair):
        writer.submit(_state(step))
        writer.wait()


def test_one_step_written_twice_does_not_mix(tmp_path: Path) -> None:
    """After a deadline: in its epoch, and again when that was judged."""
    pair = [shards.ShardWriter(tmp_path, rank, 2) for rank in range(2)]
    for writer in reversed(pair):
        writer.submit(_state(5))
        writer.wait()
    again = Checkpoint({"model.w": torch.zeros(3, 2)}, {"step": 5, "epoch": 1})
    pair[0].submit(again)
    time.sleep(0.1)
    found = shards.read(tmp_path, _none)
    assert found is not None and found.record == {"step": 5}, "a part of the newer one is missing"
    pair[1].submit(again)
    pair[0].wait()
    found = shards.read(tmp_path, _none)
    assert found is not None and found.record["epoch"] == 1


def test_the_newest_of_one_process_and_of_several_counts(tmp_path: Path) -> None:
    _write(tmp_path, 3)
    files.write(tmp_path, _state(4))
    found = shards.read(tmp_path, _none)
    assert found is not None and found.record["step"] == 4
    _write(tmp_path, 6)
    assert not (tmp_path / files.FILE).exists()
    writer = files.Writer(tmp_path, lambda: shards.remove(tmp_path))
    writer.submit(_state(7))
    writer.wait()
    assert [path.name for path in tmp_path.iterdir()] == [files.FILE]


@pytest.mark.parametrize("damage", ["pointer", "part", "gone"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, damage: str) -> None:
    _write(tmp_path, 3)
    part = tmp_path / "checkpoint-000000003-0" / "part-00000-of-00002.safetensors"
    if damage == "pointer":
        (tmp_path / "checkpoint.json").write_text('{"format": 1, "folder": "../elsewhere", "size": 1, "record": {"step": 1}}')
    elif damage == "part":
        part.write_bytes(b"\x80\x04cos\nsystem\n.")
    else:
        part.unlink()
    with pytest.raises(ArtifactError, match=r"Delete .* to train from the start"):
        shards.read(tmp_path, _none)
