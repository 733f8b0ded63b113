"""polars keeps freed memory for the next step instead of giving it back to the system at once.

Cleaning asks for the same few megabytes again and again. polars has jemalloc give freed pages back after half a second, and the kernel
hands them out again one by one, cleared: a quarter of the kernel's time on ten million rows (docs/experiments.md, 2026-11-23).
"""

from __future__ import annotations

import os

_SETTING = "_RJEM_MALLOC_CONF"
"""Read by polars at its import, which puts its own wishes before it: what stands here counts."""
_WISH = "dirty_decay_ms:5000,muzzy_decay_ms:5000"


def keep_freed_memory() -> None:
    """Ask for it; of use before polars is imported. Who has set jemalloc up otherwise keeps that, and so does a process that another one
    with polars started: polars writes what it asks for into the environment.
    """
    os.environ.setdefault(_SETTING, _WISH)
