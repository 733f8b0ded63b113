"""FOCUS 1.2 (focus.finops.org): usage and invoices as finance tools read them.

Columns, their types and where they may be empty are those of the specification's requirements model (github.com
FinOps-Open-Cost-and-Usage-Spec/FOCUS_Spec, specification/columns and specification/requirements_model, read in November 2026); own
columns begin with `x_`. Left out: what lode has not (regions, zones, commitment discounts, other pricing currencies), and unit prices,
because with tiers no one price times the quantity is the cost, which the specification demands.

The rows of an invoice add up to its total, tax included: usage by day, fees, discounts, what rounding added, tax, credit notes.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lode.app.books import journal
from lode.app.books.contracts import Document, Session
from lode.app.invoices import customers, selection, usage
from lode.app.invoices.categories import RETURNED
from lode.app.invoices.documents import INVOICE, Line, lines_of
from lode.app.prices import plans
from lode.app.prices.contracts import MONEY
from lode.app.prices.subscription import KIND, Subscription
from lode.core import money
from lode.core.errors import BillingError, NotFoundError

MANDATORY = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory",
    "ChargeClass", "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName",
    "ListCost", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
)  # fmt: skip
RECOMMENDED = ("ChargeFrequency", "InvoiceId", "ServiceSubcategory")
CONDITIONAL = (
    "BillingAccountType", "ConsumedQuantity", "ConsumedUnit", "PricingCategory", "ResourceId", "ResourceName", "ResourceType", "SkuId",
    "SkuMeter", "SkuPriceId", "SubAccountId", "SubAccountName", "SubAccountType", "Tags",
)  # fmt: skip
COLUMNS = (*sorted((*MANDATORY, *RECOMMENDED, *CONDITIONAL)), "x_Requests")
NUMBERS = frozenset(
    {"BilledCost", "ConsumedQuantity", "ContractedCost", "EffectiveCost", "ListCost", "PricingQuantity", "x_Requests"}
)  # fmt: skip
NEVER_EMPTY = frozenset(MANDATORY) - {"ChargeClass", "PricingQuantity", "PricingUnit"} | {"ChargeFrequency", "ServiceSubcategory"}
CATEGORIES = ("Usage", "Purchase", "Tax", "Credit", "Adjustment")
FREQUENCIES = ("One-Time", "Recurring", "Usage-Based")
CORRECTION = "Correction"
"""ChargeClass of what corrects a billing period that was invoiced before; it is empty for all others."""
_CATEGORIES = {
    "fee": "Purchase", "opening": "Purchase", "true_up": "Purchase", "prepaid": "Purchase", "credit": "Credit", "coupon": "Credit",
    "trial": "Credit", "waived": "Credit", "cap": "Credit", "adjustment": "Adjustment", "usage": "Usage", "correction": "Usage",
    RETURNED: "Adjustment",
}  # fmt: skip
_UNITS = {"requests": "Requests", "rows": "Rows", "compute_us": "Microseconds", "request_bytes": "B", "answer_bytes": "B"}
_PARTS = ("cached_tokens", "cache_write_tokens", "reasoning_tokens")
"""Tokens that are among the input's or the output's, which a charge counts too."""
_MOST_GROUPS = 1_000_000
"""Sums of one day that are held in memory."""


@dataclass(slots=True)
class _Sum:
    """Of one day's alike requests. plan: the last that priced them."""

    amount: int = 0
    quantity: int = 0
    requests: int = 0
    plan: str = ""


Sums = defaultdict[tuple[str, ...], _Sum]


class Focus:
    """What all rows share: names of customers and projects, units of charges, who took what, billing periods."""

    def __init__(self, session: Session, issuer: str):
        self.session = session
        self.issuer = issuer or "lode"
        self.customers = {item.id: item.body for item in journal.documents(session, "organisation")}
        self.projects = {item.id: str(item.body.get("name") or item.id) for item in journal.documents(session, "project")}
        self.subscriptions = {item.id: Subscription.of(item) for item in journal.documents(session, KIND)}
        self.taken = selection.taken_by(session)
        self.periods: dict[str, tuple[str, str]] = {}
        self.corrected: set[tuple[str, str, str]] = set()
        """(invoice, subscription, period) of usage that came, or changed its price, after its period was invoiced."""
        for item in journal.documents(session, INVOICE):
            self.periods[item.id] = _span(item.body)
            changed = [line for line in item.body["lines"] if line["kind"] in ("adjustment", "correction")]
            self.corrected |= {(item.id, line["subscription"], line["period"]) for line in changed}
        self._units: dict[str, dict[str, tuple[str, ...]]] = {}

    def units(self, plan: str, charge: str) -> tuple[str, ...]:
        """What a charge counts; requests where it is priced by a sum of money, or there is none."""
        if plan not in self._units:
            self._units[plan] = _units_of(self.session, plan)
        found = self._units[plan].get(charge, ())
        whole = tuple(unit for unit in found if unit not in _PARTS) or found
        return whole if whole and not set(whole) & set(MONEY) else ("requests",)

    def period(self, number: str, subscription: str, label: str, day: int) -> tuple[str, str]:
        """The billing period of usage: its invoice's; its contract's where none took it; a calendar month without a contract."""
        if number:
            return self.periods[number]
        held = self.subscriptions.get(subscription)
        if held is None:
            return _month(day, 0), _month(day, 1)
        at_us = usage.moment(label)
        return _time(label), _time(
            customers.shown_time(held.period(at_us).whole_end_us if held.covers(at_us) else at_us + usage.DAY_US)
        )

    def row(self, organisation: str, category: str, text: str, cost: int, start: str, end: str, **more: str) -> dict[str, str]:
        """A row; what is not named is empty. cost: 10^-12."""
        body = self.customers.get(organisation, {})
        found = dict.fromkeys(COLUMNS, "")
        amount = money.plain(cost)
        found |= {
            "BilledCost": amount, "EffectiveCost": amount, "ListCost": amount, "ContractedCost": amount, "BillingAccountId": organisation,
            "BillingAccountName": str(body.get("name", organisation)), "BillingAccountType": "Organisation",
            "BillingCurrency": str(body.get("currency", "")), "ChargeCategory": category, "ChargeDescription": text,
            "ChargePeriodStart": _time(start),
            "ChargePeriodEnd": _time(end), "InvoiceIssuerName": self.issuer, "ProviderName": self.issuer, "PublisherName": self.issuer,
            "ServiceCategory": "AI and Machine Learning", "ServiceName": "Model inference",
            "ServiceSubcategory": "Other (AI and Machine Learning)",
            "Tags": "{}",
            "ChargeFrequency": "Usage-Based" if category == "Usage" else "Recurring" if category == "Purchase" else "One-Time",
        }  # fmt: skip
        return {**found, **more}


def rows(session: Session, what: usage.Asked, issuer: str) -> Iterator[dict[str, str]]:
    """Usage of one day after the other, then what invoices and credit notes of these periods hold besides."""
    shared = Focus(session, issuer)
    day, sums = -1, Sums(_Sum)
    for row in usage.rows(session, what):
        if row["kind"] not in ("customer", "correction"):
            continue
        if row["at_us"] // usage.DAY_US != day:
            yield from _day(shared, day, sums)
            day, sums = row["at_us"] // usage.DAY_US, Sums(_Sum)
        _count(shared, sums, row)
    yield from _day(shared, day, sums)
    for document in journal.documents(session, INVOICE, what.organisation or None):
        if _is_asked(document, what):
            yield from _of_invoice(shared, document)
    for document in journal.documents(session, "credit_note", what.organisation or None):
        if _is_asked(document, what):
            yield from _of_note(shared, document)


def _count(shared: Focus, sums: Sums, row: Mapping[str, Any]) -> None:
    number = selection.number_of(shared.taken, row["subscription"], row["period"], row["sequence"])
    head = [row[name] for name in ("organisation", "project", "key", "model", "version", "subscription", "period")]
    for charge, amount in (row["charges"] or {"": 0}).items():
        kept = sums[(*map(str, head), number, charge)]
        kept.amount += amount
        kept.quantity += sum(row["units"].get(unit, 0) for unit in shared.units(row["plan"], charge))
        kept.requests += row["kind"] == "customer"
        kept.plan = row["plan"]
    if len(sums) > _MOST_GROUPS:
        raise BillingError(
            f"FOCUS: found more than {_MOST_GROUPS:,} sums in one day. Ask for one customer: lode usage ORGANISATION."
        )


def _day(shared: Focus, day: int, sums: Mapping[tuple[str, ...], _Sum]) -> Iterator[dict[str, str]]:
    if not sums:
        return
    start, end = f"{usage.day_of(day)}T00:00:00Z", f"{usage.day_of(day + 1)}T00:00:00Z"
    for key, kept in sorted(sums.items()):
        organisation, project, api_key, model, version, subscription, period, number, charge = key
        unit, quantity = _unit(shared.units(kept.plan, charge)), str(kept.quantity)
        first, last = shared.period(number, subscription, period, day)
        yield shared.row(
            organisation, "Usage", f"{model}: {charge or 'not charged'}", kept.amount, start, end, BillingPeriodStart=first,
            BillingPeriodEnd=last, ChargeClass=CORRECTION if (number, subscription, period) in shared.corrected else "", InvoiceId=number,
            ConsumedQuantity=quantity, ConsumedUnit=unit, PricingQuantity=quantity, PricingUnit=unit, PricingCategory="Standard",
            ResourceId=f"{model}@{version}", ResourceName=model, ResourceType="Model", SkuId=model, SkuMeter=charge or "none",
            SkuPriceId=f"{kept.plan or 'none'}/{charge or 'none'}", SubAccountId=project,
            SubAccountName=shared.projects.get(project, project), SubAccountType="Project" if project else "", Tags=_tags(api_key),
            x_Requests=str(kept.requests),
        )  # fmt: skip


def _of_invoice(shared: Focus, document: Document) -> Iterator[dict[str, str]]:
    """Everything of an invoice but its usage, which the days above hold exactly."""
    body, added = document.body, 0
    first, last = _span(body)
    more = {"InvoiceId": document.id, "BillingPeriodStart": first, "BillingPeriodEnd": last}
    for line in lines_of(body):
        if not line.is_used or body["kind"] == "replacement":  # what it replaces was credited, its usage too
            start, end = line.start or body["period"]["start"], line.end or body["period"]["end"]
            sized = _sized(line, body["kind"])
            yield shared.row(document.organisation, _CATEGORIES[line.kind], line.text, line.amount, start, end, **{**more, **sized})
        else:
            added += _rounding(line)
    if added:
        yield shared.row(
            document.organisation,
            "Adjustment",
            "Rounding to whole coins",
            added,
            body["period"]["start"],
            body["period"]["end"],
            **more,
        )
    yield from _taxes(shared, document, 1, more)


def _sized(line: Line, kind: str) -> dict[str, str]:
    """What else a line that is not usage of a day must say."""
    if kind == "replacement" or line.kind in ("adjustment", "correction", RETURNED):
        return {"ChargeClass": CORRECTION}
    if _CATEGORIES[line.kind] != "Purchase":
        return {}
    sku = {"SkuId": line.plan, "SkuMeter": line.charge, "SkuPriceId": f"{line.plan}/{line.charge}"}
    # What is bought to be used later has its effect when it is used.
    paid = {"EffectiveCost": "0", "ChargeFrequency": "One-Time"} if line.kind == "prepaid" else {}
    return {"PricingQuantity": "1", "PricingUnit": "Periods", "PricingCategory": "Standard", **sku, **paid}


def _of_note(shared: Focus, document: Document) -> Iterator[dict[str, str]]:
    body = document.body
    first, last = _span(body)
    more = {"InvoiceId": document.id, "ChargeClass": CORRECTION, "BillingPeriodStart": first, "BillingPeriodEnd": last}
    for line in body["lines"]:
        amount = -money.parse(line["amount"], "amount", least=None)
        text = f"Credit of {body['invoice']}, line {line['line']}: {body['reason']}"
        yield shared.row(document.organisation, "Credit", text, amount, body["period"]["start"], body["period"]["end"], **more)
    yield from _taxes(shared, document, -1, more)


def _taxes(shared: Focus, document: Document, sign: int, more: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Tax that is added; where prices hold it, the lines above hold it too."""
    body = document.body
    if body["prices"] == "inclusive":
        return
    for row in body["taxes"]:
        amount = sign * money.parse(row["amount"], "amount", least=None)
        if amount:
            yield shared.row(
                document.organisation, "Tax", row["name"], amount, body["period"]["start"], body["period"]["end"], **more
            )


def _rounding(line: Line) -> int:
    return line.amount - line.exact


def _is_asked(document: Document, what: usage.Asked) -> bool:
    at_us = usage.moment(document.body["period"]["start"])
    return what.start_us <= at_us < what.end_us


def _units_of(session: Session, plan: str) -> dict[str, tuple[str, ...]]:
    """Charge -> its units, of a plan written as `name@version`; of one that is not known, none."""
    name, _, version = plan.partition("@")
    try:
        found = plans.found(session, name, int(version) if version.isdigit() else None)
    except NotFoundError:
        return {}
    return {item.name: item.charge.units for item in found.charges if item.charge.units}


def _unit(units: tuple[str, ...]) -> str:
    """As FOCUS writes units: "Requests", "Tokens", "B"."""
    return _UNITS.get(units[0], "Tokens" if units[0].endswith("_tokens") else units[0].title())


def _span(body: Mapping[str, Any]) -> tuple[str, str]:
    return _time(body["period"]["start"]), _time(body["period"]["end"])


def _month(day: int, later: int) -> str:
    """First moment of the calendar month (UTC) of a day, or of the next one."""
    first = (datetime.date(1970, 1, 1) + datetime.timedelta(days=day)).replace(day=1)
    if later:
        first = (first + datetime.timedelta(days=32)).replace(day=1)
    return f"{first.isoformat()}T00:00:00Z"


def _time(text: str) -> str:
    """Whole seconds, as FOCUS wants them."""
    return f"{text[:19]}Z" if len(text) > 20 else text


def _tags(api_key: str) -> str:
    return f'{{"key": "{api_key}"}}' if api_key else "{}"
