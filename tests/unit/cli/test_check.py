from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lode.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "polars", "numpy", "scipy", "sklearn", "lightgbm", "rich", "starlette", "PIL", "matplotlib", "pandas", "sqlite3")

RIGHT = """
name: cards
data:
  source: {type: csv, path: cards.csv}
  split: {seed: 7}
inputs:
  limit: number
  notes: text
  other:
outputs:
  default: {type: binary, positive: 1}
value: {currency: EUR, true_positive: 2500, false_positive: -300}
train: {epochs: 3}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lode.yaml").write_text(RIGHT)
    return tmp_path


def test_a_right_file_is_summed_up(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "cards.csv").write_text("limit,default\n")
    assert main(["check"]) == 0
    shown = capsys.readouterr().out
    assert "lode.yaml is right" in shown
    assert "limit (number), notes (text), other" in shown
    assert "default (binary)" in shown
    assert "network" in shown and "matrix" in shown
    assert "inferred from the data: the types of inputs other" in shown
    assert "warning" not in shown


def test_a_language_model_learns_from_texts_and_has_no_inputs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "poems.txt").write_text("one\n")
    text = "name: poems\ndata: {source: {type: text, path: poems.txt}}\nmodel: {type: language, tokenizer: bytes, "
    (folder / "lode.yaml").write_text(text + "architecture: {type: gpt2, layers: 1, heads: 1, width: 8, context: 8}}\n")
    assert main(["check"]) == 0
    shown = capsys.readouterr().out
    assert "  learns   next_token\n  model    language" in shown
    assert "column" not in shown and "outputs" not in shown and "inferred" not in shown


def test_missing_data_files_are_warnings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert "warning: lode.yaml:data.source.path: cards.csv: no such file" in capsys.readouterr().out


def test_files_that_inputs_name_are_looked_for_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "cards.csv").write_text("limit,default\n")
    hub = "{type: pretrained, path: someone/model, revision: abc}"
    inner = "{type: several, encoders: [{type: pretrained, path: inner}, textcnn]}"
    inputs = [
        "  notes: {type: text, encoder: {type: pretrained, path: minilm}, augment: [swap, {type: synonyms, path: alike.txt}]}",
        f"  other: {{type: text, encoder: {hub}}}",
        f"  third: {{type: text, encoder: {inner}}}",
    ]
    (folder / "lode.yaml").write_text(RIGHT.replace("  notes: text\n  other:\n", "\n".join(inputs) + "\n"))
    assert main(["check", "--json"]) == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert [text.split(": no such")[0] for text in warnings] == [
        "lode.yaml:inputs.notes.encoder.path: minilm",
        "lode.yaml:inputs.notes.augment[1].path: alike.txt",
        "lode.yaml:inputs.third.encoder.encoders[0].path: inner",
    ]
    (folder / "minilm").mkdir()
    assert main(["check", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["warnings"]) == 2


def test_data_files_are_looked_for_in_the_data_folder_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "raw").mkdir()
    (folder / "raw" / "cards.csv").write_text("")
    assert main(["check", "--data", "raw"]) == 0
    assert "warning" not in capsys.readouterr().out


def test_a_folder_means_the_file_in_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.chdir("/")
    assert main(["check", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["name"] == "cards"
    assert found["spec"]["data"]["split"]["seed"] == 7


def test_problems_are_exit_2_one_line_each(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "lode.yaml").write_text(RIGHT.replace("seed", "sed").replace("epochs", "epoch"))
    assert main(["check"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith('lode.yaml:data.split.sed (line 5): found "sed"')
    assert lines[1].startswith('lode.yaml:train.epoch (line 13): found "epoch"')


def test_a_missing_file_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check"]) == 2
    assert "lode init" in capsys.readouterr().err


def test_words_list_every_word_with_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--words"]) == 0
    shown = capsys.readouterr().out
    assert "\nfeature number\n" in shown and "section train" in shown and "epochs: a whole number" in shown
    assert main(["check", "--words", "--json"]) == 0
    assert "csv" in json.loads(capsys.readouterr().out)["words"]["source"]


@pytest.mark.parametrize("words", [["check"], ["--help"], ["check", "--help"], ["check", "--words"], ["init"], ["check", "--json"]])
def test_quick_verbs_load_nothing_heavy(folder: Path, words: list[str]) -> None:
    code = f"""
import sys
from lode.cli.main import main
code = main({words!r})
assert code == 0, code
heavy = [name for name in {HEAVY!r} if name in sys.modules]
assert not heavy, heavy
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*/*/lode.yaml")), ids=lambda path: path.parent.name)
def test_every_recipe_is_right(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(path)]) == 0, capsys.readouterr().err


def test_missing_files_of_sources_in_a_source_are_warnings_with_their_whole_key(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = "{type: join, on: k, left: {type: csv, path: a.csv}, right: {type: csv, path: lode.yaml}}"
    source = f"{{type: join, on: k, left: {inner}, right: {{type: csv, path: b.csv}}}}"
    (folder / "lode.yaml").write_text(f"name: x\ndata: {{source: {source}}}\noutputs: {{y: number}}\n")
    assert main(["check", "lode.yaml"]) == 0
    shown = capsys.readouterr().out
    assert "warning: lode.yaml:data.source.left.left.path: a.csv: no such file" in shown
    assert "warning: lode.yaml:data.source.right.path: b.csv: no such file" in shown
    assert shown.count("warning") == 2
