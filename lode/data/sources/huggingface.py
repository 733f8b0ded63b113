"""Data sets of the Hugging Face hub: by id, out of a local cache, or a local folder. Only files of rows are read; no code of a set runs."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is the base for every failed request
    GatedRepoError,
    HFValidationError,
    HTTPError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import disable_progress_bars

from lode.core import disk
from lode.core.errors import DataError, listed, near_miss
from lode.core.types import ByteSize, ColumnName, Component, FilePath
from lode.data.access import hub_files
from lode.data.access.fetch import folder_for
from lode.data.access.hub_files import Chosen
from lode.data.access.pieces import Piece, Pieces
from lode.data.contracts import Source
from lode.data.formats import files
from lode.data.place import Place

_HUB = "https://huggingface.co"
_CARD = "README.md"
_OPTIONS: Mapping[str, Mapping[str, Any]] = {"csv": {"null_values": [""]}}
"""Cells of the hub's tables are what they say: "None" is a word there."""


@dataclass(frozen=True, slots=True)
class _Found:
    """folder: where the files are. revision: the commit, "" for a folder."""

    folder: Path
    chosen: Chosen
    revision: str


class Huggingface(Source):
    """A data set as Parquet, Arrow, CSV or JSON lines: from the hub, from a cache that is on this machine, or from a folder.

    Args:
        id: the data set's name on the hub, `owner/name`.
        path: instead of `id`, a local folder: a repository that was cloned or downloaded, or what `save_to_disk` wrote.
        revision: branch, tag or commit; name a commit to read the same rows for ever.
        split: `train`, `validation`, `test` or another that the set has; by default the only one, or `train`.
        subset: which configuration, or which folder, of a set that has several.
        columns: only these; by default all.
        token_env: environment variable that holds an access token, for sets that are private or gated.
        offline: read only what the cache has; no network is used.
        cache: folder of a hub cache (`~/.cache/huggingface/hub`); by default files land in the runs folder.
        endpoint: address of another hub or of a mirror.
        max_bytes: all files of the split together; more is an error before they are fetched.
    """

    def __init__(
        self,
        place: Place,
        *,
        id: str | None = None,
        path: FilePath | None = None,
        revision: str | None = None,
        split: str | None = None,
        subset: str | None = None,
        columns: list[ColumnName] | None = None,
        token_env: str | None = None,
        offline: bool = False,
        cache: FilePath | None = None,
        endpoint: str | None = None,
        max_bytes: ByteSize = 100_000_000_000,  # type: ignore[assignment]
    ) -> None:
        if (id is None) == (path is None):
            raise DataError("huggingface: found both or none of id and path, allowed: one of them. Name the data set.")
        self.place, self.id, self.path, self.revision = place, id, path, revision
        self.split, self.subset, self.columns = split, subset, columns
        self.token_env, self.offline, self.cache, self.endpoint = token_env, offline, cache, endpoint or _HUB
        self.max_bytes = int(max_bytes)
        self.name = str(id or path)
        self._found: _Found | None = None
        self._pieces: Pieces | None = None
        self._locating = threading.Lock()

    @property
    def notes(self) -> list[str]:  # type: ignore[override]
        """Which commit, subset and split were read, and what the inner sources say."""
        if self._found is None or self._pieces is None:
            return []
        chosen = self._found.chosen
        of = f" of subset {chosen.subset}" if chosen.subset else ""
        at = f" at commit {self._found.revision}" if self._found.revision else ""
        others = [split for split in chosen.splits if split != chosen.split]
        beside = f"; it also has {listed(others)}" if others else ""
        return [f"{self.name}{at}: split {chosen.split}{of}, {len(chosen.files):,} files{beside}.", *self._pieces.notes]

    @property
    def num_bytes(self) -> int:  # type: ignore[override]
        return 0 if self._pieces is None else self._pieces.num_bytes

    @property
    def unpacked_bytes(self) -> int | None:  # type: ignore[override]
        return None if self._pieces is None else self._pieces.unpacked_bytes

    def fingerprint(self) -> str:
        found = self._located()
        hashes = [[name, files.sha256_of(found.folder / name)] for name in found.chosen.files]
        return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()

    def scan(self) -> pl.LazyFrame:
        return self._shaped(self._opened().scan())

    def scan_as(self, types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
        if self.columns:
            self.check()  # the last column, whose empty cells make others ask, may not be among them
        return self._shaped(self._opened().scan_as(types))

    def check(self, num_rows: int | None = None) -> bool:
        return self._opened().check(num_rows)

    def clean_words(self, words: pl.Series) -> pl.Series:
        return self._opened().clean_words(words)

    def _shaped(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """The chosen columns; a picture or sound, which the hub keeps as {bytes, path}, becomes its bytes."""
        schema = frame.collect_schema()
        for name in self.columns or ():
            if name not in schema:
                raise DataError(f'{self.name}: columns names "{name}", found {listed(schema)}.{near_miss(name, schema)}')
        media = [
            name
            for name, dtype in schema.items()
            if isinstance(dtype, pl.Struct) and {field.name for field in dtype.fields} == {"bytes", "path"}
        ]
        frame = frame.with_columns(pl.col(name).struct.field("bytes").alias(name) for name in media) if media else frame
        return frame.select(self.columns) if self.columns else frame

    def _opened(self) -> Pieces:
        if self._pieces is None:
            found = self._located()
            chosen = found.chosen
            options = {**_OPTIONS.get(chosen.reader, {}), **({"separator": "\t"} if ".tsv" in chosen.files[0].lower() else {})}
            pieces = [Piece(found.folder / name, f"{self.name}/{name}") for name in chosen.files]
            reader = _json_kind(pieces[0].path) if chosen.reader == "json" else chosen.reader
            self._pieces = Pieces(self.place, Component(reader, options), pieces)
        return self._pieces

    def _located(self) -> _Found:
        """Find or fetch the files, once in the life of this source (hashing and reading may ask at the same time)."""
        with self._locating:
            if self._found is None:
                self._found = self._local() if self.path is not None else self._from_cache() if self.offline else self._from_hub()
            return self._found

    def _local(self) -> _Found:
        folder = self.place.resolve(str(self.path))
        if not folder.is_dir():
            raise DataError(f"{self.path}: found a file, a folder is needed. Read a single file with source csv, jsonl or parquet.")
        return _Found(folder, self._chosen(_names(folder), folder), "")

    def _chosen(self, names: list[str], folder: Path) -> Chosen:
        card = folder / _CARD
        text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
        return hub_files.choose(self.name, names, text, self.subset, self.split)

    def _from_cache(self) -> _Found:
        folder = self._download(None, None)
        chosen = self._chosen(_names(folder), folder)
        return _Found(folder, chosen, folder.name)

    def _from_hub(self) -> _Found:
        token = self._token()
        try:
            api = HfApi(endpoint=self.endpoint, token=token or False)
            info = api.dataset_info(str(self.id), revision=self._seen() or self.revision, files_metadata=True)
        except (HTTPError, OSError, HFValidationError) as error:
            raise self._refused(error, token) from error
        self.place.landed[self._run_key] = Path(str(info.sha))
        sizes = {item.rfilename: item.size or 0 for item in info.siblings or ()}
        folder = self._download([_CARD], token, info.sha)
        chosen = self._chosen(list(sizes), folder)
        total = sum(sizes[name] for name in chosen.files)
        if total > self.max_bytes:
            raise DataError(
                f"{self.name}: split {chosen.split} has {total:,} bytes, allowed: {self.max_bytes:,} (max_bytes). Raise it."
            )
        return _Found(self._download(chosen.files, token, info.sha), chosen, str(info.sha))

    @property
    def _run_key(self) -> str:
        return f"huggingface {self.endpoint} {self.id} {self.revision}"

    def _seen(self) -> str | None:
        """The commit that this run has read before: a branch may move while it runs."""
        commit = self.place.landed.get(self._run_key)
        return None if commit is None else commit.name

    def _download(self, wanted: list[str] | None, token: str | None, commit: str | None = None) -> Path:
        """The snapshot's folder; with `wanted` its files are there. Whole files only: the hub's library renames them when they are."""
        cache = self.place.resolve(self.cache) if self.cache else folder_for(self.place, {"huggingface": self.endpoint})
        disable_progress_bars()
        try:
            found = snapshot_download(
                str(self.id),
                repo_type="dataset",
                revision=commit or self.revision,
                cache_dir=cache,
                token=token or False,
                local_files_only=self.offline,
                allow_patterns=wanted,
                endpoint=self.endpoint,
            )
        except IncompleteSnapshotError as error:
            # A cache that holds one split is no fault; shards that are missing from it are looked for by `hub_files.choose`.
            return Path(str(error.snapshot_path))
        except (HTTPError, OSError, HFValidationError) as error:
            raise self._refused(error, token) from error
        return Path(str(found))

    def _token(self) -> str | None:
        if self.token_env is None:
            return None
        token = os.environ.get(self.token_env)
        if not token:
            raise DataError(
                f"{self.name}: token_env names the environment variable {self.token_env}, which is not set or empty. "
                f"Set it before you start lode: export {self.token_env}=..."
            )
        return token

    def _refused(self, error: Exception, token: str | None) -> DataError:
        """A fault of the hub in the words of a user; the token is never in them."""
        text = str(error).replace(token, "***") if token else str(error)
        first = (text.splitlines() or [type(error).__name__])[0]
        if isinstance(error, GatedRepoError):
            return DataError(
                f"{self.name}: its owners want to know who reads it. Accept their terms at {self.endpoint}/datasets/{self.id}, then name "
                "an access token with token_env."
            )
        if isinstance(error, RevisionNotFoundError):
            return DataError(f'{self.name}: found no revision "{self.revision}". Name a branch, a tag or a commit.')
        if isinstance(error, RepositoryNotFoundError):
            return DataError(f"{self.name}: found no such data set. Check the id; a private one needs token_env.")
        if isinstance(error, HFValidationError):
            return DataError(f"{self.name}: is no id, allowed: owner/name. For a folder write `path:`.")
        if self.offline or isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled):
            return DataError(
                f"{self.name}: not in the cache, and the hub is {'not asked (offline)' if self.offline else 'out of reach'}. "
                "Fetch it once where the network is, or name the folder of a cache with `cache:`."
            )
        return DataError(f"{self.name}: the hub at {self.endpoint} gives no usable answer ({first}). Try again later.")


def _json_kind(path: Path) -> str:
    """The hub calls JSON lines .json too: a document of rows begins with a bracket."""
    with files.open_bytes(path) as file:
        start = files.read(file, 1 << 10, path).removeprefix(b"\xef\xbb\xbf").lstrip()
    return "json" if start.startswith(b"[") else "jsonl"


def _names(folder: Path) -> list[str]:
    """Every file below a folder, relative; links to folders are not followed."""
    found = [Path(base, name) for base, names in disk.walk(folder) for name in names]
    return sorted(path.relative_to(folder).as_posix() for path in found if path.is_file())
