"""How people log in: `runs/access.toml` (or `--access FILE`), a closed file like lode.yaml. All problems come in one report.

Secrets stand in files of their own, which are named relative to this one and may be read by their owner only.
"""

from __future__ import annotations

import re
import ssl
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from lode.app.access import checks
from lode.app.access.roles import PLATFORM, TENANT
from lode.core.check import Finding, check_options, dotted, shown, unknown_word
from lode.core.errors import BillingError, ServeError
from lode.core.signature import read_signature
from lode.core.types import Range

FILE = "access.toml"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class OidcOptions:
    """The section `oidc`.

    Args:
        issuer: address of the identity provider, letter by letter as in its tokens.
        client_id: the name under which lode is known there.
        client_secret_file: a file with the secret; none for a public client.
        redirect: address of /admin/callback as the browser sees it.
        algorithms: with which tokens may be signed, nothing else is ever accepted; empty for RS256 alone.
        scopes: what is asked for, separated by spaces.
        audience: `aud` of tokens that machines send as Bearer; empty accepts none.
        roles_claim: claim with the person's groups; empty reads none.
        roles: group -> ORGANISATION:ROLE, or a role on the platform.
        ca_file: certificates to trust instead of the system's.
    """

    issuer: str
    client_id: str
    redirect: str
    client_secret_file: str = ""
    algorithms: list[Literal["RS256", "RS384", "RS512", "PS256", "ES256", "ES384"]] = field(default_factory=list)
    scopes: str = "openid email profile"
    audience: str = ""
    roles_claim: str = ""
    roles: dict[str, str] = field(default_factory=dict)
    ca_file: str = ""


@dataclass(frozen=True, kw_only=True)
class LdapOptions:
    """The section `ldap`.

    Args:
        address: ldaps://HOST:PORT, or ldap://HOST:PORT, which is then encrypted with STARTTLS before anything is said.
        base: where people are looked for.
        ca_file: certificates to trust; the server's must be signed by one of them and name HOST.
        bind_dn: whose name looks them up.
        bind_password_file: a file with its password.
        filter: how a person is found; {name} is what was typed, escaped.
        groups_base: where groups are looked for; empty looks for none.
        groups_filter: how a person's groups are found; {dn} and {name} are escaped.
        roles: a group's DN -> ORGANISATION:ROLE, or a role on the platform.
        timeout_s: seconds that the server gets for each answer.
    """

    address: str
    base: str
    ca_file: str
    bind_dn: str
    bind_password_file: str
    filter: str = "(&(objectClass=person)(uid={name}))"
    groups_base: str = ""
    groups_filter: str = "(|(member={dn})(uniqueMember={dn}))"
    roles: dict[str, str] = field(default_factory=dict)
    timeout_s: Annotated[int, Range(1, 60)] = 5


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """The section `session`.

    Args:
        hours: how long a login lasts.
    """

    hours: Annotated[float, Range(0.01, 720)] = 8.0


@dataclass(frozen=True, kw_only=True)
class Access:
    """What the file says, its secrets read. Secrets never show in a repr."""

    oidc: OidcOptions | None = None
    ldap: LdapOptions | None = None
    session: SessionOptions = SessionOptions()
    client_secret: str = field(default="", repr=False)
    bind_password: str = field(default="", repr=False)


_SECTIONS: Mapping[str, type] = {"oidc": OidcOptions, "ldap": LdapOptions, "session": SessionOptions}


def read_access(path: Path) -> Access:
    """What stands in the file. Errors: ServeError that lists every problem, each with its dotted key."""
    tree = _tree(path)
    findings: list[Finding] = []
    made: dict[str, Any] = {}
    for word, value in tree.items():
        if word not in _SECTIONS:
            findings.append(Finding((word,), unknown_word(word, _SECTIONS)))
        elif not isinstance(value, Mapping):
            findings.append(Finding((word,), f"found {shown(value)}, allowed: a section [{word}]."))
        else:
            made[word] = check_options(value, read_signature(Path(__file__), _SECTIONS[word].__name__), (word,), findings)
    if not findings:
        _rules(made, findings)
        _trusted(path, made, findings)
    secrets: dict[str, Any] = {} if findings else _secrets(path, made, findings)
    if findings:
        raise ServeError("\n".join(f"{path}: {dotted(finding.key)}: {finding.text}" for finding in findings))
    found: dict[str, Any] = {word: _SECTIONS[word](**options) for word, options in made.items()}
    return Access(**found, **secrets)


def role_of(text: str) -> tuple[str, str]:
    """What "acme:developer" means, ("acme", "developer"), or "finance", ("", "finance"). Errors: BillingError for unknown roles."""
    organisation, colon, role = text.rpartition(":")
    if colon:
        return checks.slug(organisation), checks.one_of(role, TENANT, "role")
    return "", checks.one_of(text, PLATFORM, "role on the platform")


def _tree(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ServeError(
                f"{path}: larger than {_MOST_BYTES} bytes, allowed: a short file. See docs/how-to/log-in-with-oidc-or-ldap.md."
            )
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ServeError(f"{path}: cannot be read ({error}). Name another with --access.") from None
    except tomllib.TOMLDecodeError as error:
        raise ServeError(f"{path}: no TOML: {error}. Correct it.") from None


def _rules(made: Mapping[str, Mapping[str, Any]], findings: list[Finding]) -> None:
    """What the types cannot say."""
    oidc, ldap = made.get("oidc", {}), made.get("ldap", {})
    findings += [
        Finding(("oidc", key), f"found {shown(oidc[key])}, allowed: https://..., or http:// on this machine only.")
        for key in ("issuer", "redirect")
        if key in oidc and not is_safe_address(oidc[key])
    ]
    if oidc.get("audience") and oidc["audience"] == oidc["client_id"]:
        text = "found the client_id, allowed: another word. Else a token made for a login would open the door for a machine."
        findings.append(Finding(("oidc", "audience"), text))
    if ldap and not re.fullmatch(r"ldaps?://[A-Za-z0-9.-]+(:\d{1,5})?/?", ldap["address"], re.ASCII):
        findings.append(
            Finding(("ldap", "address"), f"found {shown(ldap['address'])}, allowed: ldaps://HOST:PORT or ldap://HOST:PORT.")
        )
    if ldap.get("filter") and ldap["filter"].count("{name}") != 1:
        findings.append(Finding(("ldap", "filter"), f"found {shown(ldap['filter'])}, allowed: a filter with {{name}} in it, once."))
    for section in ("oidc", "ldap"):
        for group, text in made.get(section, {}).get("roles", {}).items():
            try:
                role_of(text)
            except BillingError as error:
                findings.append(Finding((section, "roles", group), f"{error}"))


def is_safe_address(address: str) -> bool:
    """https, or http to this very machine; nothing else in it that could lead elsewhere."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    if parts.username or parts.password or parts.fragment or not parts.hostname or not address.isprintable() or " " in address:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


def _trusted(path: Path, made: dict[str, Any], findings: list[Finding]) -> None:
    """Certificates, too, are named relative to the file."""
    for section in ("oidc", "ldap"):
        named = made.get(section, {}).get("ca_file")
        if not named:
            continue
        file = path.parent / named
        try:
            ssl.create_default_context(cafile=str(file))
        except (OSError, ValueError) as error:
            findings.append(Finding((section, "ca_file"), f"{file}: no certificates ({error}), allowed: a PEM file."))
        made[section] = {**made[section], "ca_file": str(file)}


def _secrets(path: Path, made: Mapping[str, Mapping[str, Any]], findings: list[Finding]) -> dict[str, Any]:
    found = {}
    for section, key, word in (("oidc", "client_secret_file", "client_secret"), ("ldap", "bind_password_file", "bind_password")):
        named = made.get(section, {}).get(key)
        if not named:
            continue
        file = path.parent / named
        try:
            if file.stat().st_mode & 0o077:
                findings.append(
                    Finding((section, key), f"{file}: others may read it, allowed: its owner only. Run: chmod 600 {file}")
                )
            found[word] = file.read_text("utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            findings.append(Finding((section, key), f"{file}: cannot be read ({error})."))
    return found
