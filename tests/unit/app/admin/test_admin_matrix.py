"""Who may do what over HTTP (T11): operation x role x own and other customer x credential, expected from `roles.py` alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.routing import Route

from lode.app.access.roles import ACTIONS, TENANT, Principal
from lode.app.admin.contracts import BASE, Operation
from lode.app.admin.service import DESCRIPTION, OPERATIONS, Dispatch
from tests.unit.app.admin.world import ROLES, AdminWorld, Credential, ask, post

PUBLIC = {"/health/live", "/health/ready", DESCRIPTION}
CANARIES = (
    "x'OR'1'='1",
    "x';DROP/**/TABLE/**/journal;--",
    'x"OR""="',
    "x)UNION/**/SELECT/**/1--",
    "%27%20OR%201=1",
    "..",
    "\x00",
)


def expected(principal: Principal | None, operation: Operation, organisation: str) -> int:
    """422 for what is allowed: the query that is sent is unknown to every operation, and is looked at last."""
    if principal is None:
        return 401
    tenant = organisation if "organisation" in operation.parts else ""
    if principal.may(operation.action, tenant):
        return 422
    return 404 if tenant and not principal.knows(tenant) else 403


def place(operation: Operation, organisation: str, **others: str) -> str:
    names = {"key": "key_1", "project": "prj_1", "account": "svc_1", "invoice": "1", "plan": "team", "model": "big"}
    values = {"organisation": organisation, **names}
    return BASE + operation.path.format(**{**values, **others})


@pytest.mark.parametrize("role", ROLES)
def test_every_operation_answers_each_role_as_the_table_says(world: AdminWorld, role: str) -> None:
    credentials = world.credentials(role)
    app, before = world.app(), world.head()

    async def one(operation: Operation, organisation: str, credential: Credential) -> str | None:
        headers = credential.headers
        found = (await ask(app, operation.method, place(operation, organisation), headers, b"no json", "unknown=1")).status
        wanted = expected(credential.principal, operation, organisation)
        return (
            None
            if found == wanted
            else f"{credential.name} {operation.method} {operation.path} of {organisation}: {found}, not {wanted}"
        )

    async def main() -> list[str]:
        cases = [
            (operation, organisation, credential)
            for operation in OPERATIONS
            for organisation in (("acme", "globex") if "organisation" in operation.parts else ("acme",))
            for credential in credentials
        ]
        return [told for case in cases if (told := await one(*case)) is not None]

    assert asyncio.run(main()) == []
    assert world.head() == before


def test_a_session_that_changes_something_needs_its_word_against_cross_site_requests(world: AdminWorld) -> None:
    cookie, _ = world.session("owner", "acme")
    app = world.app()
    for operation in OPERATIONS:
        headers = (cookie, (b"x-csrf-token", b"wrong"))
        answer = asyncio.run(ask(app, operation.method, place(operation, "acme"), headers, b"{}", "unknown=1"))
        if operation.method != "GET":
            assert (answer.status, answer.json["error"]["type"]) == (403, "csrf"), operation.path


def test_every_route_is_an_operation_with_an_action_of_the_table_or_known_to_be_public(world: AdminWorld) -> None:
    routed = []
    for item in world.app().routes:
        assert isinstance(item, Route)
        if not isinstance(item.app, Dispatch):
            assert item.path in PUBLIC, f"{item.path} is no operation"
            continue
        assert item.methods is not None and item.methods - {"HEAD"} == set(item.app.operations)
        for operation in item.app.operations.values():
            assert item.path == BASE + operation.path and operation.action in ACTIONS
            routed.append(operation)
    assert sorted(item.name for item in routed) == sorted(item.name for item in OPERATIONS)
    assert len({operation.name for operation in OPERATIONS}) == len(OPERATIONS)


def test_what_belongs_to_another_customer_does_not_exist(world: AdminWorld) -> None:
    operator = world.operator()
    owner = next(item for item in world.credentials("owner", "globex") if item.name == "key")
    theirs = {"key": str(world.key("acme")["id"]), "project": world.project("theirs"), "account": world.account("theirs")}
    theirs["invoice"] = billed(world, operator)
    inside = [item for item in OPERATIONS if item.parts[:1] == ("organisation",) and len(item.parts) == 2]
    assert {item.parts[1] for item in inside} == set(theirs)
    app, before = world.app(), world.head()
    bodies: dict[str, Any] = {"notes": b'{"line": 1, "amount": "1", "reason": "x"}', "rotate": b"{}", "payments": b"{}"}
    for operation in inside:
        body = bodies.get(operation.path.rpartition("/")[2], b'{"reason": "x"}')
        for who in (operator, owner.headers):
            for_owner = who is not operator
            answer = asyncio.run(ask(app, operation.method, place(operation, "globex", **theirs), who, body))
            wanted = (404, 403) if for_owner and operation.action not in TENANT["owner"] else (404,)
            assert answer.status in wanted, (operation.path, answer.body)
    record = b'{"subject": "key/%s", "limits": []}' % theirs["key"].encode()
    subject = asyncio.run(ask(app, "POST", f"{BASE}/organisations/globex/limits", operator, record))
    assert subject.status == 404
    assert world.head() == before


def billed(world: AdminWorld, operator: str) -> str:
    """An invoice of acme."""
    from tests.unit.app.admin.world import PLAN

    async def main() -> str:
        app = world.app()
        await post(app, "/plans", operator, {"plan": {**PLAN, "fees": [{"name": "base", "amount": "10.00"}]}})
        await post(app, "/organisations/acme/subscriptions", operator, {"plan": "team"})
        world.later(24 * 40)
        issued = await post(app, "/organisations/acme/bill", operator, {})
        return str(issued["issued"][0]["number"])

    return asyncio.run(main())


def test_sql_in_a_key_or_in_a_path_does_nothing(world: AdminWorld) -> None:
    operator = world.operator()
    app, before = world.app(), world.head()

    async def main() -> None:
        for canary in CANARIES:
            for scheme in (b"Bearer ", b"Bearer lode_", b""):
                answer = await ask(app, "GET", f"{BASE}/organisations", ((b"authorization", scheme + canary.encode()),))
                assert answer.status == 401
            for operation in OPERATIONS:
                for part in operation.parts:
                    path = place(operation, **{"organisation": "acme", part: canary})
                    answer = await ask(app, operation.method, path, operator, b'{"reason": "x"}')
                    wanted = (404,) if part == "organisation" else (404, 422)
                    assert answer.status in wanted, (path, answer.body)

    asyncio.run(main())
    assert world.head() == before
