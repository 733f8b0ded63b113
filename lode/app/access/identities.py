"""Who logged in: what an identity provider or an LDAP server vouches for, and whom that is in the books."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lode.app.access import checks, members
from lode.app.access.options import role_of
from lode.app.access.roles import PLATFORM, TENANT, Principal
from lode.app.books.contracts import Document, Session
from lode.app.contracts import RequestError
from lode.core.errors import BillingError


@dataclass(frozen=True, slots=True)
class Identity:
    """A person as somebody else knows them.

    issuer, subject: unique together, for ever. email: only where the issuer has verified it, else "". roles: organisation -> role,
    and operator: role on the platform, as the groups say.
    """

    issuer: str
    subject: str
    email: str = ""
    name: str = ""
    roles: Mapping[str, str] = field(default_factory=dict)
    operator: str = ""


def granted(groups: Iterable[str], mapping: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Roles by organisation, and the role on the platform, that groups give; of several the one that may do most."""
    roles: dict[str, str] = {}
    operator = ""
    for group in groups:
        if group not in mapping:
            continue
        organisation, role = role_of(mapping[group])
        if organisation:
            roles[organisation] = max(roles.get(organisation, ""), role, key=lambda word: len(TENANT.get(word, ())))
        else:
            operator = max(operator, role, key=lambda word: len(PLATFORM.get(word, ())))
    return roles, operator


def known(session: Session, identity: Identity, now_us: int) -> tuple[Document, bool]:
    """The person of the books, and whether that is news to be written.

    By issuer and subject; else, at the first login, by an e-mail that the issuer verified and nobody has tied to another
    login; else, where groups give a role, somebody new. Errors: RequestError 403 for everybody else.
    """
    found = members.user_of(session, issuer=identity.issuer, subject=identity.subject)
    if found is not None:
        return _unless_closed(found), False
    invited = members.user_of(session, email=identity.email) if identity.email else None
    if invited is not None and not invited.body["subject"]:
        name = invited.body["name"] or _name(identity.name)
        body = {**invited.body, "issuer": identity.issuer, "subject": identity.subject, "name": name}
        return _unless_closed(Document(members.USER, invited.id, "", body)), True
    if identity.roles or identity.operator:
        # A second person with the same address stays nameless here: an address leads to one person only.
        email = "" if invited is not None else identity.email
        return members.new_user(_name(identity.name), email, identity.issuer, identity.subject, now_us), True
    raise RequestError(403, "not_invited", "you are logged in, but nobody gave you a role here. Ask the operator of this service.")


def principal_of(user: Document, roles: Mapping[str, str], operator: str) -> Principal:
    """What a person may do now: what the books say, else what the groups said at the login."""
    merged = {**{key: role for key, role in roles.items() if role in TENANT}, **user.body["roles"]}
    return Principal(f"user:{user.id}", merged, user.body["operator"] or operator)


def text_claim(claims: Mapping[str, Any], word: str, longest: int = 256) -> str:
    """A claim that should be a short text; "" where it is anything else."""
    value = claims.get(word)
    return value if isinstance(value, str) and len(value) <= longest else ""


def _name(text: str) -> str:
    """Names from elsewhere are not refused, only not kept where they are no names."""
    try:
        return checks.optional_name(text, "name")
    except BillingError:
        return ""


def _unless_closed(user: Document) -> Document:
    if user.body["status"] != "active":
        raise RequestError(403, "user_closed", "your access has ended. Ask the operator of this service.")
    return user
