"""What goes into the engine and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch

FinishReason = Literal["stop", "length", "cancelled", "error"]
"""stop: an end token, a stop string or the end of the grammar; length: `max_tokens` or the context is full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn. temperature 0 is greedy. top_k 0, top_p 1 and min_p 0 leave everything.

    logprobs: how many likeliest tokens to report beside each chosen one; None for none, 0 for the chosen one's own.
    stop: strings that end the text, which leaves them out. ignore_end: go on past the end token. seed: None draws a new one.
    """

    max_tokens: int = 256
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    logprobs: int | None = None
    stop: tuple[str, ...] = ()
    stop_tokens: tuple[int, ...] = ()
    ignore_end: bool = False


class Grammar(Protocol):
    """What may come next, where the answer must have a form. One object for each request."""

    def mask(self, mask_W: torch.Tensor) -> None:
        """Write the allowed tokens as bits into int32 (ceil(V / 32),)."""

    def accept(self, token: int) -> None:
        """A token was chosen."""

    @property
    def is_over(self) -> bool:
        """Whether nothing but the end may follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One sequence to continue. adapter: the name of an attached adapter, None for the base. salt: prefixes are shared only among
    requests of one salt (a tenant).
    """

    id: str
    tokens: Sequence[int]
    sampling: Sampling
    adapter: str | None = None
    grammar: Grammar | None = None
    salt: str = ""


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """A chosen token, its log-probability before temperature and filters, and the likeliest ones beside it."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """What one step brought for one request. text: new text that no stop string can take back any more.

    finish_reason: set in the last delta only; `error` says then what went wrong (NaN logits). usage counts are exact and final there.
    """

    id: str
    text: str
    tokens: tuple[TokenFacts, ...] = ()
    finish_reason: FinishReason | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """How busy an engine is, and what it did since it was made.

    pages_held: pages that running sequences refer to; pages_kept: pages with the beginning of earlier ones, given up when others need
    them; cached_tokens: tokens of prompts that were found in such pages, of `prompt_tokens` in all; preempted: how often a sequence gave
    its pages back to start again later.
    """

    running: int
    waiting: int
    pages: int
    pages_held: int
    pages_kept: int
    page_tokens: int
    page_bytes: int
    steps: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    preempted: int
    adapters: tuple[str, ...]
