"""What is chosen on the judged rows is chosen out of fold, and served as it was chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lode.core.types import Component
from lode.model.contracts import Cost
from lode.pipeline import development
from lode.pipeline.development import Development
from lode.pipeline.judging import Judged, select
from lode.pipeline.portfolio import ENSEMBLE

NUM_ROWS = 900


@pytest.fixture
def numbers(tmp_path: Path) -> Development:
    """Rows whose output is noise, to be answered by quantiles."""
    generator = np.random.default_rng(0)
    frame = pl.DataFrame({
        "__row__": pl.Series(range(NUM_ROWS), dtype=pl.UInt64),
        "a": generator.normal(size=NUM_ROWS), "y": generator.normal(size=NUM_ROWS),
    })  # fmt: skip
    frame.head(600).write_parquet(tmp_path / "train.parquet")
    frame.tail(300).write_parquet(tmp_path / "validation.parquet")
    outputs = {"y": Component("quantiles", {"levels": [0.1, 0.9]})}
    return development.read(tmp_path, {"a": Component("number")}, [], outputs, {"by": "random"}, 0)


def test_ranges_of_quantiles_hold_on_judged_rows_and_each_row_is_judged_by_the_others(numbers: Development) -> None:
    size = len(numbers.plan.judged)
    narrow = {"y": np.tile(np.array([-0.2, 0.2], np.float32), (size, 1))}
    judged = Judged(narrow, numbers, None)
    low, high = judged.crossed.T
    inside = (low <= judged.truth[:, 0]) & (judged.truth[:, 0] <= high)
    assert inside.mean() == pytest.approx(0.8, abs=0.03)
    served = judged.shifts["y"]
    assert served[0] < -0.5 and served[1] > 0.5
    assert judged.temperatures == {"y": 1.0}
    # One row far out: its own fold must not see it, or it would be judged by itself.
    place, fold = 7, judged.fold
    numbers.targets["y"][numbers.plan.judged[place]] = 50.0
    again = Judged(narrow, numbers, None)
    same = fold == fold[place]
    assert np.array_equal(again.crossed[same], judged.crossed[same])
    assert not np.array_equal(again.crossed[~same], judged.crossed[~same]), "the test could not fail"


def test_the_best_is_the_ensemble_unless_a_single_candidate_is_surely_better(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=NUM_ROWS)
    frame = pl.DataFrame({"__row__": pl.Series(range(NUM_ROWS), dtype=pl.UInt64), "a": truth, "y": truth})
    frame.head(600).write_parquet(tmp_path / "train.parquet")
    frame.tail(300).write_parquet(tmp_path / "validation.parquet")
    numbers = development.read(tmp_path, {"a": Component("number")}, [], {"y": Component("number")}, {"by": "random"}, 0)
    target = numbers.targets["y"][numbers.plan.judged]
    noise = generator.normal(size=(3, len(target)))

    def judged(errors: np.ndarray) -> Judged:
        return Judged({"y": (target + errors)[:, None].astype(np.float32)}, numbers, None)

    cost, allowed = Cost(1, 1, 1), ["linear", ENSEMBLE]
    near = {"linear": judged(0.5 * noise[0]), ENSEMBLE: judged(0.49 * noise[1] + 0.15 * noise[2])}
    far = {"linear": judged(0.2 * noise[0]), ENSEMBLE: judged(0.9 * noise[1])}
    for each, best, chosen in ((near, True, ENSEMBLE), (near, False, "linear"), (far, True, "linear")):
        assert each["linear"].interval(0)[0] > each[ENSEMBLE].interval(0)[0], "R2 of the single one is higher"
        word, table = select(each, dict.fromkeys(each, cost), allowed, 0, best=best)
        assert word == chosen
        assert ("not surely below linear" in table[1]["reason"]) is (chosen == ENSEMBLE)
