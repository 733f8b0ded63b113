"""What a model is worth: money per 1,000 decisions, its interval, and whether it beats the simplest thing one could do.

`appraise` measures on test rows, `sentence` says the result to a founder. Read `lode/value/contracts.py` first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal

import numpy as np

from lode.core.errors import DataError, SpecError
from lode.core.types import CURRENCY, Range
from lode.value import exact
from lode.value.bootstrap import interval
from lode.value.contracts import Outcomes, Policy

_PER = 1000
Verdict = Literal["worth it", "not worth it", "not proven"]


@dataclass(frozen=True, kw_only=True)
class Worth:
    """The `value:` section besides its policy.

    Args:
        currency: Three capital letters of ISO 4217, such as EUR.
        decisions: How many decisions the model will take before it is trained again.
        compute_hour: What an hour of the machine costs, in training and in serving.
    """

    currency: str
    decisions: Annotated[int, Range(1)] | None = None
    compute_hour: Annotated[Decimal, Range(0)] | None = None

    def __post_init__(self) -> None:
        if not CURRENCY.fullmatch(self.currency):
            raise SpecError(
                f'value.currency: found "{self.currency}", three capital letters of ISO 4217 are allowed. Write EUR, for example'
            )
        if self.decisions is not None and self.decisions < 1:
            raise SpecError(f"value.decisions: found {self.decisions}, at least 1 is allowed. Write how many are taken")
        if self.compute_hour is not None:
            hour = exact.fixed_amount(self.compute_hour, "compute_hour")
            if hour < 0:
                raise SpecError(f"value.compute_hour: found {hour}, at least 0 is allowed. Write what an hour costs")
            object.__setattr__(self, "compute_hour", hour)


@dataclass(frozen=True, slots=True)
class Rival:
    """Something else that one could do, on the same rows. Money per 1,000 decisions.

    value: what it earns. difference: what the model earns more. low, high: 95 % interval of the difference, rows drawn alike.
    """

    name: str
    value: Decimal
    difference: Decimal
    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class Costs:
    """Computing, in money. training: once. serving: per 1,000 decisions. total: of all `decisions`.

    None where they are not given.
    """

    training: Decimal
    serving: Decimal
    total: Decimal | None


@dataclass(frozen=True, slots=True)
class Appraisal:
    """What a model is worth on the rows it was tested on. Money per 1,000 decisions, but for gross and net.

    value, low, high: the model, with a 95 % bootstrap interval. simple, baselines: every rival, the one that earns most first.
    gross: value of all `decisions`; net: gross less the costs. None where `decisions` or `compute_hour` is not given.
    verdict: on the interval of the difference to the best simple policy, less the costs of computing where they are known.
    """

    currency: str
    rows: int
    decisions: int | None
    value: Decimal
    low: Decimal
    high: Decimal
    simple: tuple[Rival, ...]
    baselines: tuple[Rival, ...]
    costs: Costs | None
    gross: Decimal | None
    net: Decimal | None
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, amounts as strings, with the sentence."""
        plain = {name: getattr(self, name) for name in ("currency", "rows", "decisions", "verdict")}
        money = {name: _text(getattr(self, name)) for name in ("value", "low", "high", "gross", "net")}
        rivals = {name: [_rival_json(rival) for rival in getattr(self, name)] for name in ("simple", "baselines")}
        costs = None
        if self.costs is not None:
            costs = {name: _text(getattr(self.costs, name)) for name in ("training", "serving", "total")}
        return {"sentence": sentence(self), **plain, **money, **rivals, "costs": costs}


def appraise(
    worth: Worth,
    policy: Policy,
    outcomes: Outcomes,
    baselines: Mapping[str, np.ndarray],
    *,
    training_seconds: Decimal | int = 0,
    serving_seconds: Decimal | int = 0,
    resamples: int = 1000,
    seed: int = 0,
) -> Appraisal:
    """Value the model on test rows.

    policy: fitted on other rows. outcomes: the model's predictions on the test rows, and what came true. baselines: name ->
    actions (N,) of other models on the same rows, each by its own fitted policy. training_seconds: of the whole training;
    serving_seconds: of one decision.
    Errors: DataError of no row.
    """
    num_rows = len(outcomes.truth)
    if num_rows == 0:
        raise DataError("value: no test row, at least one is needed. Give the split more rows")
    simple = policy.simple(outcomes)
    actions = [policy.act(outcomes.prediction), *simple.values(), *baselines.values()]
    money = [policy.worth(action, outcomes) for action in actions]
    per = Fraction(_PER, num_rows * 10**policy.scale)
    drawn = list(exact.drawn_totals(money, resamples, seed))
    rivals = _rivals([*simple, *baselines], [exact.total(column) for column in money], drawn, per)
    low, high = interval([draw[0] for draw in drawn])
    best_first = _ranked(rivals[: len(simple)])
    costs = _costs(worth, Fraction(training_seconds), Fraction(serving_seconds))
    value = exact.total(money[0]) * per
    gross = None if worth.decisions is None else exact.rounded(value / _PER * worth.decisions)
    return Appraisal(
        currency=worth.currency,
        rows=num_rows,
        decisions=worth.decisions,
        value=exact.rounded(value),
        low=exact.rounded(low * per),
        high=exact.rounded(high * per),
        simple=best_first,
        baselines=_ranked(rivals[len(simple) :]),
        costs=costs,
        gross=gross,
        net=None if gross is None or costs is None or costs.total is None else _less(gross, costs.total),
        verdict=_verdict(best_first[0], worth.decisions, costs),
    )


def sentence(result: Appraisal) -> str:
    """The result in one sentence: the first line of the report."""
    best = result.simple[0]
    amount = _rate(result.value, result.currency)
    start = f"the model {amount} per 1,000 decisions (95 % interval {_short(result.low)} to {_short(result.high)})"
    lead = f"{_more(best, result)} the best simple policy ({best.name})"
    if result.verdict == "worth it":
        return f"Worth it: {start}, {lead}{_against_baseline(result)}."
    if result.verdict == "not proven":
        return (
            f"Not proven: {start}, {lead}, but on {result.rows:,} rows that may be chance (95 % interval of the difference "
            f"{_short(best.low)} to {_short(best.high)}{_less_costs(result)}): try it on more rows before you build on it."
        )
    if best.difference <= 0:
        rival = f'"{best.name}" {_rate(best.value, result.currency)}'
        return f"Not worth it: {start}, {rival}, the same or more: don't build this model yet."
    return f"Not worth it: {start}, {lead}{_less_costs(result)}: don't build this model yet."


def _costs(worth: Worth, training: Fraction, serving: Fraction) -> Costs | None:
    """Computing, where the file says what an hour costs."""
    if worth.compute_hour is None:
        return None
    second = Fraction(worth.compute_hour) / 3600
    total = None if worth.decisions is None else exact.rounded((training + worth.decisions * serving) * second)
    return Costs(exact.rounded(training * second), exact.rounded(serving * second * _PER), total)


def _verdict(best: Rival, decisions: int | None, costs: Costs | None) -> Verdict:
    # Simple policies need no computing, so the model's costs come off its lead.
    share = Fraction(0)
    if decisions is not None and costs is not None and costs.total is not None:
        share = Fraction(costs.total) / decisions * _PER
    if Fraction(best.low) - share > 0:
        return "worth it"
    return "not worth it" if Fraction(best.high) - share <= 0 else "not proven"


def _rivals(names: list[str], totals: list[int], drawn: list[tuple[int, ...]], per: Fraction) -> list[Rival]:
    """totals: the model's, then each rival's; drawn: the same of every resample; per: money per 1,000 decisions of one unit."""
    found = []
    for place, name in enumerate(names, start=1):
        low, high = interval([draw[0] - draw[place] for draw in drawn])
        figures = (totals[place], totals[0] - totals[place], low, high)
        found.append(Rival(name, *(exact.rounded(units * per) for units in figures)))
    return found


def _ranked(rivals: list[Rival]) -> tuple[Rival, ...]:
    return tuple(sorted(rivals, key=lambda rival: -rival.value))


def _rate(value: Decimal, currency: str) -> str:
    return f"{'earns' if value >= 0 else 'costs'} {currency} {_short(abs(value))}"


def _more(rival: Rival, result: Appraisal) -> str:
    """`EUR 310 more than`; of something that costs, the better one costs less."""
    better = rival.difference >= 0
    word = "more" if better == (result.value >= 0) else "less"
    return f"{result.currency} {_short(abs(rival.difference))} {word} than"


def _against_baseline(result: Appraisal) -> str:
    if not result.baselines:
        return ""
    rival = result.baselines[0]
    if rival.difference == 0:
        return f", and the same as the best baseline model ({rival.name})"
    return f", and {_more(rival, result)} the best baseline model ({rival.name})"


def _less_costs(result: Appraisal) -> str:
    if result.costs is None or result.costs.total is None:
        return ""
    return f", while computing costs {result.currency} {_short(result.costs.total)} for {result.decisions:,} decisions"


def _short(value: Decimal) -> str:
    """Whole units from 100 on, cents below."""
    step = Decimal(1) if abs(value) >= 100 else Decimal("0.01")
    shown = Decimal(round(Fraction(value) / Fraction(step))) * step
    return f"{shown.quantize(step, ROUND_HALF_EVEN) if abs(shown) < 10**20 else shown:,}"


def _less(gross: Decimal, cost: Decimal) -> Decimal:
    # Decimal's own minus rounds to 28 digits.
    return exact.rounded(Fraction(gross) - Fraction(cost))


def _text(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:f}"


def _rival_json(rival: Rival) -> dict[str, str]:
    amounts = {name: f"{getattr(rival, name):f}" for name in ("value", "difference", "low", "high")}
    return {"name": rival.name, **amounts}
