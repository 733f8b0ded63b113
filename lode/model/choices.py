"""What `train:` leaves open, decided: the user's word, then the model's own recipe, then fixed rules on rows, size and chip.

Written to `choices.json` before they are used, and read again when a fit resumes. Where training takes long, `lode/model/measure.py`
then replaces the rules' number of threads and their word on compiling by what it measures.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from lode.core.disk import write_whole
from lode.core.errors import ModelError
from lode.core.spec_train import FP16_ON_CPU
from lode.model import memory
from lode.model.contracts import Context
from lode.model.training import Training

# One thread below this many floating-point operations in a step: waking a second thread costs more than it saves.
# Measured on 2 cores (Zen 5): 784-128-10 at batch 32 (1e7) is slower with two threads, a 64-channel picture step (1e10) 1.6x faster.
_ONE_THREAD_FLOPS = 2e8
# bf16 on a CPU with avx512_bf16 or AMX: a residual network trains 1.6x, a large matrix product runs 4x faster (one Zen 5 core);
# below this many operations in a step the casts cost more than they save. Convolutions gain earlier: program P3 (2.4e8) trains 1.6x.
_BF16_FLOPS, _BF16_CONVOLUTION_FLOPS = 1e9, 2e8
# What is measured must be worth it: about 10 minutes of training for threads (seconds to measure), 30 for compiling (a minute or two).
_THREADS_S, _COMPILE_S = 600.0, 1800.0
# A look at held-out text reads so much of what was trained since the last one (a position costs a third of a trained one, so that looks
# take a tenth of the time), but never less than a loss needs to be told with an error of about 1 %.
_LOOK_SHARE, _LOOK_TOKENS = 1 / 3, 1 << 14
_FILE = "choices.json"
_FLOPS_PER_S = {
    ("cpu", "fp32"): 1e11,
    ("cpu", "bf16"): 1e12,
    ("cuda", "fp32"): 2e13,
    ("cuda", "bf16"): 2e14,
    ("cuda", "fp16"): 2e14,
}
"""Orders of magnitude, for that question alone; numbers of the machine itself would differ from one run to the next."""


@dataclass(frozen=True, slots=True)
class Choices:
    """Everything the loop needs to know, nothing left open.

    patience 0: never stop early. last_epoch: where training ends though the schedule goes on, 0 for its end.
    steps: updates in all, as asked for or as fit into the time given; 0 for all of `epochs`. most_steps: as many may become of them
    where the time given allows more or fewer than it seemed; 0 where they stay. judge_steps: updates of what the loop calls
    an epoch, at whose end it judges; 0 for a pass over the rows. judge_rows: of the stop rows so many, evenly spread, are read then; 0
    for all. final_rate: where the learning rate ends, as a share of its peak.
    accumulate: pieces of each batch. measure: which of the fields above a measurement should still replace.
    """

    batch: int
    epochs: int
    patience: int
    learning_rate: float
    weight_decay: float
    threads: int
    precision: str
    device: str
    seed: int
    optimizer: str = "adamw"
    decay_schedule: str = "constant"
    momentum: float = 0.0
    nesterov: bool = False
    beta1: float = 0.9
    beta2: float = 0.999
    schedule: str = "cosine"
    warmup: float = 0.05
    decay: float = 0.1
    decay_epochs: int = 1
    cooldown: float = 0.2
    final_rate: float = 0.0
    accumulate: int = 1
    clip: float | None = None
    ema: float | None = None
    compile: bool = False
    steps: int = 0
    most_steps: int = 0
    judge_steps: int = 0
    judge_rows: int = 0
    last_epoch: int = 0
    measure: tuple[str, ...] = ()

    @classmethod
    def read_or_write(cls, folder: Path | None, fresh: Choices) -> Choices:
        """The choices of an earlier, killed fit in this folder, else `fresh`, written down before anybody uses them."""
        if folder is None:
            return fresh
        if (folder / _FILE).exists():
            return cls._read(folder)
        fresh.write(folder)
        return fresh

    @classmethod
    def cut(cls, folder: Path, processes: int) -> Choices:
        """Twice as many pieces of each batch when the fit in this folder starts again.

        processes: among how many a batch's rows are divided. Errors: ModelError where a piece is one row already.
        """
        found = cls._read(folder)
        pieces = memory.more_pieces(max(1, found.batch // processes), found.accumulate, 1)
        made = replace(found, accumulate=pieces)
        made.write(folder)
        return made

    @classmethod
    def _read(cls, folder: Path) -> Choices:
        record = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        return cls(**{**record, "measure": tuple(record.get("measure", ()))})

    def write(self, folder: Path | None) -> None:
        """Replace what the folder holds."""
        if folder is None:
            return
        text = json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"
        write_whole(folder / _FILE, [text.encode()], mark="")


@dataclass(frozen=True, slots=True)
class Workload:
    """What a model says of itself. flops_per_row: of one forward pass.

    max_batch: the largest batch that the rules may choose; learning_rate: what suits the model with adam and adamw.
    defaults: what the model's own recipe wants of `Training` where the user left an option open (see `training_defaults`).
    pictures: whether it convolves pictures. tokens: positions of a row, 0 of what is no text. looks: how often to judge where the user
    does not say, 0 for after each pass.
    """

    num_rows: int
    flops_per_row: int
    max_batch: int = 1024
    learning_rate: float = 2e-3
    defaults: Mapping[str, Any] = field(default_factory=dict)
    pictures: bool = False
    tokens: int = 0
    looks: int = 0


def merged(defaults: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """`training_defaults` of several parts of one model: the first word counts; of learning rates the smallest.

    A rate is that of the rule which its part names, adamw where it names none; under another rule it means nothing.
    """
    parts = list(defaults)
    rule = next((part["optimizer"] for part in parts if "optimizer" in part), "adamw")
    found: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            if name != "learning_rate":
                found.setdefault(name, value)
            elif part.get("optimizer", "adamw") == rule:
                found[name] = min(found.get(name, value), value)
    return found


def decide(training: Training, context: Context, work: Workload) -> Choices:
    """Fill in what the user and the model's recipe left open."""
    training = training.filled(work.defaults)
    device = _device(training, context)
    batch = _batch(training, work)
    epochs, last_epoch, steps, judge_steps = _length(training, context, work, batch)
    step_flops = 3.0 * work.flops_per_row * batch
    precision = _precision(training, device, step_flops, work.pictures)
    processes = 1 if context.team is None else context.team.size
    schedule = training.schedule or "cosine"
    warmup = _or(training.warmup, {"one_cycle": 0.3, "coslog4": 0.0}.get(schedule, 0.05))
    seconds = (
        step_flops * (steps or work.num_rows / max(batch, 1) * epochs) / _FLOPS_PER_S.get((device.split(":")[0], precision), 1e11)
    )
    return Choices(
        batch=batch,
        epochs=epochs,
        patience=0 if context.rounds else training.patience or max(5, epochs // 3),
        **_movement(training, work),
        schedule=schedule,
        warmup=warmup,
        decay=training.decay or 0.1,
        last_epoch=last_epoch,
        decay_epochs=training.decay_epochs or (2 if schedule == "plateau" else max(1, epochs // 3)),
        cooldown=_or(training.cooldown, min(0.2, 1.0 - warmup)),
        final_rate=_or(training.final_rate, 0.0),
        steps=steps,
        judge_steps=judge_steps,
        judge_rows=_judge_rows(work, batch, judge_steps),
        accumulate=min(training.accumulate, batch),
        clip=training.clip,
        ema=training.ema,
        threads=training.threads or (1 if step_flops < _ONE_THREAD_FLOPS else max(1, available_threads() // processes)),
        precision=precision,
        compile=training.compile is True,
        device=device,
        seed=context.seed * 1_000_003 + training.seed,
        measure=_measured(training, device, seconds) + ("steps",) * (steps > 0 and context.deadline_s is not None),
    )


def _epochs(training: Training, context: Context, rule: int) -> tuple[int, int]:
    """Epochs of the schedule, and the last one that is trained where the rounds are fixed (else 0).

    A schedule that falls once is drawn together to the rounds. One that rises and falls again is cut off there instead: the state that
    was found best stood between its first waves, and all waves in so few epochs lead elsewhere (measured with realmlp on four tables).
    """
    planned = training.epochs or rule
    if context.rounds is None:
        return planned, 0
    return (max(planned, context.rounds), context.rounds) if training.schedule == "coslog4" else (context.rounds, 0)


def _batch(training: Training, work: Workload) -> int:
    """Rows of a step. Errors: ModelError where it is given in tokens and the model reads none."""
    batch = work.num_rows if training.batch == "all" else training.batch
    if training.batch_tokens is not None:
        if not work.tokens:
            raise ModelError(
                "train.batch_tokens: found with a model that reads no tokens, allowed is model: {type: language}. Write train.batch."
            )
        batch = max(1, training.batch_tokens // work.tokens)
    # A user's own batch may be larger than a pass where batches go on into the next one
    most = work.num_rows if not (batch and work.tokens) else batch
    return min(batch or min(work.max_batch, batch_for(work.num_rows)), most)


def _movement(training: Training, work: Workload) -> dict[str, Any]:
    """The update rule and its numbers."""
    rule = training.optimizer or "adamw"
    momentum = _or(training.momentum, {"sgd": 0.9, "muon": 0.95}.get(rule, 0.0))
    return {
        "optimizer": rule,
        "learning_rate": training.learning_rate or _learning_rate(rule, work),
        "weight_decay": _or(training.weight_decay, _WEIGHT_DECAY[rule]),
        "decay_schedule": training.decay_schedule or "constant",
        "momentum": momentum,
        "nesterov": _or(training.nesterov, rule in ("sgd", "muon")) and momentum > 0,
        "beta1": _or(training.beta1, 0.9),
        "beta2": _or(training.beta2, 0.99 if rule in ("lion", "rmsprop") else 0.999),
    }


def _length(training: Training, context: Context, work: Workload, batch: int) -> tuple[int, int, int, int]:
    """Epochs, the last one that is trained, updates in all and from judging to judging (see `Choices`)."""
    epochs, last_epoch = _epochs(training, context, epochs_for(work.num_rows, batch))
    steps, judge_steps = _steps(training, work, batch, epochs)
    if judge_steps:
        epochs, last_epoch = _epochs(replace(training, epochs=math.ceil(steps / judge_steps), steps=None), context, 1)
        steps = epochs * judge_steps if context.rounds else steps
    return epochs, last_epoch, steps, judge_steps


def _steps(training: Training, work: Workload, batch: int, epochs: int) -> tuple[int, int]:
    """Updates in all and from judging to judging; (0, 0) where training goes by whole passes over the rows."""
    asked = training.steps is not None or training.judge_steps is not None or work.looks > 0
    if not asked:
        return 0, 0
    steps = training.steps or math.ceil(work.num_rows / batch) * epochs
    looks = work.looks or math.ceil(steps / math.ceil(work.num_rows / batch))
    return steps, min(steps, training.judge_steps or math.ceil(steps / looks))


def _judge_rows(work: Workload, batch: int, judge_steps: int) -> int:
    """Rows that a look at held-out text reads at most; 0 for all where the model reads none."""
    if not (work.tokens and judge_steps):
        return 0
    return max(math.ceil(_LOOK_SHARE * judge_steps * batch), math.ceil(_LOOK_TOKENS / work.tokens))


def _measured(training: Training, device: str, seconds: float) -> tuple[str, ...]:
    """What a measurement at the start should decide."""
    if training.deterministic or training.devices != 1:
        return ()
    threads = training.threads is None and device == "cpu" and available_threads() > 1 and seconds >= _THREADS_S
    compiles = training.compile == "auto" and seconds >= _COMPILE_S
    return ("threads",) * threads + ("compile",) * compiles


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


def _or(value: Any, rule: Any) -> Any:
    return rule if value is None else value


def _device(training: Training, context: Context) -> str:
    device = context.device if training.device == "auto" else training.device
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(
            f'train.device: found "{device}", but torch sees no GPU here. Use "cpu" or "auto", or install torch for CUDA.'
        )
    return device


_WEIGHT_DECAY = {"sgd": 5e-4, "rmsprop": 0.0, "adagrad": 0.0, "adam": 0.0, "adamw": 0.1, "lion": 0.5, "muon": 0.1}


def _learning_rate(rule: str, work: Workload) -> float:
    """Lion's steps are signs, so that it takes a fifth (Chen 2023, arXiv 2302.06675, section 5: a third to a tenth)."""
    fixed = {"sgd": 0.05, "rmsprop": 0.5 * work.learning_rate, "adagrad": 0.02, "lion": 0.2 * work.learning_rate}
    return fixed.get(rule, work.learning_rate)


def _precision(training: Training, device: str, step_flops: float, pictures: bool) -> str:
    if training.precision == "fp16" and not device.startswith("cuda"):
        raise ModelError(f"train.precision: {FP16_ON_CPU}")
    if training.precision != "auto":
        return training.precision
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) and step_flops >= _BF16_FLOPS else "fp32"
    if device != "cpu" or step_flops < (_BF16_CONVOLUTION_FLOPS if pictures else _BF16_FLOPS):
        return "fp32"
    features = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bf16" if features.get("amx_bf16") or features.get("avx512_bf16") else "fp32"
