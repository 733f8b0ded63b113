"""What every damage must keep. `check_damage("noise")`; third parties run it on their own words. Contract: lode/pipeline/damage.py."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import soundfile

from lode.core.registry import REGISTRIES
from lode.core.types import ColumnSchema, Component
from lode.data.formats import decoding
from lode.pipeline.damage import Damage

_ROWS = 400
_HOLE = 7
"""Where a cell is missing."""


def check_damage(word: str, options: Mapping[str, Any] | None = None) -> None:
    """Everything below, for one word of the registry, on every kind of input that it accepts."""
    cls: Any = REGISTRIES["damage"].get(word)
    assert issubclass(cls, Damage), f"{word}: a damage inherits from lode.pipeline.damage.Damage"
    assert cls.says and not cls.says.endswith("."), f"{word}: `says` is what happened, in a few words"
    accepted = {name: cells for name, cells in samples().items() if cls.accepts(_column(name, cells))}
    assert accepted, f"{word} accepts none of {list(samples())}"
    for name, cells in accepted.items():
        damage = REGISTRIES["damage"].create(Component(word, options or {}), _column(name, cells), cells)
        check_cells(damage, cells, f"{word} on {name}")
        check_randomness(damage, cells, f"{word} on {name}")
        check_still_read(damage, name, cells, f"{word} on {name}")


def samples() -> dict[str, pl.Series]:
    """Type of input -> 400 cells as a snapshot holds them, one of them missing."""
    generator = np.random.default_rng(0)
    places = range(_ROWS)
    begin = datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None)
    made: dict[str, tuple[list[Any], Any]] = {
        "number": (generator.normal(5.0, 2.0, _ROWS).tolist(), pl.Float64),
        "category": ([f"word {place % 3}" for place in places], pl.String),
        "binary": (["yes" if place % 2 else "no" for place in places], pl.String),
        "text": ([f"An order of {place} pieces has not arrived yet, please help." for place in places], pl.String),
        "date": ([begin + timedelta(days=place) for place in places], pl.Datetime("us")),
        "image": ([decoding.to_npy(generator.integers(0, 256, (12, 16, 3)).astype(np.uint8)) for _ in places], pl.Binary),
        "audio": ([_sound(generator.normal(0.0, 0.2, 800)) for _ in places], pl.Binary),
        "series": ([generator.normal(size=20).tolist() for _ in places], pl.List(pl.Float64)),
        "vector": ([generator.normal(size=4).tolist() for _ in places], pl.List(pl.Float64)),
        "set": ([[f"tag {place % 5}", "tag"] for place in places], pl.List(pl.String)),
    }
    found = {}
    for name, (cells, dtype) in made.items():
        cells[_HOLE] = None
        found[name] = pl.Series(name, cells, dtype=dtype)
    return found


def check_cells(damage: Damage, cells: pl.Series, name: str) -> None:
    """Same name, type and number of cells; missing ones stay missing; something changes, the cells given do not."""
    before = cells.clone()
    damaged = damage.apply(cells, np.random.default_rng(1))
    assert (damaged.name, damaged.dtype, len(damaged)) == (cells.name, cells.dtype, len(cells)), f"{name}: another column"
    assert cells.equals(before), f"{name}: the cells were changed in place"
    assert damaged[_HOLE] is None, f"{name}: a missing cell was filled"
    assert not damaged.equals(cells), f"{name}: nothing is damaged"
    assert len(damage.apply(cells[:1], np.random.default_rng(1))) == 1, f"{name}: one row"
    assert len(damage.apply(cells[:0], np.random.default_rng(1))) == 0, f"{name}: no row"


def check_randomness(damage: Damage, cells: pl.Series, name: str) -> None:
    """All of it comes from the generator: same state, same cells."""
    first, second = (damage.apply(cells, np.random.default_rng(2)) for _ in range(2))
    assert first.equals(second), f"{name}: the same generator gives another result"


def check_still_read(damage: Damage, kind: str, cells: pl.Series, name: str) -> None:
    """A damaged cell is still one that the input can read: a request with it is answered."""
    damaged = damage.apply(cells, np.random.default_rng(3))
    feature = REGISTRIES["feature"].create(Component(kind))
    assert feature.parse(damaged).null_count() == damaged.null_count(), f"{name}: cells can no longer be read"


def _column(name: str, cells: pl.Series) -> ColumnSchema:
    kinds = {pl.Float64: "number", pl.Binary: "binary", pl.String: "string"}
    kind = "list" if isinstance(cells.dtype, pl.List) else kinds.get(type(cells.dtype), "datetime")
    return ColumnSchema(name, name, kind, "a cell")


def _sound(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(samples, -1, 1), 8000, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
