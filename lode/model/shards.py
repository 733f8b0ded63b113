"""Checkpoints of divided weights: each process writes its own part, in a thread, and no process ever holds the whole.

A checkpoint is a folder `checkpoint-<step>` with one safetensors file for each process, which says where its parts lie in the whole
(torch's own distributed checkpoints are pickles, which lode neither writes nor reads). `checkpoint.json` names the folder that counts:
the first process replaces it once every part is on disk, and deletes the one before then. Any number of processes may read it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lode.core.disk import write_whole
from lode.core.errors import ArtifactError
from lode.model import checkpoint as files
from lode.model.checkpoint import Checkpoint
from lode.model.divide import joined, region

POINTER = "checkpoint.json"
FORMAT = 1
_LOOK_S = 0.01


class ShardWriter:
    """Same methods as `lode.model.checkpoint.Writer`, called by every process with its own part."""

    def __init__(self, folder: Path, rank: int, size: int) -> None:
        self.folder, self.rank, self.size = folder, rank, size
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._written: Future[None] | None = None
        if rank == 0:
            folder.mkdir(parents=True, exist_ok=True)
            _clean(folder, _named(folder))  # what a killed run left half written

    def submit(self, checkpoint: Checkpoint) -> None:
        """Start writing. The tensors must be copies that nobody changes; errors of an earlier write are raised."""
        self.wait()
        self._written = self._pool.submit(self._write, checkpoint)

    def wait(self) -> None:
        """Until this process's part is on disk (in the first process: everything). Errors: whatever the write raised (a full disk)."""
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def join(self) -> None:
        """As `wait`, but raises nothing, and does not wait for the other processes, which may be gone."""
        if self._written is not None and self.rank:
            wait([self._written])

    def _write(self, checkpoint: Checkpoint) -> None:
        # After a deadline a step is written twice, in its epoch and after it: parts of the two must not mix
        name = f"checkpoint-{int(checkpoint.record['step']):09d}-{int(checkpoint.record.get('epoch', 0))}"
        place = self.folder / name
        place.mkdir(parents=True, exist_ok=True)
        parts, where = _parts(checkpoint.tensors, is_first=self.rank == 0)
        path = place / _file(self.rank, self.size)
        partial = path.with_suffix(".tmp")
        save_file(parts, partial, {"where": json.dumps(where)})
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
        if self.rank == 0:
            self._publish(name, checkpoint.record)

    def _publish(self, name: str, record: Mapping[str, Any]) -> None:
        """Wait for the others' parts, then make it the one that counts. A killed process is never waited for: the agent ends all."""
        missing = [self.folder / name / _file(rank, self.size) for rank in range(self.size)]
        while missing := [path for path in missing if not path.exists()]:
            time.sleep(_LOOK_S)
        pointer = {"format": FORMAT, "folder": name, "size": self.size, "record": dict(record)}
        write_whole(self.folder / POINTER, [json.dumps(pointer, sort_keys=True).encode()])
        (self.folder / files.FILE).unlink(missing_ok=True)
        # Others, whose parts were done sooner, may be at the next one already
        for place in self.folder.glob("checkpoint-*"):
            if _order(place.name) < _order(name):
                shutil.rmtree(place, ignore_errors=True)


def read(folder: Path, like: Callable[[str], Any]) -> Checkpoint | None:
    """The newest checkpoint of a folder, of one process or of several, or None.

    like: the tensor of a name as this process holds it: of a divided one only its own part is read; None for whole.
    Errors: ArtifactError for files that cannot be read.
    """
    pointer = _pointer(folder)
    whole = files.read(folder)
    if pointer is None or (whole is not None and whole.record["step"] > pointer["record"]["step"]):
        return None if whole is None else Checkpoint(_divided(whole.tensors, like), whole.record)
    place = folder / str(pointer["folder"])
    try:
        with ExitStack() as stack:
            opened = [
                stack.enter_context(safe_open(place / _file(rank, pointer["size"]), framework="pt"))
                for rank in range(pointer["size"])
            ]
            return Checkpoint(_assembled(opened, like), pointer["record"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{place}: not a whole checkpoint ({error}). Delete {folder / POINTER} to train from the start."
        ) from error


def remove(folder: Path) -> None:
    """Forget checkpoints of several processes: one process has written its own."""
    (folder / POINTER).unlink(missing_ok=True)
    _clean(folder, "")


def _parts(tensors: Mapping[str, Any], is_first: bool) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What this process writes, and where each part lies: {"shape": of the whole, "start": of the part}. Whole tensors are the first's."""
    parts: dict[str, torch.Tensor] = {}
    where: dict[str, Any] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        is_divided = hasattr(tensor, "to_local")
        own = tensor.to_local() if is_divided else tensor
        if not (is_divided or is_first) or (is_divided and not own.numel() and tensor.numel()):
            continue
        copied = own.detach().cpu().contiguous()
        parts[name] = copied.clone() if copied.data_ptr() in seen else copied  # safetensors refuses shared memory
        seen.add(copied.data_ptr())
        where[name] = {"shape": list(tensor.shape), "start": list(region(tensor)[0])}
    return parts, where


def _assembled(opened: list[Any], like: Callable[[str], Any]) -> dict[str, torch.Tensor]:
    """Every tensor, or this process's part of it, from the parts that overlap it."""
    wheres = [json.loads(file.metadata()["where"]) for file in opened]
    made: dict[str, torch.Tensor] = {}
    for name in dict.fromkeys(name for where in wheres for name in where):
        owners = [(file, where[name]) for file, where in zip(opened, wheres, strict=True) if name in where]
        shape, target = owners[0][1]["shape"], like(name)
        start, size = ((0,) * len(shape), tuple(shape)) if target is None else region(target)
        first = owners[0][0].get_slice(name)
        local = torch.empty(size, dtype=_dtype(owners[0][0], name, first))
        for file, entry in owners:
            _fill(local, start, file.get_slice(name), entry["start"])
        made[name] = local if target is None else joined(local, target)
    return made


def _dtype(file: Any, name: str, part: Any) -> torch.dtype:
    shape = part.get_shape()
    found: torch.dtype = (part[tuple(slice(0, 1) for _ in shape)] if shape else file.get_tensor(name)).dtype
    return found


def _fill(local: torch.Tensor, start: tuple[int, ...], part: Any, begins: list[int]) -> None:
    """Copy what a part of a file and a part of a process have in common."""
    shape = part.get_shape()
    if not shape:
        local.copy_(part[...])
        return
    low = [max(one, other) for one, other in zip(start, begins, strict=True)]
    ends = zip(start, local.shape, begins, shape, strict=True)
    high = [min(at + length, begin + size) for at, length, begin, size in ends]
    if all(one < other for one, other in zip(low, high, strict=True)):
        from_file = tuple(slice(one - begin, other - begin) for one, other, begin in zip(low, high, begins, strict=True))
        into = tuple(slice(one - at, other - at) for one, other, at in zip(low, high, start, strict=True))
        local[into] = part[from_file]


def _divided(tensors: Mapping[str, torch.Tensor], like: Callable[[str], Any]) -> dict[str, torch.Tensor]:
    """This process's parts of whole tensors."""
    made: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        target = like(name)
        if target is None or not hasattr(target, "to_local"):
            made[name] = tensor
            continue
        start, size = region(target)
        cut = tuple(slice(at, at + length) for at, length in zip(start, size, strict=True))
        made[name] = joined(tensor[cut].contiguous(), target)
    return made


def _pointer(folder: Path) -> dict[str, Any] | None:
    path = folder / POINTER
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT or Path(found["folder"]).name != found["folder"]:
            raise ValueError(f"format {found['format']}")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: not a checkpoint ({error}). Delete it to train from the start.") from error
    return found


def _named(folder: Path) -> str:
    """The folder that counts; empty where none does."""
    try:
        return str(json.loads((folder / POINTER).read_text(encoding="utf-8"))["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _clean(folder: Path, but: str) -> None:
    for place in folder.glob("checkpoint-*"):
        if place.name != but:
            shutil.rmtree(place, ignore_errors=True)


def _order(name: str) -> tuple[int, ...]:
    """Step and epoch in a folder's name."""
    return tuple(int(word) for word in name.split("-")[1:])


def _file(rank: int, size: int) -> str:
    return f"part-{rank:05d}-of-{size:05d}.safetensors"
