"""What is wrong with a request, found before it waits: the engine's own loop then has nothing left to refuse."""

from __future__ import annotations

import math
from collections.abc import Container

from lode.model.language.engine.contracts import Request, Sampling
from lode.model.language.engine.errors import BadRequestError

MAX_LOGPROBS = 100
"""Likeliest tokens that may be reported beside each chosen one."""
_LARGEST = 1e6
"""Of numbers that logits are changed by: what is added up or multiplied with them stays finite in float32."""
_RANGES = {
    "max_tokens": (1, math.inf),
    "temperature": (0, math.inf),
    "top_k": (0, math.inf),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repetition_penalty": (1 / _LARGEST, _LARGEST),
    "presence_penalty": (-_LARGEST, _LARGEST),
    "frequency_penalty": (-_LARGEST, _LARGEST),
}
_OPEN = {"top_p"}
"""Options that must be above their lower bound."""


def check_request(request: Request, vocabulary: int, known: Container[str]) -> None:
    """Errors: BadRequestError."""
    if request.id in known:
        raise BadRequestError(f'id: found "{request.id}", which is at work already. Give each request its own.')
    if not len(request.tokens):
        raise BadRequestError("tokens: found none, at least one is needed to continue from. Write a prompt.")
    check_tokens(request.tokens, vocabulary, "tokens")
    check_sampling(request.sampling, vocabulary)


def check_tokens(tokens: object, vocabulary: int, where: str) -> None:
    """Errors: BadRequestError for numbers that are no tokens."""
    found = [int(token) for token in tokens]  # type: ignore[attr-defined]
    if found and not (min(found) >= 0 and max(found) < vocabulary):
        wrong = min(found) if min(found) < 0 else max(found)
        raise BadRequestError(f"{where}: found token {wrong}, allowed are 0 to {vocabulary - 1}. Use the tokenizer of this model.")


def check_sampling(sampling: Sampling, vocabulary: int) -> None:
    """Errors: BadRequestError for numbers out of range."""
    for name, (low, high) in _RANGES.items():
        value = getattr(sampling, name)
        is_open = name in _OPEN
        if not math.isfinite(value) or not low <= value <= high or (is_open and value == low):
            above = f"above {low}" if is_open else f"from {low}"
            raise BadRequestError(f"{name}: found {value}, allowed is a number {above} to {high}. Change it.")
    if sampling.logprobs is not None and not 0 <= sampling.logprobs <= MAX_LOGPROBS:
        raise BadRequestError(f"logprobs: found {sampling.logprobs}, allowed are 0 to {MAX_LOGPROBS}. Change it.")
    check_tokens(sampling.logit_bias, vocabulary, "logit_bias")
    wrong = [value for value in sampling.logit_bias.values() if not abs(value) <= _LARGEST]
    if wrong:
        raise BadRequestError(
            f"logit_bias: found {wrong[0]}, allowed are numbers from {-_LARGEST:g} to {_LARGEST:g}, such as -100 and 5. Change it."
        )
