"""Borders of choosing: an interval that ends at zero, equal costs of one kind, and the rows at which the portfolio changes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from lode.core.types import Component
from lode.model.contracts import Cost
from lode.pipeline import crossed
from lode.pipeline.choose import Judgement, select
from lode.pipeline.portfolio import folds_for, slate


def chosen(high: float, cheap: Cost, dear: Cost) -> str:
    """Of a dear candidate, the best, and a cheap one whose interval of the difference ends at `high`."""
    judged = [Judgement("cheap", 0.8, 0.7, 0.9, cheap), Judgement("dear", 0.9, 0.8, 1.0, dear)]
    return select(judged, ["cheap", "dear"], "dear", {"cheap": (-0.1, high)})[0]


def test_an_interval_that_ends_at_zero_reaches_the_best() -> None:
    assert [chosen(high, Cost(1, 1, 0), Cost(9, 9, 0)) for high in (0.0, -1e-9)] == ["cheap", "dear"]


def test_operations_count_before_parameters_and_these_where_operations_are_as_many() -> None:
    few_operations, few_parameters = (
        Cost(parameters=9, flops_per_row=1, weight_bytes=0),
        Cost(parameters=1, flops_per_row=9, weight_bytes=0),
    )
    assert chosen(0.1, few_operations, few_parameters) == "cheap" and chosen(0.1, few_parameters, few_operations) == "dear"
    assert (
        chosen(0.1, Cost(parameters=9, flops_per_row=1, weight_bytes=0), Cost(parameters=8, flops_per_row=1, weight_bytes=0))
        == "dear"
    )


@pytest.mark.parametrize(("rows", "folds"), [(2_999, 8), (3_000, 5), (100_000, 5), (100_001, None)])
def test_rows_at_which_the_folds_of_a_budget_change(rows: int, folds: int | None) -> None:
    assert folds_for(Component("auto"), True, rows, True, False) == folds


def test_large_trees_are_tried_from_five_thousand_rows_on() -> None:
    tried = [slate(Component("auto"), is_table=True, num_rows=rows, has_budget=True) for rows in (4_999, 5_000)]
    assert ["trees-large" in {part.name for part in each.candidates} for each in tried] == [False, True]


def test_what_the_file_asks_of_a_choice_and_of_an_ensemble_is_kept() -> None:
    assert [slate(Component("auto", {"choose": word})).best for word in ("cheapest", "best")] == [False, True]
    members = [Component("linear"), Component("trees")]
    made = [slate(Component("ensemble", {"members": members, **more})) for more in ({}, {"refit": 3})]
    assert [(each.models, each.best) for each in made] == [(0, True), (3, True)]


def test_figures_of_folds_are_each_folds_own_and_their_spread_that_of_a_sample() -> None:
    """Errors of 1 and 1, 2 and 4, and 8: means of 1, 3 and 8 have a variance of (9 + 1 + 16) / 2, and 16 / 5 over all rows."""
    said = SimpleNamespace(crossed=np.array([1.0, 2, 1, 4, 8]), truth=np.zeros(5), rows=np.arange(5))
    found = crossed._figure("mae", said, np.array([0, 1, 0, 1, 2]), 0)  # type: ignore[arg-type]
    assert found["each_fold"] == [1.0, 3.0, 8.0] and found["value"] == pytest.approx(16 / 5)
    assert found["spread"] == pytest.approx(13**0.5)
