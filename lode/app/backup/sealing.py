"""How a backup is encrypted: AES-256-GCM with keys derived (HKDF-SHA256) from one key file and the repository's id.

    chunk    12 random bytes, then the ciphertext; associated data: "chunk" and the chunk's own name
    object   (index, snapshot, piece of the journal) the same; associated data: "object" and the object's name
    name     the first 16 bytes of HMAC-SHA-256 of the plain chunk, under a key of its own: equal chunks are stored once, and nobody
             without the key can tell whether a file that they know is in the backup

So nothing can be moved to another place, and nothing changed. A random nonce is safe for 2^32 chunks of one repository.
"""

from __future__ import annotations

import hmac
import os
import zlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lode.core.errors import BackupError
from lode.data.storage.keys import Key

NAME_BYTES = 16
_NONCE_BYTES = 12
_PLAIN, _DEFLATED = b"\0", b"\1"
_SAMPLE_BYTES = 16_384
_WORTHWHILE = 0.9
"""Compressed only where a sample shrinks to less than this: weights do not."""


class Sealing:
    """Encrypts and opens for one repository. repository: its id."""

    def __init__(self, key: Key, repository: bytes):
        self._chunks = AESGCM(_derived(key, repository, b"chunks"))
        self._objects = AESGCM(_derived(key, repository, b"objects"))
        self._names = _derived(key, repository, b"names")
        self.cut_seed = _derived(key, repository, b"cuts")
        """Where files are cut depends on the key, so that the chunks' sizes do not give a known file away."""

    def name(self, chunk: bytes) -> bytes:
        """The name of a plain chunk."""
        return hmac.digest(self._names, chunk, "sha256")[:NAME_BYTES]

    def seal(self, name: bytes, chunk: bytes) -> bytes:
        """A chunk, compressed and encrypted."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._chunks.encrypt(nonce, _packed(chunk), b"chunk" + name)

    def open(self, name: bytes, sealed: bytes, where: str) -> bytes:
        """The plain chunk. Errors: BackupError where it is not what was written under this name."""
        try:
            chunk = _unpacked(self._chunks.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], b"chunk" + name))
        except (InvalidTag, ValueError):
            raise BackupError(_damaged(where)) from None
        if self.name(chunk) != name:
            raise BackupError(_damaged(where))
        return chunk

    def seal_object(self, name: str, content: bytes) -> bytes:
        """An object as it is stored under this name."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._objects.encrypt(nonce, _packed(content), b"object" + name.encode())

    def open_object(self, name: str, sealed: bytes, where: str) -> bytes:
        """The plain object. Errors: BackupError where it is not what was written under this name."""
        try:
            return _unpacked(self._objects.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], b"object" + name.encode()))
        except (InvalidTag, ValueError):
            raise BackupError(_damaged(f"{where}: {name}")) from None


def _derived(key: Key, repository: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), 32, repository, b"lode backup 1 " + purpose).derive(key.secret)


def _packed(content: bytes) -> bytes:
    sample = content[:_SAMPLE_BYTES]
    if len(zlib.compress(sample, 1)) >= len(sample) * _WORTHWHILE:
        return _PLAIN + content
    return _DEFLATED + zlib.compress(content, 6 if len(content) <= _SAMPLE_BYTES else 1)


def _unpacked(content: bytes) -> bytes:
    """Only ever called on what was authenticated."""
    return zlib.decompress(content[1:]) if content[:1] == _DEFLATED else content[1:]


def _damaged(where: str) -> str:
    return (
        f"{where}: not what was written: changed, cut off or put in another's place. Nothing was restored from it; take another "
        "snapshot (`lode restore TARGET --list`) or another copy of the target."
    )
