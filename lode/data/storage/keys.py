"""The key that snapshots are encrypted with: from an environment variable or a file that `data.store` names, never from lode.yaml itself.

No message, manifest or report ever holds it: what names a key is its id, a hash. Read lode/data/storage/sealed.py next.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from lode.core.errors import ArtifactError, DataError
from lode.data.place import Place

KEY_BYTES = 32
RECORD = ".key.json"
"""Beside an encrypted snapshot: which key, and where it was found. It starts with a dot: it is no part of the result."""
_MAX_FILE_BYTES = 4_096
_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ALLOWED = f"{KEY_BYTES} random bytes as {2 * KEY_BYTES} hex digits or base64"


@dataclass(frozen=True, slots=True)
class Key:
    """secret: 32 bytes. place: {"key_env": NAME} or {"key_file": absolute path}: where to find it again."""

    secret: bytes = field(repr=False)
    place: dict[str, str]

    @property
    def id(self) -> str:
        """16 hex digits that name the key and tell nothing of it."""
        return hashlib.sha256(b"lode key id\0" + self.secret).hexdigest()[:16]


def read_key(key_env: str | None, key_file: str | None, place: Place) -> Key:
    """The key that `data.store` names. Errors: DataError for one that is missing or of another form; no part of it is ever shown."""
    if key_env is not None:
        return Key(_from_environment(key_env, "data.store.key_env"), {"key_env": key_env})
    path = place.resolve(str(key_file)).resolve()
    return Key(_from_file(path, "data.store.key_file"), {"key_file": str(path)})


def file_key(path: Path, where: str) -> Key:
    """The key in a file. where: begins the error's text. Errors: DataError for one that is missing, for others too, or no key."""
    return Key(_from_file(path, where), {"key_file": str(path.resolve())})


def key_of(folder: Path) -> Key:
    """The key of an encrypted snapshot. Errors: DataError where it is not to be found or is another; ArtifactError for a damaged record."""
    path = folder / RECORD
    try:
        record = json.loads(path.read_text("utf-8"))
        key_id, place = str(record["key_id"]), {word: str(record[word]) for word in ("key_env", "key_file") if word in record}
    except (OSError, ValueError, KeyError, TypeError):
        raise ArtifactError(
            f"{path}: missing or damaged, so nothing tells which key this snapshot is encrypted with. Run `lode data` with the key in "
            "data.store."
        ) from None
    where = f"snapshot {folder.name}"
    place = _moved(folder, key_id, place)
    secret = _from_environment(place["key_env"], where) if "key_env" in place else _from_file(Path(place["key_file"]), where)
    key = Key(secret, place)
    check(key, key_id, where)
    return key


def _moved(folder: Path, key_id: str, place: dict[str, str]) -> dict[str, str]:
    """Where a key file lies: its place, or where a snapshot beside this one has the same key since, if it is there no more."""
    if "key_file" not in place or Path(place["key_file"]).is_file():
        return place
    for path in sorted(folder.parent.glob(f"*/{RECORD}")):
        try:
            record = json.loads(path.read_text("utf-8"))
            other = str(record["key_file"]) if record["key_id"] == key_id else ""
        except (OSError, ValueError, KeyError, TypeError):
            continue  # told where that snapshot itself is read
        if other and Path(other).is_file():
            return {"key_file": other}
    return place


def note(key: Key, folder: Path) -> None:
    """Write beside a snapshot which key it is encrypted with, and where that was."""
    temporary = folder / f"{RECORD}.{os.getpid()}.tmp"
    temporary.write_text(json.dumps({"format": 1, "key_id": key.id, **key.place}) + "\n", "utf-8")
    os.replace(temporary, folder / RECORD)


def check(key: Key, key_id: str, where: str) -> None:
    """Errors: DataError where a key is another than the one with this id."""
    if key.id != key_id:
        found = key.place.get("key_env") or key.place.get("key_file")
        raise DataError(
            f"{where}: encrypted with the key {key_id}, but {found} holds the key {key.id}. Name the key that it was encrypted with, or "
            "remove the snapshot's folder to encrypt it anew."
        )


def new_key(path: Path) -> Key:
    """Write a new random key as hex into a file that only its owner may read. Errors: DataError where the file is there already."""
    secret = secrets.token_bytes(KEY_BYTES)
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise DataError(
            f"{path}: is there already; a key that is overwritten is lost with all it encrypts. Name another file."
        ) from None
    except FileNotFoundError:
        raise DataError(f"{path}: the folder {path.parent} is missing. Make it, or name another file.") from None
    with os.fdopen(number, "w", encoding="ascii") as file:
        file.write(secret.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    return Key(secret, {"key_file": str(path.resolve())})


def _from_environment(name: str, where: str) -> bytes:
    text = os.environ.get(name)
    if not text:
        raise DataError(
            f"{where}: names the environment variable {name}, which is not set or empty, needed: {_ALLOWED}. "
            f'Set it before you start lode: export {name}="$(cat FILE)".'
        )
    return _parsed(text, f"{where}: the environment variable {name}")


def _from_file(path: Path, where: str) -> bytes:
    try:
        facts = path.stat()
    except OSError:
        raise DataError(f"{where}: the key file {path} is missing. Put it back: no other key reads what it encrypted.") from None
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > _MAX_FILE_BYTES:
        raise DataError(f"{where}: the key file {path} is no small file, needed: {_ALLOWED}.")
    if facts.st_mode & _FOR_OTHERS:
        raise DataError(f"{where}: others may read the key file {path}, only you should. Run: chmod 600 {path}")
    try:
        text = path.read_text("utf-8", errors="replace")
    except PermissionError:
        raise DataError(f"{where}: the key file {path} may not be read by you. Run as its owner.") from None
    return _parsed(text, f"{where}: the key file {path}")


def _parsed(text: str, where: str) -> bytes:
    text = text.strip()
    try:
        secret = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        secret = b""
    if len(secret) != KEY_BYTES:
        raise DataError(f"{where} holds no key, needed: {_ALLOWED}. Make one: lode data --new-key FILE.") from None
    return secret
