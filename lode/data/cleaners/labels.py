"""Finds labels that are probably wrong: models judge rows that they have not seen.

The arithmetic is in lode/data/mending/label_quality.py. Works on rows of the training split only: what is tested is never touched.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import polars as pl
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from lode.core.errors import DataError, listed, near_miss
from lode.core.registry import REGISTRIES
from lode.core.types import ColumnName, Component, Range
from lode.data.contracts import ROW, Cleaner, State
from lode.data.mending.label_quality import label_quality, number_quality
from lode.data.preprocess import Preprocessor

_MAX_BYTES = 512 * 2**20
_HEAD_ROWS = 500
_MAX_CODES = 255
"""So many values of a category a tree can tell apart; of more, the order by frequency is used."""
_NUM_TREES, _NUM_TREES_PER_CLASS = 100, 1_000
_THREADED_ROWS = 20_000
_NUM_SAMPLES = 5
_SUSPECTS = {ROW: pl.UInt64, "suggested": pl.String, "score": pl.Float64, "why": pl.String}


class Labels(Cleaner):
    """Drops or mends training rows whose label is probably wrong; a number is doubted where it is far from what the other columns say.

    Trees judge tables and pictures (8 x 8 pixels), a linear model judges rows with texts. Each row is judged by a model that was
    fitted on other rows. In large tables only a fixed random sample is judged.

    Args:
        output: whose labels; by default the last output's.
        action: "drop" the row; "fix", write the class (or number) that the models are confident of; "report", only say so.
        limit: at most this share of the rows is doubted, those with the lowest scores.
        odds: a label is doubted where another class is so many times as probable.
        deviations: a number is doubted so many (robust) standard deviations from its prediction.
        folds: into so many parts the rows are cut; each is judged by a model of the others.
        min_rows: classes with fewer rows are left alone: there is too little to know them by.
        max_rows: so many rows are judged at most; fewer where they would take more than 512 MiB.
        seed: of the folds, the sample and the models.
    """

    scope: Literal["source", "cells", "training"] = "training"
    on: ClassVar[Literal["raw", "typed"]] = "typed"

    def __init__(
        self,
        *,
        output: ColumnName | None = None,
        action: Literal["drop", "fix", "report"] = "drop",
        limit: Annotated[float, Range(0, 0.5, open_low=True)] = 0.1,
        odds: Annotated[float, Range(1, open_low=True)] = 10.0,
        deviations: Annotated[float, Range(1)] = 6.0,
        folds: Annotated[int, Range(2, 20)] = 5,
        min_rows: Annotated[int, Range(2)] = 20,
        max_rows: Annotated[int, Range(100)] = 200_000,
        seed: Annotated[int, Range(0, 4_294_967_295)] = 0,
    ) -> None:
        self.output, self.action = output, action
        self.limit, self.odds, self.deviations = limit, odds, deviations
        self.folds, self.min_rows, self.max_rows, self.seed = folds, min_rows, max_rows, seed
        self._name = ""
        self._suspects = pl.DataFrame(schema=_SUSPECTS)

    def fit(self, rows: pl.LazyFrame, types: Mapping[str, str]) -> None:
        """Errors: DataError where the output is no column, or there is nothing to judge it by."""
        have = [name for name in rows.collect_schema().names() if name in types]
        self._name = self._resolved(have, types)
        inputs = {name: types[name] for name in have if name != self._name}
        if not inputs:
            raise DataError(f"data.clean labels: no column is left to judge {self._name} by. Give the file an input.")
        frame = self._sample(rows.select(ROW, *have))
        matrix = _matrix(frame, inputs)
        if types[self._name] == "number":
            self._suspects = self._numbers(frame, matrix)
        else:
            self._suspects = self._classes(frame, matrix)
        self.notes = [self._note(frame.height)]

    def _resolved(self, have: list[str], types: Mapping[str, str]) -> str:
        if self.output is None:
            return next(name for name in reversed(list(types)) if name in have)
        if self.output not in have:
            raise DataError(
                f'data.clean labels.output: no column "{self.output}", found {listed(have)}.{near_miss(self.output, have)} '
                "Name an output."
            )
        return self.output

    def _sample(self, rows: pl.LazyFrame) -> pl.DataFrame:
        """All rows, or a fixed random part of them that fits into memory."""
        head = rows.head(_HEAD_ROWS).collect()
        fit = int(_MAX_BYTES / max(head.estimated_size() / max(head.height, 1), 1.0))
        wanted, num_rows = min(self.max_rows, fit), int(rows.select(pl.len()).collect().item())
        known = pl.col(self._name).is_not_null()
        if num_rows <= wanted:
            return rows.filter(known).collect()
        numbers = rows.select(ROW).collect().to_series()
        chosen = np.random.default_rng(self.seed).choice(num_rows, wanted, replace=False)
        return rows.filter(known & pl.col(ROW).is_in(numbers.gather(np.sort(chosen)).implode())).collect()

    def _classes(self, frame: pl.DataFrame, matrix: Any) -> pl.DataFrame:
        words = frame[self._name].cast(pl.String)
        counts = words.value_counts(name="rows").filter(pl.col("rows") >= max(self.min_rows, self.folds))
        known = counts[self._name].sort()
        kept = np.flatnonzero(words.is_in(known.implode()).to_numpy())
        if len(known) < 2:
            return pl.DataFrame(schema=_SUSPECTS)
        labels = np.searchsorted(known.to_numpy(), words.gather(kept).to_numpy())
        model = self._classifier(matrix, len(known))
        folds = StratifiedKFold(self.folds, shuffle=True, random_state=self.seed)
        probabilities = _out_of_fold(model, matrix[kept], labels, folds, "predict_proba")
        judged = label_quality(probabilities, labels, self.odds)
        found = self._worst(judged.scores, judged.suspects)
        suggested = known.gather(judged.suggested[found])
        shares = judged.probabilities[found, judged.suggested[found]]
        told = [f'"{own}" given, "{other}" has {share:.2f}' for own, other, share in
                zip(words.gather(kept[found]).to_list(), suggested.to_list(), shares, strict=True)]  # fmt: skip
        return self._framed(frame[ROW].gather(kept[found]), suggested, judged.scores[found], told)

    def _numbers(self, frame: pl.DataFrame, matrix: Any) -> pl.DataFrame:
        given = frame[self._name].cast(pl.Float64).to_numpy()
        if len(given) < max(self.min_rows, self.folds):
            return pl.DataFrame(schema=_SUSPECTS)
        dense = isinstance(matrix, np.ndarray)
        model = HistGradientBoostingRegressor(max_iter=_NUM_TREES, random_state=self.seed) if dense else Ridge()
        folds = KFold(self.folds, shuffle=True, random_state=self.seed)
        predicted = _out_of_fold(model, matrix, given, folds, "predict")
        far = number_quality(predicted, given)
        found = self._worst(-far, far > self.deviations)
        told = [f"{own:g} given, {other:.6g} expected, {many:.1f} deviations away" for own, other, many in
                zip(given[found], predicted[found], far[found], strict=True)]  # fmt: skip
        suggested = pl.Series(predicted[found]).cast(pl.String)
        return self._framed(frame[ROW].gather(found), suggested, -far[found], told)

    def _classifier(self, matrix: Any, num_classes: int) -> Any:
        if not isinstance(matrix, np.ndarray):
            return LogisticRegression(C=10.0, max_iter=300)
        trees = int(np.clip(_NUM_TREES_PER_CLASS // num_classes, 20, _NUM_TREES))
        return HistGradientBoostingClassifier(max_iter=trees, random_state=self.seed)

    def _worst(self, scores: np.ndarray, suspects: np.ndarray) -> np.ndarray:
        """Rows of suspects, at most `limit` of all rows, in their order."""
        found = np.flatnonzero(suspects)
        most = int(self.limit * len(scores))
        return np.sort(found[np.argsort(scores[found], kind="stable")[:most]])

    def _framed(self, rows: pl.Series, suggested: pl.Series, scores: np.ndarray, told: list[str]) -> pl.DataFrame:
        columns = {ROW: rows, "suggested": suggested, "score": pl.Series(scores), "why": pl.Series(told, dtype=pl.String)}
        return pl.DataFrame(columns, schema=_SUSPECTS)

    def _note(self, num_rows: int) -> str:
        found = self._suspects.height
        worst = self._suspects.sort("score").head(_NUM_SAMPLES)
        samples = listed((f"row {row}: {why}" for row, why in worst.select(ROW, "why").rows()), _NUM_SAMPLES)
        return f"{found:,} of {num_rows:,} labels of {self._name} look wrong{f' ({samples})' if found else ''}."

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        if ROW not in frame.columns or self._name not in frame.columns or not self._suspects.height or self.action == "report":
            return frame
        if self.action == "drop":
            return frame.filter(~frame[ROW].is_in(self._suspects[ROW].implode()))
        found = frame.select(ROW).join(self._suspects, on=ROW, how="left", maintain_order="left")["suggested"]
        return frame.with_columns(found.cast(frame.schema[self._name]).fill_null(frame[self._name]).alias(self._name))

    def why(self, changed: pl.DataFrame) -> pl.Series | None:
        rows = changed.select(pl.col("row").alias(ROW))
        return rows.join(self._suspects, on=ROW, how="left", maintain_order="left")["why"].fill_null("labels")

    def state(self) -> State:
        return {}

    def restore(self, state: State) -> None:
        """Nothing: requests have no labels."""


def _matrix(frame: pl.DataFrame, inputs: Mapping[str, str]) -> Any:
    """What the models see: float32 (N, F) with NaN, codes of many-valued categories as they are; CSR where an input is a text."""
    known = REGISTRIES["feature"].names()
    features = {name: Component(word if word in known else "category") for name, word in inputs.items()}
    texts = {name: component for name, component in features.items() if component.type == "text"}
    plain = {name: component for name, component in features.items() if component.type != "text"}
    dense, is_code = _flat(frame, plain)
    if not texts:
        return dense
    terms, _ = _flat(frame, texts)
    is_number = ~is_code & ~np.isnan(dense).all(axis=0)
    numbers = np.nan_to_num(StandardScaler().fit_transform(dense[:, is_number])) if is_number.any() else dense[:, :0]
    codes = OneHotEncoder(max_categories=_MAX_CODES).fit_transform(dense[:, is_code]) if is_code.any() else dense[:, :0]
    return sparse.hstack([sparse.csr_matrix(terms), sparse.csr_matrix(codes), sparse.csr_matrix(numbers)], format="csr")


def _flat(frame: pl.DataFrame, features: Mapping[str, Component]) -> tuple[Any, np.ndarray]:
    """The flat matrix of these inputs, and which of its columns are codes."""
    if not features:
        return np.zeros((frame.height, 0), dtype=np.float32), np.zeros(0, dtype=bool)
    made = Preprocessor(features)
    made.fit(frame)
    return made.flat(frame), np.asarray(made.flat_spec.cardinalities) > 0


def _out_of_fold(model: Any, matrix: Any, target: np.ndarray, folds: Any, method: str) -> np.ndarray:
    # Threads that wait for one another cost more than small trees.
    with warnings.catch_warnings(), threadpool_limits(1 if len(target) < _THREADED_ROWS else None):
        # A linear model that stopped early still ranks rows.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found: np.ndarray = cross_val_predict(model, matrix, target, cv=folds, method=method)
    return found
