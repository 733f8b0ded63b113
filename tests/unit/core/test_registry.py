from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from lode.core import registry
from lode.core.errors import MissingPackageError, SpecError, UnknownNameError
from lode.core.registry import REGISTRIES, Registry, class_name, describe
from lode.core.types import Component

WORD = """
class {name}:
    \"\"\"A thing.

    Args:
        width: how wide.
    \"\"\"
    joint = True

    def __init__(self, spec, *, width: int = 3):
        self.spec, self.width = spec, width
"""


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry of its own, importable, with the words `mlp` and `two_words`."""
    folder = tmp_path / "fake_words"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "mlp.py").write_text(WORD.format(name="Mlp"))
    (folder / "two_words.py").write_text(WORD.format(name="TwoWords"))
    (folder / "_private.py").write_text("raise SystemError")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Registry("encoder", "fake_words", folder, "lode_test.encoders")
    for name in [name for name in sys.modules if name.split(".")[0] in ("fake_words", "fake_party")]:
        del sys.modules[name]


def test_the_files_are_the_words(words: Registry) -> None:
    assert words.names() == ("mlp", "two_words")


def test_signatures_are_read_without_importing(words: Registry) -> None:
    assert words.signature("two_words").options["width"].default == 3
    assert words.constant("mlp", "joint") is True
    assert words.constant("mlp", "nothing") is None
    assert not any(name.startswith("fake_words") for name in sys.modules)


def test_create_passes_what_the_platform_knows_and_what_the_user_wrote(words: Registry) -> None:
    made = words.create(Component("mlp", {"width": 5}), "shape")
    assert (made.spec, made.width, type(made).__name__) == ("shape", 5, "Mlp")


def test_unknown_words_name_the_near_miss_and_the_file_to_create(words: Registry) -> None:
    with pytest.raises(UnknownNameError) as caught:
        words.get("mpl")
    text = str(caught.value)
    assert 'found "mpl", allowed: mlp, two_words. Did you mean "mlp"?' in text
    assert "create fake_words/mpl.py" in text


@pytest.mark.parametrize("word", ["../mlp", "_private", "", "__init__", "MLP"])
def test_words_that_are_no_files_are_unknown(words: Registry, word: str) -> None:
    with pytest.raises(UnknownNameError):
        words.path(word)


def test_every_wrong_option_is_named_at_once(words: Registry) -> None:
    with pytest.raises(SpecError) as caught:
        words.create(Component("mlp", {"widht": 5, "width": "x"}), "shape")
    assert str(caught.value).splitlines() == [
        'encoder mlp:widht: found "widht", allowed: width. Did you mean "width"?',
        'encoder mlp:width: found "x", allowed: a whole number.',
    ]


def test_a_missing_package_has_its_install_command(words: Registry) -> None:
    (words.folder / "vision.py").write_text("import sklearn_of_nobody\n\nclass Vision: ...\n")
    with pytest.raises(MissingPackageError, match="pip install sklearn_of_nobody"):
        words.get("vision")


def test_a_broken_import_inside_is_not_called_a_missing_package(words: Registry) -> None:
    (words.folder / "broken.py").write_text("import fake_words.nowhere\n\nclass Broken: ...\n")
    with pytest.raises(ModuleNotFoundError):
        words.get("broken")


def test_resolve_fills_in_defaults(words: Registry) -> None:
    assert words.resolve(Component("mlp")) == {"type": "mlp", "width": 3}


def _third_party(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    def entry_points(group: str) -> list[metadata.EntryPoint]:
        return [metadata.EntryPoint("patch", value, group)] if group == "lode_test.encoders" else []

    monkeypatch.setattr(registry.metadata, "entry_points", entry_points)


def test_third_parties_bring_words_through_entry_points(words: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    party = words.folder.parent / "fake_party"
    party.mkdir()
    (party / "__init__.py").write_text("")
    (party / "patch.py").write_text(textwrap.dedent(WORD.format(name="PatchEncoder")))
    _third_party(monkeypatch, "fake_party.patch:PatchEncoder")
    assert words.names() == ("mlp", "patch", "two_words")
    assert words.signature("patch").class_name == "PatchEncoder"
    assert "fake_party.patch" not in sys.modules
    assert words.create(Component("patch", {"width": 9}), "shape").width == 9


@pytest.mark.parametrize("value", ["fake_nowhere.patch:Patch", "sys", "sys:Patch"])
def test_an_entry_point_that_leads_nowhere_is_named(words: Registry, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    _third_party(monkeypatch, value)
    with pytest.raises(SpecError, match="encoder patch"):
        words.signature("patch")


def test_class_names_follow_file_names() -> None:
    assert [class_name(word) for word in ("resnet_mlp", "csv", "open_inference")] == ["ResnetMlp", "Csv", "OpenInference"]


def test_every_kind_of_the_design_has_a_registry() -> None:
    kinds = {
        "source",
        "cleaner",
        "feature",
        "finding",
        "pretrain",
        "family",
        "encoder",
        "task",
        "metric",
        "augment",
        "policy",
        "protocol",
        "charge",
        "damage",
        "architecture",
        "objective",
        "adapter",
        "tokenizer",
        "benchmark",
    }
    assert set(REGISTRIES) == kinds
    assert REGISTRIES["encoder"].group == "lode.encoders"
    assert all(item.folder.is_dir() for item in REGISTRIES.values())


@pytest.mark.usefixtures("catalog")
def test_describe_lists_words_with_their_options() -> None:
    found = describe()
    assert [option["name"] for option in found["source"]["csv"]] == ["path", "separator"]
    assert found["source"]["csv"][0] == {
        "name": "path",
        "type": "a file or folder",
        "required": True,
        "default": None,
        "doc": "the file.",
    }
    assert found["section"]["train"][0]["doc"] == "passes over the rows."
