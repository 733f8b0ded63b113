"""Texts of several batches that are changed at once: each as if it were alone, none beyond its batch, the same after a killed fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lode.core.registry import REGISTRIES
from lode.core.types import Component, FlatSpec, TensorSpec
from lode.model import fit as loop
from lode.model.augment.noise import Noise
from lode.model.batches import Batch
from lode.model.contracts import Context, Examples, Shapes
from lode.model.families.network import Network
from lode.model.mixing import Changes
from lode.model.modules import Augment
from lode.model.training import Training
from tests.unit.model.network_samples import examples, shapes, tasks

SPEC = TensorSpec("int32", (64,), ragged=(0,), cardinality=70)
LENGTHS = (5, 8, 3, 64, 6, 1, 33, 8)


def _augment(word: str, share: float) -> Augment:
    return REGISTRIES["augment"].create(Component(word, {"share": share}), SPEC)


def _text(length: int, rows: int = 200) -> torch.Tensor:
    """Every text is 2, 3, 4, ... and fills its batch."""
    return torch.arange(2, length + 2, dtype=torch.int32).repeat(rows, 1)


def _batches() -> Iterator[list[Batch]]:
    """The first is cut into two pieces."""
    texts = [_text(length) for length in LENGTHS]
    yield [Batch({"text": part}, {}, {}, len(part)) for part in texts[0].split(120)]
    for x in texts[1:]:
        yield [Batch({"text": x}, {}, {}, len(x))]


def _changed(*steps: Augment) -> list[torch.Tensor]:
    found = Changes({"text": steps})(_batches(), torch.Generator().manual_seed(0))
    return [torch.cat([piece.inputs["text"] for piece in batch]) for batch in found]


def test_dropped_words_are_as_many_in_every_batch_as_in_one_alone() -> None:
    for length, x in zip(LENGTHS, _changed(_augment("drop", 0.3)), strict=True):
        assert x.shape == (200, length) and x.dtype == torch.int32
        assert all(row == sorted(row) for row in ([code for code in row if code] for row in x.tolist())), "in their order"
        alone = _augment("drop", 0.3)(_text(length, 4000), torch.Generator().manual_seed(1))
        together, expected = (x > 0).float().mean(), (alone > 0).float().mean()
        assert abs(float(together - expected)) < 0.05, length
        assert (x[:, 0] > 0).all(), "a text keeps at least one word"


def test_words_change_places_within_their_text_as_in_a_batch_alone() -> None:
    for length, x in zip(LENGTHS, _changed(_augment("swap", 1.0)), strict=True):
        alone = _augment("swap", 1.0)(_text(length, 2), torch.Generator().manual_seed(1))
        assert {tuple(row) for row in x.tolist()} == {tuple(row) for row in alone.tolist()}
        assert abs(int((x == alone[0]).all(dim=1).sum()) - 100) <= 1 or length == 1, "pairs begin at even places in every other row"


def test_calls_are_shared_by_batches_of_like_length_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, ...]] = []

    drop = _augment("drop", 0.3)
    drop.register_forward_pre_hook(lambda module, given: sizes.append(tuple(given[0].shape)))
    _changed(drop)
    assert sizes == [(200, 1), (200, 3), (800, 8), (400, 64)]
    sizes.clear()
    monkeypatch.setattr("lode.model.mixing._MOST_NUMBERS", 3200)
    _changed(drop)
    assert sizes == [(200, 1), (200, 3), (200, 5), (400, 8), (200, 8), (200, 33), (200, 64)], "one batch is never cut"


def test_pictures_wait_for_their_turn() -> None:
    """What is large is not changed ahead: a batch is read when the one before it has been used."""
    taken: list[int] = []

    def pictures() -> Iterator[list[Batch]]:
        for number in range(4):
            taken.append(number)
            yield [Batch({"photo": torch.zeros(2, 8, 8, 1, dtype=torch.uint8)}, {}, {}, 2)]

    flip = REGISTRIES["augment"].create(Component("flip"), TensorSpec("uint8", (8, 8, 1)))
    next(Changes({"photo": [flip]})(pictures(), torch.Generator()))
    assert taken == [0]


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_killed_fit_on_changed_texts_goes_on_bitwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int) -> None:
    """In the middle of an epoch, where some batches of the last chunk were changed together."""
    monkeypatch.setattr("lode.model.batches._CHUNK_BATCHES", 3)
    monkeypatch.setattr("lode.model.mixing._AHEAD", 2)
    monkeypatch.setattr(loop, "_STRETCH_STEPS", 1)
    names = ("age", "text", "job")
    given = replace(shapes(names), augments={"text": (Component("drop", {"share": 0.3}), Component("swap"))})
    training = Training(epochs=3, batch=16, checkpoint_seconds=0.0, accumulate=accumulate)
    found = examples(140, 0, names)
    train = Examples(140, found.arrays, None, {"risk": found.targets["risk"]})

    def network() -> Network:
        return Network(given, {"risk": tasks()["risk"]}, width=16)

    def kill(what: str, done: int, total: int, figures: dict[str, float]) -> None:
        if done > 12:
            raise _KilledError

    whole = network()
    fitted = whole.fit(train, None, Context(training=training))
    with pytest.raises(_KilledError):
        network().fit(train, None, Context(training=training, folder=tmp_path, progress=kill))
    resumed = network()
    assert resumed.fit(train, None, Context(training=training, folder=tmp_path)) == fitted
    assert np.array_equal(resumed.predict(train)["risk"], whole.predict(train)["risk"])


@pytest.mark.parametrize("pretrain", [None, Component("contrastive", {"epochs": 1})])
def test_rows_that_stop_or_judge_are_never_changed(monkeypatch: pytest.MonkeyPatch, pretrain: Component | None) -> None:
    """Rows that stop training, and those that are predicted, hold numbers that no training row has: no change gets to see them."""
    seen: list[float] = []
    changed = Noise.forward

    def spy(self: Noise, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen.append(float(x.max()))
        return changed(self, x, generator)

    monkeypatch.setattr(Noise, "forward", spy)
    generator = np.random.default_rng(0)
    x = generator.uniform(-1, 1, (128, 1)).astype(np.float32)
    target = {"y": (x[:, 0] > 0).astype(np.int64)}
    task = REGISTRIES["task"].create(Component("binary", {"positive": "yes"}))
    task.fit(np.array(["no", "yes"], dtype=object))
    given = Shapes({"x": TensorSpec("float32", (1,))}, FlatSpec((), ()), augments={"x": (Component("noise"),)})
    model = REGISTRIES["family"].create(Component("network", {"width": 4}), given, {"y": task})
    context = Context(training=Training(epochs=3, batch=32, threads=1, pretrain=pretrain))
    others = Examples(64, {"x": np.full((64, 1), 50.0, np.float32)}, None, {"y": np.zeros(64, np.int64)})
    model.fit(Examples(128, {"x": x}, None, target), others, context)
    model.predict(others)
    assert len(seen) >= 12 and max(seen) < 2.0
