"""What a request can be refused for. All are the caller's fault, so all are `ModelError`s; a server answers them with 400, 404 or 429."""

from __future__ import annotations

from lode.core.errors import ModelError


class BadRequestError(ModelError):
    """A request that no engine could answer: no tokens, tokens that the vocabulary has not, numbers out of range."""


class ContextOverflowError(BadRequestError):
    """More tokens than one sequence may have.

    Args:
        input_tokens: What was found.
        allowed_tokens: The longest prompt that still leaves room for one token.
        why: What sets the bound: "the context" or "the memory of the cache".
    """

    def __init__(self, input_tokens: int, allowed_tokens: int, why: str) -> None:
        self.input_tokens, self.allowed_tokens = input_tokens, allowed_tokens
        super().__init__(
            f"tokens: found a prompt of {input_tokens} tokens, {why} allows {allowed_tokens}. Shorten it, or serve a model with more."
        )


class QueueFullError(ModelError):
    """As many requests wait as may wait; the same request can be sent again later."""


class UnknownAdapterError(ModelError):
    """A request for an adapter that is not attached."""
