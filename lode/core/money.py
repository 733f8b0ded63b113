"""Money as integers of 10^-12 of the currency's unit, and the only two places where it is rounded.

Prices have up to 12 decimals, a request costs millionths of a cent: sums must not depend on their order, so there are no
floats here. `amount` in any name of lode is such an integer ("pico"), unless it says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from lode.core.errors import BillingError

DECIMALS = 12
UNIT = 10**DECIMALS
"""One unit of a currency (1 EUR, 1 JPY) as an amount."""

LARGEST = 10**15 * UNIT
"""No single amount may reach a thousand billion units: what is larger is a mistake."""

_TEXT = re.compile(r"[+-]?\d{1,16}(\.\d{1,12})?", re.ASCII)

# ISO 4217:2015, list one as of 2024, by the number of decimal places.
_NONE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"
_FOUR = "CLF UYW"
_TWO = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE CZK "
    "DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK "
    "LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON "
    "RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UZS VES WST XCD YER "
    "ZAR ZMW ZWG"
)
_EXPONENTS = {code: places for places, codes in ((0, _NONE), (2, _TWO), (3, _THREE), (4, _FOUR)) for code in codes.split()}


def exponent(currency: str) -> int:
    """Decimal places of a currency's smallest coin (ISO 4217): JPY 0, EUR 2, KWD 3. Errors: BillingError if there is no such."""
    if currency not in _EXPONENTS:
        raise BillingError(f'currency: found "{currency}", wanted three capital letters of ISO 4217. Write EUR, USD, JPY, ...')
    return _EXPONENTS[currency]


def parse(text: str | int | Decimal, where: str, *, least: int | None = 0) -> int:
    """The amount that a person wrote: "12.5" -> 12_500_000_000_000.

    where: begins the error's text. least: smallest amount allowed; None allows every sign.
    Errors: BillingError for floats (not exact), NaN, infinity, exponents, more than 12 decimals, too large, below `least`.
    """
    written = _written(text)
    if not _TEXT.fullmatch(written):
        wanted = f"an amount like 12.50 with at most {DECIMALS} decimals, in quotes"
        found = f'"{str(text)[:60]}"' if isinstance(text, str | float | Decimal) else f"a {type(text).__name__}"
        if isinstance(text, int):
            found = f'"{text}"' if abs(text) < 10**40 else "a number of more than 40 digits"
        raise BillingError(f"{where}: found {found}, wanted {wanted}. Write it so.")
    amount = int(Decimal(written).scaleb(DECIMALS))
    if abs(amount) >= LARGEST:
        raise BillingError(f"{where}: found {written}, which is {LARGEST // UNIT} or more. Check the decimal point.")
    if least is not None and amount < least:
        raise BillingError(f"{where}: found {written}, allowed: {plain(least)} or more. Correct it.")
    return amount


def _written(value: str | int | Decimal) -> str:
    """As digits, "" where it is none or has more than anybody means: Python refuses to write an int of 5000 digits."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, Decimal):  # str() writes 0.0000001 as 1E-7
        return format(value, "f") if value.is_finite() and abs(value.adjusted()) < 40 else ""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**40 else ""


def plain(amount: int) -> str:
    """All of it, for machines: "12.5", "0.0000015", "-3"."""
    sign, digits = ("-" if amount < 0 else ""), abs(amount)
    whole, rest = divmod(digits, UNIT)
    return f"{sign}{whole}.{rest:012d}".rstrip("0").rstrip(".") if rest else f"{sign}{whole}"


def coins(amount: int | Fraction, currency: str) -> int:
    """`amount` rounded to the currency's smallest coin, half away from zero, still in 10^-12: for one invoice line, once."""
    coin: int = UNIT // 10 ** exponent(currency)
    exact = Fraction(amount) / coin
    rounded = (2 * abs(exact.numerator) + exact.denominator) // (2 * exact.denominator)
    return (rounded if exact >= 0 else -rounded) * coin


def shown(amount: int, currency: str) -> str:
    """For people, of an amount in whole coins: "1,234.50 EUR". What is finer than a coin is shown whole."""
    digits = exponent(currency)
    if amount % (UNIT // 10**digits):
        return f"{plain(amount)} {currency}"
    return f"{Decimal(amount).scaleb(-DECIMALS):,.{digits}f} {currency}"


def split(total: int, weights: Sequence[int | Fraction], unit: int = 1) -> list[int]:
    """`total` divided in proportion to `weights` into multiples of `unit`, by largest remainder: the parts add up to it exactly.

    Ties go to the earlier part. Weights are not negative; if all are 0, the parts are as equal as they can be.
    """
    assert weights and all(weight >= 0 for weight in weights) and total % unit == 0
    count, whole = total // unit, sum(Fraction(weight) for weight in weights)
    shares = [Fraction(weight) if whole else Fraction(1) for weight in weights]
    whole = whole or Fraction(len(weights))
    sign, size = (-1 if count < 0 else 1), abs(count)
    exact = [size * share / whole for share in shares]
    parts = [int(share) for share in exact]
    order = sorted(range(len(parts)), key=lambda index: (parts[index] - exact[index], index))
    for index in order[: size - sum(parts)]:
        parts[index] += 1
    return [sign * part * unit for part in parts]
