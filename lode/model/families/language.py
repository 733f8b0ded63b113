"""The family that writes: a decoder over tokens, taught by an objective. How it is taught: `lode/model/language/teaching.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from lode.core.types import AdapterSpec, ArchitectureSpec, FilePath, ObjectiveSpec, TokenizerSpec
from lode.model.contracts import Context, Cost, Examples, Family, Fitted, Shapes, Task
from lode.model.language.contracts import Architecture
from lode.model.language.decoder import Decoder
from lode.model.language.teaching import Pupil


class Language(Family):
    """A language model: text to tokens, a decoder that says which token comes next, and what it is taught.

    Args:
        architecture: What the decoder is made of: gpt2, llama, qwen2, qwen3, gemma3, mixtral, with its sizes; left open with `start`.
        tokenizer: How text becomes tokens: bpe, characters, bytes, or pretrained; with `start` its own.
        objective: What is learned: next_token, answers, preferences.
        packing: documents: they are put side by side into rows, and none sees another; stream: one long text, in windows.
        separator: What stands between the documents of a stream; left open, the token that ends a document.
        start: A Hugging Face folder, or the model folder of an artifact, whose weights training goes on from.
        adapter: Train a few weights beside frozen ones: lora, dora; left open, all weights are trained.
    """

    kinds = ("tokens",)
    needs = "tokens"
    loop = True
    training_defaults: ClassVar[dict[str, Any]] = {
        "optimizer": "adamw",
        "beta2": 0.95,
        "weight_decay": 0.1,
        "clip": 1.0,
        "schedule": "cosine",
        "final_rate": 0.1,
        "stop": {"patience": 1_000_000},
    }

    def __init__(
        self,
        shapes: Shapes,
        tasks: Mapping[str, Task],
        *,
        architecture: ArchitectureSpec | None = None,
        tokenizer: TokenizerSpec = "bpe",  # type: ignore[assignment]
        objective: ObjectiveSpec = "next_token",  # type: ignore[assignment]
        packing: Literal["documents", "stream"] = "documents",
        separator: str | None = None,
        start: FilePath | None = None,
        adapter: AdapterSpec | None = None,
    ) -> None:
        vocabulary = shapes.inputs["tokens"].cardinality
        assert vocabulary, "the platform says how many tokens there are"
        self._pupil = Pupil(vocabulary, architecture, objective, packing, start, adapter, self.training_defaults)

    def fit(self, train: Examples, stop: Examples | None, context: Context) -> Fitted:
        return self._pupil.fit(train, stop, context)

    def predict(self, examples: Examples) -> dict[str, np.ndarray]:
        """Under "loss" the nats of the learned tokens of each document, added up, and how many they are, float32 (N, 2)."""
        return {"loss": self._pupil.losses(examples)}

    def cost(self) -> Cost:
        return self._pupil.cost()

    def save(self, folder: Path) -> None:
        """A Hugging Face folder without its tokenizer: config.json and model.safetensors; adapters beside them."""
        self._pupil.save(folder)

    def load(self, folder: Path) -> None:
        self._pupil.load(folder)

    @property
    def decoder(self) -> Decoder:
        """The fitted decoder, on the CPU."""
        return self._pupil.decoder

    def give(self) -> Decoder:
        """The decoder, of which nothing is kept: see `Pupil.give`."""
        return self._pupil.give()

    @property
    def architecture(self) -> Architecture:
        """What it is made of."""
        return self._pupil.architecture
