"""The reference is generated, complete and up to date."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import pytest

from lode.core import errors
from lode.core.registry import REGISTRIES, SECTIONS, section

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """The script that writes the pages."""
    spec = importlib.util.spec_from_file_location("generate_reference", REFERENCE / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(REFERENCE.glob("*.md"))}


def test_every_page_is_what_the_code_says_today(generate: ModuleType) -> None:
    made, there = generate.pages(), written()
    stale = sorted(name for name in {*made, *there} if made.get(name) != there.get(name))
    assert not stale, f"out of date: {stale}. Run: make docs"


@pytest.mark.parametrize("kind", sorted(REGISTRIES))
def test_every_word_of_a_kind_and_each_of_its_options_is_documented(kind: str, generate: ModuleType) -> None:
    page = written()[f"{generate.KINDS[kind][0]}.md"]
    for word in REGISTRIES[kind].names():
        assert f"\n## {word}\n" in page
        for option in REGISTRIES[kind].signature(word).options.values():
            assert f"| `{option.name}` |" in page
            assert option.doc, f"{kind} {word}: the option {option.name} has no line in the docstring's Args"


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_every_section_of_the_file_and_each_of_its_options_is_documented(name: str) -> None:
    described = written()["file.md"].partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert described
    for option in section(name).options.values():
        assert f"| `{option.name}` |" in described
        assert option.doc, f"{name}: the option {option.name} has no line in the docstring's Args"


def test_every_command_is_documented(generate: ModuleType) -> None:
    page = written()["commands.md"]
    assert {"run", "check", "serve", "predict"} <= set(generate.verbs())
    for verb in generate.verbs():
        assert f"\n## lode {verb}\n" in page


def test_every_error_is_documented() -> None:
    page = written()["errors.md"]
    tree = {name: item for name, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, errors.LodeError)}
    assert len(tree) > 5
    for name, item in tree.items():
        assert f"| `{name}` |" in page
        assert item.__doc__
