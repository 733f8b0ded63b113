"""Arrays on disk: one .npy file per input, decoded once, memory-mapped ever after. Used by lode/data/preprocess.py."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from lode.core.errors import DataError
from lode.core.types import TensorSpec
from lode.data.threads import Together

Progress = Callable[[str, int, int, dict[str, float]], None]
"""progress(what, done, total, figures), as in the model layer."""

_INDEX = "index.json"


def no_progress(what: str, done: int, total: int, figures: dict[str, float]) -> None:
    """Says nothing."""


def write_chunks(
    chunks: Iterable[Mapping[str, np.ndarray]],
    specs: Mapping[str, TensorSpec],
    num_rows: int,
    folder: Path,
    together: Together,
    progress: Progress = no_progress,
) -> dict[str, np.ndarray]:
    """Write chunks of rows one after another and map them back. Files get their names when they are whole; the index comes last.
    They can be made again at any time, so nothing waits for the disk.

    chunks: per input, arrays (n, *spec.shape); together num_rows rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _INDEX).unlink(missing_ok=True)
    files = {name: folder / f"{place:04d}.npy" for place, name in enumerate(specs)}
    temporary = {name: path.with_name(f".{path.name}.{os.getpid()}.tmp") for name, path in files.items()}
    try:
        for name, spec in specs.items():
            _write_header(temporary[name], spec, num_rows)
        done = 0
        for arrays in chunks:
            count = len(next(iter(arrays.values()))) if arrays else 0
            jobs = [(temporary[name], array, specs[name], count) for name, array in arrays.items()]
            together(lambda job: _append(*job), jobs)
            done += count
            progress("arrays", done, num_rows, {})
        assert done == num_rows or not specs, f"{done} rows came, {num_rows} were counted"
        for name, path in files.items():
            os.replace(temporary[name], path)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
    index = folder / f".{_INDEX}.{os.getpid()}.tmp"
    index.write_text(json.dumps([{"name": name, "file": path.name} for name, path in files.items()]), "utf-8")
    os.replace(index, folder / _INDEX)
    return open_arrays(folder)


def _write_header(path: Path, spec: TensorSpec, num_rows: int) -> None:
    descr = np.lib.format.dtype_to_descr(np.dtype(spec.dtype))
    with path.open("wb") as file:
        header = {"descr": descr, "fortran_order": False, "shape": (num_rows, *spec.shape)}
        np.lib.format.write_array_header_1_0(file, header)


def _append(path: Path, array: np.ndarray, spec: TensorSpec, num_rows: int) -> None:
    """Plain writes: a mapped file costs a fault per page. Closed in between, for tables have more columns than a process has files."""
    assert array.shape == (num_rows, *spec.shape), f"found shape {array.shape}, {(num_rows, *spec.shape)} is needed"
    # Not "ab": a thread that comes late must not make the file again which the first error removed.
    with path.open("r+b", buffering=0) as file:
        file.seek(0, os.SEEK_END)
        rest = np.ascontiguousarray(array, dtype=np.dtype(spec.dtype)).reshape(-1).view(np.uint8).data
        while rest:
            rest = rest[file.write(rest) :]


def open_arrays(folder: Path) -> dict[str, np.ndarray]:
    """The arrays that `write_chunks` wrote, mapped, read only.

    Errors: DataError where they are missing or were not finished.
    """
    try:
        index = json.loads((folder / _INDEX).read_text("utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder}: found no finished arrays. Run the command that writes them again.") from None
    return {entry["name"]: _mapped(folder / entry["file"]) for entry in index}


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:  # nothing can be mapped where there are no rows
        return np.load(path, allow_pickle=False)
