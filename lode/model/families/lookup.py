"""The baseline of tagging: for every token (of a series: for values of like size) the tag that it had most often in training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from lode.core.errors import ModelError
from lode.model.contracts import Context, Cost, Examples, Family, Fitted, Shapes, Task
from lode.model.stepwise import check_lengths, step_inputs

_BINS = 32
"""Of the values of a series, as many training steps in each."""


class Lookup(Family):
    """A table of how often each token had each tag. It knows no neighbours: what a model gains over it, it gains from context.

    A step of a series has no token: there it is the range, one of 32, in which the first channel's value lies.
    """

    kinds = ("tags",)
    needs = "arrays"
    loop = False

    def __init__(self, shapes: Shapes, tasks: Mapping[str, Task]) -> None:
        self._tasks = dict(tasks)
        self._specs = shapes.inputs
        self._steps = step_inputs(tasks, shapes.inputs)
        self._tables: dict[str, np.ndarray] = {}
        self._edges: dict[str, np.ndarray] = {}
        """Of the ranges, of outputs on series."""

    def fit(self, train: Examples, stop: Examples | None, context: Context) -> Fitted:
        """Count. A token that training never had gets the shares of all tokens.

        Errors: ModelError where an output has no row with tags, or tags and tokens differ in number.
        """
        check_lengths(train, self._steps)
        for name, source in self._steps.items():
            steps, tags = np.asarray(train.arrays[source]), train.targets[name]
            if self._specs[source].cardinality is None:
                self._edges[name] = _edges(steps)
            num_tags, tokens = self._tasks[name].num_scores, self._codes(name, steps)
            num_codes = self._specs[source].cardinality or len(self._edges[name]) + 2
            width = min(tokens.shape[1], tags.shape[1])
            real = (tokens[:, :width] != 0) & (tags[:, :width] >= 0)
            if not real.any():
                raise ModelError(f"outputs.{name}: no training row has a tag, at least one is needed. Check the column")
            pairs = tokens[:, :width][real].astype(np.int64) * num_tags + tags[:, :width][real]
            counts_VK = np.bincount(pairs, minlength=num_codes * num_tags).reshape(num_codes, num_tags).astype(np.float64)
            # The shares of all tokens count as one more row of each token, so that every logarithm is finite.
            shares_K = (counts_VK.sum(axis=0) + 0.5) / (counts_VK.sum() + 0.5 * num_tags)
            self._tables[name] = np.log((counts_VK + shares_K) / (counts_VK.sum(axis=1, keepdims=True) + 1.0)).astype(np.float32)
        return Fitted()

    def predict(self, examples: Examples) -> dict[str, np.ndarray]:
        """Log-shares (N, T, K), NaN behind the end of a row."""
        found = {}
        for name, source in self._steps.items():
            task = self._tasks[name]
            tokens_NT = self._codes(name, np.asarray(examples.arrays[source])[:, : task.num_steps])
            scores_NTK = np.full((len(tokens_NT), task.num_steps, task.num_scores), np.nan, np.float32)
            real_NT = tokens_NT != 0
            scores_NTK[:, : tokens_NT.shape[1]][real_NT] = self._tables[name][tokens_NT[real_NT]]
            found[name] = scores_NTK
        return found

    def cost(self) -> Cost:
        """One number a token and tag; a look into the table."""
        size = sum(table.size for table in self._tables.values())
        return Cost(parameters=size, flops_per_row=0, weight_bytes=4 * size)

    def save(self, folder: Path) -> None:
        """Write lookup.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        found = {f"{place}": self._tables[name] for place, name in enumerate(self._steps)}
        found |= {f"{place}.edges": self._edges[name] for place, name in enumerate(self._steps) if name in self._edges}
        save_file(found, folder / "lookup.safetensors")

    def load(self, folder: Path) -> None:
        """Read it back."""
        tables = load_file(folder / "lookup.safetensors")
        self._tables = {name: tables[f"{place}"] for place, name in enumerate(self._steps)}
        self._edges = {name: tables[f"{place}.edges"] for place, name in enumerate(self._steps) if f"{place}.edges" in tables}

    def _codes(self, output: str, steps: np.ndarray) -> np.ndarray:
        """A code of each step, (N, T); 0 behind the end of a row."""
        if output not in self._edges:
            return steps
        codes_NT = np.searchsorted(self._edges[output], steps[:, :, 0], side="right") + 1
        return np.where(np.isnan(steps[:, :, 0]), 0, codes_NT)


def _edges(steps_NTC: np.ndarray) -> np.ndarray:
    """Between ranges of values with as many steps in each: float32, rising, fewer where values repeat."""
    values = steps_NTC[:, :, 0][~np.isnan(steps_NTC[:, :, 0])]
    shares = np.arange(1, _BINS) / _BINS
    return np.unique(np.quantile(values, shares)).astype(np.float32) if len(values) else np.empty(0, np.float32)
