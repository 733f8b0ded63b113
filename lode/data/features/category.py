"""Categories: words to codes, the most frequent first, or to shares and means. Reads cells with lode/data/cells.py.

The encodings are in lode/data/encoding/encodings.py. Read lode/data/contracts.py first.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
import polars as pl

from lode.core.errors import SpecError
from lode.core.types import FlatSpec, Range, TensorSpec
from lode.data import cells
from lode.data.contracts import Feature, State
from lode.data.encoding import encodings
from lode.data.encoding.out_of_fold import out_of_fold


class Category(Feature):
    """One of a set of words: a country, a plan, a product group. Code 0 is missing, unknown or too rare.

    Numbers can be categories too: 1, 1.0 and "1" are one category. A value that is too rare to be kept counts as unseen.

    Args:
        min_count: a value in fewer training rows than this is treated as unknown.
        max_values: so many values are kept, the most frequent ones.
        encode: "code" (a code for each value), "hash" (a code from a fixed number of buckets, nothing to learn), "target" (the mean of
            the first output over the rows with that value; training rows get it out of fold) or "frequency" (how many rows have it).
        rare: with codes, whether unknown and rare values are as good as missing ("unknown") or share a code of their own ("group").
        buckets: with "hash", how many codes there are.
        smooth: with "target", so many rows with the mean of all are added to each value.
    """

    kind: ClassVar[Literal["string"]] = "string"
    expects: ClassVar[str] = "a word or a number"

    def __init__(
        self,
        *,
        min_count: Annotated[int, Range(1)] = 1,
        max_values: Annotated[int, Range(1, 1_000_000)] = 10_000,
        encode: Literal["code", "hash", "target", "frequency"] = "code",
        rare: Literal["unknown", "group"] = "unknown",
        buckets: Annotated[int, Range(2, 10_000_000)] = 1_024,
        smooth: Annotated[float, Range(0)] = 10.0,
    ) -> None:
        counting = ("code", "target", "frequency")
        for option, value, default, users in (
            ("min_count", min_count, 1, counting), ("max_values", max_values, 10_000, counting), ("rare", rare, "unknown", ("code",)),
            ("buckets", buckets, 1_024, ("hash",)), ("smooth", smooth, 10.0, ("target",)),
        ):  # fmt: skip
            if value != default and encode not in users:
                raise SpecError(
                    f"feature category:{option}: found {value} with `encode: {encode}`, which does not use it, allowed: only with "
                    f"`encode: {users[0]}`. Leave it out, or change `encode`."
                )
        self.learns_target = encode == "target"
        self._encoding: encodings.Encoding
        if encode == "code":
            self._encoding = encodings.Codes(min_count, max_values, rare == "group")
        elif encode == "hash":
            self._encoding = encodings.Hashes(buckets)
        elif encode == "target":
            self._encoding = encodings.Means(min_count, max_values, smooth)
        else:
            self._encoding = encodings.Shares(min_count, max_values)

    def parse(self, column: pl.Series) -> pl.Series:
        return cells.words(column)

    def fit(self, column: pl.Series, target: np.ndarray | None = None, folds: np.ndarray | None = None) -> None:
        self._encoding.fit(column, target, folds)

    def fit_transform(self, column: pl.Series, target: np.ndarray | None, folds: np.ndarray | None) -> np.ndarray:
        self.fit(column, target, folds)
        if folds is None:
            return self.transform(column)
        found: np.ndarray = out_of_fold(self, column, folds, lambda feature, part: feature.transform(part))
        return found

    def without(self, fold: int) -> Feature:
        if not self.learns_target:
            return self
        made = Category()
        made._encoding = self._encoding.without(fold)
        return made

    def transform(self, column: pl.Series) -> np.ndarray:
        return self._encoding.transform(column)

    def inverse(self, array: np.ndarray) -> pl.Series:
        return pl.Series(self._encoding.words(array), dtype=pl.String)

    @property
    def spec(self) -> TensorSpec:
        return self._encoding.spec

    @property
    def flat_spec(self) -> FlatSpec:
        return self._encoding.flat_spec

    def flat(self, column: pl.Series) -> np.ndarray:
        return self._encoding.flat(column)

    def unseen(self, column: pl.Series) -> int:
        return self._encoding.unseen(column)

    def state(self) -> State:
        return self._encoding.state()

    def restore(self, state: State) -> None:
        self._encoding.restore(state)
