"""A margin report and a simulated plan in words and columns."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

_FIGURES = ("requests", "revenue", "cost", "gross_profit", "gross_margin", "cost_per_1000")


def margin(found: dict[str, Any]) -> str:
    """The table of `lode margin`, with what stands out under it."""
    by, currency = found["by"], found["currency"]
    rows = [[*(str(line[word]) or "-" for word in by), *_figures(line)] for line in found["lines"]]
    rows.append(["total", *([""] * (len(by) - 1)), *_figures(found["total"])])
    head = [*by, *(name.replace("_", " ") for name in _FIGURES), ""]
    text = [f"{_span(found)}, {currency}", *_table(head, rows, len(by))]
    if found["losing"]:
        names = ", ".join(f"{item['customer']} ({figure(item['gross_profit'])} {currency})" for item in found["losing"])
        text.append(f"Customers that lose money: {names}.")
    text += [*_idle(found["idle"], currency), *_unit(found["unit"], currency), *_customers(found["customers"], currency)]
    if "posted" in found:
        sums = ", ".join(f"{value} {code}" for code, value in found["posted"]["posted"].items()) or "nothing new"
        text.append(f"Posted to the ledger: {sums}.")
    return "\n".join([*text, *found["notes"]])


def simulated(found: dict[str, Any]) -> str:
    """The table of `lode margin --plan`."""
    sums = ("before", "after", "difference")
    rows = [[line["customer"], str(line["requests"]), *(figure(line[name]) for name in sums)] for line in found["customers"]]
    rows.append(["total", "", *(figure(found[name]) for name in sums)])
    text = [
        f"{_span(found)} under {found['plan']}, {found['currency']}; nothing was changed",
        *_table(["customer", "requests", "was", "would be", "difference"], rows, 1),
        f"{found['pay_more']} would pay more, {found['pay_less']} less. Fees, minimums and taxes come on top.",
    ]
    if found["without_plan"]:
        text.append(f"{found['without_plan']} requests without a plan are left out.")
    if found["other_currencies"]:
        names = ", ".join(f"{customer} ({currency})" for customer, currency in sorted(found["other_currencies"].items()))
        text.append(f"Left out, because they pay in another currency: {names}.")
    return "\n".join(text)


def _span(found: dict[str, Any]) -> str:
    from lode.app.economics.readings import moment_of

    return f"{moment_of(found['from'])} to {moment_of(found['to'])} UTC"


def figure(value: Any) -> str:
    """At most six places, for people; of what is smaller, the first figure that says something: no cost reads as none."""
    if value is None:
        return "-"
    exact = Decimal(str(value))
    if exact == exact.to_integral_value():
        return f"{exact:f}".partition(".")[0]
    places = max(6, -exact.adjusted())
    return f"{exact:.{places}f}".rstrip("0").rstrip(".")


def _figures(line: dict[str, Any]) -> list[str]:
    cells = {name: figure(line[name]) for name in _FIGURES} | {"gross_margin": percent(line["gross_margin"])}
    return [*cells.values(), "!" if line["below_floor"] else ""]


def percent(share: str | None) -> str:
    """A share for people."""
    return "-" if share is None else f"{float(share) * 100:.1f} %"


def _idle(idle: dict[str, Any] | None, currency: str) -> list[str]:
    if idle is None:
        return []
    used = f"{float(idle['utilisation']) * 100:.2f} % of {float(idle['machine_hours']):.2f} machine hours were used"
    full, real, rest = (figure(idle[name]) for name in ("cost_at_full_utilisation", "cost_real", "cost_idle"))
    return [f"{used}: {full} {currency} of {real} {currency}; {rest} {currency} was idle."]


def _unit(unit: dict[str, Any] | None, currency: str) -> list[str]:
    if unit is None:
        return []
    price, cost, even = (figure(unit[name]) for name in ("price", "variable_cost", "break_even_price"))
    if even == "0":  # no cost is known: the notes say why
        return []
    volume = unit["break_even_volume"]
    where = (
        "at no volume, since it costs more than it brings"
        if volume is None
        else f"at {volume:,} request{'' if volume == 1 else 's'}"
    )
    return [f"A request brings {price} {currency} and costs {cost}; break-even at a price of {even}, or {where}."]


def _customers(found: dict[str, Any] | None, currency: str) -> list[str]:
    if found is None:
        return []
    text = []
    if found["net_revenue_retention"] is not None:
        first, second = found["months"]
        text.append(f"Net revenue retention {first} to {second}: {percent(found['net_revenue_retention'])}.")
    if found["payback_months"] is not None:
        text.append(f"A customer is paid back after {found['payback_months']} months.")
    value = found["lifetime_value"]
    if value is not None:
        low, high = figure(value["low"]), figure(value["high"])
        text.append(f"Lifetime value of a customer {figure(value['ltv'])} {currency} (95 % interval {low} to {high}).")
    return text


def _table(head: list[str], rows: list[list[str]], words: int) -> list[str]:
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    lines = []
    for row in [head, *rows]:
        pairs = list(zip(row, widths, strict=True))
        cells = [cell.ljust(width) for cell, width in pairs[:words]] + [cell.rjust(width) for cell, width in pairs[words:]]
        lines.append("  ".join(cells).rstrip())
    return lines
