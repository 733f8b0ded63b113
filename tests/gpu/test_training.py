"""The loop on a GPU: fp16 with its scale, real lack of memory, repeatable kernels, and no step in which the host waits."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lode.core.types import TensorSpec
from lode.model import fit as loop
from lode.model.batches import Batch, Rows
from lode.model.choices import Workload, decide
from lode.model.contracts import Context, Examples, Fitted
from lode.model.fit import Job, Objective, fit
from lode.model.training import Training

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
]
SPEC = {"x": TensorSpec("float32", (64,))}


def _fit(training: Training, context: Context | None = None, grow: int = 1) -> tuple[torch.nn.Module, Fitted]:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(128, 1)).cuda()
    x = np.random.default_rng(0).normal(size=(4096, 64)).astype(np.float32)
    rows = Rows(Examples(len(x), {"x": x}, None, {"y": x[:, 0]}), SPEC, "cuda")

    def loss(batch: Batch) -> torch.Tensor:
        answers = module(batch.inputs["x"])
        if grow > 1:
            answers = answers + 0.0 * torch.zeros(len(answers), grow, device="cuda").sum(1, keepdim=True)
        return ((answers.float()[:, 0] - batch.targets["y"]) ** 2).mean()

    job = Job(module, [Objective(list(module.parameters()), loss)], rows, rows)
    context = context or Context(device="cuda")
    return module, fit(job, decide(training, context, Workload(len(x), 20_000)), training, context)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lion", "muon"])
def test_every_precision_learns(precision: str, optimizer: str) -> None:
    _, fitted = _fit(Training(epochs=6, batch=256, precision=precision, optimizer=optimizer, clip=1.0))
    losses = [entry["stop_loss"] for entry in fitted.history]
    assert all(map(math.isfinite, losses)) and losses[-1] < 0.8 * losses[0]


def test_fp16_goes_on_bitwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_STRETCH_STEPS", 1)
    monkeypatch.setattr("lode.model.batches._CHUNK_BATCHES", 2)
    training = Training(epochs=2, batch=256, precision="fp16", ema=0.9, checkpoint_seconds=0.0)
    whole, fitted = _fit(training)
    seen = 0

    def kill(what: str, done: int, total: int, figures: dict[str, float]) -> None:
        nonlocal seen
        seen += 1
        if seen == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _fit(training, Context(device="cuda", folder=tmp_path, progress=kill))
    again, resumed = _fit(training, Context(device="cuda", folder=tmp_path))
    assert resumed == fitted
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_too_little_memory_cuts_the_batches() -> None:
    free_bytes = torch.cuda.mem_get_info()[0]
    _, fitted = _fit(Training(epochs=1, batch=1024), grow=int(free_bytes / 4 / 1024 * 1.5))
    assert fitted.choices["accumulate"] in (2, 4)


def test_two_deterministic_fits_are_equal() -> None:
    first, second = (_fit(Training(epochs=2, batch=256, deterministic=True))[0] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize(
    "options", [{}, {"clip": 1.0, "clip_value": 1.0, "l1": 1e-4, "ema": 0.9}, {"precision": "fp16"}, {"optimizer": "muon"}], ids=str
)
def test_the_host_waits_in_no_step(monkeypatch: pytest.MonkeyPatch, options: dict) -> None:
    real = loop._Loop.train_step

    def watched(self: loop._Loop, batch: list[Batch]) -> torch.Tensor:
        torch.cuda.set_sync_debug_mode("error")
        try:
            return real(self, batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(loop._Loop, "train_step", watched)
    _fit(Training(epochs=1, batch=256, **options))
