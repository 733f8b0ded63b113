"""The one way to a tokenizer: `make` from the file's words, `load` from a folder (an artifact's, or any of Hugging Face's)."""

from __future__ import annotations

from pathlib import Path

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.corpus import folder as files
from lode.data.corpus.contracts import Tokenizer
from lode.data.place import Place


def make(component: Component, place: Place) -> Tokenizer:
    """A tokenizer to be fitted. Errors: UnknownNameError, SpecError, MissingPackageError."""
    made: Tokenizer = REGISTRIES["tokenizer"].create(component, place)
    return made


def load(folder: Path) -> Tokenizer:
    """The tokenizer of a folder. Errors: ArtifactError for files that are missing or damaged; MissingPackageError."""
    word = files.read(folder).word
    options = {"path": str(folder.resolve())} if word == "pretrained" else {}
    made = make(Component(word, options), Place(folder))
    made.load(folder)
    return made
