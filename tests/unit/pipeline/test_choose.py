"""The cheapest candidate whose interval reaches the best is packaged, and the table says why."""

from __future__ import annotations

import math

from lode.core.types import Component
from lode.model.contracts import Cost
from lode.pipeline.choose import Judgement, best_of, candidates, select


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


def test_a_named_family_is_trained_beside_the_baselines() -> None:
    components, allowed = candidates(Component("trees", {"rounds": 50}))
    assert [component.type for component in components] == ["constant", "linear", "trees"]
    assert components[-1].options == {"rounds": 50} and allowed == ["trees"]


def test_auto_trains_baselines_and_a_network() -> None:
    components, allowed = candidates(Component("auto", {}))
    assert [component.type for component in components] == allowed == ALL
    components, allowed = candidates(Component("auto", {"candidates": ["network"]}))
    assert [component.type for component in components] == ALL and allowed == ["network"]
