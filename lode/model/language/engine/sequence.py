"""One request on its way: its tokens, how far the cache has them, and what has been said so far."""

from __future__ import annotations

import numpy as np
import torch

from lode.model.language.contracts import Words
from lode.model.language.engine.contracts import Request
from lode.model.language.engine.pages import chain_start, digests
from lode.model.language.engine.stop import TextStream


class Sequence:
    """A request and everything that belongs to it while it waits or runs.

    Args:
        request: What was asked.
        order: Requests in the order in which they came; who came first goes first.
        seed: What its random numbers derive from: with the step's number, nothing else.
        max_tokens: The most tokens that it may have, prompt and answer together.
        words: Decodes its answer.
        adapter_key: What decides keys and values beside the base: only requests of the same one share pages.
    """

    def __init__(
        self, request: Request, *, order: int, seed: int, max_tokens: int, words: Words, adapter_key: str | None = None
    ) -> None:
        self.request, self.order, self.seed, self.max_tokens = request, order, seed, max_tokens
        self.sampling = request.sampling
        self.tokens = [int(token) for token in request.tokens]
        self.num_prompt = len(self.tokens)
        self.slot = -1  # where it runs; -1 while it waits
        self.num_cached_prompt = 0  # tokens of the prompt that the cache had when it first ran
        self.has_run = False
        self.num_registered = 0  # pages that others can find
        self.chain_start = chain_start(request.salt, adapter_key)
        self.chain: list[bytes] = []
        self.stream = TextStream(words, self.tokens[-8:], self.sampling.stop)
        self.end_tokens = set(self.sampling.stop_tokens)
        if words.end is not None and not self.sampling.ignore_end:
            self.end_tokens.add(words.end)
        self.seen: tuple[torch.Tensor, torch.Tensor] | None = None  # for penalties: see `sampler.py`
        self.bias: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def num_output(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - self.num_prompt

    @property
    def is_full(self) -> bool:
        """Whether no further token may be drawn."""
        return self.num_output >= self.sampling.max_tokens or len(self.tokens) >= self.max_tokens

    def full_chain(self, page_tokens: int) -> list[bytes]:
        """The digests of all full pages of its tokens."""
        if len(self.tokens) // page_tokens > len(self.chain):
            self.chain = digests(self.tokens, page_tokens, self.chain_start, known=self.chain)
        return self.chain

    def piece(self, begin: int, end: int) -> np.ndarray:
        """Tokens begin .. end - 1, int64."""
        return np.asarray(self.tokens[begin:end], dtype=np.int64)
