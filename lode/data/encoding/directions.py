"""The number inputs of a table as one array of a few directions. Used by lode/data/preprocess.py; the algebra is in lode/data/reduce.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from lode.core.errors import DataError
from lode.core.types import Component, FlatSpec, TensorSpec
from lode.data.contracts import Feature, State
from lode.data.reduce import Components, Reduce

_WORD = "number"
_CHUNK_CELLS = 4_000_000


class Directions:
    """inputs: those that it replaces, in order. name: how the array that replaces them is called."""

    def __init__(self, name: str, inputs: Sequence[str], components: Components) -> None:
        self.name, self.inputs, self._components = name, tuple(inputs), components

    @classmethod
    def fit(
        cls, words: Mapping[str, Component], features: Mapping[str, Feature], columns: Mapping[str, pl.Series], options: Reduce
    ) -> Directions:
        """Learn from the training columns of fitted features, at least one of them numbers (see `check`)."""
        inputs = numbers(words)
        name: str = options.by
        while name in words:
            name += "_"
        components = Components()
        components.fit(_chunks(inputs, features, columns), options.components)
        return cls(name, inputs, components)

    def transform(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 (N, K) from the arrays of its inputs."""
        return self._components.transform(np.concatenate([arrays[name] for name in self.inputs], axis=1))

    def arrays(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays with its inputs replaced."""
        others = {name: array for name, array in arrays.items() if name not in self.inputs}
        return {**others, self.name: self.transform(arrays)}

    def specs(self, specs: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
        """What `arrays` gives."""
        others = {name: spec for name, spec in specs.items() if name not in self.inputs}
        return {**others, self.name: TensorSpec("float32", (self._components.size,))}

    def flat_specs(self, specs: Mapping[str, FlatSpec]) -> dict[str, FlatSpec]:
        """Plain columns with its inputs replaced."""
        others = {name: spec for name, spec in specs.items() if name not in self.inputs}
        size = self._components.size
        return {**others, self.name: FlatSpec(tuple(str(place) for place in range(1, size + 1)), (0,) * size)}

    def facts(self) -> dict[str, Any]:
        """For people."""
        return {"name": self.name, "inputs": list(self.inputs), "explained": self._components.explained.tolist()}

    def state(self) -> State:
        """What `fit` learned."""
        return {"name": self.name, "inputs": list(self.inputs), **self._components.state()}

    @classmethod
    def restored(cls, state: State) -> Directions:
        """The one that gave this state."""
        components = Components()
        components.restore(state)
        return cls(state["name"], state["inputs"], components)


def numbers(words: Mapping[str, Component]) -> list[str]:
    """The inputs that are reduced."""
    return [name for name, component in words.items() if component.type == _WORD]


def check(words: Mapping[str, Component]) -> None:
    """Errors: DataError where a table offers fewer than two inputs of numbers."""
    found = len(numbers(words))
    if found < 2:
        raise DataError(f"data.reduce: found {found} inputs of type number, at least 2 are needed. Remove `reduce`.")


def _chunks(inputs: Sequence[str], features: Mapping[str, Feature], columns: Mapping[str, pl.Series]) -> Iterator[np.ndarray]:
    """The arrays of the inputs side by side, float32 (n, P), a slice of rows at a time."""
    num_rows = len(columns[inputs[0]])
    step = max(1, _CHUNK_CELLS // sum(features[name].spec.shape[0] for name in inputs))
    for start in range(0, max(num_rows, 1), step):
        yield np.concatenate([features[name].transform(columns[name].slice(start, step)) for name in inputs], axis=1)
