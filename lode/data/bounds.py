"""How much of the machine the data stage may take. The signature of Bounds is the schema of what stands plainly under `data:`."""

from __future__ import annotations

from dataclasses import dataclass

from lode.core.types import ByteSize


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Bounds of the data stage; they never change what it gives.

    Args:
        memory: how much memory reading, cleaning, splitting and writing may take (mapped files apart); larger data go through in
            batches, their columns on disk.
    """

    memory: ByteSize = 2_000_000_000  # type: ignore[assignment]
