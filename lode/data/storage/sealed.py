"""Encrypted files: AES-256-GCM in frames of 1 MiB, each of which is authenticated with its place in the file and the file's name.

    header   "LODESEAL", version (1 byte), key id (8 bytes), salt (32 bytes)
    frame    up to 1 MiB of the plain file, encrypted, and its tag (16 bytes); all but the last are full

The file's own key is HKDF-SHA256(key, salt, info = version and name): random for each file, so that a counter is a nonce that is never
used twice. nonce: frame number (11 bytes) and whether it is the last (1 byte), as in STREAM (Hoang, Reyhanitabar, Rogaway, Vizar 2015):
frames cannot be swapped, cut off or added. The header is authenticated with every frame; the name cannot be another's: the key holds it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from lode.core.errors import ArtifactError
from lode.core.packages import missing
from lode.data.storage import keys
from lode.data.storage.keys import Key

SUFFIX = ".enc"
_MAGIC, _VERSION = b"LODESEAL", 1
_ID_BYTES, _SALT_BYTES, _TAG_BYTES = 8, 32, 16
_HEADER_BYTES = len(_MAGIC) + 1 + _ID_BYTES + _SALT_BYTES
FRAME_BYTES = 1 << 20


class Sealing(io.RawIOBase):
    """A file to write to, encrypted on its way. Nothing that is plain reaches the disk; `finish` writes the last frame.

    name: what the reader must know it by.
    """

    def __init__(self, file: IO[bytes], key: Key, name: str):
        super().__init__()
        self._file, self._waiting, self._index = file, bytearray(), 0
        self._header = _MAGIC + bytes([_VERSION]) + bytes.fromhex(key.id) + os.urandom(_SALT_BYTES)
        self._cipher = _cipher(key, self._header, name)
        file.write(self._header)

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        """Take bytes; whole frames go to disk."""
        self._waiting += content
        # A full frame waits until more comes: the last one is marked.
        while len(self._waiting) > FRAME_BYTES:
            self._put(bytes(self._waiting[:FRAME_BYTES]), False)
            del self._waiting[:FRAME_BYTES]
        return len(memoryview(content).cast("B"))

    def finish(self) -> None:
        """The last frame."""
        self._put(bytes(self._waiting), True)

    def _put(self, frame: bytes, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._index, last), frame, self._header))
        self._index += 1


def opened(path: Path, key: Key, name: str) -> Iterator[bytes]:
    """The plain bytes of an encrypted file, a frame at a time. Errors: DataError for another key; ArtifactError for a damaged file."""
    from_package = _exceptions()
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
        keys.check(key, _id_in(header, path), str(path))
        cipher, index = _cipher(key, header, name), 0
        sealed = file.read(FRAME_BYTES + _TAG_BYTES)
        while True:
            following = file.read(FRAME_BYTES + _TAG_BYTES)
            try:
                yield cipher.decrypt(_nonce(index, not following), sealed, header)
            except (from_package.InvalidTag, ValueError):
                raise ArtifactError(
                    f"{path}: damaged or not whole: frame {index} is not what was written. Remove the folder {path.parent} and run the "
                    "command that made it again."
                ) from None
            if not following:
                return
            sealed, index = following, index + 1


def key_id(path: Path) -> str:
    """The id of the key that a file is encrypted with. Errors: ArtifactError."""
    with path.open("rb") as file:
        return _id_in(file.read(_HEADER_BYTES), path)


def plain_bytes(path: Path) -> int:
    """How many bytes an encrypted file holds, by its size."""
    frames = max(path.stat().st_size - _HEADER_BYTES, 0)
    return max(frames - _TAG_BYTES * -(-frames // (FRAME_BYTES + _TAG_BYTES)), 0)


def _id_in(header: bytes, path: Path) -> str:
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise ArtifactError(
            f"{path}: damaged, no encrypted file. Remove the folder {path.parent} and run the command that made it again."
        )
    version = header[len(_MAGIC)]
    if version != _VERSION:
        raise ArtifactError(f"{path}: format version {version}, this lode knows {_VERSION}. Upgrade lode.")
    return header[len(_MAGIC) + 1 :][:_ID_BYTES].hex()


def _nonce(index: int, last: bool) -> bytes:
    return index.to_bytes(11, "big") + bytes([last])


def _cipher(key: Key, header: bytes, name: str) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ModuleNotFoundError as error:
        raise missing("data.store", error) from None
    info = b"lode snapshot file, version " + bytes([_VERSION]) + name.encode()
    return AESGCM(HKDF(SHA256(), 32, header[-_SALT_BYTES:], info).derive(key.secret))


def _exceptions() -> Any:
    try:
        from cryptography import exceptions
    except ModuleNotFoundError as error:
        raise missing("data.store", error) from None
    return exceptions
