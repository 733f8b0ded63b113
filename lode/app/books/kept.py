"""What is kept beside the journal for a while: answers for a client that asks again, predictions until their outcome is known.

It must be possible to forget them, so they are no part of the journal. The entry that settles a request holds a digest of what is
kept of it (in its facts, under the table's name): none can be changed, added or given to another request unseen, only removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import orjson

TABLES = {"answers": ("status", "headers", "body"), "predictions": ("model", "version", "at_us", "body")}
"""What the digest of a row is made of, in this order. How long a row is kept is no part of it: it may be forgotten at any time."""


def digest(*values: str | int | bytes) -> str:
    """Of the columns of one row; 64 hex digits. Every value with its type and its length, so that no two rows are one text."""
    whole = sha256()
    for value in values:
        raw = value if isinstance(value, bytes) else str(value).encode()
        whole.update(b"%.1s%d:%b" % (type(value).__name__.encode(), len(raw), raw))
    return whole.hexdigest()


def headers_text(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """Headers of an answer as the table keeps them."""
    return orjson.dumps([(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]).decode()
