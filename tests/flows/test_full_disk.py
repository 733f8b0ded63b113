"""A disk that fills up in every step: the message names the space, nothing half-written is taken for whole, and the same command goes on.

Uses a small tmpfs; where none can be mounted (no root) the tests say so and skip.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from lode.core import disk
from lode.core.errors import DataError
from lode.data import snapshot
from lode.pipeline.catalog import Catalog
from lode.pipeline.run import run
from tests.flows.flow import BREAST_CANCER, lode, lode_json, write_spec

SPEC = {**BREAST_CANCER, "model": {"type": "auto", "candidates": ["constant", "linear", "trees"]}}
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


def test_wherever_a_wide_part_stops_for_want_of_room_the_error_says_so_and_nothing_is_left(tmpfs: Path) -> None:
    """Of what describes the columns polars only says "transport error"."""
    frame = pl.DataFrame({f"c{number}": [number / 7] * 20 for number in range(400)}).lazy()
    told, whole = 0, False
    for size in range(16, 400, 4):
        assert _mount(tmpfs, "-o", f"remount,size={size}k")
        try:
            snapshot.write_rows(frame, tmpfs / "train.parquet")
        except OSError as error:
            assert disk.is_full(error), error
            assert not list(tmpfs.iterdir())
            told += "transport error" in str(error.__context__)
        else:
            whole = True
            break
    assert whole and pl.read_parquet(tmpfs / "train.parquet").equals(frame.collect())
    assert told, "the disk was never full where polars does not say so"


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


def test_a_record_that_finds_no_room_is_told_with_the_place_and_leaves_nothing(tmpfs: Path, tmp_path: Path) -> None:
    path = write_spec(tmp_path, SPEC)
    assert _mount(tmpfs, "-o", "remount,size=4m")
    lode_json("data", path, "--runs", tmpfs / "runs")
    with pytest.raises(OSError, match="No space left"), (tmpfs / "rest").open("wb") as rest:
        while True:
            rest.write(bytes(4096))
            rest.flush()
    done = lode("data", path, "--runs", tmpfs / "runs")
    assert done.returncode == 2 and f"{tmpfs / 'runs'}: the disk is full, about 200.0 kB are needed, 0 B are free" in done.stderr, (
        done.stderr
    )
    assert not list((tmpfs / "runs").rglob(".*.tmp"))


def test_what_stopped_a_stage_is_told_though_there_is_no_room_to_note_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def end_run(self: Catalog, run_id: str, status: str, headline: str | None) -> None:
        raise disk.full_error(tmp_path, 200_000)

    monkeypatch.setattr(Catalog, "end_run", end_run)
    (tmp_path / "rows.csv").write_text("a,y\n1,no\n")
    spec = {"name": "rows", "data": {"source": {"type": "csv", "path": "rows.csv"}}, "outputs": {"z": {"type": "number"}}}
    with pytest.raises(DataError, match="z"):
        run(write_spec(tmp_path, spec), until="data")


def test_an_exported_table_that_stops_for_want_of_room_says_so(tmpfs: Path) -> None:
    """polars says "transport error" where the disk is full while it writes what describes the columns."""
    wide = pl.DataFrame({f"column-{number}": [number] for number in range(400)}).lazy()
    for size in range(16, 72, 8):
        assert _mount(tmpfs, "-o", f"remount,size={size}k")
        with pytest.raises(OSError, match="No space left"):
            snapshot.sink_plain(wide, tmpfs / "wide.parquet")
        (tmpfs / "wide.parquet").unlink(missing_ok=True)
