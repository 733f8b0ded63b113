"""The key that a provider asks for: from a file that only its owner may read, never from lode.yaml, never shown."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from lode.core.errors import ServeError, listed

_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MAX_FILE_BYTES = 65_536
_MAX_KEY = 4096


def read_secret(key: Mapping[str, str] | None, folders: Sequence[Path]) -> str:
    """The key that `key: {file, name}` means; "" where there is none. folders: where a relative path is looked up, in order.

    Errors: ServeError for a file that is missing, that others may read, or that holds no key. No part of it is ever shown.
    """
    if key is None:
        return ""
    path = _found(key["file"], folders)
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > _MAX_FILE_BYTES:
        raise ServeError(f"{path}: found no small file, wanted is the provider's key. Name a file that holds it.")
    if facts.st_mode & _FOR_OTHERS:
        raise ServeError(f"{path}: others may read this key, only you should. Run: chmod 600 {path}")
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ServeError(f"{path}: cannot be read as text. Name a file that holds the provider's key.") from None
    found = text if key.get("name") is None else _field(text, key["name"], path)
    if not found or len(found) > _MAX_KEY or not found.isascii() or not found.isprintable() or " " in found:
        raise ServeError(
            f"{path}: found no key, wanted is one line of printable ASCII without spaces. Put the provider's key there."
        )
    return found


def _found(file: str, folders: Sequence[Path]) -> Path:
    path = Path(file).expanduser()
    places = [path] if path.is_absolute() else [folder / path for folder in folders]
    for place in places:
        if place.is_file():
            return place
    looked = " or ".join(map(str, places))
    raise ServeError(f"model.key.file: {file}: no such file, looked for {looked}. Put the provider's key there, and chmod 600 it.")


def _field(text: str, name: str, path: Path) -> str:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        record = None  # what the parser says may quote the file
    if not isinstance(record, dict):
        raise ServeError(
            f"{path}: found no JSON object, wanted is one with the key under {name}. Leave `name` out for a plain text."
        )
    if not isinstance(record.get(name), str):
        raise ServeError(f'{path}: found no text under "{name}", allowed: {listed(map(str, record))}. Name one of them.')
    return str(record[name])
