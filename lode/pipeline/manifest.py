"""Stages as content-addressed folders: `runs/<stage>/<key>/`, done when `manifest.json` lies in it.

The key is the hash of everything that decides the result. Work already done for a key is not done again; a killed stage leaves a
folder without a manifest, which the same command continues. `lock` lets one writer at a time into a runs folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import resource
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import polars as pl
from safetensors import SafetensorError

from lode.core import disk
from lode.core.errors import ArtifactError, BusyError, reason
from lode.data.storage import blocks
from lode.pipeline.state import read_json, write_json

FORMAT = 2
"""Goes up when a stage's code changes what it writes for the same inputs; then everything is done anew."""

_PACKAGES = ("lodeml", "torch", "numpy", "polars", "scikit-learn", "lightgbm", "safetensors")
_SAMPLE_EVERY_S = 0.05
_PATIENCE_S = 0.2


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one stage did. `inputs` decide `key`; the rest is what was seen.

    outputs: file -> {"sha256", "bytes"}, paths relative to the stage's folder.
    parents: stage -> key of the stages that it read.
    peak_memory_bytes: most anonymous memory of the process while the stage ran (mapped files apart; on macOS the resident set).
    before_memory_bytes: what the process had of it when the stage began.
    """

    stage: str
    key: str
    inputs: Mapping[str, Any]
    parents: Mapping[str, str]
    outputs: Mapping[str, Any]
    result: Mapping[str, Any]
    seed: int
    started: str
    seconds: float
    peak_memory_bytes: int
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]
    format: int = FORMAT
    before_memory_bytes: int = 0
    cached: bool = field(default=False, compare=False)


def hash_json(record: Any) -> str:
    """sha256 (hex) of canonical JSON."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(folder: Path, names: list[str]) -> dict[str, Any]:
    """File -> {"sha256", "bytes"} for the named files under `folder`."""
    return {name: {"sha256": hash_file(folder / name), "bytes": (folder / name).stat().st_size} for name in sorted(names)}


def stage_key(stage: str, inputs: Mapping[str, Any], parents: Mapping[str, str], seed: int) -> str:
    """The hash of everything that decides a stage's result."""
    # Another version of lode may decide otherwise for the same file: it does its own work.
    code = {"format": FORMAT, "lode": versions().get("lodeml")}
    return hash_json({"stage": stage, "inputs": inputs, "parents": parents, "seed": seed, "code": code})


def stage_folder(runs: Path, stage: str, key: str) -> Path:
    """Where a stage with this key lies."""
    return runs / stage / key[:16]


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a finished stage whose files are all there with their sizes, else None."""
    path = folder / "manifest.json"
    if not path.is_file():
        return None
    record = read_json(path)
    if record.get("format") != FORMAT:
        return None
    manifest = Manifest(**{**record, "cached": True})
    return manifest if all(_has(folder / name, facts["bytes"]) for name, facts in manifest.outputs.items()) else None


def _has(path: Path, num_bytes: int) -> bool:
    """Whether a file is there with its size, or the list of blocks that it was packed into (lode.data.storage.blocks)."""
    if path.is_file():
        return path.stat().st_size == num_bytes
    listing = blocks.list_of(path)
    return listing.is_file() and bool(blocks.read_list(listing)["bytes"] == num_bytes)


def perform(
    runs: Path,
    stage: str,
    inputs: Mapping[str, Any],
    parents: Mapping[str, str],
    seed: int,
    work: Callable[[Path], Mapping[str, Any]],
    needed_bytes: int | None = None,
) -> tuple[Path, Manifest]:
    """Do the stage's work in its folder unless it is done. `work(folder)` may find what a killed try left there.

    Returns the folder and the manifest (`cached` says that nothing was done). needed_bytes: about how much the stage writes, for the
    message where the disk is full. Errors: DiskFullError; files that were begun are removed, those that are whole stay.
    """
    key = stage_key(stage, inputs, parents, seed)
    folder = stage_folder(runs, stage, key)
    found = read_manifest(folder)
    if found is not None:
        os.utime(folder)
        return folder, found
    try:
        return _performed(folder, stage, key, inputs, parents, seed, work)
    except (OSError, RuntimeError, pl.exceptions.PolarsError, sqlite3.Error, SafetensorError) as error:
        if not disk.is_full(error):
            raise
        _remove_unfinished(folder)
        raise disk.full_error(folder, needed_bytes) from error


def _remove_unfinished(folder: Path) -> None:
    """Files and folders that were never given their name."""
    for path in sorted(folder.rglob(".*.tmp")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _performed(
    folder: Path,
    stage: str,
    key: str,
    inputs: Mapping[str, Any],
    parents: Mapping[str, str],
    seed: int,
    work: Callable[[Path], Mapping[str, Any]],
) -> tuple[Path, Manifest]:
    folder.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(folder)  # of a process that was killed: this one has the lock
    started, begin_s = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    before_bytes = anonymous_memory_bytes()
    with _peak_memory() as peak:
        result = work(folder)
    # A file or folder that starts with a dot is scratch (checkpoints, memory maps): never a part of the result.
    shutil.rmtree(folder / ".scratch", ignore_errors=True)
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    names = [name for name in names if not any(part.startswith(".") for part in Path(name).parts) and name != "manifest.json"]
    manifest = Manifest(
        stage=stage, key=key, inputs=inputs, parents=parents, outputs=hash_files(folder, names), result=result, seed=seed,
        started=started, seconds=round(time.monotonic() - begin_s, 3), peak_memory_bytes=peak[0], versions=versions(),
        hardware=hardware(), before_memory_bytes=before_bytes,
    )  # fmt: skip
    record = asdict(manifest)
    del record["cached"]
    # Not sorted: columns and outputs have an order. What the next stage sees is what it would read in another process.
    write_json(folder / "manifest.json", record, sort_keys=False)
    return folder, Manifest(**read_json(folder / "manifest.json"))


def versions() -> dict[str, str]:
    """Python's and the packages' versions that shape a result."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """The machine, as far as it shapes a result or a time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"machine": platform.machine(), "system": platform.system(), "cores": cores, "memory_bytes": memory}


@contextmanager
def lock(runs: Path, command: str) -> Iterator[None]:
    """Hold the runs folder for writing. The kernel frees it when the process ends, however it ends.

    Errors: BusyError naming who holds it; ArtifactError where there can be no such folder.
    """
    try:
        runs.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, FileNotFoundError, PermissionError) as error:
        raise ArtifactError(
            f"{runs}: found no place for a folder of runs ({reason(error)}), allowed: one that can be written. Name it with --runs DIR."
        ) from error
    with (runs / disk.LOCK).open("a+") as file:
        if not _take(file):
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise BusyError(
                f"{runs}: in use by {holder}. Wait for it to end, or give this run a folder of its own with --runs DIR."
            )
        file.seek(0)
        file.truncate()
        file.write(
            f"{disk.HELD_BY}{os.getpid()} on {platform.node()} ({command}), since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n"
        )
        file.flush()
        yield


@contextmanager
def lock_in_turn(runs: Path, command: str, say: Callable[[str], None]) -> Iterator[None]:
    """`lock`, waited for as long as somebody else holds it; says once for whom."""
    with ExitStack() as stack:
        told = False
        while True:
            try:
                stack.enter_context(lock(runs, command))
                break
            except BusyError as error:
                if not told:
                    say(f"waiting: {error}")
                told = True
                time.sleep(_PATIENCE_S)
        yield


def locked(runs: Path) -> bool:
    """Whether a process holds the runs folder at this moment."""
    path = runs / disk.LOCK
    if not path.is_file():
        return False
    with path.open("a+") as file:
        return not _take(file, tries=1)


def _take(file: IO[str], tries: int = 5) -> bool:
    """Try a few times: `locked` may hold it for an instant only to look."""
    for attempt in range(tries):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt + 1 < tries:
                time.sleep(0.02)
        else:
            return True
    return False


@contextmanager
def _peak_memory() -> Iterator[list[int]]:
    """A one-element list that holds the most anonymous memory seen (bytes), sampled in a thread."""
    peak, stop = [anonymous_memory_bytes()], threading.Event()

    def watch() -> None:
        while not stop.wait(_SAMPLE_EVERY_S):
            peak[0] = max(peak[0], anonymous_memory_bytes())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def anonymous_memory_bytes() -> int:
    """Anonymous memory of this process now; where the system does not tell (macOS), the largest resident set so far."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
