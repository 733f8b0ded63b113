"""Files of sources, looked at without reading them: how a message calls a source, and whether its files are still what they were.

Read lode/pipeline/origins.py next: what changed since the last run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lode.core import disk
from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.signature import OptionType
from lode.core.types import Component
from lode.data.place import Place

Stamp = tuple[int, int, int]
"""Bytes, time of the last change (ns), and the file's number; of a folder: sum, latest, and how many files."""

_PACKED = (".gz", ".zst", ".xz", ".zip", ".parquet")
_UNPACKED = 8
"""Packed files are about so many times as large when they are unpacked."""
_NAMES = ("path", "name", "url", "dataset", "id")
_WITHIN = ("table", "collection")


def label(component: Component) -> str:
    """What a source is called in messages: its path, or its address and table."""
    options = component.options
    first = next((str(options[name]) for name in _NAMES if isinstance(options.get(name), str)), component.type)
    within = next((f" {options[name]}" for name in _WITHIN if isinstance(options.get(name), str)), "")
    return first + within


def unpacked(name: object, num_bytes: int) -> int:
    """About how many bytes a file of this name and size has when it is unpacked."""
    return num_bytes * (_UNPACKED if str(name).lower().endswith(_PACKED) else 1)


def files_of(component: Component, place: Place) -> list[Path]:
    """Files and folders that a source and the sources in it name, as far as they are there."""
    found = []
    for path in _paths(component):
        try:
            found.append(place.resolve(path))
        except DataError:
            continue  # told by the source itself
    return found


def size(component: Component, place: Place) -> int:
    """Bytes of the files and folders that a source names, as they lie there."""
    return sum(found[0] for path in files_of(component, place) if (found := stamp(path)))


def stamp(path: Path) -> Stamp | None:
    """What changes when the file, or a file in the folder, is written; None where there is none."""
    try:
        if path.is_dir():
            return _folder_stamp(path)
        facts = path.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns, facts.st_ino


def _folder_stamp(folder: Path) -> Stamp:
    num_bytes = latest_ns = num_files = 0
    for parent, names in disk.walk(folder):
        for name in names:
            facts = os.lstat(Path(parent, name))
            num_bytes, latest_ns, num_files = num_bytes + facts.st_size, max(latest_ns, facts.st_mtime_ns), num_files + 1
    return num_bytes, latest_ns, num_files


def _paths(component: Component) -> Iterator[str]:
    options = REGISTRIES["source"].signature(component.type).options
    for name, value in component.options.items():
        if name in options and name != "secrets":
            yield from _named(value, options[name].type)


def _named(value: Any, kind: OptionType) -> Iterator[str]:
    if isinstance(value, Component):
        yield from _paths(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _named(item, kind)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _named(item, kind)
    elif isinstance(value, str) and _is_path(kind):
        yield value


def _is_path(kind: OptionType) -> bool:
    return kind.name == "FilePath" or any(_is_path(item) for item in kind.items)
