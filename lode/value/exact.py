"""Exact money in arrays: Decimals to integers of 10^-scale units, sums that cannot overflow, sums of bootstrap draws.

int64 where bounds prove that it is safe, Python integers in object arrays otherwise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from fractions import Fraction

import numpy as np

from lode.core.errors import DataError, SpecError

COLUMN_SCALE = 12
"""Decimal places that amounts of a column may have."""
QUANTITY_SCALE = 6
"""Decimal places to which a quantity is rounded before it is multiplied."""

_LIMIT = 2**62
_MOST_DIGITS = 30
_NUMERAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def amount(value: object, option: str) -> Decimal | str:
    """An option that is an amount or a column's name: numbers and strings that read as numbers are amounts.

    Errors: SpecError for anything else, and for an amount that is not finite or has more than COLUMN_SCALE decimal places.
    """
    if isinstance(value, str) and not _NUMERAL.fullmatch(value.strip()):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise SpecError(f"value.{option}: found {value!r}, an amount or a column's name is allowed. Write a number, such as 2500")
    # A float that came out of a file is meant as it is written, which `str` gives back.
    exact = Decimal(str(value).strip())
    if not exact.is_finite() or exact.adjusted() >= _MOST_DIGITS:
        raise SpecError(f"value.{option}: found {value}, an amount below 10^{_MOST_DIGITS} is allowed. Correct it")
    if places(exact) > COLUMN_SCALE:
        raise SpecError(f"value.{option}: found {value!r}, at most {COLUMN_SCALE} decimal places are allowed. Round it")
    return exact


def fixed_amount(value: object, option: str) -> Decimal:
    """An option that is an amount. Errors: SpecError as in `amount`, and for a column's name."""
    exact = amount(value, option)
    if isinstance(exact, str):
        raise SpecError(f'value.{option}: found "{exact}", an amount is allowed. Write a number, such as 2.50')
    return exact


def places(value: Decimal) -> int:
    """Decimal places that an amount needs."""
    # Not `normalize`, which rounds to the context's 28 digits.
    sign_digits = value.as_tuple()
    assert isinstance(sign_digits.exponent, int), "amounts are finite"
    digits = "".join(map(str, sign_digits.digits))
    zeros = len(digits) - len(digits.rstrip("0"))
    return max(0, -sign_digits.exponent - zeros) if value else 0


def units(value: Decimal, scale: int) -> int:
    """The amount as an integer number of 10^-scale units; exact."""
    scaled = Fraction(value) * 10**scale
    assert scaled.denominator == 1, "the scale holds every place"
    return int(scaled.numerator)


def column_units(cells: np.ndarray, name: str, scale: int) -> np.ndarray:
    """Units of each cell of a money column (N,). Errors: DataError for an empty cell or one with too many places."""
    found: list[int] = []
    for row, cell in enumerate(cells.tolist()):
        if not isinstance(cell, (Decimal, int)) or isinstance(cell, bool) or not Decimal(cell).is_finite():
            raise DataError(f'column "{name}", row {row}: found {cell!r}, an amount is needed. Fill it in or drop the row')
        if places(Decimal(cell)) > scale:
            raise DataError(f'column "{name}", row {row}: found {cell}, at most {scale} decimal places are allowed. Round it')
        found.append(units(Decimal(cell), scale))
    return integers(found)


def integers(values: Iterable[int]) -> np.ndarray:
    """Integers as int64 where all fit with room for a sum of two, else as objects."""
    listed = list(values)
    safe = all(-_LIMIT < value < _LIMIT for value in listed)
    return np.array(listed, dtype=np.int64 if safe else object)


def bound(values: np.ndarray) -> int:
    """The largest magnitude in an integer array, 0 of an empty one."""
    return max(abs(int(values.max())), abs(int(values.min()))) if values.size else 0


def roomy(values: np.ndarray, factor: int) -> np.ndarray:
    """The same integers in a dtype that holds `factor` times the largest of them."""
    if values.dtype == object or bound(values) * max(1, factor) < _LIMIT:
        return values
    return values.astype(object)


def product(values: np.ndarray, factor: int) -> np.ndarray:
    """The exact product of each integer (N,) and a factor."""
    if abs(factor) >= _LIMIT:
        return np.asarray(values.astype(object) * factor)
    return np.asarray(roomy(values, abs(factor)) * factor)


def total(values: np.ndarray) -> int:
    """The exact sum of an integer array."""
    return int(roomy(values, len(values)).sum()) if len(values) else 0


def running(values: np.ndarray) -> np.ndarray:
    """Exact running sums of an integer array (N,)."""
    return np.asarray(np.cumsum(roomy(values, len(values))))


def quantity_units(values: np.ndarray) -> np.ndarray:
    """Numbers rounded to QUANTITY_SCALE places, as integers of 10^-QUANTITY_SCALE (N,).

    Errors: DataError for a value that is not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise DataError(f"row {row}: found the quantity {numbers[row]}, a finite number is needed. Drop or mend the row")
    if not numbers.size or np.abs(numbers).max() < 2**53 / 10**QUANTITY_SCALE:
        return np.asarray(np.rint(numbers * 10**QUANTITY_SCALE), dtype=np.int64)
    # Beyond 2^53 units a product of floats loses units; a Decimal of the float does not.
    step = Fraction(1, 10**QUANTITY_SCALE)
    return integers(round(Fraction(number) / step) for number in numbers.tolist())


def drawn_totals(columns: list[np.ndarray], resamples: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Exact sums of each column (N,) of integers over N rows drawn with replacement, the same rows for all columns."""
    num_rows = len(columns[0])
    divisor = math.gcd(*(_common_divisor(column) for column in columns)) or 1
    # Amounts with two decimal places at a scale of twelve share a large divisor: without it they fit int64 again.
    table = np.stack([roomy(integers(int(v) // divisor for v in column.tolist()), num_rows) for column in columns], axis=1)
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        drawn_N = np.bincount(generator.integers(0, num_rows, num_rows), minlength=num_rows)
        yield tuple(int(value) * divisor for value in drawn_N @ table)


def rounded(value: Fraction, decimals: int = 6) -> Decimal:
    """The nearest Decimal with so many places."""
    return Decimal(f"{round(value * 10**decimals)}E-{decimals}")


def _common_divisor(column: np.ndarray) -> int:
    if column.dtype == object:
        return math.gcd(*column.tolist())
    return int(np.gcd.reduce(column)) if len(column) else 0
