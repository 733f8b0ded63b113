"""What is taken off a whole period (a coupon, a cap, a trial) is taken off each tax category of it, in proportion to its lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from lode.app.invoices.documents import Line
from lode.core import money

_WHOLE = ("coupon", "trial", "waived", "cap")


def spread(lines: Sequence[Line], currency: str) -> list[Line]:
    """Lines with a category each; one of a whole period becomes one for each of its categories, where it has several."""
    parted = [line for line in lines if not _is_whole(line)]
    if not any(line.category for line in parted):
        return list(lines)
    found: list[Line] = []
    for line in lines:
        found += _parts(line, _nets(line, parted), currency) if _is_whole(line) else [line]
    return found


def _nets(whole: Line, lines: Sequence[Line]) -> dict[str, int]:
    """What each category comes to in the time of a line, as far as it is more than nothing."""
    nets: dict[str, int] = defaultdict(int)
    for line in lines:
        if whole.start <= line.start < whole.end:
            nets[line.category] += line.amount
    return {name: net for name, net in nets.items() if net > 0}


def _is_whole(line: Line) -> bool:
    return line.kind in _WHOLE or (line.kind == "adjustment" and line.charge == "cap")


def _parts(line: Line, weights: dict[str, int], currency: str) -> list[Line]:
    """A line in proportion to categories; its amounts stay what they are together."""
    if not weights:
        return [line]
    names, shares = list(weights), list(weights.values())
    coin = money.UNIT // 10 ** money.exponent(currency)
    amounts, exact = money.split(line.amount, shares, coin), money.split(line.exact, shares)
    made = [replace(line, category=name, amount=amounts[place], exact=exact[place]) for place, name in enumerate(names)]
    return [part for part in made if part.amount or part.exact]
