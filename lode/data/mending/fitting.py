"""What `fit` of a cleaner looks at where a table may be larger than memory: one column's numbers, a random sample, spread-out slices.

The same rows always give the same sample.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from lode.data.contracts import ROW

BATCH_ROWS = 1 << 18
_NUM_SLICES, _SLICE_ROWS = 8, 1 << 14
_GLANCE_VALUES = 1_000


def count_rows(rows: pl.LazyFrame) -> int:
    """How many rows there are."""
    names = rows.collect_schema().names()
    # Asked for nothing but its length, a table that lies in files reads all of its columns.
    length = pl.col(ROW if ROW in names else names[0]).len() if names else pl.len()
    return int(rows.select(length).collect(engine="streaming").item())


def known_numbers(rows: pl.LazyFrame, name: str) -> np.ndarray:
    """The known cells of a numeric column, float64 (K,), in order; 8 bytes per row and no more. The caller may write to it."""
    column = pl.col(name).cast(pl.Float64).fill_nan(None).drop_nulls()
    values, filled = np.empty(0, dtype=np.float64), 0
    for batch in rows.select(column).collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
        part = batch.to_series().to_numpy()
        # Growing in place remaps pages: joining parts at the end would hold everything twice, counting first read everything twice.
        values.resize(filled + len(part), refcheck=False)
        values[filled:] = part
        filled += len(part)
    return values


def quantiles(values: np.ndarray, shares: Sequence[float]) -> list[float]:
    """Exact quantiles with linear interpolation, as np.quantile gives them. Reorders `values` (N,), and needs little other memory."""
    places = [share * (len(values) - 1) for share in shares]
    found = _at_places(values, sorted({int(edge) for place in places for edge in (np.floor(place), np.ceil(place))}))
    return [_between(found[int(np.floor(place))], found[int(np.ceil(place))], place - int(place)) for place in places]


def _at_places(values: np.ndarray, places: Sequence[int]) -> dict[int, float]:
    """What would stand at these places (ascending) if the values were sorted."""
    middle = float(np.median(values[:: len(values) // _GLANCE_VALUES + 1]))
    below, with_equal = np.count_nonzero(values < middle), np.count_nonzero(values <= middle)
    found, start = {}, 0
    for place in places:
        if below <= place < with_equal:  # most cells of many columns are one value, which costs a partition long walks
            found[place] = middle
            continue
        # One place at a time: numpy has vector instructions for one, and none for several.
        values[start:].partition(place - start)
        found[place], start = float(values[place]), place
    return found


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


def random_rows(rows: pl.LazyFrame, columns: Sequence[str], num_rows: int, seed: int = 0) -> pl.DataFrame:
    """`num_rows` rows drawn without replacement, in their order; all rows where there are no more."""
    total = count_rows(rows)
    if total <= num_rows:
        return rows.select(columns).collect(engine="streaming")
    chosen = np.sort(np.random.default_rng(seed).choice(total, num_rows, replace=False, shuffle=False))
    parts, start = [], 0
    for batch in rows.select(columns).collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
        first, last = np.searchsorted(chosen, (start, start + batch.height))
        parts.append(batch[chosen[first:last] - start])
        start += batch.height
    return pl.concat(parts)


def spread_rows(rows: pl.LazyFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Slices spread over the whole table, about 130,000 rows: enough to see how cells are written. All rows of a small table."""
    total = count_rows(rows)
    chosen = rows.select(columns)
    if total <= _NUM_SLICES * _SLICE_ROWS:
        return chosen.collect(engine="streaming")
    starts = np.array([index * (total - _SLICE_ROWS) // (_NUM_SLICES - 1) for index in range(_NUM_SLICES)])
    wanted = (starts[:, None] + np.arange(_SLICE_ROWS)).ravel()
    parts, start = [], 0
    # In one pass: a slice of rows that stream would hold all rows before it.
    for batch in chosen.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
        first, last = np.searchsorted(wanted, (start, start + batch.height))
        if last > first:
            parts.append(batch[wanted[first:last] - start])
        start += batch.height
    return pl.concat(parts)
