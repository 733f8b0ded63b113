"""A disk that fills up in every step: the message names the space, nothing half-written is taken for whole, and the same command goes on.

Uses a small tmpfs; where none can be mounted (no root) the tests say so and skip.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.flow import BREAST_CANCER, lode, lode_json, small, write_spec

SPEC = small({**BREAST_CANCER, "model": {"type": "auto", "candidates": ["constant", "linear", "trees"]}})
SIZES_KB = (16, 160, 400, 1200, 4000, 4400, 4800)


def _mount(folder: Path, *options: str) -> bool:
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False)
    return done.returncode == 0


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    try:
        mounted = _mount(folder, "-t", "tmpfs", "-o", f"size={SIZES_KB[0]}k", "tmpfs")
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a tmpfs cannot be mounted here (needs Linux and root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.prove
def test_a_disk_that_is_full_again_and_again_ends_in_the_same_model(tmpfs: Path, tmp_path: Path) -> None:
    path = write_spec(tmp_path / "undisturbed", SPEC)
    expected = lode_json("run", path)["stages"]["package"]["result"]["hash"]
    path, runs = write_spec(tmp_path / "file", SPEC), tmpfs / "runs"
    reached: set[str] = set()
    for size in SIZES_KB:
        assert _mount(tmpfs, "-o", f"remount,size={size}k")
        done = lode("run", path, "--runs", runs)
        assert done.returncode in (0, 2), done.stderr
        if done.returncode == 0:
            break
        assert "the disk is full" in done.stderr and "Traceback" not in done.stderr, done.stderr
        reached |= {stage for stage in ("data", "train", "evaluate", "package") if (runs / stage).is_dir()}
        assert not list(runs.rglob(".*.tmp")), "a file that was begun is left behind"
        for name in ("data", "train", "evaluate"):
            for manifest in runs.glob(f"{name}/*/manifest.json"):
                assert manifest.read_text().rstrip().endswith("}"), "half a manifest"
    assert reached >= {"data", "train"}, f"the disk was full in {reached} only"
    assert _mount(tmpfs, "-o", "remount,size=200m")
    assert lode_json("run", path, "--runs", runs)["stages"]["package"]["result"]["hash"] == expected


def test_the_message_names_the_space_that_the_data_need(tmpfs: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b,y\n" + "".join(f"{n},{n % 7},{'yes' if n % 3 else 'no'}\n" for n in range(40_000)))
    spec = {
        "name": "rows", "data": {"source": {"type": "csv", "path": "rows.csv"}, "memory": 1000},
        "outputs": {"y": {"type": "binary", "positive": "yes"}},
    }  # fmt: skip
    assert _mount(tmpfs, "-o", "remount,size=300k")
    done = lode("data", write_spec(tmp_path, spec), "--runs", tmpfs / "runs")
    assert done.returncode == 2 and "the disk is full, about 5" in done.stderr and "MB are needed, " in done.stderr, done.stderr
    assert not [path for path in (tmpfs / "runs").rglob("*") if path.suffix in (".arrow", ".tmp")]
