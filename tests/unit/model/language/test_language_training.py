"""A language model through the loop: it learns, pieces equal the whole, and a fit that was stopped goes on to the same bits."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lode.core.errors import ModelError, SpecError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model import checkpoint as files
from lode.model import choices
from lode.model.contracts import Context, Examples, Fitted
from lode.model.families.language import Language
from lode.model.language import teaching
from lode.model.language.decoder import Decoder
from lode.model.language.rows import TokenRows
from lode.model.optim import inner_weights
from lode.model.planning.decoder import training_flops
from lode.model.training import Training
from tests.unit.model.language.corpus_samples import TINY, VOCABULARY, documents, language, training

GOLDEN = Path(__file__).parent / "golden_curve.json"
LENGTHS = [9, 6, 8, 30, 5, 5, 11, 2] * 12


def _fit(
    train: Examples, held: Examples | None = None, folder: Path | None = None, family: Language | None = None, **options: Any
) -> tuple[Language, Fitted]:
    family = family or language()
    fitted = family.fit(train, held, Context(seed=1, folder=folder, training=training(**options)))
    return family, fitted


def _losses(fitted: Fitted) -> list[float]:
    return [entry["train_loss"] for entry in fitted.history]


def _same(one: Language, other: Language) -> bool:
    pairs = zip(one.decoder.state_dict().items(), other.decoder.state_dict().items(), strict=True)
    return all(name == again and torch.equal(a, b) for (name, a), (again, b) in pairs)


@pytest.mark.parametrize("packing", ["documents", "stream"])
def test_it_learns_what_follows(packing: str) -> None:
    train, stop = documents([40] * 60), documents([40] * 10, seed=1)
    family, fitted = _fit(train, stop, family=language(packing=packing), steps=200, learning_rate=1e-2)
    # 80 % of the tokens follow from the one before, the others are drawn evenly
    least = -0.8 * np.log(0.8 + 0.2 / VOCABULARY) - 0.2 * np.log(0.2 / VOCABULARY)
    assert fitted.history[-1]["stop_loss"] < least + 0.25 < np.log(VOCABULARY) - 1
    assert len(fitted.history) == 10 and fitted.choices["steps"] == 200
    loss, number = family.predict(stop)["loss"].sum(axis=0)
    # Every token is judged once either way; windows of 12 that begin elsewhere change what a few of them see
    assert number == 10 * 39 and loss / number == pytest.approx(fitted.history[-1]["stop_loss"], abs=0.02)


def test_100_steps_follow_the_golden_curve() -> None:
    family = language({**TINY, "layers": 2, "width": 32, "context": 16})
    _, fitted = _fit(documents(LENGTHS * 4), family=family, steps=100, judge_steps=1, learning_rate=3e-3)
    off = np.array(_losses(fitted)) - np.array(json.loads(GOLDEN.read_text(encoding="utf-8")))
    assert np.abs(off).max() < 1e-4, "a step is another one than it was"
    assert abs(off.mean()) < 2e-5, "the curve lies beside the golden one: rounding would lie around it"


def test_pieces_of_a_batch_are_the_batch() -> None:
    train = documents(LENGTHS, learned=0.3)
    (one, whole), (other, pieces) = (_fit(train, accumulate=number, judge_steps=1) for number in (1, 8))
    assert _losses(pieces) == pytest.approx(_losses(whole), abs=1e-5)
    for a, b in zip(one.decoder.parameters(), other.decoder.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


def test_tokens_say_how_large_a_batch_is() -> None:
    by_tokens, by_rows = _fit(documents(LENGTHS), batch=None, batch_tokens=100)[1], _fit(documents(LENGTHS), batch=8)[1]
    assert by_tokens.choices["batch"] == 8 and _losses(by_tokens) == _losses(by_rows)


def test_looks_do_not_change_the_steps() -> None:
    often, seldom = (_fit(documents(LENGTHS), judge_steps=number)[0] for number in (3, 20))
    assert _same(often, seldom)


class _EnoughError(Exception):
    """Someone pressed Ctrl-C."""


def _stop_after(reports: int):
    def progress(what: str, done: int, total: int, figures: dict[str, float]) -> None:
        nonlocal reports
        reports -= 1
        if not reports:
            raise _EnoughError

    return progress


@pytest.mark.parametrize("packing", ["documents", "stream"])
def test_a_fit_goes_on_in_the_middle_of_an_epoch(tmp_path: Path, packing: str) -> None:
    options = {"steps": 200, "judge_steps": 150, "checkpoint_seconds": 0.0}
    train, stop = documents(LENGTHS), documents([20] * 5, seed=1)
    whole, fitted = _fit(train, stop, family=language(packing=packing), **options)
    context = Context(seed=1, folder=tmp_path, training=training(**options), progress=_stop_after(3))
    with pytest.raises(_EnoughError):
        language(packing=packing).fit(train, stop, context)
    again, resumed = _fit(train, stop, tmp_path, language(packing=packing), **options)
    assert _same(whole, again)
    told = [{name: entry[name] for name in ("epoch", "train_loss", "stop_loss")} for entry in resumed.history]
    assert told == [{name: entry[name] for name in ("epoch", "train_loss", "stop_loss")} for entry in fitted.history]


CHILD = """
import sys
from pathlib import Path
from lode.model.contracts import Context
from tests.unit.model.language.corpus_samples import documents, language, training
options = {"steps": 3000, "judge_steps": 2000, "checkpoint_seconds": 0.0}
language().fit(documents([9, 6, 8, 30, 5, 5, 11, 2] * 12), None, Context(seed=1, folder=Path(sys.argv[1]), training=training(**options)))
"""


@pytest.mark.prove
def test_a_killed_fit_goes_on(tmp_path: Path) -> None:
    """kill -9 as soon as a checkpoint lies there, three times, each somewhere else."""
    options = {"steps": 3000, "judge_steps": 2000, "checkpoint_seconds": 0.0}
    whole, _ = _fit(documents(LENGTHS), **options)
    root, ends = Path(__file__).resolve().parents[4], list[int]()
    for wait_s in (0.0, 0.3, 0.7):
        before = sorted((path.name, path.stat().st_mtime_ns) for path in tmp_path.rglob("*.safetensors"))
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], cwd=root)
        while child.poll() is None and sorted((p.name, p.stat().st_mtime_ns) for p in tmp_path.rglob("*.safetensors")) == before:
            time.sleep(0.02)
        time.sleep(wait_s)
        child.kill()
        ends.append(child.wait())
    assert set(ends) <= {-signal.SIGKILL, 0} and -signal.SIGKILL in ends, f"0: over before its kill, others: it failed: {ends}"
    again, _ = _fit(documents(LENGTHS), None, tmp_path, **options)
    assert _same(whole, again)


WRITING = """
import os, signal, sys
from lode.model import checkpoint
real, moment, left = checkpoint.write_whole, sys.argv[2], [int(sys.argv[3])]
def write_whole(path, pieces, mark=None):
    data = b"".join(pieces)
    left[0] -= 1
    if not left[0] and moment == "half":
        path.with_name(f".{path.name}.tmp").write_bytes(data[: len(data) // 2])
    if not left[0] and moment == "whole":
        path.with_name(f".{path.name}.tmp").write_bytes(data)
    if left[0] or moment == "after":
        real(path, [data], mark)
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
checkpoint.write_whole = write_whole
"""


@pytest.mark.prove
def test_a_fit_killed_while_it_writes_a_checkpoint_goes_on(tmp_path: Path) -> None:
    """kill -9 with half of a file on disk, all of it, and when it has just taken the other's place; of the first file and a later one."""
    options = {"steps": 3000, "judge_steps": 2000, "checkpoint_seconds": 0.0}
    whole, _ = _fit(documents(LENGTHS), **options)
    root = Path(__file__).resolve().parents[4]
    for number in ("1", "3"):
        for moment in ("half", "whole", "after"):
            child = subprocess.run([sys.executable, "-c", WRITING + CHILD, str(tmp_path), moment, number], cwd=root, check=False)
            assert child.returncode == -signal.SIGKILL, (moment, number)
    again, _ = _fit(documents(LENGTHS), None, tmp_path, **options)
    assert _same(whole, again)


def test_early_stopping_keeps_the_best_state() -> None:
    # Noise can be memorised and not foretold: held-out loss rises soon
    random = np.random.default_rng(0)
    noise = [Examples(1, {"tokens": random.integers(0, VOCABULARY, size).astype(np.uint16), "documents": np.array([0, size])}, None)
             for size in (150, 150)]  # fmt: skip
    _, fitted = _fit(*noise, steps=400, judge_steps=10, stop={"patience": 3}, learning_rate=1e-2)
    stops = [entry["stop_loss"] for entry in fitted.history]
    assert len(stops) < 40 and fitted.rounds == 1 + int(np.argmin(stops)) and len(stops) == fitted.rounds + 3


def test_without_held_out_text_the_last_state_is_kept() -> None:
    family, fitted = _fit(documents(LENGTHS), steps=15)
    other, _ = _fit(documents(LENGTHS), documents([20] * 5, seed=1), steps=15)
    assert "stop_loss" not in fitted.history[-1] and fitted.choices["steps"] == 15
    assert _same(family, other)


def test_speed_is_told() -> None:
    _, fitted = _fit(documents(LENGTHS))
    assert fitted.choices["tokens_per_s"] > 0 and 0 < fitted.choices["mfu"] < 2
    assert all(entry["tokens_per_s"] > 0 for entry in fitted.history)


def test_beside_frozen_weights_only_what_is_needed_counts_as_speed() -> None:
    """The share of the peak is that of operations that are done: the frozen weights' own gradients, a third, are not."""
    decoder = Decoder(language(TINY).architecture.shape)
    rows: Any = SimpleNamespace(num_positions=20, num_rows=4)
    chosen: Any = SimpleNamespace(device="cpu", precision="fp32")
    whole = teaching._meter(rows, decoder, chosen, 1).flops_per_token
    REGISTRIES["adapter"].create(Component("lora", {"rank": 1})).attach(decoder)
    few = teaching._meter(rows, decoder, chosen, 1).flops_per_token
    assert whole == training_flops(decoder.shape, decoder.shape.context)
    assert 0.66 < few / whole < 0.85


def test_muon_moves_matrices_and_adamw_the_rest() -> None:
    shape = language({"type": "llama", "layers": 1, "heads": 2, "width": 16, "context": 12, "tied": False}).architecture.shape
    decoder = Decoder(shape)
    inner = inner_weights(decoder)
    names = {name for name, weight in decoder.named_parameters() if id(weight) in inner}
    assert names == {f"layers.0.{part}.weight" for part in ("attention.q", "attention.k", "attention.v", "attention.out",
                                                            "mlp.gate", "mlp.up", "mlp.down")}  # fmt: skip
    _, fitted = _fit(documents(LENGTHS), optimizer="muon", steps=60, judge_steps=20)
    assert _losses(fitted)[-1] < _losses(fitted)[0] - 0.3


def test_it_goes_on_from_a_folder(tmp_path: Path) -> None:
    family, fitted = _fit(documents(LENGTHS), steps=60, learning_rate=1e-2)
    family.save(tmp_path)
    more = language(None, start=str(tmp_path))
    again = more.fit(documents(LENGTHS), None, Context(training=training(steps=5, learning_rate=1e-5)))
    assert again.history[0]["train_loss"] < fitted.history[0]["train_loss"] - 0.3
    loaded = language()
    loaded.load(tmp_path)
    assert _same(family, loaded)


def test_another_vocabulary_than_that_of_the_weights_is_an_error(tmp_path: Path) -> None:
    family, _ = _fit(documents(LENGTHS), steps=1)
    family.save(tmp_path)
    with pytest.raises(ModelError, match=f"weights for {VOCABULARY} tokens, the tokenizer has {VOCABULARY + 1}"):
        language(None, VOCABULARY + 1, start=str(tmp_path)).fit(documents(LENGTHS), None, Context())
    with pytest.raises(ModelError, match="allowed is one of them"):
        language(TINY, start=str(tmp_path)).cost()


def test_neither_architecture_nor_start_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"model\.architecture: found nothing.*gpt2"):
        language(None).cost()


def test_a_loss_that_is_not_finite_names_the_step_and_the_layer(tmp_path: Path) -> None:
    family, _ = _fit(documents(LENGTHS), steps=1)
    with torch.no_grad():
        family.decoder.layers[1].mlp.up.weight[3] = torch.nan  # type: ignore[union-attr,index]
    family.save(tmp_path)
    with pytest.raises(ModelError, match=r'in epoch 1, batch 1 of 4 \(step 1 of 40\); first in layer "layers\.1\.mlp\.up"'):
        _fit(documents(LENGTHS), family=language(None, start=str(tmp_path)), steps=40)


def test_looks_at_held_out_text_cost_less_than_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "_LOOK_TOKENS", 24)
    held, read = documents([13] * 40, seed=1), []
    whole = _fit(documents(LENGTHS), held, steps=30, judge_steps=15)[1]
    gather = TokenRows.batches
    monkeypatch.setattr(TokenRows, "batches", lambda self, index, batch: (read.append(index), gather(self, index, batch))[1])
    fitted = _fit(documents(LENGTHS), held, steps=30, judge_steps=3)[1]
    assert (whole.choices["judge_rows"], fitted.choices["judge_rows"]) == (40, 8)
    assert len(read) == len(fitted.history) == 10 and all(index.tolist() == list(range(0, 40, 5)) for index in read)
    few = _fit(documents(LENGTHS), held, steps=2, judge_steps=1)[1]
    assert few.choices["judge_rows"] == 3, "a third of 8 rows; 24 tokens are 2 rows"


def test_what_is_frozen_is_in_no_checkpoint(tmp_path: Path) -> None:
    options = {"steps": 40, "judge_steps": 10, "checkpoint_seconds": 0.0}
    train, stop = documents(LENGTHS), documents([20] * 5, seed=1)

    def adapted() -> Language:
        return language(adapter=Component("dora", {"rank": 2}))

    whole, _ = _fit(train, stop, family=adapted(), **options)
    with pytest.raises(_EnoughError):
        adapted().fit(train, stop, Context(seed=1, folder=tmp_path, training=training(**options), progress=_stop_after(3)))
    found = files.read(tmp_path)
    assert found is not None
    kept = {name.rpartition(".")[2] for part in ("model", "best") for name in found.part(part)}
    assert kept == {"down", "up", "magnitude"}
    again, _ = _fit(train, stop, tmp_path, adapted(), **options)
    assert _same(whole, again)


def test_what_a_start_costs_is_known_without_reading_its_weights(tmp_path: Path) -> None:
    family, _ = _fit(documents(LENGTHS), steps=1)
    family.save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    found = language(None, start=str(tmp_path), adapter=Component("dora", {"rank": 2}))
    assert found.architecture.shape == family.architecture.shape and found.cost().parameters > family.cost().parameters


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 3, "epochs": 2}, "steps: found beside epochs"),
        ({"batch": 3, "batch_tokens": 64}, "batch_tokens: found beside batch"),
        ({"final_rate": 0.1, "schedule": "constant"}, "final_rate: found beside schedule"),
    ],
)
def test_options_that_say_the_same_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Training(**options)  # type: ignore[arg-type]
