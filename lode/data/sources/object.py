"""Files of an object store or web server: fetched once to this machine, then read like files that always were here."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial
from typing import Annotated

import polars as pl

from lode.core.errors import DataError
from lode.core.types import ByteSize, Component, FilePath, FormatSpec, Range
from lode.data.access.credentials import read_credentials
from lode.data.access.fetch import Fetched, Limits, digest_of, fetch_once, hive
from lode.data.access.pieces import Piece, Pieces
from lode.data.access.remote import Access, open_remote
from lode.data.contracts import Source
from lode.data.place import Place


class Object(Source):
    """Files under a url: s3, gs, hdfs, http, https, memory or file. Folders named `column=cell` become columns.

    Args:
        url: a file, a folder or a glob (`*`, `?`, `[ab]`, `**`); a list of them is read one after the other.
        format: how the files are read: another source without its path, `csv` or `{type: csv, separator: ";"}`.
        endpoint: address of a server that speaks S3 without being Amazon's.
        region: region of the S3 bucket.
        key_env: environment variable that holds the S3 access key.
        secret_env: environment variable that holds the S3 secret key.
        token_env: environment variable that holds the S3 session token, or the bearer token for https.
        secrets: instead of them, a JSON file with `key`, `secret`, `token`, or the file of a Google service account.
        max_bytes: all files together; more is an error before it is fetched.
        retries: how often a failing request is made again before giving up; a try that brought new bytes does not count.
        timeout_s: seconds without an answer after which a request has failed.
    """

    def __init__(
        self,
        place: Place,
        *,
        url: str | list[str],
        format: FormatSpec,
        endpoint: str | None = None,
        region: str | None = None,
        key_env: str | None = None,
        secret_env: str | None = None,
        token_env: str | None = None,
        secrets: FilePath | None = None,
        max_bytes: ByteSize = 100_000_000_000,  # type: ignore[assignment]
        retries: Annotated[int, Range(0, 20)] = 5,
        timeout_s: Annotated[float, Range(0.1, 3600)] = 60.0,
    ) -> None:
        self.place, self.urls, self.format = place, [url] if isinstance(url, str) else list(url), format
        self.endpoint, self.region, self.timeout_s = endpoint, region, timeout_s
        self.environment = {"key": key_env, "secret": secret_env, "token": token_env}
        self.secrets, self.limits = secrets, Limits(int(max_bytes), retries)
        self._found: list[Fetched] | None = None
        self._pieces: Pieces | None = None
        self._asking = threading.Lock()

    @property
    def notes(self) -> list[str]:  # type: ignore[override]
        """How many files there are, which columns their folders give, and what the inner source says."""
        if self._pieces is None:
            return []
        files = self._fetched()
        columns = list(dict.fromkeys(name for piece in self._pieces.pieces for name in piece.constants))
        partitions = f"; columns from folders: {', '.join(columns)}" if columns else ""
        word = "file" if len(files) == 1 else "files"
        told = f"{', '.join(self.urls)}: {len(files):,} {word}, {sum(file.num_bytes for file in files):,} bytes{partitions}."
        return [told, *self._pieces.notes]

    @property
    def num_bytes(self) -> int:  # type: ignore[override]
        return 0 if self._found is None else sum(file.num_bytes for file in self._found)

    @property
    def unpacked_bytes(self) -> int | None:  # type: ignore[override]
        return None if self._pieces is None else self._pieces.unpacked_bytes

    def fingerprint(self) -> str:
        return digest_of(self._fetched())

    def scan(self) -> pl.LazyFrame:
        return self._opened().scan()

    def scan_as(self, types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
        return self._opened().scan_as(types)

    def check(self, num_rows: int | None = None) -> bool:
        return self._opened().check(num_rows)

    def clean_words(self, words: pl.Series) -> pl.Series:
        return self._opened().clean_words(words)

    def _fetched(self) -> list[Fetched]:
        """Ask the server, once in the life of this source (hashing and reading may ask at the same time)."""
        with self._asking:
            if self._found is None:
                self._found = self._asked()
            return self._found

    def _asked(self) -> list[Fetched]:
        """The files of every url, the bound being for all of them together."""
        if not self.urls:
            raise DataError("object: found no url, allowed: one or more. Name one.")
        credentials = read_credentials(self.place, f"object {self.urls[0]}", self.environment, self.secrets)
        access = Access(credentials, self.endpoint, self.region, self.timeout_s)
        found: list[Fetched] = []
        for url in self.urls:
            key = {"url": url, "endpoint": self.endpoint}
            left = Limits(max(0, self.limits.max_bytes - sum(file.num_bytes for file in found)), self.limits.retries)
            found += fetch_once(self.place, key, left, partial(open_remote, self.place, url, access))
        return found

    def _opened(self) -> Pieces:
        if self._pieces is None:
            files = [file for file in self._fetched() if file.num_bytes]
            if not files:
                raise DataError(f"{', '.join(self.urls)}: every file is empty. Check the url.")
            pieces = [Piece(file.path, file.shown, dict(hive(file.name))) for file in files]
            _check_partitions(pieces)
            self._pieces = Pieces(self.place, Component(self.format.type, self.format.options), pieces)
        return self._pieces


def _check_partitions(pieces: list[Piece]) -> None:
    """Every file must lie at the same depth of `column=cell` folders."""
    first = pieces[0]
    for piece in pieces[1:]:
        if list(piece.constants) != list(first.constants):
            raise DataError(
                f"{piece.name}: its folders give the columns {', '.join(piece.constants) or 'none'}, those of {first.name} give "
                f"{', '.join(first.constants) or 'none'}. Name files of the same folders by a glob."
            )
