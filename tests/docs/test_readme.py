"""README.md does what it says, and says what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_of_the_readme_runs_and_gives_the_output_that_it_shows(walkthrough: Any) -> None:
    assert walkthrough.run(ROOT / "README.md") >= 2


def test_every_relative_link_of_every_page_leads_somewhere(markdown_links: list[tuple[Path, str]]) -> None:
    missing = [
        f"{page.relative_to(ROOT)}: {target}"
        for page, target in markdown_links
        if not (page.parent / target.split("#")[0]).exists()
    ]
    assert len(markdown_links) > 20
    assert not missing, "\n".join(missing)
