"""The test rows as points of a plane: what lies together in the inputs, and whether that is what the output says.

A sample of rows, made plain and standardised as for a linear model, brought down to 50 principal directions, then to two by t-SNE
(van der Maaten, Hinton 2008) or UMAP (McInnes 2018, arXiv 1802.03426). A picture only: no figure of the report rests on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from lode.core import packages
from lode.model.design import Design
from lode.pipeline import scoring
from lode.pipeline.artifact import Model

_DIRECTIONS = 50
_MIN_ROWS = 10
_PERPLEXITY = 30.0


def plane(model: Model, test: pl.DataFrame, by: str, rows: int, seed: int) -> dict[str, Any] | None:
    """{"by", "output", "classes", "x", "y", "value" (a class's code or a number)}; None for fewer than ten labelled rows.

    rows: at most so many test rows are drawn. Errors: MissingPackageError where umap-learn is not installed.
    """
    name, task = next(iter(model.tasks.items()))
    truth = scoring.truth_of(name, task, test)
    coloured = task.strata(truth.target) if task.classes else truth.target.reshape(len(truth.target), -1)[:, 0]
    if len(truth.rows) < _MIN_ROWS:
        return None
    generator = np.random.default_rng([seed, 107])
    chosen = np.sort(generator.choice(len(truth.rows), min(rows, len(truth.rows)), replace=False))
    frame = scoring.inputs_of(model, test[truth.rows[chosen]])
    points_N2 = _flattened(_few(model.preprocessor.flat_spec, model.preprocessor.flat(frame), seed), by, seed)
    classes = [*task.classes, *["none"] * (truth.kind == "labels")] if task.classes else None
    x, y = np.round(points_N2.astype(np.float64), 3).T.tolist()
    return {"by": by, "output": name, "classes": classes, "x": x, "y": y, "value": coloured[chosen].tolist()}


def _few(spec: Any, flat: Any, seed: int) -> np.ndarray:
    """float64 (N, at most 50): principal directions of the standardised columns."""
    from sklearn.decomposition import PCA, TruncatedSVD

    design = Design(spec)
    design.fit(flat)
    matrix_NX = design.matrix(flat)
    size = min(_DIRECTIONS, *matrix_NX.shape)
    if isinstance(matrix_NX, np.ndarray):
        return np.asarray(PCA(size, random_state=seed).fit_transform(matrix_NX))
    return np.asarray(TruncatedSVD(max(1, min(size, matrix_NX.shape[1] - 1)), random_state=seed).fit_transform(matrix_NX))


def _flattened(points_NX: np.ndarray, by: str, seed: int) -> np.ndarray:
    """(N, 2)."""
    if points_NX.shape[1] <= 2:
        return np.pad(points_NX, ((0, 0), (0, 2 - points_NX.shape[1])))
    if by == "umap":
        neighbours = min(15, len(points_NX) - 1)
        return np.asarray(_umap()(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(points_NX))
    from sklearn.manifold import TSNE

    perplexity = min(_PERPLEXITY, (len(points_NX) - 1) / 3)
    return np.asarray(TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(points_NX))


def _umap() -> Any:
    try:
        from umap import UMAP
    except ModuleNotFoundError as error:
        if error.name != "umap":
            raise
        raise packages.missing("evaluate: map: umap", error) from error
    return UMAP
