"""Exact money: no rounding, no overflow, and amounts that a user may have mistyped."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from lode.core.errors import DataError, SpecError
from lode.value import exact
from lode.value.contracts import money


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (2500, "2500"),
        ("2500", "2500"),
        (" -0.10 ", "-0.10"),
        (0.1, "0.1"),
        ("1e3", "1000"),
        (Decimal("3.999"), "3.999"),
    ],
)
def test_numbers_and_strings_that_read_as_numbers_are_amounts(written: Any, meant: str) -> None:
    assert exact.amount(written, "price") == Decimal(meant)


@pytest.mark.parametrize("written", ["margin", "nan", "Infinity", "1,5", "price 2", ""])
def test_other_strings_are_columns(written: str) -> None:
    assert exact.amount(written, "price") == written


@pytest.mark.parametrize("written", [True, None, [1], Decimal("NaN"), float("inf"), Decimal("1E+40"), Decimal("1E-13")])
def test_what_is_no_amount_is_named(written: Any) -> None:
    with pytest.raises(SpecError, match=r"^value\.price: found "):
        exact.amount(written, "price")


def test_a_column_where_an_amount_is_needed_is_named() -> None:
    with pytest.raises(SpecError, match=r'^value\.cost: found "margin", an amount is allowed'):
        exact.fixed_amount("margin", "cost")


@pytest.mark.parametrize(
    ("value", "count"), [("1.50", 1), ("100", 0), ("1E+3", 0), ("0.00", 0), ("0.000001", 6), ("1" * 40 + ".25", 2)]
)
def test_places_are_those_that_are_needed(value: str, count: int) -> None:
    assert exact.places(Decimal(value)) == count


def test_huge_amounts_stay_exact() -> None:
    huge = Decimal("123456789012345678901234567890.12")
    units = exact.units(huge, 2)
    assert units == 12345678901234567890123456789012
    assert money(units, 2) == huge
    assert exact.rounded(Fraction(units, 100), 2) == huge
    column = exact.integers([units, -units, 7])
    assert column.dtype == object and exact.total(column) == 7
    assert exact.product(column, 10**20).tolist()[0] == units * 10**20
    assert exact.product(np.array([3]), 10**20).tolist() == [3 * 10**20]


def test_sums_that_would_overflow_do_not() -> None:
    values = np.full(1000, 2**61, dtype=np.int64)
    assert exact.total(values) == 1000 * 2**61
    assert exact.running(values)[-1] == 1000 * 2**61
    assert exact.product(values, 1000).tolist()[0] == 1000 * 2**61
    assert exact.running(np.array([1, 2, 3])).dtype == np.int64


def test_quantities_are_rounded_to_six_places() -> None:
    assert exact.quantity_units(np.array([1.0, 0.1, 2.0000004, -1.5])).tolist() == [
        1_000_000,
        100_000,
        2_000_000,
        -1_500_000,
    ]
    assert exact.quantity_units(np.array([1e18])).tolist() == [10**24]
    with pytest.raises(DataError, match="row 1: found the quantity nan"):
        exact.quantity_units(np.array([1.0, np.nan]))


def test_money_columns_are_read_exactly_and_bad_cells_named() -> None:
    cells = np.array([Decimal("0.10"), 7, Decimal("-1234567.89")], dtype=object)
    assert exact.column_units(cells, "margin", 12).tolist() == [10**11, 7 * 10**12, -1234567890000000000]
    for cell in (None, Decimal("NaN"), 0.1, "7", Decimal("1E-13"), True):
        bad = np.array([Decimal(1), cell], dtype=object)
        with pytest.raises(DataError, match=r'column "margin", row 1: found'):
            exact.column_units(bad, "margin", 12)


@pytest.mark.parametrize("factor", [1, 10**10, 10**17, 10**30])
def test_drawn_totals_are_the_sums_of_the_drawn_rows(factor: int) -> None:
    values = [3 * factor, -5 * factor, 7 * factor, 0]
    columns = [exact.integers(values), exact.integers([factor] * 4)]
    generator = np.random.default_rng(2)
    for found in exact.drawn_totals(columns, 20, seed=2):
        drawn = generator.integers(0, 4, 4).tolist()
        assert found == (sum(values[row] for row in drawn), 4 * factor)


def test_drawn_totals_of_nothing_but_zeros() -> None:
    assert list(exact.drawn_totals([np.zeros(3, dtype=np.int64)], 2, 0)) == [(0,), (0,)]
