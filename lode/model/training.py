"""The user's `train:` section. Loads no torch, so that `lode check` can read it; `lode/model/choices.py` decides what is left open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

from lode.core import spans
from lode.core.errors import SpecError, near_miss
from lode.core.spec_train import EITHER, ONLY_WITH, contradictions
from lode.core.types import PretrainSpec, Range, TimeSpan


@dataclass(frozen=True, kw_only=True)
class Training:
    """How models with a training loop are fitted. Whatever is left open, the model's own recipe or fixed rules decide (docs/decisions).

    Args:
        optimizer: The update rule; left open, adamw or what the model's recipe wants.
        learning_rate: Peak learning rate; left open, a good one for the optimizer and the model.
        weight_decay: Weight decay of matrices (biases and norms have none), decoupled with adamw, lion and muon; left open, by optimizer.
        decay_schedule: Weight decay over the steps: constant, or flat_cos: constant for half of them, then a half cosine to 0.
        momentum: Momentum of sgd (left open, 0.9), rmsprop (0) and muon (0.95).
        nesterov: Whether the momentum of sgd and muon looks ahead; left open, it does.
        beta1: Memory of the mean gradient, with adam, adamw, lion and muon (left open, 0.9).
        beta2: Memory of the squared gradient, with adam, adamw and muon (left open, 0.999), lion and rmsprop (0.99).
        l1: Adds l1 times the sum of the absolute weights of matrices to the loss (its gradient; the reported loss leaves it out).
        l2: Adds l2 times the sum of the squared weights of matrices to the loss (its gradient; the reported loss leaves it out).
        epochs: Passes over the training rows; left open, decided from the rows, with early stopping.
        steps: Updates in all, instead of epochs.
        judge_steps: Updates from one look at the stop rows to the next; left open, a pass over the training rows (of texts, a tenth of
            all). Of held-out text a look reads at most a third as many rows as were trained since the last one.
        batch: Rows per step, or all; left open, decided from the rows.
        batch_tokens: The same for texts, in tokens: as many rows as that gives.
        accumulate: Pieces into which each batch is cut to save memory: their gradients are summed, the step is that of the whole batch.
        schedule: Learning rate after the warm-up; left open, cosine (to 0 at the last step).
        warmup: Share of the steps in which the learning rate rises; left open, 0.05 (one_cycle 0.3, coslog4 0).
        decay: What a drop leaves of the learning rate, with step, exponential and plateau.
        decay_epochs: Epochs from drop to drop (step, exponential; left open, a third of all), or without a better loss (plateau; 2).
        cooldown: Share of the steps, at the end, in which the learning rate falls, with wsd.
        final_rate: What the learning rate falls to, as a share of its peak, with cosine, linear and wsd; left open, 0 or what the model's
            recipe wants.
        stop: `{patience: 3}` stops after three epochs without a better loss on the stop rows; left open, by epochs.
        ema: Memory of a running mean of the weights, which is then what is judged and kept (0.999); left open, there is none.
        clip: Largest norm of the gradient; left open, gradients are not clipped.
        clip_value: Largest absolute value of each number in the gradient; left open, gradients are not clipped.
        precision: fp32, bf16, fp16 (GPU only), or auto: bf16 where the chip is fast at it and the model is large.
        threads: Processor threads; left open, one for small steps, all for large ones, measured where training takes long.
        compile: Whether torch.compile makes the step faster; auto measures it where training takes long, and never does otherwise.
        checkpoint_activations: Keep only what goes into each block and compute the rest again: less memory, a third more time.
        deterministic: Only operations that repeat bit for bit (an error where there is none), and nothing decided by measuring.
        device: Where to train: cpu, cuda, or auto (what the run chose).
        devices: Processes that share each batch, one for each GPU (or part of the processor); auto is every GPU, else one process.
        strategy: What the processes share: ddp, each holds the whole model; fsdp, each holds a part of it; tensor, each computes a part of
            every layer (language models).
        pretrain: Learn from the inputs of all rows first, those without a label too: masked, contrastive; left open, not at all.
        budget: Time for training, such as 10m or 2h: `model: auto` tries what fits into it; left open, there is no limit.
        log: Where to write losses while training: tensorboard, mlflow; files in the run's folder.
        checkpoint_seconds: Seconds between two checkpoints of the training state.
        seed: Changes everything random in training.
    """

    optimizer: Literal["sgd", "rmsprop", "adagrad", "adam", "adamw", "lion", "muon"] | None = None
    learning_rate: Annotated[float, Range(0, open_low=True, search=(1e-4, 2e-2), log=True)] | None = None
    weight_decay: Annotated[float, Range(0, search=(1e-4, 0.5), log=True)] | None = None
    decay_schedule: Literal["constant", "flat_cos"] | None = None
    momentum: Annotated[float, Range(0, 1, open_high=True)] | None = None
    nesterov: bool | None = None
    beta1: Annotated[float, Range(0, 1, open_high=True)] | None = None
    beta2: Annotated[float, Range(0, 1, open_high=True)] | None = None
    l1: Annotated[float, Range(0)] = 0.0
    l2: Annotated[float, Range(0)] = 0.0
    epochs: Annotated[int, Range(1)] | None = None
    steps: Annotated[int, Range(1)] | None = None
    judge_steps: Annotated[int, Range(1)] | None = None
    batch: Annotated[int, Range(1)] | Literal["all"] | None = None
    batch_tokens: Annotated[int, Range(1)] | None = None
    accumulate: Annotated[int, Range(1)] = 1
    schedule: Literal["constant", "step", "exponential", "cosine", "linear", "one_cycle", "wsd", "plateau", "coslog4"] | None = None
    warmup: Annotated[float, Range(0, 1)] | None = None
    decay: Annotated[float, Range(0, 1, open_low=True, open_high=True)] | None = None
    decay_epochs: Annotated[int, Range(1)] | None = None
    cooldown: Annotated[float, Range(0, 1)] | None = None
    final_rate: Annotated[float, Range(0, 1)] | None = None
    stop: dict[Literal["patience"], Annotated[int, Range(1)]] | None = None
    ema: Annotated[float, Range(0, 1, open_low=True, open_high=True)] | None = None
    clip: Annotated[float, Range(0, open_low=True)] | None = None
    clip_value: Annotated[float, Range(0, open_low=True)] | None = None
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    threads: Annotated[int, Range(1, 1024)] | None = None
    compile: bool | Literal["auto"] = "auto"
    checkpoint_activations: bool = False
    deterministic: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: Annotated[int, Range(1)] | Literal["auto"] = 1
    strategy: Literal["ddp", "fsdp", "tensor"] = "ddp"
    pretrain: PretrainSpec | None = None
    budget: TimeSpan | None = None
    log: list[Literal["tensorboard", "mlflow"]] | None = None
    checkpoint_seconds: Annotated[float, Range(0)] = 30.0
    seed: Annotated[int, Range(0, 4_294_967_295)] = 0

    def __post_init__(self) -> None:
        for key, value in (self.stop or {}).items():
            if key != "patience":
                raise SpecError(f'train.stop: unknown key "{key}", allowed is patience.{near_miss(key, ["patience"])}')
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SpecError(f"train.stop.patience: found {value!r}, allowed is a whole number of at least 1.")
        wrong = contradictions({item.name: getattr(self, item.name) for item in fields(self)})
        if wrong:
            raise SpecError("\n".join(f"train.{item.option}: {item.text}" for item in wrong))

    @property
    def budget_s(self) -> float | None:
        """Seconds of the budget; None without one."""
        return None if self.budget is None else spans.seconds(self.budget.strip())

    @property
    def patience(self) -> int | None:
        """Epochs without a better loss on the stop rows before training ends; None where the file leaves it open."""
        return (self.stop or {}).get("patience")

    def filled(self, defaults: Mapping[str, Any]) -> Training:
        """With a model's own defaults where the user left an option open and the user's other words do not speak against it."""
        made = self
        own = defaults.get("optimizer", "adamw")
        other_rule = self.optimizer is not None and own != self.optimizer and {own, self.optimizer} != {"adam", "adamw"}
        for option in sorted(defaults, key=lambda name: name not in ("optimizer", "schedule")):
            assert hasattr(self, option), f"training_defaults: there is no option train.{option}"
            said_otherwise = any(option in pair and any(getattr(self, word) is not None for word in pair) for pair in EITHER)
            if said_otherwise or getattr(self, option) not in (None, "auto"):
                continue
            word, users = ONLY_WITH.get(option, ("", ()))
            fits = not word or getattr(made, word) in users
            of_rule = word == "optimizer" or option in ("learning_rate", "weight_decay")
            if fits and not (other_rule and of_rule):
                made = replace(made, **{option: defaults[option]})
        return made
