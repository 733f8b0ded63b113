"""Small rows and tasks for the tests of the network and its loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lode.core.registry import REGISTRIES
from lode.core.types import Component, FlatSpec, TensorSpec
from lode.model.contracts import Examples, Shapes, Task

SPECS: dict[str, TensorSpec] = {
    "age": TensorSpec("float32", (1,)),
    "income": TensorSpec("float32", (2,)),
    "job": TensorSpec("int32", (), cardinality=4),
    "text": TensorSpec("int32", (6,), ragged=(0,), cardinality=11),
    "photo": TensorSpec("uint8", (8, 8, 1), scale=(1 / 255,)),
}


def task(word: str, values: np.ndarray, options: Mapping[str, Any] | None = None) -> Task:
    """A fitted task."""
    made: Task = REGISTRIES["task"].create(Component(word, options or {}))
    made.fit(values)
    return made


def tasks() -> dict[str, Task]:
    return {
        "risk": task("binary", np.array(["no", "yes"] * 4, object), {"positive": "yes"}),
        "kind": task("multiclass", np.array(["a", "b", "c"] * 4, object)),
        "price": task("number", np.linspace(-1, 1, 20)),
    }


def shapes(names: tuple[str, ...] = tuple(SPECS), encoders: Mapping[str, Component] | None = None) -> Shapes:
    return Shapes({name: SPECS[name] for name in names}, FlatSpec((), ()), encoders or {})


def examples(num_rows: int, seed: int = 0, names: tuple[str, ...] = tuple(SPECS)) -> Examples:
    """Rows whose targets can be learnt from age and job."""
    random = np.random.default_rng(seed)
    arrays = {}
    for name in names:
        spec = SPECS[name]
        if spec.dtype == "float32":
            arrays[name] = random.normal(size=(num_rows, *spec.shape)).astype(np.float32)
        else:
            high = spec.cardinality or 256
            arrays[name] = random.integers(0, high, (num_rows, *spec.shape)).astype(spec.dtype)
    signal = arrays["age"][:, 0] + (arrays["job"] == 2)
    targets = {
        "risk": (signal > 0.2).astype(np.int64),
        "kind": np.digitize(signal, [-0.5, 0.5]).astype(np.int64),
        "price": signal.astype(np.float32),
    }
    return Examples(num_rows, arrays, None, targets)
