"""Every policy keeps its contract."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.testing.policy import check_policy

MATRIX = {"true_positive": Decimal("25.50"), "false_positive": Decimal(-3), "false_negative": Decimal(-50)}
SAMPLES: dict[str, list[dict[str, Any]]] = {
    "matrix": [
        MATRIX,
        {**MATRIX, "true_positive": "margin"},
        {"true_positive": "a", "false_positive": "b", "true_negative": "c"},
    ],
    "newsvendor": [
        {"price": Decimal("9.99"), "cost": Decimal(4)},
        {"price": 9, "cost": 4, "salvage": -1, "shortage": "0.25"},
    ],
    "per_unit": [{"over": Decimal("0.10"), "under": Decimal(3)}, {"over": 1, "under": 1}],
}
"""Options for each word; a new policy adds its own, or is tried without options."""

CASES = [(word, options) for word in REGISTRIES["policy"].names() for options in SAMPLES.get(word, [{}])]


@pytest.mark.parametrize(("word", "options"), CASES)
def test_policy_keeps_its_contract(word: str, options: dict[str, Any]) -> None:
    check_policy(lambda: REGISTRIES["policy"].create(Component(word, options)))


@pytest.mark.parametrize("word", REGISTRIES["policy"].names())
def test_policy_says_which_outputs_it_values(word: str) -> None:
    assert REGISTRIES["policy"].constant(word, "task") in ("binary", "number")
