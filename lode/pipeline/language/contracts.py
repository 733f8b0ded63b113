"""What the evaluation of language models gets, and the contract of benchmarks (files in lode/pipeline/benchmarks)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl

from lode.core.types import Component
from lode.data.corpus.contracts import Tokenizer
from lode.model.language.engine.contracts import Sampling


class Speaker(Protocol):
    """What judging asks of a language model; `lode/pipeline/language/model.py` has one."""

    @property
    def decoder(self) -> Any:
        """A `lode.model.language.decoder.Decoder`."""

    @property
    def architecture(self) -> Any:
        """A `lode.model.language.contracts.Architecture`."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    def generate(self, prompts: Sequence[str], sampling: Sampling | None = None) -> list[str]:
        """What follows each prompt, without it. Same seed, same text."""

    def chat(self, messages: Sequence[Mapping[str, Any]], sampling: Sampling | None = None) -> str:
        """The assistant's answer to a conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a model is judged on.

    split: "test", or "validation" where the file cuts no test split off. tokens, train: folders of tokens, as
    `lode/data/corpus/store.py` writes them. texts: the rows of the split in the order of its documents, for slices and references;
    None where there are none. objective: as the file has it. packing: "documents" (each starts anew) or "stream" (one long text).
    start: the model that training started from, in its own words; None where weights were drawn.
    """

    split: str
    tokens: Path
    train: Path
    objective: Component
    packing: str = "documents"
    texts: pl.DataFrame | None = None
    start: Speaker | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came of a set of questions.

    right: bool (N,), per question. chance: float64 (N,), how likely a guess is right (0 where there is nothing to choose from).
    shown: a few questions with what was wanted and what was said. parts: further figures by name, {"value", ...}.
    """

    title: str
    right: np.ndarray
    chance: np.ndarray
    shown: Sequence[Mapping[str, Any]] = ()
    parts: Mapping[str, Any] = field(default_factory=dict)


class Benchmark(ABC):
    """Questions from a file. `__init__(self, place: Place, *, path, ...)`: nothing is read before `ask`."""

    @abstractmethod
    def fingerprint(self) -> str:
        """sha256 of what is asked: other questions are another evaluation."""

    @abstractmethod
    def ask(self, model: Speaker, seed: int) -> Answered:
        """Put every question to the model.

        Errors: DataError naming file and line of a question that cannot be read, or one that the model's context cannot hold.
        """
