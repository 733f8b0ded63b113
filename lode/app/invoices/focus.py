"""FOCUS 1.2 (focus.finops.org): usage and invoices as finance tools read them. All mandatory columns, and those that a service with
tokens can fill; own columns begin with `x_`.

The rows of an invoice add up to its total, tax included: usage by day, fees, discounts, what rounding added, tax, credit notes.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from lode.app.books import journal
from lode.app.books.contracts import Document, Session
from lode.app.invoices import selection, usage
from lode.app.invoices.documents import Line, lines_of
from lode.app.prices import plans
from lode.core import money
from lode.core.errors import BillingError

COLUMNS = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity",
    "ConsumedUnit", "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "InvoiceId", "InvoiceIssuerName", "ListCost", "ListUnitPrice",
    "PricingCategory", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "RegionId", "RegionName", "ResourceId",
    "ResourceName", "ResourceType", "ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceId",
    "SubAccountId", "SubAccountName", "SubAccountType", "Tags", "x_Requests",
)  # fmt: skip
NUMBERS = frozenset(
    {
        "BilledCost", "ConsumedQuantity", "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "ListCost", "ListUnitPrice",
        "PricingQuantity",
        "x_Requests",
    }
)  # fmt: skip
MANDATORY = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory",
    "ChargeClass", "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost", "EffectiveCost",
    "InvoiceIssuerName", "ListCost",
    "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
)  # fmt: skip
_CATEGORIES = {
    "fee": "Purchase", "opening": "Purchase", "true_up": "Purchase", "prepaid": "Purchase", "credit": "Credit", "coupon": "Credit",
    "trial": "Credit", "waived": "Credit", "cap": "Credit", "adjustment": "Adjustment", "usage": "Usage",
}  # fmt: skip
_UNITS = {"input_tokens": "Input Tokens", "output_tokens": "Output Tokens", "cached_tokens": "Cached Tokens", "rows": "Rows"}
_MOST_GROUPS = 1_000_000
"""Sums of one day that are held in memory."""


class Focus:
    """What all rows share: names of customers, units of charges, who took what."""

    def __init__(self, session: Session, issuer: str):
        self.session = session
        self.issuer = issuer or "lode"
        self.customers = {item.id: item.body for item in journal.documents(session, "organisation")}
        self.taken = selection.taken_by(session)
        self._units: dict[str, dict[str, str]] = {}

    def unit(self, plan: str, charge: str) -> str:
        """What a charge counts."""
        if plan not in self._units:
            self._units[plan] = _units_of(self.session, plan)
        return self._units[plan].get(charge, "requests")

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
            "ChargeFrequency": "Usage-Based" if category == "Usage" else "Recurring" if category == "Purchase" else "One-Time",
        }  # fmt: skip
        return {**found, **more}


def rows(session: Session, what: usage.Asked, issuer: str) -> Iterator[dict[str, str]]:
    """Usage of one day after the other, then what invoices and credit notes of these periods hold besides."""
    shared = Focus(session, issuer)
    day, sums = -1, _no_sums()
    for row in usage.rows(session, what):
        if row["kind"] != "customer":
            continue
        if row["at_us"] // usage.DAY_US != day:
            yield from _day(shared, day, sums)
            day, sums = row["at_us"] // usage.DAY_US, _no_sums()
        _count(shared, sums, row)
    yield from _day(shared, day, sums)
    for document in journal.documents(session, "invoice", what.organisation or None):
        if _is_asked(document, what):
            yield from _of_invoice(shared, document)
    for document in journal.documents(session, "credit_note", what.organisation or None):
        if _is_asked(document, what):
            yield from _of_note(shared, document)


def _no_sums() -> defaultdict[tuple[str, ...], list[int]]:
    return defaultdict(lambda: [0, 0, 0])


def _count(shared: Focus, sums: defaultdict[tuple[str, ...], list[int]], row: Mapping[str, Any]) -> None:
    number = selection.number_of(shared.taken, row["subscription"], row["period"], row["sequence"])
    head = (
        row["organisation"],
        row["project"],
        row["key"],
        row["model"],
        str(row["version"]),
        row["plan"],
        row["subscription"],
        row["period"],
        number,
    )
    for charge, amount in (row["charges"] or {"": 0}).items():
        kept = sums[(*head, charge)]
        kept[0] += amount
        kept[1] += row["units"].get(shared.unit(row["plan"], charge), 0)
        kept[2] += 1
    if len(sums) > _MOST_GROUPS:
        raise BillingError(
            f"FOCUS: found more than {_MOST_GROUPS:,} sums in one day. Ask for one customer: lode usage ORGANISATION."
        )


def _day(shared: Focus, day: int, sums: Mapping[tuple[str, ...], list[int]]) -> Iterator[dict[str, str]]:
    if not sums:
        return
    start, end = f"{usage.day_of(day)}T00:00:00Z", f"{usage.day_of(day + 1)}T00:00:00Z"
    for key, (amount, quantity, requests) in sorted(sums.items()):
        organisation, project, api_key, model, version, plan, _, _, number, charge = key
        unit = shared.unit(plan, charge)
        yield shared.row(
            organisation, "Usage", f"{model}: {charge or 'not charged'}", amount, start, end, BillingPeriodStart=_month(day, 0),
            BillingPeriodEnd=_month(day, 1), InvoiceId=number, ConsumedQuantity=str(quantity), ConsumedUnit=_UNITS.get(unit, unit.title()),
            PricingQuantity=str(quantity), PricingUnit=_UNITS.get(unit, unit.title()), PricingCategory="Standard",
            ResourceId=f"{model}@{version}",
            ResourceName=model, ResourceType="Model", SkuId=model, SkuMeter=charge, SkuPriceId=f"{plan}/{charge}" if charge else "",
            SubAccountId=project, SubAccountType="Project" if project else "", Tags=_tags(api_key), x_Requests=str(requests),
        )  # fmt: skip


def _of_invoice(shared: Focus, document: Document) -> Iterator[dict[str, str]]:
    """Everything of an invoice but its usage, which the days above hold exactly."""
    body, added = document.body, 0
    more = {
        "InvoiceId": document.id,
        "BillingPeriodStart": _time(body["period"]["start"]),
        "BillingPeriodEnd": _time(body["period"]["end"]),
    }
    for line in lines_of(body):
        if not line.quantity or body["kind"] == "replacement":  # what it replaces was credited, its usage too
            start, end = line.start or body["period"]["start"], line.end or body["period"]["end"]
            sized = {"PricingQuantity": "1", "PricingUnit": "Periods"} if _CATEGORIES[line.kind] == "Purchase" else {}
            yield shared.row(document.organisation, _CATEGORIES[line.kind], line.text, line.amount, start, end, **sized, **more)
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


def _of_note(shared: Focus, document: Document) -> Iterator[dict[str, str]]:
    body = document.body
    more = {
        "InvoiceId": document.id, "ChargeClass": "Correction", "BillingPeriodStart": _time(body["period"]["start"]),
        "BillingPeriodEnd": _time(body["period"]["end"]),
    }  # fmt: skip
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


def _units_of(session: Session, plan: str) -> dict[str, str]:
    """Charge -> its first unit, of a plan written as `name@version` or by its name."""
    name, _, version = plan.partition("@")
    try:
        found = plans.found(session, name, int(version) if version.isdigit() else None)
    except BillingError:
        return {}
    return {item.name: item.charge.units[0] for item in found.charges if item.charge.units}


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
