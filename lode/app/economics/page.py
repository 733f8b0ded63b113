"""The page of one model: what it costs, what it brings, how sure that is. One file, nothing to fetch."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lode.app.economics import charts
from lode.app.economics.readings import moment_of


def page(found: Mapping[str, Any], sealed: Mapping[str, Any] | None = None) -> str:
    """HTML of a record of `worth`. sealed: the closed report that it comes from."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["money"] = lambda value: short(value, found["currency"])
    environment.filters["percent"] = percent
    environment.filters["moment"] = moment_of
    value, investment = found["value"], found["investment"]
    pictures = {
        "rivals": charts.rivals(value["rivals"]) if value else "",
        "cohorts": charts.cohorts(found["cohorts"]),
        "tornado": charts.tornado(investment["tornado"], float(investment["npv"])) if investment else "",
    }
    return environment.get_template("worth.html.jinja").render(
        found=found, sealed=sealed, pictures=pictures, sentence=sentence(found)
    )


def sentence(found: Mapping[str, Any]) -> str:
    """The result in one sentence."""
    value, name = found["value"], found["model"]
    if not found["decisions"]:
        return f"No decision of {name} was kept in this time: nothing can be said about its value yet."
    if value is None:
        lead = short(found["lead"], found["currency"])
        return f"{name} is expected to earn {lead} more than {found['best_simple']}; no outcome is known yet, so all of it is an estimate."
    best = value["rivals"][0]
    low, high = Decimal(best["low"]), Decimal(best["high"])
    word = "earned more than" if low > 0 else ("earned less than" if high < 0 else "was not proven to earn more than")
    per = f"{short(best['difference'], found['currency'])} per decision (95 % interval {_figure(low)} to {_figure(high)})"
    return f"{name} {word} the best simple policy ({best['name']}): {per}, on {value['rows']:,} outcomes."


def short(value: str | None, currency: str) -> str:
    """An amount for people."""
    return "-" if value is None else f"{_figure(Decimal(value))} {currency}"


def percent(share: str | None) -> str:
    """A share for people; what is 10 and more as a multiple."""
    if share is None:
        return "-"
    return f"{Decimal(share):,.0f} times" if abs(Decimal(share)) >= 10 else f"{Decimal(share) * 100:.1f} %"


def _figure(amount: Decimal) -> str:
    """Whole units from 100 on, cents from a cent on, below that six places or, where they are all 0, every one."""
    if abs(amount) >= 100 or not amount:
        return f"{amount:,.0f}"
    if abs(amount) >= Decimal("0.01"):
        return f"{amount:,.2f}"
    return f"{amount:.6f}" if abs(amount) >= Decimal("0.000001") else f"{amount:f}"
