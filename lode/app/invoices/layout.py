"""What a document shows to people, in words: the same for HTML and PDF. Everything comes from the sealed JSON, so the same document is
the same bytes.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lode.app.invoices import customers
from lode.core import money

TITLES = {
    "period": "Invoice", "interim": "Interim invoice", "advance": "Invoice", "final": "Invoice",
    "replacement": "Invoice", "draft": "Draft invoice",
    "credit": "Credit note", "void": "Credit note",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    line: str
    text: str
    span: str
    quantity: str
    unit_price: str
    tax: str
    amount: str


@dataclass(frozen=True, slots=True)
class Page:
    """A document, ready to be set. seller, customer: lines of text, the first is the name. facts, totals: (label, value)."""

    title: str
    number: str
    seller: tuple[str, ...]
    customer: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    taxes: tuple[tuple[str, str, str], ...]
    totals: tuple[tuple[str, str], ...]
    due: tuple[str, str]
    notes: tuple[str, ...]
    issued_us: int
    seal: str
    is_draft: bool


def page(body: Mapping[str, Any]) -> Page:
    """The page of a document's JSON."""
    currency, zone = body["currency"], body["period"]["zone"]
    has_several = len({line["plan"] for line in body["lines"] if line.get("plan")}) > 1
    return Page(
        title=TITLES[body["kind"]], number=body["number"], seller=_party(body["seller"]), customer=_party(body["customer"]),
        facts=_facts(body, zone),
        rows=tuple(_row(index, line, zone, currency, has_several) for index, line in enumerate(body["lines"], 1)),
        taxes=tuple((f"{row['name']}", _money(row["base"], currency), _money(row["amount"], currency)) for row in body["taxes"]),
        totals=_totals(body, currency), due=_due(body, currency), notes=_notes(body),
        issued_us=customers.micros(body["issued"]), seal=body.get("seal", ""), is_draft=body["kind"] == "draft",
    )  # fmt: skip


def _party(party: Mapping[str, Any]) -> tuple[str, ...]:
    lines = [party["name"], *party["address"], party["country"]]
    if party.get("tax_id"):
        lines.append(f"Tax ID {party['tax_id']}")
    if party.get("email"):
        lines.append(party["email"])
    return tuple(line for line in lines if line)


def _facts(body: Mapping[str, Any], zone: str) -> tuple[tuple[str, str], ...]:
    facts = [("Date", _day(body["issued"], zone))]
    if "invoice" in body:
        facts += [("For invoice", body["invoice"]), ("Reason", body["reason"])]
    start, end = body["period"]["start"], body["period"]["end"]
    facts.append(("Period", f"{_minute(start, zone)} to {_minute(end, zone)} (end not included), {zone}"))
    if body.get("replaces"):
        facts.append(("Replaces", f"{body['replaces']}, which was credited in full"))
    if body.get("due_on"):
        facts += [("Due date", body["due_on"]), ("Payment reference", body["reference"])]
    return tuple(facts)


def _row(index: int, line: Mapping[str, Any], zone: str, currency: str, with_plan: bool) -> Row:
    """with_plan: of two lines "base" the plan says which is which."""
    text = f"{line['text']} ({line['plan']})" if with_plan and line.get("plan") else line["text"]
    span = f"{_minute(line['start'], zone)} to {_minute(line['end'], zone)}" if line.get("start") else ""
    quantity = f"{_grouped(line['quantity'])} {line.get('unit', '')}".strip().replace("_", " ") if line.get("quantity") else ""
    return Row(
        str(line.get("line", index)), text, span, quantity, line.get("unit_price", ""), line.get("tax", ""),
        _plain_money(line["amount"], currency),
    )  # fmt: skip


def _totals(body: Mapping[str, Any], currency: str) -> tuple[tuple[str, str], ...]:
    inclusive = body["prices"] == "inclusive"
    rows = [("Total without tax", _money(body["net"], currency))]
    rows += [(f"{row['name']} on {_money(row['base'], currency)}", _money(row["amount"], currency)) for row in body["taxes"]]
    rows.append(("Total", _money(body["total"], currency)))
    if body.get("prepaid", "0") != "0":
        rows.append(("Paid from prepaid credit", _money(f"-{body['prepaid']}", currency)))
    if body.get("to_prepaid", "0") != "0":
        rows.append(("Returned to prepaid credit", _money(body["to_prepaid"], currency)))
    return (("Prices hold the tax", ""), *rows) if inclusive else tuple(rows)


def _due(body: Mapping[str, Any], currency: str) -> tuple[str, str]:
    if "invoice" in body:
        return ("Credited", _money(body["total"], currency))
    word = "Total due" if not body["due"].startswith("-") else "Balance in your favour"
    return (word, _money(body["due"].removeprefix("-"), currency))


def _notes(body: Mapping[str, Any]) -> tuple[str, ...]:
    """What the law wants to read, how to pay, what was frozen."""
    notes = [row["note"] for row in body["taxes"] if row.get("note")]
    if "invoice" not in body and not body["due"].startswith("-") and body["due"] != "0":
        notes += [f"Please pay to: {', '.join(body['seller']['payment'])}"] if body["seller"].get("payment") else []
    for row in body.get("fx", ()):
        notes.append(f"Exchange rate: 1 {row['from']} = {row['rate']} {row['to']} ({row['source']}, {row['date']}).")
    return (*notes, *body.get("notes", ()), *body["seller"].get("notes", ()))


def _day(text: str, zone: str) -> str:
    return _local(text, zone).date().isoformat()


def _minute(text: str, zone: str) -> str:
    """A day, with the time where it is not midnight."""
    at = _local(text, zone)
    return at.date().isoformat() if at.time() == datetime.time() else at.strftime("%Y-%m-%d %H:%M:%S")


def _local(text: str, zone: str) -> datetime.datetime:
    return customers.moment(customers.micros(text)).astimezone(customers.zone(zone))


def _money(text: str, currency: str) -> str:
    return money.shown(money.parse(text, "amount", least=None), currency)


def _plain_money(text: str, currency: str) -> str:
    return _money(text, currency).removesuffix(f" {currency}")


def _grouped(text: str) -> str:
    whole, _, rest = text.partition(".")
    return f"{int(whole):,}" + (f".{rest}" if rest else "")
