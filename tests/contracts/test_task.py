"""Every task keeps its contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model.contracts import Task
from lode.testing.task import check_loads_no_torch, check_task

SAMPLES: dict[str, list[tuple[dict[str, Any], list[Any]]]] = {
    "binary": [
        ({"positive": "yes"}, ["no", "yes", "no"]),
        ({"positive": 1}, [0, 1, 1]),
        ({"positive": True}, [False, True]),
    ],
    "multiclass": [({}, ["b", "a", "c", "a"]), ({}, [10, 9, 2]), ({}, [0.5, 1.5, 0.5])],
    "number": [({}, [1.0, 2.5, -3.0]), ({}, [10, 20, 40])],
    "quantiles": [({}, [1.0, 2.5, -3.0]), ({"levels": [0.05, 0.25, 0.95]}, [10, 20, 40])],
    "multilabel": [({"min_rows": 1}, ["a|b", "", "b"]), ({"min_rows": 1, "separator": " "}, ["x", "y x", "z"])],
    "tagging": [({}, ["B-PER I-PER O", "O", "O B-LOC"]), ({}, ["S-A O", "B-A M-A E-A"]), ({}, ["noun verb", "verb"])],
    "anomaly": [({"positive": "bad"}, ["good", "bad", "good"]), ({"positive": 1}, [0, 1, 0])],
    "embedding": [({"width": 4}, ["a", "a", "b", "b"]), ({"width": 4, "loss": "triplet"}, ["a", "a", "b", "b"])],
    "ranking": [({"group": "query"}, [[2.0, 1.0], [0.0, 1.0], [1.0, 1.0]])],
}
"""Options and values for each word; a new task adds its own, or is tried on labels."""

CASES = [(word, *case) for word in REGISTRIES["task"].names() for case in SAMPLES.get(word, [({}, ["b", "a", "c"])])]


def maker(word: str, options: dict[str, Any]) -> Callable[[], Task]:
    return lambda: REGISTRIES["task"].create(Component(word, options))


@pytest.mark.parametrize(("word", "options", "values"), CASES)
def test_task_keeps_its_contract(word: str, options: dict[str, Any], values: list[Any]) -> None:
    if word != "ranking":
        check_task(maker(word, options), np.array(values, dtype=object))
    if not isinstance(values[0], str):
        check_task(maker(word, options), np.array(values))


def test_tasks_load_no_torch() -> None:
    check_loads_no_torch([f"lode.model.tasks.{word}" for word in REGISTRIES["task"].names()])


@pytest.mark.parametrize("word", REGISTRIES["task"].names())
def test_task_names_metrics_that_exist(word: str) -> None:
    metrics = REGISTRIES["task"].constant(word, "metrics")
    assert metrics and set(metrics) <= set(REGISTRIES["metric"].names())
