"""The four contracts of the data layer: source, cleaner, feature, finding. Every extension inherits one of them directly.

Positional arguments of `__init__` are what the platform knows, keyword-only ones are what the user may write.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl

from lode.core.types import FlatSpec, TensorSpec

ROW = "__row__"
"""The column that carries a row's position in the raw data through every stage (UInt64); never an input."""

State = dict[str, Any]
"""Fitted state: JSON values and numpy arrays (no object arrays), nested in dicts and lists. Saved as JSON + safetensors."""


class Source(ABC):
    """Where rows come from. `__init__(self, place: Place, *, ...)`; `place` resolves paths (lode.data.place).

    notes: sentences for the user about what was guessed or skipped (a separator, files that are no pictures); known after `scan`.
    num_bytes: size of the raw data where it is known.
    unpacked_bytes: about their size when unpacked, for sources of several files; None where the ending of the one `path` tells.
    within: for a source made of others, which ("right") -> {"name", "sha256", "bytes"}, so that a message can name the one that changed;
        known after `fingerprint`.
    """

    notes: Sequence[str] = ()
    num_bytes: int = 0
    unpacked_bytes: int | None = None
    within: Mapping[str, Mapping[str, Any]] = MappingProxyType({})

    @abstractmethod
    def fingerprint(self) -> str:
        """sha256 (hex) of the raw bytes that `scan` will read."""

    @abstractmethod
    def scan(self) -> pl.LazyFrame:
        """The rows. Text formats give String columns (cells are typed by features); typed formats keep their types.

        Errors: DataError for a missing, empty or unreadable file, naming it and the next step.
        """

    def head(self, num_rows: int) -> pl.DataFrame:
        """About the first `num_rows` rows of `scan`, in little memory; fewer only where there are no more."""
        return self.scan_as({}).head(num_rows).collect()

    def scan_as(self, types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
        """`scan`, with a hint: the reader may build these columns in these types at once where that is faster. Others stay as they are.

        Float64 for text that holds numbers (a cell that is none fails when the frame is collected: then use `scan`); Categorical for
        text with few different words, which `clean_words` then turns into what `scan` gives. A source may ignore the hint.
        """
        return self.scan()

    def read_missing(self) -> bool:
        """From now on `scan_as` reads words that mean "missing" in every column of numbers, not only where `head` found some.

        Asked for where a column of numbers turned out to hold something else. True where that may help.
        """
        return False

    def check(self, num_rows: int | None = None) -> bool:
        """Look for faults that reading with `scan_as` can miss (lines that are too short); True where the rows must be read again.

        num_rows: how many rows reading gave, where that is known: the look may be shorter then. Asked for only where the last column
        has empty cells: a line that ends too early always leaves one.
        Errors: as `scan`.
        """
        return False

    def look_ahead(self) -> None:
        """Called in another thread while the rows are read: what `check` will ask for may be found meanwhile."""
        return

    def clean_words(self, words: pl.Series) -> pl.Series:
        """What `scan` would have given for words of a Categorical column of `scan_as`: one cell per word, null for "missing"."""
        return words


class Cleaner(ABC):
    """Changes cells or drops rows. What it changed is found by comparing frames (lode.data.changes), so it reports nothing itself.

    scope (an attribute, or set in `__init__` where an option decides):
        "source"    before the split: sees all rows, learns nothing from outputs; drops or mends rows once and for all
        "cells"     fitted on the training split, applied to every split and every request: part of the artifact; never drops rows
        "training"  drops or mends rows of the training split only
    on: "raw" sees cells as the source gave them (strings of a CSV); "typed" sees them after the features have parsed them. A cleaner of
        cells on "raw" learns nothing from rows but how cells are written, and its result is what the snapshot keeps.

    Tables may be larger than memory: `fit` gets all rows lazily, `apply` gets them batch by batch.
    """

    scope: Literal["source", "cells", "training"]
    on: ClassVar[Literal["raw", "typed"]] = "typed"
    coded: bool = False
    """True: `fit` may get words of few different values as an Enum, which is faster to hash and to compare."""
    by_row: ClassVar[bool] = False
    """True: `apply` drops rows by their `__row__` and asks for no other column."""
    own_column: bool = False
    """Typed cleaners of cells, True after `fit`: what becomes of a cell depends on no other column, and is of the same type."""
    leaves_numbers: bool = False
    """On "raw", True: a cell that is a number as it stands stays as it is, so that columns of numbers may be read as such."""
    secret: ClassVar[bool] = False
    """True: what stood in a cell before it was changed must not be written down (personal data), nor by the cleaners before this one."""
    notes: Sequence[str] = ()
    """Sentences for the user about what was found and left as it is; known after `fit`."""
    flags: Sequence[str] = ()
    """Typed cleaners of cells: inputs of which models are told whether the cell was missing before `apply`; known after `fit`."""

    @abstractmethod
    def fit(self, rows: pl.LazyFrame, types: Mapping[str, str]) -> None:
        """Learn from all rows of the scope (with `__row__`), in bounded memory: collect figures, one column, or a fixed sample of rows.

        types: column -> feature word ("number", "category", ...), inputs first; outputs have their task's word. A cleaner that must see
        all rows to say which ones go (duplicates) finds their `__row__` here, and `apply` drops those.
        """

    @abstractmethod
    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The cleaned rows of a batch (any rows, in order); what becomes of a row never depends on the others in the batch.

        The column `__row__`, where present, is carried along. Columns that were not fitted are left alone.
        """

    def why(self, changed: pl.DataFrame) -> pl.Series | None:
        """A reason per line of `changed` (lode.data.changes.SCHEMA: row, column, before, after), a few words each.

        Asked right after `apply` of the same batch, in the same thread (batches go through a cleaner side by side).
        None: the cleaner's word says it all.
        """
        return None

    @abstractmethod
    def state(self) -> State:
        """What `fit` learned, as far as requests need it: {} for cleaners of another scope than "cells"; plain JSON on "raw"."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Take over what `state` gave; afterwards `apply` is what it was."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One thing that a finding says of the data.

    severity: "error" (the figures of a model trained on this would be wrong), "warning" (look before you train), "info".
    columns: which ones, or none where it is about the rows. text: what was found, with its figures. advice: one sentence.
    """

    severity: Literal["error", "warning", "info"]
    columns: tuple[str, ...]
    text: str
    advice: str


class Finding(ABC):
    """One kind of trouble that a data set can have. `__init__(self, *, ...)`: its limits.

    The word in `data.require` makes the run stop where `look` finds anything.
    """

    title: ClassVar[str]
    """What it looks for, in a few words, for headings."""

    @abstractmethod
    def look(self, profile: Mapping[str, Any]) -> list[Observation]:
        """What a profile (lode.data.quality.profile; plain JSON) shows of it; pure."""


class Feature(ABC):
    """One column and how it becomes an array. `__init__(self, *, ...)`.

    The same code runs in training and on a request. Order of calls: parse, (cell cleaners), fit_transform or transform.
    """

    kind: ClassVar[Literal["number", "string", "datetime", "binary", "boolean", "list"]]
    """How a cell travels in a request and lies in Parquet."""
    expects: ClassVar[str]
    """What a cell must be, in words: "a number"."""
    learns_target: bool = False
    """Whether it learns from the target (set in `__init__` where an option decides): then training rows get values out of fold."""

    @abstractmethod
    def parse(self, column: pl.Series) -> pl.Series:
        """Typed cells from what a source or a request gave (strings, numbers, bytes). Null where a cell is empty or cannot be read.

        Idempotent: a typed column comes back as it is. A cell that was not null before and is null after is a rejected cell.
        """

    def fit(self, column: pl.Series, target: np.ndarray | None = None, folds: np.ndarray | None = None) -> None:
        """`fit_transform` without its array; overridden where the array is dear to make (an image)."""
        self.fit_transform(column, target, folds)

    @abstractmethod
    def fit_transform(self, column: pl.Series, target: np.ndarray | None, folds: np.ndarray | None) -> np.ndarray:
        """Learn from the (parsed) training column and return its array.

        target: (N,) of the first output: codes of classes (integers, negative where missing) or float32 numbers (NaN where missing).
        folds: int (N,) fold of each row. A feature that learns from the target gives every row what the rows of other folds say.
        """

    def without(self, fold: int) -> Feature:
        """The feature as if it had been fitted without the rows of a fold; only after `fit` with folds, which a state does not keep.

        Itself where it does not learn from the target.
        """
        return self

    @abstractmethod
    def transform(self, column: pl.Series) -> np.ndarray:
        """The array of a parsed column: `spec.dtype`, shape (N, *spec.shape). Nulls and unseen values are handled, never an error."""

    @abstractmethod
    def inverse(self, array: np.ndarray) -> pl.Series:
        """Cells from an array, as far as the feature keeps them (a category's word; a number up to rounding)."""

    @property
    @abstractmethod
    def spec(self) -> TensorSpec:
        """What `transform` gives; known after fitting."""

    def words(self) -> Sequence[str]:
        """What each code of the array stands for ("" for padding, missing, unknown); empty where codes have no names."""
        return ()

    @property
    @abstractmethod
    def flat_spec(self) -> FlatSpec:
        """Columns of `flat`, names relative to the input ("" for the input itself)."""

    @abstractmethod
    def flat(self, column: pl.Series) -> Any:
        """The plain matrix for baselines: float32 (N, F) with NaN for missing, or a scipy CSR matrix (texts)."""

    @abstractmethod
    def unseen(self, column: pl.Series) -> int:
        """How many (parsed, not null) cells hold a value that training never saw; 0 where that has no meaning."""

    @abstractmethod
    def state(self) -> State:
        """What fitting learned."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Take over what `state` gave; afterwards `transform` is bitwise what it was."""
