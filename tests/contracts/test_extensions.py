"""Every extension file keeps the contract that all kinds share. A new file is tested by existing."""

from __future__ import annotations

import importlib

import pytest

from lode.core.registry import REGISTRIES, ROOT, SECTIONS, class_name, describe
from lode.testing import extension

EVERY = [(kind, word) for kind in REGISTRIES for word in extension.words(kind)]


@pytest.mark.parametrize(("kind", "word"), EVERY)
def test_extension_keeps_the_contract(kind: str, word: str) -> None:
    extension.check_extension(kind, word)


@pytest.mark.parametrize("name", SECTIONS)
def test_section_keeps_the_contract(name: str) -> None:
    path, found = SECTIONS[name]
    module = importlib.import_module(".".join(("lode", *path.relative_to(ROOT).with_suffix("").parts)))
    extension.check_section(name, getattr(module, found))


def test_every_folder_has_words() -> None:
    assert all(extension.words(kind) for kind in REGISTRIES)


def test_every_file_of_an_extension_folder_is_a_word() -> None:
    for registry in REGISTRIES.values():
        for path in registry.folder.glob("*.py"):
            if path.stem != "__init__":
                assert registry.has(path.stem), f"{path} is no word; helpers lie beside the folder, not in it"
                assert class_name(path.stem).isidentifier()


def test_describe_has_every_word_and_section() -> None:
    found = describe()
    assert {(kind, word) for kind, word in EVERY} <= {(kind, word) for kind in REGISTRIES for word in found[kind]}
    assert set(found["section"]) == set(SECTIONS)
