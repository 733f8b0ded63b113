"""Keys and values in pages, and the table that says which page holds which positions of a running sequence.

Legend: L layers, P pages, G key/value heads, O positions of one page, K head width, S slots of running sequences, N tokens of one step.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from lode.core.errors import ModelError
from lode.model.language.contracts import Shape


class Cache:
    """Keys (L, P, G, O, K) and values (L, P, G, K, O): what one page holds of one head lies together, so that products read it as it is.

    Both go into products as the transposed second factor (bfloat16, 800 pages of a head, two queries: 353 us; the other way round 659).

    Args:
        shape: The decoder's.
        memory_bytes: What both tensors may take. Errors: ModelError where not even one page fits.
        page_tokens: O.
        dtype: Of keys and values.
        device: Where.
    """

    def __init__(self, shape: Shape, *, memory_bytes: int, page_tokens: int, dtype: torch.dtype, device: torch.device) -> None:
        self.page_bytes = 2 * shape.layers * shape.groups * shape.head_width * page_tokens * dtype.itemsize
        self.num_pages = memory_bytes // self.page_bytes
        self.page_tokens = page_tokens
        if self.num_pages < 2:
            raise ModelError(
                f"memory_bytes: found {memory_bytes}, a cache of two pages of {page_tokens} tokens takes {2 * self.page_bytes}. Allow more."
            )
        first = (shape.layers, self.num_pages, shape.groups)
        self.k_LPGOK = _zeros((*first, page_tokens, shape.head_width), dtype, device)
        self.v_LPGKO = _zeros((*first, shape.head_width, page_tokens), dtype, device)
        # Views that every step needs, made once
        self.layers = tuple(zip(self.k_LPGOK, self.v_LPGKO, strict=True))

    def move(self, source: int, target: int) -> None:
        """Copy a page, in all layers."""
        for cache in (self.k_LPGOK, self.v_LPGKO):
            cache[:, target].copy_(cache[:, source])

    def scrub(self, pages: list[int]) -> None:
        """Forget pages that may hold NaN: what no query should see is multiplied by 0, and 0 * NaN would be seen."""
        index = torch.tensor(pages, dtype=torch.int64, device=self.k_LPGOK.device)
        for cache in (self.k_LPGOK, self.v_LPGKO):
            cache.index_fill_(1, index, 0)


def _zeros(size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Zeros; on processors memory that the system gives page by page when it is first written, not gigabytes at the start."""
    if device.type != "cpu":
        return torch.zeros(size, dtype=dtype, device=device)
    return torch.from_numpy(np.zeros(math.prod(size) * dtype.itemsize, dtype=np.uint8)).view(dtype).view(size)


class Slots:
    """Where running sequences keep their pages: arrays over slots, so that a step's bookkeeping is a few operations for all of them.

    Args:
        num_slots: S, the most sequences that run at a time.
        max_pages: The most pages of one sequence.
    """

    def __init__(self, num_slots: int, max_pages: int) -> None:
        self.table_SP = np.zeros((num_slots, max_pages), dtype=np.int64)
        self.num_pages_S = np.zeros(num_slots, dtype=np.int64)
        self.length_S = np.zeros(num_slots, dtype=np.int64)  # tokens whose keys and values are written
        self.last_S = np.zeros(num_slots, dtype=np.int64)  # the token that comes next into the decoder
        self._free = list(range(num_slots - 1, -1, -1))

    @property
    def num_free(self) -> int:
        """Slots without a sequence."""
        return len(self._free)

    def take(self) -> int:
        """An empty slot."""
        slot = self._free.pop()
        self.num_pages_S[slot] = self.length_S[slot] = 0
        return slot

    def give_back(self, slot: int) -> None:
        """Nobody runs here any more. The pages are the caller's to release."""
        self.num_pages_S[slot] = self.length_S[slot] = 0
        self._free.append(slot)

    def append(self, slot: int, page: int) -> None:
        """One more page at the end of a sequence."""
        self.table_SP[slot, self.num_pages_S[slot]] = page
        self.num_pages_S[slot] += 1

    def pages(self, slot: int) -> list[int]:
        """The pages of one sequence, first to last."""
        found: list[int] = self.table_SP[slot, : self.num_pages_S[slot]].tolist()
        return found
