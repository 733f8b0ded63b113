"""An error of ours for the log of a server: where it happened, without its text, which may quote what a client sent."""

from __future__ import annotations

import traceback


def frames(error: BaseException | None) -> str:
    """Class and lines of code of an error, before it those of what caused it; no message, no value."""
    told: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        told.append("".join(traceback.format_tb(error.__traceback__)) + f"{type(error).__module__}.{type(error).__qualname__}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(reversed(told))
