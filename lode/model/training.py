"""The user's `train:` section. Loads no torch, so that `lode check` can read it; `lode/model/choices.py` decides what is left open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from lode.core.errors import SpecError, near_miss
from lode.core.types import Range


@dataclass(frozen=True, kw_only=True)
class Training:
    """How models with a training loop are fitted. Whatever is left open is decided from the rows by fixed rules, never by timing.

    Args:
        optimizer: The update rule: adam, adamw (decoupled weight decay) or sgd (Nesterov momentum).
        learning_rate: Peak learning rate; left open, a good one for the optimizer and the model.
        weight_decay: Weight decay of matrices (biases and norms have none); left open, by optimizer.
        momentum: Momentum of sgd.
        epochs: Passes over the training rows; left open, decided from the rows, with early stopping.
        batch: Rows per step; left open, decided from the rows.
        schedule: Learning rate after the warm-up: cosine goes to 0 at the last step, constant stays.
        warmup: Share of the steps during which the learning rate rises from 0.
        stop: `{patience: 3}` stops after three epochs without a better loss on the stop rows; left open, by epochs.
        precision: fp32, bf16, or auto: bf16 where the chip is fast at it and the model is large.
        threads: Processor threads; left open, one for small steps and all of them for large ones.
        clip: Largest norm of the gradient; left open, gradients are not clipped.
        device: Where to train: cpu, cuda, or auto (what the run chose).
        compile: Compile the step with torch.compile; pays for large models and long runs only.
        checkpoint_seconds: Seconds between two checkpoints of the training state.
        seed: Changes everything random in training.
    """

    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: Annotated[float, Range(0, open_low=True)] | None = None
    weight_decay: Annotated[float, Range(0)] | None = None
    momentum: Annotated[float, Range(0, 1, open_high=True)] = 0.9
    epochs: Annotated[int, Range(1)] | None = None
    batch: Annotated[int, Range(1)] | None = None
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Annotated[float, Range(0, 1)] = 0.05
    stop: dict[Literal["patience"], Annotated[int, Range(1)]] | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: Annotated[int, Range(1)] | None = None
    clip: Annotated[float, Range(0, open_low=True)] | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    compile: bool = False
    checkpoint_seconds: Annotated[float, Range(0)] = 30.0
    seed: int = 0

    def __post_init__(self) -> None:
        for key, value in (self.stop or {}).items():
            if key != "patience":
                raise SpecError(f'train.stop: unknown key "{key}", allowed is patience.{near_miss(key, ["patience"])}')
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SpecError(f"train.stop.patience: found {value!r}, allowed is a whole number of at least 1.")

    @property
    def patience(self) -> int | None:
        """Epochs without a better loss on the stop rows before training ends; None where the file leaves it open."""
        return (self.stop or {}).get("patience")
