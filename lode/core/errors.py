"""Every error a user can see. One tree, one rule: say where, say what, say what to do.

LodeError                 the user's fault: printed without a traceback, exit code 2
├── SpecError             the declarative file is wrong (one report holds all its problems)
│   └── UnknownNameError  a `type:` word that names no file in its folder
├── DataError             a source, a cell, an image or a split cannot be used as asked
├── ModelError            training cannot go on (a NaN loss, one class only, ...)
├── ArtifactError         an artifact or run is missing, damaged, of another format, or fails its parity check
├── ServeError            the server cannot start or a request cannot be served
├── BillingError          a price, an amount, a plan, a customer or the books cannot be used as asked
│   ├── NotFoundError     a customer, a key, a plan, an invoice, ... that was named does not exist
│   ├── BooksError        the books cannot be read or written; nothing was recorded
│   └── ConflictError     a reference was used before, for something else
├── AuditError            the audit log or a checkpoint is not what was written
├── BackupError           a backup cannot be made, read or trusted
├── DiskFullError         the disk has no room for what a step writes
├── BusyError             somebody else holds the lock of a runs folder
└── MissingPackageError   an optional package is not installed (the message has the install command)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LodeError(Exception):
    """Base of every error raised on purpose. The command line prints it without a traceback and exits with 2."""


class SpecError(LodeError):
    """The declarative file is wrong. Every line of the message starts with the file and the dotted key."""


class UnknownNameError(SpecError):
    """A `type:` word that names no file in its folder."""


class DataError(LodeError):
    """A source, a cell, an image or a split cannot be used as asked."""


class ModelError(LodeError):
    """Training cannot start or go on."""


class ArtifactError(LodeError):
    """An artifact or a run is missing, damaged, of another format version, or fails its parity check."""


class ServeError(LodeError):
    """The server cannot start, or a request cannot be served."""


class BillingError(LodeError):
    """A price, an amount, a plan, a customer or the books cannot be used as asked."""


class NotFoundError(BillingError):
    """What was named does not exist, or is not to be seen from here."""


class BooksError(BillingError):
    """The books cannot be read or written. Nothing of the transaction was recorded.

    retry_s: seconds after which the same call may succeed (a full disk, a server that is away); None where it will not.
    """

    def __init__(self, message: str, retry_s: int | None = None):
        super().__init__(message)
        self.retry_s = retry_s


class ConflictError(BillingError):
    """A reference was used before, for something else."""


class AuditError(LodeError):
    """The audit log, or a checkpoint of it, is not what was written."""


class BackupError(LodeError):
    """A backup cannot be made, read or trusted. Nothing half-written or half-restored stays."""


class BusyError(LodeError):
    """Somebody else is writing into the same runs folder."""


class DiskFullError(LodeError):
    """The disk has no room for what a step writes. Nothing half-written is taken for whole; the same command goes on."""


class MissingPackageError(LodeError):
    """An optional package is not installed."""


def near_miss(word: str, allowed: Iterable[str]) -> str:
    """` Did you mean "x"?` for the closest allowed word, or an empty string."""
    found = difflib.get_close_matches(word, list(allowed), n=1)
    return f' Did you mean "{found[0]}"?' if found else ""


def listed(words: Iterable[str], limit: int = 8) -> str:
    """At most `limit` words joined by commas; the rest is counted."""
    names = list(words)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def reason(error: Exception) -> str:
    """What the system said, without its number and the path that the message has already: "no such file or directory"."""
    return (getattr(error, "strerror", None) or str(error)).lower()
