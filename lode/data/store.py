"""How snapshots are kept. The signature of Store is the schema of `data.store`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from lode.core.types import Range


@dataclass(frozen=True, kw_only=True)
class Store:
    """How snapshots of the data are kept.

    Args:
        keep: how many snapshots of this name stay besides those that an artifact needs; `lode gc` frees the others.
    """

    keep: Annotated[int, Range(1)] = 3
