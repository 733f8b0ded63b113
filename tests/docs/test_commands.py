"""Every `lode VERB ACTION` that a message, a comment or a page tells somebody to type is one that there is."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lode.cli import main as cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "recipes").rglob("*.md")),
    *sorted((ROOT / "lode").rglob("*.py")),
]  # fmt: skip
NAMED = re.compile(r"\blode ([a-z]+) ([a-z]+)\b(?!\\)")


def actions() -> dict[str, frozenset[str]]:
    """Verb -> the words that may follow it, of verbs that have such words."""
    found = {}
    for verb in cli._verbs():
        parser = argparse.ArgumentParser()
        importlib.import_module(f"lode.cli.{verb}").add(parser)
        chosen = [action.choices for action in parser._actions if action.choices and not action.option_strings]
        if chosen:
            found[verb] = frozenset(map(str, chosen[0]))
    return found


def wrong(text: str, known: dict[str, frozenset[str]]) -> Iterator[str]:
    """Commands of a text whose action does not exist."""
    for hit in NAMED.finditer(text):
        if hit[1] in known and hit[2] not in known[hit[1]]:
            yield hit[0]


def test_every_command_that_is_named_exists() -> None:
    known = actions()
    assert {"customers", "keys", "plans", "credit", "audit"} <= set(known)
    found = [f"{path.relative_to(ROOT)}: {command}" for path in PAGES for command in wrong(path.read_text(encoding="utf-8"), known)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text", ["Say where: lode customers set NAME", "`lode audit chek`"])
def test_a_command_that_does_not_exist_is_found(text: str) -> None:
    assert list(wrong(text, actions()))
