"""Values of training rows from features that learn from the target: each row's from a fit that never saw its fold.

Used by lode/data/preprocess.py and by features; see `Feature.without` in lode/data/contracts.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from lode.data.contracts import Feature


def out_of_fold(feature: Feature, column: pl.Series, folds: np.ndarray, ask: Callable[[Feature, pl.Series], Any]) -> Any:
    """What `ask` gives for each row from the feature without the row's fold; from the whole feature where the fold is negative.

    feature: fitted with these folds. folds: int (N,). Features that do not learn from the target are asked once.
    """
    if not feature.learns_target:
        return ask(feature, column)
    found = np.array(ask(feature, column))
    for fold in np.unique(folds[folds >= 0]).tolist():
        rows = np.flatnonzero(folds == fold)
        found[rows] = ask(feature.without(fold), column.gather(rows))
    return found
