"""Who sells, how documents are numbered, and what tax is due where: one TOML file (RUNS/seller.toml, or `--seller FILE`).

Taxes are a table that the seller's accountant fills in; lode knows no country's law.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from lode.app.access import checks
from lode.app.invoices import numbers
from lode.core.errors import BillingError, near_miss

REVERSE_CHARGE = "Reverse charge: the customer accounts for the tax."
_FIELDS = {
    "name": str, "address": list, "country": str, "tax_id": str, "email": str, "due_days": int, "payment": list, "zone": str,
    "invoice_number": str, "credit_note_number": str, "notes": list, "fonts": list, "tax": dict, "fx": list,
}  # fmt: skip
_TAX_FIELDS = {"prices": str, "rounding": str, "reverse_charge_note": str, "rate": list}
_RATE_FIELDS = {"country": str, "category": str, "name": str, "rate": str, "from": datetime.date, "reverse_charge": bool}
_FX_FIELDS = {"from": str, "to": str, "rate": str, "source": str, "date": datetime.date}
_WORDS: dict[type, str] = {
    str: "text in quotes", list: "a list", int: "a whole number", dict: "a table", bool: "true or false",
    datetime.date: "a date like 2026-01-31",
}  # fmt: skip

EXAMPLE = """\
name = "Northwind Models GmbH"
address = ["Beispielweg 7", "10115 Berlin"]
country = "DE"
tax_id = "DE123456789"
email = "billing@northwind.example"
payment = ["IBAN DE02 1203 0000 0000 2020 51", "BIC BYLADEM1001"]
due_days = 14

[tax]
prices = "exclusive"
rounding = "document"

[[tax.rate]]
country = "DE"
name = "VAT"
rate = "19"
from = 2021-01-01

[[tax.rate]]
country = "FR"
name = "VAT"
rate = "20"
from = 2014-01-01
reverse_charge = true
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """One row of the table. country: DE, or a part of one: US-CA. category: as plans name it, "" for the standard rate. percent: exact.
    since: first day on which it holds. reverse_charge: customers of other countries with a tax id pay none.
    """

    country: str
    name: str
    percent: Fraction
    text: str
    since: datetime.date
    reverse_charge: bool = False
    category: str = ""


@dataclass(frozen=True, slots=True)
class Fx:
    """One exchange rate: 1 `base` = `rate` `quote`, as its source published it on a day."""

    base: str
    quote: str
    rate: str
    source: str
    date: datetime.date


@dataclass(frozen=True, slots=True)
class Seller:
    """What stands on every document. address, payment, notes: lines of text. zone: its day and year are the documents' day and year.
    fonts: files with the letters that DejaVu Sans has not, for PDFs.
    """

    name: str
    address: tuple[str, ...]
    country: str
    tax_id: str = ""
    email: str = ""
    payment: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    due_days: int = 14
    zone: str = "UTC"
    invoice_number: str = numbers.TEMPLATES["invoice"]
    credit_note_number: str = numbers.TEMPLATES["credit_note"]
    prices: Literal["exclusive", "inclusive"] = "exclusive"
    rounding: Literal["document", "line"] = "document"
    reverse_charge_note: str = REVERSE_CHARGE
    rates: tuple[Rate, ...] = ()
    fx: tuple[Fx, ...] = ()
    fonts: tuple[Path, ...] = ()

    def body(self) -> dict[str, Any]:
        """What a document says of the seller."""
        named = {"name": self.name, "address": list(self.address), "country": self.country, "tax_id": self.tax_id}
        more = {"email": self.email, "payment": list(self.payment), "notes": list(self.notes)}
        return {**named, **{name: value for name, value in more.items() if value}}

    def rate(self, country: str, day: datetime.date, category: str = "") -> Rate:
        """The rate of a category on a day, of US-CA by its own rows where it has any, else by those of US. Errors: BillingError where the
        table has no row.
        """
        places = [place for place in (country, country[:2]) if any(rate.country == place for rate in self.rates)][:1]
        found = [rate for rate in self.rates if rate.country in places and rate.category == category and rate.since <= day]
        if not found:
            known = sorted({f"{rate.country} {rate.category}".strip() for rate in self.rates})
            raise BillingError(
                f'tax: found no {f"{category} rate".strip()} for "{country}" on {day}, the table has {", ".join(known)}. '
                'Add a [[tax.rate]] to the seller file (rate = "0" where none is due), or correct the customer\'s country.'
            )
        return max(found, key=lambda rate: rate.since)


def read(path: Path) -> Seller:
    """The seller of a file. Errors: BillingError naming file, key and what is allowed."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BillingError(
            f"{path}: not found; an invoice says who sells. Write it, for example:\n\n{EXAMPLE}\n(or name another file with --seller)."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BillingError(f"{path}: not TOML: {error}. Correct it.") from None
    return of(found, str(path))


def of(found: Mapping[str, Any], where: str) -> Seller:
    """The seller that a parsed file describes. where: begins errors."""
    _check(found, _FIELDS, where, required=("name", "address", "country"))
    tax = found.get("tax", {})
    _check(tax, _TAX_FIELDS, f"{where}:tax", required=("rate",) if tax else ())
    named: dict[str, Any] = {name: found[name] for name in ("name", "tax_id", "email", "zone") if name in found}
    named |= {name: _texts(found[name], f"{where}:{name}") for name in ("address", "payment", "notes") if name in found}
    named |= {
        name: numbers.check_template(found[name], f"{where}:{name}")
        for name in ("invoice_number", "credit_note_number")
        if name in found
    }
    series = {**numbers.TEMPLATES, **{name.removesuffix("_number"): named[name] for name in named if name.endswith("_number")}}
    if series["invoice"] == series["credit_note"]:
        raise BillingError(f'{where}: found "{series["invoice"]}" for invoices and credit notes, wanted two. Begin one with CN-.')
    due_days = found.get("due_days", 14)
    if not 0 <= due_days <= 365:
        raise BillingError(f"{where}:due_days: found {due_days}, allowed: 0 to 365. Correct it.")
    return Seller(
        **named, due_days=due_days, country=checks.country(found["country"], f"{where}:country"),
        prices=_one_of(tax.get("prices", "exclusive"), ("exclusive", "inclusive"), f"{where}:tax.prices"),
        rounding=_one_of(tax.get("rounding", "document"), ("document", "line"), f"{where}:tax.rounding"),
        reverse_charge_note=tax.get("reverse_charge_note", REVERSE_CHARGE),
        rates=tuple(_rate(row, f"{where}:tax.rate[{index}]") for index, row in enumerate(tax.get("rate", ()))),
        fonts=tuple(Path(where).parent / name for name in _texts(found.get("fonts", ()), f"{where}:fonts")),
        fx=tuple(_fx(row, f"{where}:fx[{index}]") for index, row in enumerate(found.get("fx", ()))),
    )  # fmt: skip


def _rate(row: Any, where: str) -> Rate:
    _check(row, _RATE_FIELDS, where, required=("country", "name", "rate", "from"))
    percent = _decimal(row["rate"], f"{where}.rate")
    if not 0 <= percent <= 100:
        raise BillingError(f'{where}.rate: found "{row["rate"]}", allowed: 0 to 100, in percent. Correct it.')
    country = checks.country(row["country"], f"{where}.country")
    category = row.get("category", "")
    category = "" if category == "standard" else category
    return Rate(country, row["name"], percent, row["rate"], row["from"], bool(row.get("reverse_charge", False)), category)


def _fx(row: Any, where: str) -> Fx:
    _check(row, _FX_FIELDS, where, required=tuple(_FX_FIELDS))
    if _decimal(row["rate"], f"{where}.rate") <= 0:
        raise BillingError(f'{where}.rate: found "{row["rate"]}", wanted more than 0. Correct it.')
    return Fx(row["from"], row["to"], row["rate"], row["source"], row["date"])


def _check(found: Any, fields: Mapping[str, type], where: str, required: Sequence[str] = ()) -> None:
    if not isinstance(found, Mapping):
        raise BillingError(f"{where}: found {found!r}, wanted a table. Correct it.")
    for name, value in found.items():
        if name not in fields:
            near = near_miss(name, fields)
            raise BillingError(f'{where}: found "{name}", allowed: {", ".join(sorted(fields))}.{near} Correct or remove it.')
        wanted = fields[name]
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise BillingError(f"{where}:{name}: found {value!r}, wanted {_WORDS[wanted]}. Correct it.")
    for name in required:
        if not found.get(name) and found.get(name) is not False:
            raise BillingError(f'{where}: "{name}" is missing or empty. Add it: {name} = {_WORDS[fields[name]]}.')


def _texts(found: Sequence[Any], where: str) -> tuple[str, ...]:
    if not all(isinstance(line, str) for line in found):
        raise BillingError(f"{where}: found {found!r}, wanted a list of texts. Correct it.")
    return tuple(found)


def _decimal(text: str, where: str) -> Fraction:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or len(text) > 30 or "e" in text.lower():
        raise BillingError(f'{where}: found "{text}", wanted a decimal number in quotes, like "19.6". Correct it.')
    return Fraction(number)


def _one_of(text: str, allowed: tuple[str, str], where: str) -> Any:
    if text not in allowed:
        raise BillingError(f'{where}: found "{text}", allowed: {", ".join(allowed)}.{near_miss(text, allowed)} Correct it.')
    return text
