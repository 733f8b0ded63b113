"""Tagged texts in columns (CoNLL, BMES): one token a line, a blank line between two texts; also compressed (.gz, .xz, .zst)."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import polars as pl

from lode.core.errors import DataError
from lode.core.types import FilePath, Range
from lode.data.contracts import Source
from lode.data.formats import files
from lode.data.place import Place

_MAX_LINE_CHARS = 1 << 16
_DOCUMENT = "-DOCSTART-"


class Conll(Source):
    """One token a line with its tag, columns parted by blanks or tabs, a blank line after each text. One text is one row.

    Columns: the tokens and the tags, each as one text with a blank between two, so that `{type: text, tokens: space}` and the task
    `tagging` read them; row by row they are equally many. Lines that start with -DOCSTART- part documents and are left out.

    Args:
        path: the file, relative to lode.yaml or to `--data DIR`; UTF-8.
        tokens: name of the column of tokens.
        tags: name of the column of tags.
        token_column: the token's place in a line, from 0.
        tag_column: the tag's place in a line, from 0; left open, the last one.
        sha256: the expected sha256 of the file; checked before it is read.
        origin: where the file comes from; repeated in the error when it is missing.
    """

    def __init__(
        self,
        place: Place,
        *,
        path: FilePath,
        tokens: str = "tokens",
        tags: str = "tags",
        token_column: Annotated[int, Range(0)] = 0,
        tag_column: Annotated[int, Range(0)] | None = None,
        sha256: str | None = None,
        origin: str | None = None,
    ) -> None:
        self.place, self.path, self.sha256, self.origin = place, path, sha256, origin
        self.tokens, self.tags, self.token_column, self.tag_column = tokens, tags, token_column, tag_column
        self._rows: pl.DataFrame | None = None
        if tokens == tags:
            raise DataError(f"{path}: found the name {tags!r} for `tokens` and for `tags`, allowed are two. Change one of them.")
        if token_column == tag_column:
            raise DataError(
                f"{path}: found {tag_column} as `token_column` and as `tag_column`, allowed are two. Change one of them."
            )

    def fingerprint(self) -> str:
        return files.sha256_of(files.find(self.place, self.path, None, self.origin))

    def scan(self) -> pl.LazyFrame:
        if self._rows is None:
            path = files.find(self.place, self.path, self.sha256, self.origin)
            self.num_bytes = path.stat().st_size
            self._rows = self._read(path)
        return self._rows.lazy()

    def _read(self, path: Path) -> pl.DataFrame:
        """All texts. Errors: DataError where a line has too few columns, or there is no token."""
        texts: list[tuple[list[str], list[str]]] = [([], [])]
        for number, line in enumerate(_lines(path, self.path), start=1):
            parts = line.split()
            if not parts:
                if texts[-1][0]:
                    texts.append(([], []))
                continue
            if parts[0] == _DOCUMENT:
                continue
            wanted = (self.token_column, len(parts) - 1 if self.tag_column is None else self.tag_column)
            if len(parts) < 2 or max(wanted) >= len(parts):
                raise DataError(
                    f"{self.path}: line {number:,} has {len(parts)} columns ({line.strip()[:40]!r}), at least "
                    f"{max(2, *(place + 1 for place in wanted))} are needed: a token and its tag, with a blank between. Mend the line, or "
                    "name `token_column` and `tag_column`."
                )
            if wanted[0] == wanted[1]:
                raise DataError(
                    f"{self.path}: line {number:,} has {len(parts)} columns, and its last one is the token (`token_column: "
                    f"{self.token_column}`), needed is another one for the tag. Name `tag_column`."
                )
            texts[-1][0].append(parts[wanted[0]])
            texts[-1][1].append(parts[wanted[1]])
        found = [(" ".join(tokens), " ".join(tags)) for tokens, tags in texts if tokens]
        if not found:
            raise DataError(
                f"{self.path}: the file holds no token. Each line must be a token and its tag, for example `Paris B-LOC`."
            )
        return pl.DataFrame(found, schema={self.tokens: pl.String, self.tags: pl.String}, orient="row")


def _lines(path: Path, where: str) -> Iterator[str]:
    """Lines without their ends. Errors: DataError where they are no UTF-8, or one is too long to be a token and its tag."""
    decoder, rest = codecs.getincrementaldecoder("utf-8-sig")(), ""
    number = 1
    try:
        for chunk in files.byte_chunks(path):
            # Only line feeds end a line: a token may be any other character that Unicode counts as an end of lines.
            *whole, rest = (rest + decoder.decode(chunk)).split("\n")
            number += len(whole)
            yield from whole
            if len(rest) > _MAX_LINE_CHARS:
                raise files.too_long(where, number)
        yield rest + decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: line {number:,} or the next ones are no UTF-8 ({error.reason}). Save the file as UTF-8."
        ) from error
