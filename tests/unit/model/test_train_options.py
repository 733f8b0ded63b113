"""Every word of `train:` trains, and does what it says; options that contradict one another are named."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lode.core.errors import MissingPackageError, ModelError, SpecError
from lode.core.registry import section
from lode.core.spec import load
from lode.core.spec_train import ONLY_WITH
from lode.core.types import Component
from lode.model import choices as deciding
from lode.model import fit as loop
from lode.model import logs, measure, schedules
from lode.model.batches import Batch, Rows
from lode.model.choices import Choices, Workload, decide, merged
from lode.model.contracts import Context, Examples, Fitted
from lode.model.families.network import Network
from lode.model.fit import Job, Objective, fit
from lode.model.initial import initialise
from lode.model.rounds import Rounds
from lode.model.training import Training
from tests.unit.model.network_samples import examples, shapes, tasks
from tests.unit.model.test_fit import SPEC

TABLE = ("age", "income", "job")


def rows(num_rows: int, seed: int = 0) -> Examples:
    made = examples(num_rows, seed, TABLE)
    return Examples(num_rows, made.arrays, None, {"risk": made.targets["risk"]})


def trained(context: Context | None = None, options: dict[str, Any] | None = None, **train: Any) -> tuple[Fitted, np.ndarray]:
    """A small network's fit, and its scores."""
    network = Network(shapes(TABLE), {"risk": tasks()["risk"]}, width=16, **(options or {}))
    training = Training(**{"epochs": 3, "batch": 16, "threads": 1, "learning_rate": 0.01, **train})
    fitted = network.fit(rows(100), rows(50, 1), replace(context or Context(), training=training))
    return fitted, network.predict(rows(50, 1))["risk"]


@pytest.fixture(scope="module")
def plain() -> tuple[Fitted, np.ndarray]:
    return trained()


WORDS: list[tuple[str, dict[str, Any]]] = [
    *(("optimizer", {"optimizer": word}) for word in ("sgd", "rmsprop", "adagrad", "adam", "lion", "muon")),
    *(
        ("schedule", {"schedule": word})
        for word in ("constant", "step", "exponential", "linear", "one_cycle", "wsd", "plateau", "coslog4")
    ),
    ("batch", {"batch": "all"}),
    ("momentum", {"optimizer": "sgd", "momentum": 0.0}),
    ("nesterov", {"optimizer": "sgd", "nesterov": False}),
    ("weight_decay", {"weight_decay": 0.5}),
    ("decay_schedule", {"decay_schedule": "flat_cos"}),
    ("beta1", {"optimizer": "adam", "beta1": 0.5}),
    ("beta2", {"optimizer": "adam", "beta2": 0.9}),
    ("l1", {"l1": 0.01}),
    ("l2", {"l2": 0.01}),
    ("warmup", {"warmup": 0.5}),
    ("cooldown", {"schedule": "wsd", "cooldown": 0.9}),
    ("decay", {"schedule": "step", "decay": 0.5}),
    ("decay_epochs", {"schedule": "exponential", "decay_epochs": 2}),
    ("ema", {"ema": 0.9}),
    ("clip", {"clip": 0.01}),
    ("clip_value", {"clip_value": 1e-4}),
    ("precision", {"precision": "bf16"}),
    ("learning_rate", {"learning_rate": 0.02}),
    ("seed", {"seed": 5}),
]


@pytest.mark.parametrize("options", [options for _, options in WORDS], ids=[str(options) for _, options in WORDS])
def test_a_word_trains_and_changes_the_result(plain: tuple[Fitted, np.ndarray], options: dict[str, Any]) -> None:
    fitted, scores = trained(**options)
    assert all(math.isfinite(entry["train_loss"]) for entry in fitted.history)
    assert np.isfinite(scores).all() and not np.array_equal(scores, plain[1])


@pytest.mark.parametrize("options", [{"deterministic": True}, {"threads": 2}, {"checkpoint_seconds": 0.0}, {"device": "cpu"}])
def test_a_word_that_only_says_how_changes_no_answer(
    plain: tuple[Fitted, np.ndarray], tmp_path: Path, options: dict[str, Any]
) -> None:
    assert np.allclose(trained(Context(folder=tmp_path), **options)[1], plain[1], atol=1e-6)


def test_every_option_of_train_is_tested_somewhere() -> None:
    elsewhere = {
        "epochs",
        "accumulate",
        "stop",
        "compile",
        "checkpoint_activations",
        "log",
        "devices",
        "strategy",
        "budget",
        "pretrain",
        *("steps", "judge_steps", "batch_tokens", "final_rate"),  # tests/unit/model/language/test_language_training.py
    }
    here = {word for word, _ in WORDS} | {"deterministic", "threads", "checkpoint_seconds", "device"}
    assert set(section("train").options) == elsewhere | here


CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"momentum": 0.5}, r"train\.momentum: found beside optimizer: \(left open\).*allowed with optimizer: sgd, rmsprop, muon"),
    ({"optimizer": "adam", "nesterov": True}, r"train\.nesterov: found beside optimizer: adam"),
    ({"optimizer": "sgd", "beta2": 0.9}, r"train\.beta2"),
    ({"schedule": "cosine", "decay": 0.5}, r"train\.decay: found beside schedule: cosine"),
    ({"cooldown": 0.5}, r"train\.cooldown"),
    ({"optimizer": "sgd", "momentum": 0.0, "nesterov": True}, r"train\.nesterov: found beside momentum: 0"),
    ({"batch": 8, "accumulate": 9}, r"train\.accumulate: found 9 pieces of batches of 8 rows"),
    ({"precision": "fp16", "device": "cpu"}, r"train\.precision: found fp16 on a processor without a GPU"),
    ({"deterministic": True, "compile": True}, r"train\.compile: found beside deterministic"),
    ({"schedule": "wsd", "warmup": 0.6, "cooldown": 0.6}, r"train\.cooldown: found 0\.6 beside warmup: 0\.6"),
    ({"log": ["mlflow", "mlflow"]}, r"train\.log: found mlflow, mlflow"),
]


@pytest.mark.parametrize(("options", "message"), CONTRADICTIONS, ids=[str(options) for options, _ in CONTRADICTIONS])
def test_options_that_contradict_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Training(**options)


TOGETHER = """name: x
data: {source: {type: csv, path: a.csv}}
outputs: {y: {type: binary, positive: 1}}
model: network
train:
  momentum: 0.5
  accumulate: 9
  batch: 8
  learning_rate: -1
  budget: soon
  precision: fp16
  devices: 2
  strategy: fsdp
  ema: 0.9
"""


def test_every_contradiction_of_a_file_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "lode.yaml"
    path.write_text(TOGETHER)
    with pytest.raises(SpecError) as told:
        load(path)
    options = ("momentum", "accumulate", "learning_rate", "budget", "precision", "ema")
    wanted = [f"train.{word} (line {5 + list(_words(TOGETHER)).index(word) + 1})" for word in options]
    assert [line.split("lode.yaml:")[1].split(": found")[0] for line in str(told.value).splitlines()] == wanted


def _words(text: str) -> list[str]:
    return [line.strip().split(":")[0] for line in text.split("train:")[1].splitlines()[1:]]


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("{strategy: fsdp}", r"train\.strategy \(line 5\): found fsdp with one process, which shares nothing"),
        ("{budget: 10}", r"train\.budget \(line 5\): found 10, allowed: a span of time such as 90s, 10m or 2h or null"),
        ("{batch_tokens: 64}", r"train\.batch_tokens \(line 5\): found with a model that reads no tokens"),
        ("{devices: 2, strategy: tensor}", r"train\.strategy \(line 5\): found tensor with a model that is no language model"),
        ("{devices: 9, batch: 8}", r"train\.devices \(line 5\): found 9 processes for batches of 8 rows"),
    ],
)
def test_what_cannot_be_is_told_before_anything_runs(tmp_path: Path, train: str, message: str) -> None:
    path = tmp_path / "lode.yaml"
    path.write_text(TOGETHER.split("train:")[0] + f"train: {train}\n")
    with pytest.raises(SpecError, match=message):
        load(path)


def test_fp16_without_a_gpu_is_refused_also_where_the_device_is_left_open() -> None:
    with pytest.raises(ModelError, match="found fp16 on a processor"):
        decide(Training(precision="fp16"), Context(device="cpu"), Workload(10, 10))


# What a model's own recipe wants


def test_a_recipe_fills_what_the_user_left_open_and_nothing_else() -> None:
    recipe = {"optimizer": "adamw", "beta2": 0.95, "schedule": "coslog4", "learning_rate": 0.04, "clip": 1.0, "precision": "fp32"}
    chosen = decide(Training(schedule="step", decay=0.5), Context(), Workload(64, 10, defaults=recipe))
    assert (chosen.beta2, chosen.learning_rate, chosen.clip) == (0.95, 0.04, 1.0)
    assert (chosen.schedule, chosen.decay) == ("step", 0.5)


def test_another_rule_of_the_user_drops_what_the_recipe_tuned_for_its_own() -> None:
    recipe = {"learning_rate": 0.04, "weight_decay": 0.02, "optimizer": "adamw", "beta2": 0.95, "clip": 1.0}
    chosen = decide(Training(optimizer="sgd"), Context(), Workload(64, 10, defaults=recipe))
    assert (chosen.learning_rate, chosen.weight_decay, chosen.clip) == (0.05, 5e-4, 1.0)
    assert decide(Training(optimizer="adam"), Context(), Workload(64, 10, defaults=recipe)).learning_rate == 0.04
    assert decide(Training(optimizer="lion"), Context(), Workload(64, 10, defaults=recipe)).beta2 == 0.99
    assert decide(Training(optimizer="adam"), Context(), Workload(64, 10, defaults={"learning_rate": 0.04})).learning_rate == 0.04


def test_recipes_of_several_parts_take_the_smallest_rate_and_the_first_word() -> None:
    parts = [{"learning_rate": 1e-3, "clip": 1.0}, {"learning_rate": 5e-4, "clip": 2.0, "ema": 0.99}]
    assert merged(parts) == {"learning_rate": 5e-4, "clip": 1.0, "ema": 0.99}


def test_fixed_rounds_cut_a_schedule_of_waves_and_draw_others_together(monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = loop.schedules.learning_rate, []
    monkeypatch.setattr(loop.schedules, "learning_rate", lambda *given: seen.append(real(*given)) or seen[-1])
    rates: dict[str, list[float]] = {}
    for schedule, rounds in (("coslog4", None), ("coslog4", 3), ("cosine", 3)):
        seen.clear()
        training = Training(epochs=8, batch=16, schedule=schedule, warmup=0.0)
        fitted = _Regression().fit(training, Context(rounds=rounds))
        assert fitted.rounds == len(fitted.history) == (rounds or 8)
        rates[f"{schedule} {rounds}"] = list(seen)
    assert rates["coslog4 3"] == rates["coslog4 None"][: len(rates["coslog4 3"])]
    assert rates["cosine 3"][-1] < 0.1 * rates["cosine 3"][0]


def test_a_cooldown_that_is_left_open_begins_after_the_warm_up() -> None:
    assert decide(Training(schedule="wsd"), Context(), Workload(64, 10)).cooldown == 0.2
    assert decide(Training(schedule="wsd", warmup=0.9), Context(), Workload(64, 10)).cooldown == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("{seed: -1}", r"train\.seed \(line 5\): found -1, allowed: a whole number, from 0 to 4294967295"),
        ("{seed: 99999999999999999999}", r"train\.seed \(line 5\)"),
        ("{threads: 100000}", r"train\.threads \(line 5\): found 100000, allowed: a whole number, from 1 to 1024"),
    ],
)
def test_numbers_that_torch_cannot_take_are_refused(tmp_path: Path, train: str, message: str) -> None:
    path = tmp_path / "lode.yaml"
    path.write_text(TOGETHER.split("train:")[0] + f"train: {train}\n")
    with pytest.raises(SpecError, match=message):
        load(path)


def test_a_rate_counts_only_for_the_rule_of_its_part() -> None:
    pictures, texts = {"optimizer": "sgd", "learning_rate": 0.75}, {"learning_rate": 5e-4, "clip": 1.0}
    for parts in ([pictures, texts], [texts, pictures]):
        assert merged(parts) == {"optimizer": "sgd", "learning_rate": 0.75, "clip": 1.0}


def test_rates_of_other_rules_follow_from_that_of_the_model() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)).astype(np.uint8)
    given = Examples(40, {"photo": pictures}, None, {"risk": np.arange(40) % 2})
    rates = {}
    for word in ("cnn", "vit"):
        network = Network(shapes(("photo",), {"photo": Component(word)}), {"risk": tasks()["risk"]})
        fitted = network.fit(given, None, Context(training=Training(epochs=1, optimizer="lion")))
        rates[word] = fitted.choices["learning_rate"]
    assert rates == pytest.approx({"cnn": 0.2 * 2e-3, "vit": 0.2 * 1e-3})


def test_only_with_names_options_that_there_are() -> None:
    names = set(section("train").options)
    for option, (word, users) in ONLY_WITH.items():
        assert {option, word} <= names and set(users) <= set(section("train").options[word].type.literals())


# Batches in pieces


@pytest.mark.parametrize("pieces", [2, 3, 16])
def test_pieces_give_the_result_of_the_whole_batch(plain: tuple[Fitted, np.ndarray], pieces: int) -> None:
    fitted, scores = trained(accumulate=pieces, options={"dropout": 0.0})
    whole, wanted = trained(options={"dropout": 0.0})
    assert np.allclose(scores, wanted, atol=2e-6)
    assert fitted.history[-1]["train_loss"] == pytest.approx(whole.history[-1]["train_loss"], abs=1e-6)


def test_pieces_count_rows_with_a_target_not_rows() -> None:
    """Two outputs with gaps: each output's mean is over its own rows of the whole batch."""
    made = examples(96, 0, TABLE)
    targets = {name: made.targets[name].copy() for name in ("risk", "price")}
    targets["risk"][:40:2], targets["price"][::5] = -1, np.nan
    train = Examples(96, made.arrays, None, targets)
    own = {name: tasks()[name] for name in ("risk", "price")}
    scores = []
    for pieces in (1, 4):
        network = Network(shapes(TABLE), own, width=16, dropout=0.0)
        network.fit(train, None, Context(training=Training(epochs=2, batch=32, optimizer="sgd", accumulate=pieces)))
        scores.append(network.predict(train))
    assert all(np.allclose(scores[0][name], scores[1][name], atol=2e-6) for name in own)


def test_no_piece_is_one_row_alone() -> None:
    x = np.zeros((10, 3), np.float32)
    made = Rows(Examples(10, {"x": x}, None, {"y": np.zeros(10, np.float32)}), SPEC, "cpu")
    assert [[piece.num_rows for piece in batch] for batch in made.pieces(np.arange(10), 10, 4)] == [[3, 3, 4]]


class _Regression:
    """A linear layer on numbers: what a test can break on purpose."""

    def __init__(self, num_rows: int = 64, module: torch.nn.Module | None = None) -> None:
        random = np.random.default_rng(0)
        x = random.normal(size=(num_rows, 3)).astype(np.float32)
        self.module = module or torch.nn.Linear(3, 1)
        self.rows = Rows(Examples(num_rows, {"x": x}, None, {"y": x.sum(1)}), SPEC, "cpu")
        self.before: Callable[[Batch], None] = lambda batch: None
        self.sizes: list[int] = []

    def loss(self, batch: Batch) -> torch.Tensor:
        self.before(batch)
        self.sizes.append(batch.num_rows)
        return ((self.module(batch.inputs["x"])[:, 0] - batch.targets["y"]) ** 2).mean()

    def fit(self, training: Training, context: Context | None = None, stop: bool = False, **changes: Any) -> Fitted:
        job = Job(self.module, [Objective(list(self.module.parameters()), self.loss)], self.rows, self.rows if stop else None)
        context = context or Context()
        choices = replace(decide(training, context, Workload(self.rows.num_rows, 10)), **changes)
        return fit(job, choices, training, context)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: ...")],
    ids=["gpu", "python", "processor"],
)
def test_out_of_memory_cuts_the_batches_and_says_so(error: Exception) -> None:
    said: list[str] = []

    def refuse(batch: Batch) -> None:
        if batch.num_rows > 4:
            raise error

    torch.manual_seed(0)
    model = _Regression()
    model.before = refuse
    training = Training(epochs=2, batch=16, threads=1)
    fitted = model.fit(training, Context(progress=lambda what, *_: said.append(what)))
    assert fitted.choices["accumulate"] == 4 and set(model.sizes) == {4}
    assert "train (out of memory: each batch of 16 rows in 4 pieces)" in said
    torch.manual_seed(0)
    whole = _Regression()
    whole.fit(training)
    torch.testing.assert_close(model.module.weight, whole.module.weight, rtol=1e-5, atol=1e-6)


def test_a_measurement_that_is_out_of_memory_cuts_the_batches_too(tmp_path: Path) -> None:
    said: list[str] = []

    def refuse(batch: Batch) -> None:
        if batch.num_rows > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model = _Regression()
    model.before = refuse
    context = Context(folder=tmp_path, deadline_s=60.0, progress=lambda what, *_: said.append(what))
    fitted = model.fit(Training(epochs=2, batch=16, threads=1), context)
    assert fitted.choices["accumulate"] == 4 and set(model.sizes) == {4}
    assert json.loads((tmp_path / "choices.json").read_text())["accumulate"] == 4
    assert said[:2] == [f"train (out of memory: each batch of 16 rows in {pieces} pieces)" for pieces in (2, 4)]
    model.before = lambda batch: _out_of_memory()
    with pytest.raises(ModelError, match="out of memory with 1 row at a time"):
        model.fit(Training(epochs=2, batch=16), Context(deadline_s=60.0))


def _out_of_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_batch_that_was_cut_between_two_starts_stays_cut(tmp_path: Path) -> None:
    """Several processes that are out of memory start again: the checkpoint knows nothing of it."""

    def stop_there(what: str, done: int, total: int, figures: dict[str, float]) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    training = Training(epochs=2, batch=16, threads=1, checkpoint_seconds=0.0)
    torch.manual_seed(0)
    model = _Regression()
    with pytest.raises(KeyboardInterrupt):
        model.fit(training, Context(folder=tmp_path, progress=stop_there))
    fresh = decide(training, Context(), Workload(64, 10))
    fresh.write(tmp_path)
    model.sizes.clear()
    fitted = model.fit(training, Context(folder=tmp_path), accumulate=Choices.cut(tmp_path, 2).accumulate)
    assert fitted.choices["accumulate"] == 2 and set(model.sizes) == {8}


def test_a_model_of_which_no_row_fits_stops() -> None:
    def refuse(batch: Batch) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = _Regression()
    model.before = refuse
    with pytest.raises(ModelError, match=r"out of memory with 1 row at a time.*checkpoint_activations"):
        model.fit(Training(epochs=1, batch=16))


def test_judging_takes_fewer_rows_at_a_time_where_memory_does_not_suffice() -> None:
    def refuse(batch: Batch) -> None:
        if batch.num_rows > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model = _Regression()
    model.before = refuse
    fitted = model.fit(Training(epochs=1, batch=16), stop=True)
    assert math.isfinite(fitted.history[0]["stop_loss"]) and max(model.sizes) == 16
    assert fitted.choices["accumulate"] == 1, "training itself had room"


def test_another_runtime_error_is_not_taken_for_memory() -> None:
    def fail(batch: Batch) -> None:
        raise RuntimeError("shapes do not match")

    model = _Regression()
    model.before = fail
    with pytest.raises(RuntimeError, match="shapes do not match"):
        model.fit(Training(epochs=1, batch=16))


def test_one_row_and_batch_norm() -> None:
    normed = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    with pytest.raises(ModelError, match=r"train\.batch: found batches of one row with batch norm.*norm: layer"):
        _Regression(module=normed).fit(Training(epochs=1, batch=1))
    message = r"train\.accumulate: found 4 pieces of batches of 4 rows with batch norm.*at most 2\."
    with pytest.raises(ModelError, match=message):
        _Regression(module=normed).fit(Training(epochs=1, batch=4, accumulate=4))
    lone = _Regression(17, module=normed)  # the last batch would have one row: it is left out
    lone.fit(Training(epochs=1, batch=16))
    assert lone.sizes == [16]


# Losses that are lost


def test_a_loss_that_explodes_is_named() -> None:
    with pytest.raises(ModelError, match=r"the loss has exploded to .* in epoch \d+, batch \d+ of 4"):
        _Regression().fit(Training(epochs=60, batch=16, optimizer="sgd", learning_rate=5.0, schedule="constant", weight_decay=0.0))


def test_a_loss_that_explodes_before_the_first_look_is_named() -> None:
    with pytest.raises(ModelError, match=r"the loss has exploded to .* in epoch 1, batch \d+ of 4"):
        _Regression().fit(
            Training(epochs=1, batch=16, optimizer="sgd", learning_rate=2000.0, schedule="constant", warmup=0.0, weight_decay=0.0)
        )


def test_a_stop_loss_that_is_not_finite_is_told() -> None:
    model = _Regression()
    model.before = lambda batch: None if model.module.training else batch.inputs["x"].fill_(torch.nan)
    with pytest.raises(ModelError, match="the loss on the stop rows is not finite after epoch 1, and was finite in its batches"):
        model.fit(Training(epochs=2, batch=16), stop=True)


def test_the_last_good_checkpoint_stays_after_a_lost_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_STRETCH_STEPS", 1)
    monkeypatch.setattr("lode.model.batches._CHUNK_BATCHES", 1)
    model, calls = _Regression(), 0

    def spoil(batch: Batch) -> None:
        nonlocal calls
        calls += 1
        if calls >= 7:
            batch.inputs["x"][:] = torch.inf

    model.before = spoil
    with pytest.raises(ModelError, match=r'not finite in epoch 2.*input "x" holds values that are not finite'):
        model.fit(Training(epochs=3, batch=16, checkpoint_seconds=0.0), Context(folder=tmp_path))
    found = loop.files.read(tmp_path)
    assert found is not None and 4 <= found.record["step"] <= 6
    assert all(torch.isfinite(tensor).all() for tensor in found.tensors.values())


@pytest.mark.parametrize(("where", "layer"), [("0", "0"), ("01", "all layers")])
def test_gradients_that_are_not_finite_in_the_last_step_are_told(tmp_path: Path, where: str, layer: str) -> None:
    """Their loss was finite, and no later one is there to tell: neither the model nor a checkpoint may hold the broken weights."""
    model = _Regression(module=torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1)))
    training = Training(epochs=1, batch=16, checkpoint_seconds=0.0)
    last = Rounds(model.rows, decide(training, Context(), Workload(64, 10))).order(0)[-1]
    wrong = model.rows._host["x"][last]
    is_last = False

    def look(batch: Batch) -> None:
        nonlocal is_last
        is_last = bool((batch.inputs["x"] == torch.from_numpy(wrong)).all(dim=1).any())

    model.before = look
    for name, weight in model.module.named_parameters():
        if name[0] in where:
            weight.register_hook(lambda gradient: gradient * torch.inf if is_last else gradient)
    with pytest.raises(
        ModelError, match=rf"gradients are not finite in epoch 1, batch 4 of 4, though the loss is; found in {layer}\."
    ):
        model.fit(training, Context(folder=tmp_path))
    found = loop.files.read(tmp_path)
    assert found is None or all(torch.isfinite(tensor).all() for tensor in found.tensors.values())


def test_an_error_of_the_writer_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lode.core.disk.os.replace", full)
    model = _Regression()
    with pytest.raises(OSError, match="No space left"):
        job = Job(model.module, [Objective(list(model.module.parameters()), model.loss)], model.rows, None)
        training = Training(epochs=2, batch=16, checkpoint_seconds=0.0)
        fit(job, decide(training, Context(), Workload(64, 10)), training, Context(folder=tmp_path))


# Weights: their mean, their start


def test_ema_is_the_running_mean_and_is_what_is_kept() -> None:
    torch.manual_seed(0)
    model = _Regression()
    seen = [model.module.weight.detach().clone()]
    model.before = lambda batch: seen.append(model.module.weight.detach().clone()) if model.module.training else None
    model.fit(Training(epochs=2, batch=16, ema=0.9, weight_decay=0.0), stop=False)
    last = Training(epochs=2, batch=16, weight_decay=0.0)
    torch.manual_seed(0)
    peer = _Regression()
    peer.fit(last)
    steps = [*seen[2:], peer.module.weight.detach()]  # weights after each step
    mean = seen[0]
    for number, weight in enumerate(steps):
        share = 1 - min(0.9, (1 + number) / (10 + number))
        mean = mean + share * (weight - mean)
    torch.testing.assert_close(model.module.weight.detach(), mean)


def test_ema_is_what_is_judged() -> None:
    model = _Regression()
    fitted = model.fit(Training(epochs=3, batch=16, ema=0.9), stop=True)
    with torch.inference_mode():
        kept = np.mean([model.loss(batch).item() for batch in model.rows.batches(np.arange(64), 64)])
    assert kept == pytest.approx(min(entry["stop_loss"] for entry in fitted.history), rel=1e-5)


@pytest.mark.parametrize("word", ["normal", "uniform", "xavier", "he", "orthogonal"])
def test_first_weights_follow_their_rule(word: str) -> None:
    torch.manual_seed(0)
    module = torch.nn.ModuleList([torch.nn.Linear(200, 100), torch.nn.LayerNorm(3), torch.nn.Linear(4, 4)])
    module[2].own_weights = True
    kept = module[2].weight.detach().clone()
    initialise(module, word)
    weight = module[0].weight.detach()
    spread = {
        "normal": 0.05,
        "uniform": 0.05 / 3**0.5,
        "xavier": (2 / 300) ** 0.5,
        "he": (2 / 200) ** 0.5,
        "orthogonal": 200**-0.5,
    }
    assert weight.std().item() == pytest.approx(spread[word], rel=0.03)
    assert not module[0].bias.any() and (module[1].weight == 1).all() and torch.equal(module[2].weight, kept)
    initialise(torch.nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last), word)  # as families for pictures lay them out
    if word == "orthogonal":
        torch.testing.assert_close(weight @ weight.T, torch.eye(100), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "options",
    [{"init": word} for word in ("normal", "uniform", "xavier", "he", "orthogonal")]
    + [{"norm": word} for word in ("layer", "batch", "rms")]
    + [
        {"activation": word}
        for word in ("gelu", "silu", "tanh", "sigmoid", "leaky_relu", "elu", "selu", "mish", "softplus", "hardswish")
    ],
    ids=str,
)
def test_a_word_of_the_model_trains_and_changes_the_result(plain: tuple[Fitted, np.ndarray], options: dict[str, str]) -> None:
    fitted, scores = trained(options=options)
    assert np.isfinite(scores).all() and not np.array_equal(scores, plain[1])
    assert fitted.history[-1]["train_loss"] < 1.0


# Rates by losses, deadlines, progress


def test_plateau_drops_the_rate_after_epochs_without_a_better_loss() -> None:
    state = loop.LoopState()
    for epoch, loss in enumerate([1.0, 0.9, 0.95, 0.91, 0.8, 0.85, 0.84, 0.83], start=1):
        state.epoch = epoch
        state.drop_rate(loss, 0.1, 2)
        if epoch == 3:
            assert state.rate_factor == 1.0
        if epoch == 4:
            assert state.rate_factor == pytest.approx(0.1)
    assert state.rate_factor == pytest.approx(0.01)


def test_a_deadline_plans_the_steps_and_writes_them_before_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_try", lambda *_: [9.0, 10.0, 10.0, 10.0])
    model = _Regression()
    fitted = model.fit(Training(epochs=50, batch=16), Context(folder=tmp_path, deadline_s=120.0))
    written = json.loads((tmp_path / "choices.json").read_text())["steps"]
    assert written == fitted.choices["steps"] == len(model.sizes) and written in (9, 10)
    assert fitted.history[-1]["epoch"] == 3, "the last epoch is cut short and judged"


@pytest.mark.parametrize(("first_s", "later_s"), [(1.0, 3.0), (3.0, 1.0)], ids=["busier", "quieter"])
def test_a_learning_rate_reaches_its_end_in_time_though_the_machine_changes(
    first_s: float, later_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, seen, rates = [0.0], [0], list[float]()
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(loop, "_try", lambda *_: [first_s] * 5)
    monkeypatch.setattr(loop, "_STRETCH_STEPS", 1)

    def told(what: str, done: int, total: int, figures: dict[str, float]) -> None:
        clock[0] += sum(first_s if step < 20 else later_s for step in range(seen[0], done))
        seen[0] = done
        rates.append(schedules.learning_rate(done - 1, total, 4, choices))

    training = Training(epochs=1000, batch=16, schedule="wsd", cooldown=0.4, learning_rate=1.0)
    choices = decide(training, Context(), Workload(64, 10))
    fitted = _Regression().fit(training, Context(folder=tmp_path, deadline_s=100.0, progress=told))
    assert 85.0 < clock[0] <= 100.0, "the time is used, and kept to"
    assert fitted.choices["steps"] == seen[0] == pytest.approx(20 + (90 - 20 * first_s) / later_s, abs=4)
    assert max(rates) == 1.0 and rates[-1] < 0.15 and sorted(rates[-3:], reverse=True) == rates[-3:]


def test_a_killed_fit_goes_on_with_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    pace = measure.Pace(100.0, 10_000, 1000.0)
    pace.resume(left_s=40.0, step=40)
    assert pace.steps(40, 55) == 55, "no step of this try is known yet"
    clock[0] += 10.0
    assert pace.steps(45, 55) == 45 + 10 and not pace.is_late
    clock[0] += 30.0
    assert pace.is_late and pace.steps(50, 55) == 50


def test_time_that_who_starts_it_again_has_counted_already_is_not_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A team that lost a process begins again with what is left until its end, of which its checkpoint says the same."""
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    pace = measure.Pace(35.0, 10_000, 1000.0)
    pace.resume(left_s=40.0, step=40)
    assert pace.left_s == 35.0


def test_a_killed_fit_keeps_the_plan_and_the_time_of_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, seen = [0.0], [0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(loop, "_try", lambda *_: [1.0] * 5)
    monkeypatch.setattr(loop, "_STRETCH_STEPS", 1)
    training = Training(epochs=1000, batch=16, checkpoint_seconds=0.0)

    def told(what: str, done: int, total: int, figures: dict[str, float]) -> None:
        clock[0] += 2.0 * (done - seen[0])
        seen[0] = done
        if done == 32 and clock[0] < 100.0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _Regression().fit(training, Context(folder=tmp_path, deadline_s=100.0, progress=told))
    clock[0], seen[0] = 10_000.0, 28  # steps of the checkpoint
    fitted = _Regression().fit(training, Context(folder=tmp_path, deadline_s=100.0, progress=told))
    assert fitted.choices["steps"] == 45 and clock[0] == 10_034.0, "56 s of 90 were spent for 28 steps: 17 more"


def test_a_budget_that_ends_before_the_first_look_shortens_that_look() -> None:
    long = replace(decide(Training(), Context(), Workload(64, 10)), steps=500, judge_steps=10_000, judge_rows=40_000)
    short = measure.with_look(long)
    assert (short.judge_steps, short.judge_rows) == (500, 2_000)
    assert measure.with_look(short) == short


def test_a_lost_loss_is_found_again_though_the_plan_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, model, bad = [0.0], _Regression(), list[torch.Tensor]()
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(loop, "_try", lambda *_: [1.0] * 5)

    def spoil(batch: Batch) -> None:
        step = len(model.sizes)
        clock[0] += 1.0 if step < 64 else 0.1  # 90 steps are planned when the second epoch begins, then more
        if step == 110:
            bad.append(batch.inputs["x"].clone())
        if bad and torch.equal(batch.inputs["x"], bad[0]):
            batch.targets["y"][:] = math.nan

    model.before = spoil
    with pytest.raises(ModelError, match="epoch 2, batch 47 of 64"):
        model.fit(Training(epochs=1000, batch=1), Context(folder=tmp_path, deadline_s=100.0))


def test_a_chunk_of_slow_steps_is_left_when_the_plan_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of an epoch's 64 batches are gathered at once; steps that take longer than was measured must be noticed before its end."""
    clock, model, totals = [0.0], _Regression(), list[int]()
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(loop, "_try", lambda *_: [1.0] * 5)

    def tick(batch: Batch) -> None:
        clock[0] += 3.0

    model.before = tick
    context = Context(folder=tmp_path, deadline_s=60.0, progress=lambda what, done, total, figures: totals.append(total))
    fitted = model.fit(Training(epochs=1000, batch=1), context)
    assert (totals[0], totals[-1]) == (54, 18) and fitted.choices["steps"] == 18 and clock[0] == 54.0


def test_a_deadline_that_is_over_stops_with_the_state_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_try", lambda *_: [1e-9, 1e-9])
    monkeypatch.setattr(loop, "_STRETCH_STEPS", 1)
    training = Training(epochs=50, batch=16)
    model = _Regression()
    fitted = model.fit(training, Context(folder=tmp_path, deadline_s=1e-6), stop=True)
    assert len(fitted.history) == 1 and math.isfinite(fitted.history[0]["stop_loss"])
    again = _Regression()
    assert again.fit(training, Context(folder=tmp_path), stop=True) == fitted, "what fitted in is what a resumed fit gives"
    assert torch.equal(again.module.weight, model.module.weight)


def test_the_model_is_told_how_far_training_is() -> None:
    told: list[float] = []
    model = _Regression()
    job = Job(model.module, [Objective(list(model.module.parameters()), model.loss)], model.rows, None, on_progress=told.append)
    training = Training(epochs=2, batch=16)
    fit(job, decide(training, Context(), Workload(64, 10)), training, Context())
    assert told == [step / 8 for step in range(8)]


# What is measured


def _timed(seconds: dict[tuple[int, bool], float]) -> measure.TrySteps:
    return lambda choices, number: [seconds[choices.threads, choices.compile]] * number


@pytest.mark.parametrize(
    ("seconds", "threads", "compiles"),
    [
        ({(2, False): 1.0, (1, False): 0.99, (2, True): 0.99}, 2, False),
        ({(2, False): 1.0, (1, False): 0.5, (1, True): 0.2}, 1, True),
    ],
)
def test_only_what_is_clearly_faster_replaces_a_rule(
    tmp_path: Path, seconds: dict[tuple[int, bool], float], threads: int, compiles: bool
) -> None:
    chosen = replace(decide(Training(), Context(), Workload(64, 10)), threads=2, measure=("threads", "compile"))
    found = measure.settle(chosen, Context(folder=tmp_path), 4, _timed(seconds))
    assert (found.threads, found.compile, found.measure) == (threads, compiles, ())
    assert Choices.read_or_write(tmp_path, chosen) == found, "a resumed fit reads what was found"


@pytest.mark.parametrize("kind", [RuntimeError, ModelError])
def test_a_machine_that_cannot_compile_trains_as_the_rule_says(tmp_path: Path, kind: type[Exception]) -> None:
    def try_steps(choices: Choices, number: int) -> list[float]:
        if choices.compile:
            raise kind("No working C++ compiler found")
        return [1.0] * number

    chosen = replace(decide(Training(), Context(), Workload(64, 10)), measure=("compile",))
    found = measure.settle(chosen, Context(folder=tmp_path), 4, try_steps)
    assert not found.compile and found.measure == ()


def test_small_work_is_not_measured_and_pinned_choices_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "available_threads", lambda: 2)
    large = Workload(10**6, 10**9)
    assert decide(Training(), Context(), large).measure == ("threads", "compile")
    assert decide(Training(), Context(), Workload(1000, 1000)).measure == ()
    assert decide(Training(threads=2, compile=False), Context(), large).measure == ()
    assert decide(Training(deterministic=True), Context(), large).measure == ()


def test_a_measurement_leaves_no_trace_in_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    monkeypatch.setattr(measure, "_ROUNDS", 1)
    real = loop._try
    monkeypatch.setattr(loop, "_try", lambda *given: [tried.append(given[3]), *real(*given)][1:])
    results = []
    for measured in ((), ("threads",)):
        torch.manual_seed(0)
        model = _Regression(module=torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1)))
        monkeypatch.setattr(measure, "_CLEARLY", 0.0)
        model.fit(Training(epochs=1, batch=16, threads=1), measure=measured)
        results.append(model.module.state_dict())
    assert tried
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_a_compiled_module_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler itself takes a minute: the test says that it is asked, and taken away again."""
    asked: list[torch.nn.Module] = []

    def compiled(self: torch.nn.Module) -> None:
        asked.append(self)
        self._compiled_call_impl = self._call_impl

    monkeypatch.setattr(torch.nn.Module, "compile", compiled)
    model = _Regression()
    model.fit(Training(epochs=1, batch=16, compile=True))
    assert asked == [model.module] and model.module._compiled_call_impl is None


def test_a_compiler_that_was_asked_for_and_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = type("InductorError", (RuntimeError,), {"__module__": "torch._inductor.exc"})

    def compiled(self: torch.nn.Module) -> None:
        def fail(*inputs: Any) -> None:
            raise missing("InvalidCxxCompiler: No working C++ compiler found\nand much more")

        self._compiled_call_impl = fail

    monkeypatch.setattr(torch.nn.Module, "compile", compiled)
    model = _Regression()
    with pytest.raises(
        ModelError, match=r"train\.compile: found true.*here \(InvalidCxxCompiler: No working C\+\+ compiler found\), allowed"
    ):
        model.fit(Training(epochs=1, batch=16, compile=True))
    assert model.module._compiled_call_impl is None


@pytest.mark.prove
def test_compiling_gives_the_same_weights() -> None:
    """Of a module that draws nothing: the compiler's dropout is another one than torch's own."""
    weights = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = _Regression(module=torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.GELU(), torch.nn.Linear(8, 1)))
        fitted = model.fit(Training(epochs=3, batch=20, optimizer="sgd", compile=compiled, threads=1), stop=True)
        assert fitted.choices["compile"] is compiled
        weights.append(model.module.state_dict())
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-6) for name in weights[0])


# Activations computed again, repeatable operations


@pytest.mark.parametrize(
    ("name", "encoder", "options"),
    [
        ("text", "transformer", {"width": 8, "depth": 1}),
        ("photo", "resnet", {"width": 8, "depth": 1, "stages": 2}),
        ("photo", "convnext", {"widths": [8, 8], "depths": [1, 2], "drop_path": 0.5}),
    ],
)
def test_activations_computed_again_change_nothing(name: str, encoder: str, options: dict[str, Any]) -> None:
    made = examples(48, 0, ("age", "job", name))
    train = Examples(48, {name: made.arrays[name]}, None, {"risk": made.targets["risk"]})
    scores = []
    for again in (False, True):
        network = Network(shapes((name,), {name: Component(encoder, options)}), {"risk": tasks()["risk"]}, width=8)
        network.fit(train, None, Context(training=Training(epochs=2, batch=16, threads=1, checkpoint_activations=again)))
        scores.append(network.predict(train)["risk"])
    assert np.allclose(*scores, atol=1e-6), "dropout is drawn again alike, and batch norm counts each batch once"


def test_a_model_without_blocks_has_nothing_to_compute_again() -> None:
    with pytest.raises(ModelError, match=r"train\.checkpoint_activations: found a model without blocks"):
        trained(checkpoint_activations=True)


def test_deterministic_refuses_an_operation_that_does_not_repeat() -> None:
    seen = []
    model = _Regression()
    model.before = lambda batch: seen.append(torch.are_deterministic_algorithms_enabled())
    model.fit(Training(epochs=1, batch=16, deterministic=True))
    assert all(seen) and not torch.are_deterministic_algorithms_enabled()
    model.before = lambda batch: torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))
    with pytest.raises(
        ModelError, match=r"train\.deterministic: found an operation that does not repeat on this device \(put_\), allowed"
    ):
        model.fit(Training(epochs=1, batch=16, deterministic=True))
    assert not torch.are_deterministic_algorithms_enabled()
    model.fit(Training(epochs=1, batch=16))


# Other people's pages


def test_tensorboard_gets_the_losses(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    fitted = _Regression().fit(Training(epochs=3, batch=16, log=["tensorboard"]), Context(log_folder=tmp_path), stop=True)
    (file,) = (tmp_path / "tensorboard").iterdir()
    events = [event for event in EventFileLoader(str(file)).Load() if event.summary.value]
    losses = [event.summary.value[0].tensor.float_val[0] for event in events if event.summary.value[0].tag == "train_loss"]
    assert losses == pytest.approx([entry["train_loss"] for entry in fitted.history])


@pytest.mark.prove  # its database takes seconds to make
def test_mlflow_gets_the_losses_and_reports_to_nobody(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    fitted = _Regression().fit(Training(epochs=2, batch=16, log=["mlflow"]), Context(log_folder=tmp_path), stop=True)
    import mlflow
    from mlflow.telemetry.utils import is_telemetry_disabled

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("lode").experiment_id])
    found = [metric.value for metric in client.get_metric_history(run.info.run_id, "stop_loss")]
    assert found == pytest.approx([entry["stop_loss"] for entry in fitted.history])
    assert is_telemetry_disabled()


@pytest.mark.prove
def test_a_stopped_fit_goes_on_in_its_run_of_mlflow(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("alembic")

    def stop_there(what: str, done: int, total: int, figures: dict[str, float]) -> None:
        if done >= 12:
            raise KeyboardInterrupt

    training = Training(epochs=4, batch=16, log=["mlflow"], checkpoint_seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        _Regression().fit(training, Context(folder=tmp_path, log_folder=tmp_path, progress=stop_there), stop=True)
    fitted = _Regression().fit(training, Context(folder=tmp_path, log_folder=tmp_path), stop=True)
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("lode").experiment_id])
    found = {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, "train_loss")}
    assert run.info.status == "FINISHED" and list(found.values()) == pytest.approx([e["train_loss"] for e in fitted.history])


def test_a_log_whose_package_is_missing_names_the_install_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> None:
        raise ModuleNotFoundError("No module named 'tensorboard'", name="tensorboard")

    monkeypatch.setattr(logs.importlib, "import_module", gone)
    with pytest.raises(MissingPackageError, match=r'pip install "lodeml\[tensorboard\]"'):
        logs.Logs(["tensorboard"], tmp_path)
