"""Money is whole numbers of 10^-12, read from text and rounded in one place."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lode.core import money
from lode.core.errors import BillingError

AMOUNTS = st.integers(-money.LARGEST + 1, money.LARGEST - 1)


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("12.50", 12_500_000_000_000), ("0.000000000001", 1), ("1", money.UNIT), (3, 3 * money.UNIT), (" 7 ", 7 * money.UNIT),
        ("+1.5", 1_500_000_000_000),
        (Decimal("0.0000001"), 100_000), (Decimal("1E+3"), 1000 * money.UNIT), ("999999999999999.999999999999", money.LARGEST - 1),
    ],
)  # fmt: skip
def test_an_amount_is_read_exactly(written: str | int | Decimal, amount: int) -> None:
    assert money.parse(written, "price") == amount


@pytest.mark.parametrize(
    "written",
    ["", "x", "1e3", "1.0000000000001", "NaN", "inf", "-inf", "1,50", "1_000", "0x10", "1.", ".5", "--1", True, 0.1, None, [], "\u0661",
     Decimal("NaN"), Decimal("Infinity"), Decimal("1E+999999"), Decimal("1E-999999"), 10**5000, "9" * 5000],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_no_amount_is_refused_with_its_place(written: object) -> None:
    with pytest.raises(BillingError, match=r"^price: found .*, wanted an amount"):
        money.parse(written, "price")  # type: ignore[arg-type]


def test_amounts_have_bounds() -> None:
    with pytest.raises(BillingError, match="Check the decimal point"):
        money.parse("1000000000000000", "price")
    with pytest.raises(BillingError, match=r"price: found -1, allowed: 0 or more"):
        money.parse("-1", "price")
    with pytest.raises(BillingError, match=r"allowed: 5 or more"):
        money.parse("4.99", "price", least=5 * money.UNIT)
    assert money.parse("-1", "price", least=None) == -money.UNIT


@given(AMOUNTS)
def test_plain_text_is_read_back(amount: int) -> None:
    assert money.parse(money.plain(amount), "x", least=None) == amount


@given(AMOUNTS)
def test_text_for_people_names_the_currency_and_loses_nothing(amount: int) -> None:
    text = money.shown(amount, "EUR")
    assert text.endswith(" EUR")
    assert money.parse(text.removesuffix(" EUR").replace(",", ""), "x", least=None) == amount


def test_coins_of_a_currency() -> None:
    assert [money.exponent(code) for code in ("JPY", "EUR", "KWD", "CLF")] == [0, 2, 3, 4]
    for wrong in ("eur", "EURO", "XXX", "BTC", ""):
        with pytest.raises(BillingError, match="ISO 4217"):
            money.exponent(wrong)


@pytest.mark.parametrize(
    ("exact", "currency", "text"),
    [
        ("0.015", "EUR", "0.02 EUR"), ("0.0149999", "EUR", "0.01 EUR"), ("-0.015", "EUR", "-0.02 EUR"), ("0.005", "EUR", "0.01 EUR"),
        ("1.5", "JPY", "2 JPY"), ("0.4999", "JPY", "0 JPY"), ("0.0005", "KWD", "0.001 KWD"), ("1234.5", "EUR", "1,234.50 EUR"),
    ],
)  # fmt: skip
def test_a_line_is_rounded_half_away_from_zero(exact: str, currency: str, text: str) -> None:
    assert money.shown(money.coins(money.parse(exact, "x", least=None), currency), currency) == text


def test_half_cents_of_a_tax_are_exact() -> None:
    """41,000 x 6.35 % = 2,603.50: floats have it below the half in 2 of 3,450 cases."""
    for cents in range(1, 3000):
        exact = Fraction(cents, 100) * Fraction(635, 10_000)
        above = exact * 100 - int(exact * 100) >= Fraction(1, 2)
        assert money.coins(exact * money.UNIT, "EUR") // (money.UNIT // 100) == int(exact * 100) + above


def test_thirty_halves_of_a_tenth_of_a_cent() -> None:
    """Stripe's example: 30 units of 0.05 cents are 1.5 cents, which is 2."""
    assert money.coins(30 * money.parse("0.0005", "x"), "USD") == money.parse("0.02", "x")


@given(AMOUNTS, st.sampled_from(["JPY", "EUR", "KWD"]))
def test_rounding_moves_by_half_a_coin_at_most_and_once(amount: int, currency: str) -> None:
    coin = money.UNIT // 10 ** money.exponent(currency)
    rounded = money.coins(amount, currency)
    assert rounded % coin == 0 and 2 * abs(rounded - amount) <= coin
    assert money.coins(rounded, currency) == rounded and money.coins(-amount, currency) == -rounded


@given(st.integers(-(10**20), 10**20), st.lists(st.integers(0, 10**9), min_size=1, max_size=12), st.sampled_from([1, 10**10]))
def test_the_parts_of_a_total_add_up_to_it(total: int, weights: list[int], unit: int) -> None:
    total = total // unit * unit
    parts = money.split(total, weights, unit)
    assert sum(parts) == total and all(part % unit == 0 for part in parts)
    whole = sum(weights)
    if whole:
        assert all(abs(part - Fraction(total * weight, whole)) < unit for part, weight in zip(parts, weights, strict=True))
    else:
        assert max(parts) - min(parts) <= unit


@pytest.mark.parametrize(
    "value",
    [Decimal("1E+5000"), Decimal("NaN"), Decimal("Infinity"), 10**5000, True],
    ids=["1E+5000", "nan", "inf", "10**5000", "a boolean"],
)
def test_numbers_that_nobody_means_are_refused_in_plain_words(value: Decimal | int) -> None:
    with pytest.raises(BillingError, match=r"^x: "):
        money.parse(value, "x")


def test_what_is_left_over_goes_to_the_largest_remainders() -> None:
    """Hamilton's rule by hand: 2.7, 1.2 and 1.1; then 5.4, 0.9 and 2.7."""
    assert money.split(5, [27, 12, 11]) == [3, 1, 1]
    assert money.split(-9 * money.UNIT, [6, 1, 3], money.UNIT) == [-5 * money.UNIT, -money.UNIT, -3 * money.UNIT]


def test_the_smallest_debt_has_its_sign() -> None:
    assert [money.plain(amount) for amount in (-1, 0, 1, -money.UNIT)] == ["-0.000000000001", "0", "0.000000000001", "-1"]


def test_ties_go_to_the_earlier_part() -> None:
    assert money.split(1, [1, 1]) == [1, 0]
    assert money.split(-1, [1, 1]) == [-1, 0]
    assert money.split(100, [1, 1, 1]) == [34, 33, 33]
    assert money.split(5, [0, 0]) == [3, 2]
