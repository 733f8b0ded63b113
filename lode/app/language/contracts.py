"""What serving asks of a language model, of its engine, and of what a request becomes before it is generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from lode.data.corpus.contracts import Tokenizer
from lode.model.language.engine.contracts import Delta, Facts, Request, Sampling

Device = Literal["auto", "cpu", "cuda"]
Weights = Literal["fp32", "bf16", "int8"]

DEEPEST = 64
"""Levels of lists and objects that a body may have: schemas are walked by code that calls itself."""


class Steps(Protocol):
    """An engine. Called by one thread only."""

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""

    def submit(self, request: Request) -> None:
        """Queue a sequence. Errors: ModelError (too long for the context or the cache, queue full)."""

    def cancel(self, request_id: str) -> bool:
        """Forget a sequence, waiting or running, and free its pages. False where it is over already."""

    def step(self) -> list[Delta]:
        """One forward pass over what fits."""

    def facts(self) -> Facts: ...

    def embed(self, token_lists: Sequence[Sequence[int]]) -> np.ndarray:
        """float32 (N, width), each of length 1."""


class Speaks(Protocol):
    """What the service needs of a language model; `lode.pipeline.language.model.LanguageModel` is one."""

    tokenizer: Tokenizer

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int | None: ...
    @property
    def hash(self) -> str: ...
    @property
    def card(self) -> Mapping[str, Any]: ...
    @property
    def context(self) -> int:
        """Most tokens of a prompt and its answer together."""

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
    ) -> Steps:
        """A generation engine over the model's weights, which it takes with it; the model itself is not asked any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What an answer must look like, as a grammar is made of it.

    kind: "json" (a schema), "regex", "choice" (texts) or "calls" (of tools). text: the same for equal forms.
    param: the key of the request that asked for it.
    """

    kind: Literal["json", "regex", "choice", "calls"]
    text: str
    param: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the model may call. parameters: a JSON schema. strict: whether it holds also where the model chooses to call."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A generation request that was read and found good, before its prompts are tokens.

    prompts: texts or tokens, each continued `count` times; empty where it is a conversation: then messages, and the tools that the
    prompt shows. max_tokens: None for all that the context has room for. calls: whether the answer is read for calls of tools.
    form: what the answer must look like. echo: whether the prompt stands before its continuation.
    """

    model: str
    sampling: Sampling
    max_tokens: int | None
    count: int
    stream: bool
    with_usage: bool
    prompts: Sequence[str | Sequence[int]] = ()
    messages: Sequence[Mapping[str, Any]] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    calls: bool = False
    form: Form | None = None
    echo: bool = False
