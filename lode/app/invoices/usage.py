"""What was used: totals for the screen, rows in pages for files, and the three published ratios."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import orjson

from lode.app.books import journal
from lode.app.books.contracts import Session, Store
from lode.app.invoices import customers, identity, selection
from lode.core import money
from lode.core.errors import BillingError, near_miss

DAY_US = 86_400_000_000
PAGE = 5000
UNITS = ("rows", "input_tokens", "cached_tokens", "output_tokens", "compute_us")
_COLUMNS: Mapping[str, str] = {
    "customer": "organisation", "project": "project", "key": "key", "model": "model", "plan": "plan", "provider": "provider",
    "day": "at_us / 86400000000",
}  # fmt: skip
BY = tuple(_COLUMNS)
_FIELDS = (
    "sequence", "request_id", "at_us", "organisation", "project", "key", "model", "version", "status", "kind", "plan",
    "subscription", "period",
    "units", "charges", "amount", "provider", "estimated",
)  # fmt: skip
_SELECT = f"SELECT {', '.join(_FIELDS)} FROM usage WHERE at_us >= ? AND at_us < ? "


@dataclass(frozen=True, slots=True)
class Asked:
    """Which usage. organisation: "" for all. [start_us, end_us). kinds: of traffic ("customer", "own", "shadow")."""

    organisation: str = ""
    start_us: int = 0
    end_us: int = 2**62


def asked(organisation: str, since: str, until: str) -> Asked:
    """From what a person wrote: days (`2026-11-01`, UTC; `until` is not included) or times with an offset. Errors: BillingError."""
    start = _moment(since, "from") if since else 0
    end = _moment(until, "to") if until else 2**62
    if start >= end:
        raise BillingError(f"to: found {until}, wanted a moment after {since}. Exchange them.")
    return Asked(organisation, start, end)


def moment(text: str) -> int:
    """Microseconds of an ISO time that this package wrote."""
    return customers.micros(text)


def _moment(text: str, where: str) -> int:
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise BillingError(
            f'{where}: found "{text[:40]}", wanted a day like 2026-11-01 or a time like 2026-11-01T12:00:00Z. Write it so.'
        ) from None
    if at.tzinfo is None:
        if len(text) > 10:
            raise BillingError(f'{where}: found "{text}" without a time zone, wanted one, like {text}Z. Add it.')
        at = at.replace(tzinfo=datetime.UTC)
    return customers.micros(at.isoformat())


def totals(store: Store, what: Asked, by: Sequence[str], *, billed: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Sums by customer, model, day, key, ... and the ratios of the customers asked for. Days are UTC.

    billed: provider -> what its own invoice says, for the capture rate. Errors: BillingError.
    """
    for word in by:
        if word not in _COLUMNS:
            raise BillingError(f'by: found "{word}", allowed: {", ".join(BY)}.{near_miss(word, BY)} Choose some, with commas.')
    with store.view() as session:
        if what.organisation:
            customers.found(session, what.organisation)
        rows = _grouped(session, what, by)
        owners = [what.organisation] if what.organisation else [item.id for item in journal.documents(session, "organisation")]
        lost = {} if what.organisation else identity.all_lost(session)
        checks = {owner: _identity(session, owner, None if what.organisation else lost.get(owner, [])) for owner in owners}
        quarantined = _quarantined(session, what)
        unpriced = _unpriced(session, what)
        capture = {name: _capture(session, what, name, text) for name, text in (billed or {}).items()}
    return {
        "totals": rows,
        "by": list(by),
        "books": checks,
        "quarantined": quarantined,
        "unpriced": unpriced,
        "capture": capture,
        **_ratios(checks),
    }


def _grouped(session: Session, what: Asked, by: Sequence[str]) -> list[dict[str, Any]]:
    columns = [_COLUMNS[word] for word in by]
    requests = "SUM(CASE WHEN kind = 'customer' THEN 1 ELSE 0 END)"
    sums = ", ".join([requests, *(f"SUM({unit})" for unit in ("num_rows", *UNITS[1:])), "exact_sum(amount)"])
    # the currency stands in the organisation's name of the ledger only, so rows are grouped by organisation first
    groups = ", ".join(dict.fromkeys(["organisation", *columns]))
    owner = "AND organisation = ? " if what.organisation else ""
    values = (what.start_us, what.end_us, *((what.organisation,) if what.organisation else ()))
    found = session.rows(
        f"SELECT {groups}, {sums} FROM usage WHERE at_us >= ? AND at_us < ? {owner}AND {selection.KINDS} GROUP BY {groups}", values
    )
    currencies = {item.id: item.body["currency"] for item in journal.documents(session, "organisation")}
    merged: dict[tuple[Any, ...], list[int]] = {}
    width = len(groups.split(", "))
    places = [groups.split(", ").index(column) for column in columns]
    for row in found:
        key = (*(row[place] for place in places), currencies.get(row[0], ""))
        kept = merged.setdefault(key, [0] * (len(UNITS) + 2))
        for index, value in enumerate(row[width:]):
            kept[index] += int(value or 0)
    return [_total(by, key, values) for key, values in sorted(merged.items())]


def _total(by: Sequence[str], key: tuple[Any, ...], values: Sequence[int]) -> dict[str, Any]:
    named = {word: day_of(value) if word == "day" else value for word, value in zip(by, key, strict=False)}
    units = dict(zip(("requests", *UNITS), values, strict=False))
    return {**named, **units, "amount": money.plain(values[-1]), "currency": key[-1]}


def day_of(day: int) -> str:
    """The date of a whole number of days since 1970."""
    return (datetime.date(1970, 1, 1) + datetime.timedelta(days=int(day))).isoformat()


def _identity(session: Session, organisation: str, lost: Sequence[str] | None) -> dict[str, Any]:
    customer = customers.found(session, organisation)
    found = selection.parts(session, organisation, customer.currency)
    return {**identity.compare(session, organisation, customer.currency, found, lost=lost).body(), "currency": customer.currency}


def _ratios(checks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """All customers together; leakage by currency."""
    acknowledged = sum(check["acknowledged"] for check in checks.values())
    metered = sum(check["metered"] for check in checks.values())
    leakage: dict[str, int] = {}
    for check in checks.values():
        leakage[check["currency"]] = leakage.get(check["currency"], 0) + abs(money.parse(check["leakage"], "leakage", least=None))
    ratio = "1" if acknowledged == metered else _ratio(metered, acknowledged)
    return {"completeness": ratio, "leakage": {currency: money.plain(amount) for currency, amount in sorted(leakage.items())}}


def _ratio(part: int, whole: int) -> str:
    """A ratio as text with nine decimals, cut, so that less than 1 never reads as 1."""
    if whole == 0:
        return ""
    scaled = Fraction(part, whole) * 10**9
    return f"{int(scaled) // 10**9}.{int(scaled) % 10**9:09d}"


def _capture(session: Session, what: Asked, provider: str, text: str) -> dict[str, str]:
    """Our computed cost of a provider divided by what it billed."""
    billed = money.parse(text, f"billed {provider}", least=1)
    # Of every version of its price list: "NAME@VERSION".
    (cost,) = session.rows(
        "SELECT exact_sum(cost) FROM usage WHERE (provider = ? OR substr(provider, 1, ?) = ?) AND at_us >= ? AND at_us < ?",
        (provider, len(provider) + 1, f"{provider}@", what.start_us, what.end_us),
    )[0]
    computed = int(cost or 0)
    return {"computed": money.plain(computed), "billed": money.plain(billed), "rate": _ratio(computed, billed)}


def _quarantined(session: Session, what: Asked) -> int:
    found = journal.documents(session, "quarantine", what.organisation or None)
    return sum(1 for item in found if item.body.get("state", "held") == "held")


def _unpriced(session: Session, what: Asked) -> dict[str, int]:
    """Customer -> answered requests that no plan priced: nobody will pay them."""
    owner = "AND organisation = ? " if what.organisation else ""
    found = session.rows(
        "SELECT organisation, COUNT(*) FROM usage WHERE at_us >= ? AND at_us < ? AND kind = 'customer' AND subscription = '' "
        f"AND status < 400 {owner}GROUP BY organisation ORDER BY organisation",
        (what.start_us, what.end_us, *((what.organisation,) if what.organisation else ())),
    )
    return {name: int(count) for name, count in found}


def rows(session: Session, what: Asked) -> Iterator[dict[str, Any]]:
    """Every request in order of time, one page in memory at a time. units: dict; charges: amounts by charge, 10^-12; amount: 10^-12."""
    owner = "AND organisation = ? " if what.organisation else ""
    first = (what.organisation,) if what.organisation else ()
    at_us, sequence = what.start_us, 0
    while True:
        found = session.rows(
            f"{_SELECT}{owner}AND (at_us > ? OR (at_us = ? AND sequence > ?)) ORDER BY at_us, sequence LIMIT ?",
            (at_us, what.end_us, *first, at_us, at_us, sequence, PAGE),
        )
        if not found:
            return
        for values in found:
            row = dict(zip(_FIELDS, values, strict=True))
            row["units"] = orjson.loads(row["units"])
            row["charges"] = {name: int(amount) for name, amount in orjson.loads(row["charges"]).items()}
            row["amount"] = int(row["amount"])
            yield row
        sequence, at_us = found[-1][0], found[-1][2]
