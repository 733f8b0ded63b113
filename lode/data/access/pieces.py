"""Several files of one format as one table: each read by the same inner source, with columns that its folder gives.

Used by the sources that bring files here: lode/data/sources/object.py, delta.py, huggingface.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from lode.core.errors import DataError, listed
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.access import watch
from lode.data.contracts import Source
from lode.data.place import Place


@dataclass(frozen=True, slots=True)
class Piece:
    """One file. name: for messages. constants: column -> the cell that all its rows have."""

    path: Path
    name: str
    constants: Mapping[str, str | None] = field(default_factory=dict)


class Pieces:
    """The rows of all pieces, in order. reader: an inner source without its path."""

    def __init__(self, place: Place, reader: Component, pieces: Sequence[Piece]) -> None:
        self.pieces = pieces
        self.sources: list[Source] = []
        for piece in pieces:
            component = Component(reader.type, {**reader.options, "path": str(piece.path)})
            self.sources.append(REGISTRIES["source"].create(component, place))
        self._is_checked = False

    @property
    def notes(self) -> list[str]:
        """What the inner sources say, of each file by its own name; the same sentence once."""
        found = [
            note.replace(str(piece.path), piece.name)
            for piece, source in zip(self.pieces, self.sources, strict=True)
            for note in source.notes
        ]
        return list(dict.fromkeys(found))

    @property
    def num_bytes(self) -> int:
        return sum(source.num_bytes for source in self.sources)

    @property
    def unpacked_bytes(self) -> int:
        """As `Source.unpacked_bytes`."""
        return sum(watch.unpacked(piece.path.name, source.num_bytes) for piece, source in self._pairs())

    def scan(self) -> pl.LazyFrame:
        """As `Source.scan`."""
        return self._stacked([self._made(piece, source, None) for piece, source in self._pairs()])

    def scan_as(self, types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
        """As `Source.scan_as`; a hint counts where every file follows it."""
        frames = [self._made(piece, source, types) for piece, source in self._pairs()]
        schemas = [frame.collect_schema() for frame in frames]
        followed = {name: dtype for name, dtype in types.items() if all(schema.get(name) == dtype for schema in schemas)}
        if len(followed) < len(types) and any(schema != schemas[0] for schema in schemas):
            frames = [self._made(piece, source, followed) for piece, source in self._pairs()]
        return self._stacked(frames)

    def check(self, num_rows: int | None = None) -> bool:
        """As `Source.check`."""
        found = []
        for piece, source in self._pairs():
            with named(piece):
                found.append(source.check(num_rows if len(self.pieces) == 1 else None))
        return any(found)

    def clean_words(self, words: pl.Series) -> pl.Series:
        """As `Source.clean_words`: the options are the same for every file."""
        return self.sources[0].clean_words(words)

    def _pairs(self) -> Iterator[tuple[Piece, Source]]:
        return zip(self.pieces, self.sources, strict=True)

    def _made(self, piece: Piece, source: Source, types: Mapping[str, pl.DataType] | None) -> pl.LazyFrame:
        with named(piece):
            frame = source.scan() if types is None else source.scan_as(types)
            own = frame.collect_schema().names()
        more = [pl.lit(cell, pl.String).alias(name) for name, cell in piece.constants.items() if name not in own]
        # In front: where the last column has no empty cell, readers take it that no line of text ended too early.
        return frame.select(*more, *own) if more else frame

    def _stacked(self, frames: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
        """One below the other. Errors: DataError where a file has other columns, or text where another has numbers."""
        first = frames[0].collect_schema()
        for piece, frame in zip(self.pieces[1:], frames[1:], strict=True):
            schema = frame.collect_schema()
            differing = sorted(set(first) ^ set(schema))
            if differing:
                where = piece.name if differing[0] in first else self.pieces[0].name
                other = self.pieces[0].name if where == piece.name else piece.name
                raise DataError(
                    f"{where}: has no column {listed(differing)}, which {other} has. Name files with the same columns, by a glob."
                )
            for name, dtype in first.items():
                if (dtype == pl.String) != (schema[name] == pl.String) and pl.Null not in (dtype, schema[name]):
                    raise DataError(
                        f'{piece.name}: column "{name}" holds {_kind(schema[name])}, in {self.pieces[0].name} it holds {_kind(dtype)}. '
                        "Write both in the same way, or name fewer files by a glob."
                    )
        names = first.names()
        return frames[0] if len(frames) == 1 else pl.concat([frame.select(names) for frame in frames], how="vertical_relaxed")


@contextmanager
def named(piece: Piece) -> Iterator[None]:
    """Messages of an inner source call the file what the user calls it."""
    try:
        yield
    except DataError as error:
        raise DataError(str(error).replace(str(piece.path), piece.name)) from error


def _kind(dtype: pl.DataType) -> str:
    return "text" if dtype == pl.String else str(dtype)
