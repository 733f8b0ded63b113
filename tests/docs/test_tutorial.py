"""Tutorials run as they are printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
ON_REAL_DATA = {"sell-a-model"}
OF_MONEY = {"correct-a-price"}
"""Small commands and exact amounts."""


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem not in ON_REAL_DATA | OF_MONEY], ids=lambda page: page.stem)
def test_a_tutorial_runs_and_gives_the_output_that_it_shows(page: Path, walkthrough: Any) -> None:
    assert walkthrough.run(page) > 0


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem in OF_MONEY], ids=lambda page: page.stem)
def test_a_tutorial_about_money_runs_and_gives_exactly_the_output_that_it_shows(page: Path, quick_walkthrough: Any) -> None:
    assert quick_walkthrough.run(page) > 0


@pytest.mark.data
@pytest.mark.parametrize("page", [page for page in PAGES if page.stem in ON_REAL_DATA], ids=lambda page: page.stem)
def test_a_tutorial_on_real_data_runs_and_gives_the_output_that_it_shows(
    page: Path, walkthrough: Any, lode_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LODE_DATA", str(lode_data))
    assert walkthrough.run(page) > 0


def test_there_is_a_tutorial_for_the_first_model_for_dirty_data_and_for_documents_and_for_selling() -> None:
    assert {"first-model", "clean-a-dirty-table", "language-model", *ON_REAL_DATA, *OF_MONEY} <= {page.stem for page in PAGES}
