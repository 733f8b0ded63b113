"""What a training step of a decoder holds, by part, as `lode/model/fit.py` allocates it; over several devices too.

Looks at validation text come between steps, with more tokens at once and no way back: of small models they take most.
A part that is there only on the way forward and one that is there only on the way back never meet: the peak is less than the sum.
Within 10 % of what processes hold (benchmarks/planner.py). Fujii 2024 (arXiv 2411.06465, 454 runs): an estimate under 80 % of a device's
memory never ran out of it; `fits` admits by that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lode.model.planning import activations, decoder
from lode.model.planning.activations import Step
from lode.model.shape import Shape

ADMITTED = 0.8
"""Share of a device's memory that a plan may fill (Fujii 2024)."""
GPU_CONTEXT_BYTES = 1.0e9
"""CUDA's own, its libraries' workspaces, and what its allocator rounds up: an order of magnitude, not measured here."""
HOLES_WIDEST, HOLES_VOCABULARY, HOLES_GRADIENTS, HEAP_NETWORK = 7.0, 3.5, 3.0, 1.90
"""A processor's heap holds more than its tensors. In the bytes that glibc leaves over when it aligns a large tensor it puts the next
small object, or keeps them for one, so that the place of a tensor that is gone does not join its neighbours' and does not fit again.
What is left lying so is a few times what is largest: the widest activation (or the largest stack that muon moves), the matrix of the
vocabulary, and, where blocks are computed twice, the gradients, which come to lie between tensors of a moment. Fitted on 18 decoders,
half of them not in benchmarks/planner.py: medians of processes within 9 %, of 8 more shapes, too; one process differs from the next by
up to 10 %. Networks: by how much the tensors of a step grow."""
SLOTS: Mapping[str, int] = {"sgd": 1, "rmsprop": 2, "adagrad": 1, "adam": 2, "adamw": 2, "lion": 1, "muon": 1}
"""Numbers that each rule keeps for a parameter (`lode/model/rules.py`); muon leaves embeddings, norms and biases to adamw."""

Sharding = Literal["alone", "ddp", "fsdp", "tensor"]


@dataclass(frozen=True, slots=True)
class Keeping:
    """What the loop keeps beside a step.

    optimizer: word of `train.optimizer`. best: a copy of the best weights (there are rows that decide when to stop). average: `train.ema`.
    checkpoints: a copy of the state is written to disk while training goes on.
    sharding, devices: how many processes share the weights or the batch. adapter: parameters that learn where all others are frozen.
    adds_up: a batch goes through in pieces (`train.accumulate`), so that gradients are there on the way forward too.
    judged_tokens: of validation text that go forward at once.
    """

    optimizer: str = "adamw"
    best: bool = True
    average: bool = False
    checkpoints: bool = False
    sharding: Sharding = "alone"
    devices: int = 1
    adapter: int = 0
    adds_up: bool = False
    judged_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes by part, and the peak; on one device. base_bytes: of the process or the device without any model."""

    parts: Mapping[str, float]
    peak_bytes: float
    base_bytes: float = 0.0

    @property
    def total_bytes(self) -> float:
        return self.peak_bytes + self.base_bytes


def training(shape: Shape, step: Step, keeping: Keeping, base_bytes: float = 0.0) -> Memory:
    """Of one device. `step.rows` are those of one piece on one device."""
    share = 1.0 / keeping.devices if keeping.sharding in ("fsdp", "tensor") else 1.0
    count = float(sum(decoder.parameters(shape).values()))
    learned = float(keeping.adapter or count) * share
    weights = 4.0 * count * share + 4.0 * keeping.adapter * share
    slots = 4.0 * _slots(shape, keeping) * share
    copies = 4.0 * learned + slots
    gathered = _gathered(shape, step, keeping)
    kept, held, back, run = _of_tokens(shape, step, keeping)
    gradients = 4.0 * learned
    moved = _moved_bytes(shape, keeping) * share
    states = state_bytes(keeping, 4.0 * learned, copies, step.gpu)
    fixed = weights + slots + sum(states.values()) + gathered
    embedding = 0.0 if keeping.adapter else 4.0 * shape.vocabulary * shape.width * share
    again = activations.layer_bytes(shape, step) if step.recompute else 0.0
    one_back = activations.back_bytes(shape, step)
    earlier = gradients if keeping.adds_up else 0.0
    fixed += _holes(shape, step, keeping, embedding, gradients)
    peak = fixed + max(
        earlier + kept + max(held + run, held + back),
        earlier + kept + again + one_back,
        gradients + embedding + again + one_back,
        gradients + moved,
        activations.judged_bytes(shape, step, keeping.judged_tokens),
    )
    parts = {
        "weights": weights,
        "optimiser state": slots,
        "gradients": gradients,
        "activations": kept + again,
        "loss head": held + max(back, run),
    }
    parts |= states | ({"gathered weights": gathered} if gathered else {}) | ({"update": moved} if moved else {})
    return Memory(parts, peak, base_bytes + (GPU_CONTEXT_BYTES if step.gpu else 0.0))


def fits(memory: Memory, memory_bytes: float) -> bool:
    """Whether training is admitted: at most 80 % of the device (Fujii 2024)."""
    return memory.total_bytes <= ADMITTED * memory_bytes


def largest_rows(shape: Shape, step: Step, keeping: Keeping, memory_bytes: float, base_bytes: float = 0.0) -> int:
    """Most rows that go through one device at once by the 80 % rule; 0 where not even one does."""

    def admitted(rows: int) -> bool:
        return fits(training(shape, replace(step, rows=rows), keeping, base_bytes), memory_bytes)

    if not admitted(1):
        return 0
    low, high = 1, 2
    while admitted(high) and high < 1 << 20:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if admitted(middle) else (low, middle)
    return low


def serving(shape: Shape, contexts: int, number_bytes: int = 2) -> dict[str, float]:
    """Weights, and the cache of so many tokens of context in all sequences together (Kwon 2023, arXiv 2309.06180: pages waste little)."""
    count = sum(decoder.parameters(shape).values())
    return {"weights": float(count * number_bytes), "cache": float(contexts * decoder.cache_bytes(shape, number_bytes))}


def _of_tokens(shape: Shape, step: Step, keeping: Keeping) -> tuple[float, float, float, float]:
    """What the tokens of a step take: kept by blocks, held by the loss, added on its way back, and by one run of logits.

    Tensor parallel divides what lies inside attention and MLP, not the residual stream and the norms (Korthikanti 2022, section 4.1).
    """
    kept = activations.kept_bytes(shape, step) + activations.cast_bytes(shape, step)
    held, back = activations.head_bytes(shape, step)
    if keeping.sharding == "tensor" and keeping.devices > 1:
        outside = step.tokens * 4.0 * shape.width * 4 * shape.layers
        kept = min(kept, outside) + max(0.0, kept - outside) / keeping.devices
    elif keeping.sharding == "fsdp" and keeping.devices > 1:
        kept -= activations.cast_bytes(shape, step) * (1.0 - 1.0 / keeping.devices)
    return kept, held, back, activations.run_bytes(shape, step)


def _holes(shape: Shape, step: Step, keeping: Keeping, embedding: float, gradients: float) -> float:
    """What a processor's heap holds beside its tensors; a GPU's allocator rounds up only. embedding: of the vocabulary, if it learns."""
    if step.gpu:
        return 0.0
    stack = max(_stacks(_inner_sizes(shape))) if keeping.optimizer == "muon" and not keeping.adapter else 0.0
    return (
        HOLES_WIDEST * max(activations.widest_bytes(shape, step), 4.0 * stack)
        + HOLES_VOCABULARY * embedding
        + (HOLES_GRADIENTS * gradients if step.recompute else 0.0)
    )


def _gathered(shape: Shape, step: Step, keeping: Keeping) -> float:
    """Whole weights that FSDP holds for a moment: two blocks and the embedding (Zhao 2023, arXiv 2304.11277, section 4.3)."""
    if keeping.sharding != "fsdp" or keeping.devices == 1:
        return 0.0
    parts = decoder.parameters(shape)
    block = (parts["attention"] + parts["mlp"]) / shape.layers
    return step.number_bytes * (2.0 * block + parts["embedding"] + parts["head"])


def _slots(shape: Shape, keeping: Keeping) -> float:
    """Numbers of the optimiser's state."""
    count = float(keeping.adapter or sum(decoder.parameters(shape).values()))
    return SLOTS[keeping.optimizer] * count + (
        _left_to_adamw(shape) if keeping.optimizer == "muon" and not keeping.adapter else 0.0
    )


def _left_to_adamw(shape: Shape) -> float:
    """Parameters that muon does not move: all but the weights of linear layers inside blocks."""
    return float(sum(decoder.parameters(shape).values()) - _inner(shape))


def _inner(shape: Shape) -> float:
    sizes = decoder.linear_sizes(shape)
    router = shape.width * shape.experts
    return float(shape.layers * (sum(wide * narrow for wide, narrow in sizes.values()) + router))


def update_bytes(optimizer: str, count: float, inner: Sequence[tuple[int, ...]]) -> float:
    """What the update itself makes: nothing with the fused rules; Muon's steps and the stack of its largest shape, in 32 and 16 bits.

    count: numbers that learn. inner: shapes of the matrices that muon moves.
    """
    if optimizer == "muon":
        stacks = _stacks(inner)
        return 4.0 * sum(stacks) + max(stacks, default=0.0) * (4.0 + 4 * 2.0)
    return {"lion": 4.0, "rmsprop": 8.0, "adagrad": 8.0}.get(optimizer, 0.0) * count


def _moved_bytes(shape: Shape, keeping: Keeping) -> float:
    count = float(keeping.adapter or sum(decoder.parameters(shape).values()))
    return update_bytes(
        "adamw" if keeping.adapter and keeping.optimizer == "muon" else keeping.optimizer, count, _inner_sizes(shape)
    )


def _inner_sizes(shape: Shape) -> list[tuple[int, ...]]:
    return [size[::-1] for size in decoder.linear_sizes(shape).values() for _ in range(shape.layers)]


def _stacks(inner: Sequence[tuple[int, ...]]) -> list[float]:
    """Numbers of the stacks that muon moves at once: matrices of one shape together."""
    return [float(count * math.prod(size)) for size, count in Counter(inner).items()]


def state_bytes(keeping: Keeping, learned: float, copies: float, gpu: bool) -> dict[str, float]:
    """Copies of the state: the one to go back to, the best one, the average, the one that is being written. A GPU's go to the host."""
    average = {"running average": learned} if keeping.average else {}
    if gpu:
        return average
    own = learned if keeping.average else 0.0
    found = {**average, "state to go back to": copies + own}
    if keeping.best:
        found["best weights"] = learned
    if keeping.checkpoints:
        found["checkpoint being written"] = 2.0 * (copies + own) + (learned if keeping.best else 0.0)
    return found
