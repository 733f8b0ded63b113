"""Rows of a snapshot to documents of tokens, as an objective reads them: texts, conversations, or pairs of answers.

What a record lacks or has wrongly is counted with its reason, never passed over in silence. Writing them: lode/data/corpus/store.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from lode.core.errors import DataError, listed, near_miss
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.corpus import chat
from lode.data.corpus.contracts import Tokenizer

_DEFAULT = "text"


@dataclass(slots=True)
class Documents:
    """Documents one after the other: tokens_N int32, lengths_D int64, learned_N uint8 or None where all are learned.

    rows_D: the row of the batch that each is from. texts: what is learned of each, for the counts. rejected: reason -> rows.
    """

    tokens_N: np.ndarray
    lengths_D: np.ndarray
    learned_N: np.ndarray | None
    rows_D: np.ndarray
    texts: pl.Series
    rejected: Counter[str] = field(default_factory=Counter)


class Renderer(ABC):
    """What an objective reads of a row."""

    def __init__(self, options: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> None:
        self.options, self.have = options, list(schema)

    @property
    @abstractmethod
    def columns(self) -> list[str]:
        """The columns that are read."""

    @abstractmethod
    def texts(self, frame: pl.DataFrame) -> Iterator[str]:
        """What a tokenizer learns from."""

    @abstractmethod
    def documents(self, tokenizer: Tokenizer, frame: pl.DataFrame, behind: np.ndarray) -> Documents:
        """The documents of a batch of rows. behind: int32, tokens that end a document of text."""

    def _column(self, key: str, name: str) -> str:
        if name not in self.have:
            raise DataError(
                f'model.objective.{key}: no column "{name}", found {listed(self.have)}.{near_miss(name, self.have)} Name one of them.'
            )
        return name

    def _several(self, key: str) -> list[str]:
        value = self.options.get(key)
        names = [value] if isinstance(value, str) else list(value or ())
        return [self._column(key, name) for name in names]


def renderer(objective: Component, schema: Mapping[str, pl.DataType]) -> Renderer:
    """What reads rows of these columns for an objective. Errors: DataError for columns that are not there, or not named."""
    made: dict[str, type[Renderer]] = {"text": _Texts, "chat": _Chats, "pairs": _Pairs}
    return made[reads(objective)](objective.options, schema)


def asked(row: Mapping[str, Any], prompt: Sequence[str], messages: Sequence[str], system: str | None) -> list[dict[str, Any]]:
    """The messages before the answer: what a user says in the columns of `prompt`, joined by empty lines; or all of a conversation.

    messages: the column that holds it, or none. system: stands before all that have no system message. Errors: DataError.
    """
    before = [{"role": "system", "content": system}] if system else []
    if messages:
        found = chat.read(_plain(row[messages[0]]))
        return found if found[0]["role"] in ("system", "developer") else [*before, *found]
    said = "\n\n".join(str(row[name]).strip() for name in prompt if str(row[name] or "").strip())
    if not said:
        raise DataError("empty prompt")
    return [*before, {"role": "user", "content": said}]


def reads(objective: Component) -> str:
    """What an objective learns from: "text", "chat" or "pairs"."""
    return str(REGISTRIES["objective"].constant(objective.type, "reads"))


def texts(objective: Component, batches: Iterable[pl.DataFrame]) -> Iterator[str]:
    """What a tokenizer learns from, row by row, in memory one batch at a time."""
    for frame in batches:
        yield from renderer(objective, frame.schema).texts(frame)


class _Texts(Renderer):
    """One column, a document in each row."""

    def __init__(self, options: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> None:
        super().__init__(options, schema)
        self._name = self._found(schema)

    def _found(self, schema: Mapping[str, pl.DataType]) -> str:
        named = self.options.get("text")
        if named is not None:
            return self._column("text", named)
        fitting = [name for name, dtype in schema.items() if is_text(dtype)]
        if _DEFAULT in fitting or len(fitting) == 1:
            return _DEFAULT if _DEFAULT in fitting else fitting[0]
        raise DataError(
            f"model.objective.text: nothing found, and of the columns {listed(self.have)} none is clearly the text. "
            "Name it: objective: {type: next_token, text: COLUMN}."
        )

    @property
    def columns(self) -> list[str]:
        return [self._name]

    def texts(self, frame: pl.DataFrame) -> Iterator[str]:
        for text in as_text(frame[self._name]):
            if text:
                yield text

    def documents(self, tokenizer: Tokenizer, frame: pl.DataFrame, behind: np.ndarray) -> Documents:
        column = as_text(frame[self._name])
        rows_D = (column.str.len_bytes().fill_null(0) > 0).arg_true().to_numpy()
        kept = column.gather(rows_D)
        rejected: Counter[str] = Counter()
        if len(kept) < len(column):
            rejected["empty text"] += len(column) - len(kept)
        before = np.array([] if tokenizer.begin is None else [tokenizer.begin], np.int32)
        rows = [part for ids in tokenizer.encode(kept.to_list()) for part in (before, ids, behind)]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows)).reshape(-1, 3).sum(axis=1)
        return Documents(_joined(rows), lengths, None, rows_D, kept, rejected)


class _Conversations(Renderer):
    """What the two kinds of conversations share: where the messages before the answer come from."""

    def __init__(self, options: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> None:
        super().__init__(options, schema)
        self.prompt = self._several("prompt")
        self.messages = self._several("messages")
        if bool(self.prompt) == bool(self.messages):
            found = "both" if self.prompt else "neither"
            raise DataError(
                f"model.objective: found {found} of prompt and messages, allowed is one of them: prompt: COLUMN (or a list), which a user "
                "says, or messages: COLUMN, a whole conversation. Name one."
            )

    def _asked(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        return asked(row, self.prompt, self.messages, self.options.get("system"))

    def _answer(self, row: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
        """The answer of a column: a text, or messages of which the last one counts."""
        value = _plain(row[name])
        if isinstance(value, list):
            value = chat.read(value)[-1]["content"]
        if value is None or not str(value).strip():
            raise DataError(f"empty {name}")
        return [{"role": "assistant", "content": str(value)}]

    @abstractmethod
    def _conversations(self, row: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
        """One conversation for each document of the row."""

    last: bool = False

    def texts(self, frame: pl.DataFrame) -> Iterator[str]:
        for row in frame.select(self.columns).iter_rows(named=True):
            try:
                found = self._conversations(row)
            except DataError:
                continue
            seen: set[str] = set()
            for conversation in found:
                for message in conversation:
                    if message["content"] and message["content"] not in seen:
                        seen.add(message["content"])
                        yield message["content"]

    def documents(self, tokenizer: Tokenizer, frame: pl.DataFrame, behind: np.ndarray) -> Documents:
        rows: list[np.ndarray] = []
        learned: list[np.ndarray] = []
        said: list[str] = []
        numbers: list[int] = []
        rejected: Counter[str] = Counter()
        for number, row in enumerate(frame.select(self.columns).iter_rows(named=True)):
            try:
                conversations = self._conversations(row)
                made = [chat.tokens(tokenizer, one, last=self.last) for one in conversations]
            except DataError as error:
                rejected[_reason(error)] += 1
                continue
            rows += [ids for ids, _ in made]
            learned += [mask for _, mask in made]
            said += [_said(one, self.last) for one in conversations]
            numbers += [number] * len(made)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        texts, rows_D = pl.Series(said, dtype=pl.String), np.array(numbers, np.int64)
        return Documents(_joined(rows), lengths, _joined(learned, np.uint8), rows_D, texts, rejected)


class _Chats(_Conversations):
    """A conversation in each row."""

    def __init__(self, options: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> None:
        super().__init__(options, schema)
        self.answer = self._several("answer")
        if self.prompt and len(self.answer) != 1:
            raise DataError(
                "model.objective.answer: nothing found, allowed beside prompt: the column of answers. Add answer: COLUMN."
            )

    @property
    def columns(self) -> list[str]:
        return [*self.prompt, *self.answer, *self.messages]

    def _conversations(self, row: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
        asked = self._asked(row)
        return [[*asked, *self._answer(row, self.answer[0])] if self.prompt else asked]


class _Pairs(_Conversations):
    """A prompt with a chosen and a rejected answer in each row: two documents, in this order."""

    last = True

    def __init__(self, options: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> None:
        super().__init__(options, schema)
        self.chosen, self.rejected = self._several("chosen"), self._several("rejected")

    @property
    def columns(self) -> list[str]:
        return [*self.prompt, *self.messages, *self.chosen, *self.rejected]

    def _conversations(self, row: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
        asked = self._asked(row)
        good, bad = (self._answer(row, names[0]) for names in (self.chosen, self.rejected))
        if good == bad:
            raise DataError("chosen and rejected are the same")
        return [[*asked, *good], [*asked, *bad]]


def is_text(dtype: pl.DataType) -> bool:
    """Whether a column can be read as texts: words, or lists of them (paragraphs)."""
    return dtype == pl.String or isinstance(dtype, pl.Categorical | pl.Enum) or dtype == pl.List(pl.String)


def as_text(column: pl.Series) -> pl.Series:
    """Texts of a column; a list of paragraphs is joined by line ends. Errors: DataError for anything else."""
    if column.dtype == pl.List(pl.String):
        return column.list.join("\n", ignore_nulls=True)
    if not is_text(column.dtype):
        raise DataError(f'model.objective.text: "{column.name}" holds {column.dtype}, allowed: texts. Name another column.')
    return column.cast(pl.String)


def _plain(value: Any) -> Any:
    """A cell that holds a list as JSON, or one, as Python's own."""
    if isinstance(value, pl.Series):
        return value.to_list()
    return chat.read(value) if isinstance(value, str) and value.lstrip().startswith("[{") else value


def _said(conversation: Sequence[Mapping[str, Any]], last: bool) -> str:
    """What is learned of a conversation."""
    answers = [message["content"] or "" for message in conversation if message["role"] == "assistant"]
    return "".join(answers[-1:] if last else answers)


def _reason(error: DataError) -> str:
    """The first words of an error, without what is different in every row."""
    return str(error).split(", allowed")[0][:120]


def _joined(rows: Sequence[np.ndarray], dtype: type = np.int32) -> np.ndarray:
    return np.concatenate(rows) if rows else np.empty(0, dtype)
