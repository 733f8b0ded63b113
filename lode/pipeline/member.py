"""A family for a fitted preprocessor: the smallest thing that answers a row. A model is one of them, an ensemble holds several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.preprocess import Preprocessor
from lode.model.contracts import Cost, Examples, Family, Shapes, Task


def build(recipe: Mapping[str, Any], preprocessor: Preprocessor, tasks: Mapping[str, Task]) -> Family:
    """An unfitted family for a fitted preprocessor."""
    family: Family = REGISTRIES["family"].create(Component.from_json(recipe["family"]), shapes(recipe, preprocessor), tasks)
    return family


def shapes(recipe: Mapping[str, Any], preprocessor: Preprocessor) -> Shapes:
    """What the family is told before it sees a row."""
    specs = preprocessor.specs  # an input that `select` left out needs no encoder
    encoders = {name: Component.from_json(record) for name, record in recipe.get("encoders", {}).items() if name in specs}
    augments = {
        name: tuple(Component.from_json(entry) for entry in entries)
        for name, entries in recipe.get("augments", {}).items()
        if name in specs
    }
    registry = REGISTRIES["augment"]
    asking = [name for name, parts in augments.items() if any(registry.constant(part.type, "wants_words") for part in parts)]
    words = {name: preprocessor.words(name) for name in asking}
    return Shapes(specs, preprocessor.flat_spec, encoders, augments, words)


def examples(frame: pl.DataFrame, preprocessor: Preprocessor, needs: str) -> Examples:
    """The rows as a family's arrays, without targets."""
    if needs == "flat":
        return Examples(frame.height, {}, preprocessor.flat(frame))
    return Examples(frame.height, preprocessor.arrays(frame), None)


@dataclass(frozen=True, slots=True)
class Member:
    """One fitted model of an ensemble.

    candidate: the name under which it was judged; the models of its folds share it. place: which of the ensemble's preprocessors it has.
    """

    candidate: str
    component: Component
    place: int
    family: Family


def total_cost(costs: Sequence[Cost]) -> Cost:
    """What several models take together for one row."""
    return Cost(
        parameters=sum(cost.parameters for cost in costs),
        flops_per_row=sum(cost.flops_per_row for cost in costs),
        weight_bytes=sum(cost.weight_bytes for cost in costs),
    )
