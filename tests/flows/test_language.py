"""Documents to a language model: the stages, the artifact, the same answers everywhere, and what happens when it is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import lode as package
from lode.app import service
from lode.app.metering.open_gate import OpenGate
from lode.core.errors import LodeError
from lode.model import launch
from lode.model.language.engine.contracts import Sampling
from lode.pipeline.language.model import LanguageModel
from lode.pipeline.run import Run, run
from tests.flows.flow import Verb, lode_json, write_spec

FILES = (
    "abc.py",
    "bisect.py",
    "colorsys.py",
    "heapq.py",
    "keyword.py",
    "operator.py",
    "queue.py",
    "stat.py",
    "token.py",
    "types.py",
)


def texts(folder: Path) -> Path:
    """A few modules of Python's own library: what every machine has."""
    folder.mkdir(parents=True, exist_ok=True)
    library = Path(sysconfig.get_paths()["stdlib"])
    for name in FILES:
        (folder / name).write_bytes((library / name).read_bytes())
    return folder


def spec(folder: Path, **changes: Any) -> dict[str, Any]:
    """A language model that is trained in a second."""
    return {
        "name": "snippets",
        "data": {
            "source": {"type": "text", "path": str(texts(folder)), "suffixes": [".py"]},
            "split": {"validation": 0.1, "test": 0.2},
        },
        "model": {
            "type": "language",
            "architecture": {"type": "llama", "layers": 2, "heads": 2, "width": 32, "context": 64},
            "tokenizer": {"type": "bpe", "vocabulary": 400},
        },
        "train": {"steps": 300, "batch": 4, "judge_steps": 100, "threads": 1, "checkpoint_seconds": 0},
        "evaluate": {"samples": 1, "sample_tokens": 20, "ngram_tokens": 20000},
        **changes,
    }


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("taught")
    return run(write_spec(folder, spec(folder / "texts")))


def test_a_run_ends_in_a_model_with_a_report(taught: Run) -> None:
    assert list(taught.folders) == ["data", "tokens", "train", "evaluate", "package"]
    assert taught.headline
    assert (taught.folders["evaluate"] / "report.html").stat().st_size > 5_000
    loss = taught.report["metrics"]["loss"]
    assert loss["low"] <= loss["value"] <= loss["high"] < np.log(400)
    assert taught.manifests["package"].result["parity"]["bitwise"]
    told = {row["figure"]: row for row in taught.report["facts"]["forecast"]}
    assert {"parameters", "peak memory", "a step", "operations at most"} <= told.keys()
    assert told["parameters"]["error"] == 0.0 and told["peak memory"]["actual"] > 0


def test_the_same_file_again_does_nothing_again(taught: Run) -> None:
    assert all(manifest.cached for manifest in run(taught.spec.path).manifests.values())


def test_other_training_reads_the_same_tokens(taught: Run, tmp_path: Path) -> None:
    tree = spec(taught.spec.path.parent / "texts")
    tree["train"]["steps"] = 10
    again = run(write_spec(tmp_path, tree), runs=taught.runs, until="train")
    assert again.manifests["tokens"].cached and not again.manifests["train"].cached


def test_a_run_trains_in_as_many_processes_as_its_file_says(taught: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That several of them train is tested in test_devices_language.py; here, that a file's word reaches them."""
    seen: list[Any] = []

    def told(folder: Path, devices: int, context: Any) -> None:
        seen.append(devices)
        raise LodeError("enough")

    monkeypatch.setattr(launch, "_run", told)
    tree = spec(taught.spec.path.parent / "texts")
    tree["train"] |= {"steps": 9, "devices": 2}
    with pytest.raises(LodeError, match="enough"):
        run(write_spec(tmp_path, tree), runs=taught.runs, until="train")
    assert seen == [2]


def test_another_tokenizer_at_the_same_path_cuts_the_texts_again(taught: Run, tmp_path: Path) -> None:
    shutil.copytree(taught.folders["tokens"] / "tokenizer", tmp_path / "cutter")
    tree = spec(taught.spec.path.parent / "texts")
    tree["model"]["tokenizer"] = {"type": "pretrained", "path": "cutter"}
    path = write_spec(tmp_path, tree)
    first = run(path, until="tokens")
    assert run(path, until="tokens").manifests["tokens"].cached
    config = tmp_path / "cutter" / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "extra": 1}))
    again = run(path, until="tokens")
    assert again.manifests["tokens"].key != first.manifests["tokens"].key and again.manifests["data"].cached


def test_transformers_reads_the_artifact_as_it_is(taught: Run) -> None:
    transformers = pytest.importorskip("transformers", reason="needs lodeml[pretrained]")
    folder = Path(taught.manifests["package"].result["folder"]) / "model"
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ours = taught.model
    assert isinstance(ours, LanguageModel)
    ids = tokenizer("import queue\n", return_tensors="pt", add_special_tokens=False)["input_ids"]
    assert ids[0].tolist() == ours.tokenizer.encode(["import queue\n"])[0].tolist()
    found = ours.decoder.logits(ours.decoder(ids))
    assert (found - theirs(ids).logits).abs().max() < 1e-4


def test_predictions_are_the_same_offline_loaded_and_from_the_command(taught: Run, tmp_path: Path) -> None:
    rows = pl.DataFrame({"text": ["def ", "import ", "class A"]})
    model = package.load("snippets", taught.runs)
    answers = model.predict(rows)
    assert answers.columns == ["completion"] and answers.height == 3
    assert answers["completion"].to_list() == model.generate(rows["text"].to_list(), Sampling(temperature=0.0))
    rows.write_parquet(tmp_path / "rows.parquet")
    lode_json("predict", "snippets", tmp_path / "rows.parquet", "-o", tmp_path / "out.parquet", "--runs", taught.runs)
    assert pl.read_parquet(tmp_path / "out.parquet")["completion"].equals(answers["completion"])


def test_a_seed_draws_the_same_text(taught: Run) -> None:
    model = taught.model
    assert isinstance(model, LanguageModel)
    drawn = [model.generate(["def "], Sampling(max_tokens=20, seed=seed))[0] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_row_without_a_prompt_is_named(taught: Run) -> None:
    model = taught.model
    problems = model.problems(pl.DataFrame({"text": ["a", None]}))
    assert [(item.row, item.column) for item in problems] == [(1, "text")]
    assert model.problems(pl.DataFrame({"other": ["a"]}))[0].row is None
    long = model.problems(pl.DataFrame({"text": ["x = 1\n" * 200]}))
    assert "64" in long[0].allowed


def test_where_a_file_asks_for_int8_the_start_says_what_that_costs(taught: Run, tmp_path: Path) -> None:
    tree = spec(taught.spec.path.parent / "texts", name="narrow", serve={"weights": "int8", "device": "cpu", "cache": "4MB"})
    done = run(write_spec(tmp_path, tree), runs=taught.runs)
    assert done.manifests["train"].cached, "how a model is served changes no weight"
    model = package.load("narrow", taught.runs)
    options = service._options(model, None, 0, taught.runs, None)
    service._app(model, options, OpenGate(), taught.runs)
    assert "63 held-out tokens answered as in training; in int8 their perplexity is" in service._proof(model, options, 63)
    model = package.load("narrow", taught.runs)
    with pytest.raises(LodeError, match=r"serve\.weights: found int8"):
        service._app(model, replace(options, max_rise=-0.5), OpenGate(), taught.runs)


def test_training_goes_on_from_an_artifact_by_its_name(taught: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved, real = list[str](), LanguageModel.move
    monkeypatch.setattr(LanguageModel, "move", lambda self, device: moved.append(device) or real(self, device))
    tree = spec(taught.spec.path.parent / "texts", name="more")
    tree["model"] = {"type": "language", "start": "snippets"}
    more = run(write_spec(tmp_path, tree), runs=taught.runs)
    assert more.manifests["tokens"].result["vocabulary"] == taught.manifests["tokens"].result["vocabulary"]
    assert more.report["metrics"]["loss"]["value"] < taught.report["metrics"]["loss"]["value"]
    assert moved == ["cpu" if not torch.cuda.is_available() else "cuda"] * 2, "both are judged where training was"


def test_what_killed_runs_leave_is_gone_on_with(taught: Run, tmp_path: Path) -> None:
    """SIGKILL when there is a checkpoint, then the same command: the same weights."""
    path = write_spec(tmp_path, spec(taught.spec.path.parent / "texts"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-m", "lode", "run", str(path), "--json"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end_s = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end_s and not list(tmp_path.glob("runs/train/*/.scratch/**/*.safetensors")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "the run was over before it could be killed"
    result = lode_json("run", path)
    assert result["stages"]["package"]["result"]["hash"] == taught.manifests["package"].result["hash"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"outputs": {"label": "binary"}}, "outputs"),
        ({"inputs": ["text"]}, "inputs"),
        ({"model": {"type": "language", "architecture": "lama"}}, 'Did you mean "llama"'),
        ({"model": {"type": "language", "tokenizer": {"type": "bpe", "vocabulery": 9}}}, "vocabulary"),
        ({"model": {"type": "language", "objective": "next_tokens"}}, 'Did you mean "next_token"'),
        ({"evaluate": {"importance": True}}, "importance"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path: Path, here: Verb, change: dict[str, Any], said: str) -> None:
    done = here("check", write_spec(tmp_path, spec(tmp_path / "texts", **change)))
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "text"), (b"\n\n \n", "text")],
)
def test_an_empty_corpus_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    tree = spec(tmp_path / "texts")
    for name in FILES:
        (tmp_path / "texts" / name).write_bytes(content)
    with pytest.raises(LodeError, match=said):
        run(write_spec(tmp_path, tree))
    assert not list((tmp_path / "runs").glob("artifacts/*/*"))


def test_one_huge_line_is_one_document(tmp_path: Path) -> None:
    tree = spec(
        tmp_path / "texts", data={"source": {"type": "text", "path": str(tmp_path / "one")}, "split": {"validation": 0, "test": 0}}
    )
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "line.txt").write_text("spam and eggs " * 50_000)
    tree["train"]["steps"] = 3
    done = run(write_spec(tmp_path, tree))
    assert done.manifests["tokens"].result["parts"]["train"]["documents"] == 1
    assert "training tokens" in str(done.headline) and "nothing was held out" in done.report["warnings"][0]
    assert json.loads((done.folders["train"] / "models" / "language" / "artifact.json").read_text())["format"] == 3
