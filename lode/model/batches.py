"""Rows in arrays (memory-mapped or not) to batches on the device. An index decides which; there are no workers and no collate.

A chunk of batches is gathered with one copy per array and cut into views, so that a step does not index at all.
Small data move to a GPU once; large ones are gathered on the host, in the order of the file, and pinned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lode.core.types import TensorSpec
from lode.model.contracts import Examples

_CHUNK_BYTES = 16 << 20
_CHUNK_BATCHES = 64
_SORT_BYTES = 1 << 30


@dataclass(slots=True)
class Batch:
    """inputs: (B, *shape) by input; targets: (B,) by output.

    keep: for outputs where some rows have no target, the positions (int64) of those that have one; others are absent.
    """

    inputs: dict[str, torch.Tensor]
    targets: dict[str, torch.Tensor]
    keep: dict[str, torch.Tensor]
    num_rows: int


class Rows:
    """The rows of one split, ready to be cut into batches."""

    def __init__(self, examples: Examples, specs: Mapping[str, TensorSpec], device: str) -> None:
        self.num_rows = examples.num_rows
        self.device = torch.device(device)
        self._host = {name: examples.arrays[name] for name in specs} | dict(examples.targets)
        self._inputs = tuple(specs)
        self._outputs = tuple(examples.targets)
        self._missing = {name: gaps for name, gaps in map(_gaps, examples.targets.items()) if gaps is not None}
        self._lengths = {name: _lengths(examples.arrays[name]) for name, spec in specs.items() if spec.ragged == (0,)}
        self._resident: dict[str, torch.Tensor] = {}
        if self.device.type == "cuda" and self.num_bytes < torch.cuda.mem_get_info(self.device)[0] // 4:
            self._resident = {name: _tensor(np.ascontiguousarray(a)).to(self.device) for name, a in self._host.items()}

    @property
    def num_bytes(self) -> int:
        return sum(array.nbytes for array in self._host.values())

    @property
    def trainable(self) -> np.ndarray:
        """Rows (int64) with at least one target."""
        if len(self._missing) < len(self._outputs) or not self._outputs:
            return np.arange(self.num_rows)
        return np.flatnonzero(~np.logical_and.reduce(list(self._missing.values())))

    def chunk_batches(self, batch: int) -> int:
        """How many batches to gather at once: up to 16 MiB, 64 at most."""
        row_bytes = max(1, self.num_bytes // max(self.num_rows, 1))
        return int(min(_CHUNK_BATCHES, max(1, _CHUNK_BYTES // (row_bytes * batch))))

    def batches(self, index: np.ndarray, batch: int) -> Iterator[Batch]:
        """Consecutive batches of the rows at `index` (int64). Texts are cut to the longest row of their batch."""
        gathered = {name: self._gather(name, index) for name in self._host}
        pieces = {name: tensor.split(batch) for name, tensor in gathered.items()}
        for number, start in enumerate(range(0, len(index), batch)):
            rows = index[start : start + batch]
            inputs = {name: pieces[name][number] for name in self._inputs}
            for name, lengths in self._lengths.items():
                inputs[name] = inputs[name][:, : max(1, int(lengths[rows].max()))]
            targets = {name: pieces[name][number] for name in self._outputs}
            keep = {name: self._keep(gaps[rows]) for name, gaps in self._missing.items() if gaps[rows].any()}
            yield Batch(inputs, targets, keep, len(rows))

    def by_length(self, order: np.ndarray, batch: int, random: np.random.Generator) -> np.ndarray:
        """The same rows with texts of like length in one batch: sorted within windows of 32 batches, batches shuffled again."""
        if not self._lengths:
            return order
        length = np.max(np.stack(list(self._lengths.values())), axis=0)
        parts: list[np.ndarray] = []
        for start in range(0, len(order), 32 * batch):
            window = order[start : start + 32 * batch]
            window = window[np.argsort(length[window], kind="stable")]
            cuts = [window[at : at + batch] for at in range(0, len(window), batch)]
            last = [cuts.pop()] if len(cuts[-1]) < batch else []
            parts += [cuts[at] for at in random.permutation(len(cuts))] + last
        return np.concatenate(parts)

    def _gather(self, name: str, index: np.ndarray) -> torch.Tensor:
        if self._resident:
            return self._resident[name].index_select(0, torch.from_numpy(index).to(self.device))
        tensor = _tensor(_take(self._host[name], index))
        if self.device.type == "cpu":
            return tensor
        pinned = tensor.pin_memory() if self.device.type == "cuda" else tensor
        return pinned.to(self.device, non_blocking=True)

    def _keep(self, gaps: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.flatnonzero(~gaps)).to(self.device)


def rows_per_forward(specs: Sequence[TensorSpec]) -> int:
    """Rows of one forward pass outside training: a fixed shape, so that the same rows give the same bits. 32 to 1024."""
    numbers = sum(int(np.prod(spec.shape)) * (16 if spec.ragged else 1) for spec in specs)
    return int(min(1024, max(32, 2 ** int(np.log2((1 << 21) / max(numbers, 1))))))


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array)


def _take(array: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Rows of a possibly memory-mapped array, copied; large files are read in their own order."""
    if array.nbytes < _SORT_BYTES:
        return np.asarray(array[index]) if array.ndim else array
    order = np.argsort(index, kind="stable")
    taken = np.empty((len(index), *array.shape[1:]), array.dtype)
    taken[order] = array[index[order]]
    return taken


def _gaps(target: tuple[str, np.ndarray]) -> tuple[str, np.ndarray | None]:
    """Rows (bool) whose target is missing: -1 of codes, NaN of numbers. None where there is none."""
    name, values = target
    gaps = np.isnan(values) if values.dtype.kind == "f" else values < 0
    return name, gaps if gaps.any() else None


def _lengths(tokens_NL: np.ndarray) -> np.ndarray:
    """Position behind the last token that is not padding, per row, int64 (N,), read a piece at a time."""
    lengths = np.zeros(len(tokens_NL), np.int64)
    for start in range(0, len(tokens_NL), 8192):
        used = np.asarray(tokens_NL[start : start + 8192]) != 0
        last = used.shape[1] - used[:, ::-1].argmax(axis=1)
        lengths[start : start + 8192] = np.where(used.any(axis=1), last, 0)
    return lengths
