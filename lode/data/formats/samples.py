"""Tars of samples, read from front to back: files that share a name up to its first dot are one sample (the webdataset layout).

A shard is never unpacked to disk, and one sample at a time is in memory. Used by lode/data/sources/tar.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lode.core.errors import DataError
from lode.data.formats import archives, files

MAX_PARTS = 1_000
"""Files of one sample; more of them share a name by mistake."""


@dataclass(slots=True)
class Sample:
    """key: path in the archive up to the first dot of the name. parts: extension -> bytes, None where it was not asked for."""

    key: str
    parts: dict[str, bytes | None] = field(default_factory=dict)


def split_name(name: str) -> tuple[str, str]:
    """(key, extension): `train/0001.seg.png` is ("train/0001", "seg.png")."""
    folder, _, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem), extension.lower()


def samples(path: Path, where: str, wanted: Callable[[str], bool], skipped: archives.Skipped | None = None) -> Iterator[Sample]:
    """The samples of one shard (.tar, .tar.gz, .tar.xz), in order.

    wanted: whether the bytes of an extension are needed. skipped: counts what is not read, where given.
    Errors: DataError where the shard is damaged or cut short, or a sample has two files of one extension.
    """
    found = skipped if skipped is not None else archives.Skipped()
    sample: Sample | None = None
    with files.Unpacked(path) as file:
        for member in archives.tar_members(path, file):
            name = member.name.removeprefix("./")
            if not _is_part(member.isfile() and not member.issparse(), member.issym() or member.islnk(), name, member.size, found):
                continue
            key, extension = split_name(name)
            if sample is not None and sample.key != key:
                yield sample
                sample = None
            sample = sample or Sample(key)
            if extension in sample.parts:
                raise DataError(f"{where}: the sample {archives.shown([key])} has two files .{extension}. Name each sample once.")
            if len(sample.parts) >= MAX_PARTS:
                raise DataError(
                    f"{where}: more than {MAX_PARTS:,} files share the name {archives.shown([key])} up to its first dot, so they "
                    "would be one sample. Give each sample a name of its own."
                )
            sample.parts[extension] = _content(path, file, member.offset_data, member.size) if wanted(extension) else None
        if sample is not None:
            yield sample


def _is_part(is_file: bool, is_link: bool, name: str, num_bytes: int, skipped: archives.Skipped) -> bool:
    """Whether a member is a file of a sample; what else it is, is counted."""
    if is_link:
        skipped.links.append(name)
    elif not is_file:
        pass  # a folder, or a device: nothing that could be meant as data
    elif archives.is_outside(name):
        skipped.outside.append(name)
    elif archives.is_hidden(name) or "." not in PurePosixPath(name).name:
        skipped.others += 1
    elif not archives.is_text(name):
        skipped.unnamed.append(name)
    elif num_bytes > archives.MAX_FILE_BYTES:
        skipped.too_large.append(name)
    else:
        return True
    return False


def _content(path: Path, file: files.Unpacked, offset: int, num_bytes: int) -> bytes:
    file.seek(offset)
    data = file.read(num_bytes)
    if len(data) < num_bytes:
        raise DataError(f"{path}: the archive is cut short. Get it again.")
    return data
