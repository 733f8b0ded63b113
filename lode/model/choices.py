"""What `train:` leaves open, decided by fixed rules from rows, size and chip; never by timing, so that a rerun decides the same.

Written to `choices.json` before they are used, and read again when a fit resumes. Loads torch only to ask what the machine has.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from lode.core.errors import ModelError
from lode.model.contracts import Context
from lode.model.training import Training

# One thread below this many floating-point operations in a step: waking a second thread costs more than it saves.
# Measured on 2 cores (Zen 5): 784-128-10 at batch 32 (1e7) is slower with two threads, a 64-channel picture step (1e10) 1.6x faster.
_ONE_THREAD_FLOPS = 2e8
# bf16 on a CPU with avx512_bf16 or AMX: a residual network trains 1.6x, a large matrix product runs 4x faster (one Zen 5 core);
# below this many operations in a step the casts cost more than they save.
_BF16_FLOPS = 1e9


@dataclass(frozen=True, slots=True)
class Choices:
    """Everything the loop needs to know, nothing left open. patience 0: never stop early."""

    batch: int
    epochs: int
    patience: int
    learning_rate: float
    weight_decay: float
    threads: int
    precision: str
    device: str
    seed: int

    @classmethod
    def read_or_write(cls, folder: Path | None, fresh: Choices) -> Choices:
        """The choices of an earlier, killed fit in this folder, else `fresh`, written down before anybody uses them."""
        if folder is None:
            return fresh
        path = folder / "choices.json"
        if path.exists():
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".tmp")
        partial.write_text(json.dumps(asdict(fresh), indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(partial, path)
        return fresh


@dataclass(frozen=True, slots=True)
class Workload:
    """What a model says of itself. flops_per_row: of one forward pass.

    max_batch: the largest batch that the rules may choose; learning_rate: what suits the model with adam and adamw.
    """

    num_rows: int
    flops_per_row: int
    max_batch: int = 1024
    learning_rate: float = 2e-3


def decide(training: Training, context: Context, work: Workload) -> Choices:
    """Fill in what the user left open."""
    device = _device(training, context)
    batch = training.batch or min(work.max_batch, batch_for(work.num_rows))
    batch = min(batch, work.num_rows)
    epochs = context.rounds or training.epochs or epochs_for(work.num_rows, batch)
    flops = 3.0 * work.flops_per_row * batch
    threads = training.threads or (1 if flops < _ONE_THREAD_FLOPS else available_threads())
    return Choices(
        batch=batch,
        epochs=epochs,
        patience=0 if context.rounds else training.patience or max(5, epochs // 3),
        learning_rate=training.learning_rate or _learning_rate(training.optimizer, work),
        weight_decay=_weight_decay(training),
        threads=threads,
        precision=_precision(training, device, flops),
        device=device,
        seed=context.seed * 1_000_003 + training.seed,
    )


def batch_for(num_rows: int) -> int:
    """A power of two: about 150 steps an epoch, at least 32 rows a step and at most 1024."""
    return int(min(1024, max(32, 2 ** math.floor(math.log2(max(num_rows, 1) / 100 + 1)))))


def epochs_for(num_rows: int, batch: int) -> int:
    """About 4,000 steps, at least 12 epochs and at most 100."""
    return int(min(100, max(12, round(4000 * batch / max(num_rows, 1)))))


def available_threads() -> int:
    """Processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _device(training: Training, context: Context) -> str:
    device = context.device if training.device == "auto" else training.device
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(
            f'train.device: found "{device}", but torch sees no GPU here. Use "cpu" or "auto", or install torch for CUDA.'
        )
    return device


def _learning_rate(optimizer: str, work: Workload) -> float:
    return 0.05 if optimizer == "sgd" else work.learning_rate


def _weight_decay(training: Training) -> float:
    if training.weight_decay is not None:
        return training.weight_decay
    return {"adam": 0.0, "adamw": 0.1, "sgd": 5e-4}[training.optimizer]


def _precision(training: Training, device: str, flops: float) -> str:
    if training.precision != "auto":
        return training.precision
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) and flops >= _BF16_FLOPS else "fp32"
    if device != "cpu" or flops < _BF16_FLOPS:
        return "fp32"
    features = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bf16" if features.get("amx_bf16") or features.get("avx512_bf16") else "fp32"
