"""Permutation importance: what shuffling one raw column costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from lode.pipeline import scoring
from lode.pipeline.importance import importance


@pytest.fixture
def linear(make_task: Any, make_model: Any) -> tuple[Any, pl.DataFrame]:
    """y = 3 a + b; c is not read."""
    generator = np.random.default_rng(0)
    frame = pl.DataFrame(generator.normal(size=(400, 3)), schema=["a", "b", "c"])
    frame = frame.with_columns((3 * pl.col("a") + pl.col("b")).alias("y"))
    task = make_task("number", frame["y"].to_numpy())
    mean, spread = float(frame["y"].mean()), float(frame["y"].std(ddof=0))
    model = make_model(task, "y", ["a", "b", "c"], lambda part: (3 * part["a"] + part["b"]).to_numpy() / spread - mean / spread)
    return model, frame


def found(model: Any, frame: pl.DataFrame, **options: Any) -> dict[str, Any]:
    truths = {name: scoring.truth_of(name, task, frame) for name, task in model.tasks.items()}
    return importance(model, frame, truths, **{"rows": 1000, "repeats": 3, "seed": 0, **options})


def test_inputs_are_ranked_by_what_they_carry_and_an_unread_one_loses_nothing(linear: Any) -> None:
    record = found(*linear)["y"]
    assert [item["input"] for item in record["inputs"]] == ["a", "b", "c"]
    # Shuffling an independent column that carries a share v of the variance makes R2 fall by 2 v: here v = 9/10 and 1/10.
    assert record["inputs"][0]["loss"] == pytest.approx(1.8, abs=0.2)
    assert record["inputs"][1]["loss"] == pytest.approx(0.2, abs=0.05)
    assert record["inputs"][2]["loss"] == 0
    assert record["value"] == pytest.approx(1.0, abs=1e-6)


def test_the_spread_holds_the_mean_and_has_one_loss_a_repeat(linear: Any) -> None:
    first = found(*linear, repeats=5)["y"]["inputs"][0]
    assert first["low"] < first["loss"] < first["high"]
    once = found(*linear, repeats=1)["y"]["inputs"][0]
    assert once["low"] == once["loss"] == once["high"]


def test_where_less_is_better_a_loss_is_still_positive(linear: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, frame = linear
    monkeypatch.setattr(type(model.tasks["y"]), "metrics", ("rmse",))
    assert found(model, frame)["y"]["inputs"][0]["loss"] > 0


def test_rows_are_bounded_and_unlabelled_ones_are_not_judged(linear: Any) -> None:
    model, frame = linear
    holes = frame.with_columns(pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.col("y")))
    seen: list[int] = []
    scores = model.scores

    class Counting:
        columns, tasks, temperatures, policy = model.columns, model.tasks, model.temperatures, None

        def scores(self, part: pl.DataFrame) -> dict[str, np.ndarray]:
            seen.append(part.height)
            return scores(part)

    record = found(Counting(), holes, rows=50, repeats=2)["y"]
    assert seen == [50] * (1 + 3 * 2)
    assert 10 < record["rows"] < 40
    assert record["value"] == pytest.approx(1.0, abs=1e-6), "labels stay with their rows"


def test_the_same_seed_shuffles_alike(linear: Any) -> None:
    assert found(*linear) == found(*linear)
    assert found(*linear) != found(*linear, seed=1)
