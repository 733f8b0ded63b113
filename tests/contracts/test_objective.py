"""Every objective of language models keeps its contract."""

from __future__ import annotations

import pytest

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.testing.objective import check_objective

OPTIONS = {
    "answers": {"prompt": ["question"], "answer": "answer"},
    "preferences": {"prompt": ["question"], "chosen": "better", "rejected": "worse"},
}
"""What those need that cannot be made without."""


@pytest.mark.parametrize("word", REGISTRIES["objective"].names())
def test_objective_keeps_its_contract(word: str) -> None:
    check_objective(Component(word, OPTIONS.get(word, {})))
