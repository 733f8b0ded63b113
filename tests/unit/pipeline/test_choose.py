"""The cheapest candidate whose interval reaches the best is packaged, and the table says why."""

from __future__ import annotations

import math

import pytest

from lode.core.errors import ModelError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model.contracts import Cost
from lode.pipeline.choose import Judgement, best_of, select
from lode.pipeline.portfolio import folds_for, slate


def _judged(**scores: float) -> list[Judgement]:
    costs = {"constant": 1, "linear": 10, "trees": 1000, "network": 10000}
    return [Judgement(word, score, score - 0.01, score + 0.01, Cost(costs[word], costs[word], 0)) for word, score in scores.items()]


ALL = ["constant", "linear", "trees", "network"]


def test_the_cheapest_that_reaches_the_best_wins() -> None:
    judged = _judged(constant=0.5, linear=0.80, trees=0.81, network=0.805)
    assert best_of(judged, ALL, True) == "trees"
    differences = {"constant": (-0.33, -0.29), "linear": (-0.02, 0.001), "network": (-0.01, 0.002)}
    word, table = select(judged, ALL, "trees", differences)
    assert word == "linear"
    reasons = {row["candidate"]: row["reason"] for row in table}
    assert reasons["linear"] == "cheapest whose interval reaches the best (trees)"
    assert reasons["constant"] == "surely worse than trees"
    assert reasons["trees"] == "best, but not surely better than linear, which costs less"


def test_a_clearly_better_one_is_worth_its_cost() -> None:
    judged = _judged(constant=0.5, linear=0.7, trees=0.81)
    word, table = select(judged, ALL, "trees", {"constant": (-0.4, -0.3), "linear": (-0.12, -0.1)})
    assert word == "trees"
    assert [row["reason"] for row in table if row["chosen"]] == ["best"]


def test_lower_is_better_for_errors() -> None:
    assert best_of(_judged(constant=9.0, linear=2.0, trees=3.0), ALL, False) == "linear"


def test_an_undefined_score_never_wins() -> None:
    assert best_of(_judged(constant=math.nan, linear=0.1), ALL, True) == "linear"


def test_only_what_the_file_allows_is_packaged() -> None:
    judged = _judged(constant=0.5, linear=0.9, network=0.7)
    word, table = select(judged, ["network"], best_of(judged, ["network"], True), {"constant": (-0.3, -0.1), "linear": (0.1, 0.3)})
    assert word == "network"
    assert {row["candidate"]: row["reason"] for row in table}["linear"] == "baseline"


def test_best_is_packaged_where_the_file_asks_and_the_cheapest_recommended() -> None:
    judged = _judged(constant=0.5, linear=0.80, trees=0.81)
    word, table = select(judged, ALL, "trees", {"constant": (-0.4, -0.3), "linear": (-0.02, 0.001)}, package_best=True)
    assert word == "trees" and [row["candidate"] for row in table if row["recommended"]] == ["linear"]
    reasons = {row["candidate"]: row["reason"] for row in table}
    assert reasons["trees"] == "best, as the file asks; linear reaches it and costs less"
    assert reasons["linear"] == "recommended: cheapest whose interval reaches the best (trees)"


def test_what_cannot_be_averaged_has_no_ensemble() -> None:
    task = REGISTRIES["task"].create(Component("anomaly"))
    with pytest.raises(ModelError, match="model: ensemble takes the mean of answers, which means nothing for anomaly"):
        slate(Component("ensemble", {"members": ["principal", "isolation"]}), [task])


def test_a_candidate_that_cannot_learn_the_output_is_told_not_left_out() -> None:
    task = REGISTRIES["task"].create(Component("number"))
    with pytest.raises(ModelError, match="model: autoencoder cannot learn"):
        slate(Component("auto", {"candidates": ["linear", "autoencoder"]}), [task])


def test_a_named_family_is_trained_beside_the_baselines() -> None:
    made = slate(Component("trees", {"rounds": 50}))
    assert [part.name for part in made.candidates] == ["constant", "linear", "trees"]
    assert made.candidates[-1].component.options == {"rounds": 50} and made.allowed == ("trees",) and made.method is None


def test_auto_trains_baselines_a_network_and_their_ensemble() -> None:
    made = slate(Component("auto", {}))
    assert [part.name for part in made.candidates] == ALL
    assert made.allowed == (*ALL, "ensemble") and made.members == ("linear", "trees", "network") and made.method == "greedy"
    made = slate(Component("auto", {"candidates": [Component("network")]}))
    assert [part.name for part in made.candidates] == ALL and made.allowed == ("network",) and made.method is None


def test_candidates_of_one_family_get_names_of_their_own() -> None:
    options = {"candidates": [Component("trees", {"leaves": 4}), Component("trees", {"leaves": 9})]}
    made = slate(Component("auto", options))
    assert made.members == ("trees", "trees-2")
    assert {part.name: part.component.options for part in made.candidates}["trees"] == {"leaves": 4}


def test_rounds_of_a_candidate_that_is_not_there_are_told() -> None:
    with pytest.raises(ModelError, match=r"model\.rounds: found treees, allowed is constant, linear, trees"):
        slate(Component("auto", {"candidates": [Component("trees")], "rounds": {"treees": 5}}))


def test_a_budget_for_a_table_brings_the_portfolio_by_its_size() -> None:
    few, many = (
        {part.name for part in slate(Component("auto"), is_table=True, num_rows=rows, has_budget=True).candidates}
        for rows in (800, 20_000)
    )
    assert {"tabm", "realmlp", "trees-random"} < few and "trees-large" in many - few
    assert "tabm" not in {part.name for part in slate(Component("auto"), is_table=False, num_rows=800, has_budget=True).candidates}


def test_folds_follow_the_rows() -> None:
    auto = Component("auto")
    assert folds_for(auto, True, 800, True, False) == 8 and folds_for(auto, True, 30_000, True, False) == 5
    assert folds_for(auto, True, 800, False, False) is None and folds_for(auto, True, 800, True, True) is None
    assert folds_for(Component("ensemble", {"members": [Component("linear")], "folds": 3}), False, 800, False, False) == 3


def test_an_ensemble_is_packaged_whatever_its_members_reach() -> None:
    made = slate(Component("ensemble", {"members": [Component("linear"), Component("trees")], "method": "stacking"}))
    assert made.allowed == ("ensemble",) and made.method == "stacking" and made.members == ("linear", "trees")
    assert [part.name for part in made.candidates] == ["constant", "linear", "trees"]
