"""Options of `train:` that contradict one another, all of them at once. `lode/model/training.py` has the options and what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lode.core import spans
from lode.core.check import Finding
from lode.core.errors import listed

EITHER = (("steps", "epochs"), ("batch_tokens", "batch"))
"""Options that say the same in two ways."""

ONLY_WITH: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "momentum": ("optimizer", ("sgd", "rmsprop", "muon")),
    "nesterov": ("optimizer", ("sgd", "muon")),
    "beta1": ("optimizer", ("adam", "adamw", "lion", "muon")),
    "beta2": ("optimizer", ("adam", "adamw", "lion", "muon", "rmsprop")),
    "decay": ("schedule", ("step", "exponential", "plateau")),
    "decay_epochs": ("schedule", ("step", "exponential", "plateau")),
    "cooldown": ("schedule", ("wsd",)),
    "final_rate": ("schedule", ("cosine", "linear", "wsd")),
}
"""Option -> the option, and its words, without which it would do nothing."""

FP16_ON_CPU = (
    "found fp16 on a processor without a GPU, allowed are auto, fp32 and bf16 there. "
    "Write precision: auto, or train on a GPU (device: cuda)."
)


@dataclass(frozen=True, slots=True)
class Contradiction:
    """What is wrong with an option, and the other option that it is wrong beside (the option itself where there is none)."""

    option: str
    beside: str
    text: str


def contradictions(said: Mapping[str, Any]) -> list[Contradiction]:
    """Every contradiction among options whose types are right. said: option -> value, None or absent where it is left open."""
    return [*_unused(said), *_twice(said), *_numbers(said), *_words(said)]


def check_train(said: Mapping[str, Any], findings: list[Finding], searched: frozenset[str] = frozenset()) -> None:
    """Append a Finding for each. Options that have one already are left out; searched: options that `tune` varies."""
    wrong = {item.key[1] for item in findings if len(item.key) > 1 and item.key[0] == "train"}
    right = {name: value for name, value in said.items() if name not in wrong}
    missing = wrong | searched
    found = [item for item in (*contradictions(right), *_processes(right)) if item.beside not in missing]
    findings += [Finding(("train", item.option), item.text) for item in found]


def _processes(said: Mapping[str, Any]) -> Iterator[Contradiction]:
    """What several processes cannot do; where `devices` is auto, that is known when they start (`lode/model/launch.py`)."""
    devices, strategy, batch = said.get("devices"), said.get("strategy") or "ddp", said.get("batch")
    if strategy != "ddp" and devices in (None, 1):
        text = f"found {strategy} with one process, which shares nothing, allowed beside devices: 2 or more, or auto."
        yield Contradiction("strategy", "devices", f"{text} Write devices, or remove strategy.")
    if not isinstance(devices, int) or devices == 1:
        return
    if isinstance(batch, int) and batch < devices and strategy != "tensor":
        text = f"found {devices} processes for batches of {batch} rows, allowed is one row each. Write fewer."
        yield Contradiction("devices", "batch", text)
    for option, found in (("ema", said.get("ema") is not None), ("precision", said.get("precision") == "fp16")):
        if found and strategy != "ddp":
            text = f"found {said[option]} beside strategy: {strategy}, which divides the weights. Write strategy: ddp, or choose another."
            yield Contradiction(option, "strategy", text)


def _unused(said: Mapping[str, Any]) -> Iterator[Contradiction]:
    for option, (word, users) in ONLY_WITH.items():
        found = said.get(word)
        if said.get(option) is not None and found not in users:
            text = f"found beside {word}: {found or '(left open)'}, which may not use it, allowed with {word}: {', '.join(users)}."
            yield Contradiction(option, word, f"{text} Write one of them, or remove {option}.")


def _twice(said: Mapping[str, Any]) -> Iterator[Contradiction]:
    for one, other in EITHER:
        if said.get(one) is not None and said.get(other) is not None:
            yield Contradiction(one, other, f"found beside {other}, allowed is one of them. Remove one.")


def _numbers(said: Mapping[str, Any]) -> Iterator[Contradiction]:
    batch, accumulate = said.get("batch"), said.get("accumulate") or 1
    if isinstance(batch, int) and accumulate > batch:
        text = f"found {accumulate} pieces of batches of {batch} rows, allowed is at most {batch}. Make batch larger."
        yield Contradiction("accumulate", "batch", text)
    if said.get("nesterov") and said.get("momentum") == 0:
        yield Contradiction("nesterov", "momentum", "found beside momentum: 0, allowed is momentum above 0. Remove one of them.")
    warmup, cooldown = said.get("warmup"), said.get("cooldown")
    if (warmup or 0) + (cooldown or 0) > 1:
        yield Contradiction("cooldown", "warmup", f"found {cooldown} beside warmup: {warmup}, allowed is a sum of at most 1.")


def _words(said: Mapping[str, Any]) -> Iterator[Contradiction]:
    if said.get("precision") == "fp16" and said.get("device") == "cpu":
        yield Contradiction("precision", "device", FP16_ON_CPU)
    if said.get("deterministic") and said.get("compile") is True:
        yield Contradiction("compile", "deterministic", "found beside deterministic: true, allowed is one of them. Remove one.")
    log = said.get("log") or ()
    if len(set(log)) < len(log):
        yield Contradiction("log", "log", f"found {listed(log)}, allowed is each word once.")
    budget = said.get("budget")
    if budget is not None and not spans.seconds(budget.strip()):
        yield Contradiction("budget", "budget", f"found {budget!r}, allowed is a span of time such as 90s, 10m or 2h.")
