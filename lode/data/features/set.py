"""Sets of words or of vectors: their order says nothing. How cells are read is in lode/data/encoding/lists.py; read
lode/data/contracts.py first.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import polars as pl

from lode.core.types import FlatSpec, Range, TensorSpec
from lode.data import cells
from lode.data.contracts import Feature, State
from lode.data.encoding.lists import gathered, laid_flat, number_lists, word_lists

_MOST_ELEMENTS = 256
_LIMIT = 1e6
_UNKNOWN = 1
"""Code of an unknown word; 0 is padding, the most frequent word is 2."""
_FIGURES = ("mean", "spread", "low", "high")


class Set(Feature):
    """A set of words ("milk, bread"; a list; a JSON array) or of vectors (a list of lists with `width` numbers each).

    A word counts once, however often it stands in a cell. The array has the codes in ascending order (all unknown words are one, the
    last), so that a set is the same in whatever order it came; an empty set is allowed.

    Args:
        of: words or numbers.
        width: with numbers, how many each element has.
        length: so many elements are kept at most, of words the most frequent ones; without it, the largest set in training, 256 at most.
        separator: what stands between the words of a text that is no JSON array.
        min_count: with words, cells that a word must stand in to get a code of its own.
        max_values: with words, so many words get codes at most, the most frequent ones.
    """

    kind: ClassVar[Literal["list"]] = "list"
    expects: ClassVar[str] = "a list of words, or of numbers where the set is one of numbers"

    def __init__(
        self,
        *,
        of: Literal["words", "numbers"] = "words",
        width: Annotated[int, Range(1, 4096)] = 1,
        length: Annotated[int, Range(1, 100_000)] | None = None,
        separator: str = ",",
        min_count: Annotated[int, Range(1)] = 1,
        max_values: Annotated[int, Range(1, 1_000_000)] = 10_000,
    ) -> None:
        self.of, self.width, self.length, self.separator = of, width, length, separator
        self.min_count, self.max_values = min_count, max_values
        self._longest = length or 1
        self._codes = cells.WordCodes([])
        self._is_complete = False
        self._mean_K, self._spread_K = np.zeros(width), np.ones(width)

    def parse(self, column: pl.Series) -> pl.Series:
        if self.of == "numbers":
            return number_lists(column, self.width)
        return word_lists(column, self.separator)

    def fit(self, column: pl.Series, target: np.ndarray | None = None, folds: np.ndarray | None = None) -> None:
        values, lengths = laid_flat(column)
        if self.of == "numbers":
            numbers_SK = np.clip(values.to_numpy().reshape(-1, self.width), -1e150, 1e150)
            self._longest = self.length or max(1, min(int(lengths.max(initial=0)) // self.width, _MOST_ELEMENTS))
            known_K = np.isfinite(numbers_SK).any(axis=0)
            self._mean_K, self._spread_K = np.zeros(self.width), np.ones(self.width)
            self._mean_K[known_K] = np.nanmean(numbers_SK[:, known_K], axis=0)
            spread_K = np.nanstd(numbers_SK[:, known_K], axis=0)
            self._spread_K[known_K] = np.where(spread_K > 1e-12 * np.maximum(1.0, np.abs(self._mean_K[known_K])), spread_K, 1.0)
            return
        pairs = pl.DataFrame({"row": np.repeat(np.arange(len(column)), lengths), "word": values.cast(pl.String)}).unique()
        self._codes = cells.WordCodes(cells.ranked_words(pairs["word"], self.min_count, self.max_values))
        self._is_complete = len(self._codes.words) == pairs["word"].n_unique()
        largest = pairs.group_by("row").len()["len"].max() if pairs.height else 1
        self._longest = self.length or max(1, min(int(largest), _MOST_ELEMENTS))  # type: ignore[arg-type]

    def fit_transform(self, column: pl.Series, target: np.ndarray | None, folds: np.ndarray | None) -> np.ndarray:
        self.fit(column, target, folds)
        return self.transform(column)

    def transform(self, column: pl.Series) -> np.ndarray:
        if self.of == "numbers":
            return self._vectors(column)
        array = np.zeros((len(column), self._longest), dtype=np.int32)
        rows, codes = self._pairs(column)
        starts = np.searchsorted(rows, np.arange(len(column)))
        place = np.arange(len(rows)) - starts[rows]
        kept = place < self._longest
        array[rows[kept], place[kept]] = codes[kept]
        return array

    def _pairs(self, column: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """Rows and codes of the different words of each cell, in ascending order; unknown words come last, as one."""
        values, lengths = laid_flat(column)
        codes = self._codes.codes(values.cast(pl.String)).astype(np.int64)
        last = len(self._codes.words) + _UNKNOWN + 1
        keys = np.repeat(np.arange(len(column)), lengths) * (last + 1) + np.where(codes > 0, codes + _UNKNOWN, last)
        rows, found = np.divmod(np.unique(keys), last + 1)
        return rows, np.where(found == last, _UNKNOWN, found)

    def _elements(self, column: pl.Series) -> list[np.ndarray]:
        """float64 (S, K) of every cell; gaps become the mean of their place."""
        values, lengths = laid_flat(column)
        numbers_SK = np.clip(values.to_numpy().reshape(-1, self.width), -1e150, 1e150)
        numbers_SK = np.where(np.isnan(numbers_SK), self._mean_K, numbers_SK)
        return np.split(numbers_SK, np.cumsum(lengths // self.width)[:-1]) if len(column) else []

    def _vectors(self, column: pl.Series) -> np.ndarray:
        array = np.full((len(column), self._longest, self.width), np.nan, dtype=np.float32)
        for row, elements_SK in enumerate(self._elements(column)):
            ordered_SK = elements_SK[np.lexsort(elements_SK.T[::-1])][: self._longest]
            array[row, : len(ordered_SK)] = np.clip((ordered_SK - self._mean_K) / self._spread_K, -_LIMIT, _LIMIT)
        return array

    def inverse(self, array: np.ndarray) -> pl.Series:
        """The known words, or the vectors, laid flat."""
        if self.of == "numbers":
            real_NS = np.isfinite(array[:, :, 0])
            values = (array.astype(np.float64) * self._spread_K + self._mean_K)[real_NS].ravel()
            lists = gathered(pl.Series(values, dtype=pl.Float64), real_NS.sum(axis=1) * self.width)
            return lists.zip_with(pl.Series(real_NS.any(axis=1), dtype=pl.Boolean), pl.Series([None], dtype=lists.dtype))
        words = [[self._codes.words[code - _UNKNOWN - 1] for code in row if code > _UNKNOWN] for row in array.tolist()]
        return pl.Series(words, dtype=pl.List(pl.String))

    @property
    def spec(self) -> TensorSpec:
        if self.of == "numbers":
            return TensorSpec("float32", (self._longest, self.width), ragged=(0,), ordered=False)
        known = len(self._codes.words)
        return TensorSpec("int32", (self._longest,), ragged=(0,), cardinality=known + _UNKNOWN + 1, ordered=False)

    @property
    def flat_spec(self) -> FlatSpec:
        if self.of == "words":
            return FlatSpec(tuple(self._codes.words), (-1,) * len(self._codes.words))
        names = [f"{place + 1}.{word}" for place in range(self.width) for word in _FIGURES]
        return FlatSpec((*names, "elements"), (0,) * (len(names) + 1))

    def flat(self, column: pl.Series) -> Any:
        """Words: 1 where the set has the word, as a CSR matrix. Numbers: mean, spread and range of each place, and how many there are."""
        if self.of == "words":
            from scipy import sparse  # 0.2 s to import: only words need it

            rows, codes = self._pairs(column)
            known = codes > _UNKNOWN
            places = (rows[known], codes[known] - _UNKNOWN - 1)
            shape = (len(column), len(self._codes.words))
            return sparse.csr_matrix((np.ones(int(known.sum()), dtype=np.float32), places), shape=shape)
        matrix = np.full((len(column), 4 * self.width + 1), np.nan, dtype=np.float32)
        for row, elements_SK in enumerate(self._elements(column)):
            matrix[row, -1] = len(elements_SK)
            if len(elements_SK):
                ordered_SK = np.sort(elements_SK, axis=0)
                figures = (ordered_SK.mean(axis=0), ordered_SK.std(axis=0), ordered_SK[0], ordered_SK[-1])
                matrix[row, :-1] = np.clip(np.stack(figures, axis=1).ravel(), -3e38, 3e38)
        return matrix

    def unseen(self, column: pl.Series) -> int:
        """Cells with a word that training never saw; 0 where not all words of training are known."""
        if self.of == "numbers" or not self._is_complete:
            return 0
        rows, codes = self._pairs(column)
        return len(np.unique(rows[codes == _UNKNOWN]))

    def state(self) -> State:
        shared: State = {"longest": self._longest, "complete": self._is_complete, "words": self._codes.words}
        return {**shared, "mean": self._mean_K.tolist(), "spread": self._spread_K.tolist()}

    def restore(self, state: State) -> None:
        self._longest, self._is_complete = int(state["longest"]), bool(state["complete"])
        self._codes = cells.WordCodes(state["words"])
        self._mean_K, self._spread_K = np.array(state["mean"]), np.array(state["spread"])
