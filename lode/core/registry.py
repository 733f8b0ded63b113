"""Word -> file: `encoder: {type: resnet}` is class `Resnet` in `lode/model/encoders/resnet.py`. The folder is the registry.

Signatures are read from source (`core.signature`); an extension is imported only when it is made. Third parties add words through
entry points (group `lode.encoders`, name -> "module:Class"); a word of the folder wins. Read `core.spec` next.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from lode.core import packages
from lode.core.check import Finding, check_options, dotted, filled, shown
from lode.core.errors import SpecError, UnknownNameError, listed, near_miss
from lode.core.signature import NESTED, OptionType, Signature, jsonable, read_signature
from lode.core.types import Component, Key

ROOT = Path(__file__).resolve().parents[1]


def class_name(word: str) -> str:
    """`open_inference` -> `OpenInference`."""
    return "".join(part[:1].upper() + part[1:] for part in word.split("_"))


class Registry:
    """One kind of extension.

    Args:
        kind: "encoder"; how messages call it.
        package: dotted name of the folder, "lode.model.encoders".
        folder: where the package lies.
        group: entry-point group of third parties.
    """

    def __init__(self, kind: str, package: str, folder: Path, group: str) -> None:
        self.kind, self.package, self.folder, self.group = kind, package, folder, group

    def names(self) -> tuple[str, ...]:
        """Every word, those of third parties included, sorted."""
        return tuple(sorted({*self._own(), *self._entries()}))

    def unknown(self, word: str, also: tuple[str, ...] = ()) -> str:
        """`found "imge", allowed: ... Did you mean "image"? To add one, create lode/data/features/imge.py.`"""
        words = sorted({*self.names(), *also})
        stem = word if word.isidentifier() else "WORD"
        create = f" To add one, create {self.package.replace('.', '/')}/{stem}.py."
        return f'found "{word}", allowed: {listed(words, limit=16)}.{near_miss(word, words)}{create}'

    def has(self, word: str) -> bool:
        return word in self._own() or word in self._entries()

    def path(self, word: str) -> Path:
        """The file that holds a word's class.

        Errors: UnknownNameError; SpecError where an entry point leads nowhere.
        """
        return self._locate(word)[0]

    def signature(self, word: str) -> Signature:
        """The options of a word, without importing it. Errors: UnknownNameError."""
        path, _, name = self._locate(word)
        return read_signature(path, name)

    def constant(self, word: str, name: str) -> Any:
        """A literal class attribute (`needs`, `loop`, `task`), or None where the class has none. Errors: UnknownNameError."""
        return self.signature(word).constants.get(name)

    def get(self, word: str) -> type:
        """The class, imported. Errors: UnknownNameError, MissingPackageError."""
        _, module_name, name = self._locate(word)
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            package = (error.name or "").split(".")[0]
            if not package or package == self.package.split(".")[0]:
                raise
            raise packages.missing(f"{self.kind} {word}", error) from error
        found: type = getattr(module, name)
        return found

    def create(self, component: Component, *positional: Any) -> Any:
        """An instance: positional is what the platform knows, the options are what the user wrote.

        Errors: UnknownNameError for the word, SpecError naming every option that is unknown, missing or out of range.
        """
        findings: list[Finding] = []
        options = check_options(component.options, self.signature(component.type), (), findings, nested=read_component)
        if findings:
            where = f"{self.kind} {component.type}"
            raise SpecError("\n".join(f"{where}:{dotted(item.key)}: {item.text}" for item in findings))
        return self.get(component.type)(*positional, **options)

    def resolve(self, component: Component) -> dict[str, Any]:
        """The component as JSON with every default filled in, also those of components inside its options."""
        signature = self.signature(component.type)
        made = {"type": component.type, **filled(component.options, signature)}
        for name, value in component.options.items():
            made[name] = resolved(value, signature.options[name].type)
        return made

    def _own(self) -> tuple[str, ...]:
        return tuple(sorted(path.stem for path in self.folder.glob("*.py") if not path.stem.startswith("_")))

    def _entries(self) -> Mapping[str, metadata.EntryPoint]:
        return {entry.name: entry for entry in metadata.entry_points(group=self.group)}

    def _locate(self, word: str) -> tuple[Path, str, str]:
        """File, module and class. Entry points are looked up only for words that are not in the folder: that costs time."""
        if word in self._own():
            return self.folder / f"{word}.py", f"{self.package}.{word}", class_name(word)
        entry = self._entries().get(word)
        if entry is None:
            raise UnknownNameError(f"{self.kind}: {self.unknown(word)}")
        try:
            spec = importlib.util.find_spec(entry.module)
        except ModuleNotFoundError:
            spec = None
        if spec is None or not (spec.origin or "").endswith(".py") or not entry.attr:
            raise SpecError(
                f"{self.kind} {word}: found the entry point {entry.value!r}, which names no file and class, "
                f'allowed: "module:Class" of an installed package. Reinstall the package that brings it.'
            )
        return Path(spec.origin or ""), entry.module, entry.attr


_FOLDERS = {
    "source": "data.sources",
    "cleaner": "data.cleaners",
    "feature": "data.features",
    "finding": "data.findings",
    "family": "model.families",
    "encoder": "model.encoders",
    "task": "model.tasks",
    "metric": "model.metrics",
    "augment": "model.augment",
    "pretrain": "model.pretrain",
    "architecture": "model.architectures",
    "objective": "model.objectives",
    "adapter": "model.adapters",
    "tokenizer": "data.tokenizers",
    "benchmark": "pipeline.benchmarks",
    "damage": "pipeline.damages",
    "policy": "value.policies",
    "protocol": "app.protocols",
    "charge": "app.charges",
}

REGISTRIES: dict[str, Registry] = {
    kind: Registry(kind, f"lode.{package}", ROOT.joinpath(*package.split(".")), f"lode.{package.split('.')[-1]}")
    for kind, package in _FOLDERS.items()
}

SECTIONS: dict[str, tuple[Path, str]] = {
    "split": (ROOT / "data" / "split.py", "Split"),
    "bounds": (ROOT / "data" / "bounds.py", "Bounds"),
    "select": (ROOT / "data" / "select.py", "Select"),
    "reduce": (ROOT / "data" / "reduce.py", "Reduce"),
    "store": (ROOT / "data" / "store.py", "Store"),
    "auto": (ROOT / "pipeline" / "choose.py", "Auto"),
    "ensemble": (ROOT / "pipeline" / "choose.py", "Ensembling"),
    "train": (ROOT / "model" / "training.py", "Training"),
    "tune": (ROOT / "pipeline" / "tune.py", "Tune"),
    "evaluate": (ROOT / "pipeline" / "evaluate.py", "Evaluation"),
    "evaluate_language": (ROOT / "pipeline" / "language" / "options.py", "LanguageEvaluation"),
    "value": (ROOT / "value" / "worth.py", "Worth"),
    "serve": (ROOT / "app" / "options.py", "ServeOptions"),
    "serve_language": (ROOT / "app" / "options.py", "LanguageServeOptions"),
    "serve_upstream": (ROOT / "app" / "options.py", "UpstreamServeOptions"),
}
"""Sections of the file that are one class each, not a folder of words."""


def section(name: str) -> Signature:
    """The options of a section ("split", "train", "tune", ...: the words of SECTIONS)."""
    return read_signature(*SECTIONS[name])


def read_component(
    value: Any, kind: str, key: Key, findings: list[Finding], given: tuple[str, ...] = (), also: tuple[str, ...] = ()
) -> Component | None:
    """A word, or a mapping with `type` and the options of that word; None, with a Finding, where it is neither.

    given: options that the platform knows already: only words that have them are allowed, and they may not be written. also: keys
    that were taken out, to be named among the allowed ones.
    """
    registry = REGISTRIES[kind]
    word, options, at = _word_and_options(value, key)
    if word is None:
        some = ", ".join(registry.names())
        findings.append(Finding(at, f'found nothing, allowed: {some}. Add "type: ..." or write the word alone.'))
    elif not isinstance(word, str):
        findings.append(Finding(at, f"found {shown(word)}, allowed: a word or a mapping with `type`."))
    elif not registry.has(word):
        findings.append(Finding(at, registry.unknown(word)))
    else:
        signature = registry.signature(word)
        if set(given) <= signature.options.keys():
            left = replace(signature, options={name: item for name, item in signature.options.items() if name not in given})
            return Component(word, check_options(options, left, key, findings, ("type", *also), read_component))
        fitting = [name for name in registry.names() if set(given) <= registry.signature(name).options.keys()]
        findings.append(Finding(at, f'found "{word}", which reads no file, allowed: {", ".join(fitting)}.'))
    return None


def _word_and_options(value: Any, key: Key) -> tuple[Any, Mapping[str, Any], Key]:
    """The word, its options, and the key of the word."""
    if isinstance(value, Component):
        return value.type, value.options, (*key, "type")
    if isinstance(value, Mapping):
        return value.get("type"), {name: item for name, item in value.items() if name != "type"}, (*key, "type")
    return value, {}, key


def resolved(value: Any, kind: OptionType) -> Any:
    """An option's value as JSON; components in it with their defaults, but for those options that the outer one gives."""
    if isinstance(value, list | tuple):
        return [resolved(item, kind) for item in value]
    if isinstance(value, Mapping):
        return {str(name): resolved(item, kind) for name, item in value.items()}
    name = kind.nested()
    if not isinstance(value, Component) or name is None:
        return jsonable(value)
    of_kind, given = NESTED[name]
    made = REGISTRIES[of_kind].resolve(value)
    return {word: item for word, item in made.items() if word not in given}


def describe() -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Kind -> word -> options (name, type, required, default, doc), and "section" -> section -> options. For `--words` and the docs."""
    found = {
        kind: {word: [o.to_json() for o in registry.signature(word).options.values()] for word in registry.names()}
        for kind, registry in REGISTRIES.items()
    }
    found["section"] = {name: [o.to_json() for o in section(name).options.values()] for name in SECTIONS}
    return found
