"""What invoices need to know of a customer, from the organisation's document."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from lode.app.access import organisations
from lode.app.books.contracts import Session
from lode.core.errors import BillingError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer as documents name it. zone: the contract's; address: lines."""

    id: str
    name: str
    currency: str
    zone: str
    address: tuple[str, ...]
    country: str
    tax_id: str
    email: str

    def body(self) -> dict[str, Any]:
        """What a document says of the customer."""
        named = {"id": self.id, "name": self.name, "address": list(self.address), "country": self.country}
        more = {"tax_id": self.tax_id, "email": self.email}
        return {**named, **{name: value for name, value in more.items() if value}}


def found(session: Session, organisation: str) -> Customer:
    """The customer. Errors: BillingError where there is none."""
    known = organisations.found(session, organisation)
    return Customer(
        known.slug, known.name, known.currency, known.zone, tuple(known.address), known.country, known.tax_id, known.email
    )


def moment(at_us: int) -> datetime:
    """Microseconds since 1970 as UTC, exactly."""
    return _EPOCH + timedelta(microseconds=at_us)


def shown_time(at_us: int) -> str:
    """ISO 8601 UTC; with microseconds where there are any."""
    return moment(at_us).isoformat().replace("+00:00", "Z")


def micros(text: str) -> int:
    """The inverse of `shown_time`, of any ISO time with an offset or Z."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


def zone(name: str) -> ZoneInfo:
    """A time zone. Errors: BillingError where there is none of that name."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise BillingError(f'zone: found "{name}", wanted a time zone like Europe/Berlin. Correct it.') from None
