"""What the tests of several processes share for language models: a tiny corpus of tokens, and a decoder fitted on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lode.core.registry import REGISTRIES
from lode.core.types import Component, FlatSpec, TensorSpec
from lode.model import launch
from lode.model.contracts import Context, Examples, Family, Fitted, Shapes
from lode.model.language.contracts import DOCUMENTS, TOKENS
from lode.model.training import Training

VOCABULARY = 40
SIZES = {"layers": 2, "heads": 4, "width": 32, "hidden": 64, "context": 24}


def corpus(num_documents: int, seed: int = 0) -> Examples:
    """Documents of 5 to 40 tokens in which each token follows from the one before, but for a few."""
    random = np.random.default_rng(seed)
    length_D = random.integers(5, 40, num_documents)
    token = np.cumsum(random.integers(1, 4, int(length_D.sum()))) % VOCABULARY
    offsets = np.concatenate([[0], np.cumsum(length_D)]).astype(np.int64)
    return Examples(num_documents, {TOKENS: token.astype(np.uint16), DOCUMENTS: offsets}, None)


def made(architecture: str = "qwen3", **options: Any) -> tuple[Family, launch.Made]:
    """A decoder that drops nothing, so that processes and one process take the same steps."""
    component = Component("language", {"architecture": Component(architecture, {**SIZES, **options})})
    shapes = Shapes({TOKENS: TensorSpec("int32", (), cardinality=VOCABULARY)}, FlatSpec((), ()))
    family: Family = REGISTRIES["family"].create(component, shapes, {})
    return family, launch.Made(component, shapes, {})


def fit(training: Training, context: Context | None = None, architecture: str = "qwen3", **options: Any) -> tuple[Family, Fitted]:
    """Fitted on 150 documents, judged on 30."""
    family, how = made(architecture, **options)
    return family, launch.fit(family, how, corpus(150), corpus(30, 1), replace(context or Context(), training=training))


def difference(one: Family, two: Family) -> float:
    """Largest difference of a weight."""
    first, second = one.decoder.state_dict(), two.decoder.state_dict()  # type: ignore[attr-defined]
    return max(float((first[name] - second[name]).abs().max()) for name in first)
