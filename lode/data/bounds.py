"""How much of the machine the data stage may take. The signature of Bounds is the schema of what stands plainly under `data:`."""

from __future__ import annotations

from dataclasses import dataclass

from lode.core.types import ByteSize


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Bounds of the data stage; they never change what it gives.

    Args:
        memory: how much memory the process may come to while it reads, cleans, splits and writes (mapped files apart; where it holds
            more than half of that before, so much on top); larger data go through in batches, their columns on disk. The run measures
            it: the finding `memory` tells where it was more.
    """

    memory: ByteSize = 2_000_000_000  # type: ignore[assignment]
