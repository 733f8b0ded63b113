"""Words of a lode.yaml held against one another: which encoder can take which feature, which family can learn which output.

Classes say it in literal attributes (`reads`, `kinds`, `gives_steps`, `moves_steps`), so that `lode check` imports nothing. Words that say
nothing, and inputs whose type the data decide, are judged by their arrays when the network is made. Called by `core.spec_rules`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lode.core.check import Finding
from lode.core.errors import listed
from lode.core.registry import REGISTRIES, ROOT
from lode.core.signature import read_signature
from lode.core.spec_records import CHOICES, InputSpec, OutputSpec
from lode.core.types import Component, Key

_STEPPED = ("text", "series", "set")
"""Features whose rows have steps."""
_TABLE = ("number", "category")
_DEFAULT = {"text": "pooled", "series": "tcn", "set": "set"}
"""The encoders of those that name none, as in `lode/model/network.py`."""
LISTS = {"auto": "candidates", "ensemble": "members"}
"""Where each choice names its families."""


def check_words(parts: Mapping[str, Any], findings: list[Finding]) -> None:
    """Append a Finding for every word that cannot do what the file asks of it."""
    model, outputs = parts["model"], parts["outputs"]
    inputs: tuple[InputSpec, ...] = parts["inputs"] or ()
    findings += _unlearnt(model, outputs)
    for item in inputs:
        if item.feature is not None:
            findings += _unread(item, item.feature.type)
    findings += _of_kinds(model)
    findings += _unpretrained(parts["train"].get("pretrain"), inputs)
    # `auto` that lists no candidates tries a network
    if inputs and model.type and "network" in (families_of(model) or ("network",)):
        for output in outputs:
            if output.task is not None and REGISTRIES["task"].constant(output.task.type, "steps"):
                findings += _tagged(output.name, output.task, model, inputs)


def families_of(model: Component) -> tuple[str, ...]:
    """Words of the families that the file names; none where it leaves them open."""
    if model.type not in CHOICES:
        return (model.type,) if model.type else ()
    written = model.options.get(LISTS.get(model.type, ""))
    entries = written if isinstance(written, list) else []
    return tuple(dict.fromkeys(entry.type if isinstance(entry, Component) else str(entry) for entry in entries))


def readers(kind: str, feature: str) -> tuple[str, ...]:
    """Words of a kind (encoder, augment, pretrain) that say that they can take what a feature makes."""
    registry = REGISTRIES[kind]
    return tuple(word for word in registry.names() if feature in (registry.constant(word, "reads") or ()))


def _cannot(kind: str, component: Component, features: tuple[str, ...]) -> bool:
    """Whether it says what it can take, and none of these is among it. Features that no word of lode names are not judged here."""
    reads = REGISTRIES[kind].constant(component.type, "reads")
    if not reads or set(features) & set(reads):
        return False
    return any(readers(each, feature) for each in ("encoder", "augment") for feature in features)


def _unread(item: InputSpec, feature: str) -> Iterator[Finding]:
    """Encoder and changes of an input that cannot take its feature."""
    found: list[tuple[str, Key, Component]] = [("augment", ("augment", place), step) for place, step in enumerate(item.augment)]
    if item.encoder is not None:
        found += [("encoder", key, component) for key, component in _and_inner(("encoder",), item.encoder)]
    for kind, key, component in found:
        if _cannot(kind, component, (feature,)):
            yield Finding(
                ("inputs", item.name, *key),
                f'found "{component.type}", which cannot take an input of type {feature}, '
                f"allowed: {listed(readers(kind, feature)) or 'none'}.",
            )
        if REGISTRIES[kind].constant(component.type, "cuts") and item.feature and item.feature.options.get("tokens") is not None:
            text = f'found beside encoder "{component.type}", which cuts texts by its own tokenizer, allowed: none here. Remove it.'
            yield Finding(("inputs", item.name, "tokens"), text)


def _and_inner(key: Key, encoder: Component) -> Iterator[tuple[Key, Component]]:
    """An encoder, and those that it is made of."""
    yield key, encoder
    for place, inner in enumerate(encoder.options.get("encoders") or ()):
        if isinstance(inner, Component):
            yield (*key, "encoders", place), inner


def _of_kinds(model: Component) -> Iterator[Finding]:
    """The encoders that a network names for all inputs of a kind."""
    for name, features in (("table", _TABLE), ("text", ("text",))):
        component = model.options.get(name)
        if isinstance(component, Component) and _cannot("encoder", component, features):
            allowed = listed(dict.fromkeys(word for feature in features for word in readers("encoder", feature)))
            yield Finding(
                ("model", name),
                f'found "{component.type}", which cannot take inputs of type {listed(features)}, allowed: {allowed}.',
            )


def _unpretrained(component: Any, inputs: tuple[InputSpec, ...]) -> Iterator[Finding]:
    """Inputs that cannot be learnt from without labels."""
    if not isinstance(component, Component):
        return
    named = [(item.name, item.feature.type) for item in inputs if item.feature is not None]
    wrong = [f"{name} ({feature})" for name, feature in named if _cannot("pretrain", component, (feature,))]
    if wrong:
        words = REGISTRIES["pretrain"].names()
        allowed = [word for word in words if not any(_cannot("pretrain", Component(word), (feature,)) for _, feature in named)]
        yield Finding(
            ("train", "pretrain"),
            f'found "{component.type}", which cannot learn from {listed(wrong)}, allowed: {listed(allowed) or "none for these inputs"}. '
            "Remove it, or leave these inputs out.",
        )


def _unlearnt(model: Component, outputs: tuple[OutputSpec, ...]) -> Iterator[Finding]:
    """Outputs that the named family cannot learn."""
    if model.type in ("", *CHOICES):
        return
    words = dict.fromkeys(item.task.type for item in outputs if item.task is not None)
    kind_of = {word: REGISTRIES["task"].constant(word, "kind") for word in words}
    wrong = [word for word in words if kind_of[word] is not None and kind_of[word] not in learns(model.type)]
    if wrong:
        allowed = [
            family
            for family in REGISTRIES["family"].names()
            if all(kind is None or kind in learns(family) for kind in kind_of.values())
        ]
        yield Finding(
            ("model",), f'found "{model.type}", which cannot learn {listed(wrong)}, allowed: {listed((*allowed, "auto"))}.'
        )


def learns(family: str) -> tuple[str, ...]:
    """Kinds of tasks that a family can learn."""
    base = read_signature(ROOT / "model" / "contracts.py", "Family").constants["kinds"]
    found: tuple[str, ...] = REGISTRIES["family"].constant(family, "kinds") or base
    return found


def _tagged(output: str, task: Component, model: Component, inputs: tuple[InputSpec, ...]) -> Iterator[Finding]:
    """An output with an answer at each step of an input: which one, an encoder that has a vector for each, and steps that stay."""
    named, of = {item.name: item for item in inputs}, task.options.get("of")
    stepped = [item.name for item in inputs if item.feature is None or item.feature.type in _STEPPED]
    if of is not None and of not in stepped:
        yield Finding(
            ("outputs", output, "of"),
            f'found "{of}", allowed: {listed(stepped) or "an input of text or a series"}, whose steps are tagged.',
        )
        return
    if of is None and len(stepped) != 1:
        if all(item.feature is not None for item in inputs):
            count = f"{len(stepped)} inputs with steps" if stepped else "no input with steps"
            allowed = f"of: {' or '.join(stepped)}" if stepped else "a text or a series among the inputs"
            yield Finding(("outputs", output), f"found {count}, allowed: {allowed}, whose steps are tagged.")
        return
    item = named[of or stepped[0]]
    feature = "" if item.feature is None else item.feature.type
    yield from _without_steps(output, item, feature, model)
    for place, step in enumerate(item.augment):
        if REGISTRIES["augment"].constant(step.type, "moves_steps"):
            text = f'found "{step.type}", which moves steps, but {output} has a tag for each, allowed: changes that leave them in place.'
            yield Finding(("inputs", item.name, "augment", place), f"{text} Remove it.")


def _without_steps(output: str, item: InputSpec, feature: str, model: Component) -> Iterator[Finding]:
    """An encoder that makes one vector of a whole row, or has steps of its own."""
    registry, wanted = REGISTRIES["encoder"], model.options.get("text") if feature == "text" else None
    encoder = item.encoder or (wanted if isinstance(wanted, Component) else Component(_DEFAULT.get(feature, "")))
    if not encoder.type or not registry.constant(encoder.type, "reads") or _has_steps(encoder.type):
        return
    allowed = [word for word in registry.names() if _has_steps(word) and (not feature or word in readers("encoder", feature))]
    default = "" if item.encoder or wanted else " (used where none is named)"
    why = "cuts texts by its own tokenizer" if registry.constant(encoder.type, "cuts") else "gives one vector a row"
    yield Finding(
        ("inputs", item.name, "encoder"),
        f'found "{encoder.type}"{default}, which {why}, but {output} has a tag for each step, allowed: {listed(allowed) or "none"}.',
    )


def _has_steps(encoder: str) -> bool:
    """Whether it has a vector for each step that the data have."""
    registry = REGISTRIES["encoder"]
    return bool(registry.constant(encoder, "gives_steps")) and not registry.constant(encoder, "cuts")
