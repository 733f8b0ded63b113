"""Files in a folder, a zip or a tar, by name; nothing is ever extracted to disk by its name. What hostile archives do stays in bounds.

Used by the sources of pictures, texts and sounds. Read lode/data/formats/file_rows.py next; lode/data/formats/samples.py reads tars
from front to back.
"""

from __future__ import annotations

import hashlib
import lzma
import stat
import tarfile
import tempfile
import weakref
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from lode.core import disk
from lode.core.errors import DataError, listed
from lode.data.formats import files

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz")
MAX_FILE_BYTES = 1 << 28
"""A larger file is no sample to learn from; it is skipped."""
MAX_ARCHIVE_BYTES = 1 << 38
FREE_FILE_BYTES = 1 << 24
"""A file in a zip may claim so much however small it is packed; beyond, `files.MAX_RATIO` counts."""

_NUM_NAMED = 3
_DAMAGE = (zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, OSError)
"""What `zipfile` raises for bytes that it cannot read; RuntimeError is a password."""

Wanted = Callable[[str], bool]
"""Whether a file is of the kind that is looked for, by its name."""


@dataclass(slots=True)
class Skipped:
    """Files that are not read. others: of another kind. Each other list holds their names."""

    others: int = 0
    links: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    too_large: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)

    def notes(self, where: str, what: str) -> list[str]:
        """Sentences for the user. what: "pictures"."""
        found = [f"{where}: {self.others:,} files that are no {what} were skipped."] if self.others else []
        reasons = (
            (self.links, "links (they may lead anywhere)"),
            (self.outside, "files whose names lead out of the archive"),
            (self.too_large, f"files of more than {MAX_FILE_BYTES >> 20} MiB, or {files.MAX_RATIO} times their packed size,"),
            (self.unnamed, "files whose names are no text"),
        )
        return found + [f"{where}: {len(names):,} {why} were skipped ({shown(names)})." for names, why in reasons if names]


def shown(names: Sequence[str]) -> str:
    """A few names, safe to print."""
    return listed((name if name.isprintable() else ascii(name) for name in names), limit=_NUM_NAMED)


class Archive(ABC):
    """Files by name, sorted, whose bytes can be read one by one."""

    def __init__(self, path: Path, wanted: Wanted) -> None:
        self.path, self.wanted = path, wanted
        self.names: list[str] = []
        self.skipped = Skipped()

    def keep(self, entries: Sequence[tuple[str, int, int]]) -> None:
        """Take the names that are wanted and safe from (name, bytes, packed bytes); count the rest."""
        for name, num_bytes, packed in entries:
            if is_outside(name):
                self.skipped.outside.append(name)
            elif is_hidden(name) or not self.wanted(name):
                self.skipped.others += 1
            elif not is_text(name):
                self.skipped.unnamed.append(name)
            elif num_bytes > MAX_FILE_BYTES or num_bytes > max(FREE_FILE_BYTES, packed * files.MAX_RATIO):
                self.skipped.too_large.append(name)
            else:
                self.names.append(name)
        self.names.sort()

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The bytes of one file. Errors: DataError where it is damaged or gone."""


def is_outside(name: str) -> bool:
    """Whether a name in an archive leads out of it."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or name.startswith("\\") or name[1:3] == ":\\"


def is_hidden(name: str) -> bool:
    """Whether a name is one of those that systems leave behind."""
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8; bytes that are none come as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def open_archive(path: Path, wanted: Wanted) -> Archive:
    """The wanted files of a folder or an archive.

    Errors: DataError where the archive is damaged or encrypted, or the path is neither.
    """
    if path.is_dir():
        return _Folder(path, wanted)
    name = path.name.lower()
    if name.endswith(".zip"):
        return _Zip(path, wanted)
    if name.endswith(ARCHIVES):
        return _Tar(path, wanted)
    raise DataError(f"{path}: found neither a folder nor one of {', '.join(ARCHIVES)}. Name one of these.")


class _Folder(Archive):
    def __init__(self, path: Path, wanted: Wanted) -> None:
        super().__init__(path, wanted)
        entries = []
        for root, names in disk.walk(path):
            for name in names:
                found = Path(root, name)
                relative = found.relative_to(path).as_posix()
                state = found.stat(follow_symlinks=False)
                if stat.S_ISLNK(state.st_mode):
                    self.skipped.links.append(relative)
                elif stat.S_ISREG(state.st_mode):
                    entries.append((relative, state.st_size, state.st_size))
                else:
                    self.skipped.others += 1
        self.keep(entries)

    def read(self, name: str) -> bytes:
        try:
            with (self.path / name).open("rb") as file:
                return file.read(MAX_FILE_BYTES)
        except OSError as error:
            raise DataError(f"{self.path / name}: not readable ({error.strerror}). Check the file, then run again.") from error


def folder_fingerprint(path: Path, wanted: Wanted) -> str:
    """sha256 over the sorted names and contents of a folder's wanted files."""
    digest = hashlib.sha256()
    for name in _Folder(path, wanted).names:
        digest.update(f"{name}\0{files.sha256_of(path / name)}\n".encode())
    return digest.hexdigest()


class _Zip(Archive):
    def __init__(self, path: Path, wanted: Wanted) -> None:
        super().__init__(path, wanted)
        try:
            self.archive = zipfile.ZipFile(path)
            entries = [entry for entry in self.archive.infolist() if not entry.is_dir()]
        except (*_DAMAGE, ValueError) as error:
            raise DataError(f"{path}: not readable as zip ({error}). Get the file again.") from error
        # The upper half of external_attr holds Unix modes.
        links = {entry.filename for entry in entries if stat.S_ISLNK(entry.external_attr >> 16)}
        self.skipped.links += sorted(links)
        self.entries = {entry.filename: entry for entry in entries if entry.filename not in links}
        self.keep([(name, entry.file_size, entry.compress_size) for name, entry in self.entries.items()])
        locked = [name for name in self.names if self.entries[name].flag_bits & 1]
        if locked:
            raise DataError(
                f"{path}: found {len(locked):,} encrypted files ({shown(locked)}). Unpack it with its password and name the folder."
            )
        _bound(path, sum(self.entries[name].file_size for name in self.names))

    def read(self, name: str) -> bytes:
        entry = self.entries[name]
        try:
            with self.archive.open(entry) as file:
                data = file.read(MAX_FILE_BYTES)
        except _DAMAGE as error:
            raise DataError(f"{self.path}: {name} is damaged ({error}). Get the file again.") from error
        if len(data) < entry.file_size:
            raise DataError(f"{self.path}: {name} is cut short. Get the file again.")
        return data


class _Tar(Archive):
    """A tar. A compressed one is unpacked as a whole into a nameless temporary file, so that it can be read in any order."""

    def __init__(self, path: Path, wanted: Wanted) -> None:
        super().__init__(path, wanted)
        self.file = _plain(path)
        weakref.finalize(self, self.file.close)
        self.spans: dict[str, tuple[int, int]] = {}
        for member in tar_members(path, self.file):
            name = member.name.removeprefix("./")
            if member.isfile() and not member.issparse():
                self.spans[name] = (member.offset_data, member.size)
            elif member.issym() or member.islnk():
                self.skipped.links.append(name)
            elif not member.isdir():
                self.skipped.others += 1
        self.keep([(name, size, size) for name, (_, size) in self.spans.items()])

    def read(self, name: str) -> bytes:
        offset, size = self.spans[name]
        self.file.seek(offset)
        data = self.file.read(size)
        if len(data) < size:
            raise DataError(f"{self.path}: the archive is cut short. Get it again.")
        return data


class _Header(tarfile.TarInfo):
    """A tar's header, read strictly.

    `tarfile` takes damage behind the first member for the end, and reads long names into memory whatever size they claim.
    """

    _MAX_BYTES = 1 << 20
    _SPECIAL = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str | None, errors: str) -> _Header:
        try:
            found = super().frombuf(buf, encoding, errors)  # type: ignore[arg-type]  # typeshed: encoding may be None
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            reason = "cut short" if len(buf) < tarfile.BLOCKSIZE else str(error)
            raise tarfile.ReadError(reason) from error
        if found.type in cls._SPECIAL and found.size > cls._MAX_BYTES:
            raise tarfile.ReadError(f"a name or an attribute of {found.size:,} bytes")
        return found


def tar_members(path: Path, file: BinaryIO | files.Unpacked) -> Iterator[tarfile.TarInfo]:
    """The members of a tar, from front to back; the bytes of one may be read before the next is asked for.

    Errors: DataError where it is no tar, damaged or cut short, or another one is joined to it.
    """
    try:
        with tarfile.open(fileobj=cast(BinaryIO, file), mode="r:", tarinfo=_Header) as archive:
            while (member := archive.next()) is not None:
                yield member
                archive.members = []  # type: ignore[attr-defined]  # it would keep every header
    except RecursionError as error:
        raise DataError(f"{path}: not readable as tar (too many attributes of one file). Get the file again.") from error
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: not readable as tar ({error}). Get the file again.") from error
    while rest := file.read(files.CHUNK_BYTES):
        if rest.strip(b"\0"):
            raise DataError(f"{path}: more follows after the end of the archive. If tars were joined, name them one by one.")


def _plain(path: Path) -> BinaryIO:
    """A tar as it is, or unpacked."""
    if path.suffix.lower() == ".tar":
        return path.open("rb")
    with ExitStack() as opened:
        plain = cast(BinaryIO, opened.enter_context(tempfile.TemporaryFile()))
        _unpack(path, plain)
        plain.seek(0)
        opened.pop_all()  # it stays open as long as its files may be read
    return plain


def _unpack(path: Path, plain: BinaryIO) -> None:
    num_bytes = 0
    with files.Unpacked(path) as packed:
        while chunk := packed.read(files.CHUNK_BYTES):
            num_bytes += len(chunk)
            _bound(path, num_bytes)
            try:
                plain.write(chunk)
            except OSError as error:
                if not disk.is_full(error):
                    raise
                raise DataError(
                    f"{path}: no space left in {tempfile.gettempdir()}, where it is unpacked (more than {num_bytes >> 20:,} MiB are "
                    "needed). Set TMPDIR to a folder with more, or unpack it yourself and name the folder."
                ) from error


def _bound(path: Path, num_bytes: int) -> None:
    if num_bytes > MAX_ARCHIVE_BYTES:
        raise DataError(f"{path}: unpacks to more than {MAX_ARCHIVE_BYTES >> 30} GiB. Split it, or name the folder itself.")


def check_zip(path: Path, look: Callable[[str, bytes], None]) -> None:
    """Unpack every part of a zip that another library will unpack (a workbook), piece by piece, to see what it holds; keeps nothing.

    look: is given the name of a part and each of its pieces.
    Errors: DataError where it is damaged, encrypted, or unpacks to far more than it is.
    """
    allowed = max(files.FREE_BYTES, path.stat().st_size * files.MAX_RATIO)
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                allowed -= entry.file_size
                if allowed < 0:
                    raise DataError(
                        f"{path}: unpacks to more than {files.FREE_BYTES >> 20:,} MiB and {files.MAX_RATIO} times its size. "
                        "If it is what it should be, save it as CSV or Parquet."
                    )
                with archive.open(entry) as file:
                    while piece := file.read(files.CHUNK_BYTES):
                        look(entry.filename, piece)
    except (*_DAMAGE, ValueError) as error:
        raise DataError(f"{path}: damaged or cut short ({error}). Get the file again.") from error
