"""What weights of fewer bits cost: the held-out tokens that an artifact keeps for its proof, foretold again before anybody is served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lode.core.errors import ModelError
from lode.model.language.decoder import Decoder
from lode.model.language.engine import scoring


@dataclass(frozen=True, slots=True)
class Narrowing:
    """weights: bf16 or int8. tokens: that were foretold. perplexity: as trained, on the same tokens; narrow: with these weights."""

    weights: str
    tokens: int
    perplexity: float
    narrow: float

    @property
    def rise(self) -> float:
        """The relative difference; NaN where the weights say nothing any more."""
        return self.narrow / self.perplexity - 1.0

    def __str__(self) -> str:
        return f"in {self.weights} their perplexity is {self.narrow:.4g} instead of {self.perplexity:.4g} ({self.rise:+.2%})"


def narrowing(decoder: Decoder, weights: str, kept: Mapping[str, np.ndarray], max_rise: float) -> Narrowing | None:
    """Foretell the kept tokens with other weights than those that were trained. None where fewer than two were kept.

    kept: {"tokens": (N,), "logprobs": (N - 1,)}, of the weights as trained. max_rise: by how much perplexity may rise, as a share.
    Errors: ModelError where it rises by more.
    """
    if len(kept["tokens"]) < 2:
        return None
    now = scoring.logprobs(decoder, [kept["tokens"].tolist()])[0]
    before, after = (float(np.exp(-np.mean(each, dtype=np.float64))) for each in (kept["logprobs"], now))
    found = Narrowing(weights, len(now), before, after)
    if not found.rise <= max_rise:
        raise ModelError(
            f"serve.weights: found {weights}, with which the perplexity of {found.tokens:,} held-out tokens is {after:.4g} instead of "
            f"{before:.4g} ({found.rise:+.2%}), allowed is {max_rise:+.2%}. Serve the weights as they are, or allow more with "
            "serve.max_rise."
        )
    return found
