"""Everything that decides who may call, in memory: one immutable snapshot, replaced when the books have changed.

`head.changes` grows with each act that holds documents; a process reads it every second and then calls `newer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from lode.app.access import keys, limits, members, organisations
from lode.app.access.credentials import mark_of, refused
from lode.app.access.organisations import Organisation
from lode.app.access.roles import PLATFORM, Principal
from lode.app.books.contracts import Document, Session
from lode.app.contracts import Caller, Limit, RequestError
from lode.app.prices import plans, subscription
from lode.app.prices.subscription import Subscription
from lode.core.errors import ServeError

_KINDS = (
    organisations.KIND, members.PROJECT, members.ACCOUNT, keys.KIND, limits.KIND, plans.KIND, subscription.KIND,
)  # fmt: skip
_SQL = "SELECT kind, id, organisation, body FROM documents WHERE kind IN (?, ?, ?, ?, ?, ?, ?) AND sequence > ? ORDER BY sequence"


@dataclass(frozen=True, slots=True)
class _Tables:
    """What a snapshot holds. digests: of a good secret -> its key's id, and until when it is good (None: as long as the key)."""

    documents: dict[tuple[str, str], Document] = field(default_factory=dict)
    organisations: dict[str, Organisation] = field(default_factory=dict)
    limits: dict[str, tuple[Limit, ...]] = field(default_factory=dict)
    digests: dict[bytes, tuple[str, int | None]] = field(default_factory=dict)
    contracts: dict[str, dict[str, Subscription]] = field(default_factory=dict)

    def copy(self) -> _Tables:
        return _Tables(dict(self.documents), dict(self.organisations), dict(self.limits), dict(self.digests), dict(self.contracts))

    def take(self, document: Document) -> None:
        """The new state of one thing."""
        name = (document.kind, document.id)
        if document.kind == organisations.KIND:
            self.organisations[document.id] = Organisation.of(document)
        elif document.kind == limits.KIND:
            self.limits[document.id] = limits.of(document)
        elif document.kind == subscription.KIND:
            others = self.contracts.get(document.organisation, {})
            self.contracts[document.organisation] = {**others, document.id: Subscription.of(document)}
        elif document.kind == keys.KIND:
            before = self.documents.get(name)
            for secret in before.body["secrets"] if before else ():
                self.digests.pop(bytes.fromhex(secret["hmac"]), None)
            for secret in document.body["secrets"]:
                self.digests[bytes.fromhex(secret["hmac"])] = (document.id, secret["until_us"])
        self.documents[name] = document


@dataclass(frozen=True, slots=True)
class _Known:
    """A key. state: "active", or why its calls are refused. expires_us: None for never.

    until_us: when its organisation's plan, and with it the plan's limits, will be another; None for not as far as is known.
    """

    caller: Caller
    state: str
    expires_us: int | None
    until_us: int | None = None


class Directory:
    """Keys, customers and limits as the books held them at one moment. Immutable.

    changes: `head.changes` at that moment. organisations: by slug.
    """

    def __init__(self, tables: _Tables, changes: int, sequence: int, mark: str):
        self.changes = changes
        self.organisations: Mapping[str, Organisation] = tables.organisations
        self._tables = tables
        self._sequence = sequence
        self._mark = mark
        self._models = tuple(limit for id, found in tables.limits.items() if id.startswith("model/") for limit in found)
        # Filled as keys are used; never more than there are keys. A new snapshot begins with none.
        self._known: dict[str, _Known] = {}

    @classmethod
    def read(cls, session: Session) -> Directory:
        """All of it."""
        return cls._after(session, _Tables(), 0)

    def newer(self, session: Session) -> Directory:
        """This one, or where the books have changed since, a new one, for which only what changed was read."""
        if session.rows("SELECT changes FROM head")[0][0] == self.changes:
            return self
        return self._after(session, self._tables.copy(), self._sequence)

    @classmethod
    def _after(cls, session: Session, tables: _Tables, sequence: int) -> Directory:
        last, changes = session.rows("SELECT sequence, changes FROM head")[0]
        for kind, id, owner, body in session.rows(_SQL, (*_KINDS, sequence)):
            tables.take(Document(kind, id, owner, orjson.loads(body)))
        mark = session.rows("SELECT body FROM documents WHERE kind = ? AND id = ?", ("setting", "pepper"))
        return cls(tables, changes, last, orjson.loads(mark[0][0])["mark"] if mark else "")

    def check_pepper(self, pepper: bytes) -> None:
        """Refuse a pepper that no key of these books was made with. Errors: ServeError."""
        if self._mark and mark_of(pepper) != self._mark:
            raise ServeError(
                f"pepper: found one with the mark {mark_of(pepper)}, but the keys were made with {self._mark}: none would work. "
                "Restore RUNS/pepper from a backup, or name the right one with --pepper-file."
            )

    def knows(self, digest: bytes) -> bool:
        """Whether a key has this digest, good or not."""
        return digest in self._tables.digests

    def caller(self, digest: bytes, now_us: int) -> Caller:
        """Who shows the key with this digest (`credentials.hmac_of`).

        Looked up by a keyed hash, so that the time taken says nothing about any key. Errors: RequestError 401 for a key that
        is unknown, revoked or expired; 403 where its organisation, project or account takes no calls.
        """
        found = self._tables.digests.get(digest)
        if found is None:
            raise refused("wrong_key", "the key is not valid.")
        id, until_us = found
        known = self._known.get(id)
        if known is None or (known.until_us is not None and known.until_us <= now_us):
            known = self._read(id, now_us)
        if known.state != "active":
            raise RequestError(403, known.state, _WHY[known.state])
        if until_us is not None and until_us <= now_us:
            raise refused("expired_key", "the key was replaced, and its time is over. Use the new one.")
        if known.expires_us is not None and known.expires_us <= now_us:
            raise refused("expired_key", "the key has expired. Ask for another.")
        return known.caller

    def principal(self, caller: Caller) -> Principal:
        """What a key may do on the admin side: its scopes, within the role of its service account, which may be one of the platform."""
        account = self._tables.documents.get((members.ACCOUNT, caller.account))
        role = account.body["role"] if account else "service"
        if role in PLATFORM:
            return Principal(f"key:{caller.key}", operator=role if caller.kind == "own" else "", scopes=caller.scopes)
        return Principal(f"key:{caller.key}", {caller.organisation: role}, scopes=caller.scopes)

    def limits_of(self, subject: str) -> tuple[Limit, ...]:
        """Limits of one subject."""
        return self._tables.limits.get(subject, ())

    def _read(self, id: str, now_us: int) -> _Known:
        key = self._tables.documents[keys.KIND, id]
        body, organisation = key.body, self.organisations[key.organisation]
        of_plan, until_us = self._plan_limits(organisation.slug, now_us)
        caller = Caller(
            name=key.id,
            organisation=organisation.slug,
            project=body["project"],
            key=key.id,
            account=body["account"],
            scopes=frozenset(body["scopes"]),
            models=frozenset(body["models"]),
            limits=self._limits_for(key.id, body["project"], organisation.slug) + of_plan,
            currency=organisation.currency,
            zone=organisation.zone,
            payment=organisation.payment,
            credit_line=organisation.credit_line,
            kind=organisation.kind,
        )
        known = self._known[id] = _Known(caller, self._state(organisation, body), body["expires_us"], until_us)
        return known

    def _limits_for(self, key: str, project: str, organisation: str) -> tuple[Limit, ...]:
        subjects = (f"key/{key}", f"project/{project}", f"organisation/{organisation}")
        return tuple(limit for subject in subjects for limit in self.limits_of(subject)) + self._models

    def _plan_limits(self, organisation: str, now_us: int) -> tuple[tuple[Limit, ...], int | None]:
        """Limits of the plan that an organisation has now, and until when that holds."""
        contracts = self._tables.contracts.get(organisation, {}).values()
        for held in contracts:
            if held.covers(now_us):
                record = self._tables.documents[plans.KIND, f"{held.plan}@{held.version}"].body["plan"]
                found = (limits.parse(text, f"plan/{organisation}", held.currency) for text in record["limits"])
                return tuple(found), held.until_us
        return (), min((item.since_us for item in contracts if item.since_us > now_us), default=None)

    def _state(self, organisation: Organisation, body: Mapping[str, Any]) -> str:
        if organisation.status != "active":
            return f"organisation_{organisation.status}"
        for kind in (members.PROJECT, members.ACCOUNT):
            if body[kind] and self._tables.documents[kind, body[kind]].body["status"] != "active":
                return f"{kind}_closed"
        return "active"


_WHY = {
    "organisation_suspended": "the organisation is suspended. Ask the operator of this service.",
    "organisation_closed": "the organisation is closed.",
    "project_closed": "the key's project is closed. Use a key of another project.",
    "account_closed": "the key's service account is closed.",
}


def applying(found: tuple[Limit, ...], model: str) -> tuple[Limit, ...]:
    """Of a caller's limits, those that hold for a request to `model`."""
    return tuple(
        limit
        for limit in found
        if limit.model in ("", model) and (not limit.subject.startswith("model/") or limit.subject == f"model/{model}")
    )
