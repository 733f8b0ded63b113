"""User and password for a server: from environment variables that the file names, or from a secrets file. They go nowhere else.

Shared by the sources that read databases; keys and tokens of remote files are in lode/data/access/credentials.py.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from lode.core.errors import DataError, listed, near_miss
from lode.data.place import Place

_ALLOWED = ("user", "password")
_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MAX_BYTES = 1 << 16
_EXAMPLE = '{"user": "...", "password": "..."}'


@dataclass(frozen=True, slots=True)
class Account:
    """Who reads. Neither value is ever shown."""

    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def scrub(self, text: str) -> str:
        """A message of a driver without the password."""
        return text.replace(self.password, "***") if self.password else text


def read_account(place: Place, where: str, user_env: str | None, password_env: str | None, secrets: str | None) -> Account:
    """What the options of a source name.

    Errors: DataError for a variable that is not set, a file that others may read, and both ways at once.
    """
    if secrets is not None:
        if user_env is not None or password_env is not None:
            raise DataError(f"{where}: found secrets beside user_env or password_env, one way is allowed. Leave one out.")
        return _from_file(place.resolve(secrets))
    return Account(_from_environment(where, "user_env", user_env), _from_environment(where, "password_env", password_env))


def _from_environment(where: str, option: str, name: str | None) -> str | None:
    if name is None:
        return None
    value = os.environ.get(name)
    if not value:
        raise DataError(
            f"{where}: {option} names the environment variable {name}, which is not set or empty. "
            f"Set it before you start lode: export {name}=..."
        )
    return value


def _from_file(path: Path) -> Account:
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > _MAX_BYTES:
        raise DataError(f"{path}: secrets is no small file. Name a text file that holds {_EXAMPLE}.")
    if facts.st_mode & _FOR_OTHERS:
        raise DataError(
            f"{path}: others may read this file (mode {stat.S_IMODE(facts.st_mode):o}), only you should. Run: chmod 600 {path}"
        )
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):
        found = None  # what the parser says may quote the file
    if not isinstance(found, dict) or not all(isinstance(value, str) and value for value in found.values()):
        raise DataError(f"{path}: secrets holds no JSON object of texts. Write {_EXAMPLE}.")
    for word in found:
        if word not in _ALLOWED:
            raise DataError(f'{path}: found "{word}", allowed: {listed(_ALLOWED)}.{near_miss(word, _ALLOWED)}')
    return Account(found.get("user"), found.get("password"))
