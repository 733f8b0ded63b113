"""What a process of a team takes of a batch, and what is sent to it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lode.core.errors import ModelError
from lode.core.registry import REGISTRIES
from lode.core.types import Component, FlatSpec, TensorSpec
from lode.model import launch, parcel, worker
from lode.model.batches import Rows
from lode.model.choices import Choices, Workload, decide
from lode.model.contracts import Context, Shapes
from lode.model.parallel import Team
from lode.model.sync_norm import with_shared_statistics
from lode.model.training import Training
from tests.flows import devices


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("num_rows", [1, 2, 3, 5, 32])
def test_every_row_counts_once(size: int, num_rows: int) -> None:
    rows = np.arange(100, 100 + num_rows)
    team = [Team(rank, size) for rank in range(size)]
    assert all(len(member.cut(rows)) for member in team)
    assert np.concatenate([member.cut(rows) for member in team if member.counts(num_rows)]).tolist() == rows.tolist()


@pytest.mark.parametrize("accumulate", [1, 3, 4])
@pytest.mark.parametrize("size", [2, 3])
def test_the_losses_of_the_processes_add_up_to_the_batch(size: int, accumulate: int) -> None:
    family, _ = devices.made()
    neural = family._neural  # type: ignore[attr-defined]
    module = neural.build(0)
    train = Rows(devices.rows(67), neural.shapes.inputs, "cpu")
    index = train.trainable
    whole = [neural._loss(module, module, batch).item() for batch in train.batches(index, 8)]
    shares = [list(train.pieces(index, 8, accumulate, Team(rank, size))) for rank in range(size)]
    for parts in zip(*shares, strict=True):
        assert len({len(part) for part in parts}) == 1, "with divided weights all processes meet in every forward pass"
    summed = [
        sum((neural._loss(module, module, piece) * piece.share).item() for part in parts for piece in part)
        for parts in zip(*shares, strict=True)
    ]
    assert summed == pytest.approx(whole, abs=1e-6)


def test_turns_are_as_many_for_every_process() -> None:
    taken = [list(Team(rank, 3).turns(range(0, 50, 10))) for rank in range(3)]
    assert [len(turns) for turns in taken] == [2, 2, 2]
    assert sorted(start for turns in taken for start, counts in turns if counts) == [0, 10, 20, 30, 40]


def test_alone_nothing_is_changed() -> None:
    team, tensor, module = Team(), torch.ones(2), torch.nn.BatchNorm1d(3)
    assert team.sum(tensor) is tensor
    assert team.share(module) is module and type(module) is torch.nn.BatchNorm1d
    assert team.agrees(True) and not team.agrees(False)


def test_a_parcel_comes_back_and_maps_what_lies_in_a_file(tmp_path: Path) -> None:
    _, made = devices.made()
    np.save(tmp_path / "x.npy", devices.rows(50).arrays["x"])
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    rows = devices.rows(50)
    train = parcel.Examples(30, {"x": mapped[10:40], "code": rows.arrays["code"][:30]}, None, {"risk": rows.targets["risk"][:30]})
    training = Training(stop={"patience": 2}, log=["tensorboard"], devices=2)
    sent = parcel.Parcel(
        family=made.family, shapes=made.shapes, tasks={name: component for name, (component, _) in made.tasks.items()},
        states={"a": {"words": ["x"], "table": np.eye(2)}}, train=train, stop=None, unlabelled=None,
        options=parcel.training_options(training),
        seed=3, rounds=None, device="cpu", end_unix_s=1.5, watched=True, folder=tmp_path, log_folder=None, parent=1,
    )  # fmt: skip
    parcel.pack(sent, tmp_path / "parcel")
    found = parcel.unpack(tmp_path / "parcel")
    assert found.train.arrays["x"].filename == str(tmp_path / "x.npy")
    assert np.array_equal(found.train.arrays["x"], mapped[10:40])
    assert np.array_equal(found.train.arrays["code"], rows.arrays["code"][:30])
    assert np.array_equal(found.states["a"]["table"], np.eye(2)) and found.states["a"]["words"] == ["x"]
    assert (found.family, found.shapes, found.tasks) == (sent.family, sent.shapes, sent.tasks)
    assert (found.end_unix_s, found.watched) == (1.5, True)
    assert Training(**found.options) == training


def test_a_worker_asks_its_parent_after_each_epoch(tmp_path: Path) -> None:
    heard: list[tuple[int, float]] = []

    def watch(epoch: int, loss: float) -> bool:
        heard.append((epoch, loss))
        return epoch == 2

    asks, asked = worker._Asks(tmp_path), ""
    with ThreadPoolExecutor(1) as pool:
        for epoch, loss in ((1, 0.5), (2, 0.25)):
            waiting = pool.submit(asks, epoch, loss)
            while not waiting.done():
                asked = launch._answer(tmp_path, asked, Context(watch=watch))
            assert waiting.result() is (epoch == 2)
    assert heard == [(1, 0.5), (2, 0.25)], "each epoch is answered once"


class _Full:
    """A family for which memory does not suffice."""

    def fit(self, train: object, stop: object, context: Context) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_out_of_memory_cuts_the_batch_of_all_processes_once_an_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, said = tmp_path / "workers", []
    folder.mkdir()
    fresh = decide(Training(batch=16), Context(), Workload(64, 10))
    for place in (tmp_path, tmp_path / "pretrain"):
        fresh.write(place)
    parcel: Any = SimpleNamespace(folder=tmp_path, train=None, stop=None)
    full: Any = _Full()
    for attempt, pieces in enumerate((2, 4, 8)):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(attempt))
        for rank in (0, 1):
            context = Context(team=Team(rank, 2), progress=lambda what, *_: said.append(what))
            assert worker.fit_or_cut(full, parcel, context, folder) is None
        assert [Choices.read_or_write(place, fresh).accumulate for place in (tmp_path, tmp_path / "pretrain")] == [pieces, pieces]
    assert [f"train (out of memory: each batch of 16 rows in {pieces} pieces)" in said for pieces in (2, 4)] == [True, True]
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "3")
    with pytest.raises(ModelError, match="out of memory with 1 row at a time"):
        worker.fit_or_cut(full, parcel, context, folder)


def test_nobody_ends_before_the_batch_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process that ends ends the others, also the one that is writing the new choices."""
    fresh = decide(Training(batch=16), Context(), Workload(64, 10))
    places = [tmp_path, tmp_path / "pretrain"]
    for place in places:
        fresh.write(place)
    parcel: Any = SimpleNamespace(folder=tmp_path, train=None, stop=None)
    full: Any = _Full()
    found: list[list[int]] = []
    begun = threading.Event()
    real = Choices.cut

    def cut(folder: Path, processes: int) -> Choices:
        begun.set()
        time.sleep(0.1)
        return real(folder, processes)

    def second() -> None:
        begun.wait()
        worker.fit_or_cut(full, parcel, Context(team=Team(1, 2)), tmp_path)
        found.append([Choices.read_or_write(place, fresh).accumulate for place in places])

    monkeypatch.setattr(Choices, "cut", cut)
    other = threading.Thread(target=second)
    other.start()
    worker.fit_or_cut(full, parcel, Context(team=Team(0, 2)), tmp_path)
    other.join()
    assert found == [[2, 2]]


def test_a_model_that_does_not_fit_is_told_without_a_traceback() -> None:
    full: Any = _Full()
    full.loop, full.needs = True, "arrays"
    made: Any = None
    with pytest.raises(ModelError, match=r"out of memory outside of a step \(CUDA out of memory\).*`lode plan`"):
        launch.fit(full, made, devices.rows(4), None, Context(training=Training()))


def test_the_time_that_is_left_goes_on_while_the_processes_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.time, "time", lambda: 1000.0)
    _, made = devices.made()
    context = Context(training=Training(devices=2), folder=tmp_path, deadline_s=30.0)
    assert launch._parcel(made, devices.rows(4), None, context).end_unix_s == 1030.0


def test_a_model_of_the_flat_matrix_says_that_one_process_fits_it() -> None:
    component, odd = Component("autoencoder"), Component("anomaly")
    shapes, task = Shapes({}, FlatSpec(("x",), (0,))), REGISTRIES["task"].create(Component("anomaly"))
    family = REGISTRIES["family"].create(component, shapes, {"odd": task})
    rows = parcel.Examples(40, {}, np.zeros((40, 1), np.float32), {"odd": np.full(40, 2)})
    with pytest.raises(ModelError, match="found 2 processes with model: autoencoder"):
        launch.fit(family, launch.Made(component, shapes, {"odd": (odd, task)}), rows, None, Context(training=Training(devices=2)))
    tokens: Any = SimpleNamespace(loop=True, needs="tokens")
    masked = Context(training=Training(pretrain=Component("masked")))
    with pytest.raises(ModelError, match="found masked with model: language, which learns from all its text in any case"):
        launch.fit(tokens, launch.Made(Component("language"), shapes, {}), rows, None, masked)
    with pytest.raises(ModelError, match="found masked with an autoencoder"):
        family.fit(rows, None, Context(training=Training(pretrain=Component("masked"))))


def test_batch_norm_without_a_factor_stays_what_it_is_where_processes_share_it() -> None:
    encoder = REGISTRIES["encoder"].create(Component("airbench", {"widths": [4]}), [TensorSpec("uint8", (8, 8, 3))])
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    with_shared_statistics(encoder)
    after = encoder.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[name], tensor) for name, tensor in before.items())
    trained = {name: parameter.rate_factor for name, parameter in encoder.named_parameters() if "bias" in name}
    assert set(trained.values()) == {64.0} and not any(norm.weight.requires_grad for norm in encoder.stages[0].norms)
