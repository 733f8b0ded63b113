"""A checkpoint is whole or absent, and gives back what it was given bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lode.core import disk
from lode.core.errors import ArtifactError
from lode.model import checkpoint as files


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    tensors = {"model.w": torch.randn(3, 4), "model.b": torch.arange(3), "best.w": torch.zeros(2, dtype=torch.bfloat16)}
    files.write(tmp_path, files.Checkpoint(tensors, {"loss": 0.1 + 0.2, "best": float("inf"), "epoch": 3}))
    found = files.read(tmp_path)
    assert found is not None and dict(found.record) == {"loss": 0.1 + 0.2, "best": float("inf"), "epoch": 3}
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in tensors.items())
    assert set(found.part("model")) == {"w", "b"}


def test_tensors_that_share_memory_are_written_both(tmp_path: Path) -> None:
    tied = torch.randn(4)
    files.write(tmp_path, files.Checkpoint({"a": tied, "b": tied}))
    found = files.read(tmp_path)
    assert found is not None and torch.equal(found.tensors["a"], found.tensors["b"])


def test_a_folder_without_checkpoint_has_none(tmp_path: Path) -> None:
    assert files.read(tmp_path) is None


def test_a_kill_while_writing_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write(tmp_path, files.Checkpoint({"a": torch.ones(2)}))

    def killed(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(disk.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        files.write(tmp_path, files.Checkpoint({"a": torch.zeros(2)}))
    found = files.read(tmp_path)
    assert found is not None and torch.equal(found.tensors["a"], torch.ones(2))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / files.FILE).write_bytes(content)
    with pytest.raises(ArtifactError, match="not a checkpoint"):
        files.read(tmp_path)


def test_a_checkpoint_of_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(files, "FORMAT", 99)
        files.write(tmp_path, files.Checkpoint({"a": torch.ones(2)}))
    with pytest.raises(ArtifactError, match="another version"):
        files.read(tmp_path)
