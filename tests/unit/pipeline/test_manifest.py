"""Stages are done once, a broken stage is done again, and one writer at a time holds a runs folder."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from lode.core.errors import ArtifactError, BusyError
from lode.pipeline.manifest import anonymous_memory_bytes, lock, locked, perform, read_manifest


def _work(calls: list[Path]):
    def work(folder: Path) -> dict[str, int]:
        calls.append(folder)
        (folder / "out.txt").write_text("made")
        (folder / ".scratch").mkdir(exist_ok=True)
        (folder / ".scratch" / "checkpoint").write_text("half")
        return {"answer": 42}

    return work


def test_a_stage_is_done_once_for_the_same_inputs(tmp_path: Path) -> None:
    calls: list[Path] = []
    first, one = perform(tmp_path, "data", {"a": 1}, {}, 0, _work(calls))
    second, two = perform(tmp_path, "data", {"a": 1}, {}, 0, _work(calls))
    assert len(calls) == 1 and first == second
    assert (one.cached, two.cached) == (False, True)
    assert two.result == {"answer": 42}


@pytest.mark.parametrize("change", [{"inputs": {"a": 2}}, {"parents": {"raw": "x"}}, {"seed": 1}])
def test_another_input_parent_or_seed_is_another_key(tmp_path: Path, change: dict) -> None:
    arguments = {"inputs": {"a": 1}, "parents": {}, "seed": 0}
    _, one = perform(tmp_path, "data", *arguments.values(), _work([]))
    _, two = perform(tmp_path, "data", *{**arguments, **change}.values(), _work([]))
    assert one.key != two.key


def test_the_manifest_says_what_was_written_and_leaves_scratch_out(tmp_path: Path) -> None:
    folder, manifest = perform(tmp_path, "data", {}, {}, 3, _work([]))
    assert list(manifest.outputs) == ["out.txt"]
    assert manifest.outputs["out.txt"]["bytes"] == 4
    assert not (folder / ".scratch").exists()
    assert manifest.seed == 3 and manifest.peak_memory_bytes > 0 and manifest.versions["python"]


def test_what_a_killed_process_left_half_written_is_thrown_away(tmp_path: Path) -> None:
    """Token files grow in a folder of their own: `.train.tmp`."""
    folder, _ = perform(tmp_path, "tokens", {}, {}, 0, _work([]))
    (folder / "manifest.json").unlink()
    (folder / ".train.tmp" / ".inner.tmp").mkdir(parents=True)
    (folder / ".train.tmp" / "tokens.npy").write_bytes(b"half")
    (folder / ".about.json.1.tmp").write_bytes(b"half")
    again, _ = perform(tmp_path, "tokens", {}, {}, 0, _work([]))
    assert again == folder and not list(folder.rglob(".*"))


def test_a_stage_whose_file_was_cut_short_is_done_again(tmp_path: Path) -> None:
    calls: list[Path] = []
    folder, _ = perform(tmp_path, "data", {}, {}, 0, _work(calls))
    (folder / "out.txt").write_text("ma")
    assert read_manifest(folder) is None
    perform(tmp_path, "data", {}, {}, 0, _work(calls))
    assert len(calls) == 2


def test_a_stage_that_died_is_done_again_in_the_same_folder(tmp_path: Path) -> None:
    def die(folder: Path) -> dict[str, int]:
        (folder / "half.txt").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        perform(tmp_path, "data", {}, {}, 0, die)
    seen: list[Path] = []
    folder, _ = perform(tmp_path, "data", {}, {}, 0, _work(seen))
    assert (folder / "half.txt").exists(), "what the killed try left is there for the next one"


def _hold(runs: Path, ready, done) -> None:
    with lock(runs, "lode run other.yaml"):
        ready.set()
        done.wait(20)


def test_the_second_run_on_a_folder_is_told_who_holds_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, ready, done))
    process.start()
    try:
        assert ready.wait(60)
        assert locked(tmp_path)
        with (
            pytest.raises(BusyError, match=rf"process {process.pid} .*lode run other.yaml.*--runs DIR"),
            lock(tmp_path, "lode run"),
        ):
            pass
    finally:
        done.set()
        process.join()
    with lock(tmp_path, "lode run"):
        pass
    assert not locked(tmp_path)


def test_anonymous_memory_grows_with_what_is_allocated() -> None:
    before = anonymous_memory_bytes()
    block = bytearray(b"x") * (64 * 2**20)
    assert anonymous_memory_bytes() - before > 32 * 2**20
    del block


def test_a_result_keeps_its_order_whether_it_was_made_or_read(tmp_path: Path) -> None:
    def work(folder: Path) -> dict[str, dict[str, int]]:
        return {"inputs": {"zeta": 1, "alpha": 2}}

    made = perform(tmp_path, "data", {}, {}, 0, work)[1]
    read = perform(tmp_path, "data", {}, {}, 0, work)[1]
    assert list(made.result["inputs"]) == list(read.result["inputs"]) == ["zeta", "alpha"]


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_where_runs_should_lie_is_told(tmp_path: Path, below: str) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n")
    told = r"rows\.csv.*: found no place for a folder of runs .* Name it with --runs DIR\."
    with pytest.raises(ArtifactError, match=told), lock(tmp_path / "rows.csv" / below, "lode run"):
        pass
    assert (tmp_path / "rows.csv").read_text() == "a,b\n"
