"""Return, present value, payback and what they hang on. Exact: amounts and rates are fractions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction


def roi(value: Fraction, cost: Fraction) -> Fraction | None:
    """(value - cost) / cost; None where nothing was spent."""
    return (value - cost) / cost if cost > 0 else None


def npv(flows: Sequence[Fraction], yearly_rate: Fraction) -> Fraction:
    """Present value of monthly flows, the first one now. yearly_rate: nominal, a twelfth of it each month; above -12."""
    factor, total, discount = 1 + yearly_rate / 12, Fraction(0), Fraction(1)
    assert factor > 0
    for flow in flows:
        total += flow / discount
        discount *= factor
    return total


def payback_months(flows: Sequence[Fraction]) -> int | None:
    """The first month (0 is now) from which on the sum of flows stays at or above 0 to the end; None where it does not."""
    total, found = Fraction(0), None
    for month, flow in enumerate(flows):
        total += flow
        if total < 0:
            found = None
        elif found is None:
            found = month
    return found


@dataclass(frozen=True, slots=True)
class Bar:
    """What a figure becomes when one input takes its low and its high value, all others their middle one."""

    name: str
    low: Fraction
    high: Fraction
    at_low: Fraction
    at_high: Fraction

    @property
    def swing(self) -> Fraction:
        return abs(self.at_high - self.at_low)


def tornado(
    inputs: Mapping[str, tuple[Fraction, Fraction, Fraction]], figure: Callable[[Mapping[str, Fraction]], Fraction]
) -> list[Bar]:
    """One bar for each input, (low, middle, high), the one that moves the figure most first."""
    middle = {name: values[1] for name, values in inputs.items()}
    bars = [
        Bar(name, low, high, figure({**middle, name: low}), figure({**middle, name: high}))
        for name, (low, _, high) in inputs.items()
    ]
    return sorted(bars, key=lambda bar: (-bar.swing, bar.name))
