"""Bytes of tensors that are alive while code runs, and the most at any moment; storages are counted once, however many views they have.

What torch.distributed._tools' MemTracker does, without its import of a second; tests hold it against the allocator.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class LiveBytes(TorchDispatchMode):
    """`with LiveBytes(known) as live: ...` counts what is made inside. known: tensors that were there before.

    changes: bytes that each tensor brought, and took away again when it was gone, in order.
    """

    def __init__(self, known: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()
        self.changes: list[int] = []
        self._seen: set[int] = {tensor.untyped_storage()._cdata for tensor in known}

    @property
    def peak(self) -> float:
        """The most bytes at any moment."""
        return peak_of(self.changes)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for item in made if isinstance(made, tuple | list) else (made,):
            if isinstance(item, torch.Tensor):
                self._add(item)
        return made

    def _add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._seen:
            return
        self._seen.add(key)
        size = storage.nbytes()
        self.changes.append(size)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.changes.append(-size)


def peak_of(changes: Iterable[float]) -> float:
    """The most at any moment of what changes add up to."""
    live = peak = 0.0
    for change in changes:
        live += change
        peak = max(peak, live)
    return peak


def peak_at(rows: int, low_rows: int, low: list[int], high_rows: int, high: list[int]) -> float:
    """The peak with so many rows, from the changes with fewer: each grows evenly with the rows, and where the most is may move.

    Where the two differ in more than size (work that depends on the data), their peaks grow evenly.
    """
    share = (rows - low_rows) / max(1, high_rows - low_rows)
    if len(low) != len(high) or any((one < 0) != (other < 0) for one, other in zip(low, high, strict=True)):
        return peak_of(low) + share * (peak_of(high) - peak_of(low))
    return peak_of(one + share * (other - one) for one, other in zip(low, high, strict=True))
