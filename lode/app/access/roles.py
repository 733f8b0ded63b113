"""Who may do what: the one policy table. Deny by default; the authorisation matrix test is made from it.

A role of an organisation holds in that organisation only. A role of the platform ("operator", ...) holds in all of them.
For somebody with no role in an organisation, that organisation does not exist: 404, never 403.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lode.app.contracts import RequestError

# What members of an organisation may do to it, word by word; "thing.verb" as in the journal's kinds.
_READ = (
    "organisation.read project.read account.read key.read limit.read member.read plan.read subscription.read usage.read invoice.read "
    "credit.read"
)
_BUILD = "project.create project.change account.create account.change key.create key.rotate key.revoke limit.change"
_CALL = "model.predict outcome.write"
_PEOPLE = "member.change organisation.change audit.read"

# What only the operator of the platform does.
_PLATFORM_READ = "organisation.list operator.read margin.read worth.read price.read audit.verify model.read books.check"
_PLATFORM_MONEY = (
    "organisation.terms plan.create plan.change plan.correct subscription.change invoice.issue invoice.change credit.change tax.change "
    "price.change outcome.write usage.export usage.import worth.close cost.post"
)
_PLATFORM_RUN = (
    "organisation.create organisation.suspend organisation.close organisation.limit operator.change backup.run audit.checkpoint "
    "setting.change"
)


def _words(*texts: str) -> frozenset[str]:
    return frozenset(" ".join(texts).split())


TENANT: Mapping[str, frozenset[str]] = {
    "owner": _words(_READ, _BUILD, _CALL, _PEOPLE, "organisation.leave"),
    "admin": _words(_READ, _BUILD, _CALL, _PEOPLE),
    "developer": _words(_READ, _BUILD, _CALL) - _words("invoice.read credit.read"),
    "billing": _words("organisation.read organisation.change plan.read subscription.read usage.read invoice.read credit.read"),
    "viewer": _words(_READ) - _words("invoice.read credit.read"),
    "service": _words(_CALL, "usage.read"),
}
"""Role in an organisation -> what it may do there."""

PLATFORM: Mapping[str, frozenset[str]] = {
    "operator": _words(_READ, _BUILD, _PEOPLE, _PLATFORM_READ, _PLATFORM_MONEY, _PLATFORM_RUN),
    "finance": _words(_READ, "organisation.change", _PLATFORM_READ, _PLATFORM_MONEY),
    "support": _words(_READ, "organisation.list key.revoke limit.change organisation.suspend model.read"),
    "auditor": _words(_READ, _PLATFORM_READ, "audit.read"),
}
"""Role on the platform -> what it may do, in every organisation."""

ACTIONS: tuple[str, ...] = tuple(sorted(frozenset().union(*TENANT.values(), *PLATFORM.values())))

SCOPES: Mapping[str, frozenset[str]] = {
    "predict": _words("model.predict"),
    "outcomes": _words("outcome.write"),
    "usage:read": _words("usage.read"),
    "admin:read": _words(_READ),
    "admin": _words(_READ, _BUILD, _PEOPLE),
}
"""Scope of a key -> what it lets its account's role do; only what both of them allow is allowed."""

PLATFORM_SCOPE = "platform"
"""Scope of a key of an account with a role on the platform: all that the role includes, for all organisations."""
ALL_SCOPES: Mapping[str, frozenset[str]] = {**SCOPES, PLATFORM_SCOPE: frozenset().union(*PLATFORM.values())}

_NEEDED = {
    "predict": "model.predict",
    "outcomes": "outcome.write",
    "usage:read": "usage.read",
    "admin:read": "organisation.read",
    "admin": "key.create",
    PLATFORM_SCOPE: "organisation.list",
}


def scopes_of(role: str) -> tuple[str, ...]:
    """Scopes that make sense for a key of an account with this role."""
    return tuple(scope for scope, action in _NEEDED.items() if allowed(role, action))


def allowed(role: str, action: str) -> bool:
    """Whether a role, of an organisation or of the platform, includes an action. Unknown words: no."""
    return action in TENANT.get(role, ()) or action in PLATFORM.get(role, ())


def may_grant(role: str, granted: str) -> bool:
    """Whether somebody with `role` may give or take away `granted`: never more than one may do oneself."""
    may_change = "operator.change" if granted in PLATFORM else "member.change"
    if not allowed(role, may_change):
        return False
    return role == "operator" or (granted in TENANT and TENANT[granted] <= TENANT.get(role, frozenset()))


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts on the admin side.

    actor: for the journal ("user:usr_1", "key:key_1"). roles: organisation -> role there. operator: role on the platform, ""
    for none. scopes: of a key; None for a person, whom no scope narrows.
    """

    actor: str
    roles: Mapping[str, str] = field(default_factory=dict)
    operator: str = ""
    scopes: frozenset[str] | None = None

    def may(self, action: str, organisation: str = "") -> bool:
        """Whether it may act on an organisation; "" for the platform itself."""
        if self.scopes is not None and not any(action in ALL_SCOPES.get(scope, ()) for scope in self.scopes):
            return False
        if action in PLATFORM.get(self.operator, ()):
            return True
        return bool(organisation) and action in TENANT.get(self.roles.get(organisation, ""), ())

    def knows(self, organisation: str) -> bool:
        """Whether the organisation exists for it."""
        return bool(self.operator in PLATFORM or self.roles.get(organisation) in TENANT)


def require(principal: Principal, action: str, organisation: str = "") -> None:
    """Refuse what is not allowed.

    Errors: RequestError 404 for an organisation that is none of the principal's business, as if it did not exist; 403 else.
    """
    if principal.may(action, organisation):
        return
    if organisation and not principal.knows(organisation):
        raise RequestError(404, "not_found", "there is nothing here.")
    raise RequestError(403, "forbidden", f"your role does not include {action}.")


def require_granting(principal: Principal, organisation: str, granted: str, before: str = "") -> None:
    """Refuse to give a person in an organisation a role, or to take one away, that is more than one's own.

    granted, before: "" for none. Errors: RequestError 403.
    """
    mine = principal.operator if principal.may("operator.change") else principal.roles.get(organisation, "")
    for role in (granted, before):
        if role and not may_grant(mine, role):
            raise RequestError(403, "forbidden", f"your role does not include giving or taking away the role {role}.")


def require_equipping(principal: Principal, organisation: str, role: str, scopes: Iterable[str]) -> None:
    """Refuse to make or renew a key, or an account for keys, that could administer more than one may oneself.

    Calls of models are no administration: who may make keys may make keys for calls. Errors: RequestError 403.
    """
    granted = _words(*(" ".join(ALL_SCOPES[scope]) for scope in scopes)) & (
        TENANT.get(role, frozenset()) | PLATFORM.get(role, frozenset())
    )
    mine = {action for action in granted if principal.may(action, organisation)}
    more = granted - mine - _words(_CALL, "usage.read organisation.leave")
    if more:
        raise RequestError(403, "forbidden", f"your role does not include {min(more)}, which this key or account would.")
