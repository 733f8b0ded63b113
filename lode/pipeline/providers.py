"""The `model:` section of somebody else's model as plain records: who is asked, under which name, at which prices. No secret is read here.

Light on purpose: `lode check` reads price lists with it. Read `lode/pipeline/upstream.py` next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lode.core.errors import BillingError, DataError, listed, near_miss
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.place import Place
from lode.value import provider_prices
from lode.value.provider_prices import PriceList

_MAX_PRICES_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider of a model. model: its own name for it. key: {"file", "name"?}, where its key is found, or None.

    text: of its price list, as it was read.
    """

    protocol: str
    address: str
    model: str
    key: Mapping[str, str] | None
    prices: PriceList
    text: str

    def to_json(self, prices: str) -> dict[str, Any]:
        """What an artifact keeps. prices: the file's name in it."""
        key = None if self.key is None else dict(self.key)
        return {"protocol": self.protocol, "address": self.address, "model": self.model, "key": key, "prices": prices}


def providers_of(model: Component, place: Place) -> tuple[Provider, ...]:
    """The first provider, then the fallbacks. Errors: DataError for a price list that is missing, BillingError for one that is wrong."""
    entries = [("model", model.options)]
    entries += [(f"model.fallback[{index}]", entry) for index, entry in enumerate(model.options.get("fallback") or ())]
    providers = tuple(_provider(entry, key, place) for key, entry in entries)
    for (key, _), other in zip(entries, providers, strict=True):
        first = providers[0]
        if other.prices.currency != first.prices.currency:
            raise BillingError(
                f"{key}.prices: found {other.prices.currency}, allowed: {first.prices.currency}, that of the first provider, because "
                "one request has one cost. Write all price lists in one currency."
            )
    return providers


def options_of(model: Component) -> dict[str, Any]:
    """How they are asked: timeout_s, retries, connections, max_tokens and its word, defaults filled in."""
    found = REGISTRIES["family"].resolve(model)
    return {word: found[word] for word in ("timeout_s", "retries", "connections", "max_tokens", "max_tokens_word")}


def read_provider(record: Mapping[str, Any], folder: Path) -> Provider:
    """The provider that an artifact keeps. Errors: BillingError, DataError."""
    path = folder / record["prices"]
    text = _text(path, str(path))
    key = record["key"]
    return Provider(record["protocol"], record["address"], record["model"], key, provider_prices.parse(text, str(path)), text)


def notes_of(providers: Sequence[Provider]) -> list[str]:
    """What a person should hear: in which order providers are asked, and at which version of their prices."""
    return [
        f"{'asked first' if index == 0 else 'then'}: {item.model} at {item.address}, prices {item.prices.provider} "
        f"{item.prices.version} in {item.prices.currency}"
        for index, item in enumerate(providers)
    ]


def _provider(entry: Mapping[str, Any], where: str, place: Place) -> Provider:
    name = str(entry["prices"])
    text = _text(place.resolve(name), f"{where}.prices: {name}")
    prices = provider_prices.parse(text, name)
    model = str(entry["model"])
    if model not in prices.models:
        near = near_miss(model, prices.models)
        raise BillingError(
            f'{where}.model: found "{model}", which has no price in {name}, allowed: {listed(prices.models)}.{near} '
            f'Add it there as [models."{model}"].'
        )
    return Provider(str(entry.get("protocol", "openai")), str(entry["address"]).rstrip("/"), model, entry.get("key"), prices, text)


def _text(path: Path, where: str) -> str:
    try:
        content = path.read_bytes()
        if len(content) > _MAX_PRICES_BYTES:
            raise DataError(f"{where}: found {len(content):,} bytes, allowed: {_MAX_PRICES_BYTES:,}. Name a price list.")
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: cannot be read ({error}). Name a price list, a TOML file.") from None
