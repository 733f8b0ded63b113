"""What an hour of the machine costs, and what measured microseconds of it cost. All exact: amounts are fractions of 10^-12 units.

Where a price comes from, the first that is there: the command line, `serve: compute:` of the model's file, its `value: compute_hour`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from lode.core import hardware, money
from lode.core.errors import BillingError, SpecError

HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class HourPrice:
    """Of one machine. amount: 10^-12 units of the currency an hour. source: who said so."""

    amount: int
    currency: str
    source: str

    def cost(self, compute_us: int | Fraction) -> Fraction:
        """10^-12 units, exact."""
        return Fraction(self.amount * compute_us, HOUR_US)

    def to_json(self) -> dict[str, str]:
        return {"per_hour": money.plain(self.amount), "currency": self.currency, "source": self.source}


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model's card says of its costs. made_s: seconds of the whole run that made it; planned: decisions, 0: not said."""

    name: str
    version: int
    price: HourPrice | None
    made_s: Fraction
    planned: int


def hour_price(text: str, currency: str | None, where: str = "--price-per-hour") -> HourPrice:
    """`0.12` with a currency, `0.12 EUR`, or the name of a device of lode's table. Errors: BillingError."""
    written, _, unit = text.strip().partition(" ")
    if not written[:1].isdigit():
        return _of_device(text, where)
    unit = unit.strip() or currency or ""
    if not unit:
        raise BillingError(f'{where}: found "{text}" without a currency, wanted an amount and one. Write "{written} EUR", say.')
    money.exponent(unit)
    return HourPrice(money.parse(written, where), unit, "given by you")


def number(written: str, where: str, *, above: bool = False) -> Fraction:
    """A plain number, exactly. Errors: BillingError."""
    try:
        value = Fraction(written) if len(written) <= 40 and "/" not in written and "e" not in written.lower() else Fraction(-1)
    except (ValueError, ZeroDivisionError):
        value = Fraction(-1)
    if value < 0 or (above and not value):
        raise BillingError(f'{where}: found "{written}", wanted a number {"above 0" if above else "from 0 on"}. Write it so.')
    return value


def rates_of(written: Iterable[str]) -> dict[str, Fraction]:
    """`USD=0.92`, ...: what one unit of a currency is in that of the report. Errors: BillingError."""
    found = {}
    for text in written:
        code, sign, rate = text.strip().partition("=")
        if not sign or len(code) != 3:
            raise BillingError(f'--rate: found "{text}", wanted CODE=RATE, such as USD=0.92. Write it so.')
        found[code] = number(rate, "--rate", above=True)
    return found


def _of_device(name: str, where: str) -> HourPrice:
    try:
        device = hardware.find(name)
    except SpecError as error:
        raise BillingError(str(error).replace("--hardware", where, 1)) from None
    if device.price is None:
        raise BillingError(f"{where}: found {name}, which has no price in lode's table. Write an amount, such as 2.50 EUR.")
    return HourPrice(money.parse(device.price.per_hour, where), device.price.currency, device.price.source)


def model_facts(runs: Path) -> dict[str, ModelFacts]:
    """Of the newest version of every model in a runs folder, by name; the models themselves are not loaded."""
    found: dict[str, ModelFacts] = {}
    for path in runs.glob("artifacts/*/*/card.json"):
        if not path.parent.name.isdigit():
            continue
        facts = _facts(path)
        if facts.name not in found or found[facts.name].version < facts.version:
            found[facts.name] = facts
    return found


def _facts(path: Path) -> ModelFacts:
    card = _read(path)
    lineage = _read(path.with_name("lineage.json")) if path.with_name("lineage.json").is_file() else {}
    seconds = sum((Fraction(str(stage["seconds"])) for stage in lineage.get("stages", ())), Fraction(0))
    value = card.get("value") or {}
    return ModelFacts(
        name=path.parent.parent.name, version=int(path.parent.name), price=_written_price(card, path),
        made_s=seconds or Fraction(str(card.get("training_seconds") or 0)), planned=int(value.get("decisions") or 0),
    )  # fmt: skip


def _written_price(card: Mapping[str, Any], path: Path) -> HourPrice | None:
    written = (card.get("serve") or {}).get("compute")
    if not written:
        return None
    price = hour_price(str(written["price_per_hour"]), str(written.get("currency") or "") or None, f"{path}: serve.compute")
    return HourPrice(price.amount, price.currency, "the model's serve.compute")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BillingError(f"{path}: cannot be read ({error}). Restore the artifact, or make it again with `lode run`.") from None
    return found if isinstance(found, dict) else {}
