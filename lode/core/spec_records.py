"""`lode.yaml` as frozen records: what every layer gets to see of the file. `core.spec.load` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lode.core.check import filled
from lode.core.registry import REGISTRIES, resolved, section
from lode.core.types import Component

CHOICES = ("auto", "ensemble")
"""Words of `model:` that are no family: what they mean, lode/pipeline/portfolio.py says."""


def is_language(model: Component) -> bool:
    """Whether a file is about documents: it has no inputs and outputs, and its model reads tokens."""
    family = REGISTRIES["family"]
    return model.type not in ("", *CHOICES) and family.has(model.type) and family.constant(model.type, "needs") == "tokens"


def is_upstream(model: Component) -> bool:
    """Whether a file is about somebody else's model: it has no data and nothing is trained."""
    family = REGISTRIES["family"]
    return model.type not in ("", *CHOICES) and family.has(model.type) and family.constant(model.type, "needs") == "nothing"


def evaluation_of(model: Component) -> str:
    """The section that says what `evaluate:` may hold."""
    return "evaluate_language" if is_language(model) else "evaluate"


def serving_of(model: Component) -> str:
    """The section that says what `serve:` may hold."""
    if is_upstream(model):
        return "serve_upstream"
    return "serve_language" if is_language(model) else "serve"


SourceSet = Mapping[str, tuple[Component, ...]]
"""{"all": (...)} or {"train": (...), "validation": (...), "test": (...)}; several components are concatenated."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input. feature None: inferred from the data; encoder None and augment empty: the model's defaults."""

    name: str
    feature: Component | None = None
    encoder: Component | None = None
    augment: tuple[Component, ...] = ()


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output. task None: inferred from the data."""

    name: str
    task: Component | None = None


@dataclass(frozen=True, slots=True)
class DataSpec:
    """Where rows come from, how they are cleaned, split, judged and kept.

    split: options of `lode.data.split.Split`. require: findings (lode/data/findings) that stop the run where they occur.
    select, reduce: options of `lode.data.select.Select` and `lode.data.reduce.Reduce`, None where the file has none.
    store: options of `lode.data.store.Store`. bounds: options of `lode.data.bounds.Bounds` (memory).
    """

    sources: SourceSet
    clean: tuple[Component, ...]
    split: Mapping[str, Any]
    require: tuple[Component, ...] = ()
    select: Mapping[str, Any] | None = None
    reduce: Mapping[str, Any] | None = None
    store: Mapping[str, Any] = field(default_factory=dict)
    bounds: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ValueSpec:
    """What the first output is worth. options: those of `lode.value.worth.Worth` (currency, decisions, ...)."""

    policy: Component | None
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Spec:
    """One lode.yaml. Options hold only what the user wrote; defaults live in the classes (`resolved` fills them in).

    path: the file; relative paths in it are looked up in data_folder (`--data DIR`) first, then beside the file.
    inputs: None where every column that is no output is an input.
    model: a family's word, or "auto". tune: options of `lode.pipeline.tune.Tune`; they decide nothing in a run, so `resolved` leaves
    them out.
    """

    path: Path
    name: str
    data: DataSpec
    inputs: tuple[InputSpec, ...] | None
    outputs: tuple[OutputSpec, ...]
    model: Component
    train: Mapping[str, Any]
    evaluate: Mapping[str, Any]
    value: ValueSpec | None
    serve: Mapping[str, Any]
    tune: Mapping[str, Any] = field(default_factory=dict)
    data_folder: Path | None = None

    def resolved(self) -> dict[str, Any]:
        """The whole file as JSON with every default filled in; no path of this machine, so equal files resolve equally everywhere."""
        return {
            "name": self.name,
            "data": {
                "source": {part: _each("source", components) for part, components in self.data.sources.items()},
                "clean": _each("cleaner", self.data.clean),
                "split": filled(self.data.split, section("split")),
                "require": _each("finding", self.data.require),
                "select": None if self.data.select is None else filled(self.data.select, section("select")),
                "reduce": None if self.data.reduce is None else filled(self.data.reduce, section("reduce")),
                "store": filled(self.data.store, section("store")),
                **filled(self.data.bounds, section("bounds")),
            },
            "inputs": None if self.inputs is None else {item.name: _input(item) for item in self.inputs},
            "outputs": {item.name: _one("task", item.task) for item in self.outputs},
            "model": resolve_model(self.model),
            "train": _section("train", self.train),
            "evaluate": _section(evaluation_of(self.model), self.evaluate),
            "value": None if self.value is None else self._resolved_value(self.value),
            "serve": filled(self.serve, section(serving_of(self.model))),
        }

    def _resolved_value(self, value: ValueSpec) -> dict[str, Any]:
        return {"policy": _one("policy", value.policy), **filled(value.options, section("value"))}


def resolve_model(component: Component) -> dict[str, Any]:
    """A model section as JSON with its defaults: a family's, or those of `auto` or `ensemble` and the families in it."""
    if component.type in CHOICES:
        signature = section(component.type)
        made = {"type": component.type, **filled(component.options, signature)}
        return made | {name: resolved(value, signature.options[name].type) for name, value in component.options.items()}
    return REGISTRIES["family"].resolve(component)


def _section(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """With its defaults, also those of the components in it."""
    signature = section(name)
    return filled(options, signature) | {word: resolved(value, signature.options[word].type) for word, value in options.items()}


def _one(kind: str, component: Component | None) -> dict[str, Any] | None:
    return None if component is None else REGISTRIES[kind].resolve(component)


def _each(kind: str, components: tuple[Component, ...]) -> list[dict[str, Any]]:
    return [REGISTRIES[kind].resolve(component) for component in components]


def _input(item: InputSpec) -> dict[str, Any]:
    return {
        "feature": _one("feature", item.feature),
        "encoder": _one("encoder", item.encoder),
        "augment": _each("augment", item.augment),
    }
