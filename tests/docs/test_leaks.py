"""Nothing in the repository names a place on somebody's machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUFFIXES = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".json", ".sh", ".jinja", ".csv", ".jsonl", ".html", ""}
SKIPPED = {"runs", "build", "dist", "__pycache__"}
PLACES = re.compile(r"(?<![\w.~:/-])/(?:work|root|home|Users|tmp|mnt|opt|var/folders)/[\w.-]+")
ALLOWED = re.compile(r"/home/you\b|/tmp/lode")
"""Placeholders that mean nobody."""


def texts() -> list[Path]:
    """Every text file that people write; hidden folders but `.ci`, and what tools make, are left out."""
    found = []
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") and part not in (".ci", ".gitignore") for part in parts)
        if path.is_file() and path.suffix in SUFFIXES and not hidden and not SKIPPED & set(parts) and path != Path(__file__):
            found.append(path)
    return found


def leaks(text: str) -> list[str]:
    """Absolute paths of a machine."""
    return [hit[0] for hit in PLACES.finditer(text) if not ALLOWED.match(hit[0])]


def test_no_file_names_a_place_on_a_machine() -> None:
    found = [f"{path.relative_to(ROOT)}: {leak}" for path in texts() for leak in leaks(path.read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text", ["see /home/" + "ann/data", '"/mnt/' + 'x.csv"', "/Users/" + "bob"])
def test_a_path_of_a_machine_is_a_leak(text: str) -> None:
    assert leaks(text)


@pytest.mark.parametrize("text", ["/v1/models/x:predict", "recipes/home/x", "a/tmp/b", "--data /home/you/data"])
def test_addresses_and_relative_paths_are_none(text: str) -> None:
    assert not leaks(text)
