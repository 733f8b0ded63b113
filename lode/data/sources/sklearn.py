"""The data sets that scikit-learn brings along: real data without a download."""

from __future__ import annotations

import hashlib
import io
from typing import Any, Literal

import numpy as np
import polars as pl
from sklearn import datasets

from lode.core.errors import DataError
from lode.data.contracts import Source
from lode.data.place import Place

_LOADERS = {
    "breast_cancer": (datasets.load_breast_cancer, "diagnosis"),
    "iris": (datasets.load_iris, "species"),
    "wine": (datasets.load_wine, "cultivar"),
    "digits": (datasets.load_digits, "digit"),
    "diabetes": (datasets.load_diabetes, "progression"),
}


class Sklearn(Source):
    """A data set bundled with scikit-learn; classes come as words ("malignant", "benign").

    Columns to predict: breast_cancer `diagnosis`, iris `species`, wine `cultivar`, digits `digit`, diabetes `progression`.

    Args:
        name: which data set.
        as_image: digits only: one column `image` (8 x 8 grey values from 0 to 255) in place of 64 numbers.
    """

    def __init__(
        self, place: Place, *, name: Literal["breast_cancer", "iris", "wine", "digits", "diabetes"], as_image: bool = False
    ) -> None:
        if as_image and name != "digits":
            raise DataError(f'sklearn "{name}": as_image is for digits only. Leave it out.')
        self.name, self.as_image = name, as_image

    def fingerprint(self) -> str:
        bunch = self._load()
        digest = hashlib.sha256(f"{self.name} {self.as_image} ".encode())
        for array in (bunch.data, bunch.target):
            digest.update(f"{array.dtype} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def scan(self) -> pl.LazyFrame:
        bunch = self._load()
        self.num_bytes = int(bunch.data.nbytes + bunch.target.nbytes)
        if self.as_image:
            columns: dict[str, Any] = {"image": [_npy(picture) for picture in _grey(bunch.images)]}
        else:
            columns = {str(name): np.ascontiguousarray(bunch.data[:, index]) for index, name in enumerate(bunch.feature_names)}
        return pl.LazyFrame({**columns, _LOADERS[self.name][1]: self._target(bunch)})

    def _load(self) -> Any:
        return _LOADERS[self.name][0]()

    def _target(self, bunch: Any) -> np.ndarray | list[str]:
        if self.name in ("digits", "diabetes"):
            return bunch.target
        return [str(bunch.target_names[code]) for code in bunch.target]


def _grey(images: np.ndarray) -> np.ndarray:
    """uint8 (N, 8, 8): scikit-learn's 0 to 16 stretched to 0 to 255."""
    return np.round(images * (255.0 / 16.0)).astype(np.uint8)


def _npy(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, picture, allow_pickle=False)
    return buffer.getvalue()
