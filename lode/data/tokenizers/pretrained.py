"""The tokenizer of any Hugging Face folder, as it is. Read by the package `tokenizers`; contract: lode/data/corpus/contracts.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lode.core import packages
from lode.core.errors import DataError
from lode.core.types import FilePath
from lode.data.corpus import coder, template
from lode.data.corpus import folder as files
from lode.data.corpus.contracts import Tokenizer
from lode.data.place import Place

_FILES = [files.TOKENIZER, files.CONFIG, files.TEMPLATE, files.GENERATION]


class Pretrained(Tokenizer):
    """A tokenizer that was made elsewhere, with its special tokens and its chat template. Learns nothing. Needs lodeml[bpe].

    A folder without a chat template gets a plain one ("User:", "Assistant:", the end token), so that conversations can be learned.

    Args:
        path: Folder with tokenizer.json; with a revision, the name of a repository of the Hugging Face hub.
        revision: Commit of that repository; it is downloaded once.
        template: A file with a chat template (Jinja) in place of the folder's.
    """

    def __init__(self, place: Place, *, path: FilePath, revision: str | None = None, template: FilePath | None = None) -> None:
        self._place, self._template = place, template
        self.load(_of_hub(path, revision) if revision is not None else place.resolve(path))

    def fit(self, texts: Iterable[str]) -> None:
        """Nothing: it was learned elsewhere."""

    def load(self, folder: Path) -> None:
        saved, self._coder = coder.read(folder)
        self._saved = saved
        self.special, self.size, self.swallows = saved.special, self._coder.size, saved.swallows
        self.roles = {
            role: mark for role in ("bos_token", "eos_token", "pad_token", "unk_token") if (mark := saved.mark(role)) is not None
        }
        self.end, self.unknown = coder.first(saved, "eos_token"), coder.first(saved, "unk_token")
        self.begin, self.stops = self._coder.begin, saved.stops
        self.template = self._chosen(saved.template)

    def _chosen(self, own: str | None) -> str | None:
        if self._template is not None:
            return self._place.resolve(self._template).read_text(encoding="utf-8")
        return own if own is not None or self.end is None else template.PLAIN

    def encode(self, texts: Sequence[str], *, inside: bool = False) -> list[np.ndarray]:
        return self._coder.encode(texts, inside)

    def decode(self, tokens: Sequence[int] | np.ndarray, *, special: bool = False) -> str:
        return self._coder.decode(tokens, special)

    def save(self, folder: Path) -> None:
        files.write_files(folder, self._saved.text, {**self._saved.config}, self.template)


def _of_hub(name: str, revision: str) -> Path:
    """The files of a repository. Errors: MissingPackageError, DataError where they cannot be had."""
    try:
        from huggingface_hub import snapshot_download  # a package of its own: only who names a revision needs it
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise packages.missing("tokenizer pretrained: revision", error) from error
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        said = str(error).strip().splitlines()[0]
        raise DataError(
            f"{name}: revision {revision} cannot be had from the Hugging Face hub ({said}). "
            "Check both, or name a folder on disk and no revision."
        ) from error
