"""What goes wrong while a file is done names the file and the line of the key it speaks of, as `core.spec.load` does of its problems.

Deep inside, an error knows its key (`inputs.age: 3 cells are ...`), not the file. Around the stages, `named` puts the rest in front.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from lode.core.errors import LodeError
from lode.core.spec_reader import TOP
from lode.core.types import Key
from lode.core.yaml_lines import Document, read_yaml

_KEY = re.compile(rf"(?P<top>{'|'.join(TOP)})(?:[.](?P<rest>\S.*?))?: ")
_FILES = (
    *("arrow", "bz2", "csv", "db", "feather", "gz", "h5", "hdf5", "html", "jsonl", "json", "md", "ndjson", "npy", "npz", "parquet"),
    *("sqlite", "tar", "tgz", "tsv", "txt", "xls", "xlsx", "xz", "yaml", "yml", "zip", "zst"),
)
"""Endings of files: `data.csv: ...` speaks of a file of rows that is called so, not of a key."""


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Errors that leave the block say `lode.yaml:inputs.age (line 7): ...` where they said `inputs.age: ...`; nothing else changes.

    path: the file whose keys they speak of.
    """
    try:
        yield
    except LodeError as error:
        error.args = (_in_file(path, str(error)), *error.args[1:])
        raise


def _in_file(path: Path, message: str) -> str:
    lines = message.split("\n")
    if not any(_is_key(line) for line in lines):
        return message
    try:
        document = read_yaml(path.read_bytes())
    except OSError:  # moved meanwhile: the key is still right
        document = Document()
    return "\n".join(_placed(path, document, line) for line in lines)


def _is_key(line: str) -> re.Match[str] | None:
    """Whether it begins with a key of the file."""
    found = _KEY.match(line)
    ending = (found["rest"] or "").rpartition(".")[2] if found else ""
    return None if ending.lower() in _FILES else found


def _placed(path: Path, document: Document, line: str) -> str:
    found = _is_key(line)
    if found is None:
        return line
    key = _key(document, (found["top"],), found["rest"] or "")
    # What the file leaves open (inputs that were found in the data) stands in no line of it.
    where = f" (line {document.lines[key]})" if key in document.lines else ""
    return f"{path}:{line[: found.end() - 2]}{where}: {line[found.end() :]}"


def _key(document: Document, above: Key, rest: str) -> Key:
    """The longest key of the file that `rest` begins with. Names of columns hold points, brackets and spaces too."""
    below = (key for key in document.lines if len(key) == len(above) + 1 and key[:-1] == above and isinstance(key[-1], str))
    fits = [key for key in below if rest == key[-1] or rest.startswith((f"{key[-1]}.", f"{key[-1]}[", f"{key[-1]} "))]
    if not fits:
        return above
    longest = max(fits, key=lambda key: len(str(key[-1])))
    return _key(document, longest, rest[len(str(longest[-1])) :].lstrip("."))
