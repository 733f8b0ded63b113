"""Stand-ins for fitted models: scikit-learn estimators on its bundled data, behind the contract that evaluation sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lode.core.registry import REGISTRIES
from lode.core.types import ColumnSchema, Component
from lode.model.contracts import Task

Scorer = Callable[[pl.DataFrame], np.ndarray]


@dataclass(slots=True)
class FakeModel:
    """scorers: per output, a function from the request frame to raw scores."""

    columns: tuple[ColumnSchema, ...]
    tasks: Mapping[str, Task]
    scorers: Mapping[str, Scorer]
    temperatures: Mapping[str, float] = field(default_factory=dict)
    policy: Any = None

    def scores(self, frame: pl.DataFrame) -> dict[str, np.ndarray]:
        assert frame.columns == [column.name for column in self.columns], "the model sees its inputs and nothing else"
        return {name: np.asarray(f(frame), np.float32).reshape(frame.height, -1) for name, f in self.scorers.items()}


@dataclass(slots=True)
class Trial:
    """A model, its baselines, and rows that none of them saw."""

    model: FakeModel
    baselines: dict[str, FakeModel]
    test: pl.DataFrame
    train: pl.DataFrame

    def but(self, **changes: Any) -> Trial:
        return replace(self, **changes)


def task_of(word: str, values: np.ndarray, **options: Any) -> Task:
    """A fitted task."""
    task: Task = REGISTRIES["task"].create(Component(word, options))
    task.fit(values if word == "number" else np.array(values.tolist(), dtype=object))
    return task


def model_of(task: Task, name: str, inputs: list[str], scorer: Scorer, words: Mapping[str, str] | None = None) -> FakeModel:
    """A model with one output."""
    found = words or {}
    columns = tuple(ColumnSchema(column, found.get(column, "number"), "number", "a number") for column in inputs)
    return FakeModel(columns, {name: task}, {name: scorer})


def constant(*scores: float) -> Scorer:
    """The same scores for every row."""
    return lambda frame: np.tile(np.array(scores), (frame.height, 1))


def parts(frame: pl.DataFrame, seed: int, train: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Training and test rows, with their positions in `__row__`."""
    order = np.random.default_rng(seed).permutation(frame.height)
    frame = frame.with_row_index("__row__").with_columns(pl.col("__row__").cast(pl.UInt64))
    return frame[order[:train]], frame[order[train:]]


@pytest.fixture(scope="session")
def cancer() -> Trial:
    """Breast cancer, malignant ("0") positive, with a category `size` and a weak baseline."""
    data = load_breast_cancer()
    names = [str(name) for name in data.feature_names][:8]
    frame = pl.DataFrame(data.data[:, :8], schema=names)
    size = pl.when(pl.col(names[0]) > 15).then(pl.lit("large")).otherwise(pl.lit("small"))
    frame = frame.with_columns(size.alias("size"), pl.Series("diagnosis", data.target))
    train, test = parts(frame, 0, 400)
    task = task_of("binary", train["diagnosis"].to_numpy(), positive=0)
    target = 1 - train["diagnosis"].to_numpy()

    def logistic(columns: list[str]) -> Scorer:
        fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(train[columns].to_numpy(), target)
        return lambda frame: fitted.decision_function(frame[columns].to_numpy())

    def made(scorer: Scorer) -> FakeModel:
        return model_of(task, "diagnosis", [*names, "size"], scorer, {"size": "category"})

    baselines = {"constant": made(constant(-0.5)), "linear": made(logistic(names[4:5]))}
    return Trial(made(logistic(names)), baselines, test, train)


@pytest.fixture(scope="session")
def digits() -> Trial:
    """Digits 0 to 9 from every second pixel."""
    data = load_digits()
    names = [f"pixel {place}" for place in range(64)][::2]
    frame = pl.DataFrame(data.data[:, ::2], schema=names).with_columns(pl.Series("digit", data.target))
    train, test = parts(frame, 1, 1400)
    task = task_of("multiclass", train["digit"].to_numpy())
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    fitted.fit(train[names].to_numpy(), train["digit"].to_numpy())
    model = model_of(task, "digit", names, lambda frame: fitted.decision_function(frame[names].to_numpy()))
    return Trial(model, {"constant": model_of(task, "digit", names, constant(1, *[0] * 9))}, test, train)


@pytest.fixture(scope="session")
def diabetes() -> Trial:
    """Progression of diabetes, a number."""
    data = load_diabetes()
    names = [str(name) for name in data.feature_names]
    frame = pl.DataFrame(data.data, schema=names).with_columns(pl.Series("progression", data.target))
    train, test = parts(frame, 2, 300)
    task = task_of("number", train["progression"].to_numpy())
    target = task.encode(train["progression"].to_numpy())
    fitted = LinearRegression().fit(train[names].to_numpy(), target)
    model = model_of(task, "progression", names, lambda frame: fitted.predict(frame[names].to_numpy()))
    return Trial(model, {"constant": model_of(task, "progression", names, constant(0.0))}, test, train)


@pytest.fixture(scope="session")
def noise() -> Trial:
    """Program P2: two classes, 100 rows of one random number, random labels; the model is fitted all the same."""
    generator = np.random.default_rng(4)
    frame = pl.DataFrame({"x": generator.random(100), "label": generator.integers(0, 2, 100)})
    train, test = parts(frame, 4, 70)
    task = task_of("binary", train["label"].to_numpy(), positive=1)
    fitted = LogisticRegression().fit(train[["x"]].to_numpy(), train["label"].to_numpy())
    model = model_of(task, "label", ["x"], lambda frame: fitted.decision_function(frame.to_numpy()))
    return Trial(model, {"constant": model_of(task, "label", ["x"], constant(0.1))}, test, train)


@pytest.fixture
def make_task() -> Callable[..., Task]:
    return task_of


@pytest.fixture
def make_model() -> Callable[..., FakeModel]:
    return model_of
