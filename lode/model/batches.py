"""Rows in arrays (memory-mapped or not) to batches on the device. An index decides which; there are no workers and no collate.

A chunk of batches is gathered with one copy per array and cut into views, so that a step does not index at all.
Small data move to a GPU once; large ones are gathered on the host, in the order of the file, and pinned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from lode.core.types import TensorSpec
from lode.model.contracts import Examples
from lode.model.parallel import Team

_CHUNK_BYTES = 16 << 20
_CHUNK_BATCHES = 64
_SORT_BYTES = 1 << 30


@dataclass(slots=True)
class Batch:
    """inputs: (B, *shape) by input; targets: (B, ...) by output.

    keep: for outputs where some rows have no target, the positions (int64) of those that have one; others are absent.
    mix: where rows are mixed with others (mixup, cutmix): partner_B (int64) and the own share, float32 (); inputs are mixed already.
    share: of a piece of a larger batch, how many of its rows it has; the loop multiplies the loss with it.
    balance: of a piece, for outputs where some rows have no target, what makes the output's mean over the piece's rows with a target
        count for as many as there are (the network multiplies the output's loss with it); others are absent.
    """

    inputs: dict[str, torch.Tensor]
    targets: dict[str, torch.Tensor]
    keep: dict[str, torch.Tensor]
    num_rows: int
    mix: tuple[torch.Tensor, torch.Tensor] | None = None
    share: float = 1.0
    balance: dict[str, float] = field(default_factory=dict)

    @property
    def weight(self) -> float:
        """What it counts in a mean over batches."""
        return self.num_rows


class Rows:
    """The rows of one split, ready to be cut into batches."""

    def __init__(
        self, examples: Examples, specs: Mapping[str, TensorSpec], device: str, together: tuple[np.ndarray, int] | None = None
    ) -> None:
        """together: a code for each row (N,), and how many rows of one code are kept side by side."""
        self.num_rows = examples.num_rows
        self._together = together
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
            found = np.arange(self.num_rows)
        else:
            found = np.flatnonzero(~np.logical_and.reduce(list(self._missing.values())))
        return found if self._together is None else found[np.argsort(self._together[0][found], kind="stable")]

    def chunk_batches(self, batch: int) -> int:
        """How many batches to gather at once: up to 16 MiB, 64 at most."""
        row_bytes = max(1, self.num_bytes // max(self.num_rows, 1))
        return int(min(_CHUNK_BATCHES, max(1, _CHUNK_BYTES // (row_bytes * batch))))

    def batches(self, index: np.ndarray, batch: int, like: np.ndarray | None = None) -> Iterator[Batch]:
        """Consecutive batches of the rows at `index` (int64). Texts are cut to the longest row of their batch, or of the rows `like`."""
        gathered = {name: self._gather(name, index) for name in self._host}
        pieces = {name: tensor.split(batch) for name, tensor in gathered.items()}
        for number, start in enumerate(range(0, len(index), batch)):
            rows = index[start : start + batch]
            inputs = {name: pieces[name][number] for name in self._inputs}
            for name, lengths in self._lengths.items():
                inputs[name] = inputs[name][:, : max(1, int(lengths[rows if like is None else like].max()))]
            targets = {name: pieces[name][number] for name in self._outputs}
            keep = {name: self._keep(gaps[rows]) for name, gaps in self._missing.items() if gaps[rows].any()}
            yield Batch(inputs, targets, keep, len(rows))

    def pieces(self, index: np.ndarray, batch: int, number: int, team: Team | None = None) -> Iterator[list[Batch]]:
        """The same batches, each cut into `number` pieces (fewer for a small last batch) whose losses add up to the batch's.

        No piece has one row alone, where that can be helped, because batch norm needs two. team: the processes that share each batch;
        this one gets the pieces of its own rows, as long as the longest row of the whole batch.
        """
        if team is not None and not team.is_alone:
            yield from self._shared_pieces(index, batch, number, team)
            return
        if number == 1:
            for whole in self.batches(index, batch):
                yield [whole]
            return
        size = -(-batch // number)
        for start in range(0, len(index), batch):
            rows = index[start : start + batch]
            ends = list(range(size, len(rows), size))
            if ends and len(rows) - ends[-1] == 1 and size > 1:
                ends.pop()
            yield [self._piece(piece, rows) for piece in np.split(rows, ends)]

    def _piece(self, rows: np.ndarray, of: np.ndarray) -> Batch:
        piece = next(self.batches(rows, len(rows), of))
        piece.share = len(rows) / len(of)
        for name, gaps in self._missing.items():
            known, known_of = int((~gaps[rows]).sum()), int((~gaps[of]).sum())
            if known < len(rows) or known_of < len(of):
                piece.balance[name] = (known / max(known_of, 1)) / piece.share
        return piece

    def _shared_pieces(self, index: np.ndarray, batch: int, number: int, team: Team) -> Iterator[list[Batch]]:
        for start in range(0, len(index), batch):
            rows = index[start : start + batch]
            own = np.array_split(team.cut(rows), team.num_pieces(len(rows), number))
            pieces = [self._piece(part, rows) for part in own]
            if not team.counts(len(rows)):
                for piece in pieces:
                    piece.share = 0.0
            yield pieces

    def by_length(self, order: np.ndarray, batch: int, random: np.random.Generator) -> np.ndarray:
        """The same rows with texts of like length in one batch: sorted within windows of 32 batches, batches shuffled again."""
        if self._together is not None:
            return _side_by_side(order, *self._together, random)
        if not self._lengths:
            return order
        return alike(order, np.max(np.stack(list(self._lengths.values())), axis=0), batch, random)

    def _gather(self, name: str, index: np.ndarray) -> torch.Tensor:
        if self._resident:
            return self._resident[name].index_select(0, self._moved(index))
        return self._moved(_take(self._host[name], index))

    def _keep(self, gaps: np.ndarray) -> torch.Tensor:
        return self._moved(np.flatnonzero(~gaps))

    def _moved(self, array: np.ndarray) -> torch.Tensor:
        """On the device; pinned on the way to a GPU, so that the host need not wait for it."""
        tensor = _tensor(array)
        if self.device.type != "cuda":
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)


def alike(order: np.ndarray, length: np.ndarray, batch: int, random: np.random.Generator) -> np.ndarray:
    """The same rows with those of like length in one batch: sorted within windows of 32 batches, batches shuffled again."""
    parts: list[np.ndarray] = []
    for start in range(0, len(order), 32 * batch):
        window = order[start : start + 32 * batch]
        window = window[np.argsort(length[window], kind="stable")]
        cuts = [window[at : at + batch] for at in range(0, len(window), batch)]
        last = [cuts.pop()] if len(cuts[-1]) < batch else []
        parts += [cuts[at] for at in random.permutation(len(cuts))] + last
    return np.concatenate(parts)


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


def _side_by_side(order: np.ndarray, code_N: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
    """The same rows, `size` of one code following one another, these parties in random order (a batch may cut one at its end)."""
    by = order[np.argsort(code_N[order], kind="stable")]
    code = code_N[by]
    starts = np.concatenate([[True], code[1:] != code[:-1]])
    place = np.arange(len(by)) - np.maximum.accumulate(np.where(starts, np.arange(len(by)), 0))
    party = np.cumsum(starts | (place % size == 0)) - 1
    return by[np.argsort(random.permutation(int(party[-1]) + 1)[party], kind="stable")]


def _gaps(target: tuple[str, np.ndarray]) -> tuple[str, np.ndarray | None]:
    """Rows (bool) whose target is missing: -1 of codes, NaN of numbers; of several codes all, of several numbers any. None: no row."""
    name, values = target
    gaps = np.isnan(values) if values.dtype.kind == "f" else values < 0
    if gaps.ndim > 1:
        axes = tuple(range(1, gaps.ndim))
        gaps = gaps.any(axis=axes) if values.dtype.kind == "f" else gaps.all(axis=axes)
    return name, gaps if gaps.any() else None


def _lengths(ragged: np.ndarray) -> np.ndarray:
    """Position behind the last token or step that is not padding, per row, int64 (N,), read a piece at a time.

    ragged: codes (N, L), padded with 0, or steps (N, T, C), padded with NaN.
    """
    lengths = np.zeros(len(ragged), np.int64)
    for start in range(0, len(ragged), 8192):
        piece = np.asarray(ragged[start : start + 8192])
        used = piece != 0 if piece.ndim == 2 else ~np.isnan(piece[:, :, 0])
        last = used.shape[1] - used[:, ::-1].argmax(axis=1)
        lengths[start : start + 8192] = np.where(used.any(axis=1), last, 0)
    return lengths
