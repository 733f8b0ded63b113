"""What is taken off a whole period (a coupon, a cap, a trial) is taken off each tax category of it, in proportion to its lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType

from lode.app.invoices.documents import Line
from lode.core import money

_WHOLE = ("coupon", "trial", "waived", "cap")
RETURNED = "returned"
"""Kind of lines that take off what credit notes gave back of the same thing already (`returned.py`)."""


Capped = Mapping[tuple[str, str], Mapping[str, int]]


def spread(
    lines: Sequence[Line], currency: str, capped: Capped = MappingProxyType({}), earlier: Sequence[Line] = ()
) -> list[Line]:  # fmt: skip
    """Lines with a category each; one of a whole period becomes one for each of its categories, where it has several.

    capped: (contract, period) -> what its cap is put on by category, on earlier documents, too, and without fees in advance.
    earlier: lines of earlier documents. What coupons and caps took there counts: with these lines each category has its part of all.
    """
    if not any(line.category for line in (*lines, *earlier)) and not any(any(amounts) for amounts in capped.values()):
        return [line for line in lines if line.amount or line.exact or not is_whole(line)]
    made: dict[int, list[Line]] = {place: [line] for place, line in enumerate(lines) if not is_whole(line)}
    coupons: set[str] = set()
    # Each takes off what those before it left: a coupon nothing of what a trial gave away.
    for place, line in sorted(enumerate(lines), key=lambda row: row[1].kind == "coupon"):
        if place not in made:
            known = capped.get((line.subscription, line.period)) if line.charge == "cap" else None
            beside = [one for parts in made.values() for one in parts]
            if line.kind == "coupon":
                beside += [one for one in earlier if one.kind != "coupon" or one.charge in coupons]
                coupons.add(line.charge)
            held = [one for one in earlier if _is_same(one, line)]
            made[place] = _parts(line, known or _nets(line, beside), held, currency)
    return [line for place in range(len(lines)) for line in made[place]]


def _is_same(one: Line, line: Line) -> bool:
    """Whether two lines are of one coupon, or of one cap, in one period."""
    if not is_whole(one) or not line.charge or (one.charge, one.start) != (line.charge, line.start):
        return False
    return line.kind == "coupon" or (one.subscription, one.period) == (line.subscription, line.period)


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


def _parts(line: Line, weights: Mapping[str, int], held: Sequence[Line], currency: str) -> list[Line]:
    """A line in proportion to categories, with what earlier documents hold of it; its amounts stay what they are together."""
    if held:
        weights = {name: weight for name, weight in weights.items() if weight > 0}
        weights = dict.fromkeys((one.category for one in held), 0) | weights
    if not weights:
        return [line] if line.amount or line.exact else []
    names, shares = list(weights), list(weights.values())
    coin = money.UNIT // 10 ** money.exponent(currency)
    amounts = _split(line.amount + sum(one.amount for one in held), shares, coin)
    exact = _split(line.exact + sum(one.exact for one in held), shares, 1)
    made = []
    for place, name in enumerate(names):
        before = [one for one in held if one.category == name]
        amount, precise = amounts[place] - sum(one.amount for one in before), exact[place] - sum(one.exact for one in before)
        made.append(replace(line, category=name, amount=amount, exact=precise))
    return [part for part in made if part.amount or part.exact]


def _split(total: int, shares: Sequence[int], unit: int) -> list[int]:
    """`total` in proportion to shares; where their signs differ, the largest takes what is left over."""
    if min(shares) >= 0 or max(shares) < 0:
        return money.split(total, [abs(share) for share in shares], unit)
    parts = [round(Fraction(total * share, sum(shares) * unit)) * unit for share in shares]
    largest = max(range(len(shares)), key=lambda place: abs(shares[place]))
    parts[largest] += total - sum(parts)
    return parts
