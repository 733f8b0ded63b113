"""What a process of a team takes of a batch, and what is sent to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lode.model import parcel
from lode.model.batches import Rows
from lode.model.parallel import Team
from lode.model.training import Training
from tests.flows import devices


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("num_rows", [1, 2, 3, 5, 32])
def test_every_row_counts_once(size: int, num_rows: int) -> None:
    rows = np.arange(100, 100 + num_rows)
    team = [Team(rank, size) for rank in range(size)]
    assert all(len(member.cut(rows)) for member in team)
    assert np.concatenate([member.cut(rows) for member in team if member.counts(num_rows)]).tolist() == rows.tolist()


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("size", [2, 3])
def test_the_losses_of_the_processes_add_up_to_the_batch(size: int, accumulate: int) -> None:
    family, _ = devices.made()
    neural = family._neural  # type: ignore[attr-defined]
    module = neural.build(0)
    train = Rows(devices.rows(67), neural.shapes.inputs, "cpu")
    index = train.trainable
    whole = [neural._loss(module, module, batch).item() for batch in train.batches(index, 8)]
    shares = [train.pieces(index, 8, accumulate, Team(rank, size)) for rank in range(size)]
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
        seed=3, rounds=None, device="cpu", deadline_s=1.5, folder=tmp_path, log_folder=None, parent=1,
    )  # fmt: skip
    parcel.pack(sent, tmp_path / "parcel")
    found = parcel.unpack(tmp_path / "parcel")
    assert found.train.arrays["x"].filename == str(tmp_path / "x.npy")
    assert np.array_equal(found.train.arrays["x"], mapped[10:40])
    assert np.array_equal(found.train.arrays["code"], rows.arrays["code"][:30])
    assert np.array_equal(found.states["a"]["table"], np.eye(2)) and found.states["a"]["words"] == ["x"]
    assert (found.family, found.shapes, found.tasks, found.deadline_s) == (sent.family, sent.shapes, sent.tasks, 1.5)
    assert Training(**found.options) == training
