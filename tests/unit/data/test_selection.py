"""Exact quantiles of columns that stream."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from lode.data import cells
from lode.data.mending import selection
from lode.data.mending.selection import column_quantiles

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.97, 1.0)
COLUMNS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda rng, size: rng.normal(size=size),
    "few values": lambda rng, size: rng.integers(0, 5, size).astype(np.float64),
    "mostly one value": lambda rng, size: rng.normal(size=size) * (rng.random(size) < 0.05),
    "ascending": lambda rng, size: np.arange(size, dtype=np.float64),
    "the first rows are others": lambda rng, size: np.where(np.arange(size) < size // 3, 1e9, rng.normal(size=size)),
}


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "BATCH_ROWS", 512)
    monkeypatch.setattr(selection, "_GLANCE_VALUES", 256)
    monkeypatch.setattr(selection, "_BLOCK_VALUES", 100)


def rows_of(values: np.ndarray) -> pl.LazyFrame:
    """Rows that come in batches, some cells of `x` missing or NaN."""
    holes = pl.Series("x", [None, np.nan] * 50, dtype=pl.Float64)
    return pl.concat([pl.Series("x", values), holes]).to_frame().lazy()


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("size", [1, 2, 3, 511, 513, 20_000])
def test_quantiles_of_a_streaming_column_are_those_of_numpy(kind: str, size: int) -> None:
    values = COLUMNS[kind](np.random.default_rng(size), size)
    found = column_quantiles(rows_of(values), "x", SHARES)
    assert found == pytest.approx(np.quantile(values, SHARES).tolist(), rel=1e-15)


def test_a_column_without_a_known_cell_has_no_quantiles() -> None:
    assert column_quantiles(rows_of(np.empty(0)), "x", (0.5,)) is None


def test_a_column_of_many_rows_is_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    def held(*_: object) -> np.ndarray:
        raise AssertionError("the whole column was read into memory")

    monkeypatch.setattr(selection, "known_numbers", held)
    rng = np.random.default_rng(0)
    for name in ("normal", "few values", "mostly one value", "ascending", "the first rows are others"):
        values = COLUMNS[name](rng, 50_000)
        assert column_quantiles(rows_of(values), "x", (0.25, 0.75)) == pytest.approx(np.quantile(values, (0.25, 0.75)).tolist())


def test_codes_are_counted_whatever_their_number() -> None:
    rng = np.random.default_rng(1)
    for num_codes in (1, 3, 200, 70_000):
        codes = rng.integers(0, num_codes, 200_000).astype(np.uint32)
        assert np.array_equal(cells.code_counts(codes, num_codes), np.bincount(codes, minlength=num_codes))
