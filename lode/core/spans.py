"""How a span of time is written in lode.yaml: `90s`, `30m`, `12h`, `7d`, `2w`."""

from __future__ import annotations

import re

_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([smhdw])", re.ASCII)
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def seconds(text: str) -> float | None:
    """Seconds of a span; None for what is none."""
    found = _SPAN.fullmatch(text)
    return None if found is None else float(found[1]) * _UNIT_SECONDS[found[2]]
