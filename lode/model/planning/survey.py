"""What a training job will take, looked at where the loop would begin: its parameters, operations and memory, and seconds if asked.

`Context.survey` hands over the very job that would be trained, so that nothing is described twice. Language models are counted by
formula (`decoder.py`, `memory.py`); for all others one step of few rows is run and watched, and everything is put back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from lode.model import machine
from lode.model.choices import Choices
from lode.model.fit import Job
from lode.model.flops import TrainingFlops
from lode.model.memory import least_rows
from lode.model.optim import inner_weights
from lode.model.planning import decoder, memory
from lode.model.planning.activations import Step
from lode.model.planning.live import LiveBytes, peak_at, peak_of
from lode.model.planning.memory import Keeping, Memory
from lode.model.rules import RULES
from lode.model.training import Training

_WATCHED_FLOPS, _WATCHED_BYTES = 5e9, 256e6
"""A watched step does and holds at most about so much: larger ones are extrapolated from two smaller ones."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Of one fit. rows: of a step (rows of tokens, for texts). steps: updates if nothing ends training sooner.

    flops: of one step with rows as long as the context. tokens: of one step on average, as the loop's meter counts them (rows of
    conversations and pairs are shorter than the context); 0 of what reads none.
    """

    parameters: int
    trained: int
    rows: int
    steps: int
    flops: float
    memory: Memory
    precision: str
    device: str
    optimizer: str
    tokens: int = 0


def survey(job: Job, choices: Choices, training: Training, checkpoints: bool = False) -> Survey:
    """Look at a job; afterwards it is as before. checkpoints: whether training will write some."""
    parameters = list(job.module.parameters())
    trained = [item for item in parameters if item.requires_grad]
    shape = getattr(getattr(job.module, "decoder", None), "shape", None)
    keeping = Keeping(
        optimizer=choices.optimizer, best=job.stop is not None, average=choices.ema is not None, checkpoints=checkpoints,
        adds_up=choices.accumulate > 1,
    )  # fmt: skip
    if shape is not None:
        flops, found = _of_decoder(shape, job, choices, training, keeping, parameters)
    else:
        flops, found = _watched(job, choices, keeping)
    return Survey(
        parameters=sum(item.numel() for item in parameters),
        trained=sum(item.numel() for item in trained),
        rows=choices.batch,
        steps=choices.steps or -(-len(job.train.trainable) // choices.batch) * choices.epochs,
        flops=flops,
        memory=found,
        precision=choices.precision,
        device=choices.device,
        optimizer=choices.optimizer,
        tokens=0 if job.meter is None else round(choices.batch * job.meter.tokens_per_row),
    )


def wide_of(job: Job) -> int:
    """Rows of tokens that a row of the feed stands for: a pair is two."""
    return 2 if getattr(job.train, "unit", "") == "pairs" else 1


def _of_decoder(
    shape: Any, job: Job, choices: Choices, training: Training, keeping: Keeping, parameters: list[torch.nn.Parameter]
) -> tuple[float, Memory]:
    frozen = any(not item.requires_grad for item in parameters)
    adapter = sum(item.numel() for item in parameters if item.requires_grad) if frozen else 0
    unit = getattr(job.train, "unit", "documents")
    step = Step(
        rows=-(-choices.batch // choices.accumulate) * wide_of(job), length=shape.context,
        half=choices.precision != "fp32", gpu=choices.device.startswith("cuda"), masked=unit == "documents",
        recompute=training.checkpoint_activations,
    )  # fmt: skip
    tokens = choices.batch * wide_of(job) * shape.context
    share = adapter / sum(decoder.parameters(shape).values()) if frozen else 1.0
    flops = tokens * decoder.training_flops(shape, shape.context, step.recompute, share)
    judged = 0 if job.stop is None else min(job.rows_per_forward, len(job.stop.trainable)) * wide_of(job) * shape.context
    return flops, memory.training(shape, step, replace(keeping, adapter=adapter, judged_tokens=judged))


def _watched(job: Job, choices: Choices, keeping: Keeping) -> tuple[float, Memory]:
    """Operations of a step, and its memory, by running small ones."""
    piece = -(-choices.batch // choices.accumulate)
    fewest = min(piece, max(2, least_rows(job.module, choices.batch)))
    with _as_before(job, choices):
        flops, first = _watch(job, choices, fewest)
        each = flops / fewest
        held = max(1.0, peak_of(first) / fewest)
        most = int(min(piece, max(2 * fewest, _WATCHED_FLOPS / max(each, 1.0)), max(2 * fewest, _WATCHED_BYTES / held)))
        changes = _watch(job, choices, most)[1] if most > fewest else first
    peak = peak_at(piece, fewest, first, most, changes) if most > fewest else peak_of(first)
    return each * choices.batch, _with_state(job, choices, keeping, peak)


def _watch(job: Job, choices: Choices, rows: int) -> tuple[float, list[int]]:
    """Operations of one forward and backward pass of so many rows, and the bytes that its tensors bring and take away."""
    batch = next(job.train.pieces(job.train.trainable[:rows], rows, 1))
    known = [*job.module.parameters(), *job.module.buffers(), *batch[0].inputs.values()]
    with TrainingFlops() as counter, LiveBytes(known) as live:
        if job.augment is not None:
            batch = next(job.augment(iter([batch]), torch.Generator(device=choices.device)))
        with machine.autocast(choices)():
            loss = job.objectives[0].loss(batch[0])
        loss.backward()
        del loss
    changes = list(live.changes)
    for parameter in job.module.parameters():
        parameter.grad = None
    return float(counter.total), changes


def _with_state(job: Job, choices: Choices, keeping: Keeping, peak: float) -> Memory:
    """The memory of a step with weights, optimiser and the loop's copies. peak: of forward and backward, gradients in it."""
    tensors = job.module.state_dict().values()
    held = float(sum(tensor.nbytes for tensor in tensors))
    learned = [item for item in job.module.parameters() if item.requires_grad]
    inner = inner_weights(job.module) if choices.optimizer == "muon" else set()
    own, rest = RULES[choices.optimizer], RULES["adamw" if choices.optimizer == "muon" else choices.optimizer]
    slots = float(sum(4 * item.numel() * len((own if id(item) in inner else rest).slot_names) for item in learned))
    shapes = [tuple(item.flatten(1).shape) for item in learned if id(item) in inner]
    count = float(sum(item.numel() for item in learned))
    moved = memory.update_bytes(choices.optimizer, count, shapes)
    states = memory.state_bytes(keeping, held, held + slots, choices.device.startswith("cuda"))
    gradients = 4.0 * count
    fixed = held + slots + sum(states.values())
    parts = {"weights": held, "optimiser state": slots, "gradients": gradients, "activations": max(0.0, peak - gradients)} | states
    heap = 1.0 if choices.device.startswith("cuda") else memory.HEAP_NETWORK
    earlier = gradients if keeping.adds_up else 0.0
    return Memory(parts, fixed + heap * max(earlier + peak, gradients + moved))


@contextmanager
def _as_before(job: Job, choices: Choices) -> Iterator[None]:
    """Generators, running means and the mode of the module are put back."""
    buffers = {name: buffer.detach().clone() for name, buffer in job.module.named_buffers()}
    mode = job.module.training
    with machine.own_randomness(choices.device, strict=False):
        job.module.train()
        try:
            yield
        finally:
            job.module.train(mode)
            with torch.no_grad():
                for name, buffer in job.module.named_buffers():
                    buffer.copy_(buffers[name])
