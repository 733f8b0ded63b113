"""The tree of a lode.yaml to the parts of a Spec, section by section. Problems are collected, never raised.

Sits between `core.yaml_lines` (text to tree) and `core.spec_rules` (rules between sections).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lode.core.check import Finding, check_options, shown, unknown_word
from lode.core.registry import REGISTRIES, read_component, section
from lode.core.spec_records import (
    CHOICES,
    DataSpec,
    InputSpec,
    OutputSpec,
    ValueSpec,
    evaluation_of,
    is_language,
    is_upstream,
    serving_of,
)
from lode.core.types import Component, Key

TOP = ("name", "data", "inputs", "outputs", "model", "train", "tune", "evaluate", "value", "serve")
DATA = ("source", "clean", "split", "require", "select", "reduce", "store")
PARTS = ("train", "validation", "test")
ROW = "__row__"
_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,63}$")
_NOTHING: Mapping[str, Any] = {}


class SpecReader:
    """Reads one tree. `findings` holds every problem after `read`."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self.tree = tree
        self.findings: list[Finding] = []

    def read(self) -> dict[str, Any]:
        """The parts of a Spec by name; parts with problems are as good as they go."""
        tree = self.tree
        self._known(tree, TOP, ())
        model = self._model(tree.get("model"))
        if is_upstream(model):
            return self._upstream(model)
        documents = is_language(model)
        outputs = () if documents else self._outputs(tree.get("outputs"))
        if documents:
            self._only_documents(tree)
        return {
            "name": self._name(tree),
            "data": self._data(tree.get("data")),
            "inputs": None if documents else self._inputs(tree.get("inputs")),
            "outputs": outputs,
            "model": model,
            "train": self._section("train", tree.get("train"), ("train",)),
            "tune": self._section("tune", tree.get("tune"), ("tune",)),
            "evaluate": self._section(evaluation_of(model), tree.get("evaluate"), ("evaluate",)),
            "value": None if documents else self._value(tree.get("value"), outputs),
            "serve": self._section(serving_of(model), tree.get("serve"), ("serve",)),
        }

    def _upstream(self, model: Component) -> dict[str, Any]:
        """Somebody else's model: what the file says besides, `core.spec_upstream` refuses."""
        serve = self._section(serving_of(model), self.tree.get("serve"), ("serve",))
        parts: dict[str, Any] = {"name": self._name(self.tree), "data": DataSpec({}, (), {}), "inputs": None, "outputs": ()}
        return {**parts, "model": model, "train": {}, "tune": {}, "evaluate": {}, "value": None, "serve": serve}

    def _only_documents(self, tree: Mapping[str, Any]) -> None:
        """What a language model learns is named by its objective."""
        for word in ("inputs", "outputs", "value", "tune"):
            if tree.get(word) is not None:
                text = (
                    "found a section of models that predict columns, allowed: none here, the model's `objective` names the columns."
                )
                self.find((word,), f"{text} Remove it.")

    def find(self, key: Key, text: str) -> None:
        self.findings.append(Finding(key, text))

    def _known(self, found: Mapping[str, Any], allowed: tuple[str, ...], key: Key) -> None:
        for word in found:
            if word not in allowed:
                self.find((*key, word), unknown_word(word, allowed))

    def _mapping(self, value: Any, key: Key, what: str) -> Mapping[str, Any]:
        """The mapping that stands there; an empty one where nothing stands."""
        if value is None:
            return _NOTHING
        if isinstance(value, Mapping):
            return value
        self.find(key, f"found {shown(value)}, allowed: {what}.")
        return _NOTHING

    def _section(self, name: str, value: Any, key: Key) -> dict[str, Any]:
        signature = section(name)
        options = self._mapping(value, key, f"a mapping with {', '.join(signature.options)}")
        return check_options(options, signature, key, self.findings, nested=read_component)

    def _name(self, tree: Mapping[str, Any]) -> str:
        name = tree.get("name")
        rule = "lower-case letters, digits, - and _ (64 at most)"
        if name is None:
            self.find(("name",), f'found nothing, allowed: {rule}. Add "name: ...", what the artifact is called.')
        elif not isinstance(name, str) or not _NAME.match(name):
            self.find(("name",), f"found {shown(name)}, allowed: {rule}. Rename it.")
        else:
            return name
        return ""

    def _component(self, value: Any, kind: str, key: Key, also: tuple[str, ...] = ()) -> Component | None:
        """A word, or a mapping with `type`. also: keys that were taken out, to be named among the allowed ones."""
        return read_component(value, kind, key, self.findings, also=also)

    def _components(self, value: Any, kind: str, key: Key) -> tuple[Component, ...]:
        """A list of components; bad ones are left out, they have their Finding."""
        if value is None:
            return ()
        if not isinstance(value, list):
            self.find(key, f"found {shown(value)}, allowed: a list. Write it in brackets: [...].")
            return ()
        made = (self._component(item, kind, (*key, index)) for index, item in enumerate(value))
        return tuple(component for component in made if component is not None)

    def _data(self, value: Any) -> DataSpec:
        """What stands under `data`; the options of `Bounds` (memory) stand there as they are."""
        bounds = section("bounds")
        words = (*DATA, *bounds.options)
        data = self._mapping(value, ("data",), f"a mapping with {', '.join(words)}")
        self._known(data, words, ("data",))
        own = {word: data[word] for word in bounds.options if data.get(word) is not None}
        return DataSpec(
            sources=self._sources(data.get("source")),
            clean=self._components(data.get("clean"), "cleaner", ("data", "clean")),
            split=self._section("split", data.get("split"), ("data", "split")),
            require=self._components(data.get("require"), "finding", ("data", "require")),
            select=self._optional("select", data, ("data", "select")),
            reduce=self._optional("reduce", data, ("data", "reduce")),
            store=self._section("store", data.get("store"), ("data", "store")),
            bounds=check_options(own, bounds, ("data",), self.findings),
        )

    def _optional(self, name: str, data: Mapping[str, Any], key: Key) -> dict[str, Any] | None:
        """A section that does nothing unless it is written."""
        return None if data.get(name) is None else self._section(name, data[name], key)

    def _sources(self, value: Any) -> dict[str, tuple[Component, ...]]:
        key: Key = ("data", "source")
        if value is None:
            some = ", ".join(REGISTRIES["source"].names())
            self.find(key, f'found nothing, allowed: {some}. Add "source: {{type: csv, path: ...}}" under data.')
            return {}
        if not isinstance(value, Mapping) or "type" in value or not _looks_like_parts(value):
            return {"all": self._source_list(value, key)}
        self._known(value, PARTS, key)
        if "train" not in value:
            self.find((*key, "train"), "found nothing, allowed: a source. Add the part that is learned from.")
        return {part: self._source_list(value[part], (*key, part)) for part in PARTS if part in value}

    def _source_list(self, value: Any, key: Key) -> tuple[Component, ...]:
        if isinstance(value, list):
            if not value:
                self.find(key, "found an empty list, allowed: one source or more.")
            return self._components(value, "source", key)
        component = self._component(value, "source", key)
        return () if component is None else (component,)

    def _inputs(self, value: Any) -> tuple[InputSpec, ...] | None:
        if value is None:
            return None
        found = self._named(value, "inputs")
        return tuple(self._input(name, item, key) for name, item, key in found)

    def _named(self, value: Any, part: str) -> list[tuple[str, Any, Key]]:
        """(column, what is said of it, key) of a mapping or a list of names."""
        found: list[tuple[str, Any, Key]] = []
        if isinstance(value, Mapping):
            found = [(name, item, (part, name)) for name, item in value.items()]
        elif isinstance(value, list):
            for index, name in enumerate(value):
                if isinstance(name, str):
                    found.append((name, None, (part, index)))
                else:
                    self.find((part, index), f"found {shown(name)}, allowed: a column's name.")
        else:
            self.find((part,), f"found {shown(value)}, allowed: columns, as a mapping (name: type) or a list of names.")
            return []
        if not value:
            self.find((part,), "found none, allowed: one column or more.")
        self._check_names(found)
        return found

    def _check_names(self, found: list[tuple[str, Any, Key]]) -> None:
        seen: set[str] = set()
        for name, _, key in found:
            if name in seen:
                self.find(key, f'found "{name}" a second time, allowed: each column once.')
            if not name or name == ROW:
                self.find(key, f'found "{name}", allowed: a column\'s name ({ROW} is kept for row numbers).')
            seen.add(name)

    def _input(self, name: str, value: Any, key: Key) -> InputSpec:
        if value is None:
            return InputSpec(name)
        encoder: Component | None = None
        augment: tuple[Component, ...] = ()
        if isinstance(value, Mapping):
            if value.get("encoder") is not None:
                encoder = self._component(value["encoder"], "encoder", (*key, "encoder"))
            augment = self._components(value.get("augment"), "augment", (*key, "augment"))
            rest = {word: item for word, item in value.items() if word not in ("encoder", "augment")}
            if not rest:
                return InputSpec(name, None, encoder, augment)
            value = rest
        return InputSpec(name, self._component(value, "feature", key, ("encoder", "augment")), encoder, augment)

    def _outputs(self, value: Any) -> tuple[OutputSpec, ...]:
        if value is None:
            self.find(("outputs",), 'found nothing, allowed: the columns to predict. Add "outputs: {COLUMN: TYPE}".')
            return ()
        made = []
        for name, item, key in self._named(value, "outputs"):
            task = None if item is None or item == {} else self._component(item, "task", key)
            made.append(OutputSpec(name, task))
        return tuple(made)

    def _model(self, value: Any) -> Component:
        """Unnamed it is the network; `auto` and `ensemble` are no families but made of them."""
        key: Key = ("model",)
        if isinstance(value, Mapping):
            word, at, options = value.get("type", "network"), (*key, "type"), {k: v for k, v in value.items() if k != "type"}
        else:
            word, at, options = "network" if value is None else value, key, {}
        registry = REGISTRIES["family"]
        if not isinstance(word, str):
            self.find(at, f"found {shown(word)}, allowed: {', '.join((*CHOICES, *registry.names()))}, or a mapping with `type`.")
        elif word in CHOICES:
            return Component(word, check_options(options, section(word), key, self.findings, ("type",), read_component))
        elif not registry.has(word):
            self.find(at, registry.unknown(word, also=CHOICES))
        else:
            return Component(word, check_options(options, registry.signature(word), key, self.findings, ("type",), read_component))
        return Component("")

    def _value(self, value: Any, outputs: tuple[OutputSpec, ...]) -> ValueSpec | None:
        if value is None:
            return None
        worth = section("value")
        found = self._mapping(value, ("value",), "a mapping of amounts")
        own = {word: item for word, item in found.items() if word in worth.options}
        rest = {word: item for word, item in found.items() if word not in worth.options}
        options = check_options(own, worth, ("value",), self.findings)
        task = outputs[0].task.type if outputs and outputs[0].task else None
        word = rest.get("type") if "type" in rest else policy_word(rest, task)
        if word is None and "type" not in rest:
            return ValueSpec(None, options)
        policy = self._component({**rest, "type": word}, "policy", ("value",), tuple(worth.options))
        return ValueSpec(policy, options)


def _looks_like_parts(value: Mapping[str, Any]) -> bool:
    """Parts (train, validation, test) rather than a component whose `type` was forgotten."""
    return any(part in value for part in PARTS) or all(isinstance(item, Mapping | list) for item in value.values())


def policy_word(options: Mapping[str, Any], task: str | None) -> str | None:
    """The policy of a task that knows most of the options (the first by name among equals); None where no policy values it."""
    registry = REGISTRIES["policy"]
    fitting = [word for word in registry.names() if registry.constant(word, "task") == task]
    return min(fitting, key=lambda word: (-_num_known(word, options), word), default=None)


def _num_known(word: str, options: Mapping[str, Any]) -> int:
    known = REGISTRIES["policy"].signature(word).options
    return sum(name in known for name in options)
