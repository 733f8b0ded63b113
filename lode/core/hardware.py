"""Accelerators as data: what a device can do, hold and cost. The table is `hardware.toml` beside this file; sources stand in it.

Read `lode/model/planning/clock.py` next: it turns operations into seconds and money.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from lode.core.errors import SpecError, near_miss
from lode.core.types import CURRENCY

TABLE = Path(__file__).with_name("hardware.toml")
HERE = "here"
"""The word for the machine that plans, which is measured (`lode/model/planning/here.py`)."""
_PRICE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:/h)?", re.ASCII)
_THOUSANDS = re.compile(r"[1-9][0-9]{0,2}[.,][0-9]{3}", re.ASCII)
_MONEY = re.compile(r"([0-9]+(?:[.,][0-9]+)?) ?([A-Z]{3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Price:
    """Of one device and hour. source: where and when it was read, or that the user gave it."""

    per_hour: Decimal
    currency: str
    source: str


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator, or the processor of a machine.

    peak: precision -> FLOP/s of dense matrix products. bandwidth_bytes_s: of its memory. link_bytes_s: to its neighbours, one way;
    0 where there is no fast link. mfu: precision -> the least and the largest share of the peak that training is expected to reach.
    price: None where it costs nothing by the hour.
    """

    name: str
    title: str
    memory_bytes: float
    bandwidth_bytes_s: float
    peak: Mapping[str, float]
    mfu: Mapping[str, tuple[float, float]]
    link_bytes_s: float = 0.0
    source: str = ""
    mfu_source: str = ""
    price: Price | None = None
    kind: str = field(default="gpu")

    def precision(self, wanted: str) -> str:
        """The precision that training would use: what is wanted where the device has it. Errors: SpecError."""
        if wanted == "auto":
            return next(word for word in ("bf16", "fp16", "fp32") if word in self.peak)
        if wanted not in self.peak:
            raise SpecError(
                f"--hardware {self.name}: found precision {wanted}, which it has not, allowed: {', '.join(self.peak)}. "
                "Name another device, or another train.precision."
            )
        return wanted

    def to_json(self) -> dict[str, Any]:
        """What a plan keeps of it."""
        price = None if self.price is None else {
            "per_hour": str(self.price.per_hour), "currency": self.price.currency, "source": self.price.source,
        }  # fmt: skip
        return {
            "name": self.name, "title": self.title, "memory_bytes": self.memory_bytes, "bandwidth_bytes_s": self.bandwidth_bytes_s,
            "peak": dict(self.peak), "mfu": {word: list(band) for word, band in self.mfu.items()}, "source": self.source,
            "mfu_source": self.mfu_source, "price": price, "kind": self.kind,
        }  # fmt: skip


def known() -> dict[str, Device]:
    """Every device of the table by its name."""
    tables = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return {name: _device(name, table) for name, table in tables.items()}


def find(name: str) -> Device:
    """A device of the table; upper case and spaces do not matter. Errors: SpecError with the near miss."""
    devices = known()
    word = re.sub(r"[ _]", "-", name.strip().lower())
    aliases = {"a100": "a100-80", "4090": "rtx4090", "rtx-4090": "rtx4090", "a100-40gb": "a100-40", "a100-80gb": "a100-80"}
    word = aliases.get(word, word)
    if word not in devices:
        allowed = (HERE, *devices)
        raise SpecError(f'--hardware: found "{name}", allowed: {", ".join(allowed)}.{near_miss(word, allowed)}')
    return devices[word]


def priced(device: Device, price: str | None, currency: str | None) -> Device:
    """With the user's price: `2.50/h` or `2.50`, in the currency given (ISO 4217), else in that of the table. Errors: SpecError."""
    if currency is not None and not CURRENCY.fullmatch(currency):
        raise SpecError(f'--currency: found "{currency}", allowed: three capital letters of ISO 4217. Write EUR, for example.')
    if price is None:
        if currency is not None and device.price is not None and currency != device.price.currency:
            raise SpecError(
                f"--currency: found {currency}, but the price of {device.name} is in {device.price.currency}, and lode has no rates "
                f"of exchange, allowed: {device.price.currency}. Write --price too, such as --price 2.50/h --currency {currency}."
            )
        return device
    found = _PRICE.fullmatch(price.strip())
    if found is None or not Decimal(found[1]):
        raise SpecError(
            f'--price: found "{price}", allowed: an amount above 0 for one device and hour. Write --price 2.50/h, for example.'
        )
    unit = currency or (device.price.currency if device.price else "EUR")
    return replace(device, price=Price(Decimal(found[1]), unit, "given by you"))


def money(text: str) -> tuple[Decimal, str]:
    """`50 EUR` as an amount and its currency. Errors: SpecError."""
    found = _MONEY.fullmatch(text.strip())
    if found is None or Decimal(found[1].replace(",", ".")) <= 0:
        raise SpecError(
            f'--budget: found "{text}", allowed: an amount above 0 and a currency. Write --budget "50 EUR", for example.'
        )
    if _THOUSANDS.fullmatch(found[1]):
        raise SpecError(
            f'--budget: found "{text}", allowed: an amount without a sign between thousands, for it may be read as a decimal one. '
            f'Write --budget "{found[1][:-4]}{found[1][-3:]} {found[2]}" or "{found[1][:-4]} {found[2]}".'
        )
    return Decimal(found[1].replace(",", ".")), found[2]


def _device(name: str, table: Mapping[str, Any]) -> Device:
    price = table["price"]
    return Device(
        name=name,
        title=table["title"],
        memory_bytes=float(table["memory_bytes"]),
        bandwidth_bytes_s=float(table["bandwidth_bytes_s"]),
        link_bytes_s=float(table["link_bytes_s"]),
        peak={word: float(value) for word, value in table["peak"].items()},
        mfu={word: (float(low), float(high)) for word, (low, high) in table["mfu"].items()},
        source=table["source"],
        mfu_source=table["mfu_source"],
        price=Price(Decimal(price["per_hour"]), price["currency"], f"{price['source']}, {price['date']}"),
    )
