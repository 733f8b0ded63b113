"""A corpus of tokens on disk: written in blocks, read by mapping it into memory. The layout is in lode/data/corpus/contracts.py.

A folder appears whole or not at all: a process that is killed leaves a hidden one, which the next try throws away.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import polars as pl

from lode.core.errors import ArtifactError, DataError
from lode.core.types import Component
from lode.data.corpus import render, words
from lode.data.corpus.contracts import FILES, Tokenizer
from lode.data.corpus.languages import Languages
from lode.data.place import Progress, no_progress

TOKENS, DOCUMENTS, LEARNED, ROWS, ABOUT = FILES
_REASONS = 20
_PIECE_BYTES = 1 << 25
"""So much of a batch is cut at once, whatever the length of its documents."""


def write(
    tokenizer: Tokenizer,
    objective: Component,
    batches: Iterable[pl.DataFrame],
    folder: Path,
    progress: Progress = no_progress,
    *,
    separator: str | None = None,
) -> dict[str, Any]:
    """Cut rows into tokens, and what `about.json` says. In memory one batch at a time.

    separator: stands behind each document of text in place of the tokenizer's end token ("" for nothing).
    Errors: DataError where no row gives a document.
    """
    hidden = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir(parents=True)
    with _Writing(hidden, tokenizer, objective, separator) as writing:
        for frame in batches:
            for piece in frame.iter_slices(_rows_of(frame)):
                writing.add(piece)
                progress("tokens", writing.rows, 0, {"tokens": float(writing.tokens.length)})
        about = writing.close()
    text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
    with (hidden / ABOUT).open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(hidden, folder)
    return about


def read(folder: Path) -> dict[str, np.ndarray]:
    """The arrays "tokens", "documents" and, where not every token is learned, "learned", mapped into memory.

    Errors: ArtifactError for a file that is missing, cut off, or does not go with the others.
    """
    about = read_about(folder)
    names = [TOKENS, DOCUMENTS, *([LEARNED] if (folder / LEARNED).is_file() else [])]
    found = {Path(name).stem: _mapped(folder / name) for name in names}
    sizes = {"tokens": about["tokens"], "documents": about["documents"] + 1, "learned": about["tokens"]}
    for name, array in found.items():
        if array.ndim != 1 or len(array) != sizes[name]:
            raise ArtifactError(
                f"{folder / name}.npy: holds {array.shape}, {ABOUT} says {sizes[name]:,}. Remove the folder and run again."
            )
    return found


def rows(folder: Path) -> np.ndarray:
    """Which row of the split each document is from, int64 (D,). Errors: ArtifactError."""
    return _mapped(folder / ROWS)


def read_about(folder: Path) -> dict[str, Any]:
    """What `about.json` says. Errors: ArtifactError."""
    path = folder / ABOUT
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path}: cannot be read ({error}). Remove the folder and run the command that made it again."
        ) from error
    if not isinstance(about, dict) or not {"tokens", "documents", "vocabulary"} <= about.keys():
        raise ArtifactError(f"{path}: says nothing of tokens. Remove the folder and run the command that made it again.")
    return about


def _rows_of(frame: pl.DataFrame) -> int:
    """Rows that hold about `_PIECE_BYTES`."""
    return max(1, int(frame.height * _PIECE_BYTES / max(frame.estimated_size(), 1)))


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path}: cannot be read ({error}). Remove the folder and run the command that made it again."
        ) from error


class _Blocks:
    """A one-dimensional .npy file that grows. Its length is written into the header at the end, for which numpy leaves room."""

    def __init__(self, path: Path, dtype: type[np.integer[Any]]) -> None:
        self.dtype, self.length = np.dtype(dtype), 0
        self._file = path.open("wb")
        self._header()

    def _header(self) -> None:
        descr = np.lib.format.dtype_to_descr(self.dtype)
        header = {"descr": descr, "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def add(self, block: np.ndarray) -> None:
        block.astype(self.dtype).tofile(self._file)
        self.length += len(block)

    def close(self) -> None:
        self._file.flush()
        self._file.seek(0)
        self._header()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def drop(self) -> None:
        self._file.close()


class _Writing:
    """A folder of tokens while it grows."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, objective: Component, separator: str | None) -> None:
        self.folder, self.tokenizer, self.objective = folder, tokenizer, objective
        reads = render.reads(objective)
        self.behind = _behind(tokenizer, separator) if reads == "text" else np.empty(0, np.int32)
        self.rows = self.bytes = self.words = self.learned_tokens = self.unknown = 0
        self.rejected: Counter[str] = Counter()
        self.languages = Languages()
        self.tokens = _Blocks(folder / TOKENS, np.uint16 if tokenizer.size <= 1 << 16 else np.uint32)
        self.documents = _Blocks(folder / DOCUMENTS, np.int64)
        self.sources = _Blocks(folder / ROWS, np.int64)
        self.learned = None if reads == "text" else _Blocks(folder / LEARNED, np.uint8)
        self.separator_bytes = len((separator or "").encode()) if reads == "text" else 0
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for blocks in (self.tokens, self.documents, self.sources, self.learned):
            if blocks is not None:
                blocks.drop()
        if kind is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _begin(self) -> None:
        """Before the first document stands what stands before every other one."""
        if self.tokenizer.begin is None and len(self.behind):
            self.tokens.add(self.behind[-1:])
        self.documents.add(np.array([self.tokens.length]))

    def add(self, frame: pl.DataFrame) -> None:
        """Append the documents of a batch of rows."""
        made = render.renderer(self.objective, frame.schema).documents(self.tokenizer, frame, self.behind)
        self.sources.add(self.rows + made.rows_D)
        self.rows += frame.height
        self.rejected += made.rejected
        first = self.tokens.length
        self.tokens.add(made.tokens_N)
        self.documents.add(first + np.cumsum(made.lengths_D))
        if self.learned is not None and made.learned_N is not None:
            self.learned.add(made.learned_N)
            upto_N = np.append(0, np.cumsum(made.learned_N, dtype=np.int64))
            said_D = np.diff(upto_N[np.append(0, np.cumsum(made.lengths_D))])
            self.learned_tokens += int(upto_N[-1])
        else:
            said_D = made.lengths_D - len(self.behind)
            self.learned_tokens += len(made.tokens_N)
        if self.tokenizer.unknown is not None:
            self.unknown += int(np.count_nonzero(made.tokens_N == self.tokenizer.unknown))
        self.bytes += int(made.texts.str.len_bytes().sum()) + self.separator_bytes * len(made.lengths_D)
        self.words += int(words.counts(made.texts).sum())
        self.languages.add(made.texts, said_D)

    def close(self) -> dict[str, Any]:
        """Finish the files; what `about.json` says."""
        num_documents = self.documents.length - 1
        if not num_documents:
            raise DataError(_empty(self.rows, self.rejected))
        for blocks in (self.tokens, self.documents, self.sources, self.learned):
            if blocks is not None:
                blocks.close()
        return {
            "documents": num_documents,
            "tokens": int(self.tokens.length),
            "learned_tokens": self.learned_tokens,
            "bytes": self.bytes,
            "words": self.words,
            "vocabulary": self.tokenizer.size,
            "unknown_tokens": self.unknown,
            "rows": self.rows,
            "rejected": dict(self.rejected.most_common(_REASONS)),
            "tokens_per_byte": self.learned_tokens / max(1, self.bytes),
            "tokens_per_word": self.learned_tokens / max(1, self.words),
            "languages": self.languages.figures(),
        }


def _behind(tokenizer: Tokenizer, separator: str | None) -> np.ndarray:
    """What stands behind a document of text, int32."""
    if separator is not None:
        return tokenizer.encode([separator], inside=True)[0] if separator else np.empty(0, np.int32)
    return np.array([] if tokenizer.end is None else [tokenizer.end], np.int32)


def _empty(rows: int, rejected: Counter[str]) -> str:
    if not rows:
        return "tokens: the corpus is empty, allowed: at least one document. Check the source, the cleaners and the split."
    reasons = "; ".join(f"{count:,} times {reason}" for reason, count in rejected.most_common(3))
    return f"tokens: none of {rows:,} rows gives a document ({reasons}). Check the columns that the objective names."
