"""Too little memory for a step: how to recognise it, and into how many pieces a batch is cut then."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from lode.core.errors import ModelError

Found = TypeVar("Found")

_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""torch's allocator on the processor raises a plain RuntimeError."""


def is_out(error: BaseException) -> bool:
    """Whether an error says that memory is used up."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def least_rows(module: torch.nn.Module, batch: int, pieces: int = 1) -> int:
    """Rows that a piece of a batch needs at least.

    Errors: ModelError where batch norm of vectors would see one row, which has no spread.
    """
    needs_two = any(isinstance(child, torch.nn.BatchNorm1d) for child in module.modules())
    if needs_two and batch < 2:
        raise ModelError(
            "train.batch: found batches of one row with batch norm, which needs at least two rows to see a spread, "
            "allowed is a batch of 2 or more. Write a larger batch, or norm: layer in the model."
        )
    if needs_two and piece_rows(batch, pieces) < 2:
        raise ModelError(
            f"train.accumulate: found {pieces} pieces of batches of {batch} rows with batch norm, which needs at least two rows in each, "
            f"allowed is at most {batch // 2}. Write fewer, or norm: layer in the model."
        )
    return 2 if needs_two else 1


def smaller(size: int, work: Callable[[int], Found]) -> Found:
    """What `work` gives with so many rows at a time, with half as many where memory does not suffice, and so on."""
    while True:
        try:
            return work(size)
        except (RuntimeError, MemoryError) as error:
            if not is_out(error) or size == 1:
                raise
        size //= 2


def piece_rows(batch: int, pieces: int) -> int:
    """Rows of each piece but the last."""
    return -(-batch // pieces)


def cut_text(batch: int, pieces: int) -> str:
    """What is said when a batch is cut."""
    return f"train (out of memory: each batch of {batch} rows in {pieces} pieces)"


def more_pieces(batch: int, pieces: int, least_rows: int) -> int:
    """Twice as many. least_rows: 2 with batch norm, else 1. Errors: ModelError where a piece is as small as it may be."""
    rows = piece_rows(batch, pieces)
    if rows <= least_rows:
        raise ModelError(
            f"training: out of memory with {rows} row{'s' if rows > 1 else ''} at a time, allowed is a model of which that much fits. "
            "Choose a smaller one (width, depth, shorter texts, smaller pictures), write train.checkpoint_activations: true, "
            "or use a machine with more memory."
        )
    return min(2 * pieces, batch)
