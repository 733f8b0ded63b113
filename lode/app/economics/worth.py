"""One model's worth in one record: cost to serve, revenue, margin, decision value against the best simple policy, how sure that is.

`lode worth` shows it, `page.py` draws it, `sealed.py` closes it for a month.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from lode.app.books.contracts import Store
from lode.app.economics import cohorts
from lode.app.economics.cohorts import Worth
from lode.app.economics.margin import Terms, margin
from lode.app.economics.readings import Window, shown_us
from lode.app.economics.valued import Gathered, Valued, gather, valued, version_of
from lode.core import money
from lode.value.investment import npv, payback_months, roi, tornado
from lode.value.realised import text

_MONTH_DAYS = Fraction(487, 16)
_FEW = 100
_MATRIX = ("true_positive", "false_positive", "false_negative", "true_negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is assumed of the months to come. discount: nominal, a year. months: counted in the present value."""

    months: int = 12
    discount: Fraction = Fraction(1, 10)


def worth(
    store: Store, runs: Path, name: str, span: Window, terms: Terms, *, version: int | None = None, outlook: Outlook | None = None
) -> dict[str, Any]:
    """The record as JSON, amounts as text; costs and revenue only where the model has no value block.

    Errors: BillingError where there is no such model, or a currency has no rate.
    """
    chosen = version_of(runs, name, version)
    model = valued(runs, name, chosen)
    if model is None:
        return _without_value(store, name, chosen, span, terms)
    with store.view() as session:
        gathered = gather(session, model, span)
    money_terms = replace(terms, currency=model.currency)
    costs = margin(store, money_terms, span, ("model",), model=name)
    figures = Worth(model, gathered.rows)
    leads = figures.by_month()
    known, estimated = (sum((pair[place] for pair in leads.values()), Fraction(0)) for place in (0, 1))
    found = {
        "model": name, "version": model.version, "currency": model.currency, "from": shown_us(span.start_us), "to": shown_us(span.end_us),
        "decisions": len(gathered.rows), "outcomes_known": len(gathered.known), "left_out": dict(gathered.left_out),
        "share_estimated": _share(len(figures.pending), len(figures.pending) + len(gathered.known)),
        "not_estimated": len(gathered.pending) - len(figures.pending),
        "serving": costs["total"], "prices": costs["prices"], "idle": costs["idle"], "best_simple": figures.rival,
        "value": None if figures.known is None else figures.known.to_json(), "lead_known": text(known), "lead_estimated": text(estimated),
        "lead": text(known + estimated), "backtest": None if figures.tested is None else figures.tested.to_json(),
        "cohorts": cohorts.table(gathered.rows, leads), "sequence": gathered.sequence,
    }  # fmt: skip
    made = _making_cost(money_terms, name)
    found["investment"] = _investment(model, figures, costs["total"], made, span, outlook or Outlook())
    found["risks"] = risks(found, gathered, costs["notes"])
    return found


def _without_value(store: Store, name: str, version: int, span: Window, terms: Terms) -> dict[str, Any]:
    """Costs and revenue only: nobody has said what its decisions are worth."""
    costs = margin(store, terms, span, ("model",), model=name)
    why = "No value block: what its decisions are worth was never said (docs/how-to/value-block.md)."
    return {
        "model": name, "version": version, "currency": costs["currency"], "from": shown_us(span.start_us), "to": shown_us(span.end_us),
        "decisions": 0, "outcomes_known": 0, "left_out": {}, "share_estimated": "0", "not_estimated": 0,
        "serving": costs["total"], "prices": costs["prices"], "idle": costs["idle"], "best_simple": "",
        "value": None, "lead_known": "0", "lead_estimated": "0", "lead": "0", "backtest": None, "cohorts": [], "sequence": 0,
        "investment": None, "risks": [*costs["notes"], why],
    }  # fmt: skip


def _making_cost(terms: Terms, name: str) -> Fraction | None:
    """Units of the currency; None where an hour has no price, in this currency or by a rate."""
    facts, price = terms.models.get(name), terms.price_of(name)
    if facts is None or price is None:
        return None
    rate = Fraction(1) if price.currency == terms.currency else terms.rates.get(price.currency)
    return None if rate is None else price.cost(facts.made_s * 1_000_000) / money.UNIT * rate


def _investment(
    model: Valued, figures: Worth, serving: Mapping[str, Any], made: Fraction | None, span: Window, outlook: Outlook
) -> dict[str, Any] | None:
    """Return, present value and payback of the lead over the best simple policy; what they hang on. None without a price or a decision."""
    if made is None or not figures.rival:
        return None
    served, months = Fraction(serving["compute_cost"]) + Fraction(serving["provider_cost"]), Fraction(span.days) / _MONTH_DAYS
    lead = figures.lead()

    def flows(values: Mapping[str, Fraction]) -> list[Fraction]:
        monthly = (values["lead"] * values["decisions a month"] - served * values["serving"] * values["decisions a month"]) / months
        return [-made * values["making the model"], *([monthly] * outlook.months)]

    def present(values: Mapping[str, Fraction]) -> Fraction:
        return npv(flows(values), outlook.discount)

    one = Fraction(1)
    middle = {"lead": lead, "decisions a month": one, "serving": one, "making the model": one}
    fifth, half = (Fraction(4, 5), one, Fraction(6, 5)), (Fraction(1, 2), one, Fraction(3, 2))
    bars = tornado({"lead": (lead, lead, lead), "decisions a month": fifth, "serving": half, "making the model": half}, present)
    found = [
        _bar(bar.name, "-20 %" if bar.name.startswith("dec") else "-50 %", bar.at_low, bar.at_high) for bar in bars if bar.swing
    ]
    for name in _MATRIX:
        base = Decimal(str(model.options.get(name, "0"))) if _is_amount(model.options.get(name, "0")) else Decimal(0)
        if base:
            low, high = (
                present({**middle, "lead": figures.lead({name: str(base * step)})}) for step in (Decimal("0.8"), Decimal("1.2"))
            )
            found.append(_bar(name.replace("_", " "), "-20 %", low, high))
    plan = flows(middle)
    rate = roi(lead, made + served)
    return {
        "making": text(made), "serving": text(served), "lead": text(lead), "roi": None if rate is None else text(rate, 4),
        "npv": text(npv(plan, outlook.discount), 2), "months": outlook.months, "discount": text(outlook.discount, 4),
        "payback_months": payback_months(plan),
        "tornado": sorted(found, key=lambda bar: -_reach(bar, npv(plan, outlook.discount))),
    }  # fmt: skip


def _bar(name: str, step: str, low: Fraction, high: Fraction) -> dict[str, str]:
    return {"input": name, "step": step.replace("-", "+-"), "low": text(low, 2), "high": text(high, 2)}


def _reach(bar: Mapping[str, str], middle: Fraction) -> Fraction:
    """How far apart an input can bring the figure; both ends may lie on one side of the middle."""
    ends = (Fraction(bar["low"]), Fraction(bar["high"]), middle)
    return max(ends) - min(ends)


def _is_amount(value: Any) -> bool:
    try:
        return Decimal(str(value)).is_finite()
    except ArithmeticError:
        return False


def risks(found: Mapping[str, Any], gathered: Gathered, notes: list[str]) -> list[str]:
    """What the figures do not say, or say with little behind them."""
    value, open_ = found["value"], list(notes)
    if value is None:
        open_.append("No outcome is known: every amount of value is an estimate from the model's own probabilities.")
    else:
        best = value["rivals"][0]
        if Fraction(best["low"]) <= 0:
            open_.append(f"The lead over {best['name']} may be chance: its 95 % interval holds 0.")
        if found["outcomes_known"] < _FEW:
            open_.append(f"Only {found['outcomes_known']} outcomes are known.")
        if value["blocks"]["of"] == "request":
            open_.append("Outcomes come from few days: the interval cannot show how days differ.")
        if not any(rival["name"] == "the current rule" for rival in value["rivals"]):
            open_.append(
                'What the current rule would have done was not reported ("rule"): the model is compared with simpler ones only.'
            )
    if Fraction(found["share_estimated"]) > Fraction(1, 5):
        open_.append(f"{_percent(found['share_estimated'])} of the decisions are estimated, as if their probabilities were right.")
    tested = found["backtest"]
    if tested and value and abs(Fraction(tested["bias_per_decision"])) > abs(Fraction(value["per_decision"])) / 10:
        open_.append(
            "Estimates were off by more than a tenth where outcomes are known: the probabilities are not calibrated on these rows."
        )
    shares = _shares_known(gathered)
    if shares and abs(shares[0] - shares[1]) > Fraction(1, 10):
        treated, untreated = (_percent(text(share, 4)) for share in shares)
        open_.append(
            f"Outcomes are known for {treated} of the treated and {untreated} of the untreated: what is known may be a selection."
        )
    if found["not_estimated"]:
        open_.append(f"{found['not_estimated']} decisions without an outcome are in no figure: their money cannot be estimated.")
    open_ += [f"Left out: {count} ({why})." for why, count in found["left_out"].items()]
    open_.append("Not causal: the amounts of the value block say what acting changes; no randomised hold-out has measured it.")
    return open_


def _shares_known(gathered: Gathered) -> tuple[Fraction, Fraction] | None:
    """Share with an outcome among the treated and the untreated; None where one of them is empty or quantities were decided."""
    counts = {action: [0, 0] for action in (0.0, 1.0)}
    for row in gathered.rows:
        if row.action not in counts:
            return None
        counts[row.action][0] += row.truth is not None
        counts[row.action][1] += 1
    if not all(count[1] for count in counts.values()):
        return None
    return Fraction(*counts[1.0]), Fraction(*counts[0.0])


def _share(part: int, whole: int) -> str:
    return text(Fraction(part, whole), 4) if whole else "0"


def _percent(share: str) -> str:
    return f"{float(Fraction(share)) * 100:.0f} %"
