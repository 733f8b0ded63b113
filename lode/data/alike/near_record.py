"""Rows that mean the same thing though they are written differently: two lists of products, customers, firms.

Rows that share a rare word are compared, column by column: words by the cosine of their TF-IDF vectors, numbers by their relative
difference; all words together count once more, and so do codes (model numbers). Cohen, Ravikumar, Fienberg 2003, "A comparison of string
distance metrics for name-matching tasks"; blocking: Papadakis et al. 2020, "Blocking and filtering techniques for entity resolution".
What was tried stands in docs/experiments.md. Used by the cleaner `duplicates`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from lode.data.alike.buckets import Pairs, Pass, decoded, distinct, pairs_in_buckets, passes
from lode.data.alike.shingles import normalised
from lode.data.contracts import ROW

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

THRESHOLD, THRESHOLD_BETWEEN = 0.8, 0.5
"""Within one list, where variants of a product stand side by side; and between two lists (docs/experiments.md has what they give)."""

_NUM_KEYS = 8
"""Rarest words by which a row is found."""
_WORD_BITS, _CELL_BITS = 24, 16
_NUM_WORDS = 1 << _WORD_BITS
_BLOCK_PAIRS = 1 << 16
_SLICE_ROWS = 1 << 16
_SIGNS = r"\p{Han}\p{Hiragana}\p{Katakana}"
_WORD = rf"[{_SIGNS}]|[[\p{{L}}\p{{N}}\p{{M}}]--[{_SIGNS}]]+"
_CODE_CHARS, _NUMBER_CHARS = 4, 6
"""A code (a model number, a phone number) has digits and letters, so many at least; or digits alone, but more of them."""
_CONFLICT = 0.5
"""What is left of the similarity of two rows that both have codes, but none in common: the black and the white one of a series."""
_MAX_LOADED = 1 << 23


@dataclass(slots=True)
class _Statistics:
    """What is known of all rows before any two are compared.

    num_rows: how many. frequency: uint32 (2 ** 24,), rows that have a word, by hash. cells: per column, how often each cell occurs, by
        hash.
    """

    num_rows: int = 0
    frequency: np.ndarray = field(default_factory=lambda: np.zeros(_NUM_WORDS, np.uint32))
    cells: dict[str, np.ndarray] = field(default_factory=dict)

    def weight(self, words: np.ndarray) -> np.ndarray:
        """Inverse document frequency, float32 (W,)."""
        return np.log1p(self.num_rows / np.maximum(self.frequency[words], 1)).astype(np.float32)

    def telling(self, column: str) -> float:
        """How much a column tells rows apart, 0 to 1: entropy of its cells over the highest possible, times the share of known cells."""
        counts = self.cells[column].astype(np.float64)
        known = counts.sum()
        counts = counts[counts > 0]
        most = np.log(min(known, 1 << _CELL_BITS)) if known > 1 else 0.0
        if most == 0.0:
            return 0.0
        entropy = np.log(known) - float((counts * np.log(counts)).sum()) / known
        return float(min(entropy / most, 1.0) * known / max(self.num_rows, 1))


def find_near_records(
    rows: pl.LazyFrame,
    columns: Sequence[str],
    threshold: float = THRESHOLD,
    weights: Mapping[str, float] | None = None,
    between: str | None = None,
) -> Pairs:
    """Rows whose similarity reaches the threshold; left, right: `__row__`. `rows` is read three times or more, in bounded memory.

    columns: numbers are compared as numbers, everything else as words. weights: of columns, in place of what they tell rows apart.
    between: a column that says which list a row is from; only rows of different lists are compared.
    """
    columns = [name for name in columns if name != between]
    lists = np.empty(0, np.uint64) if between is None else _lists(rows, between)
    schema = rows.collect_schema()
    numbers = [name for name in columns if schema[name].is_numeric()]
    words = [name for name in columns if name not in numbers]
    rows = rows.select(ROW, *numbers, *(normalised(pl.col(name)).alias(name) for name in words))
    statistics, row_numbers, sizes = _counted(rows, words, numbers)
    own = {name: statistics.telling(name) for name in columns} | dict(weights or {})
    left, right = decoded(distinct(_candidates(rows, words, statistics)))
    if between is not None:
        apart = lists[left] != lists[right]
        left, right = left[apart], right[apart]
    portions = passes(rows, row_numbers, sizes, left, right, _MAX_LOADED)
    return Pairs.join([portion.near(_similarity(portion, words, numbers, statistics, own), threshold) for portion in portions])


def similarities(
    frame: pl.DataFrame, left: np.ndarray, right: np.ndarray, weights: Mapping[str, float] | None = None
) -> np.ndarray:
    """float64 (P,): how similar the rows at these places are, for pairs of one's own; what is rare is learnt from the whole frame."""
    numbers = [name for name in frame.columns if frame.schema[name].is_numeric()]
    words = [name for name in frame.columns if name not in numbers]
    rows = frame.with_row_index(ROW).lazy().with_columns(pl.col(ROW).cast(pl.UInt64))
    rows = rows.select(ROW, *numbers, *(normalised(pl.col(name)).alias(name) for name in words))
    statistics, row_numbers, _ = _counted(rows, words, numbers)
    own = {name: statistics.telling(name) for name in frame.columns} | dict(weights or {})
    return _similarity(Pass(rows, row_numbers, left, right), words, numbers, statistics, own)


def _counted(rows: pl.LazyFrame, words: Sequence[str], numbers: Sequence[str]) -> tuple[_Statistics, np.ndarray, np.ndarray]:
    """Statistics; row numbers, uint64 (N,); words per row, uint32 (N,)."""
    found = _Statistics(cells={name: np.zeros(1 << _CELL_BITS, np.uint32) for name in (*words, *numbers)})
    seen, sizes = [np.empty(0, np.uint64)], [np.empty(0, np.uint32)]
    for batch in _batches(rows):
        terms = _terms(batch, words)
        together = terms.select("place", "word").unique()
        found.frequency += np.bincount(together["word"].to_numpy(), minlength=_NUM_WORDS).astype(np.uint32)
        found.num_rows += batch.height
        for name, counts in found.cells.items():
            cells = batch[name].drop_nulls()
            cells = cells.filter(cells != "") if name in words else cells
            counts += np.bincount(_hashed(cells, _CELL_BITS), minlength=len(counts)).astype(np.uint32)
        seen.append(batch[ROW].to_numpy())
        sizes.append(np.bincount(terms["place"].to_numpy(), minlength=batch.height).astype(np.uint32) + np.uint32(len(numbers)))
    return found, np.concatenate(seen), np.concatenate(sizes)


def _lists(rows: pl.LazyFrame, between: str) -> np.ndarray:
    """uint64 (N,): a hash of each row's list."""
    parts = [batch[between].hash(5).to_numpy() for batch in _batches(rows.select(pl.col(between).cast(pl.String)))]
    return np.concatenate([np.empty(0, np.uint64), *parts])


def _batches(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    for batch in rows.collect_batches(maintain_order=True):
        yield from batch.iter_slices(_SLICE_ROWS)


def _hashed(cells: pl.Series, bits: int) -> np.ndarray:
    return (cells.hash(3).to_numpy() >> np.uint64(64 - bits)).astype(np.int64)


def _terms(batch: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """One line per different word of a cell: place (of the row), column (its place), word (hash of 24 bits), code (whether it is one).

    "F8N044-SLV" has the words f8n044, slv and f8n044slv, so that it meets "f8n044slv".
    """
    parts = [pl.DataFrame(schema={"place": pl.UInt32, "column": pl.UInt32, "text": pl.String})]
    for index, name in enumerate(columns):
        cell = pl.col(name)
        joined = cell.str.replace_all(r"[^\p{L}\p{N}\p{M}\s]+", "")
        found = pl.concat_list(cell.str.extract_all(_WORD), joined.str.extract_all(_WORD)).list.unique()
        part = batch.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("place"), found.alias("text"))
        part = part.filter(pl.col("text").list.len() > 0).explode("text", empty_as_null=False)
        parts.append(part.select("place", pl.lit(index, pl.UInt32).alias("column"), "text"))
    text = pl.col("text")
    is_long, is_longer = text.str.len_chars() >= _CODE_CHARS, text.str.len_chars() >= _NUMBER_CHARS
    is_code = text.str.contains(r"\d") & (is_longer | is_long & text.str.contains(r"\D"))
    word = (text.hash(7) // (1 << (64 - _WORD_BITS))).cast(pl.Int32)
    return pl.concat(parts).select("place", "column", word.alias("word"), is_code.alias("code"))


def _candidates(rows: pl.LazyFrame, words: Sequence[str], statistics: _Statistics) -> np.ndarray:
    """Pairs of places that share one of their rarest words, coded."""
    keys, ties, owners = [np.empty(0, np.uint32)], [np.empty(0, np.uint32)], [np.empty(0, np.uint32)]
    start = 0
    for batch in _batches(rows):
        terms = _terms(batch, words).select("place", "word").unique()
        place, word = terms["place"].to_numpy(), terms["word"].to_numpy()
        frequency = statistics.frequency[word]
        shared = frequency > 1
        place, word, frequency = place[shared], word[shared], frequency[shared]
        order = np.lexsort((word, frequency, place))
        place, word = place[order], word[order]
        first = np.searchsorted(place, place)
        rank = np.arange(len(place)) - first
        chosen = rank < _NUM_KEYS
        following = np.where(rank == 0, np.minimum(first + 1, len(place) - 1), first)
        keys.append(word[chosen].astype(np.uint32))
        ties.append(word[following][chosen].astype(np.uint32))
        owners.append((place[chosen] + start).astype(np.uint32))
        start += batch.height
    return pairs_in_buckets(np.concatenate(keys), np.concatenate(ties), np.concatenate(owners))


def _similarity(
    portion: Pass, words: Sequence[str], numbers: Sequence[str], statistics: _Statistics, weights: Mapping[str, float]
) -> np.ndarray:
    """float64 (P,): weighted mean over what both rows have; 0 where they have nothing in common to compare."""
    terms, values, num_rows = _loaded(portion.rows, words, numbers)
    total, weight = np.zeros(len(portion.left)), np.zeros(len(portion.left))
    for index, name in enumerate(words):
        vectors = _vectors(terms.filter(pl.col("column") == index), num_rows, statistics)
        _add(total, weight, portion, vectors, weights[name])
    _add(total, weight, portion, _vectors(terms, num_rows, statistics), 1.0)
    codes = _vectors(terms.filter("code"), num_rows, statistics)
    shared = np.zeros(len(portion.left))
    has_codes = np.zeros(len(portion.left))
    _add(shared, has_codes, portion, codes, 1.0, as_yes_or_no=True)
    conflict = (has_codes > 0) & (shared == 0)
    total += shared
    weight += has_codes
    for name in numbers:
        a, b = values[name].to_numpy()[portion.left], values[name].to_numpy()[portion.right]
        known = np.isfinite(a) & np.isfinite(b)
        largest = np.maximum(np.maximum(np.abs(a), np.abs(b)), np.finfo(np.float64).tiny)
        alike = 1.0 - np.minimum(np.abs(a - b) / largest, 1.0)
        total[known] += weights[name] * alike[known]
        weight[known] += weights[name]
    found = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    found[conflict] *= _CONFLICT
    return found


def _loaded(rows: pl.LazyFrame, words: Sequence[str], numbers: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Words of all rows (places count on), numbers as Float64 with NaN for missing, and how many rows there are."""
    terms, values, num_rows = [], [], 0
    for batch in _batches(rows):
        terms.append(_terms(batch, words).with_columns(pl.col("place") + num_rows))
        values.append(batch.select(pl.col(name).cast(pl.Float64).fill_null(float("nan")) for name in numbers))
        num_rows += batch.height
    return pl.concat(terms), pl.concat(values), num_rows


def _vectors(terms: pl.DataFrame, num_rows: int, statistics: _Statistics) -> csr_matrix:
    """float32 CSR (num_rows, 2 ** 24): TF-IDF of the different words of each row, of length 1."""
    from scipy.sparse import csr_matrix  # 0.4 s to import: only who has found candidates needs it

    terms = terms.select("place", "word").unique().sort("place", "word")
    place, word = terms["place"].to_numpy(), terms["word"].to_numpy()
    weight = statistics.weight(word)
    length = np.sqrt(np.bincount(place, weight.astype(np.float64) ** 2, minlength=num_rows))
    ends = np.concatenate([[0], np.bincount(place, minlength=num_rows).cumsum()])
    vectors = csr_matrix(((weight / length[place]).astype(np.float32), word, ends), shape=(num_rows, _NUM_WORDS))
    vectors.has_canonical_format = True
    return vectors


def _add(
    total: np.ndarray, weight: np.ndarray, portion: Pass, vectors: csr_matrix, own: float, *, as_yes_or_no: bool = False
) -> None:
    """Adds own * cosine (or own, where a word is shared) to `total`, and own to `weight`, for pairs of rows that both have words."""
    sizes = np.diff(vectors.indptr)
    known = np.flatnonzero((sizes[portion.left] > 0) & (sizes[portion.right] > 0))
    for start in range(0, len(known), _BLOCK_PAIRS):
        block = known[start : start + _BLOCK_PAIRS]
        product = vectors[portion.left[block]].multiply(vectors[portion.right[block]]).tocsr()
        alike = np.diff(product.indptr) > 0 if as_yes_or_no else np.asarray(product.sum(axis=1)).ravel()
        total[block] += own * np.minimum(alike, 1.0)
        weight[block] += own
