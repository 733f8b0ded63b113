"""What is found below a folder."""

from __future__ import annotations

from pathlib import Path

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
