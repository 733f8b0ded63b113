"""Check a lode.yaml: every problem at once, in under half a second."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from lode.cli.options import add_spec
from lode.core import registry
from lode.core.errors import DataError, listed
from lode.core.signature import OptionType
from lode.core.spec import InputSpec, Spec, is_language, is_upstream, load
from lode.core.types import Component
from lode.data.place import Place


def add(parser: argparse.ArgumentParser) -> None:
    add_spec(parser)
    parser.add_argument("--words", action="store_true", help="list every word and option that a lode.yaml may have")


def run(args: argparse.Namespace) -> dict[str, Any]:
    if args.words:
        return {"words": registry.describe()}
    spec = load(args.spec, args.data)
    return {
        "file": str(spec.path),
        "name": spec.name,
        "inputs": None if spec.inputs is None else {item.name: _word(item.feature) for item in spec.inputs},
        "outputs": {item.name: _word(item.task) for item in spec.outputs},
        "model": spec.model.type,
        "learns": _learns(spec),
        "value": None if spec.value is None else _word(spec.value.policy),
        "inferred": _inferred(spec),
        "warnings": list(_missing(spec)),
        "spec": spec.resolved(),
    }


def show(result: dict[str, Any]) -> str:
    if "words" in result:
        return _show_words(result["words"])
    lines = [f"{result['file']} is right.", f"  name     {result['name']}"]
    if result["learns"]:
        lines.append(f"  learns   {result['learns']}")
    else:
        inputs = "every other column" if result["inputs"] is None else _columns(result["inputs"])
        lines += [f"  inputs   {inputs}", f"  outputs  {_columns(result['outputs'])}"]
    lines.append(f"  model    {result['model']}")
    if result["value"]:
        lines.append(f"  value    {result['value']}")
    if result["inferred"]:
        lines.append(f"  inferred from the data: {', '.join(result['inferred'])}")
    lines += [f"warning: {text}" for text in result["warnings"]]
    return "\n".join(lines)


def _word(component: Component | None) -> str | None:
    return None if component is None else component.type


def _columns(words: dict[str, str | None]) -> str:
    return listed(name if word is None else f"{name} ({word})" for name, word in words.items())


def _learns(spec: Spec) -> str | None:
    """What takes the place of inputs and outputs: the objective of a language model, or whose model it is; None for models of rows."""
    if is_upstream(spec.model):
        return f"nothing, it is somebody else's model at {spec.model.options['address']}"
    if not is_language(spec.model):
        return None
    options = registry.REGISTRIES["family"].signature(spec.model.type).options
    found = spec.model.options.get("objective", options["objective"].default)
    return found.type if isinstance(found, Component) else str(found)


def _inferred(spec: Spec) -> list[str]:
    """What the file leaves to the data."""
    if _learns(spec):
        return []
    found = ["which columns are inputs", "their types"] if spec.inputs is None else []
    unnamed = [item.name for item in spec.inputs or () if item.feature is None]
    found += [f"the types of inputs {listed(unnamed)}"] if unnamed else []
    return found + [f"the type of output {item.name}" for item in spec.outputs if item.task is None]


def _missing(spec: Spec) -> Iterator[str]:
    """A warning for every file that sources and inputs name and that is not there, in the words of the later error. Nothing is opened."""
    place = Place(spec.path.parent, spec.data_folder)
    if is_upstream(spec.model):
        yield from _unfound_of_providers(spec, place)
    for part, components in spec.data.sources.items():
        key = "data.source" if part == "all" else f"data.source.{part}"
        for component in components:
            yield from _unfound(component, f"{spec.path}:{key}", place)
    for item in spec.inputs or ():
        yield from _unfound_of_input(item, f"{spec.path}:inputs.{item.name}", place)


def _unfound_of_input(item: InputSpec, key: str, place: Place) -> Iterator[str]:
    """Checkpoints, lists of synonyms: what feature, encoder and augmentation of an input read."""
    if item.feature is not None:
        yield from _unfound(item.feature, key, place, "feature")
    if item.encoder is not None:
        yield from _unfound(item.encoder, f"{key}.encoder", place, "encoder")
    for index, change in enumerate(item.augment):
        yield from _unfound(change, f"{key}.augment[{index}]", place, "augment")


def _unfound_of_providers(spec: Spec, place: Place) -> Iterator[str]:
    """Price lists and keys of somebody else's model. Errors: BillingError for a price list that is there and wrong."""
    # Here: no other model has price lists.
    from lode.pipeline.providers import providers_of

    try:
        providers = providers_of(spec.model, place)
    except DataError as error:
        yield f"{spec.path}:model: {error}"
        return
    for provider in providers:
        if provider.key is not None:
            try:
                place.resolve(provider.key["file"])
            except DataError as error:
                yield f"{spec.path}:model: key: {error}"


def _unfound(component: Component, key: str, place: Place, kind: str = "source") -> Iterator[str]:
    """The same for one component, and for those of its kind in its options."""
    if component.options.get("revision") is not None:
        return  # a repository of the hub
    options = registry.REGISTRIES[kind].signature(component.type).options
    sha256, origin = component.options.get("sha256"), component.options.get("origin")
    for name, value in component.options.items():
        for where, inner in _nested(value, f"{key}.{name}"):
            yield from _unfound(inner, where, place, kind)
        for path in _paths(value, options[name].type):
            try:
                place.resolve(path, sha256 if name == "path" else None, origin)
            except DataError as error:
                yield f"{key}.{name}: {error}"


def _nested(value: Any, key: str) -> Iterator[tuple[str, Component]]:
    """(key, component) of every component in the value of an option."""
    if isinstance(value, Component):
        yield key, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _nested(item, f"{key}[{index}]")
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _nested(item, f"{key}.{name}")


def _paths(value: Any, kind: OptionType) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _paths(item, kind)
    elif isinstance(value, str) and _names_files(kind):
        yield value


def _names_files(kind: OptionType) -> bool:
    return kind.name == "FilePath" or any(_names_files(item) for item in kind.items)


def _show_words(words: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    lines = []
    for kind, found in words.items():
        for word, options in found.items():
            lines.append(f"{kind} {word}")
            for option in options:
                default = "required" if option["required"] else f"default {option['default']}"
                lines.append(f"  {option['name']}: {option['type']} ({default}). {option['doc']}".rstrip())
    return "\n".join(lines)
