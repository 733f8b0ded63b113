"""Archives of samples (the webdataset layout): one tar or many, one row per sample. Reads with lode/data/formats/samples.py."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from lode.core.errors import DataError, listed
from lode.core.types import FilePath
from lode.data.contracts import Source
from lode.data.formats import archives, files, json_lines, json_types, samples
from lode.data.place import Place

_TEXTS = ("txt", "text", "transcript", "caption")
_NUMBERS = ("cls", "cls2", "index", "inx", "id", "count")
_JSON = "json"
_KEY = "key"
_ENDINGS = tuple(ending for ending in archives.ARCHIVES if ending != ".zip")
_MAX_EXTENSIONS = 100
_BATCH_ROWS = 1_024
_BATCH_BYTES = 1 << 25


class Tar(Source):
    """Tars of samples: files that lie one after another and share a name up to its first dot are one row (webdataset).

    Columns: `key` (that name), one per extension (`0001.jpg` gives the column `jpg`), and one per key of `.json`
    files (objects in them become `outer.inner`). `.txt`, `.text`, `.transcript` and `.caption` are text (UTF-8); `.cls`, `.index`,
    `.id` and `.count` are whole numbers where all of them are, else text; everything else is bytes. Links, and names that lead out
    of the archive, are skipped and counted. Shards are read from front to back and never unpacked to disk.

    Args:
        path: a .tar, .tar.gz or .tar.xz, or many of them by `*`, `?` and `[0-9]` in the file's name: `shards/train-*.tar`.
        shard: name of a further column, which says the archive that a sample lies in.
        sha256: the expected sha256 of the archive; of several: of the lines `SHA256  NAME` of all, sorted by name.
        origin: where the archives come from; repeated in the error when they are missing.
    """

    def __init__(
        self,
        place: Place,
        *,
        path: FilePath,
        shard: str | None = None,
        sha256: str | None = None,
        origin: str | None = None,
    ) -> None:
        self.place, self.path, self.shard, self.sha256, self.origin = place, path, shard, sha256, origin
        self.notes: list[str] = []
        self._schema: dict[str, pl.DataType] | None = None
        self._json: dict[str, pl.DataType] = {}
        """Types of the keys of .json files, nested."""

    def fingerprint(self) -> str:
        shards = self._shards()
        if len(shards) == 1:
            return files.sha256_of(shards[0])
        lines = "".join(f"{files.sha256_of(shard)}  {shard.name}\n" for shard in shards)
        return hashlib.sha256(lines.encode()).hexdigest()

    def scan(self) -> pl.LazyFrame:
        if self._schema is None:
            shards = self._shards()
            if self.sha256 is not None:
                files.check_sha256(Path(self.path), self.fingerprint(), self.sha256, self.origin)
            self.num_bytes = sum(shard.stat().st_size for shard in shards)
            self._schema = self._look(shards)
        return register_io_source(self._batches, schema=self._schema)

    def _shards(self) -> list[Path]:
        """The archives that `path` names, sorted."""
        path = PurePosixPath(self.path)
        if not any(mark in path.name for mark in "*?["):
            found = [files.find(self.place, self.path, None, self.origin)]
        else:
            folder = self.place.resolve(str(path.parent), self.sha256, self.origin)
            found = sorted(shard for shard in folder.glob(path.name) if shard.is_file())
            if not found:
                raise DataError(
                    f"{self.path}: no file in {folder} fits that name. Check the pattern, or name the folder with --data DIR."
                )
        for shard in found:
            if not shard.name.lower().endswith(_ENDINGS):
                raise DataError(f"{shard}: no tar, allowed: {', '.join(_ENDINGS)}. Name archives only.")
        return found

    def _look(self, shards: list[Path]) -> dict[str, pl.DataType]:
        """Read every header, and every .json and number, for the columns and their types."""
        skipped = archives.Skipped()
        plain: dict[str, pl.DataType] = {}
        self._json = {}
        num_samples = 0
        for shard in shards:
            keys = array("q")
            for sample in samples.samples(shard, shard.name, lambda extension: extension in (_JSON, *_NUMBERS), skipped):
                num_samples += 1
                keys.append(hash(sample.key))
                where = f"{shard.name}: {sample.key}"
                for extension, data in sample.parts.items():
                    if extension == _JSON:
                        self._json = json_types.union_fields(self._json, json_types.fields_of(_record(data, where)))
                    else:
                        plain[extension] = _column_type(extension, data, plain.get(extension))
                files.check_width(self.path, len(plain) + json_types.num_columns(self._json))
                if len(plain) > _MAX_EXTENSIONS:
                    raise DataError(
                        f"{self.path}: found more than {_MAX_EXTENSIONS} extensions ({listed(plain, limit=3)}): a sample's name ends at "
                        "the first dot in it. Rename the files, or write `type: images`, `text` or `audio` if they lie in class folders."
                    )
            _check_together(shard, keys)
        if not num_samples:
            raise DataError(
                f"{self.path}: no samples in it. Each is one or more files with an extension, such as 0001.jpg and 0001.cls."
            )
        self.notes[:] = skipped.notes(self.path, "files of a sample")
        self._json = {name: json_types.final(dtype) for name, dtype in self._json.items()}
        flat = json_types.flat(pl.DataFrame(schema=self._json), self.path).schema
        own = [_KEY] if self.shard is None else [_KEY, self.shard]
        both = sorted(({*own, *plain} & set(flat)) | (set(own) & set(plain)) | {name for name in own if own.count(name) > 1})
        if both:
            raise DataError(
                f'{self.path}: two columns would be called "{both[0]}" (keys of .json files are columns too). Rename one of them.'
            )
        return {**dict.fromkeys(own, pl.String()), **plain, **flat}

    def _batches(
        self, with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        schema = self._schema or {}
        wanted = with_columns if with_columns is not None else list(schema)
        left = n_rows
        for rows in self._rows(wanted):
            part = rows if left is None else rows[:left]
            frame = self._frame(part, wanted, schema)
            yield frame if predicate is None else frame.filter(predicate)
            left = None if left is None else left - len(part)
            if left is not None and left <= 0:
                return

    def _rows(self, wanted: Collection[str]) -> Iterator[list[tuple[str, samples.Sample]]]:
        """Samples with the name of their shard, some megabytes at a time."""
        needs_json = any(json_types.covers(name, wanted) for name in self._json)
        rows: list[tuple[str, samples.Sample]] = []
        num_bytes = 0
        for shard in self._shards():
            for sample in samples.samples(shard, shard.name, lambda name: needs_json if name == _JSON else name in wanted):
                rows.append((shard.name, sample))
                num_bytes += sum(len(data or b"") for data in sample.parts.values())
                if len(rows) >= _BATCH_ROWS or num_bytes >= _BATCH_BYTES:
                    yield rows
                    rows, num_bytes = [], 0
        if rows:
            yield rows

    def _frame(self, rows: list[tuple[str, samples.Sample]], wanted: list[str], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
        own: dict[str, list[Any]] = {_KEY: [sample.key for _, sample in rows]}
        if self.shard is not None:
            own[self.shard] = [shard for shard, _ in rows]
        columns = []
        for name in wanted:
            if name in own:
                columns.append(pl.Series(name, own[name], dtype=pl.String))
            elif name in schema and not any(json_types.covers(outer, [name]) for outer in self._json):
                cells = [_cell(sample.parts.get(name), schema[name], f"{shard}: {sample.key}.{name}") for shard, sample in rows]
                columns.append(pl.Series(name, cells, dtype=schema[name]))
        outer = {name: dtype for name, dtype in self._json.items() if json_types.covers(name, wanted)}
        if outer:
            records = [_record(sample.parts.get(_JSON), f"{shard}: {sample.key}") for shard, sample in rows]
            nested = json_types.frame_as({name: [record.get(name) for record in records] for name in outer}, outer)
            columns += json_types.flat(nested, self.path).get_columns()
        return pl.DataFrame(columns).select(wanted)


def _check_together(shard: Path, keys: array[int]) -> None:
    """keys: hashes of the names of all samples. Errors: DataError where the files of one sample do not lie together."""
    values, rows = np.unique(np.frombuffer(keys, np.int64), return_counts=True)
    apart = set(values[rows > 1].tolist())
    if apart:
        every = samples.samples(shard, shard.name, lambda extension: False)
        name = next(sample.key for sample in every if hash(sample.key) in apart)
        raise DataError(
            f"{shard.name}: files of {len(apart):,} samples lie apart (the first: {archives.shown([name])}), so each of them would be "
            "several rows with empty cells. Put the files of a sample one after another: `tar --sort=name` does where they lie in one "
            "folder."
        )


def _record(data: bytes | None, where: str) -> dict[str, Any]:
    """The object of a .json file; {} where a sample has none."""
    if data is None:
        return {}
    problem = json_lines.problem(data)
    if problem:
        raise DataError(f"{where}.json {problem}. Mend the file, or make the archive again.")
    return dict(json_lines.load(data))


def _column_type(extension: str, data: bytes | None, before: pl.DataType | None) -> pl.DataType:
    """The type of a column, with what one more file shows."""
    last = extension.rpartition(".")[2]
    if last in _NUMBERS:
        return pl.Int64() if before in (None, pl.Int64()) and _is_whole(data or b"") else pl.String()
    return pl.String() if last in _TEXTS else pl.Binary()


def _is_whole(data: bytes) -> bool:
    digits = data.strip().removeprefix(b"-")
    return digits.isdigit() and len(digits) <= 18


def _cell(data: bytes | None, dtype: pl.DataType, where: str) -> Any:
    if data is None or dtype == pl.Binary:
        return data
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: is not UTF-8. Save it as UTF-8, or give it another extension.") from error
    return int(text) if dtype == pl.Int64 else text.strip() if where.rpartition(".")[2] in _NUMBERS else text
