"""Artifacts by name or folder, whatever they hold: a model of rows, a language model, or somebody else's model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from lode.pipeline import artifact
from lode.pipeline.artifact import Model
from lode.pipeline.catalog import Catalog
from lode.pipeline.state import read_json

if TYPE_CHECKING:
    from lode.pipeline.language.model import LanguageModel
    from lode.pipeline.upstream import UpstreamModel

Loaded: TypeAlias = Union[Model, "LanguageModel", "UpstreamModel"]

LANGUAGE = 3
"""The format of artifact.json of a language model (lode/pipeline/language/model.py)."""

UPSTREAM = 4
"""The format of artifact.json of a model behind an address (lode/pipeline/upstream.py)."""


def load(name: str | Path, runs: str | Path = "runs", version: int | None = None) -> Loaded:
    """Load a model by name from a runs folder (the production version, or the given one), or an artifact folder by its path.

    Errors: ArtifactError for an unknown name, a changed file, or a later format.

    Example:
        model = lode.load("card-default")
        print(model.predict(rows))
    """
    folder = Path(name)
    title = str(name)
    if not (folder / "artifact.json").is_file():
        version = Catalog(Path(runs)).version(title, version)
        folder = artifact.artifact_folder(Path(runs), title, version)
    artifact.check_files(folder)
    model = read(folder)
    model.card = read_json(folder / "card.json")
    model.name, model.version = model.card["name"], model.card["version"]
    return model


def read(folder: Path) -> Loaded:
    """Load a model folder. Errors: ArtifactError where it is damaged, incomplete or of a later format."""
    format = read_json(folder / "artifact.json").get("format")
    if format == UPSTREAM:
        from lode.pipeline.upstream import read as read_upstream

        return read_upstream(folder)
    if format != LANGUAGE:
        return artifact.read(folder)
    # Here: a model of rows has no need of the engine and the tokenizers.
    from lode.pipeline.language.model import read as read_language

    return read_language(folder)
