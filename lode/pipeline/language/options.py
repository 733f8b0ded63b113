"""The `evaluate:` section of a language model's file. Loads no torch, so that `lode check` can read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from lode.core.types import BenchmarkSpec, ColumnName, Range


@dataclass(frozen=True, kw_only=True)
class LanguageEvaluation:
    """How a language model is judged on texts that it did not learn from.

    Args:
        tasks: questions with known answers, a list of `{type: choice, ...}` (several answers, one right) and `{type: generate, ...}`.
        slices: columns whose groups get a loss each (a source, a language); without it none.
        stride: tokens from one window to the next; left open, the context, so that no token is read twice. Smaller: every token is told
            from more of what stands before it, which costs as much more time.
        tokens: at most about so many tokens are judged: documents of the split, evenly spaced.
        resamples: bootstrap resamples behind every 95 % interval.
        ngrams: longest n-gram of the baselines (1 to 6); 0 leaves them out.
        ngram_tokens: at most so many training tokens are counted for them.
        samples: how many texts the model writes for the report, greedily and at random each.
        sample_tokens: their length.
        temperature: of those drawn at random.
        prompts: what they begin with; left open, the beginnings of held-out documents.
        memorised: whether the report says how long the passages are that samples repeat from the training texts word for word.
        seed: everything random here derives from it.
    """

    tasks: list[BenchmarkSpec] | None = None
    slices: list[ColumnName] | None = None
    stride: Annotated[int, Range(1)] | None = None
    tokens: Annotated[int, Range(100)] = 1_000_000
    resamples: Annotated[int, Range(100, 100000)] = 1000
    ngrams: Annotated[int, Range(0, 6)] = 6
    ngram_tokens: Annotated[int, Range(1000)] = 5_000_000
    samples: Annotated[int, Range(0, 100)] = 3
    sample_tokens: Annotated[int, Range(1, 10000)] = 200
    temperature: Annotated[float, Range(0, 2, open_low=True)] = 0.8
    prompts: list[str] | None = None
    memorised: bool = True
    seed: Annotated[int, Range(0, 4_294_967_295)] = 0
