"""What lies inside an organisation: projects and service accounts; and people, who may belong to several of them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from lode.app.access import checks, organisations
from lode.app.access.roles import PLATFORM, TENANT, Principal, require_equipping, require_granting, scopes_of
from lode.app.books import journal, pages
from lode.app.books.contracts import Act, Document, Session, Store
from lode.app.books.pages import ALL, Span
from lode.core.errors import BillingError, ConflictError, NotFoundError

PROJECT, ACCOUNT, USER = "project", "account", "user"
LOGIN: Mapping[str, dict[str, str]] = {
    "forget": {"issuer": "", "subject": ""},
    "refuse": {"status": "closed"},
    "allow": {"status": "active"},
    "end": {},
}
"""What is done to a person's login. Each of them also ends all sessions that are open: whoever holds a stolen one is out."""
_MOST = 10_000
"""Projects, service accounts, and people, of one organisation."""


def add_project(store: Store, actor: str, organisation: str, name: str, *, now_us: Callable[[], int]) -> dict[str, Any]:
    """A new project: keys, limits and usage are told apart by it. Errors: ConflictError where the name is taken."""
    return _add(store, actor, PROJECT, "prj_", organisation, {"name": checks.name(name)}, now_us)


def close_project(store: Store, actor: str, organisation: str, id: str, *, now_us: Callable[[], int]) -> dict[str, Any]:
    """Its keys are refused from now on; its usage stays."""
    return _close(store, actor, PROJECT, organisation, id, now_us)


def add_account(
    store: Store, actor: str, organisation: str, name: str, role: str = "service", *, now_us: Callable[[], int],
    principal: Principal | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A service account: keys may be its keys, and may then do what its role allows.

    role: one of an organisation; in an organisation of kind "own" also one of the platform, for programs that act as the operator.
    principal: who asks; None for the operator's own command line. Errors: BillingError; RequestError 403 for a role beyond one's own.
    """
    with store.view() as session:
        is_own = organisations.found(session, organisation).kind == "own"
    body = {"name": checks.name(name), "role": checks.one_of(role, (*TENANT, *PLATFORM) if is_own else TENANT, "role")}
    if principal is not None:
        require_equipping(principal, organisation, role, scopes_of(role))
    return _add(store, actor, ACCOUNT, "svc_", organisation, body, now_us)


def close_account(store: Store, actor: str, organisation: str, id: str, *, now_us: Callable[[], int]) -> dict[str, Any]:
    """Its keys are refused from now on."""
    return _close(store, actor, ACCOUNT, organisation, id, now_us)


def set_user(
    store: Store, actor: str, fields: Mapping[str, Any], *, now_us: Callable[[], int], principal: Principal | None = None
) -> dict[str, Any]:
    """Change what a person is; unknown addresses become known by it, as an invitation.

    fields: email (or id), name, and one of: organisation and role; operator; login. An empty role takes it away. login: "forget"
    (the next one with this verified address ties it anew), "refuse", "allow", "end"; all of them end every open session. principal: who
    asks; None for the operator's own command line. Errors: BillingError for unknown words; ConflictError where the last owner of an
    organisation would go; RequestError 403 for a role beyond the principal's own.
    """
    checks.known_keys(fields, ("email", "id", "name", "organisation", "role", "operator", "login"), "user")
    given = [word for word in ("role", "operator", "login") if word in fields]
    if len(given) != 1:
        raise BillingError(f"user: found {len(given)} of role, operator and login, allowed: one. Say what to change.")
    word, value = given[0], fields[given[0]]
    table = {"role": TENANT, "operator": PLATFORM, "login": LOGIN}[word]
    if value != "" or word == "login":
        checks.one_of(value, table, word)
    name = checks.optional_name(fields.get("name"), "name")

    def work(session: Session) -> dict[str, Any]:
        user = _addressed(session, fields, now_us())
        body = {**user.body, "name": name or user.body["name"]}
        organisation = ""
        if word == "role":
            organisation = organisations.open_one(session, fields.get("organisation")).slug
            if principal is not None:
                require_granting(principal, organisation, value, body["roles"].get(organisation, ""))
            _check_membership(session, user, organisation, value)
            _keep_an_owner(session, user, organisation, value)
            others = {key: role for key, role in body["roles"].items() if key != organisation}
            body["roles"] = {**others, organisation: value} if value else others
        else:
            body |= {"operator": value} if word == "operator" else {**LOGIN[value], "logins": logins(user) + 1}
        return write_user(session, Document(USER, user.id, "", body), actor, organisation, now_us())

    return store.transact(work)


def write_user(
    session: Session, user: Document, actor: str, organisation: str, now_us: int, kind: str = "user.change"
) -> dict[str, Any]:
    """Write the new state of a person; gives it as JSON."""
    journal.append(session, [Act(kind, actor, organisation, documents=(user,))], now_us)
    return shown(user)


def user_of(session: Session, *, email: str = "", issuer: str = "", subject: str = "") -> Document | None:
    """A person by issuer and subject, or by e-mail (letters of any size)."""
    for document in journal.documents(session, USER):
        body = document.body
        if subject and (body["issuer"], body["subject"]) == (issuer, subject):
            return document
        if email and not subject and checks.same_address(body["email"], email):
            return document
    return None


def logins(user: Document) -> int:
    """How often the sessions of a person were ended all at once; a session holds as long as this stays."""
    return int(user.body.get("logins", 0))


def new_user(name: str, email: str, issuer: str, subject: str, now_us: int) -> Document:
    """A person whom an identity provider vouches for and nobody invited: without any role."""
    body = _new_user(email, now_us) | {"name": name, "issuer": issuer, "subject": subject}
    return Document(USER, _id("usr_"), "", body)


def shown(document: Document) -> dict[str, Any]:
    """For JSON."""
    body = {key: value for key, value in document.body.items() if key != "logins"}
    return {"id": document.id, **({"organisation": document.organisation} if document.organisation else {}), **body}


def inside(store: Store, organisation: str) -> dict[str, Any]:
    """Projects, service accounts and people of an organisation. Errors: BillingError where there is none."""
    return {**projects(store, organisation), **accounts(store, organisation), **people(store, organisation)}


def projects(store: Store, organisation: str, span: Span = ALL) -> dict[str, Any]:
    """Its projects, by id."""
    return {"projects": _listed(store, PROJECT, organisation, span)}


def accounts(store: Store, organisation: str, span: Span = ALL) -> dict[str, Any]:
    """Its service accounts, by id."""
    return {"accounts": _listed(store, ACCOUNT, organisation, span)}


def people(store: Store, organisation: str, span: Span = ALL) -> dict[str, Any]:
    """Who has a role in it, by id. Only that role: what somebody is elsewhere is nobody's business here."""
    with store.view() as session:
        slug = organisations.found(session, organisation).slug
        found = pages.documents(session, USER, span=span, keep=lambda item: slug in item.body["roles"])
    users = [
        {"id": item.id, "email": item.body["email"], "name": item.body["name"], "role": item.body["roles"][slug]} for item in found
    ]
    return {"users": users}


def operators(store: Store, span: Span = ALL) -> dict[str, Any]:
    """People with a role on the platform, by id."""
    with store.view() as session:
        found = pages.documents(session, USER, span=span, keep=lambda item: bool(item.body["operator"]))
    return {"users": [shown(item) for item in found]}


def _listed(store: Store, kind: str, organisation: str, span: Span) -> list[dict[str, Any]]:
    with store.view() as session:
        return [shown(item) for item in pages.documents(session, kind, organisations.found(session, organisation).slug, span)]


def owned(session: Session, kind: str, organisation: str, id: Any) -> Document:
    """A thing of an organisation. Errors: NotFoundError where there is none, or it is another organisation's: the same words."""
    document = journal.document(session, kind, id) if checks.is_id(id) else None
    if document is None or document.organisation != organisation:
        raise NotFoundError(
            f"{kind}: found {checks.quoted(id)}, which does not exist in {organisation}. See `lode customers show {organisation}`."
        )
    return document


def active(session: Session, kind: str, organisation: str, id: Any) -> Document:
    """The same, refusing what is closed."""
    document = owned(session, kind, organisation, id)
    if document.body["status"] != "active":
        raise ConflictError(f"{kind}: {document.id} is closed, allowed: one that is active. Add another.")
    return document


def _add(
    store: Store, actor: str, kind: str, prefix: str, organisation: str, body: dict[str, Any], now_us: Callable[[], int]
) -> dict[str, Any]:
    def work(session: Session) -> dict[str, Any]:
        slug = organisations.open_one(session, organisation).slug
        there = journal.documents(session, kind, slug)
        if any(item.body["name"].casefold() == body["name"].casefold() and item.body["status"] == "active" for item in there):
            raise ConflictError(f"{kind}: found the name {checks.quoted(body['name'])}, which {slug} has already. Choose another.")
        if len(there) >= _MOST:
            raise BillingError(f"{kind}: {slug} has {_MOST} already, which is the most allowed. Use one of them.")
        new = Document(kind, _id(prefix), slug, {**body, "status": "active", "created_us": now_us()})
        journal.append(session, [Act(f"{kind}.create", actor, slug, documents=(new,))], now_us())
        return shown(new)

    return store.transact(work)


def _close(store: Store, actor: str, kind: str, organisation: str, id: str, now_us: Callable[[], int]) -> dict[str, Any]:
    def work(session: Session) -> dict[str, Any]:
        document = active(session, kind, organisations.found(session, organisation).slug, id)
        closed = Document(kind, document.id, document.organisation, {**document.body, "status": "closed"})
        journal.append(session, [Act(f"{kind}.close", actor, document.organisation, documents=(closed,))], now_us())
        return shown(closed)

    return store.transact(work)


def _addressed(session: Session, fields: Mapping[str, Any], now_us: int) -> Document:
    """The person whom the fields name; a new one for an address that nobody has."""
    id, address = fields.get("id"), checks.email(fields.get("email"))
    if (id is None) == (not address):
        raise BillingError(
            "user: found none or both of email and id, wanted one. Name the person by an address like jo@example.org."
        )
    if id is None:
        return user_of(session, email=address) or Document(USER, _id("usr_"), "", _new_user(address, now_us))
    found = journal.document(session, USER, id) if checks.is_id(id) else None
    if found is None:
        raise NotFoundError(f"user: found {checks.quoted(id)}, which does not exist. See `lode customers show`.")
    return found


def _new_user(email: str, now_us: int) -> dict[str, Any]:
    return {
        "name": "", "email": email, "issuer": "", "subject": "", "roles": {}, "operator": "", "status": "active", "created_us": now_us,
    }  # fmt: skip


def _check_membership(session: Session, user: Document, organisation: str, role: str) -> None:
    """Nobody is written down for having no role, and an organisation has no more people than it can have of anything else."""
    if user.body["roles"].get(organisation):
        return
    if not role:
        raise NotFoundError(f"user: {checks.quoted(user.body['email'])} has no role in {organisation}. See `lode customers show`.")
    if sum(organisation in item.body["roles"] for item in journal.documents(session, USER)) >= _MOST:
        raise BillingError(f"user: {organisation} has {_MOST} people already, which is the most allowed. Take a role away first.")


def _keep_an_owner(session: Session, user: Document, organisation: str, role: str) -> None:
    if role == "owner" or user.body["roles"].get(organisation) != "owner":
        return
    owners = [item for item in journal.documents(session, USER) if item.body["roles"].get(organisation) == "owner"]
    if len(owners) == 1:
        raise ConflictError(
            f"role: {user.body['email']} is the last owner of {organisation}, allowed: one at least. Make another owner first."
        )


def _id(prefix: str) -> str:
    return f"{prefix}{secrets.token_hex(8)}"
