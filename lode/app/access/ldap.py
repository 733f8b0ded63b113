"""Login with an LDAP server (OpenLDAP, Active Directory): a port of three methods, and the one implementation of it.

ldap3 is old; whatever replaces it replaces the class `Ldap` and nothing else.
"""

from __future__ import annotations

import re
import secrets
import ssl
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import ldap3
from ldap3.core.exceptions import LDAPException, LDAPSASLPrepError
from ldap3.utils.conv import escape_filter_chars

from lode.app.access.identities import Identity, granted
from lode.app.access.options import LdapOptions
from lode.app.contracts import RequestError
from lode.core.errors import ServeError

_LONGEST_NAME, _LONGEST_PASSWORD = 256, 1024
_MOST_GROUPS = 1000
_COMMA = re.compile(r"(?<!\\),")
_ATTRIBUTES = ["mail", "cn", "entryUUID"]


@dataclass(frozen=True, slots=True)
class Person:
    """An entry of the server. dn: where it stands. id: what stays when it is moved or renamed (entryUUID), else the DN."""

    dn: str
    id: str
    name: str
    email: str
    login: str


class PersonDirectory(ABC):
    """The port: people and groups that somebody else keeps."""

    @abstractmethod
    def connect(self) -> None:
        """Try it out at the start. Errors: ServeError that says what is wrong."""

    @abstractmethod
    def authenticate(self, name: str, password: str) -> Person | None:
        """The person, if the password is right; None for a wrong or empty one and for names that nobody or several have.

        Errors: RequestError 503 where the server does not answer.
        """

    @abstractmethod
    def groups(self, person: Person) -> tuple[str, ...]:
        """Names of the groups that the person belongs to (`group_key` makes them comparable). Errors: RequestError 503."""


class Ldap(PersonDirectory):
    """An LDAP server, always encrypted: ldaps, or STARTTLS before anything is said; its certificate and its name are checked."""

    def __init__(self, options: LdapOptions, bind_password: str):
        parts = urlsplit(options.address)
        self._options = options
        self._password = bind_password
        self._starts_tls = parts.scheme == "ldap"
        host = str(parts.hostname)
        self._server = ldap3.Server(
            host, port=parts.port or (389 if self._starts_tls else 636), use_ssl=not self._starts_tls,
            # ldap3 itself compares the host's name with the certificate's, for both kinds of encryption.
            tls=ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=options.ca_file, sni=host),
            get_info=ldap3.NONE, connect_timeout=options.timeout_s,
        )  # fmt: skip

    def connect(self) -> None:
        if not self._password:
            raise ServeError("ldap.bind_password_file: found an empty password, allowed: one. Write it into the file.")
        try:
            with self._bound(self._options.bind_dn, self._password) as connection:
                if connection is None:
                    raise ServeError(
                        f"ldap.bind_dn: {self._options.address} refuses {self._options.bind_dn}. Correct name or password."
                    )
        except RequestError as error:
            raise ServeError(f"ldap.address: {self._options.address}: {error.message}") from None

    def authenticate(self, name: str, password: str) -> Person | None:
        # An empty password would be an anonymous bind, which every server says yes to (RFC 4513, 5.1.2).
        if not 0 < len(name) <= _LONGEST_NAME or not 0 < len(password) <= _LONGEST_PASSWORD or "\0" in password:
            return None
        person = self._found(name)
        # A name that nobody has is asked for, too: how long an answer takes tells nothing about who works here.
        dn = f"cn={secrets.token_hex(8)},{self._options.base}" if person is None else person.dn
        with self._bound(dn, password) as connection:
            return person if connection is not None else None

    def groups(self, person: Person) -> tuple[str, ...]:
        if not self._options.groups_base:
            return ()
        dn, login = escape_filter_chars(person.dn), escape_filter_chars(person.login)
        text = self._options.groups_filter.replace("{dn}", dn).replace("{name}", login)
        return tuple(entry["dn"] for entry in self._search(self._options.groups_base, text, ["1.1"], _MOST_GROUPS))

    def _found(self, name: str) -> Person | None:
        text = self._options.filter.replace("{name}", escape_filter_chars(name))
        entries = self._search(self._options.base, text, _ATTRIBUTES, 2)
        if len(entries) != 1:
            return None
        values = {key: _text(found) for key, found in entries[0]["raw_attributes"].items()}
        dn = entries[0]["dn"]
        return Person(dn, values.get("entryUUID") or group_key(dn), values.get("cn", ""), values.get("mail", ""), name)

    def _search(self, base: str, text: str, attributes: list[str], most: int) -> list[dict[str, Any]]:
        with self._bound(self._options.bind_dn, self._password) as connection:
            if connection is None:
                raise _away("its own name is refused")
            connection.search(base, text, attributes=attributes, size_limit=most, time_limit=self._options.timeout_s)
            return [entry for entry in connection.response or () if entry.get("type") == "searchResEntry"]

    @contextmanager
    def _bound(self, dn: str, password: str) -> Iterator[Any]:
        """A connection in somebody's name; None where the server says no to the name."""
        connection = ldap3.Connection(
            self._server, user=dn, password=password, authentication=ldap3.SIMPLE, read_only=True, auto_referrals=False,
            receive_timeout=self._options.timeout_s,
        )  # fmt: skip
        try:
            connection.open()
            if self._starts_tls and not connection.start_tls():
                raise _away("STARTTLS is refused")
            yield connection if _is_bound(connection) else None
        except (LDAPException, OSError) as error:
            # The class alone: texts of these errors may hold what was sent.
            raise _away(f"it does not answer as it should ({type(error).__name__})") from None
        finally:
            with suppress(LDAPException, OSError):  # a connection that broke cannot be said goodbye to
                connection.unbind()


def _is_bound(connection: ldap3.Connection) -> bool:
    try:
        return bool(connection.bind())
    except LDAPSASLPrepError:  # control characters and the like: a password that nobody can have
        return False


def identity_of(server: PersonDirectory, options: LdapOptions, person: Person) -> Identity:
    """The person with the roles that the groups give. The server's own list of addresses counts as verified.

    The issuer is named after the tree, not after the address: that may become another, or ldaps.
    """
    mapping = {group_key(group): role for group, role in options.roles.items()}
    roles, operator = granted((group_key(group) for group in server.groups(person)), mapping)
    return Identity(f"ldap:{group_key(options.base)}", person.id, person.email, person.name, roles, operator)


def group_key(dn: str) -> str:
    """A DN that can be compared: LDAP does not care about case, nor about spaces beside commas."""
    parts = (part.strip() for part in _COMMA.split(dn.casefold()))
    return ",".join("=".join(side.strip() for side in part.split("=", 1)) for part in parts)


def _text(found: Any) -> str:
    """The first value of an attribute, where it is a short text."""
    value = found[0] if isinstance(found, list) and found else b""
    return value.decode("utf-8", "replace")[:256] if isinstance(value, bytes) else ""


def _away(message: str) -> RequestError:
    return RequestError(503, "ldap", f"the LDAP server cannot be used: {message}. Try again.", headers=((b"retry-after", b"10"),))
