"""Ed25519 signatures of checkpoints. The key is 32 random bytes in RUNS/audit.key, made once; the public half lies beside it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lode.core.errors import AuditError
from lode.data.storage.keys import file_key, new_key

KEY_FILE, PUBLIC_FILE = "audit.key", "audit.pub"


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs. secret: the private key, 32 bytes. public: 64 hex digits."""

    secret: bytes = field(repr=False)
    public: str

    def sign(self, content: bytes) -> str:
        """128 hex digits."""
        return Ed25519PrivateKey.from_private_bytes(self.secret).sign(content).hex()


def key_id(public: str) -> str:
    """16 hex digits that name a public key."""
    return hashlib.sha256(b"lode audit key\0" + bytes.fromhex(public)).hexdigest()[:16]


def signed(public: str, signature: str, content: bytes) -> bool:
    """Whether the key's owner signed the content."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), content)
    except (InvalidSignature, ValueError):
        return False
    return True


def signer(runs: Path) -> Signer:
    """The key of a runs folder, made at the first call. Errors: DataError for a damaged or readable key file."""
    path = runs / KEY_FILE
    if not path.exists():
        runs.mkdir(parents=True, exist_ok=True)
        temporary = runs / f".{KEY_FILE}.{secrets.token_hex(4)}"
        new_key(temporary)
        with contextlib.suppress(FileExistsError):  # another process was faster: its key is the key
            os.link(temporary, path)
        temporary.unlink()
    secret = file_key(path, "audit").secret
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw().hex()
    shown = runs / PUBLIC_FILE
    if not shown.exists():
        shown.write_text(public + "\n", "ascii")
    return Signer(secret, public)


def read_public(path: Path) -> str:
    """The public key in a file. Errors: AuditError."""
    try:
        text = path.read_text("ascii").strip()
        if len(bytes.fromhex(text)) == 32:
            return text
    except (OSError, ValueError):
        pass
    raise AuditError(f"{path}: found no public key, wanted 64 hex digits as in RUNS/{PUBLIC_FILE}. Name that file.")
