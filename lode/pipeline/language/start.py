"""What `model: {start: ...}` names: a Hugging Face folder, a folder of an artifact, or the name of an artifact in the same runs folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lode.core.errors import ArtifactError, DataError
from lode.data.place import Place
from lode.pipeline.artifact import artifact_folder
from lode.pipeline.catalog import Catalog
from lode.pipeline.manifest import hash_file, hash_json

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_READ = (".json", ".safetensors", ".jinja", ".txt")


@dataclass(frozen=True, slots=True)
class Start:
    """A model to go on from. folder: its Hugging Face files. artifact: the artifact's folder where it is one. name: as it was written."""

    name: str
    folder: Path
    artifact: Path | None

    @classmethod
    def find(cls, written: str | None, place: Place, runs: Path) -> Start | None:
        """None where training starts from drawn weights. Errors: DataError, ArtifactError where nothing fits the word."""
        if written is None:
            return None
        try:
            found = place.resolve(written).resolve()
        except DataError as error:
            catalog = Catalog(runs)
            if written not in {row["name"] for row in catalog.artifacts()}:
                raise DataError(f"{error} Nor is there an artifact of this name in {runs}.") from None
            found = artifact_folder(runs, written, catalog.version(written)).resolve()
        artifact = found if (found / "artifact.json").is_file() else None
        folder = found / "model" if artifact is not None else found
        if not (folder / "config.json").is_file():
            raise ArtifactError(
                f"model.start: {written} has no config.json, allowed: a Hugging Face folder or an artifact of a language model."
            )
        return cls(written, folder, artifact)

    @property
    def hash(self) -> str:
        """Of everything that is read from it."""
        files = sorted(path for path in self.folder.rglob("*") if path.is_file() and path.suffix in _READ)
        return hash_json([[str(path.relative_to(self.folder)), hash_file(path)] for path in files])

    @property
    def tokenizer_hash(self) -> str:
        """Of its tokenizer."""
        return tokenizer_hash(self.folder)


def tokenizer_hash(folder: Path) -> str:
    """Of the files of a tokenizer."""
    files = [folder / name for name in _TOKENIZER if (folder / name).is_file()]
    return hash_json([[path.name, hash_file(path)] for path in files])
