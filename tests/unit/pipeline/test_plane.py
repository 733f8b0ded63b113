from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_iris
from sklearn.neighbors import KNeighborsClassifier

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.preprocess import Preprocessor
from lode.pipeline import pictures, sections
from lode.pipeline.artifact import Model, build
from lode.pipeline.plane import plane

IRIS = load_iris()
FRAME = pl.DataFrame({f"x{place}": IRIS.data[:, place] for place in range(4)}).with_columns(
    kind=pl.Series(IRIS.target_names[IRIS.target].tolist()), size=pl.Series(IRIS.data.sum(axis=1))
)


def _model(output: str, task_word: str) -> Model:
    preprocessor = Preprocessor({f"x{place}": Component("number") for place in range(4)})
    preprocessor.fit(FRAME)
    task = REGISTRIES["task"].create(Component(task_word, {}))
    task.fit(FRAME[output].to_numpy() if task_word == "number" else np.array(FRAME[output].to_list(), dtype=object))
    recipe = {"family": {"type": "constant"}, "outputs": [{"output": output, "task": {"type": task_word}}]}
    return Model(preprocessor, build(recipe, preprocessor, {output: task}), {output: task}, recipe)


@pytest.mark.parametrize("by", ["tsne", pytest.param("umap", marks=pytest.mark.prove)])  # umap compiles itself for half a minute
def test_like_rows_lie_together_and_the_same_seed_gives_the_same_picture(by: str) -> None:
    if by == "umap":
        pytest.importorskip("umap")
    model = _model("kind", "multiclass")
    found = plane(model, FRAME, by, rows=90, seed=3)
    assert found is not None and len(found["x"]) == len(found["y"]) == len(found["value"]) == 90
    points = np.column_stack([found["x"], found["y"]])
    accuracy = KNeighborsClassifier(5).fit(points, found["value"]).score(points, found["value"])
    assert accuracy > 0.9, "the kinds of iris lie apart"
    assert plane(model, FRAME, by, rows=90, seed=3) == found


def test_a_number_colours_the_picture_and_its_section_is_shown() -> None:
    found = plane(_model("size", "number"), FRAME, "tsne", rows=60, seed=0)
    assert found is not None and found["classes"] is None
    block = sections._plane(found)[-1]
    assert block["kind"] == "pictures" and "60 test rows by t-SNE" in block["pictures"][0][0]
    assert pictures.plane(found).source.startswith("data:image/svg+xml;base64,")
    assert sections._plane(None) == []


def test_few_rows_give_no_picture() -> None:
    assert plane(_model("kind", "multiclass"), FRAME.head(9), "tsne", rows=100, seed=0) is None
