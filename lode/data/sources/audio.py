"""Sound files in class folders: on disk, in a zip or a tar. Finds them with lode/data/formats/archives.py, decodes them with libsndfile."""

from __future__ import annotations

import io
import math
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
import polars as pl
import soundfile

from lode.core.errors import DataError
from lode.core.types import FilePath
from lode.data.contracts import Source
from lode.data.formats import archives, file_rows, files
from lode.data.place import Place

_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
_MAX_SECONDS = 86_400.0
"""A file that claims more than a day of sound is broken, or made to keep a machine busy."""
_BLOCK_FRAMES = 1 << 16
_STREAMED = 0x7FFF0000
"""From here on the size in a .wav file's head means that its writer did not know how much would come."""
_FIGURES = {
    "seconds": pl.Float64(),
    "sample_rate": pl.Int64(),
    "channels": pl.Int64(),
    "peak": pl.Float64(),
    "rms": pl.Float64(),
}


class Audio(Source):
    """Sounds with a label each: `<class>/<sound>` (.wav, .flac, .ogg, .mp3, .aiff) in a folder, .zip or .tar(.gz, .xz).

    Columns: the file's bytes, its label (the folder that it lies in; null where it lies in none), `path`, `seconds`, `sample_rate`
    (per second), `channels`, `peak` (largest sample, 1.0 is full scale) and `rms` (root of the mean square of all samples). Every file
    is decoded once for these; files that cannot be decoded to their end are left out, counted and named.

    Args:
        path: folder or archive, relative to lode.yaml or to `--data DIR`.
        split: take only what lies under the folder of this name (archives with `train/<class>/...` and `test/<class>/...`).
        name: name of the column of sounds.
        label: name of the column of labels.
        label_pattern: a regular expression whose first group is the label in a sound's path, in place of its folder.
        fields: further columns that a sound's path tells: name of the column, and a regular expression whose first group is the cell.
        parts: which path belongs to which part, for `split: {by: given, column: part}`: train, validation or test, and a regular
            expression that is found in its paths; what fits none is train.
        sha256: the expected sha256 of the archive at `path`; checked before it is read.
        origin: where the sounds come from; repeated in the error when they are missing.
    """

    def __init__(
        self,
        place: Place,
        *,
        path: FilePath,
        split: str | None = None,
        name: str = "audio",
        label: str = "label",
        label_pattern: str | None = None,
        fields: dict[str, str] | None = None,
        parts: dict[Literal["train", "validation", "test"], str] | None = None,
        sha256: str | None = None,
        origin: str | None = None,
    ) -> None:
        self.place, self.path, self.split, self.name, self.label = place, path, split, name, label
        self.label_pattern, self.sha256, self.origin = label_pattern, sha256, origin
        self.fields = fields or {}
        self.parts: dict[str, str] = {str(word): pattern for word, pattern in (parts or {}).items()}
        self.notes: list[str] = []
        self._rows: pl.LazyFrame | None = None

    def fingerprint(self) -> str:
        path = self.place.resolve(self.path, self.sha256, self.origin)
        return archives.folder_fingerprint(path, _is_sound) if path.is_dir() else files.sha256_of(path)

    def scan(self) -> pl.LazyFrame:
        if self._rows is None:
            self._rows = self._found()
        return self._rows

    def _found(self) -> pl.LazyFrame:
        """Find the sounds, and decode each once."""
        path = self.place.resolve(self.path, self.sha256, self.origin)
        if not path.is_dir():
            files.find(self.place, self.path, self.sha256, self.origin)
        archive = archives.open_archive(path, _is_sound)
        self.notes[:] = archive.skipped.notes(self.path, "sounds")
        if not archive.names:
            raise DataError(f"{self.path}: no sounds ({', '.join(_SUFFIXES)}) in it. Name the folder that holds them.")
        names = file_rows.under(archive.names, self.split, self.path)
        self.num_bytes = 0 if path.is_dir() else path.stat().st_size
        figures: dict[str, tuple[float, ...]] = {}
        broken: list[str] = []
        for name in names:
            data = archive.read(name)
            self.num_bytes += len(data) if path.is_dir() else 0
            found = _figures(data)
            if found is None:
                broken.append(name)
            else:
                figures[name] = found
        if broken:
            self.notes.append(
                f"{self.path}: {len(broken):,} of {len(names):,} sounds cannot be read and were left out ({archives.shown(broken)})."
            )
        if not figures:
            raise DataError(
                f"{self.path}: none of {len(names):,} sounds can be read ({archives.shown(broken)}). Get the files again."
            )
        table = file_rows.labelled(list(figures), self.label, self.split, self.label_pattern, self.path)
        table = file_rows.named(table, self.fields, self.parts, self.path)
        columns = zip(*figures.values(), strict=True)
        table = table.with_columns(
            pl.Series(name, cells, dtype=_FIGURES[name]) for name, cells in zip(_FIGURES, columns, strict=True)
        )
        return file_rows.with_contents(archive, table, self.name, pl.Binary(), bytes)


def _is_sound(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in _SUFFIXES


def _is_cut_wave(data: bytes) -> bool:
    """Whether a .wav file has fewer bytes than its head says: decoders play what there is, and say nothing."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return False
    at = 12
    while at + 8 <= len(data):
        num_bytes = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"data":
            return _STREAMED > num_bytes > len(data) - at - 8
        at += 8 + num_bytes + num_bytes % 2
    return False


def _figures(data: bytes) -> tuple[float, ...] | None:
    """(seconds, sample_rate, channels, peak, rms) of a sound, decoded block by block; None where it cannot be decoded to its end."""
    peak = squares = 0.0
    num_frames = 0
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            rate, channels = sound.samplerate, sound.channels
            for block in sound.blocks(_BLOCK_FRAMES, dtype="float32", always_2d=True):
                num_frames += len(block)
                peak = max(peak, float(np.abs(block).max(initial=0.0)))
                squares += float(np.square(block, dtype=np.float64).sum())
                if num_frames > _MAX_SECONDS * rate:
                    return None
            is_cut = num_frames < sound.frames
    except (soundfile.SoundFileError, RuntimeError, ValueError):
        return None
    is_cut = is_cut or _is_cut_wave(data)
    if is_cut or num_frames == 0 or not math.isfinite(squares):
        return None
    return num_frames / rate, rate, channels, peak, math.sqrt(squares / (num_frames * channels))
