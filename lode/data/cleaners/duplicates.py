"""Drops rows that say the same, or nearly the same, as another one: such rows would stand in training and test at once.

How they are found: lode/data/alike/repeats.py (equal), near_text.py, near_image.py, near_record.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
import polars as pl

from lode.core.errors import DataError, listed, near_miss
from lode.core.types import ColumnName, Range
from lode.data.alike import near_image, near_record, near_text
from lode.data.alike.buckets import Alike, Pairs, alike
from lode.data.alike.repeats import find_repeats
from lode.data.contracts import ROW, Cleaner, State

_NO_ROWS = np.empty(0, np.uint64)


class Duplicates(Cleaner):
    """Keeps one of equal rows, or of rows that are nearly equal.

    Args:
        columns: what is compared; by default all inputs and outputs, with `near` the texts, the picture, or again all.
        near: also rows that are nearly equal: by their "text" (MinHash, then exact Jaccard similarity of shingles), by their "image"
            (perceptual hash, then correlation), or as a "record" (words by TF-IDF, numbers by relative difference, codes). By default
            only rows that are equal.
        threshold: least similarity, up to 1; by default 0.8 for texts, 0.95 for images, 0.8 for records, 0.5 for records `between` lists.
        keep: which one stays: the first, or the one with fewest missing cells ("complete"; the first of these).
        shingles: texts are compared by runs of characters (every language) or of words.
        shingle_size: how many; by default 5 characters (2 in Chinese, Japanese and Korean) or 3 words.
        num_hashes: length of a text's signature: more find more of the pairs close to the threshold.
        weights: of columns in a record; by default by how well a column tells rows apart.
        between: column that says which list a record is from; only records of different lists are compared.
    """

    scope: Literal["source", "cells", "training"] = "source"
    on: ClassVar[Literal["raw", "typed"]] = "typed"
    coded: bool = True
    by_row: ClassVar[bool] = True

    def __init__(
        self,
        *,
        columns: list[ColumnName] | None = None,
        near: Literal["text", "image", "record"] | None = None,
        threshold: Annotated[float, Range(0, 1, open_low=True)] | None = None,
        keep: Literal["first", "complete"] = "first",
        shingles: Literal["characters", "words"] = "characters",
        shingle_size: Annotated[int, Range(1, 32)] | None = None,
        num_hashes: Annotated[int, Range(16, 1024)] = 128,
        weights: dict[str, float] | None = None,
        between: ColumnName | None = None,
    ) -> None:
        self.columns, self.near, self.threshold, self.keep = columns, near, threshold, keep
        self.shingles: Literal["characters", "words"] = shingles
        self.shingle_size, self.num_hashes, self.weights = shingle_size, num_hashes, weights
        self.between = between
        self._gone = Alike(_NO_ROWS, _NO_ROWS, _NO_ROWS, np.empty(0, np.float32))

    def fit(self, rows: pl.LazyFrame, types: Mapping[str, str]) -> None:
        """Errors: DataError where there is no column of a given name, or it holds nothing that can be compared in this way."""
        if self.near != "record" and (self.weights or self.between):
            raise DataError("data.clean duplicates: weights and between are for records. Add `near: record`, or leave them out.")
        schema = rows.collect_schema()
        there = [name for name in schema.names() if name != ROW]
        known = [name for name in there if name in types]
        for name in (*(self.columns or ()), *(self.weights or ()), *filter(None, [self.between])):
            if name not in there:
                raise DataError(
                    f'data.clean duplicates: no column "{name}", found {listed(there)}.{near_miss(name, there)} Name one of them.'
                )
        if self.near is None:
            found = find_repeats(rows, self.columns or known, known if self.keep == "complete" else ())
            self._gone = Alike(found.rows, found.kept, found.kept, np.empty(0, np.float32))
            return
        names = [str(name) for name in self.columns or known]
        pairs = self._pairs(rows, names, schema, types)
        self._gone = alike(pairs, _holes(rows, pairs, known) if self.keep == "complete" else None)

    def _pairs(self, rows: pl.LazyFrame, names: list[str], schema: pl.Schema, types: Mapping[str, str]) -> Pairs:
        if self.near == "text":
            words = [name for name in names if schema[name] in (pl.String, pl.Enum, pl.Categorical)]
            texts = _usable(names, words, types, "text", named=bool(self.columns))
            likeness = near_text.Likeness(
                threshold=self.threshold or 0.8, by=self.shingles, size=self.shingle_size, num_hashes=self.num_hashes
            )
            return near_text.find_near_texts(rows, texts, likeness)
        if self.near == "image":
            pictures = _usable(names, [name for name in names if schema[name] == pl.Binary], types, "image", named=True)
            if len(pictures) > 1:
                raise DataError(
                    f"data.clean duplicates: near: image found {listed(pictures)}, one column is compared. "
                    f"Name it: `columns: [{pictures[0]}]`."
                )
            return near_image.find_near_images(rows, pictures[0], self.threshold or near_image.THRESHOLD)
        flat = [name for name in names if not (schema[name].is_nested() or schema[name] == pl.Binary)]
        if not any(not schema[name].is_numeric() for name in flat):
            raise DataError(
                f"data.clean duplicates: near: record needs at least one column of words, found {listed(names)}. "
                "Leave `near` out, or name other columns."
            )
        default = near_record.THRESHOLD if self.between is None else near_record.THRESHOLD_BETWEEN
        return near_record.find_near_records(rows, flat, self.threshold or default, self.weights, self.between)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        gone = self._gone.rows
        if ROW not in frame.columns or not len(gone):
            return frame
        rows = frame[ROW].to_numpy()
        place = np.minimum(np.searchsorted(gone, rows), len(gone) - 1)
        return frame.filter(pl.Series(gone[place] != rows))

    def why(self, changed: pl.DataFrame) -> pl.Series | None:
        place = np.searchsorted(self._gone.rows, changed["row"].to_numpy())
        near, kept = pl.Series("near", self._gone.near[place]), pl.Series("kept", self._gone.kept[place])
        if self.near is None:
            return pl.select(why=pl.format("the same as row {}", near)).to_series()
        share = pl.Series("share", self._gone.similarity[place].astype(np.float64)).round(2)
        said = pl.format("near duplicate of row {} (similarity {})", near, share)
        return pl.select(why=pl.when(near == kept).then(said).otherwise(pl.format("{}, row {} stays", said, kept))).to_series()

    def state(self) -> State:
        return {}

    def restore(self, state: State) -> None:
        """Nothing: requests are not compared with one another."""


def _usable(names: list[str], fit: list[str], types: Mapping[str, str], word: str, *, named: bool) -> list[str]:
    """Those of the columns that are texts (or pictures): named ones as they are, else those that are inputs of this type."""
    found = fit if named else [name for name in fit if types.get(name) == word]
    if not found:
        have = listed(f"{name} ({types.get(name, 'no input')})" for name in names)
        raise DataError(
            f"data.clean duplicates: near: {word} needs a column of type {word}, found {have}. "
            "Name one with `columns`, or leave `near` out."
        )
    return found


def _holes(rows: pl.LazyFrame, pairs: Pairs, columns: list[str]) -> dict[int, int]:
    """Missing cells of each row that is like another one."""
    needed = pl.Series(np.concatenate([pairs.left, pairs.right])).unique()
    count = pl.sum_horizontal(pl.col(name).is_null() for name in columns).alias("holes")
    found = rows.filter(pl.col(ROW).is_in(needed.implode())).select(ROW, count).collect(engine="streaming")
    return dict(found.iter_rows())
