"""A language model in a few lines for tests: a tiny decoder, characters as tokens, one token after the other, no engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.corpus.contracts import Tokenizer
from lode.data.place import Place
from lode.model.language.contracts import Architecture
from lode.model.language.decoder import Decoder
from lode.model.language.engine.contracts import Sampling


@dataclass
class PlainSpeaker:
    """What `lode.pipeline.language.contracts.Speaker` asks for, as plainly as it can be done."""

    decoder: Decoder
    architecture: Architecture
    tokenizer: Tokenizer

    def generate(self, prompts: Sequence[str], sampling: Sampling | None = None) -> list[str]:
        """What follows each prompt."""
        return [self._continued(prompt, sampling or Sampling(), number) for number, prompt in enumerate(prompts)]

    def chat(self, messages: Sequence[Mapping[str, Any]], sampling: Sampling | None = None) -> str:
        """An answer to what was said last."""
        return self.generate([str(messages[-1]["content"])], sampling)[0]

    @torch.inference_mode()
    def _continued(self, prompt: str, sampling: Sampling, number: int) -> str:
        tokens = [int(token) for token in self.tokenizer.encode([prompt])[0]]
        length, context = len(tokens), self.architecture.shape.context
        random = torch.Generator().manual_seed((sampling.seed or 0) + number)
        self.decoder.eval()
        while len(tokens) < min(context, length + sampling.max_tokens):
            logits_V = self.decoder.logits(self.decoder(torch.tensor([tokens]))[0, -1])
            if sampling.temperature == 0:
                token = int(logits_V.argmax())
            else:
                token = int(torch.multinomial((logits_V / sampling.temperature).softmax(0), 1, generator=random))
            if token == self.tokenizer.end:
                break
            tokens.append(token)
            text = self.tokenizer.decode(tokens[length:])
            ends = [text.index(word) for word in sampling.stop if word in text]
            if ends:
                return text[: min(ends)]
        return self.tokenizer.decode(tokens[length:])


def small_speaker(texts: Iterable[str], *, context: int = 32, width: int = 32, seed: int = 0) -> PlainSpeaker:
    """A decoder of two layers with drawn weights, and the characters of the texts."""
    tokenizer = REGISTRIES["tokenizer"].create(Component("characters"), Place(Path()))
    tokenizer.fit(texts)
    options = {"layers": 2, "heads": 2, "width": width, "context": context}
    architecture = REGISTRIES["architecture"].create(Component("gpt2", options), tokenizer.size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = Decoder(architecture.shape)
    return PlainSpeaker(decoder.eval(), architecture, tokenizer)


class Counting(torch.nn.Module):
    """Stands for a decoder that has learned one text by heart: what followed the last two tokens, from counts."""

    def __init__(self, tokens: np.ndarray, vocabulary: int) -> None:
        super().__init__()
        counts = np.full((vocabulary**2, vocabulary), 0.001, np.float32)
        np.add.at(counts, (tokens[:-2] * vocabulary + tokens[1:-1], tokens[2:]), 1.0)
        self.vocabulary = vocabulary
        self.table = torch.nn.Parameter(torch.from_numpy(np.log(counts / counts.sum(1, keepdims=True))))

    @property
    def head(self) -> torch.Tensor:
        """Only its length counts: the vocabulary."""
        return self.table[: self.vocabulary]

    def forward(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        """Which two tokens stand last, as float64 (B, T, 1)."""
        before_BT = torch.nn.functional.pad(tokens_BT, (1, 0))[:, :-1]
        return (before_BT * self.vocabulary + tokens_BT)[..., None].double()

    def logits(self, h: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (..., V)."""
        return self.table[h[..., 0].long()]


def counting_speaker(text: str, more: str = "", *, context: int = 32) -> PlainSpeaker:
    """A speaker that knows a text by heart. more: further characters that it can read."""
    speaker = small_speaker([text, more], context=context)
    decoder: Any = Counting(speaker.tokenizer.encode([text])[0].astype(np.int64), speaker.tokenizer.size)
    return PlainSpeaker(decoder, speaker.architecture, speaker.tokenizer)
