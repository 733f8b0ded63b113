"""Small texts as tokens, and the family that learns them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lode.core.registry import REGISTRIES
from lode.core.types import Component, FlatSpec, TensorSpec
from lode.model.contracts import Examples, Shapes
from lode.model.families.language import Language
from lode.model.training import Training

VOCABULARY = 17
TINY = {"type": "gpt2", "layers": 2, "heads": 2, "width": 16, "context": 12}


def documents(lengths: list[int], seed: int = 0, learned: float | None = None) -> Examples:
    """Documents in which every token but a few follows from the one before it. learned: share of the tokens to be learned."""
    random = np.random.default_rng(seed)
    total = int(sum(lengths))
    steps = np.where(random.random(total) < 0.8, 3, random.integers(0, VOCABULARY, total))
    tokens = (np.cumsum(steps) % VOCABULARY).astype(np.uint16)
    arrays: dict[str, np.ndarray] = {"tokens": tokens, "documents": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)}
    if learned is not None:
        arrays["learned"] = (random.random(total) < learned).astype(np.uint8)
    return Examples(len(lengths), arrays, None)


def language(architecture: Mapping[str, Any] | None = TINY, vocabulary: int = VOCABULARY, **options: Any) -> Language:
    """The family, as the registry makes it."""
    shapes = Shapes({"tokens": TensorSpec("int64", (), cardinality=vocabulary)}, FlatSpec((), ()))
    component = Component("language", options if architecture is None else {"architecture": dict(architecture), **options})
    made: Language = REGISTRIES["family"].create(component, shapes, {})
    return made


def training(**options: Any) -> Training:
    """Short and repeatable."""
    return Training(**{"steps": 20, "batch": 8, "learning_rate": 3e-3, "threads": 1, "precision": "fp32", **options})
