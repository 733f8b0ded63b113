"""Masks what points to a person: mail addresses, phones, cards, bank accounts, national numbers, IP addresses, names.

Where it stands in a cell is found by lode/data/mending/personal.py. Works on cells as the source gave them, so that no snapshot keeps them.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import polars as pl

from lode.core.errors import DataError, listed, near_miss
from lode.core.types import ColumnName
from lode.data.contracts import ROW, Cleaner, State
from lode.data.mending import identifiers, personal

_MIN_KEY_BYTES = 16
_TOKEN_CHARS = 16
_ASKED = "data.clean pii"
_CELL = "[CELL]"
_WORDLESS = ("number", "date", "binary")
"""Features that read no placeholder: a cell of theirs becomes missing."""


class Pii(Cleaner):
    """Replaces personal data in cells, in training and in every request. Values never reach the snapshot, the change log or the artifact.

    In a column of numbers, dates or yes-or-no, and in a source's own number columns, a placeholder cannot stand: such a cell becomes
    missing.

    Args:
        kinds: what is looked for; by default everything but names, which lists find only in part.
        countries: whose national numbers; by default Brazil, China, Spain, France, Italy, Poland, the United States. The checks of
            "de" and "nl" let one in ten, or in eleven, of all numbers of that length pass.
        columns: only these columns; by default all but pictures.
        action: "mask" writes the kind, [EMAIL]; "hmac" a token, [EMAIL:8f14e45fceea167a], the same for the same value under one key, so
            that joins and groups still work; "cell" makes the whole cell missing; "drop" makes every cell of `columns` missing.
        key_env: the environment variable that holds the key for "hmac", at least 16 bytes.
        key_file: a file that holds the key instead; an absolute path, or one that starts with ~.
    """

    scope: Literal["source", "cells", "training"] = "cells"
    on: ClassVar[Literal["raw", "typed"]] = "raw"
    secret: ClassVar[bool] = True

    def __init__(
        self,
        *,
        kinds: list[Literal["email", "phone", "card", "iban", "national", "ip", "name"]] | None = None,
        countries: list[Literal["br", "cn", "de", "es", "fr", "it", "nl", "pl", "us"]] | None = None,
        columns: list[ColumnName] | None = None,
        action: Literal["mask", "hmac", "cell", "drop"] = "mask",
        key_env: str | None = None,
        key_file: str | None = None,
    ) -> None:
        self.columns, self.action = columns, action
        self.key_env, self.key_file = key_env, key_file
        known = tuple(kinds) if kinds is not None else personal.DEFAULT_KINDS
        asked = tuple(countries) if countries is not None else identifiers.DEFAULT_COUNTRIES
        self._detector = personal.Detector(known, asked)
        self._words: dict[str, str] = {}
        self._key: bytes | None = None
        self._check: str | None = None

    def fit(self, rows: pl.LazyFrame, types: Mapping[str, str]) -> None:
        """Nothing is learnt from rows but which columns there are.

        Errors: DataError where "hmac" has no key, "drop" no columns, or a column is none.
        """
        if self.action == "drop" and self.columns is None:
            raise DataError(f'{_ASKED}: found action "drop" without `columns`, allowed: with them. Name the columns to empty.')
        if self.action == "hmac":
            self._check = _digest(self._read_key(), "check")
        schema = rows.collect_schema()
        # Without a row number these are the cells of one column, looked at to see what it is.
        for name in self.columns or () if ROW in schema else ():
            if name not in schema:
                known = [other for other in schema if other != ROW]
                raise DataError(
                    f'{_ASKED}.columns: no input "{name}", found {listed(known)}.{near_miss(name, known)} Name one of them.'
                )
        names = [name for name, dtype in schema.items() if name != ROW and dtype != pl.Binary and not dtype.is_nested()]
        self._words = {name: types.get(name, "") for name in names if self.columns is None or name in self.columns}

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Errors: DataError where the key is missing, or is not the one of training."""
        named = [name for name in frame.columns if name in self._words]
        if self.action == "drop":
            return frame.with_columns(pl.lit(None, frame.schema[name]).alias(name) for name in named)
        cleaned = [self._cleaned(frame[name], self._words[name]) for name in named]
        return frame.with_columns(cleaned) if cleaned else frame

    def _cleaned(self, column: pl.Series, word: str) -> pl.Series:
        texts = personal.as_texts(column)
        if texts is None:
            return column
        as_words = not column.dtype.is_numeric() and word not in _WORDLESS and self.action != "cell"
        after = self._detector.replaced(texts, self._spelled if as_words else _whole)
        if after is texts:
            return column
        # A whole cell that is gone must not be taken for one that said so: compare with what it was.
        return after if as_words else column.set(after.ne_missing(texts), None)

    def _spelled(self, hit: str, kind: str) -> str:
        if self.action == "mask":
            return f"[{kind.upper()}]"
        return f"[{kind.upper()}:{_digest(self._proven_key(), f'{kind}:{identifiers.plain(hit, kind)}')}]"

    def why(self, changed: pl.DataFrame) -> pl.Series | None:
        """The kinds that stood in each cell."""
        if self.action == "drop":
            return pl.Series(["column dropped"] * changed.height, dtype=pl.String)
        kinds = self._detector.kinds_of(changed["before"].fill_null("")).list.join(", ")
        return kinds.replace("", "personal data")

    def _read_key(self) -> bytes:
        """Errors: DataError naming what is missing; the key itself is never shown."""
        if self.key_file is not None and self.key_env is None:
            path = Path(self.key_file).expanduser()
            if not path.is_absolute():
                raise DataError(
                    f"{_ASKED}.key_file: found {self.key_file!r}, allowed: an absolute path. Write it whole, or with ~."
                )
            try:
                key = path.read_bytes().strip()
            except OSError as error:
                raise DataError(f"{_ASKED}.key_file: {path} cannot be read ({error.strerror}). Put the key there.") from None
            where = f"key_file: {path}"
        elif self.key_env is not None and self.key_file is None:
            key, where = os.environ.get(self.key_env, "").encode(), f"key_env: {self.key_env}"
        else:
            raise DataError(f'{_ASKED}: action "hmac" takes its key from one of key_env and key_file. Name one of them.')
        if len(key) < _MIN_KEY_BYTES:
            raise DataError(
                f"{_ASKED}.{where} holds {len(key)} bytes, allowed: at least {_MIN_KEY_BYTES}. Make one: openssl rand -hex 32"
            )
        return key

    def _proven_key(self) -> bytes:
        if self._key is None:
            key = self._read_key()
            if self._check is not None and not hmac.compare_digest(_digest(key, "check"), self._check):
                raise DataError(
                    f"{_ASKED}: the key is another one than in training, its tokens would match nothing. Give the key of training."
                )
            self._key = key
        return self._key

    def state(self) -> State:
        """Column names and, for "hmac", a digest by which another key is noticed; never the key or a value."""
        return {"words": dict(self._words), "check": self._check}

    def restore(self, state: State) -> None:
        self._words, self._check, self._key = dict(state["words"]), state["check"], None


def _digest(key: bytes, text: str) -> str:
    """HMAC-SHA-256 (RFC 2104), its first 64 bits in hexadecimal."""
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:_TOKEN_CHARS]


def _whole(hit: str, kind: str) -> str:
    return _CELL
