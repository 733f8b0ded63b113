"""Tokens of a request: what a provider's usage block says, what can be at most, and what is likely where nothing is said.

OpenAI's usage: https://platform.openai.com/docs/api-reference/chat/object (prompt_tokens, completion_tokens, prompt_tokens_details).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_BYTES_PER_TOKEN = 4
"""Of usual text; OpenAI's own rule of thumb. Only used where a provider says nothing, and marked as estimated."""
_MAX_COUNT = 10**12
"""More tokens than any request has: a figure beyond is nonsense."""


@dataclass(slots=True)
class Counted:
    """What one try took. estimated: the provider gave no figures. rows: of the Open Inference Protocol, known beforehand."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    rows: int = 0
    estimated: bool = False

    def units(self) -> dict[str, int]:
        """As the books name them; what is 0 is left out."""
        found = {
            "rows": self.rows, "input_tokens": self.input_tokens, "cached_tokens": self.cached_tokens,
            "output_tokens": self.output_tokens,
        }  # fmt: skip
        return {name: count for name, count in found.items() if count}


def counted(usage: Any) -> Counted | None:
    """A usage block read; None where there is none, or one that makes no sense."""
    if not isinstance(usage, Mapping):
        return None
    whole = [_count(usage, word) for word in ("prompt_tokens", "completion_tokens")]
    if whole[0] is None:
        return None
    details = usage.get("prompt_tokens_details")
    cached = _count(details, "cached_tokens") if isinstance(details, Mapping) else None
    return Counted(whole[0], min(cached or 0, whole[0]), whole[1] or 0)


def likely_tokens(num_bytes: int) -> int:
    """Tokens of so many bytes of text, by rule of thumb."""
    return -(-num_bytes // _BYTES_PER_TOKEN)


def text_bytes(value: Any) -> int:
    """Bytes of all the texts in a JSON value, its keys and numbers left out."""
    pending, total = [value], 0
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            total += len(item.encode("utf-8", "surrogatepass"))
        elif isinstance(item, Mapping):
            pending += item.values()
        elif isinstance(item, list):
            pending += item
    return total


def _count(record: Mapping[str, Any], word: str) -> int | None:
    value = record.get(word)
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT
    return value if is_count else None
