"""The map of folders in README.md equals the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MADE = {"build", "dist", "runs", "__pycache__"}
DEPTH = {"lode": 3, "docs": 2, "tests": 2}
"""How many levels of a folder the map shows; one where nothing is said."""


def folders_in_map(readme: str) -> set[str]:
    """Folders of the fenced block below the heading `Map`, two blanks of indentation a level."""
    block = re.search(r"^## Map\n.*?^```\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert block, "README.md has no map"
    found: set[str] = set()
    open_folders: list[str] = []
    for line in block[1].splitlines():
        hit = re.match(r"( *)([\w.-]+)/", line)
        if hit:
            open_folders = [*open_folders[: len(hit[1]) // 2], hit[2]]
            found.add("/".join(open_folders))
    return found


def folders_in_tree() -> set[str]:
    """Folders that hold a file, as deep as the map goes; hidden and generated ones left out."""
    found: set[str] = set()
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if path.is_dir() or any(part.startswith(".") or part in MADE or part.endswith(".egg-info") for part in parts):
            continue
        depth = DEPTH.get(parts[0], 1)
        found.update("/".join(parts[:end]) for end in range(1, min(len(parts) - 1, depth) + 1))
    return found


def test_the_map_shows_every_folder_and_no_other() -> None:
    shown, there = folders_in_map((ROOT / "README.md").read_text(encoding="utf-8")), folders_in_tree()
    assert not there - shown, f"not in the map: {sorted(there - shown)}"
    assert not shown - there, f"in the map only: {sorted(shown - there)}"


def test_the_map_is_read_by_its_indentation() -> None:
    assert folders_in_map("## Map\n\n```\na/   x\n  b/   y\n  c.py z\nd/\n```\n") == {"a", "a/b", "d"}


def test_a_readme_without_a_map_is_noticed() -> None:
    with pytest.raises(AssertionError, match="no map"):
        folders_in_map("# lode\n")
