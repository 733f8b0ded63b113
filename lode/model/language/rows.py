"""Tokens on disk to rows on the device: packed documents, windows of one long stream, or pairs of documents.

What the loop calls a row is R of three things. "documents": whole documents put side by side up to the context (`packing.py`), none sees
another; longer ones are cut. "stream": a window of the text as it stands (nanoGPT's way); training shifts all windows by another number
of tokens in every pass. "pairs": two documents, chosen and rejected, which become rows 2i and 2i + 1 of the batch, cut to the context.
Positions are tokens that another one follows in the same document (in the stream), which is their target where it is to be learned.
Everything is gathered with numpy from mapped files, a chunk of batches at a time; the host counts, so that no step waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from lode.core.errors import ModelError
from lode.model.batches import alike
from lode.model.contracts import Examples
from lode.model.language import packing
from lode.model.language.contracts import DOCUMENTS, LEARNED, TOKENS, TokenBatch
from lode.model.language.loss import IGNORED
from lode.model.parallel import Team

Unit = Literal["documents", "stream", "pairs"]

_CHUNK_TOKENS = 1 << 20
_CHUNK_BATCHES = 64


@dataclass(frozen=True, slots=True)
class _Runs:
    """Runs of positions that fill rows. document_S: whose they are; start_S, length_S: where each begins in the tokens, and how many
    positions it has; row_S: the row it stands in, ascending.
    """

    document_S: np.ndarray
    start_S: np.ndarray
    length_S: np.ndarray
    row_S: np.ndarray


class TokenRows:
    """The rows of one split of a corpus, ready to be cut into batches (`lode.model.feed.Feed`).

    extra: arrays (documents, ...) of the objective, which go with pairs. shifts: whether windows of a stream begin elsewhere in each
    pass.
    """

    def __init__(
        self,
        examples: Examples,
        unit: Unit,
        context: int,
        device: str,
        *,
        seed: int = 0,
        shifts: bool = True,
        extra: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Errors: ModelError where there are not enough tokens for one row."""
        self.unit, self.context, self.device, self.shifts = unit, context, torch.device(device), shifts
        self._tokens = examples.arrays[TOKENS]
        self._offsets_D = np.asarray(examples.arrays[DOCUMENTS], np.int64)
        self._learned = examples.arrays.get(LEARNED)
        self._extra = {} if extra is None else dict(extra)
        self._first, self._last = int(self._offsets_D[0]), int(self._offsets_D[-1])
        self._lengths_D = np.maximum(np.diff(self._offsets_D) - 1, 0)
        packs = unit == "documents" and bool(self._lengths_D.any())
        self._packed = packing.pack(self._lengths_D, context, seed) if packs else None
        self.num_rows = self._count()
        if self.num_rows < 1:
            raise ModelError(
                f"training: found {self._last - self._first} tokens in {len(self._offsets_D) - 1} documents, allowed is a text of at "
                f"least {context + 1 if unit == 'stream' else 2} tokens. Give it more text, or a smaller model.architecture.context."
            )

    @property
    def num_positions(self) -> int:
        """Positions in all rows."""
        if self.unit == "stream":
            return self.num_rows * self.context
        return int(np.minimum(self._lengths_D, self.context).sum() if self.unit == "pairs" else self._lengths_D.sum())

    @cached_property
    def trainable(self) -> np.ndarray:
        """Numbers of rows that teach something; of a stream, where its windows begin."""
        if self.unit == "stream":
            return self._first + self.context * np.arange(self.num_rows, dtype=np.int64)
        found = np.arange(self.num_rows)
        if self._learned is None or self.unit == "pairs":
            return found
        blocks = [found[start : start + 4096] for start in range(0, self.num_rows, 4096)]
        return np.concatenate([block[self._gather(block)["weight"] > 0] for block in blocks])

    def chunk_batches(self, batch: int) -> int:
        """How many batches to gather at once: a million tokens, 64 batches at most."""
        return int(min(_CHUNK_BATCHES, max(1, _CHUNK_TOKENS // (batch * self.context))))

    def by_length(self, order: np.ndarray, batch: int, random: np.random.Generator) -> np.ndarray:
        """The same rows, pairs of like length in one batch; of a stream the same windows, all shifted alike."""
        if self.unit == "stream" and self.shifts:
            return order + random.integers(0, self._room())
        if self.unit == "pairs":
            longest_R = np.maximum(self._lengths_D[0::2], self._lengths_D[1::2])[: self.num_rows]
            return alike(order, longest_R, batch, random)
        return order

    def batches(self, index: np.ndarray, batch: int) -> Iterator[TokenBatch]:
        """Consecutive batches of the rows at `index`."""
        for pieces in self.pieces(index, batch, 1):
            yield pieces[0]

    def pieces(self, index: np.ndarray, batch: int, number: int, team: Team | None = None) -> Iterator[list[TokenBatch]]:
        """The same batches in `number` pieces; `share` is a piece's part of the batch's learned tokens (of pairs, of its pairs)."""
        arrays = self._gather(index)
        moved = {name: self._moved(array) for name, array in arrays.items() if name not in ("weight", "length", "runs")}
        for start in range(0, len(index), batch):
            rows = np.arange(start, min(start + batch, len(index)))
            own, counts = (rows, 1.0) if team is None else (team.cut(rows), float(team.counts(len(rows))))
            total = max(float(arrays["weight"][rows].sum()), 1.0)
            if team is None or team.is_alone:
                size = -(-batch // number)
                runs = [own[at : at + size] for at in range(0, len(own), size)]
            else:
                runs = np.array_split(own, team.num_pieces(len(rows), number))
            found = [self._piece(arrays, moved, run) for run in runs]
            for piece in found:
                piece.share = counts * piece.weight / total
            yield found

    def _piece(self, arrays: Mapping[str, np.ndarray], moved: Mapping[str, torch.Tensor], rows: np.ndarray) -> TokenBatch:
        """A run of rows of what was gathered, as views. A row of one document needs no word on where documents end."""
        wide = 2 if self.unit == "pairs" else 1
        cut = slice(int(rows[0]) * wide, (int(rows[-1]) + 1) * wide)
        length = int(arrays["length"][cut].max())
        several = bool((arrays["runs"][cut] > 1).any())
        return TokenBatch(
            moved["tokens"][cut, :length],
            moved["targets"][cut, :length],
            len(rows),
            moved["positions"][cut, :length] if several else None,
            moved["documents"][cut, :length] if several else None,
            {name: moved[f"extra.{name}"][cut] for name in self._extra},
            weight=float(arrays["weight"][rows].sum()),
        )

    def _gather(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """All rows at `index`: tokens, targets, positions, documents (R, T), extra (R, ...); of each row length, runs, weight."""
        if self.unit == "stream":
            return self._windows(index)
        runs, num_rows = self._pairs(index) if self.unit == "pairs" else self._runs(index)
        made = _filled(runs, num_rows, self._tokens, self._learned)
        if self.unit == "pairs":
            made["weight"] = np.ones(len(index))
        return made | {f"extra.{name}": np.asarray(array[runs.document_S]) for name, array in self._extra.items()}

    def _windows(self, start_R: np.ndarray) -> dict[str, np.ndarray]:
        """Windows of a stream; the last one may be shorter."""
        at_RT = np.minimum(start_R[:, None] + np.arange(self.context + 1), self._last - 1)
        read_RT = np.asarray(self._tokens[at_RT]).astype(np.int64)
        length_R = np.minimum(self._last - 1 - start_R, self.context)
        learned_RT = np.arange(self.context) < length_R[:, None]
        if self._learned is not None:
            learned_RT &= np.asarray(self._learned[at_RT[:, 1:]]) > 0
        return {
            "tokens": np.ascontiguousarray(read_RT[:, :-1]),
            "targets": np.where(learned_RT, read_RT[:, 1:], IGNORED),
            "length": length_R,
            "runs": np.ones(len(start_R), np.int64),
            "weight": learned_RT.sum(axis=1).astype(np.float64),
        }

    def _runs(self, index: np.ndarray) -> tuple[_Runs, int]:
        """What fills the packed rows at `index`, and how many rows that are."""
        packed = self._packed
        assert packed is not None, "documents are packed"
        first_R, count_R = packed.rows_R[index], packed.rows_R[index + 1] - packed.rows_R[index]
        row_S = np.repeat(np.arange(len(index)), count_R)
        at_S = np.repeat(first_R, count_R) + _number(row_S, count_R)
        document_S = packed.document_P[at_S]
        start_S = self._offsets_D[document_S] + packed.offset_P[at_S]
        return _Runs(document_S, start_S, packed.length_P[at_S], row_S), len(index)

    def _pairs(self, index: np.ndarray) -> tuple[_Runs, int]:
        """Two rows for each pair at `index`."""
        document_S = np.stack([2 * index, 2 * index + 1], axis=1).ravel()
        length_S = np.minimum(self._lengths_D[document_S], self.context)
        return _Runs(document_S, self._offsets_D[document_S], length_S, np.arange(len(document_S))), len(document_S)

    def _count(self) -> int:
        if self.unit == "stream":
            return self._windows_count()
        if self.unit == "pairs":
            return len(self._lengths_D) // 2 if self._lengths_D.any() else 0
        return 0 if self._packed is None else self._packed.num_rows

    def _room(self) -> int:
        """Numbers of tokens by which all windows can be shifted, 0 among them."""
        return max(1, min(self.context, self._last - self._first - self.context))

    def _windows_count(self) -> int:
        """Windows side by side: whole ones wherever they are shifted to, or with a shorter last one."""
        positions = self._last - self._first - 1
        if not self.shifts:
            return max(0, -(-positions // self.context))
        return 0 if positions < self.context else (positions - self._room() + 1) // self.context

    def _moved(self, array: np.ndarray) -> torch.Tensor:
        """On the device; pinned on the way to a GPU, so that the host need not wait for it."""
        tensor = torch.from_numpy(array)
        return tensor if self.device.type != "cuda" else tensor.pin_memory().to(self.device, non_blocking=True)


def _number(row_S: np.ndarray, count_R: np.ndarray) -> np.ndarray:
    """The number of each run in its row, int64 (S,)."""
    return np.arange(len(row_S)) - (np.cumsum(count_R) - count_R)[row_S]


def _filled(runs: _Runs, num_rows: int, tokens: np.ndarray, learned: np.ndarray | None) -> dict[str, np.ndarray]:
    """Rows filled with their runs one after the other, the rest padded (token 0, no target, document -1)."""
    count_R = np.bincount(runs.row_S, minlength=num_rows)
    length_R = np.bincount(runs.row_S, weights=runs.length_S, minlength=num_rows).astype(np.int64)
    width = max(1, int(length_R.max(initial=1)))
    within_N = np.arange(int(runs.length_S.sum())) - np.repeat(np.cumsum(runs.length_S) - runs.length_S, runs.length_S)
    read_N = np.repeat(runs.start_S, runs.length_S) + within_N
    # Runs come row by row, so that a row's positions begin where those of the rows before it end
    place_N = np.arange(len(read_N)) + np.repeat(np.arange(num_rows) * width - (np.cumsum(length_R) - length_R), length_R)
    target_N = np.asarray(tokens[read_N + 1]).astype(np.int64)
    if learned is not None:
        target_N = np.where(np.asarray(learned[read_N + 1]) > 0, target_N, IGNORED)
    number_N = np.repeat(_number(runs.row_S, count_R), runs.length_S)
    made = {
        "tokens": _put(place_N, np.asarray(tokens[read_N]), num_rows, width, np.int64, 0),
        "targets": _put(place_N, target_N, num_rows, width, np.int64, IGNORED),
        "positions": _put(place_N, within_N, num_rows, width, np.int64, 0),
        "documents": _put(place_N, number_N, num_rows, width, np.int32, -1),
        "length": length_R,
        "runs": count_R,
    }
    return {**made, "weight": (made["targets"] >= 0).sum(axis=1).astype(np.float64)}


def _put(place_N: np.ndarray, values_N: np.ndarray, rows: int, width: int, dtype: type, padding: int) -> np.ndarray:
    """(rows, width) with values at flat places."""
    made: np.ndarray = np.full(rows * width, padding, dtype)
    made[place_N] = values_N
    return made.reshape(rows, width)
