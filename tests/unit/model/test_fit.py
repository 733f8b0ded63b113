"""The loop: exact resume, the best state, early stopping, a NaN that is found, fixed rounds, several objectives."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from lode.core.errors import ArtifactError, ModelError, SpecError
from lode.core.types import Component, TensorSpec
from lode.model import fit as loop
from lode.model.batches import Batch, Rows
from lode.model.choices import Choices, Workload, batch_for, decide, epochs_for
from lode.model.contracts import Context, Examples
from lode.model.families.network import Network
from lode.model.fit import Job, Objective, fit
from lode.model.parallel import Team
from lode.model.training import Training
from tests.unit.model.network_samples import examples, shapes, tasks

TABLE = ("age", "income", "job")
SPEC = {"x": TensorSpec("float32", (3,))}


def _network(**options: object) -> Network:
    return Network(shapes(TABLE), {"risk": tasks()["risk"]}, width=16, **options)


def _rows(num_rows: int, seed: int = 0) -> Examples:
    rows = examples(num_rows, seed, TABLE)
    return Examples(num_rows, rows.arrays, None, {"risk": rows.targets["risk"]})


class _KilledError(Exception):
    pass


RECIPES: dict[str, dict[str, object]] = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.01},
    "rmsprop": {"optimizer": "rmsprop", "momentum": 0.5},
    "adagrad": {"optimizer": "adagrad"},
    "adam": {"optimizer": "adam", "clip": 1.0},
    "adamw": {},
    "lion": {"optimizer": "lion", "l1": 1e-3},
    "muon": {"optimizer": "muon"},
    "ema": {"ema": 0.9},
    "accumulate": {"accumulate": 3, "batch": 15},
    "plateau": {"schedule": "plateau", "decay_epochs": 1, "learning_rate": 0.1},
    "bf16": {"precision": "bf16"},
}


@pytest.mark.parametrize(
    ("recipe", "stretches"),
    [("adamw", 1), ("adamw", 4), ("adamw", 7)] + [(recipe, 6) for recipe in RECIPES if recipe != "adamw"],
)
def test_a_killed_fit_goes_on_bitwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, stretches: int) -> None:
    """In the middle of an epoch, with everything that keeps a state of its own."""
    monkeypatch.setattr("lode.model.batches._CHUNK_BATCHES", 2)
    monkeypatch.setattr(loop, "_STRETCH_STEPS", 1)
    training = Training(**{"epochs": 3, "batch": 16, "checkpoint_seconds": 0.0, **RECIPES[recipe]})
    train, stop = _rows(100), _rows(50, 1)
    whole = _network()
    fitted = whole.fit(train, stop, Context(training=training))

    seen = 0

    def kill(what: str, done: int, total: int, figures: dict[str, float]) -> None:
        nonlocal seen
        seen += 1
        if seen == stretches + 1:
            raise _KilledError

    with pytest.raises(_KilledError):
        _network().fit(train, stop, Context(training=training, folder=tmp_path, progress=kill))
    resumed = _network()
    again = resumed.fit(train, stop, Context(training=training, folder=tmp_path))
    assert again == fitted
    assert np.array_equal(resumed.predict(stop)["risk"], whole.predict(stop)["risk"])


def test_where_the_host_looks_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    train, training = _rows(100), Training(epochs=2, batch=8)
    first, second = _network(), _network()
    fitted = first.fit(train, None, Context(training=training))
    monkeypatch.setattr(loop, "_STRETCH_STEPS", 1)
    monkeypatch.setattr(loop, "_GOOD_STEPS", 3)
    assert second.fit(train, None, Context(training=training)) == fitted
    assert np.array_equal(first.predict(train)["risk"], second.predict(train)["risk"])


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    training = Training(epochs=1, batch=16, checkpoint_seconds=0.0)
    _network().fit(_rows(64), None, Context(folder=tmp_path, training=training))
    assert (tmp_path / "checkpoint.safetensors").exists()
    with pytest.raises(ArtifactError, match="checkpoint of another network"):
        _network(depth=3).fit(_rows(64), None, Context(folder=tmp_path, training=training))


def test_the_best_state_is_kept_and_training_stops_early() -> None:
    training = Training(epochs=60, batch=16, learning_rate=0.05, stop={"patience": 3}, schedule="constant")
    random = np.random.default_rng(0)
    noise = Examples(60, _rows(60).arrays, None, {"risk": random.integers(0, 2, 60)})
    stop = Examples(60, _rows(60, 1).arrays, None, {"risk": random.integers(0, 2, 60)})
    network = _network()
    fitted = network.fit(noise, stop, Context(training=training))
    losses = [entry["stop_loss"] for entry in fitted.history]
    assert fitted.rounds is not None and losses[fitted.rounds - 1] == min(losses)
    assert len(losses) == fitted.rounds + 3 < 60
    scores = torch.from_numpy(network.predict(stop)["risk"])
    kept = tasks()["risk"].loss(scores, torch.from_numpy(stop.targets["risk"])).item()
    assert kept == pytest.approx(min(losses), abs=1e-5)


def test_fixed_rounds_train_so_many_epochs_and_keep_the_last_state() -> None:
    fitted = _network().fit(_rows(64), _rows(32, 1), Context(rounds=4, training=Training(epochs=9, stop={"patience": 1})))
    assert fitted.rounds == 4 and [entry["epoch"] for entry in fitted.history] == [1, 2, 3, 4]
    assert "stop_loss" not in fitted.history[0]


def test_choices_are_written_before_use_and_read_again(tmp_path: Path) -> None:
    _network().fit(_rows(64), None, Context(folder=tmp_path, training=Training(epochs=1)))
    path = tmp_path / "choices.json"
    record = json.loads(path.read_text())
    assert record["batch"] == 32 and record["epochs"] == 1
    path.write_text(json.dumps({**record, "epochs": 2}))
    assert len(_network().fit(_rows(64), None, Context(folder=tmp_path, training=Training(epochs=1))).history) == 2


def test_a_loss_that_is_not_finite_names_epoch_batch_and_layer() -> None:
    rows = _rows(200)
    network = Network(shapes(TABLE, {"income": Component("mlp", {"width": 3})}), {"risk": tasks()["risk"]})
    original = network._neural.build

    def broken(*args: object) -> torch.nn.Module:
        module = original(*args)
        with torch.no_grad():
            module.encoders[1].layers.linears[0].weight.fill_(1e38)
        return module

    network._neural.build = broken  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=r"epoch 1, batch 1 of 7; first in encoder mlp of income, layer layers\.linears\.0"):
        network.fit(rows, None, Context(training=Training(epochs=1, batch=32)))


def test_an_input_that_is_not_finite_is_named() -> None:
    rows = _rows(200)
    rows.arrays["age"][150] = np.nan
    with pytest.raises(ModelError, match='input "age" holds values that are not finite'):
        _network().fit(rows, None, Context(training=Training(epochs=1)))


def _job(objectives: list[Objective], module: torch.nn.Module, num_rows: int = 64) -> Job:
    random = np.random.default_rng(0)
    x = random.normal(size=(num_rows, 3)).astype(np.float32)
    rows = Examples(num_rows, {"x": x}, None, {"y": x.sum(1)})
    return Job(module, objectives, Rows(rows, SPEC, "cpu"), None)


def _choices(training: Training) -> Choices:
    return decide(training, Context(), Workload(64, 10))


def test_a_trial_of_several_processes_takes_their_own_rows() -> None:
    module, seen = torch.nn.Linear(3, 1), []

    def loss(batch: Batch) -> torch.Tensor:
        seen.append(batch.num_rows)
        return module(batch.inputs["x"]).square().mean()

    job, training = _job([Objective(list(module.parameters()), loss)], module), Training(batch=16)
    loop._try(job, training, Team(1, 2), _choices(training), 2)
    assert seen == [8, 8], "else the time of a step is that of all of them"


def test_two_objectives_move_their_own_parameters_at_their_own_pace() -> None:
    first, second = torch.nn.Linear(3, 1), torch.nn.Linear(3, 1)
    module = torch.nn.ModuleList((first, second))
    calls = {"first": 0, "second": 0}

    def loss(name: str, linear: torch.nn.Linear):
        def mean_square(batch: Batch) -> torch.Tensor:
            calls[name] += 1
            both = first(batch.inputs["x"]) + second(batch.inputs["x"]) if linear is second else first(batch.inputs["x"])
            return ((both[:, 0] - batch.targets["y"]) ** 2).mean()

        return mean_square

    training = Training(epochs=2, batch=16, optimizer="sgd", learning_rate=1e-12, weight_decay=0.0)
    objectives = [Objective(list(first.parameters()), loss("first", first))]
    objectives.append(Objective(list(second.parameters()), loss("second", second), every=2))
    fit(_job(objectives, module), _choices(training), training, Context())
    assert calls == {"first": 8, "second": 4}
    assert all(parameter.grad is None for parameter in module.parameters())


def test_clipping_bounds_the_gradient() -> None:
    module = torch.nn.Linear(3, 1)
    before = module.weight.detach().clone()
    training = Training(
        epochs=1, batch=64, optimizer="sgd", momentum=0.0, learning_rate=1.0, warmup=0.0, weight_decay=0.0, clip=1e-3
    )
    objective = Objective(list(module.parameters()), lambda b: (1e4 * (module(b.inputs["x"])[:, 0] - b.targets["y"]) ** 2).mean())
    fit(_job([objective], module), _choices(training), training, Context())
    assert 0 < (module.weight - before).norm().item() <= 1.1e-3


def test_bf16_trains_in_bf16_and_keeps_float32_weights() -> None:
    seen = []
    module = torch.nn.Linear(3, 1)

    def loss(batch: Batch) -> torch.Tensor:
        out = module(batch.inputs["x"])
        seen.append(out.dtype)
        return ((out.float()[:, 0] - batch.targets["y"]) ** 2).mean()

    training = Training(epochs=1, batch=32, precision="bf16")
    fit(_job([Objective(list(module.parameters()), loss)], module), _choices(training), training, Context())
    assert set(seen) == {torch.bfloat16} and module.weight.dtype == torch.float32


def test_rows_without_any_target_are_refused() -> None:
    rows = _rows(30)
    with pytest.raises(ModelError, match="no training row has a target"):
        _network().fit(Examples(30, rows.arrays, None, {"risk": np.full(30, -1)}), None, Context(training=Training(epochs=1)))


def test_stop_rows_without_any_target_stop_nothing() -> None:
    rows = _rows(30, 1)
    blank = Examples(30, rows.arrays, None, {"risk": np.full(30, -1)})
    training = Training(epochs=4, stop={"patience": 1})
    assert len(_network().fit(_rows(64), blank, Context(training=training)).history) == 4


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    _network().fit(_rows(64), None, Context(training=Training(epochs=1, threads=before + 1)))
    assert torch.get_num_threads() == before


def test_texts_are_cut_to_the_longest_of_their_batch() -> None:
    tokens = np.zeros((40, 9), np.int32)
    lengths = np.random.default_rng(0).integers(0, 10, 40)
    for row, length in enumerate(lengths):
        tokens[row, :length] = 1
    spec = {"t": TensorSpec("int32", (9,), ragged=(0,), cardinality=5)}
    rows = Rows(Examples(40, {"t": tokens}, None, {"y": np.arange(40)}), spec, "cpu")
    order = rows.by_length(np.random.default_rng(1).permutation(40), 8, np.random.default_rng(2))
    assert sorted(order) == list(range(40))
    for batch in rows.batches(order, 8):
        own = lengths[batch.targets["y"].numpy()]
        assert batch.inputs["t"].shape[1] == max(1, own.max())
        assert (batch.inputs["t"].numpy() == tokens[batch.targets["y"].numpy()][:, : batch.inputs["t"].shape[1]]).all()


def test_large_arrays_are_read_in_their_own_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lode.model.batches._SORT_BYTES", 0)
    array = np.arange(30).reshape(10, 3)
    index = np.array([7, 2, 2, 9, 0])
    assert np.array_equal(Rows(Examples(10, {}, None, {"y": array[:, 0]}), {}, "cpu")._gather("y", index), array[index, 0])


def test_left_open_choices_follow_from_the_rows() -> None:
    assert [batch_for(rows) for rows in (1, 500, 5_000, 50_000, 10**7)] == sorted(
        batch_for(r) for r in (1, 500, 5_000, 50_000, 10**7)
    )
    assert batch_for(1) == 32 and batch_for(10**7) == 1024
    assert epochs_for(100, 32) > epochs_for(10**6, 1024) >= 12
    large = decide(Training(), Context(), Workload(10**6, 10**9))
    small = decide(Training(), Context(), Workload(1000, 1000))
    assert small.threads == 1 and small.precision == "fp32" and large.batch > small.batch
    assert asdict(small) == asdict(decide(Training(), Context(), Workload(1000, 1000)))


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="sees no GPU"):
        decide(Training(device="cuda"), Context(), Workload(10, 10))


@pytest.mark.parametrize(("stop", "message"), [({"patiance": 3}, 'Did you mean "patience"'), ({"patience": 0}, "at least 1")])
def test_a_wrong_stop_is_named(stop: dict[str, int], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Training(stop=stop)
