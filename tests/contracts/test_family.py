"""Every family keeps its contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from lode.core.registry import REGISTRIES
from lode.model.contracts import Family
from lode.testing.family import check_family

PLAIN = [
    word for word in REGISTRIES["family"].names() if "classes" in (REGISTRIES["family"].constant(word, "kinds") or Family.kinds)
]
"""Families of plain problems; those of one kind of task have tests of their own (tests/unit/model/test_special_families.py)."""


@pytest.mark.parametrize("word", PLAIN)
def test_family_keeps_its_contract(word: str, tmp_path: Path) -> None:
    check_family(REGISTRIES["family"].get(word), tmp_path)


@pytest.mark.parametrize("word", REGISTRIES["family"].names())
def test_family_says_what_it_needs(word: str) -> None:
    registry = REGISTRIES["family"]
    assert registry.constant(word, "needs") in ("flat", "arrays", "tokens", "nothing")
    assert registry.constant(word, "loop") in (True, False)
