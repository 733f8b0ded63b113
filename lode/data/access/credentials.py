"""Keys and tokens of remote files: from environment variables or a secrets file that the options name, never from lode.yaml itself.

They are read when a connection is made and kept nowhere; `scrub` takes them out of messages of other people's code.
Read lode/data/access/remote.py next.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from lode.core.errors import DataError, listed, near_miss
from lode.data.place import Place

_WORDS = ("key", "secret", "token")
_SECRET_PARAMETERS = frozenset(
    (
        "sig",
        "signature",
        "x-amz-signature",
        "x-goog-signature",
        "x-amz-security-token",
        "token",
        "access_token",
        "api_key",
        "apikey",
    )
)
_MAX_SECRETS_BYTES = 1 << 16
_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Credentials:
    """What was found. key, secret, token: None where nothing names them. account: the text of a service account's JSON file."""

    key: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    account: str | None = field(default=None, repr=False)

    def scrub(self, text: str) -> str:
        """The text with every secret in it replaced by stars."""
        for value in (self.key, self.secret, self.token, self.account):
            if value:
                text = text.replace(value, "***")
        return text


def read_credentials(place: Place, where: str, environment: Mapping[str, str | None], secrets: str | None) -> Credentials:
    """Credentials from environment variables, the rest from the secrets file.

    environment: "key", "secret" or "token" -> name of a variable, or None.
    Errors: DataError for a variable that is not set and for a file that is missing or of another form; no value is ever shown.
    """
    found, account = _file(place, where, secrets) if secrets is not None else ({}, None)
    for word, variable in environment.items():
        if variable is None:
            continue
        value = os.environ.get(variable)
        if not value:
            raise DataError(
                f"{where}: {word}_env names the environment variable {variable}, which is not set or empty. "
                f"Set it before you start lode: export {variable}=..."
            )
        found[word] = value
    if ("key" in found) != ("secret" in found):
        lacking = "secret" if "key" in found else "key"
        raise DataError(f"{where}: found a key or a secret without the other. Name the {lacking} too, with {lacking}_env.")
    return Credentials(found.get("key"), found.get("secret"), found.get("token"), account)


def _file(place: Place, where: str, secrets: str) -> tuple[dict[str, str], str | None]:
    path = place.resolve(secrets)
    allowed = "a JSON object with key, secret or token as text, or the JSON file of a service account"
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > _MAX_SECRETS_BYTES:
        raise DataError(f"{where}: the secrets file {secrets} is no small file, needed: {allowed}.")
    if facts.st_mode & _FOR_OTHERS:
        raise DataError(f"{where}: others may read the secrets file {secrets}, only you should. Run: chmod 600 {path}")
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        record = None  # what the parser says may quote the file
    if not isinstance(record, dict):
        raise DataError(f"{where}: the secrets file {secrets} holds no JSON object, needed: {allowed}.")
    if record.get("type") == "service_account":
        return {}, text
    unknown = [str(word) for word in record if word not in _WORDS]
    if unknown or not all(isinstance(value, str) and value for value in record.values()):
        hint = near_miss(unknown[0], _WORDS) if unknown else ""
        raise DataError(f"{where}: the secrets file {secrets} holds the words {listed(map(str, record))}, needed: {allowed}.{hint}")
    return dict(record), None


def check_url(url: str) -> None:
    """Errors: DataError where a url carries a password, a token or a signature: it would end up in manifests."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise DataError(
            f"{parts.scheme}://...@{parts.netloc.rpartition('@')[2]}: found a user or password in the url, allowed: none. "
            "Name an environment variable with token_env, or key_env and secret_env, or a file with secrets."
        )
    found = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if name.lower() in _SECRET_PARAMETERS]
    if found:
        raise DataError(
            f'{parts.scheme}://{parts.netloc}{parts.path}: found the parameter "{found[0]}" in the url, which looks like a secret, '
            "allowed: none. Name an environment variable with token_env, or fetch the file yourself."
        )
