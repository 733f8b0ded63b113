"""A language model without weights: it says what the last message (or the prompt) tells it to say, one token a step."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lode.app.language.contracts import Device, Weights
from lode.core.types import Component
from lode.data.corpus import tokenizers
from lode.data.corpus.contracts import Tokenizer
from lode.data.place import Place
from lode.model.language.engine.contracts import Delta, Facts, Request, TokenFacts
from lode.model.language.engine.errors import QueueFullError

NAN, CRASH, SLOW = "say NaN", "say crash", "say slowly"
ALPHABET = "".join(map(chr, range(32, 127))) + "\n\u00e9\u6771"


@dataclass
class _Sequence:
    request: Request
    answer: list[int]
    rng: random.Random
    said: list[int] = field(default_factory=list)


class FakeEngine:
    """Page = sequence. What it says: the text after "say:" in the prompt, else the prompt's own characters; random within a grammar."""

    def __init__(self, tokenizer: Tokenizer, max_sequences: int, max_waiting: int):
        self.tokenizer, self.most = tokenizer, max_waiting
        self.open: dict[str, _Sequence] = {}
        self.salts: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.threads: set[int] = set()

    @property
    def has_work(self) -> bool:
        return bool(self.open)

    def submit(self, request: Request) -> None:
        if len(self.open) >= self.most:
            raise QueueFullError(f"queue: found {len(self.open)} waiting, allowed {self.most}.")
        assert request.id not in self.open
        text = self.tokenizer.decode(request.tokens)
        said = text.rpartition("say:")[2].partition("\n")[0] if "say:" in text else text
        answer = [int(token) for token in self.tokenizer.encode([said])[0]]
        self.open[request.id] = _Sequence(request, answer, random.Random(request.sampling.seed))
        self.salts.add(request.salt)

    def cancel(self, request_id: str) -> bool:
        return self.open.pop(request_id, None) is not None

    def facts(self) -> Facts:
        held = len(self.open)
        counts = {"steps": 0, "prompt_tokens": 0, "cached_tokens": 0, "output_tokens": 0, "preempted": 0}
        return Facts(
            running=held,
            waiting=0,
            pages=self.most,
            pages_held=held,
            pages_kept=0,
            page_tokens=1,
            page_bytes=1,
            adapters=(),
            **counts,
        )

    def embed(self, token_lists: Sequence[Sequence[int]]) -> np.ndarray:
        self.threads.add(threading.get_ident())
        return np.stack([np.array([len(part), 1.0], np.float32) / np.hypot(len(part), 1.0) for part in token_lists]).astype(
            np.float32
        )

    def step(self) -> list[Delta]:
        self.threads.add(threading.get_ident())
        assert self.gate.wait(30)
        return [self._next(sequence) for sequence in list(self.open.values())]

    def _next(self, one: _Sequence) -> Delta:
        request, prompt = one.request, self.tokenizer.decode(one.request.tokens)
        if CRASH in prompt:
            raise RuntimeError("the engine crashed")
        if NAN in prompt:
            return self._last(one, "", "error", error="NaN logits")
        if request.grammar is None:
            token = one.answer[len(one.said)] if len(one.said) < len(one.answer) else self.tokenizer.stops[-1]
        else:
            token = self._allowed(one)
        if token in request.sampling.stop_tokens:
            return self._last(one, "", "stop")
        one.said.append(token)
        text = self.tokenizer.decode([token])
        facts = TokenFacts(token, -0.5, ((token, -0.5), (0, -1.5))[: request.sampling.logprobs or 0])
        written = self.tokenizer.decode(one.said)
        for stop in request.sampling.stop:
            if written.endswith(stop):
                return self._last(one, "", "stop", facts)
        over = request.grammar is not None and request.grammar.is_over
        if over or len(one.said) == request.sampling.max_tokens:
            return self._last(one, text, "stop" if over else "length", facts)
        return Delta(request.id, text, (facts,))

    def _allowed(self, one: _Sequence) -> int:
        grammar, size = one.request.grammar, self.tokenizer.size
        assert grammar is not None
        mask_W = torch.zeros((size + 31) // 32, dtype=torch.int32)
        grammar.mask(mask_W)
        words = mask_W.tolist()
        allowed = [token for token in range(size) if words[token // 32] >> (token % 32) & 1]
        if not allowed:
            return self.tokenizer.stops[-1]
        token = one.rng.choice(allowed)
        grammar.accept(token)
        return token

    def _last(self, one: _Sequence, text: str, reason: Any, *facts: TokenFacts, error: str = "") -> Delta:
        del self.open[one.request.id]
        count = len(one.request.tokens)
        return Delta(one.request.id, text, facts, reason, count, len(one.said), count // 2, error)


class FakeModel:
    """`Speaks`."""

    name, version, hash = "toy", 1, "0" * 64
    card: Mapping[str, Any] = {}

    def __init__(self, context: int = 4096, template: bool = True):
        self.context = context
        self.tokenizer = tokenizers.make(Component("characters"), Place(Path()))
        self.tokenizer.fit([ALPHABET])
        if not template:
            self.tokenizer.template = None
        self.made: list[FakeEngine] = []

    def engine(
        self,
        *,
        memory_bytes: int,
        max_sequences: int,
        max_waiting: int,
        device: Device,
        weights: Weights,
        adapters: Mapping[str, Path],
        max_rise: float,
    ) -> FakeEngine:
        self.made.append(FakeEngine(self.tokenizer, max_sequences, max_waiting))
        return self.made[-1]
