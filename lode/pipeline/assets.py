"""Files that inputs name beside the data: a checkpoint of an encoder, a list of synonyms. Found before anything runs, hashed into keys.

The run works with absolute paths; an artifact holds what was read from the files, and of the paths only the last part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lode.core import packages
from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.signature import OptionType
from lode.core.spec_records import InputSpec
from lode.core.types import Component
from lode.data.place import Place
from lode.pipeline.manifest import hash_file, hash_json

_READ = (".json", ".safetensors", ".txt", ".model")
"""What is read of a folder: of a checkpoint everything but pickled weights."""


class Assets:
    """The files of a run's inputs. Errors: DataError where one is not there."""

    def __init__(self, inputs: Sequence[InputSpec], place: Place) -> None:
        self._found: dict[tuple[str, str | None], Path] = {}
        for entry in inputs:
            parts = [("feature", entry.feature), ("encoder", entry.encoder), *(("augment", part) for part in entry.augment)]
            for kind, component in parts:
                for path in _paths(kind, component):
                    key = (path, _revision(component))
                    if key not in self._found:
                        self._found[key] = _of_input(entry.name, kind, path, key[1], place)

    @property
    def fingerprints(self) -> dict[str, str]:
        """File or folder as the user wrote it -> sha256 (hex) of its content."""
        return {path: _hash(found) for (path, _), found in self._found.items()}

    def located(self, kind: str, component: Component) -> Component:
        """The component with absolute paths; `feature_from` may have brought a path to a feature without its revision."""
        named = set(_names(kind, component))
        by_path = {path: found for (path, _), found in self._found.items()}
        options = {
            name: str(by_path.get(value, value)) if name in named and isinstance(value, str) else value
            for name, value in component.options.items()
        }
        return Component(component.type, options)

    def located_recipe(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """A recipe (see `artifact.Model`) with absolute paths."""
        if not self._found:
            return dict(recipe)
        return _changed(recipe, lambda kind, record: self.located(kind, Component.from_json(record)).to_json())


def wanted(feature: Component, encoder: Component | None) -> Component:
    """The feature with what its encoder asks of it where the user says nothing."""
    if encoder is None:
        return feature
    registry = REGISTRIES["encoder"]
    asked = dict(registry.constant(encoder.type, "feature_defaults") or {})
    for option, own in (registry.constant(encoder.type, "feature_from") or {}).items():
        if encoder.options.get(own) is not None:
            asked[option] = encoder.options[own]
    return Component(feature.type, {**asked, **feature.options})


def nameless(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe that says nothing of the machine it was made on: of paths the last part."""
    return _changed(recipe, lambda kind, record: _last_parts(kind, Component.from_json(record)).to_json())


def nameless_features(state: Mapping[str, Any]) -> dict[str, Any]:
    """The same for the state of a preprocessor."""
    features = [
        {**record, "options": dict(_last_parts("feature", Component(record["type"], record["options"])).options)}
        for record in state["features"]
    ]
    return {**state, "features": features}


def _changed(recipe: Mapping[str, Any], change: Any) -> dict[str, Any]:
    made = dict(recipe)
    if "encoders" in recipe:
        made["encoders"] = {name: change("encoder", record) for name, record in recipe["encoders"].items()}
    if "augments" in recipe:
        made["augments"] = {name: [change("augment", record) for record in parts] for name, parts in recipe["augments"].items()}
    return made


def _last_parts(kind: str, component: Component) -> Component:
    named = set(_names(kind, component))
    options = {
        name: Path(value).name if name in named and isinstance(value, str) else value for name, value in component.options.items()
    }
    return Component(component.type, options)


def _names(kind: str, component: Component) -> Iterator[str]:
    """Options of a component that name a file."""
    options = REGISTRIES[kind].signature(component.type).options
    for name in component.options:
        if name in options and _is_path(options[name].type):
            yield name


def _paths(kind: str, component: Component | None) -> Iterator[str]:
    if component is not None:
        values = (component.options[name] for name in _names(kind, component))
        yield from (value for value in values if isinstance(value, str))


def _is_path(kind: OptionType) -> bool:
    return kind.name == "FilePath" or any(_is_path(item) for item in kind.items)


def _revision(component: Component | None) -> str | None:
    value = None if component is None else component.options.get("revision")
    return None if value is None else str(value)


def _of_input(name: str, kind: str, path: str, revision: str | None, place: Place) -> Path:
    """`_find`, whose error says which input names the file."""
    try:
        return _find(path, revision, place)
    except DataError as error:
        raise DataError(f"inputs.{name}{'' if kind == 'feature' else f'.{kind}'}: {error}") from error


def _find(path: str, revision: str | None, place: Place) -> Path:
    """On disk; with a revision, the snapshot of a repository of the hub, downloaded where it is not there yet."""
    if revision is None:
        return place.resolve(path).resolve()
    try:
        from huggingface_hub import snapshot_download  # a package of its own: only who names a revision needs it
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise packages.missing("encoder pretrained", error) from error
    try:
        return Path(snapshot_download(path, revision=revision, allow_patterns=[f"*{suffix}" for suffix in _READ]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path}: revision {revision} cannot be had from the Hugging Face hub ({said}). "
            "Check both, or name a folder on disk and no revision."
        ) from error


def _hash(path: Path) -> str:
    if path.is_file():
        return hash_file(path)
    files = sorted(item for item in path.iterdir() if item.is_file() and item.suffix in _READ)
    return hash_json([[item.name, hash_file(item)] for item in files])
