from __future__ import annotations

import json
from pathlib import Path

import pytest

from lode.cli import init
from lode.cli.main import main


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three recipes of our own, and an empty working folder."""
    place = tmp_path / "recipes"
    for name in ("medicine/breast-cancer", "finance/card-default", "text/spam"):
        folder = place / name
        (folder / "runs").mkdir(parents=True)
        (folder / "runs" / "x").write_text("no")
        (folder / "expected.json").write_text("{}")
        (folder / ".hidden").write_text("no")
        (folder / "lode.yaml").write_text(f"name: {folder.name}\n")
        (folder / "README.md").write_text(f"# {folder.name.title()}\n\nMore.\n")
    monkeypatch.setattr(init, "_PLACES", (tmp_path / "nowhere", place))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return place


@pytest.mark.usefixtures("recipes")
def test_recipes_are_listed_with_their_first_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    shown = capsys.readouterr().out
    assert "medicine/breast-cancer  Breast-Cancer" in shown
    assert shown.count("\n") == 4


@pytest.mark.usefixtures("recipes")
@pytest.mark.parametrize("word", ["finance/card-default", "card-default"])
def test_a_recipe_is_copied(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", word, "a/b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "recipe": "finance/card-default",
        "folder": "a/b",
        "files": ["README.md", "lode.yaml"],
    }
    assert Path("a/b/lode.yaml").read_text() == "name: card-default\n"
    assert sorted(path.name for path in Path("a/b").iterdir()) == ["README.md", "lode.yaml"]


@pytest.mark.usefixtures("recipes")
def test_a_folder_alone_gets_the_recipe_that_needs_no_data() -> None:
    assert main(["init", "mine"]) == 0
    assert Path("mine/lode.yaml").read_text() == "name: breast-cancer\n"


@pytest.mark.usefixtures("recipes")
def test_nothing_is_overwritten_without_force(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").mkdir()
    Path("mine/lode.yaml").write_text("mine")
    assert main(["init", "spam", "mine"]) == 2
    assert "found lode.yaml" in capsys.readouterr().err
    assert Path("mine/lode.yaml").read_text() == "mine"
    assert not Path("mine/README.md").exists()
    assert main(["init", "spam", "mine", "--force"]) == 0
    assert Path("mine/lode.yaml").read_text() == "name: spam\n"


@pytest.mark.usefixtures("recipes")
@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["crad-default", "x"], 'found "crad-default"'),
        (["crad-default", "x"], 'Did you mean "finance/card-default"?'),
        (["text/spam"], "lode init text/spam DIR"),
        (["a", "b", "c"], "found 3 words"),
    ],
)
def test_wrong_words_are_named(words: list[str], wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", *words]) == 2
    assert wanted in capsys.readouterr().err


@pytest.mark.usefixtures("recipes")
def test_a_file_in_the_way_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").write_text("")
    assert main(["init", "spam", "mine"]) == 2
    assert "mine: found a file" in capsys.readouterr().err


def test_no_recipes_are_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(init, "_PLACES", (tmp_path,))
    assert main(["init"]) == 2
    assert "found no recipes" in capsys.readouterr().err
