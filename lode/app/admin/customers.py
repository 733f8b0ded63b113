"""Operations on organisations, their people, keys and limits."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from lode.app.access import keys, limits, members, organisations
from lode.app.admin.contracts import Body, Call, Operation, given


class NewOrganisation(Body):
    """A customer. organisation: its short name, for ever. payment: invoice or prepaid."""

    organisation: str
    currency: str
    name: str | UnsetType = UNSET
    kind: str | UnsetType = UNSET
    zone: str | UnsetType = UNSET
    address: list[str] | UnsetType = UNSET
    country: str | UnsetType = UNSET
    tax_id: str | UnsetType = UNSET
    email: str | UnsetType = UNSET
    payment: str | UnsetType = UNSET
    credit_line: str | UnsetType = UNSET


class Contact(Body):
    """What members may change of their own organisation."""

    name: str | UnsetType = UNSET
    address: list[str] | UnsetType = UNSET
    country: str | UnsetType = UNSET
    tax_id: str | UnsetType = UNSET
    email: str | UnsetType = UNSET


class Terms(Body):
    """What only the operator changes."""

    zone: str | UnsetType = UNSET
    payment: str | UnsetType = UNSET
    credit_line: str | UnsetType = UNSET


class Reason(Body):
    """Why, for the books."""

    reason: str = ""


class Named(Body):
    """A name for people."""

    name: str


class NewAccount(Body):
    """A service account. role: what its keys may do at most."""

    name: str
    role: str = "service"


class Member(Body):
    """role: "" takes it away."""

    email: str
    role: str


class Operator(Body):
    """One of operator (a role on the platform; "" takes it away) and login (forget, refuse, allow)."""

    email: str
    operator: str | UnsetType = UNSET
    login: str | UnsetType = UNSET


class NewKey(Body):
    """A key. expires: 90d, a day, or a time with its offset; never where it is left out."""

    name: str | UnsetType = UNSET
    project: str | UnsetType = UNSET
    account: str | UnsetType = UNSET
    scopes: list[str] | UnsetType = UNSET
    models: list[str] | UnsetType = UNSET
    expires: str | UnsetType = UNSET


class Rotation(Body):
    """overlap: how long the old secret works."""

    overlap: str = "24h"


class Limits(Body):
    """All limits of a subject, such as "600 requests/minute"."""

    subject: str
    limits: list[str]


def _add(call: Call) -> dict[str, Any]:
    fields = given(call.body)
    slug = fields.pop("organisation")
    return organisations.add(call.platform.store, call.actor, slug, fields, now_us=call.platform.now_us)


def _list(call: Call) -> dict[str, Any]:
    return call.page.of(
        organisations.listed(call.platform.store, call.page.span), "organisations", lambda row: (row["organisation"],)
    )


def _show(call: Call) -> dict[str, Any]:
    return organisations.show(call.platform.store, call.organisation)


def _change(call: Call) -> dict[str, Any]:
    return organisations.change(call.platform.store, call.actor, call.organisation, given(call.body), now_us=call.platform.now_us)


def _suspend(call: Call) -> dict[str, Any]:
    reason = call.body.reason
    return organisations.suspend(call.platform.store, call.actor, call.organisation, reason, now_us=call.platform.now_us)


def _resume(call: Call) -> dict[str, Any]:
    return organisations.resume(call.platform.store, call.actor, call.organisation, now_us=call.platform.now_us)


def _close(call: Call) -> dict[str, Any]:
    reason = call.body.reason
    return organisations.close(call.platform.store, call.actor, call.organisation, reason, now_us=call.platform.now_us)


def _id(row: dict[str, Any]) -> tuple[str]:
    return (row["id"],)


def _people(call: Call) -> dict[str, Any]:
    return call.page.of(members.people(call.platform.store, call.organisation, call.page.span), "users", _id)


def _projects(call: Call) -> dict[str, Any]:
    return call.page.of(members.projects(call.platform.store, call.organisation, call.page.span), "projects", _id)


def _accounts(call: Call) -> dict[str, Any]:
    return call.page.of(members.accounts(call.platform.store, call.organisation, call.page.span), "accounts", _id)


def _add_project(call: Call) -> dict[str, Any]:
    return members.add_project(call.platform.store, call.actor, call.organisation, call.body.name, now_us=call.platform.now_us)


def _close_project(call: Call) -> dict[str, Any]:
    return members.close_project(
        call.platform.store, call.actor, call.organisation, call.path["project"], now_us=call.platform.now_us
    )


def _add_account(call: Call) -> dict[str, Any]:
    body = call.body
    return members.add_account(
        call.platform.store, call.actor, call.organisation, body.name, body.role, now_us=call.platform.now_us,
        principal=call.principal,
    )  # fmt: skip


def _close_account(call: Call) -> dict[str, Any]:
    return members.close_account(
        call.platform.store, call.actor, call.organisation, call.path["account"], now_us=call.platform.now_us
    )


def _set_member(call: Call) -> dict[str, Any]:
    fields = {**given(call.body), "organisation": call.organisation}
    user = members.set_user(call.platform.store, call.actor, fields, now_us=call.platform.now_us, principal=call.principal)
    # What somebody is elsewhere is nobody's business here.
    return {"id": user["id"], "email": user["email"], "role": user["roles"].get(call.organisation, "")}


def _operators(call: Call) -> dict[str, Any]:
    return call.page.of(members.operators(call.platform.store, call.page.span), "users", _id)


def _set_operator(call: Call) -> dict[str, Any]:
    return members.set_user(call.platform.store, call.actor, given(call.body), now_us=call.platform.now_us)


def _new_key(call: Call) -> dict[str, Any]:
    platform = call.platform
    return keys.create(
        platform.store, call.actor, call.organisation, given(call.body), platform.pepper, now_us=platform.now_us,
        principal=call.principal,
    )  # fmt: skip


def _keys(call: Call) -> dict[str, Any]:
    platform = call.platform
    return call.page.of(keys.list_keys(platform.store, call.organisation, call.page.span, now_us=platform.now_us), "keys", _id)


def _rotate(call: Call) -> dict[str, Any]:
    platform, id = call.platform, call.path["key"]
    return keys.rotate(
        platform.store, call.actor, call.organisation, id, platform.pepper, call.body.overlap, now_us=platform.now_us,
        principal=call.principal,
    )  # fmt: skip


def _revoke(call: Call) -> dict[str, Any]:
    platform, id = call.platform, call.path["key"]
    return keys.revoke(platform.store, call.actor, call.organisation, id, call.body.reason, now_us=platform.now_us)


def _limits(call: Call) -> dict[str, Any]:
    return call.page.of(limits.show_limits(call.platform.store, call.organisation, call.page.span), "limits", _subject)


def _subject(row: dict[str, Any]) -> tuple[str]:
    return (row["subject"],)


def _set_limits(call: Call) -> dict[str, Any]:
    body = call.body
    return limits.set_limits(
        call.platform.store, call.actor, body.subject, body.limits, now_us=call.platform.now_us, within=call.organisation
    )


def _all_limits(call: Call) -> dict[str, Any]:
    return call.page.of(limits.show_limits(call.platform.store, None, call.page.span), "limits", _subject)


def _set_any_limits(call: Call) -> dict[str, Any]:
    return limits.set_limits(call.platform.store, call.actor, call.body.subject, call.body.limits, now_us=call.platform.now_us)


_ONE = "/organisations/{organisation}"
_PEOPLE, _KEYS = "People and projects", "Keys and limits"

OPERATIONS = (
    Operation("GET", "/organisations", "organisation.list", "All customers", _list, "Customers", items="organisations"),
    Operation("POST", "/organisations", "organisation.create", "A new customer", _add, "Customers", NewOrganisation, status=201),
    Operation("GET", _ONE, "organisation.read", "One customer", _show, "Customers"),
    Operation("PATCH", _ONE, "organisation.change", "Change name and address", _change, "Customers", Contact),
    Operation("PATCH", f"{_ONE}/terms", "organisation.terms", "Change zone, payment, credit line", _change, "Customers", Terms),
    Operation("POST", f"{_ONE}/suspend", "organisation.suspend", "Refuse its calls from now on", _suspend, "Customers", Reason),
    Operation("POST", f"{_ONE}/resume", "organisation.suspend", "Let it call again", _resume, "Customers"),
    Operation("POST", f"{_ONE}/close", "organisation.close", "End it for good", _close, "Customers", Reason),
    Operation("GET", f"{_ONE}/members", "member.read", "People with a role in it", _people, _PEOPLE, items="users"),
    Operation("POST", f"{_ONE}/members", "member.change", "Give somebody a role, or take it away", _set_member, _PEOPLE, Member),
    Operation("GET", f"{_ONE}/projects", "project.read", "Its projects", _projects, _PEOPLE, items="projects"),
    Operation("POST", f"{_ONE}/projects", "project.create", "A new project", _add_project, _PEOPLE, Named, status=201),
    Operation("DELETE", f"{_ONE}/projects/{{project}}", "project.change", "Close a project", _close_project, _PEOPLE),
    Operation("GET", f"{_ONE}/accounts", "account.read", "Its service accounts", _accounts, _PEOPLE, items="accounts"),
    Operation("POST", f"{_ONE}/accounts", "account.create", "A new service account", _add_account, _PEOPLE, NewAccount, status=201),
    Operation("DELETE", f"{_ONE}/accounts/{{account}}", "account.change", "Close a service account", _close_account, _PEOPLE),
    Operation("GET", f"{_ONE}/keys", "key.read", "Keys, without what is secret", _keys, _KEYS, items="keys"),
    Operation("POST", f"{_ONE}/keys", "key.create", "A new key, shown only now", _new_key, _KEYS, NewKey, status=201),
    Operation("POST", f"{_ONE}/keys/{{key}}/rotate", "key.rotate", "A new secret; the old one works on", _rotate, _KEYS, Rotation),
    Operation("POST", f"{_ONE}/keys/{{key}}/revoke", "key.revoke", "Refuse a key within five seconds, everywhere", _revoke, _KEYS, Reason),
    Operation("GET", f"{_ONE}/limits", "limit.read", "Rate limits, quotas and budgets", _limits, _KEYS, items="limits"),
    Operation("POST", f"{_ONE}/limits", "limit.change", "Set all limits of a key or a project", _set_limits, _KEYS, Limits),
    Operation("GET", "/limits", "limit.read", "All limits, also of models", _all_limits, _KEYS, items="limits"),
    Operation("POST", "/limits", "organisation.limit", "Set all limits of any subject", _set_any_limits, _KEYS, Limits),
    Operation("GET", "/operators", "operator.read", "People with a role on the platform", _operators, _PEOPLE, items="users"),
    Operation("POST", "/operators", "operator.change", "Give a role on the platform; refuse a login", _set_operator, _PEOPLE, Operator),
)  # fmt: skip
