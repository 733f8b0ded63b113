"""The training state on disk: one safetensors file whose header holds a JSON record; written whole or not at all, never pickle."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lode.core.disk import write_whole
from lode.core.errors import ArtifactError

FILE = "checkpoint.safetensors"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """tensors: name -> tensor, on the CPU when read. record: JSON values (floats come back bit for bit)."""

    tensors: Mapping[str, torch.Tensor]
    record: Mapping[str, Any] = field(default_factory=dict)

    def part(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors under `prefix.`, without it."""
        start = prefix + "."
        return {name.removeprefix(start): tensor for name, tensor in self.tensors.items() if name.startswith(start)}


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the folder's checkpoint. A kill at any moment leaves the earlier one or this one."""
    folder.mkdir(parents=True, exist_ok=True)
    record = json.dumps({"format": FORMAT, **checkpoint.record}, sort_keys=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    write_whole(folder / FILE, [save(_unshared(tensors), {"record": record})], mark="")  # "": a killed one leaves no second copy


class Writer:
    """Writes checkpoints in a thread, one at a time, while training goes on. An error there is raised here, at the next call."""

    def __init__(self, folder: Path, after: Callable[[], None] | None = None) -> None:
        """after: called in the thread once a checkpoint is on disk."""
        self.folder, self._after = folder, after
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._written: Future[None] | None = None

    def submit(self, checkpoint: Checkpoint) -> None:
        """Start writing. The tensors must be copies that nobody changes; errors of an earlier write are raised."""
        self.wait()
        self._written = self._pool.submit(self._write, checkpoint)

    def _write(self, checkpoint: Checkpoint) -> None:
        write(self.folder, checkpoint)
        if self._after is not None:
            self._after()

    def wait(self) -> None:
        """Until everything is on disk. Errors: whatever the write raised (a full disk)."""
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def join(self) -> None:
        """As `wait`, but raises nothing: for the way out of another error; `wait` raises afterwards."""
        if self._written is not None:
            wait([self._written])


def read(folder: Path) -> Checkpoint | None:
    """The folder's checkpoint, or None where there is none. Errors: ArtifactError for a file that cannot be read."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads(file.metadata()["record"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - a file is no mapping
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path}: not a checkpoint ({error}). Delete it to train from the start.") from error
    if record.pop("format", None) != FORMAT:
        raise ArtifactError(
            f"{path}: written by another version of lode, allowed is format {FORMAT}. Delete it to train from the start."
        )
    return Checkpoint(tensors, record)


def _unshared(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies of later ones where tensors share memory (tied weights), which safetensors refuses."""
    seen: set[int] = set()
    out: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        out[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return out
