"""Every metric keeps its contract, for every task that names it."""

from __future__ import annotations

from typing import Any

import pytest

from lode.core.registry import REGISTRIES
from lode.testing.metric import check_metric

CASES = [(task, word) for task in REGISTRIES["task"].names() for word in REGISTRIES["task"].constant(task, "metrics")]


@pytest.mark.parametrize(("task", "word"), CASES)
def test_metric_keeps_its_contract(task: Any, word: str) -> None:
    check_metric(REGISTRIES["metric"].get(word), task)


def test_every_metric_belongs_to_a_task() -> None:
    assert {word for _, word in CASES} == set(REGISTRIES["metric"].names())
