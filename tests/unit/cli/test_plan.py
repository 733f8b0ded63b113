"""`lode plan` from the command line; nothing here reads data but the table that scikit-learn brings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lode
from lode.cli.main import main
from lode.core.types import Component
from lode.data.corpus import tokenizers
from lode.data.place import Place

LANGUAGE = """
name: gpt
data:
  source: {type: text, path: nowhere.txt}
model:
  type: language
  architecture: {type: llama, layers: 2, heads: 2, width: 64, context: 64}
  tokenizer: {type: bpe, vocabulary: 512}
train: {steps: 30, batch: 4}
"""


@pytest.fixture
def language(tmp_path: Path) -> Path:
    (tmp_path / "lode.yaml").write_text(LANGUAGE)
    return tmp_path


def plan(*words: str) -> int:
    return main(["plan", *words])


def test_a_language_model_is_planned_without_its_texts(language: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(str(language), "--hardware", "h100", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == sum(found["parameters_by_part"].values())
    assert found["tokens"] == 30 * 4 * 64
    assert found["fits"] is True
    assert found["best"]["sharding"] == "alone"
    assert found["money"]["low"] <= found["money"]["high"]
    assert found == json.loads(json.dumps(lode.plan(language / "lode.yaml", hardware="h100")))
    assert not (language / "runs").exists()


def test_a_tokenizer_of_a_folder_is_counted_and_one_of_the_hub_assumed(language: Path) -> None:
    own = tokenizers.make(Component("characters"), Place(language))
    own.fit(["abcde"])
    own.save(language / "words")
    found = {}
    for name, options in {"folder": "path: words", "hub": "path: a/b, revision: c0ffee"}.items():
        (language / "lode.yaml").write_text(LANGUAGE.replace("{type: bpe, vocabulary: 512}", f"{{type: pretrained, {options}}}"))
        found[name] = lode.plan(language / "lode.yaml", hardware="h100")
    assert found["folder"]["vocabulary"] == own.size == 10
    assert found["hub"]["vocabulary"] == 32_768 and "32,768 assumed" in " ".join(found["hub"]["notes"])


def test_the_lines_say_all_parts(language: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(str(language), "--hardware", "t4", "--price", "0.30/h", "--currency", "EUR", "--devices", "2") == 0
    out = capsys.readouterr().out
    words = ("model ", "training ", "hardware ", "step ", "time ", "memory ", "fits ", "serving ", "note ")
    for word in (*words, "fsdp", "EUR", "2 x NVIDIA T4"):
        assert word in out, word


def test_a_trial_measures_the_loops_own_step(language: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(str(language), "--trial", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trial_seconds"] > 0
    assert found["step_seconds"]["low"] < found["trial_seconds"] < found["step_seconds"]["high"]
    assert found["mfu"] > 0


def test_a_budget_buys_two_models(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no file is needed
    assert plan("--budget", "50 EUR", "--hardware", "h100", "--price", "2.50/h", "--currency", "EUR") == 0
    out = capsys.readouterr().out
    assert "20 h of NVIDIA H100" in out
    assert "compute-optimal" in out
    assert "for serving" in out


def test_devices_are_those_of_the_file_unless_said_otherwise(language: Path) -> None:
    file = language / "lode.yaml"
    file.write_text(LANGUAGE.replace("batch: 4", "batch: 4, devices: 2, strategy: fsdp"))
    found = lode.plan(file, hardware="h100")
    assert (found["devices"], found["sharding"]) == (2, "fsdp")
    assert lode.plan(file, hardware="h100", devices=1)["devices"] == 1


def test_a_budget_beyond_every_model_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert plan("--budget", "0.0001 EUR", "--hardware", "h100") == 0
    assert "No model of 1 to 160 layers spends this budget so" in capsys.readouterr().out
    assert plan("--budget", "99999999999 EUR", "--hardware", "h100") == 0
    assert "does not fit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--hardware", "h1000"), 'found "h1000", allowed: here'), (("--budget", "much"), "--budget"), (("--price", "x"), "--price"),
        (("--devices", "0"), "--devices"), (("--hardware", "h100", "--trial"), "--trial"),
        (("--budget", "5 EUR", "--hardware", "here"), "has no price"), (("--budget", "1,000 EUR"), '"1000 EUR" or "1 EUR"'),
        (("--budget", "5 EUR", "--price", "0"), "above 0"),
        (("--hardware", "h100", "--currency", "EUR"), "no rates of exchange"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_sentence(
    language: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan(str(language), *words) == 2
    assert said in capsys.readouterr().err


def test_a_table_is_planned_from_its_snapshot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lode.yaml").write_text(
        "name: tumour\ndata:\n  source: {type: sklearn, name: breast_cancer}\n"
        "outputs:\n  diagnosis: {type: binary, positive: malignant}\nmodel: {type: network, width: 16}\ntrain: {epochs: 2}\n"
    )
    assert plan(str(tmp_path), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    network = next(each for each in found["candidates"] if each["name"] == "network")
    assert network["parameters"] > 0
    assert network["estimate"] is False
    assert network["steps"] % 2 == 0
    assert {"constant", "linear", "trees"} < {each["name"] for each in found["candidates"]}
    assert found["advice"]["family"] == "auto"
    assert plan(str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "done before" in out
    assert "advice" in out
