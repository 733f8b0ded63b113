"""Plain records that every layer shares. Standard library only: no torch, no numpy, no I/O.

Read `lode/data/contracts.py`, `lode/model/contracts.py` and `lode/value/contracts.py` next: they say what an extension must do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NewType, TypeVar, dataclass_transform

C = TypeVar("C", bound=type)

ColumnName = NewType("ColumnName", str)
"""An option that names a column of the data."""

FilePath = NewType("FilePath", str)
"""An option that names a file or folder, relative to lode.yaml."""

ByteSize = NewType("ByteSize", int)
"""An option that is an amount of memory or disk: `2GB`, `500 MB`, `1GiB`, or a number of bytes."""

TimeSpan = NewType("TimeSpan", str)
"""An option that is a span of time: `90s`, `10m`, `2h`."""

CURRENCY = re.compile(r"[A-Z]{3}")
"""How `value.currency` is written: ISO 4217."""


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def quick(cls: C) -> C:
    """A dataclass with slots, for what is made at every request. Frozen for the type checker only: at run time that takes twice as long."""
    return dataclass(slots=True, unsafe_hash=True)(cls)  # type: ignore[return-value]


Key = tuple[str | int, ...]
"""Where something stands: ("data", "clean", 1, "numbers")."""


class ExactFloat(float):
    """A float that remembers how it was written."""

    text: str

    def __new__(cls, text: str) -> ExactFloat:
        made = super().__new__(cls, text.replace(".inf", "inf").replace(".nan", "nan"))
        made.text = text
        return made


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a numeric option: `width: Annotated[int, Range(1)] = 256`. Read from source by `core.signature`.

    search: from where to where `lode tune` tries it unless the file says otherwise; log: on a logarithmic scale.
    """

    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False
    search: tuple[float, float] | None = None
    log: bool = False


@dataclass(frozen=True, slots=True)
class Component:
    """What the user wrote where a folder of extensions is the choice: the word and its options."""

    type: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"type": self.type, **{name: _plain(value) for name, value in self.options.items()}}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Component:
        return cls(record["type"], {key: value for key, value in record.items() if key != "type"})


SourceSpec = NewType("SourceSpec", Component)
"""An option that is a source itself: a word, or a mapping with `type` and that source's options. It arrives as a Component."""

EncoderSpec = NewType("EncoderSpec", Component)
"""An option that is an encoder itself: a word, or a mapping with `type` and that encoder's options. It arrives as a Component."""

FamilySpec = NewType("FamilySpec", Component)
"""An option that is a family itself: a word, or a mapping with `type` and that family's options. It arrives as a Component."""

PretrainSpec = NewType("PretrainSpec", Component)
"""An option that says how to learn from rows before their labels: a word, or a mapping with `type` and that word's options."""

ArchitectureSpec = NewType("ArchitectureSpec", Component)
"""An option that is the architecture of a decoder: a word, or a mapping with `type` and its sizes."""

TokenizerSpec = NewType("TokenizerSpec", Component)
"""An option that is a tokenizer: a word, or a mapping with `type` and its options."""

ObjectiveSpec = NewType("ObjectiveSpec", Component)
"""An option that says what a language model is taught: a word, or a mapping with `type` and its options."""

AdapterSpec = NewType("AdapterSpec", Component)
"""An option that says which few weights are trained beside frozen ones: a word, or a mapping with `type` and its options."""

BenchmarkSpec = NewType("BenchmarkSpec", Component)
"""An option that is a set of questions with known answers: a word, or a mapping with `type` and its options."""

DamageSpec = NewType("DamageSpec", Component)
"""An option that is a way to damage cells: a word, or a mapping with `type` and its options."""

FormatSpec = NewType("FormatSpec", Component)
"""An option that says how to read files that the outer source finds: a source without its `path`. It arrives as a Component."""


def _plain(value: Any) -> Any:
    """A value with the components in it as mappings."""
    if isinstance(value, Component):
        return value.to_json()
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """The array that a feature makes, one row of it.

    dtype: "float32", "int32", "uint8", or "int16" for a recording.
    shape: per row, batch axis left out: () for a code, (k,) for numbers, (L,) for tokens, (H, W, C) for an image, (L,) int16 for a
        recording, (T, C) for a series.
    ragged: axes that are padded up to the longest row (texts: (0,)): codes with 0, float32 with NaN; a batch may be cut to its own
        longest row.
    cardinality: codes run from 0 (unknown, missing or padding) to cardinality - 1; None for values that are not codes.
    offset, scale: per channel, applied on the device as (x - offset) * scale; empty where the array is ready as it is.
    ordered: False where the order along a ragged axis says nothing (a set).
    rate: samples per second of a recording; None for everything else.
    """

    dtype: str
    shape: tuple[int, ...]
    ragged: tuple[int, ...] = ()
    cardinality: int | None = None
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    ordered: bool = True
    rate: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Without `ordered` and `rate` where they are what they mostly are: artifacts from before they were there stay the same."""
        usual = {"ordered": True, "rate": None}
        return {key: value for key, value in asdict(self).items() if key not in usual or value != usual[key]}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> TensorSpec:
        tuples: dict[str, Any] = {key: tuple(record[key]) for key in ("shape", "ragged", "offset", "scale")}
        later = {"ordered": record.get("ordered", True), "rate": record.get("rate")}
        return cls(dtype=record["dtype"], cardinality=record["cardinality"], **tuples, **later)


@dataclass(frozen=True, slots=True)
class FlatSpec:
    """The plain matrix that baselines see: float32 (N, F), NaN where a value is missing.

    names: one per column, `<input>` or `<input>.<part>`.
    cardinalities: 0 for a number; K > 0 for a category with codes 0 (unknown or missing) to K - 1; -1 for a term weight of a text
        (non-negative, mostly 0; such columns come as a scipy CSR matrix).
    """

    names: tuple[str, ...]
    cardinalities: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> FlatSpec:
        return cls(names=tuple(record["names"]), cardinalities=tuple(record["cardinalities"]))


@dataclass(frozen=True, slots=True)
class ColumnSchema:
    """One column of a request or of a prediction.

    type: the feature's or task's word ("number", "category", "image", ...).
    kind: how a cell travels: "number", "string", "datetime", "binary" (base64 in JSON), "boolean" or "list" (an array in JSON); an answer
        may be a "vector" (an array of numbers) too.
    expects: what a cell must be, in words that end an error message ("a number", "a PNG, JPEG, GIF, BMP or WebP image").
    example: one cell of the training data, as JSON; None for images.
    """

    name: str
    type: str
    kind: str
    expects: str
    example: Any = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> ColumnSchema:
        return cls(**{key: record[key] for key in ("name", "type", "kind", "expects", "example")})


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one row that should be predicted. row is None where the whole request is meant."""

    row: int | None
    column: str | None
    found: str
    allowed: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
