"""Fitted state on disk: JSON for what a person can read, safetensors for arrays. Same state, same bytes; never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from lode.core import disk
from lode.core.errors import ArtifactError

_ARRAY = "$array"


def write_json(path: Path, record: Any, *, sort_keys: bool = True) -> None:
    """Write JSON so that a reader never sees half of it; canonical, unless the order of the keys says something."""
    write_bytes(path, (json.dumps(record, sort_keys=sort_keys, indent=1, ensure_ascii=False) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """All of it or nothing."""
    disk.write_whole(path, [content])


def read_json(path: Path) -> Any:
    """Read JSON. Errors: ArtifactError where the file is missing or damaged."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path}: missing. The folder is incomplete; run the command that made it again.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: damaged ({error}). Delete the folder and run the command that made it again.") from None


def save_state(state: Mapping[str, Any], folder: Path, name: str) -> None:
    """Write `name.json`, and `name.safetensors` where the state holds arrays."""
    arrays: dict[str, np.ndarray] = {}
    record = _split(state, "", arrays)
    if arrays:
        write_bytes(folder / f"{name}.safetensors", save(arrays))
    write_json(folder / f"{name}.json", record)


def load_state(folder: Path, name: str) -> dict[str, Any]:
    """Read what `save_state` wrote."""
    record = read_json(folder / f"{name}.json")
    path = folder / f"{name}.safetensors"
    arrays = load_file(path) if path.is_file() else {}
    loaded: dict[str, Any] = _join(record, arrays)
    return loaded


def _split(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError(f"state {path!r} is an object array; keep words in JSON lists")
        arrays[path] = np.ascontiguousarray(value)
        return {_ARRAY: path}
    if isinstance(value, Mapping):
        return {str(key): _split(entry, f"{path}/{key}", arrays) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_split(entry, f"{path}/{index}", arrays) for index, entry in enumerate(value)]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _join(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        if set(value) == {_ARRAY}:
            return arrays[value[_ARRAY]]
        return {key: _join(entry, arrays) for key, entry in value.items()}
    if isinstance(value, list):
        return [_join(entry, arrays) for entry in value]
    return value
