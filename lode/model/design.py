"""The flat matrix made ready for a linear model: missing numbers filled in, numbers standardised, categories one-hot.

Used by `lode/model/families/linear.py`. Columns of the design, in order: numbers, their indicators of missing, terms of texts,
one column for each code of each category.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from lode.core.types import FlatSpec

_CHUNK_CELLS = 1 << 22
_DENSE_WIDTH = 64


class Design:
    """Learns medians, means and spreads from training rows; gives the design, or the product of design and weights."""

    def __init__(self, spec: FlatSpec) -> None:
        kinds_F = np.array(spec.cardinalities, dtype=np.int64)
        self._numbers = np.flatnonzero(kinds_F == 0)
        self._terms = np.flatnonzero(kinds_F < 0)
        self._categories = np.flatnonzero(kinds_F > 0)
        self._levels = kinds_F[self._categories]
        self._starts = np.concatenate(([0], np.cumsum(self._levels)))[:-1]
        self._state: dict[str, np.ndarray] = {}

    def fit(self, flat: Any) -> None:
        """flat: float32 (N, F) or CSR; values that are not finite are missing."""
        numbers_NF = self._raw_numbers(flat)
        missing_NF = ~np.isfinite(numbers_NF)
        numbers_NF[missing_NF] = np.nan
        empty_F = missing_NF.all(axis=0)
        numbers_NF[:, empty_F] = 0.0
        median_F = np.nanmedian(numbers_NF, axis=0) if len(numbers_NF) else np.zeros(numbers_NF.shape[1])
        filled_NF = np.where(missing_NF, median_F, numbers_NF)
        spread_F = filled_NF.std(axis=0)
        mean_F = filled_NF.mean(axis=0)
        # Equal numbers may leave a spread of rounding error; dividing by it would blow that error up.
        constant_F = spread_F <= 1e-12 * np.maximum(np.abs(mean_F), 1e-300)
        self._state = {
            "median": median_F,
            "mean": mean_F,
            "spread": np.where(constant_F, 1.0, spread_F),
            "indicated": np.flatnonzero(missing_NF.any(axis=0) & ~empty_F),
        }

    @property
    def width(self) -> int:
        """Number of columns."""
        return self._first_category + int(self._levels.sum())

    @property
    def terms(self) -> slice:
        """The columns of terms of texts."""
        return slice(self._first_category - len(self._terms), self._first_category)

    @property
    def _first_category(self) -> int:
        return len(self._numbers) + len(self._state["indicated"]) + len(self._terms)

    def matrix(self, flat: Any) -> Any:
        """float64 (N, width), dense where narrow, else CSR."""
        dense_NX = np.hstack(self._scaled(flat))
        parts: list[Any] = [dense_NX]
        if len(self._terms):
            parts.append(flat[:, self._terms].astype(np.float64))
        codes_CN = self._codes(flat).T
        parts += [self._one_hot(codes_N, levels) for codes_N, levels in zip(codes_CN, self._levels, strict=True)]
        if len(self._terms) or self.width > _DENSE_WIDTH:
            return sparse.hstack([sparse.csr_matrix(part) for part in parts], format="csr")
        return np.hstack([part.toarray() if sparse.issparse(part) else part for part in parts])

    def product(self, flat: Any, weight_XK: np.ndarray) -> np.ndarray:
        """`matrix(flat) @ weight_XK`, float64 (N, K), without making the matrix."""
        z_NX, missing_NX = self._scaled(flat)
        num_numbers, num_dense = z_NX.shape[1], z_NX.shape[1] + missing_NX.shape[1]
        out_NK = z_NX @ weight_XK[:num_numbers] + missing_NX @ weight_XK[num_numbers:num_dense]
        first = self._first_category
        if len(self._terms):
            out_NK += flat[:, self._terms].astype(np.float64) @ weight_XK[num_dense:first]
        if len(self._categories):
            place_NC = self._codes(flat) + self._starts + first
            step = max(1, _CHUNK_CELLS // (place_NC.shape[1] * weight_XK.shape[1]))
            for start in range(0, len(place_NC), step):
                out_NK[start : start + step] += weight_XK[place_NC[start : start + step]].sum(axis=1)
        return out_NK

    def state(self) -> dict[str, np.ndarray]:
        """What `fit` learned."""
        return dict(self._state)

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take it over."""
        self._state = {name: state[name] for name in ("median", "mean", "spread", "indicated")}

    def _raw_numbers(self, flat: Any) -> np.ndarray:
        return _dense(flat, self._numbers).astype(np.float64)

    def _scaled(self, flat: Any) -> tuple[np.ndarray, np.ndarray]:
        numbers_NF = self._raw_numbers(flat)
        missing_NF = ~np.isfinite(numbers_NF)
        filled_NF = np.where(missing_NF, self._state["median"], numbers_NF)
        scaled_NF = (filled_NF - self._state["mean"]) / self._state["spread"]
        return scaled_NF, missing_NF[:, self._state["indicated"]].astype(np.float64)

    def _codes(self, flat: Any) -> np.ndarray:
        codes_NC = np.nan_to_num(_dense(flat, self._categories), nan=0.0, posinf=0.0, neginf=0.0).astype(np.int64)
        return np.where((codes_NC >= 0) & (codes_NC < self._levels), codes_NC, 0)

    @staticmethod
    def _one_hot(codes_N: np.ndarray, levels: int) -> Any:
        num_rows = len(codes_N)
        return sparse.csr_matrix((np.ones(num_rows), codes_N, np.arange(num_rows + 1)), shape=(num_rows, int(levels)))


def _dense(flat: Any, columns: np.ndarray) -> np.ndarray:
    if not len(columns):
        return np.empty((flat.shape[0], 0), dtype=np.float32)
    picked = flat[:, columns]
    return picked.toarray() if sparse.issparse(picked) else np.asarray(picked)
