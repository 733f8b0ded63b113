"""Somebody else's model as a version in the catalogue: who is asked and the price lists, frozen; no weights, no secret.

artifact.json    format version and recipe: the providers in order, how they are asked
prices/0.toml    the price list of each provider, as it was when the model was packaged
card.json, lineage.json, hash.json    what is known about it, where it comes from, what it must hash to

`lode/pipeline/upstream_work.py` makes it; `lode/app/upstream/` answers requests with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import polars as pl

from lode.core.errors import ArtifactError, ModelError
from lode.core.types import ColumnSchema, Problem
from lode.pipeline import artifact
from lode.pipeline.catalog import Catalog
from lode.pipeline.providers import Provider, read_provider
from lode.pipeline.state import read_json, write_bytes, write_json

FORMAT = 4
"""Of artifact.json: 1 and 2 hold models of rows, 3 a language model."""


@dataclass(slots=True)
class UpstreamModel:
    """A model that is asked over the network. It has no columns of its own and no weights: it can be served, and nothing else.

    options: timeout_s, retries, connections, max_tokens.
    """

    providers: tuple[Provider, ...]
    options: Mapping[str, Any]
    name: str = ""
    version: int | None = None
    hash: str = ""
    card: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    columns: ClassVar[tuple[ColumnSchema, ...]] = ()
    answers: ClassVar[tuple[ColumnSchema, ...]] = ()
    ignored: ClassVar[frozenset[str]] = frozenset()

    def verify(self) -> dict[str, Any]:
        """Nothing was trained, so there is nothing to compare; that its files are whole, `load` has seen."""
        return {"rows": 0, "largest_difference": 0.0, "bitwise": True}

    def problems(self, frame: pl.DataFrame) -> list[Problem]:
        """Errors: ModelError, it is only served."""
        self._served_only()

    def unseen(self, frame: pl.DataFrame) -> dict[str, int]:
        """Nobody here knows what it was trained on."""
        return {}

    def predict(self, frame: pl.DataFrame, *, check: bool = True) -> pl.DataFrame:
        """Errors: ModelError, it is only served."""
        self._served_only()

    def _served_only(self) -> NoReturn:
        raise ModelError(
            f"{self.name}: somebody else's model answers requests only. Start `lode serve {self.name}` and ask it there."
        )


def write(providers: Sequence[Provider], options: Mapping[str, Any], folder: Path) -> str:
    """Write what is hashed; returns the content hash."""
    records = [item.to_json(f"prices/{index}.toml") for index, item in enumerate(providers)]
    for record, item in zip(records, providers, strict=True):
        write_bytes(folder / record["prices"], item.text.encode())
    write_json(folder / "artifact.json", {"format": FORMAT, "recipe": {"providers": records, **options}})
    return artifact.content_hash(folder)


def read(folder: Path) -> UpstreamModel:
    """Load a model folder. Errors: ArtifactError where it is damaged or of a later format."""
    record = read_json(folder / "artifact.json")
    if record.get("format") != FORMAT:
        raise ArtifactError(
            f"{folder}: artifact format {record.get('format')}, a model behind an address has {FORMAT}. Upgrade lode."
        )
    recipe = dict(record["recipe"])
    providers = tuple(read_provider(item, folder) for item in recipe.pop("providers"))
    return UpstreamModel(providers, recipe, hash=artifact.content_hash(folder), folder=folder)


def secret_folders(runs: Path, card: Mapping[str, Any]) -> tuple[Path, ...]:
    """Where the files of keys are looked up: beside the runs folder, then beside the lode.yaml that the model was packaged from."""
    beside = runs.resolve().parent
    known = {row["id"]: Path(row["spec_path"]).resolve().parent for row in Catalog(runs).runs()}
    return tuple(dict.fromkeys((beside, known.get(str(card.get("run")), beside))))
