"""Keys as bytes: made, recognised, turned into what is stored. The only file that sees a key.

A key is `lode_`, 43 base-62 digits of 256 random bits, and 6 of their CRC-32, so that a typing error is told from a wrong
key and leaked keys can be found by a scanner. Stored is HMAC-SHA-256 under the server's pepper: a key has 256 bits of its
own, so nothing slower is needed, and a stolen database is worth nothing without the pepper.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import zlib
from functools import lru_cache
from pathlib import Path

from lode.app.contracts import RequestError
from lode.core.errors import ServeError

PREFIX = "lode_"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY_DIGITS = 43
_CHECK_DIGITS = 6
FOREIGN_LENGTH = 32
"""Characters that a key made elsewhere has at least."""
LENGTH = len(PREFIX) + _KEY_DIGITS + _CHECK_DIGITS
_LONGEST_HEADER = 512
"""Bytes of an Authorization header that are looked at; a longer one is refused unread."""
_PEPPER_BYTES = 32
_CHALLENGE = ((b"www-authenticate", b'Bearer realm="lode"'),)


def make_key() -> str:
    """A new key."""
    digits = _base62(secrets.randbits(256), _KEY_DIGITS)
    return f"{PREFIX}{digits}{_checksum(digits)}"


def well_formed(key: str) -> bool:
    """Whether it is a key of ours without a typing error; says nothing about who may use it."""
    digits, check = key[len(PREFIX) : -_CHECK_DIGITS], key[-_CHECK_DIGITS:]
    return key.startswith(PREFIX) and len(digits) == _KEY_DIGITS and key.isascii() and _checksum(digits) == check


def hint_of(key: str) -> str:
    """What a list may show of a key: its first four digits; 230 bits stay unknown."""
    return f"{key[: len(PREFIX) + 4]}..."


def hmac_of(pepper: bytes, key: str | bytes) -> bytes:
    """What is stored of a key and looked up: 32 bytes."""
    inner, outer = _begun(pepper)
    inner, outer = inner.copy(), outer.copy()
    inner.update(key.encode() if isinstance(key, str) else key)
    outer.update(inner.digest())
    return outer.digest()


@lru_cache(maxsize=4)
def _begun(pepper: bytes) -> tuple[hashlib._Hash, hashlib._Hash]:
    """HMAC-SHA-256 (RFC 2104) up to the message: the rest takes a third of what `hmac.digest` does, and every request needs it."""
    block = (pepper if len(pepper) <= 64 else hashlib.sha256(pepper).digest()).ljust(64, b"\0")
    return hashlib.sha256(bytes(byte ^ 0x36 for byte in block)), hashlib.sha256(bytes(byte ^ 0x5C for byte in block))


def mark_of(pepper: bytes) -> str:
    """Eight hex digits by which the pepper is recognised, stored beside each key; they tell nothing about it."""
    return hmac.digest(pepper, b"lode pepper", "sha256").hex()[:8]


def key_in(authorization: bytes | None) -> str:
    """The key that an Authorization header brings. The work is bounded, whatever is sent; nothing of it appears in an error.

    Errors: RequestError 401 where there is none, the scheme is another, or it cannot be a key.
    """
    if not authorization:
        raise refused("no_key", "no key. Send the header `Authorization: Bearer KEY`.")
    if len(authorization) > _LONGEST_HEADER:
        raise refused("wrong_key", f"the key is not valid: the header has more than {_LONGEST_HEADER} bytes.")
    scheme, _, key = authorization.partition(b" ")
    if scheme.lower() != b"bearer":
        raise refused("wrong_key", "the key is not valid: the scheme must be Bearer.")
    text = key.strip(b" \t").decode("ascii", "replace")
    # One that was made elsewhere (`lode serve --key-file`) has no checksum.
    if not well_formed(text) and (text.startswith(PREFIX) or len(text) < FOREIGN_LENGTH):
        mistyped = " its checksum is wrong, so it was mistyped or cut." if text.startswith(PREFIX) else ""
        raise refused("wrong_key", f"the key is not valid{':' if mistyped else '.'}{mistyped}")
    return text


def refused(type: str, message: str) -> RequestError:
    """401 with the challenge that RFC 9110 asks for."""
    return RequestError(401, type, message, headers=_CHALLENGE)


def read_pepper(path: Path) -> bytes:
    """The pepper of a file. Errors: ServeError where it cannot be read, is too short, or others may read it."""
    try:
        text = path.read_text("ascii").strip()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise ServeError(f"pepper {path}: cannot be read ({error}). Name a file of {2 * _PEPPER_BYTES} hex digits.") from None
    if mode & 0o077:
        raise ServeError(f"pepper {path}: others may read it (mode {mode & 0o777:o}), allowed: 600. Run: chmod 600 {path}")
    try:
        pepper = bytes.fromhex(text)
    except ValueError:
        pepper = b""
    if len(pepper) < _PEPPER_BYTES:
        wanted = f"at least {2 * _PEPPER_BYTES} hex digits on one line"
        raise ServeError(f"pepper {path}: found none, wanted: {wanted}. Restore it from a backup; without it no key works.")
    return pepper


def stored_pepper(runs: Path, named: Path | None = None) -> bytes:
    """The server's pepper: of the file `named`, else of `runs/pepper`, which is made once, whoever comes first.

    Errors: ServeError where it cannot be read or written.
    """
    if named is not None:
        return read_pepper(named)
    path = runs / "pepper"
    if not path.exists():
        _make_pepper(path)
    return read_pepper(path)


def _make_pepper(path: Path) -> None:
    """Nobody sees half of it, and of two processes that start together one wins: it is linked into place."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(_PEPPER_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError as error:
        raise ServeError(
            f"pepper {path}: cannot be written ({error}). Give a --runs DIR that can be, or a --pepper-file."
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def digest_hex(text: str) -> str:
    """SHA-256 of a random word that is looked up but needs no pepper (a session's)."""
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(digits: str) -> str:
    return _base62(zlib.crc32(digits.encode()), _CHECK_DIGITS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
