"""Usage that was measured elsewhere (a batch job, another server) and comes late: billed at the price that held when it happened.

What cannot be billed is not dropped and not guessed: it is held in quarantine, where everybody sees it, with the reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lode.app.books import accounts, journal
from lode.app.books.contracts import Act, Document, Session, Store, Used
from lode.app.invoices import customers, wallet
from lode.app.invoices.documents import REFERENCE, moved
from lode.app.prices.contracts import COUNTED, REPORTED
from lode.app.prices.subscriptions import tariff_at
from lode.core import money
from lode.core.errors import BillingError, near_miss

KIND = "quarantine"
OLDEST_US = 35 * 86_400_000_000
AHEAD_US = 5 * 60 * 1_000_000
"""An event may be so old, and so far ahead of our clock (Stripe's limits)."""
_FIELDS = ("organisation", "request_id", "at", "model", "units", "project", "key", "version")
_UNITS = (*COUNTED, REPORTED)
_LARGEST_VALUE = 9_000_000 * money.UNIT
"""Units are whole numbers of 64 bits in the journal."""
_CHUNK = 500
_LARGEST = 10**15


@dataclass(frozen=True, slots=True)
class Event:
    """One measured request. at_us: when it was answered."""

    organisation: str
    request_id: str
    at_us: int
    model: str
    units: Mapping[str, int]
    project: str = ""
    key: str = ""
    version: int = 0

    @property
    def fingerprint(self) -> str:
        body = [self.organisation, self.request_id, self.at_us, self.model, sorted(self.units.items())]
        return hashlib.sha256(json.dumps(body).encode()).hexdigest()


def read(store: Store, actor: str, path: Path, *, now_us: Callable[[], int]) -> dict[str, Any]:
    """Bill the events of a file, one JSON object a line; the same file again changes nothing.

    Errors: BillingError naming the line that is no event; what stands above it is billed.
    """
    sums = {"accepted": 0, "known": 0, "quarantined": 0}
    amounts: dict[str, int] = {}
    with path.open(encoding="utf-8") as file:
        events = (event_of(line, f"{path}:{number}") for number, line in enumerate(file, 1) if line.strip())
        while chunk := list(islice(events, _CHUNK)):
            for word, currency, amount in record(store, actor, chunk, now_us=now_us):
                sums[word] += 1
                amounts[currency] = amounts.get(currency, 0) + amount
    shown = ", ".join(f"{money.plain(amount)} {currency}" for currency, amount in sorted(amounts.items()) if currency)
    return {**sums, "amount": shown or "0"}


def event_of(line: str, where: str) -> Event:
    """The event of one line. Errors: BillingError."""
    try:
        found = json.loads(line, parse_constant=lambda word: word)
    except ValueError as error:
        raise BillingError(f"{where}: not JSON: {error}. Correct it.") from None
    if not isinstance(found, dict):
        raise BillingError(f"{where}: found {str(found)[:40]}, wanted an object. Correct it.")
    for name in found:
        if name not in _FIELDS:
            raise BillingError(
                f'{where}: found "{name[:40]}", allowed: {", ".join(_FIELDS)}.{near_miss(name, _FIELDS)} Correct it.'
            )
    texts = {name: found.get(name, "") for name in ("organisation", "request_id", "at", "model", "project", "key")}
    for name, text in texts.items():
        if not isinstance(text, str) or len(text) > 255 or not text.isprintable() or (not text and name not in ("project", "key")):
            raise BillingError(f"{where}: {name}: found {str(text)[:40]!r}, wanted a text of 1 to 255 characters. Correct it.")
    try:
        at_us = customers.micros(texts.pop("at"))
        customers.shown_time(at_us)  # its offset may lead out of the calendar
    except (ValueError, TypeError, OverflowError):
        raise BillingError(
            f"{where}: at: found {found.get('at')!r}, wanted a time like 2026-11-03T12:00:00Z. Correct it."
        ) from None
    return Event(
        **texts,
        at_us=at_us,
        units=_units(found.get("units", {"requests": 1}), where),
        version=_whole(found.get("version", 0), f"{where}: version"),
    )


def _units(found: Any, where: str) -> dict[str, int]:
    if not isinstance(found, dict):
        raise BillingError(f'{where}: units: found {str(found)[:40]}, wanted {{"requests": 1, ...}}. Correct it.')
    for name in found:
        if name not in _UNITS:
            raise BillingError(
                f'{where}: units: found "{name[:40]}", allowed: {", ".join(_UNITS)}.{near_miss(name, _UNITS)} Correct it.'
            )
    read = {name: (_value if name == REPORTED else _whole)(count, f"{where}: units.{name}") for name, count in found.items()}
    units = {"requests": 1, **read}
    if units.get("cached_tokens", 0) > units.get("input_tokens", 0):
        raise BillingError(f"{where}: units: found more cached_tokens than input_tokens, which they are some of. Correct one.")
    return units


def _value(found: Any, where: str) -> int:
    """What a transaction is worth, in the customer's currency, 10^-12."""
    value = money.parse(found, where)
    if value >= _LARGEST_VALUE:
        raise BillingError(f"{where}: found {found}, allowed: less than {money.plain(_LARGEST_VALUE)}. Bill it by a fee.")
    return value


def _whole(found: Any, where: str) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= _LARGEST:
        raise BillingError(f"{where}: found {str(found)[:40]}, wanted a whole number from 0 to {_LARGEST}. Correct it.")
    return found


def record(store: Store, actor: str, events: Sequence[Event], *, now_us: Callable[[], int]) -> list[tuple[str, str, int]]:
    """Rate and write events in one transaction: for each ("accepted", "known" or "quarantined"; currency; amount)."""

    def work(session: Session) -> list[tuple[str, str, int]]:
        now = now_us()
        return [_one(session, actor, event, now) for event in events]

    return store.transact(work)


def _one(session: Session, actor: str, event: Event, now: int) -> tuple[str, str, int]:
    """Each is rated after those before it, as the counters then stand."""
    if (known := _known(session, event)) is not None:
        if known == event.fingerprint:
            return ("known", "", 0)
        return _held(session, actor, event, now, "this id was used for another request")
    # What seems to lie ahead is the clocks' difference: a period or a plan that has not begun may never begin.
    at_us = min(event.at_us, now)
    tariff = tariff_at(session, event.organisation, event.model, at_us)
    why = _why_not(session, event, now, tariff is None)
    if why or tariff is None:
        return _held(session, actor, event, now, why)
    span = tariff.period(at_us)
    rated = tariff.rate(journal.counter(session, tariff.names(span)), event.units, span)
    used = Used(
        request_id=event.request_id, at_us=at_us, organisation=event.organisation, project=event.project, key=event.key,
        model=event.model, version=event.version, status=200, units=dict(event.units), amount=rated.amount, charges=rated.charges,
        plan=tariff.plan.id, subscription=tariff.subscription.id, period=span.label,
    )  # fmt: skip
    owner, revenue = event.organisation, accounts.revenue(tariff.currency)
    waived = rated.amount if span.trial else 0
    wallet.expired(session, actor, owner, at_us, now)
    credit = min(max(-journal.balance(session, accounts.prepaid(owner)), 0), max(rated.amount - waived, 0))
    moves = moved(
        [
            (accounts.prepaid(owner), revenue, credit),
            (accounts.accrued(owner), revenue, rated.amount - waived - credit),
            (accounts.waived(tariff.currency), revenue, waived),
        ]
    )
    act = Act(
        "usage.import", actor, owner, event.request_id, event.fingerprint, transfers=moves, used=used, counters=rated.counters,
        documents=_released(session, event),
    )  # fmt: skip
    journal.append(session, [act], now)
    return "accepted", tariff.currency, rated.amount


def _known(session: Session, event: Event) -> str | None:
    """The fingerprint under which an event's id was used before."""
    rows = session.rows(
        "SELECT fingerprint FROM journal WHERE organisation = ? AND reference = ? AND reference <> ''",
        (event.organisation, event.request_id),
    )
    return str(rows[0][0]) if rows else None


def _why_not(session: Session, event: Event, now: int, no_contract: bool) -> str:
    """Why an event cannot be billed, "" where it can."""
    if event.at_us < now - OLDEST_US:
        return "older than 35 days"
    if event.at_us > now + AHEAD_US:
        return "more than 5 minutes ahead of our clock"
    if journal.document(session, "organisation", event.organisation) is None:
        return "no such customer"
    return "no contract held then" if no_contract else ""


def _released(session: Session, event: Event) -> tuple[Document, ...]:
    """An event that was held and can be billed after all (its contract was written later) is held no more."""
    found = journal.document(session, KIND, _id(event))
    return (Document(KIND, found.id, found.organisation, {**found.body, "state": "billed"}),) if found else ()


def _id(event: Event) -> str:
    return f"qrt_{event.fingerprint[:24]}"


def _held(session: Session, actor: str, event: Event, now: int, why: str) -> tuple[str, str, int]:
    body = {
        "request_id": event.request_id, "at": customers.shown_time(event.at_us), "model": event.model, "units": dict(event.units),
        "why": why,
        "held": customers.shown_time(now), "state": "held",
    }  # fmt: skip
    id = _id(event)
    document = Document(KIND, id, event.organisation, body)
    act = Act("usage.quarantine", actor, event.organisation, f"{REFERENCE}quarantine|{id}", "", documents=(document,))
    if journal.document(session, KIND, id) is None:
        journal.append(session, [act], now)
    return "quarantined", "", 0


def quarantined(store: Store, organisation: str = "") -> dict[str, Any]:
    """What is held, and why."""
    with store.view() as session:
        found = journal.documents(session, KIND, organisation or None)
        held = [{"id": item.id, "organisation": item.organisation, **item.body} for item in found if item.body["state"] == "held"]
    return {"held": sorted(held, key=lambda row: (row["at"], row["organisation"], row["request_id"], row["id"]))}
