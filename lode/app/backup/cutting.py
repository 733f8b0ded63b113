"""Files cut into chunks, so that a small change makes few new ones.

A database of SQLite is cut at its pages: they stay where they are. Other files are cut where their content says so (a gear hash over
the last 32 bytes, all positions at once in numpy): an insertion moves the cuts with it. The table of the hash depends on the key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

SQLITE = b"SQLite format 3\0"
PAGE_BYTES = 4096
_QUARTER_BYTES = PAGE_BYTES // 4
_INDEX_LEAF = 0x0A
"""The first byte of such a page: https://www.sqlite.org/fileformat2.html#b_tree_pages"""
_WINDOW = 32
MIN_BYTES, MAX_BYTES = 1 << 16, 1 << 20
_MASK = np.uint32(((1 << 18) - 1) << 14)
"""18 bits that must be 0: a chunk has 64 KiB + 256 KiB on average. The high bits have seen all 32 bytes of the window."""


def is_database(path: Path) -> bool:
    """Whether a file is a SQLite database."""
    with path.open("rb") as file:
        return file.read(len(SQLITE)) == SQLITE


def pages(path: Path) -> Iterator[bytes]:
    """The pages of a database; leaves of indexes in quarters, because a new key changes a leaf in two places only.

    Random keys (request ids of clients) touch every third leaf for each percent that the table grows.
    """
    with path.open("rb") as file:
        while block := file.read(256 * PAGE_BYTES):
            for start in range(0, len(block), PAGE_BYTES):
                step = _QUARTER_BYTES if block[start] == _INDEX_LEAF else PAGE_BYTES
                for part in range(start, min(start + PAGE_BYTES, len(block)), step):
                    yield block[part : part + step]


def table(seed: bytes) -> npt.NDArray[np.uint32]:
    """256 numbers from a key."""
    stream = hashlib.shake_256(b"lode cuts" + seed).digest(1024)
    return np.frombuffer(stream, np.uint32)


def chunks(path: Path, gear: npt.NDArray[np.uint32]) -> Iterator[bytes]:
    """The chunks of a file: cut by content, MIN_BYTES to MAX_BYTES long."""
    with path.open("rb") as file:
        waiting = b""
        while True:
            block = file.read(8 * MAX_BYTES)
            waiting += block
            done = 0
            for end in _ends(waiting, gear, is_last=not block):
                yield waiting[done:end]
                done = end
            waiting = waiting[done:]
            if not block:
                return


def _ends(content: bytes, gear: npt.NDArray[np.uint32], *, is_last: bool) -> Iterator[int]:
    """Where chunks end. Without is_last, what is shorter than MAX_BYTES waits for more."""
    start, size = 0, len(content)
    if not size:
        return
    cuts = np.flatnonzero((_hashes(content, gear) & _MASK) == 0) + 1
    while size - start > (0 if is_last else MAX_BYTES):
        place = int(np.searchsorted(cuts, start + MIN_BYTES))
        end = int(cuts[place]) if place < len(cuts) else size
        end = min(end, start + MAX_BYTES, size)
        yield end
        start = end


def _hashes(content: bytes, gear: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """At each position the hash of the 32 bytes that end there, by doubling the window: h2[i] = h[i] + (h[i - w] << w)."""
    value = gear[np.frombuffer(content, np.uint8)]
    width = 1
    while width < _WINDOW:
        wider = value.copy()
        wider[width:] += value[:-width] << np.uint32(width)
        value, width = wider, 2 * width
    return value
