"""What a worker process needs to fit a model, as a folder: JSON, and arrays that are mapped into memory, never pickled.

Arrays that lie in a file already are not copied: the worker maps the same file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lode.core.disk import write_whole
from lode.core.types import Component, FlatSpec, TensorSpec
from lode.model.contracts import Examples, Shapes
from lode.model.training import Training

FILE = "parcel.json"
_ARRAY = "$array"


@dataclass(frozen=True, slots=True)
class Parcel:
    """family, tasks: as the file names them; states: what each task learnt. options: `train:` as a mapping.

    folder: where checkpoints lie. parent: the process that waits for the result.
    end_unix_s: when the time for the fit is over, or None: to start the processes, once or again, is part of it.
    watched: whether the parent answers after each epoch (`Context.watch`).
    """

    family: Component
    shapes: Shapes
    tasks: Mapping[str, Component]
    states: Mapping[str, Mapping[str, Any]]
    train: Examples
    stop: Examples | None
    unlabelled: Examples | None
    options: Mapping[str, Any]
    seed: int
    rounds: int | None
    device: str
    end_unix_s: float | None
    watched: bool
    folder: Path
    log_folder: Path | None
    parent: int


def pack(parcel: Parcel, folder: Path) -> None:
    """Write it."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes, files = parcel.shapes, _Files(folder)
    record = {
        "family": parcel.family.to_json(),
        "shapes": {
            "inputs": {name: spec.to_json() for name, spec in shapes.inputs.items()},
            "flat": shapes.flat.to_json(),
            "encoders": {name: part.to_json() for name, part in shapes.encoders.items()},
            "augments": {name: [part.to_json() for part in parts] for name, parts in shapes.augments.items()},
            "words": {name: list(words) for name, words in shapes.words.items()},
        },
        "tasks": {name: part.to_json() for name, part in parcel.tasks.items()},
        "states": files.without_arrays(parcel.states),
        "train": _examples(parcel.train, files),
        "stop": None if parcel.stop is None else _examples(parcel.stop, files),
        "unlabelled": None if parcel.unlabelled is None else _examples(parcel.unlabelled, files),
        "options": dict(parcel.options),
        "context": {
            "seed": parcel.seed, "rounds": parcel.rounds, "device": parcel.device, "end_unix_s": parcel.end_unix_s,
            "watched": parcel.watched, "parent": parcel.parent, "folder": str(parcel.folder),
            "log_folder": None if parcel.log_folder is None else str(parcel.log_folder),
        },
    }  # fmt: skip
    write_whole(folder / FILE, [json.dumps(record).encode()])


def unpack(folder: Path) -> Parcel:
    """Read it, arrays mapped."""
    record = json.loads((folder / FILE).read_text(encoding="utf-8"))
    shapes, context = record["shapes"], record["context"]
    return Parcel(
        family=Component.from_json(record["family"]),
        shapes=Shapes(
            {name: TensorSpec.from_json(spec) for name, spec in shapes["inputs"].items()},
            FlatSpec.from_json(shapes["flat"]),
            {name: Component.from_json(part) for name, part in shapes["encoders"].items()},
            {name: tuple(Component.from_json(part) for part in parts) for name, parts in shapes["augments"].items()},
            shapes["words"],
        ),
        tasks={name: Component.from_json(part) for name, part in record["tasks"].items()},
        states=_with_arrays(record["states"]),
        train=_unpacked(record["train"]),
        stop=None if record["stop"] is None else _unpacked(record["stop"]),
        unlabelled=None if record["unlabelled"] is None else _unpacked(record["unlabelled"]),
        options=record["options"],
        seed=context["seed"],
        rounds=context["rounds"],
        device=context["device"],
        end_unix_s=context["end_unix_s"],
        watched=context["watched"],
        folder=Path(context["folder"]),
        log_folder=None if context["log_folder"] is None else Path(context["log_folder"]),
        parent=context["parent"],
    )


def training_options(training: Training) -> dict[str, Any]:
    """A `Training` as JSON."""
    found = {name: getattr(training, name) for name in training.__dataclass_fields__ if getattr(training, name) is not None}
    return {name: value.to_json() if isinstance(value, Component) else value for name, value in found.items()}


def training_of(options: Mapping[str, Any]) -> Training:
    """What `training_options` gave."""
    found = dict(options)
    if "pretrain" in found:
        found["pretrain"] = Component.from_json(found["pretrain"])
    return Training(**found)


def _examples(examples: Examples, files: _Files) -> dict[str, Any]:
    assert examples.flat is None, "families that the loop fits read arrays"
    arrays = {name: files.add(array) for name, array in examples.arrays.items()}
    return {
        "num_rows": examples.num_rows,
        "arrays": arrays,
        "targets": {name: files.add(array) for name, array in examples.targets.items()},
    }


def _unpacked(record: Mapping[str, Any]) -> Examples:
    arrays, targets = ({name: _mapped(entry) for name, entry in record[part].items()} for part in ("arrays", "targets"))
    return Examples(record["num_rows"], arrays, None, targets)


class _Files:
    """Numbers the arrays of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, 0

    def add(self, array: np.ndarray) -> dict[str, Any]:
        """Where the array lies: in the file that it is mapped from, else in one of its own."""
        found = _place(array)
        if found is None:
            path = self.folder / f"{self.number}.bin"
            self.number += 1
            with path.open("wb") as file:
                np.ascontiguousarray(array).tofile(file)
            found = str(path), 0
        return {"file": found[0], "offset": found[1], "dtype": array.dtype.str, "shape": list(array.shape)}

    def without_arrays(self, value: Any) -> Any:
        """JSON; arrays inside are written to files."""
        if isinstance(value, np.ndarray):
            return {_ARRAY: self.add(value)}
        if isinstance(value, Mapping):
            return {str(key): self.without_arrays(entry) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [self.without_arrays(entry) for entry in value]
        return value.item() if isinstance(value, np.generic) else value


def _place(array: np.ndarray) -> tuple[str, int] | None:
    """File and byte offset of an array that is a run of rows of a mapped file."""
    root: Any = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    if not isinstance(root, np.memmap) or not array.flags.c_contiguous or root.filename is None:
        return None
    return os.fspath(root.filename), int(root.offset) + array.ctypes.data - root.ctypes.data


def _mapped(entry: Mapping[str, Any]) -> np.ndarray:
    shape = tuple(entry["shape"])
    if not np.prod(shape):
        return np.zeros(shape, np.dtype(entry["dtype"]))
    return np.memmap(entry["file"], np.dtype(entry["dtype"]), "r", entry["offset"], shape)


def _with_arrays(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {_ARRAY}:
            return np.array(_mapped(value[_ARRAY]))
        return {key: _with_arrays(entry) for key, entry in value.items()}
    return [_with_arrays(entry) for entry in value] if isinstance(value, list) else value
