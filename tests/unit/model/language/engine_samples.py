"""Small decoders, a tokenizer of letters, and a run of an engine to its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model.language.contracts import Architecture
from lode.model.language.decoder import Decoder
from lode.model.language.engine.contracts import Delta, Request, Sampling
from lode.model.language.engine.engine import Engine

VOCABULARY = 96
ARCHITECTURES = {
    "gpt2": {},
    "llama": {"groups": 2, "tied": False},
    "mistral": {"groups": 2, "window": 9},
    "qwen2": {"groups": 2},
    "qwen3": {"groups": 1},
    "gemma2": {"groups": 2, "window": 9},
    "gemma3": {"groups": 2, "window": 9},
    "mixtral": {"groups": 2, "experts": 4},
}


class Letters:
    """One letter for each token."""

    size = VOCABULARY

    def __init__(self, end: int | None = None) -> None:
        self.end = end

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(chr(0x4E00 + token) for token in tokens)


def make(word: str = "llama", *, seed: int = 0, context: int = 160, width: int = 32) -> tuple[Architecture, Decoder]:
    """A decoder whose greedy answers do not run in circles: weights three times as large as usual."""
    options = {"layers": 2, "heads": 4, "width": width, "context": context, **ARCHITECTURES[word]}
    name = "llama" if word == "mistral" else word
    architecture = REGISTRIES["architecture"].create(Component(name, options), VOCABULARY)
    torch.manual_seed(seed)
    decoder = Decoder(architecture.shape).eval().requires_grad_(False)
    for weight in decoder.parameters():
        if weight.ndim > 1:
            weight.mul_(6.0)
    return architecture, decoder


def prompts(count: int, *, seed: int = 0, longest: int = 60) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    return [draw.integers(1, VOCABULARY, int(length)).tolist() for length in draw.integers(1, longest, count)]


def alone(decoder: Decoder, prompt: Sequence[int], count: int) -> list[int]:
    """The greedy answer without a cache: the whole text through the decoder for each token."""
    tokens = list(prompt)
    with torch.inference_mode():
        for _ in range(count):
            tokens.append(int(decoder.logits(decoder(torch.tensor([tokens]))[0, -1]).argmax()))
    return tokens[len(prompt) :]


@dataclass
class Answer:
    text: str = ""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float | None] = field(default_factory=list)
    last: Delta | None = None


def run(engine: Engine, check: bool = True) -> dict[str, Answer]:
    """Step until nothing is left to do."""
    answers: dict[str, Answer] = {}
    while engine.has_work:
        for delta in engine.step():
            answer = answers.setdefault(delta.id, Answer())
            assert answer.last is None, "nothing may follow the last delta"
            answer.text += delta.text
            answer.tokens += [facts.token for facts in delta.tokens]
            answer.logprobs += [facts.logprob for facts in delta.tokens]
            if delta.finish_reason is not None:
                answer.last = delta
        if check:
            engine.check()
    return answers


def ask(engine: Engine, texts: Sequence[Sequence[int]], sampling: Sampling, **more: str) -> list[Answer]:
    """All of them at once; answers in their order."""
    for number, tokens in enumerate(texts):
        engine.submit(Request(id=str(number), tokens=tokens, sampling=sampling, **more))  # type: ignore[arg-type]
    answers = run(engine)
    return [answers[str(number)] for number in range(len(texts))]


GREEDY = Sampling(max_tokens=24, temperature=0.0, ignore_end=True)
