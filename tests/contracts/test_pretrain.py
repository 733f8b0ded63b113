"""Every way to pretrain keeps the contract; the stage itself starts the fit from what it learnt, is kept, and repeats."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lode.core.errors import ModelError
from lode.core.registry import REGISTRIES
from lode.core.types import Component, FlatSpec, TensorSpec
from lode.model.contracts import Context, Examples, Shapes
from lode.model.pretrain.contrastive import nt_xent
from lode.model.training import Training
from lode.testing.pretrain import check_pretrain
from tests.flows import devices

TRAINING = Training(epochs=2, batch=32, pretrain=Component("masked", {"epochs": 3}), checkpoint_seconds=0.0)


@pytest.mark.parametrize("word", REGISTRIES["pretrain"].names())
def test_every_way_to_pretrain_keeps_the_contract(word: str) -> None:
    check_pretrain(word)


def test_nt_xent_is_the_cross_entropy_to_the_other_view() -> None:
    z = torch.nn.functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    expected = []
    for row in range(6):
        partner = (row + 3) % 6
        scores = torch.stack([z[row] @ z[other] / 0.5 for other in range(6) if other != row])
        expected.append(torch.logsumexp(scores, 0) - z[row] @ z[partner] / 0.5)
    assert nt_xent(z, 0.5).item() == pytest.approx(torch.stack(expected).mean().item(), abs=1e-6)


def _fit(context: Context) -> tuple[np.ndarray, dict[str, object]]:
    family, _ = devices.made()
    fitted = family.fit(devices.rows(100), devices.rows(40, 1), context)
    return family.predict(devices.rows(40, 1))["risk"], dict(fitted.choices)


def test_rows_without_a_label_change_the_fit_and_are_told() -> None:
    more = devices.rows(80, 2)
    without, told = _fit(Context(training=TRAINING))
    with_more, told_more = _fit(Context(training=TRAINING, unlabelled=Examples(80, more.arrays, None)))
    plain, _ = _fit(Context(training=replace(TRAINING, pretrain=None)))
    assert not np.array_equal(without, plain) and not np.array_equal(without, with_more)
    assert (told["pretrain"]["rows"], told_more["pretrain"]["unlabelled"]) == (100, 80)  # type: ignore[index]
    losses = [entry["loss"] for entry in told_more["pretrain"]["history"]]  # type: ignore[index]
    assert len(losses) == 3 and losses[-1] < losses[0]


@pytest.mark.parametrize("what", ["pretrain", "train"])
def test_a_killed_fit_goes_on_bitwise_in_either_stage(tmp_path: Path, what: str) -> None:
    class KilledError(Exception):
        pass

    def kill(said: str, done: int, total: int, figures: dict[str, float]) -> None:
        if said == what and done > total / 2:
            raise KilledError

    whole, _ = _fit(Context(training=TRAINING))
    with pytest.raises(KilledError):
        _fit(Context(training=TRAINING, folder=tmp_path, progress=kill))
    assert (tmp_path / "pretrain" / "encoder.safetensors").exists() is (what == "train")
    resumed, _ = _fit(Context(training=TRAINING, folder=tmp_path))
    assert np.array_equal(resumed, whole)


def test_an_input_that_cannot_be_pretrained_is_named() -> None:
    specs = {"sound": TensorSpec("int16", (8000,), scale=(1 / 32768,), rate=8000)}
    task = devices.tasks()["risk"]
    family = REGISTRIES["family"].create(Component("network"), Shapes(specs, FlatSpec((), ())), {"risk": task})
    rows = Examples(4, {"sound": np.zeros((4, 8000), np.int16)}, None, {"risk": np.array([0, 1, 0, 1])})
    with pytest.raises(ModelError, match=r"train\.pretrain: masked cannot learn from sound, allowed is none for these inputs"):
        family.fit(rows, None, Context(training=TRAINING))


def test_a_hidden_word_is_an_unknown_one_and_padding_stays() -> None:
    spec = TensorSpec("int32", (200,), ragged=(0,), cardinality=50)
    x = torch.randint(2, 50, (8, 200), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    x[:, 150:] = 0
    shapes = Shapes({"x": spec}, FlatSpec((), ()))
    task = REGISTRIES["pretrain"].create(Component("masked", {"share": 0.4}), shapes.inputs, 8, shapes)
    changed = task.change({"x": x}, torch.Generator().manual_seed(1))
    seen = changed["seen 0"]
    assert not seen[:, 150:].any() and seen[:, :150].all()
    assert torch.equal(seen == 1, changed["hidden 0"] & (x != 0)) and (seen == 1).float().mean() == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("way", [{"schedule": "coslog4"}, {"epochs": None, "steps": 4, "judge_steps": 1}])
def test_pretraining_is_as_many_passes_as_it_says_however_long_the_fit_is(way: dict[str, object]) -> None:
    said: list[int] = []

    def count(what: str, done: int, total: int, figures: dict[str, float]) -> None:
        said.extend([total] * (what == "pretrain"))

    _, told = _fit(Context(training=replace(TRAINING, **way), rounds=1, progress=count))
    assert len(told["pretrain"]["history"]) == 3 and set(said) == {3 * 4}, "of 100 rows, 32 a batch"  # type: ignore[index]


def test_pretraining_takes_half_of_the_time_at_most_and_the_fit_the_rest() -> None:
    endless = replace(TRAINING, epochs=100_000, pretrain=Component("masked", {"epochs": 100_000}))
    _, told = _fit(Context(training=endless, deadline_s=3.0))
    assert 0 < len(told["pretrain"]["history"]) < 100_000  # type: ignore[index]
    assert told["steps"] > 0  # type: ignore[operator]
