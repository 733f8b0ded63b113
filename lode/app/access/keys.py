"""API keys: made and shown once, renewed with an overlap, revoked. What is kept of a key is in `credentials.py`.

A key keeps its id (and with it limits and usage) through rotations: the document lists the digests that are good, and until when.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lode.app.access import checks, members, organisations
from lode.app.access.credentials import hint_of, hmac_of, make_key, mark_of
from lode.app.access.roles import ALL_SCOPES, Principal, require_equipping, scopes_of
from lode.app.books import journal, pages
from lode.app.books.contracts import Act, Document, Session, Store
from lode.app.books.pages import ALL, Span
from lode.core.errors import BillingError, ConflictError, NotFoundError

KIND = "key"
_FIELDS = ("name", "project", "account", "scopes", "models", "expires")
_MOST_DIGESTS = 4
_LONGEST_OVERLAP_US = 90 * 86400 * 1_000_000


def create(
    store: Store,
    actor: str,
    organisation: str,
    fields: Mapping[str, Any],
    pepper: bytes,
    *,
    now_us: Callable[[], int],
    key: str | None = None,
    principal: Principal | None = None,
) -> dict[str, Any]:
    """A new key; the answer's "key" is the only time that it is shown. key: one that was made elsewhere (`lode serve --key-file`).
    principal: who asks; None for the operator's own command line, which may do everything.

    fields: name, project (id), account (id), scopes (default: predict), models (default: all), expires (see `checks.instant_us`).
    Errors: BillingError for values that are not allowed, or scopes beyond the role of the account; ConflictError for closed things;
    RequestError 403 for a key that may administer more than `principal`.
    """
    checks.known_keys(fields, _FIELDS, "key")
    scopes = checks.some_of(["predict"] if fields.get("scopes") is None else fields["scopes"], ALL_SCOPES, "scopes")
    body = {
        "name": checks.optional_name(fields.get("name"), "name"), "scopes": list(scopes),
        "models": list(checks.models(fields.get("models"))), "status": "active", "reason": "", "created_us": now_us(),
        "expires_us": checks.instant_us(fields.get("expires"), "expires", now_us()),
    }  # fmt: skip
    made = key or make_key()

    def work(session: Session) -> dict[str, Any]:
        slug = organisations.open_one(session, organisation).slug
        _mark_agrees(session, pepper, now_us())
        account = members.active(session, members.ACCOUNT, slug, fields["account"]) if fields.get("account") else None
        project = members.active(session, members.PROJECT, slug, fields["project"]).id if fields.get("project") else ""
        role = account.body["role"] if account else "service"
        _scopes_fit(scopes, role)
        if principal is not None:
            require_equipping(principal, slug, role, scopes)
        secret = _secret(made, pepper, now_us())
        known = _same_secret(session, slug, secret["hmac"]) if key else None
        if known is not None:
            return {**shown(known, now_us()), "key": made}  # another process was faster with the same file
        owner = {"project": project, "account": account.id if account else "", "secrets": [secret]}
        new = Document(KIND, f"key_{secrets.token_hex(8)}", slug, body | owner)
        return {**_write(session, new, actor, "key.create", now_us()), "key": made}

    return store.transact(work)


def rotate(
    store: Store, actor: str, organisation: str, id: str, pepper: bytes, overlap: str = "24h", *, now_us: Callable[[], int],
    principal: Principal | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A new secret under the same id; the old one is good for `overlap` more ("24h", "0s"), at most 90 days.

    principal: as in `create`. Errors: NotFoundError for an unknown key; ConflictError where it is revoked or expired; RequestError 403.
    """
    overlap_us = checks.duration_us(overlap, "overlap")
    if overlap_us > _LONGEST_OVERLAP_US:
        raise BillingError(f"overlap: found {checks.quoted(overlap)}, allowed: at most 90d. Shorten it.")
    key = make_key()

    def work(session: Session) -> dict[str, Any]:
        organisations.open_one(session, organisation)
        document, now = members.owned(session, KIND, organisation, id), now_us()
        state = state_of(document.body, now)
        if state != "active":
            raise ConflictError(f"key: {id} is {state}, allowed: one that is active. Create another with `lode keys create`.")
        _mark_agrees(session, pepper, now)
        if principal is not None:
            account = journal.document(session, members.ACCOUNT, document.body["account"])
            require_equipping(principal, organisation, account.body["role"] if account else "service", document.body["scopes"])
        ends = [{**secret, "until_us": _sooner(secret["until_us"], now + overlap_us)} for secret in document.body["secrets"]]
        good = [secret for secret in ends if secret["until_us"] > now]
        if len(good) >= _MOST_DIGESTS:
            raise ConflictError(
                f"key: {id} has {len(good)} secrets in overlap, allowed: {_MOST_DIGESTS - 1}. Rotate with --overlap 0s."
            )
        retired = _retired(document, [secret for secret in ends if secret["until_us"] <= now])
        body = {**document.body, "secrets": [_secret(key, pepper, now), *good], "retired": retired}
        new = Document(KIND, document.id, document.organisation, body)
        return {**_write(session, new, actor, "key.rotate", now), "key": key}

    return store.transact(work)


def revoke(store: Store, actor: str, organisation: str, id: str, reason: str = "", *, now_us: Callable[[], int]) -> dict[str, Any]:
    """Refuse it from now on, old secrets in overlap too; every process knows within five seconds. Again is no error."""
    why = checks.optional_name(reason, "reason")

    def work(session: Session) -> dict[str, Any]:
        organisations.found(session, organisation)
        document = members.owned(session, KIND, organisation, id)
        if document.body["status"] == "revoked":
            return shown(document, now_us())
        retired = _retired(document, document.body["secrets"])
        body = {**document.body, "status": "revoked", "reason": why, "secrets": [], "retired": retired}
        return _write(session, Document(KIND, document.id, document.organisation, body), actor, "key.revoke", now_us())

    return store.transact(work)


def list_keys(store: Store, organisation: str | None = None, span: Span = ALL, *, now_us: Callable[[], int]) -> dict[str, Any]:
    """Keys without their secrets, by id. Errors: BillingError where there is no such organisation."""
    with store.view() as session:
        if organisation is not None:
            organisations.found(session, organisation)
        return {"keys": [shown(item, now_us()) for item in pages.documents(session, KIND, organisation, span)]}


def organisation_of(store: Store, id: str) -> str:
    """Whose key it is, for the operator's commands, which name the key only. Errors: NotFoundError where there is none."""
    with store.view() as session:
        document = journal.document(session, KIND, id) if checks.is_id(id) else None
    if document is None:
        raise NotFoundError(f"key: found {checks.quoted(id)}, which does not exist. See `lode keys list`.")
    return document.organisation


def state_of(body: Mapping[str, Any], now_us: int) -> str:
    """One of "active", "revoked", "expired"."""
    if body["status"] != "active":
        return str(body["status"])
    return "expired" if body["expires_us"] is not None and body["expires_us"] <= now_us else "active"


def shown(document: Document, now_us: int) -> dict[str, Any]:
    """For JSON: everything but the digests."""
    body = document.body
    good = [secret for secret in body["secrets"] if secret["until_us"] is None or secret["until_us"] > now_us]
    return {
        "id": document.id,
        "organisation": document.organisation,
        **{word: body[word] for word in ("name", "project", "account", "scopes", "models", "reason")},
        "state": state_of(body, now_us),
        "created": checks.shown_time(body["created_us"]),
        "expires": checks.shown_time(body["expires_us"]),
        "secrets": [{"begins": secret["hint"], "until": checks.shown_time(secret["until_us"])} for secret in good],
    }


def _secret(key: str, pepper: bytes, now_us: int) -> dict[str, Any]:
    digest = hmac_of(pepper, key).hex()
    return {"hmac": digest, "pepper": mark_of(pepper), "hint": hint_of(key), "created_us": now_us, "until_us": None}


def _retired(document: Document, secrets: Sequence[Mapping[str, Any]]) -> list[str]:
    """Digests that must never be good again: `lode serve --key-file` would bring a revoked key back at its next start."""
    return [*document.body.get("retired", ()), *(secret["hmac"] for secret in secrets)]


def _same_secret(session: Session, organisation: str, digest: str) -> Document | None:
    """The organisation's key that has this secret, None where none has.

    Errors: ConflictError where it was revoked or replaced, or is another organisation's.
    """
    for document in journal.documents(session, KIND):
        if digest in document.body.get("retired", ()):
            raise ConflictError(
                f"key: this one was revoked or replaced as {document.id}, allowed: a new one. Put another key into the file."
            )
        if any(secret["hmac"] == digest for secret in document.body["secrets"]):
            if document.organisation != organisation:
                raise ConflictError("key: this one is another organisation's, allowed: a new one. Put another key into the file.")
            return document
    return None


def _sooner(until_us: int | None, other_us: int) -> int:
    return other_us if until_us is None else min(until_us, other_us)


def _scopes_fit(scopes: tuple[str, ...], role: str) -> None:
    fitting = scopes_of(role)
    for scope in scopes:
        if scope not in fitting:
            told = f"scopes: found {scope}, allowed for the role {role}: {', '.join(fitting) or 'none'}."
            raise BillingError(f"{told} Name a service account with another role.")


def _mark_agrees(session: Session, pepper: bytes, now_us: int) -> None:
    """Keys of two peppers in one place would work by turns: the first key decides."""
    document, mark = journal.document(session, "setting", "pepper"), mark_of(pepper)
    if document is None:
        setting = Document("setting", "pepper", "", {"mark": mark})
        journal.append(session, [Act("setting.change", "system", documents=(setting,))], now_us)
    elif document.body["mark"] != mark:
        raise BillingError(
            f"pepper: found one with the mark {mark}, allowed: the one of these books, {document.body['mark']}. Name it with --pepper-file."
        )


def _write(session: Session, document: Document, actor: str, kind: str, now_us: int) -> dict[str, Any]:
    journal.append(session, [Act(kind, actor, document.organisation, documents=(document,))], now_us)
    return shown(document, now_us)
