"""Arrays on disk: one .npy file per input, decoded once, memory-mapped ever after. Used by lode/data/preprocess.py."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from lode.core.errors import DataError
from lode.core.types import TensorSpec

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
    progress: Progress = no_progress,
) -> dict[str, np.ndarray]:
    """Write chunks of rows one after another and map them back. Files get their names when they are whole; the index comes last.

    chunks: per input, arrays (n, *spec.shape); together num_rows rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _INDEX).unlink(missing_ok=True)
    files = {name: folder / f"{place:04d}.npy" for place, name in enumerate(specs)}
    temporary = {name: path.with_name(f".{path.name}.{os.getpid()}.tmp") for name, path in files.items()}
    try:
        maps = {
            name: np.lib.format.open_memmap(temporary[name], "w+", np.dtype(spec.dtype), (num_rows, *spec.shape))
            for name, spec in specs.items()
        }
        done = 0
        for arrays in chunks:
            count = len(next(iter(arrays.values()))) if arrays else 0
            for name, array in arrays.items():
                maps[name][done : done + count] = array
            done += count
            progress("arrays", done, num_rows, {})
        assert done == num_rows or not specs, f"{done} rows came, {num_rows} were counted"
        for array in maps.values():
            array.flush()
        maps.clear()
        for name, path in files.items():
            os.replace(temporary[name], path)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
    index = folder / f".{_INDEX}.{os.getpid()}.tmp"
    index.write_text(json.dumps([{"name": name, "file": path.name} for name, path in files.items()]), "utf-8")
    os.replace(index, folder / _INDEX)
    return open_arrays(folder)


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
