"""The policy table: every role x action x own, other and no organisation, from the table itself; and what must never be in it."""

from __future__ import annotations

import itertools

import pytest

from lode.app.access import roles
from lode.app.access.roles import ACTIONS, PLATFORM, SCOPES, TENANT, Principal, allowed, may_grant, require
from lode.app.contracts import RequestError

OPERATORS_ONLY = {
    "organisation.suspend",
    "organisation.create",
    "plan.change",
    "credit.change",
    "margin.read",
    "invoice.issue",
    "backup.run",
}


def status(principal: Principal, action: str, organisation: str) -> int:
    try:
        require(principal, action, organisation)
    except RequestError as failure:
        return failure.status
    return 200


@pytest.mark.parametrize("role", TENANT)
def test_members_act_in_their_own_organisation_only(role: str) -> None:
    member = Principal("user:1", {"acme": role})
    for action in (*ACTIONS, "no.such", ""):
        assert status(member, action, "acme") == (200 if action in TENANT[role] else 403)
        assert status(member, action, "other") == 404
        assert status(member, action, "") == 403


@pytest.mark.parametrize("role", PLATFORM)
def test_operators_act_everywhere_within_their_role(role: str) -> None:
    operator = Principal("user:1", operator=role)
    for action, organisation in itertools.product((*ACTIONS, "no.such"), ("acme", "other", "")):
        assert status(operator, action, organisation) == (200 if action in PLATFORM[role] else 403)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_keys_scope_only_narrows(scope: str) -> None:
    for role, action in itertools.product(TENANT, ACTIONS):
        key = Principal("key:1", {"acme": role}, scopes=frozenset({scope}))
        assert key.may(action, "acme") == (action in TENANT[role] and action in SCOPES[scope])
        assert not key.may(action, "other") and not key.may(action)


def test_nobody_and_unknown_roles_may_nothing() -> None:
    for principal in (
        Principal("x"),
        Principal("x", {"acme": "root"}, "root"),
        Principal("x", {"acme": "owner"}, scopes=frozenset()),
    ):
        assert not any(principal.may(action, organisation) for action in ACTIONS for organisation in ("acme", ""))
    assert not allowed("root", "key.read") and allowed("viewer", "key.read")


def test_no_member_of_a_customer_can_do_what_is_the_operators() -> None:
    assert set(ACTIONS) >= OPERATORS_ONLY
    assert not any(OPERATORS_ONLY & actions for actions in (*TENANT.values(), *SCOPES.values()))


def test_nobody_grants_more_than_they_have() -> None:
    for giver, given in itertools.product((*TENANT, *PLATFORM, "root"), (*TENANT, *PLATFORM, "root")):
        if may_grant(giver, given) and giver != "operator":
            assert TENANT[given] <= roles.TENANT[giver]
    assert may_grant("owner", "admin") and may_grant("admin", "developer") and may_grant("operator", "auditor")
    assert not may_grant("admin", "owner") and not may_grant("developer", "viewer") and not may_grant("owner", "operator")
