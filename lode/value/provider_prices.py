"""What a provider of models takes: a price list as data (TOML), and the cost of one request by it, exactly.

Amounts are integers of 10^-12 of the currency's unit (`lode.core.money`); prices of tokens are per million.

    provider = "example"
    version = "2026-11-01"
    currency = "USD"

    [models.small-4]
    input = "0.15"
    cached_input = "0.075"
    output = "0.60"
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lode.core import money
from lode.core.errors import BillingError, listed, near_miss

MILLION = 10**6
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOP = ("provider", "version", "currency", "models")
_MAX_MODELS = 10_000


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """Of one model. input, cached_input, output: for a million tokens; request, row: for each of them."""

    input: int = 0
    cached_input: int = 0
    output: int = 0
    request: int = 0
    row: int = 0


_WORDS = tuple(ModelPrices.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class PriceList:
    """One version of a provider's prices. A changed price is another version: both names go with every cost."""

    provider: str
    version: str
    currency: str
    models: Mapping[str, ModelPrices]

    def cost(self, model: str, units: Mapping[str, int]) -> int:
        """What a request costs, rounded up to the next 10^-12. units: requests, rows, input_tokens (cached ones among them),
        cached_tokens, output_tokens.
        """
        prices = self.models[model]
        cached = min(units.get("cached_tokens", 0), units.get("input_tokens", 0))
        plain = units.get("input_tokens", 0) - cached
        tokens = plain * prices.input + cached * prices.cached_input + units.get("output_tokens", 0) * prices.output
        whole = units.get("requests", 0) * prices.request + units.get("rows", 0) * prices.row
        return whole - (-tokens // MILLION)


def parse(text: str, where: str) -> PriceList:
    """A price list. where: begins the error's text. Errors: BillingError for anything that is not one; floats are not exact, so refused."""
    try:
        found = tomllib.loads(text, parse_float=_Float)
    except tomllib.TOMLDecodeError as error:
        raise BillingError(f"{where}: no TOML ({error}). Write it as docs/how-to/sell-someone-elses-model.md shows.") from None
    _known(found, _TOP, where)
    models = found.get("models")
    if not isinstance(models, dict) or not models or len(models) > _MAX_MODELS:
        raise BillingError(f"{where}: models: found {_shown(models)}, wanted one table or more: [models.NAME]. Add one.")
    currency = found.get("currency")
    money.exponent(currency if isinstance(currency, str) else _shown(currency))
    return PriceList(
        provider=_word(found, "provider", where),
        version=_word(found, "version", where),
        currency=str(currency),
        models={name: _prices(value, f"{where}: models.{name}") for name, value in models.items()},
    )


class _Float(Decimal):
    """A number with a point that stands without quotes."""


def _prices(found: Any, where: str) -> ModelPrices:
    if not isinstance(found, dict):
        raise BillingError(f"{where}: found {_shown(found)}, wanted a table of {', '.join(_WORDS)}. Write it so.")
    _known(found, _WORDS, where)
    if not found:
        raise BillingError(f"{where}: found no price, wanted one of {', '.join(_WORDS)}. Write 0 where it is free.")
    amounts = {word: _amount(value, f"{where}.{word}") for word, value in found.items()}
    # Who gives no discount for what is cached takes the whole price for it.
    amounts.setdefault("cached_input", amounts.get("input", 0))
    return ModelPrices(**amounts)


def _amount(value: Any, where: str) -> int:
    if isinstance(value, _Float):
        raise BillingError(f'{where}: found {value} without quotes, which is not exact, wanted text. Write "{value}".')
    return money.parse(value, where)


def _word(found: Mapping[str, Any], word: str, where: str) -> str:
    value = found.get(word)
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        wanted = "a word of letters, digits, '.', '_' and '-' in quotes"
        raise BillingError(f'{where}: {word}: found {_shown(value)}, wanted {wanted}. Write {word} = "...".')
    return value


def _known(found: Mapping[str, Any], allowed: tuple[str, ...], where: str) -> None:
    for word in found:
        if word not in allowed:
            raise BillingError(f'{where}: found "{word}", allowed: {listed(allowed)}.{near_miss(word, allowed)}')


def _shown(value: Any) -> str:
    return "nothing" if value is None else f'"{value}"'[:60]
