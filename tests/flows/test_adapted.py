"""A base is tuned beside an adapter by the family itself: answers, then preferences; killed, in two processes, merged and saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model import launch
from lode.model.contracts import Context, Examples, Family, Fitted
from lode.model.language import adapter_files, weights
from lode.model.language.contracts import DOCUMENTS, LEARNED, TOKENS
from lode.model.training import Training
from lode.pipeline.language.model import shapes_of
from lode.testing.adapter import base

# A gentle rate: rounding errors of the two ways to add up must not grow from step to step
TRAINING = Training(
    steps=12, batch=8, learning_rate=1e-3, optimizer="adamw", precision="fp32", judge_steps=4, checkpoint_seconds=0.0
)
PAIRS = Component("preferences", {"prompt": "a", "chosen": "b", "rejected": "c"})
ANSWERS = Component("answers", {"prompt": "a", "answer": "b"})


def _corpus(num_pairs: int, seed: int) -> Examples:
    """Of each pair the chosen answer goes on counting up from the prompt, the rejected one down."""
    random = np.random.default_rng(seed)
    documents = []
    for _ in range(num_pairs):
        first, length = int(random.integers(6, 12)), int(random.integers(5, 9))
        documents += [(first + sign * np.arange(length)) % 24 for sign in (1, -1)]
    learned = [np.arange(len(document)) >= 1 for document in documents]
    arrays = {
        TOKENS: np.concatenate(documents).astype(np.uint16),
        DOCUMENTS: np.concatenate([[0], np.cumsum([len(document) for document in documents])]).astype(np.int64),
        LEARNED: np.concatenate(learned).astype(np.uint8),
    }
    return Examples(len(documents), arrays, None)


def _made(folder: Path, objective: Component, adapter: Component | None) -> tuple[Family, launch.Made]:
    if not folder.exists():
        made, decoder = base("llama")
        weights.save(decoder, made, folder)
    options = {"start": str(folder), "objective": objective, **({} if adapter is None else {"adapter": adapter})}
    component = Component("language", options)
    family: Family = REGISTRIES["family"].create(component, shapes_of(24), {})
    return family, launch.Made(component, shapes_of(24), {})


def _fit(
    folder: Path, training: Training = TRAINING, context: Context | None = None, objective: Component = PAIRS, word: str = "lora"
) -> tuple[Family, Fitted]:
    family, how = _made(folder, objective, Component(word, {"rank": 2}))
    return family, launch.fit(family, how, _corpus(40, 0), _corpus(12, 1), replace(context or Context(), training=training))


def _state(family: Family) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = family.decoder.state_dict()  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("word", ["lora", "dora"])
def test_preferences_are_learned_beside_an_adapter_and_told(word: str, tmp_path: Path) -> None:
    training = replace(TRAINING, steps=40, learning_rate=1e-2)
    family, fitted = _fit(tmp_path / "base", training, word=word)
    last = fitted.history[-1]
    assert last["accuracy"] > 0.9 and last["margin"] > 0 and last["chosen_reward"] > last["rejected_reward"]
    family.save(tmp_path / "tuned")
    again, _ = _made(tmp_path / "base", PAIRS, None)
    again.load(tmp_path / "tuned")
    one, two = (model.predict(_corpus(12, 1))["loss"] for model in (family, again))
    assert np.array_equal(one, two), "what was saved answers as what was trained, bit for bit"
    _, beside = weights.load(tmp_path / "base")
    adapter_files.load(beside, weights.read_architecture(tmp_path / "base"), tmp_path / "tuned" / adapter_files.FOLDER)


def test_a_killed_fit_beside_an_adapter_goes_on_bitwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class KilledError(Exception):
        pass

    def kill(what: str, done: int, total: int, figures: dict[str, float]) -> None:
        if what == "train" and done > total / 2:
            raise KilledError

    whole, _ = _fit(tmp_path / "base")
    with pytest.raises(KilledError):
        _fit(tmp_path / "base", context=Context(folder=tmp_path / "fit", progress=kill))
    assert load_file(tmp_path / "fit" / "prepared-train.safetensors")["reference"].shape == (80,)
    monkeypatch.setattr(REGISTRIES["objective"].get("preferences"), "prepare", None)  # computed once, and read again
    resumed, _ = _fit(tmp_path / "base", context=Context(folder=tmp_path / "fit"))
    assert all(torch.equal(tensor, _state(whole)[name]) for name, tensor in _state(resumed).items())


@pytest.mark.prove
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize(("objective", "word"), [(PAIRS, "lora"), (ANSWERS, "dora")])
def test_two_processes_tune_as_one_does(tmp_path: Path, strategy: str, objective: Component, word: str) -> None:
    one, alone = _fit(tmp_path / "base", objective=objective, word=word)
    two, together = _fit(tmp_path / "base", replace(TRAINING, devices=2, strategy=strategy), objective=objective, word=word)
    for key in ("train_loss", "stop_loss"):
        assert [entry[key] for entry in alone.history] == pytest.approx([entry[key] for entry in together.history], abs=1e-5)
    found, wanted = (family.predict(_corpus(12, 1))["loss"] for family in (two, one))
    assert np.abs(found - wanted).max() < 1e-4
    for name, family in (("one", one), ("two", two)):
        family.save(tmp_path / name)
        assert (tmp_path / name / adapter_files.FOLDER / adapter_files.WEIGHTS).is_file()
