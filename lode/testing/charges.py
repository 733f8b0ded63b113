"""The contract suite of charges: `check_charge(make)` for each file in lode/app/charges, and for others.

Read `lode.app.prices.contracts.Charge` first: every check below is one of its sentences.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from fractions import Fraction

from lode.app.prices.contracts import COUNTED, ELIGIBLE, MONEY, PERIODS, WHOLE_US, Charge
from lode.core import money

_SIZES = (0, 1, 2, 3, 7, 9, 10, 11, 99, 100, 101, 999, 1000, 1001, 12_345, 10**6, 10**6 + 1)
_CASES = 200
GRAIN = 10**24


def check_charge(make: Callable[[], Charge], *, seed: int = 0) -> None:
    """Everything below. make: a charge with any options."""
    check_units(make())
    check_it_is_pure(make, seed)
    check_portions_add_up(make(), seed)
    check_the_reservation_suffices(make(), seed)
    check_more_is_not_cheaper(make(), seed)
    check_the_quick_way_is_the_same(make(), seed)


def usage_of(charge: Charge, generator: random.Random) -> dict[str, int]:
    """Some use of the units that a charge reads."""
    used = {unit: generator.choice(_SIZES) * (money.UNIT // 1000 if unit in MONEY else 1) for unit in charge.units}
    if "cached_tokens" in used:
        used["cached_tokens"] = min(used["cached_tokens"], used["input_tokens"])
    if "requests" in used and len(used) > 1:
        used["requests"] = 1
    return used


def check_units(charge: Charge) -> None:
    """It reads units that there are, each once; what it looks at is named only where it is due per period."""
    assert charge.units and len(set(charge.units)) == len(charge.units)
    assert charge.due in ("usage", "period")
    if charge.due == "usage":
        assert set(charge.units) <= {*COUNTED, *MONEY} and not charge.of
    assert charge.opening() >= 0


def check_it_is_pure(make: Callable[[], Charge], seed: int) -> None:
    """The same question has the same answer, whatever was asked before, and the question is left as it was."""
    first, second = make(), make()
    generator = random.Random(seed)
    asked = [(usage_of(first, generator), usage_of(first, generator)) for _ in range(20)]
    answers = [first.amount(before, usage) for before, usage in asked]
    copies = [(dict(before), dict(usage)) for before, usage in asked]
    again = [second.amount(before, usage) for before, usage in reversed(asked)]
    assert answers == again[::-1] and asked == copies
    assert all(isinstance(answer, Fraction) for answer in answers), "an amount is a Fraction: exact, and never a float"


def check_portions_add_up(charge: Charge, seed: int) -> None:
    """Two portions cost what both cost at once; what is priced per request is a multiple of 10^-24."""
    generator = random.Random(seed)
    for _ in range(_CASES):
        first, second = usage_of(charge, generator), usage_of(charge, generator)
        if charge.per_request:
            amount = charge.amount(first, second)
            assert amount == charge.amount({}, second), "priced per request, yet `before` changes it"
            assert (amount * GRAIN).denominator == 1, f"{amount} is no multiple of 10^-24"
        elif charge.due == "usage" or PERIODS in charge.units:
            together = {unit: first[unit] + second[unit] for unit in charge.units}
            assert charge.amount({}, first) + charge.amount(first, second) == charge.amount({}, together)
    if charge.due == "usage":
        nothing = dict.fromkeys(charge.units, 0)
        assert charge.amount({}, nothing) == charge.amount({}, {}) == 0


def check_the_reservation_suffices(charge: Charge, seed: int) -> None:
    """`most` is at least what the usage costs, and any part of it, after what was used or (later) more; less where more is known.

    For period charges usage costs nothing.
    """
    generator = random.Random(seed)
    for _ in range(_CASES):
        before, usage = usage_of(charge, generator), usage_of(charge, generator)
        if charge.due == "period":
            assert charge.most(before, usage) == 0
            continue
        known = {unit: generator.randint(0, count) for unit, count in before.items()}
        most, exact = charge.most(known, usage), charge.most(before, usage, later=False)
        assert exact <= charge.most(before, usage) <= most <= charge.most({}, usage), "more is known, and more is reserved"
        for part in (usage, {unit: generator.randint(0, count) for unit, count in usage.items()}):
            if "cached_tokens" in part:
                part["cached_tokens"] = min(part["cached_tokens"], part["input_tokens"])
            assert charge.amount(before, part) <= exact, f"{part} after {before} costs more than the {exact} reserved for {usage}"


def check_more_is_not_cheaper(charge: Charge, seed: int) -> None:
    """No portion costs less than 0, unless the charge says that it `falls`; a larger sum makes a true-up smaller, never less than 0."""
    generator = random.Random(seed)
    for _ in range(_CASES):
        before, usage = usage_of(charge, generator), usage_of(charge, generator)
        if not charge.falls:
            assert charge.amount(before, usage) >= 0
        if ELIGIBLE in charge.units:
            more: Mapping[str, int] = {**usage, ELIGIBLE: usage[ELIGIBLE] + 1, WHOLE_US: max(1, usage[WHOLE_US])}
            assert 0 <= charge.amount({}, more) <= charge.amount({}, {**more, ELIGIBLE: usage[ELIGIBLE]})


def check_the_quick_way_is_the_same(charge: Charge, seed: int) -> None:
    """`whole`, where there is one, is `amount` in 10^-12 units, exactly, after anything."""
    quick = charge.whole()
    if quick is None:
        return
    generator = random.Random(seed)
    for _ in range(_CASES):
        before, usage = usage_of(charge, generator), usage_of(charge, generator)
        assert quick(usage) == charge.amount(before, usage) * money.UNIT
