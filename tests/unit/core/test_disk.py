"""What is found below a folder, and files that are written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lode.core import disk
from lode.pipeline.manifest import lock


def test_folders_of_runs_are_left_out_and_only_these(tmp_path: Path) -> None:
    for name in ("cats", "mine", "runs/data"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.png").touch()
    (tmp_path / "mine" / disk.LOCK).write_text("somebody else's")
    with lock(tmp_path / "runs", "lode run"):
        found = {Path(parent, name).relative_to(tmp_path).as_posix() for parent, names in disk.walk(tmp_path) for name in names}
    assert found == {"cats/a.png", "mine/a.png", f"mine/{disk.LOCK}"}


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    disk.write_whole(path, [b"one", b"two"])
    assert path.read_bytes() == b"onetwo"

    def torn() -> Iterator[bytes]:
        yield b"half"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        disk.write_whole(path, torn())
    assert path.read_bytes() == b"onetwo" and [item.name for item in path.parent.iterdir()] == ["a.json"]


def test_what_a_killed_writer_left_is_no_way_to_another_file(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"kept")
    (tmp_path / ".a.tmp").symlink_to(tmp_path / "other")
    disk.write_whole(tmp_path / "a", [b"new"], "")
    assert (tmp_path / "a").read_bytes() == b"new" and not (tmp_path / "a").is_symlink()
    assert (tmp_path / "other").read_bytes() == b"kept"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a", "other"]
