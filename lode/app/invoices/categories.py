"""What is taken off a whole period (a coupon, a cap, a trial) is taken off each tax category of it, in proportion to its lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from lode.app.invoices.documents import Line
from lode.core import money

_WHOLE = ("coupon", "trial", "waived", "cap")
RETURNED = "returned"
"""Kind of lines that take off what credit notes gave back of the same thing already (`returned.py`)."""


def spread(lines: Sequence[Line], currency: str) -> list[Line]:
    """Lines with a category each; one of a whole period becomes one for each of its categories, where it has several."""
    if not any(line.category for line in lines):
        return list(lines)
    made: dict[int, list[Line]] = {place: [line] for place, line in enumerate(lines) if not is_whole(line)}
    # Each takes off what those before it left: a coupon nothing of what a trial gave away.
    for place, line in sorted(enumerate(lines), key=lambda row: row[1].kind == "coupon"):
        if place not in made:
            made[place] = _parts(line, _nets(line, [one for parts in made.values() for one in parts]), currency)
    return [line for place in range(len(lines)) for line in made[place]]


def _nets(whole: Line, lines: Sequence[Line]) -> dict[str, int]:
    """What each category comes to in the time of a line, packs left out, as far as it is more than nothing; less than nothing, too, where
    what is taken off changes with all of them (a corrected price lowers one category, and with it the coupon on it).
    """
    nets: dict[str, int] = defaultdict(int)
    for line in lines:
        # By its period: what of a fee was not used begins where the period ends.
        if whole.start <= (line.period if not is_whole(line) else line.start) < whole.end and line.kind != "prepaid":
            nets[line.category] += line.amount
    if min(nets.values(), default=0) < 0 and sum(nets.values()) * whole.amount < 0:
        return {name: net for name, net in nets.items() if net}
    return {name: net for name, net in nets.items() if net > 0}


def is_whole(line: Line) -> bool:
    """Whether a line takes something off a whole period."""
    return line.kind in _WHOLE or (line.kind == "adjustment" and line.charge == "cap")


def _parts(line: Line, weights: dict[str, int], currency: str) -> list[Line]:
    """A line in proportion to categories; its amounts stay what they are together."""
    if not weights:
        return [line]
    names, shares = list(weights), list(weights.values())
    coin = money.UNIT // 10 ** money.exponent(currency)
    amounts, exact = _split(line.amount, shares, coin), _split(line.exact, shares, 1)
    made = [replace(line, category=name, amount=amounts[place], exact=exact[place]) for place, name in enumerate(names)]
    return [part for part in made if part.amount or part.exact]


def _split(total: int, shares: Sequence[int], unit: int) -> list[int]:
    """`total` in proportion to shares; where their signs differ, the largest takes what is left over."""
    if min(shares) > 0 or max(shares) < 0:
        return money.split(total, [abs(share) for share in shares], unit)
    parts = [round(Fraction(total * share, sum(shares) * unit)) * unit for share in shares]
    largest = max(range(len(shares)), key=lambda place: abs(shares[place]))
    parts[largest] += total - sum(parts)
    return parts
