"""Freed memory is kept for the next step instead of going back to the system.

A step of a network allocates and frees the same large tensors again and again. glibc returns each one to the kernel and gets it back
as pages that are cleared one by one: on pictures of 150 pixels that took half of a training step (docs/experiments.md).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# malloc.h: parameters of mallopt. Setting one switches off their adaptation, so that afterwards they stand where it would lead.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_NEVER_BYTES, _LARGE_BYTES, _MMAPS = 2**31 - 1, 32 * 2**20, 65536


@contextmanager
def kept_memory() -> Iterator[None]:
    """While it lasts, freed memory stays in the process; afterwards it goes back. Does nothing where malloc is not glibc's."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "gnu_get_libc_version"):
        yield
        return
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, _NEVER_BYTES)
    try:
        yield
    finally:
        library.mallopt(_MMAP_MAX, _MMAPS)
        library.mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        library.mallopt(_TRIM_THRESHOLD, 2 * _LARGE_BYTES)
        library.malloc_trim(0)
