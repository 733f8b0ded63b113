"""The admin API as a program uses it: from the first key to the paid invoice; nobody rises above their role; faults in HTTP's words."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from lode.app.access import keys, members
from lode.app.admin import desk, service
from lode.app.admin.service import DESCRIPTION, OPERATIONS
from lode.app.books.contracts import Store
from lode.core.errors import BooksError
from tests.unit.app.admin.world import BASE, PLAN, AdminWorld, Answer, ask, get, post

ONE = "/organisations/initech"


def test_a_customer_from_the_first_key_to_the_paid_invoice(world: AdminWorld) -> None:
    root = world.operator()

    async def main() -> None:
        app = world.app()
        fees = [{"name": "base", "amount": "10.00"}]
        await post(app, "/plans", root, {"plan": {**PLAN, "fees": fees}})
        assert (await get(app, "/plans/team", root))["plan"]["version"] == 1
        assert (await post(app, "/plans/team/estimate", root, {"units": {"rows": 1000}}))["total"] == "12"
        await post(app, "/plans/default", root, {"plan": "team"})
        await post(app, "/coupons", root, {"code": "HALF", "percent": "50", "periods": 1})
        await post(
            app,
            "/organisations",
            root,
            {"organisation": "initech", "currency": "EUR", "name": "Initech", "country": "DE"},
        )
        await post(app, ONE, root, {"address": ["Main St 1"]}, "PATCH")
        assert (await get(app, f"{ONE}/plan", root))["plan"]["name"] == "team"
        project = (await post(app, f"{ONE}/projects", root, {"name": "search"}))["id"]
        made = await post(app, f"{ONE}/keys", root, {"name": "first", "project": project})
        assert made["key"].startswith("lode_") and "key" not in (await get(app, f"{ONE}/keys", root))["keys"][0]
        await post(app, f"{ONE}/limits", root, {"subject": f"key/{made['id']}", "limits": ["5 requests/second"]})
        await post(app, "/limits", root, {"subject": "model/big", "limits": ["100 requests/minute"]})
        await post(app, f"{ONE}/members", root, {"email": "jo@initech.org", "role": "owner"})
        await post(app, f"{ONE}/credit", root, {"amount": "5.00", "reference": "bank-1", "expires": "90d"})
        await post(app, f"{ONE}/credit/goodwill", root, {"amount": "1.00", "reason": "sorry"})
        assert (await get(app, f"{ONE}/credit", root))["balance"] == "6"
        asked = {"amount": "2.00", "reason": "asked for", "reference": "ticket-1"}
        assert await post(app, f"{ONE}/credit/refund", root, asked) == await post(app, f"{ONE}/credit/refund", root, asked)
        again = await ask(app, "POST", f"{BASE}{ONE}/credit/refund", root, orjson.dumps({**asked, "amount": "1.00"}))
        assert again.status == 409 and (await get(app, f"{ONE}/credit", root))["balance"] == "4"
        world.later(24 * 40)
        assert (await get(app, f"{ONE}/draft", root))["issued"]
        number = (await post(app, f"{ONE}/bill", root, {}))["issued"][0]["number"]
        await post(app, f"{ONE}/invoices/{number}/notes", root, {"line": 1, "amount": "1.00", "reason": "late"})
        paid = await post(app, f"{ONE}/invoices/{number}/payments", root, {"reference": "bank-2"})
        assert paid["open"] == "0" and (await get(app, "/invoices", root))["invoices"]
        for path in (
            "/usage",
            f"{ONE}/usage",
            "/margin",
            f"{ONE}/audit",
            f"{ONE}/members",
            "/books",
            "/coupons",
            "/operators",
            "/quarantine",
        ):
            assert await get(app, path, root)
        entries = (await get(app, "/audit", root, "kind=key&limit=10"))["entries"]
        assert entries[-1]["actor"].startswith("key:") and b"hmac" not in orjson.dumps(entries)
        assert (await post(app, "/audit/verify", root, {}))["compared"].startswith("balances")
        assert await post(app, "/simulate", root, {"plan": "team"})

    asyncio.run(main())


def test_a_key_that_was_just_made_works_and_one_that_was_just_revoked_does_not(world: AdminWorld) -> None:
    root = world.operator()
    account = world.account("ci", "admin", "acme")

    async def main() -> list[int]:
        app = world.app()
        made = await post(app, "/organisations/acme/keys", root, {"account": account, "scopes": ["admin"]})
        before = await ask(app, "GET", f"{BASE}/organisations/acme", made["key"])
        await post(app, f"/organisations/acme/keys/{made['id']}/revoke", root, {"reason": "lost"})
        after = await ask(app, "GET", f"{BASE}/organisations/acme", made["key"])
        return [before.status, after.status]

    assert asyncio.run(main()) == [200, 401]


def test_what_another_process_revoked_is_refused_a_second_later(world: AdminWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    root = world.operator()
    id = keys.list_keys(world.store, "own", now_us=world.now_us)["keys"][0]["id"]

    async def main() -> list[int]:
        app = world.app()
        first = await ask(app, "GET", f"{BASE}/organisations", root)
        keys.revoke(world.store, "cli", "own", id, now_us=world.now_us)
        began_s = time.monotonic
        monkeypatch.setattr(desk.time, "monotonic", lambda: began_s() + 1.0)
        return [first.status, (await ask(app, "GET", f"{BASE}/organisations", root)).status]

    assert asyncio.run(main()) == [200, 401]


@pytest.mark.parametrize(
    ("path", "record"),
    [
        ("/members", {"email": "friend@x.org", "role": "owner"}),
        ("/members", {"email": "owner@acme.org", "role": "viewer"}),
        ("/accounts", {"name": "mine", "role": "owner"}),
        ("/keys", {"account": "ADMIN", "scopes": ["admin"]}),
        ("/keys/KEY/rotate", {}),
        ("/limits", {"subject": "organisation/acme", "limits": []}),
    ],
)
def test_a_developer_does_not_become_more_than_that(world: AdminWorld, path: str, record: dict[str, Any]) -> None:
    headers = world.session("developer", "acme")
    world.user(email="owner@acme.org", organisation="acme", role="owner")
    admin = world.account("admins", "admin", "acme")
    key = world.key("acme", account=admin, scopes=["admin"])
    if record.get("account"):
        record = {**record, "account": admin}
    app, before = world.app(), world.head()
    answer = asyncio.run(
        ask(app, "POST", f"{BASE}/organisations/acme{path.replace('KEY', key['id'])}", headers, orjson.dumps(record))
    )
    assert answer.status in (403, 422) and world.head() == before, answer.body


def test_an_admin_of_our_own_organisation_is_no_operator_and_cannot_make_one(world: AdminWorld) -> None:
    headers = world.session("admin", "own")
    root = world.account("root", "operator", "own")
    key = world.key("own", account=root, scopes=["platform"])
    app, before = world.app(), world.head()
    for path, record in (
        ("/accounts", {"name": "mine", "role": "auditor"}), ("/keys", {"account": root, "scopes": ["platform"]}),
        (f"/keys/{key['id']}/rotate", {}), ("/members", {"email": "me@x.org", "role": "operator"}),
    ):  # fmt: skip
        answer = asyncio.run(ask(app, "POST", f"{BASE}/organisations/own{path}", headers, orjson.dumps(record)))
        assert answer.status in (403, 422), (path, answer.body)
    assert asyncio.run(ask(app, "GET", f"{BASE}/organisations", headers)).status == 403
    assert world.head() == before


def test_a_key_for_administration_makes_keys_for_calls_and_support_takes_them_back(world: AdminWorld) -> None:
    account = world.account("ci", "admin", "acme")
    ci = world.key("acme", account=account, scopes=["admin"])["key"]
    support = world.session("support", "own")

    async def main() -> None:
        app = world.app()
        made = await post(app, "/organisations/acme/keys", ci, {"scopes": ["predict"]})
        # A renewed key is shown to who renews it: whoever helps customers may end a key, not get one that spends their money.
        with pytest.raises(AssertionError, match=r"key\.rotate"):
            await post(app, f"/organisations/acme/keys/{made['id']}/rotate", support, {})
        await post(app, f"/organisations/acme/keys/{made['id']}/revoke", support, {})

    asyncio.run(main())


def test_a_member_does_not_see_what_a_person_is_elsewhere(world: AdminWorld) -> None:
    world.user(email="jo@x.org", organisation="globex", role="owner", name="Jo Secret")
    headers = world.session("owner", "acme")

    async def main() -> tuple[Any, Any]:
        app = world.app()
        given = await post(app, "/organisations/acme/members", headers, {"email": "jo@x.org", "role": "viewer"})
        return given, await get(app, "/organisations/acme/audit", headers)

    given, audit = asyncio.run(main())
    assert set(given) == {"id", "email", "role"}
    assert b"globex" not in orjson.dumps((given, audit))


def test_only_an_own_organisation_has_accounts_with_a_role_on_the_platform(world: AdminWorld) -> None:
    from lode.core.errors import BillingError

    with pytest.raises(BillingError, match="role"):
        members.add_account(world.store, "cli", "acme", "root", "operator", now_us=world.now_us)
    with pytest.raises(BillingError, match="scopes: found platform"):
        world.key("acme", account=world.account("a", "owner", "acme"), scopes=["platform"])


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "no JSON"),
        (b"{", 400, "no JSON"),
        (b'{"name": NaN}', 400, "NaN"),
        (b'{"name": "a", "name": "b"}', 400, "twice"),
        (b"[" * 100_000, 400, "nested"),
        (b'{"name": ' + b"[" * 50 + b"]" * 50 + b"}", 400, "nested"),
        (b'\xff\xfe{"name"', 400, "UTF-8"),
        (b"9" * 5000, 400, "no JSON"),
        (b'{"name": 1e999}', 422, "too large"),
        (b'{"nam": "a"}', 422, 'Did you mean "name"?'),
        (b'{"name": 5}', 422, "name: Expected `str`, got `int`"),
        (b'{"name": "a\\u0000b"}', 422, "control character"),
        (b'{"name": "\\ud800"}', 422, "control character"),
        (b'{"name": ' + b" " * 262144 + b"}", 413, "262144"),
    ],
)
def test_a_body_that_cannot_be_used_is_told_why(world: AdminWorld, body: bytes, status: int, words: str) -> None:
    root = world.operator()
    answer = asyncio.run(ask(world.app(), "POST", f"{BASE}/organisations/acme/projects", root, body))
    assert answer.status == status and words in answer.json["error"]["message"], answer.body


def test_queries_and_addresses_that_are_unknown_are_told(world: AdminWorld) -> None:
    root = world.operator()
    app = world.app()

    def told(method: str, path: str, query: str = "") -> tuple[int, str]:
        answer = asyncio.run(ask(app, method, path, root, query=query))
        return answer.status, answer.json["error"]["message"]

    assert 'Did you mean "limit"?' in told("GET", f"{BASE}/audit", "limits=5")[1]
    assert told("GET", f"{BASE}/audit", "limit=5&limit=6")[0] == 422
    assert told("GET", f"{BASE}/audit", "limit=-1")[0] == 422
    assert told("GET", f"{BASE}/audit", "kind=%FF")[0] == 422
    assert told("GET", f"{BASE}/audit", "kind=%00")[0] == 422
    assert told("GET", f"{BASE}/organisation")[0] == 404
    assert told("DELETE", f"{BASE}/organisations")[0] == 405
    assert told("GET", f"{BASE}/organisations/nobody")[0] == 404


def test_every_answer_has_the_headers_that_browsers_heed(world: AdminWorld) -> None:
    app = world.app()
    for path in (f"{BASE}/organisations", "/health/live", "/nothing", DESCRIPTION):
        headers = asyncio.run(ask(app, "GET", path)).headers
        assert headers[b"cache-control"] == b"no-store" and headers[b"x-content-type-options"] == b"nosniff"
        assert b"frame-ancestors 'none'" in headers[b"content-security-policy"]
        assert headers[b"cross-origin-resource-policy"] == b"same-origin"


def test_the_description_names_every_operation_and_its_body(world: AdminWorld) -> None:
    found = asyncio.run(ask(world.app(), "GET", DESCRIPTION)).json
    described = [(method.upper(), path) for path, methods in found["paths"].items() for method in methods]
    assert sorted(described) == sorted((item.method, BASE + item.path) for item in OPERATIONS)
    assert set(found["components"]["schemas"]) == {item.body.__name__ for item in OPERATIONS if item.body} | {"Error"}


class _Away(Store):
    """Books whose server is away."""

    where = "away"

    def __init__(self, store: Store):
        self._store, self.is_away = store, False

    def transact(self, work: Any) -> Any:
        if self.is_away:
            raise BooksError("the disk of secret-host is full", retry_s=7)
        return self._store.transact(work)

    def view(self) -> Any:
        return self._store.view()

    def check(self) -> list[str]:
        return []

    def close(self) -> None:
        self._store.close()


def test_books_that_are_away_are_503_with_a_time_to_wait(world: AdminWorld) -> None:
    root = world.operator()
    away = _Away(world.store)
    world.store = away
    app = world.app()
    away.is_away = True
    answer = asyncio.run(ask(app, "POST", f"{BASE}/organisations/acme/projects", root, b'{"name": "x"}'))
    assert (answer.status, answer.headers[b"retry-after"]) == (503, b"7") and b"secret-host" not in answer.body


def test_more_than_can_wait_is_429_and_a_defect_is_500_without_its_trace(
    world: AdminWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, app = world.operator(), world.app(threads=1, waiting=2)

    async def many() -> list[Answer]:
        return list(await asyncio.gather(*(ask(app, "GET", f"{BASE}/organisations", root) for _ in range(6))))

    found = asyncio.run(many())
    assert {item.status for item in found} == {200, 429}
    assert all(item.headers[b"retry-after"] == b"1" for item in found if item.status == 429)

    def broken(*_: Any) -> Any:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(service.roles, "require", broken)
    answer = asyncio.run(ask(app, "GET", f"{BASE}/organisations", root))
    assert answer.status == 500 and b"secret" not in answer.body and b"Traceback" not in answer.body


def test_a_body_that_comes_too_slowly_is_given_up(world: AdminWorld) -> None:
    root, app = world.operator(), world.app(body_timeout_s=0.05)

    async def main() -> int:
        sent: list[Any] = []

        async def receive() -> Any:
            await asyncio.sleep(10)

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"authorization", f"Bearer {root}".encode()), (b"content-type", b"application/json")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": f"{BASE}/bill",
            "query_string": b"",
            "headers": headers,
            "root_path": "",
        }
        await app(scope, receive, send)
        return int(sent[0]["status"])

    assert asyncio.run(main()) == 408


def test_the_command_starts_answers_and_stops(tmp_path: Path) -> None:
    import signal
    import subprocess
    import sys

    import httpx

    process = subprocess.Popen(
        [sys.executable, "-m", "lode", "admin", "--port", "0", "--runs", str(tmp_path), "--json"], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[4],
    )  # fmt: skip
    try:
        assert process.stderr is not None
        url = process.stderr.readline().split()[3].removesuffix("/admin/v1,")
        assert process.stderr.readline() == "Logins: none, keys only.\n"
        assert httpx.get(f"{url}/health/ready").json() == {"ready": True}
        assert httpx.get(f"{url}/admin/v1/organisations").status_code == 401
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=20)
        assert process.returncode == 0 and orjson.loads(output)["requests"] == 2, errors
    finally:
        process.kill()
        process.communicate()
