"""One bearer key: made and shown once, kept only as a hash, compared in constant time.

A key is `lode_`, 43 base-62 digits of 256 random bits, and 6 of their CRC-32, so that a typing error is told from a
wrong key and leaked keys can be found by a scanner. Tenants, quotas and metering replace `KeyGate` by another `Gate`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import zlib
from datetime import UTC, datetime
from pathlib import Path

from lode.app.contracts import Caller, Gate, RequestError, Usage
from lode.core.errors import ServeError

PREFIX = "lode_"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY_DIGITS = 43
_CHECK_DIGITS = 6
_MIN_KEY_LENGTH = 32
_CHALLENGE = ((b"www-authenticate", b'Bearer realm="lode"'),)


def make_key() -> str:
    """A new key."""
    digits = _base62(secrets.randbits(256), _KEY_DIGITS)
    return f"{PREFIX}{digits}{_checksum(digits)}"


def well_formed(key: str) -> bool:
    """Whether it is a key of ours without a typing error; says nothing about who may use it."""
    digits, check = key[len(PREFIX) : -_CHECK_DIGITS], key[-_CHECK_DIGITS:]
    return key.startswith(PREFIX) and len(digits) == _KEY_DIGITS and key.isascii() and _checksum(digits) == check


def stored_or_made(folder: Path) -> tuple[bytes, str | None]:
    """The hash of the key in `folder/keys.json`, and the key itself where it was made just now: nobody knows it later.

    Errors: ServeError where the file is damaged.
    """
    path = folder / "keys.json"
    if not path.exists():
        key = make_key()
        if _store(path, key):
            return _digest(key), key
    return _stored(path), None


def read_key_file(path: Path) -> bytes:
    """The hash of the key in a user's file. Errors: ServeError where there is none, or it is too short or mistyped."""
    try:
        key = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ServeError(f"--key-file {path}: cannot be read ({error}). Name a file that holds one key.") from None
    if len(key) < _MIN_KEY_LENGTH or not key.isascii() or not key.isprintable() or " " in key:
        raise ServeError(
            f"--key-file {path}: found no key, wanted are at least {_MIN_KEY_LENGTH} printable ASCII characters "
            "without spaces on one line. Put one there, or leave --key-file out and let lode make one."
        )
    if key.startswith(PREFIX) and not well_formed(key):
        raise ServeError(f"--key-file {path}: the key's checksum is wrong, so it was mistyped or cut. Copy it again.")
    return _digest(key)


class KeyGate(Gate):
    """Lets in who shows the key, or everybody where there is none; notes nothing.

    digest: sha256 of the key; None where no key is asked for (`--open`).
    """

    def __init__(self, digest: bytes | None):
        self._digest = digest
        self._caller = Caller("open" if digest is None else f"key-{digest.hex()[:8]}")

    async def authorize(self, authorization: bytes | None) -> Caller:
        if self._digest is None:
            return self._caller
        if authorization is None:
            raise RequestError(401, "no_key", "no key. Send the header `Authorization: Bearer KEY`.", headers=_CHALLENGE)
        scheme, _, key = authorization.partition(b" ")
        # The digests are compared, so neither the key's length nor its first wrong character shows in the time taken.
        same = hmac.compare_digest(hashlib.sha256(key.strip()).digest(), self._digest)
        if scheme.lower() != b"bearer" or not same:
            raise RequestError(401, "wrong_key", f"the key is not valid{_why(scheme, key)}.", headers=_CHALLENGE)
        return self._caller

    async def settle(self, caller: Caller, usage: Usage) -> None:
        """Nothing is noted yet."""


def _why(scheme: bytes, key: bytes) -> str:
    text = key.decode("ascii", "replace").strip()
    if scheme.lower() != b"bearer":
        return ": the scheme must be Bearer"
    if text.startswith(PREFIX) and not well_formed(text):
        return ": its checksum is wrong, so it was mistyped or cut"
    return ""


def _store(path: Path, key: str) -> bool:
    """Write the hash so that others cannot read it and nobody sees half of it; False where another start was faster."""
    record = {
        "format": 1,
        "keys": [{"sha256": _digest(key).hex(), "created": datetime.now(UTC).isoformat(timespec="seconds")}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(record, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise ServeError(f"{path}: cannot be written ({error}). Give a --runs DIR that can be, a --key-file, or --open.") from None
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _stored(path: Path) -> bytes:
    try:
        record = json.loads(path.read_text("utf-8"))
        digest = bytes.fromhex(record["keys"][0]["sha256"])
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ServeError(f"{path}: damaged ({error}). Delete it; the next start makes a new key and shows it.") from None
    if len(digest) != hashlib.sha256().digest_size:
        raise ServeError(f"{path}: damaged (no sha256). Delete it; the next start makes a new key and shows it.")
    return digest


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _checksum(digits: str) -> str:
    return _base62(zlib.crc32(digits.encode()), _CHECK_DIGITS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
