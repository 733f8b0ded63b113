"""What an attacker tries on the admin API: other people's rights, disguised paths, keys that no body has, the whole service for himself."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import orjson
import pytest

from lode.app.access import members
from lode.app.admin import customers
from lode.app.admin.contracts import BASE
from lode.app.admin.desk import Work
from lode.app.admin.service import OPERATIONS
from lode.app.contracts import RequestError
from lode.core.errors import BillingError, NotFoundError
from tests.unit.app.admin.test_admin_matrix import place
from tests.unit.app.admin.world import AdminWorld, ask, get

ONE = "/organisations/acme"
MORE: dict[str, Any] = {
    "organisation": "globex", "kind": "own", "status": "active", "currency": "USD", "credit_line": "1000000", "operator": "operator",
    "role": "owner", "roles": {"acme": "owner"}, "id": "usr_1", "secrets": [], "issuer": "x", "subject": "x", "created_us": 0,
    "payment": "invoice", "scopes": ["platform"], "given": True, "actor": "cli",
}  # fmt: skip


def test_a_path_in_disguise_leads_nowhere(world: AdminWorld) -> None:
    root = world.operator()
    project, app = world.project("one"), world.app()

    async def status(decoded: str, raw: str) -> int:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "http_version": "1.1", "method": "GET", "path": decoded, "raw_path": raw.encode(), "query_string": b"",
            "headers": [(b"authorization", f"Bearer {root}".encode())], "scheme": "https", "root_path": "", "server": None, "client": None,
        }  # fmt: skip
        await app(scope, receive, send)
        assert dict(sent[0]["headers"])[b"cache-control"] == b"no-store"
        return int(sent[0]["status"])

    async def main() -> None:
        assert await status(f"{BASE}{ONE}/projects", f"{BASE}{ONE}/projects") == 200
        for raw in (f"{BASE}/organisations/acme%2Fprojects", f"{BASE}/organisations/acme%2fprojects"):
            assert await status(f"{BASE}{ONE}/projects", raw) == 404
        assert await status(f"{BASE}/organisations/../limits", f"{BASE}/organisations/%2e%2E/limits") == 404
        assert await status(f"{BASE}/organisations/acme%2Fx", f"{BASE}/organisations/acme%252Fx") == 404
        for path in (f"{BASE}//organisations", f"/{BASE}/organisations", "/Admin/V1/organisations", f"{BASE}/organisations/",
                     f"{BASE}/./organisations", f"{BASE}/organisations;x=1", f"{BASE}/organisations/ACME", f"{BASE}/organisations/acme\x00",
                     f"{BASE}/organisations/globex/../acme", f"{BASE}/organisations/acme\\projects",
                     f"{BASE}/organisations/globex/projects/{project}"):  # fmt: skip
            assert await status(path, path) in (404, 405), path

    asyncio.run(main())


def test_no_body_takes_a_key_that_is_not_its_own(world: AdminWorld) -> None:
    """Mass assignment: nobody makes themselves an operator, a customer of another kind, or somebody else's."""
    root = world.operator()
    app, before = world.app(), world.head()

    async def main() -> None:
        for operation in OPERATIONS:
            for name, value in MORE.items() if operation.body is not None else ():
                if name in operation.body.__struct_fields__:
                    continue
                answer = await ask(app, operation.method, place(operation, "acme"), root, orjson.dumps({name: value}))
                told = answer.json["error"]["message"]
                assert answer.status == 422 and f"unknown key `{name}`" in told, (operation.path, name, told)

    asyncio.run(main())
    assert world.head() == before


def test_what_members_may_change_of_themselves_is_a_short_list() -> None:
    assert set(customers.Contact.__struct_fields__) == {"name", "address", "country", "tax_id", "email"}
    assert set(customers.Member.__struct_fields__) == {"email", "role"}


def test_nobody_is_written_down_by_taking_a_role_from_them(world: AdminWorld) -> None:
    owner, before = world.session("owner", "acme"), world.head()
    world.user(email="there@x.org", organisation="globex", role="viewer")
    after, app = world.head(), world.app()
    said = []
    for email in ("nobody@x.org", "there@x.org"):
        body = orjson.dumps({"email": email, "role": ""})
        answer = asyncio.run(ask(app, "POST", f"{BASE}{ONE}/members", owner, body))
        said.append((answer.status, answer.body.replace(email.encode(), b"")))
    assert said[0] == said[1] and said[0][0] == 404  # whether somebody is known elsewhere is not told
    assert world.head() == after != before


def test_the_people_of_an_organisation_are_bounded(world: AdminWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "_MOST", 2)
    for number in range(2):
        world.user(email=f"p{number}@x.org", organisation="acme", role="viewer")
    with pytest.raises(BillingError, match="2 people already"):
        world.user(email="p2@x.org", organisation="acme", role="viewer")
    world.user(email="p1@x.org", organisation="acme", role="admin")  # who is there may become another
    world.user(email="p1@x.org", organisation="acme", role="")
    world.user(email="p2@x.org", organisation="acme", role="viewer")
    with pytest.raises(NotFoundError, match="has no role in acme"):
        world.user(email="p1@x.org", organisation="acme", role="")


def test_one_caller_does_not_shut_the_others_out() -> None:
    release = threading.Event()

    async def main() -> list[str]:
        work = Work(1, 8)

        async def one(who: str) -> str:
            try:
                return await work.run(lambda: (release.wait(20) and "done") or "", who)
            except RequestError as error:
                assert error.status == 429
                return "refused"

        greedy = [asyncio.create_task(one("key:greedy")) for _ in range(20)]
        await asyncio.sleep(0)
        other = [asyncio.create_task(one("key:other")) for _ in range(4)]
        await asyncio.sleep(0)
        release.set()
        found = [*await asyncio.gather(*greedy), *await asyncio.gather(*other)]
        assert await one("key:greedy") == "done" and not work._of
        work.close()
        return found

    assert asyncio.run(main()) == ["done"] * 4 + ["refused"] * 16 + ["done"] * 4


def test_a_report_that_takes_long_leaves_the_rest_answering(world: AdminWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    root, release = world.operator(), threading.Event()
    from lode.app.admin import reports

    monkeypatch.setattr(reports.usage, "totals", lambda *_: release.wait(20) and {"totals": [], "by": [], "books": {}})

    async def main() -> None:
        app = world.app(threads=1)
        slow = [asyncio.create_task(get(app, "/usage", root)) for _ in range(4)]
        await asyncio.sleep(0.05)
        assert (await get(app, ONE, root))["organisation"] == "acme"
        release.set()
        assert all(found["totals"] == [] for found in await asyncio.gather(*slow))

    asyncio.run(main())


def test_a_customer_with_many_keys_is_one_caller(world: AdminWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    from lode.app.admin import reports

    monkeypatch.setattr(reports.usage, "totals", lambda *_: release.wait(20) and {"totals": [], "by": [], "books": {}})
    account = world.account("reader", "viewer")
    greedy = [str(world.key("acme", account=account, scopes=["usage:read"])["key"]) for _ in range(3)]
    other = world.session("viewer", "globex")

    async def main() -> None:
        app = world.app()
        asked = [asyncio.create_task(ask(app, "GET", f"{BASE}{ONE}/usage", key)) for key in greedy for _ in range(4)]
        await asyncio.sleep(0.05)
        waits = asyncio.create_task(ask(app, "GET", f"{BASE}/organisations/globex/usage", other))
        await asyncio.sleep(0.05)
        release.set()
        assert sorted([(await task).status for task in asked]) == [200] * 4 + [429] * 8
        assert (await waits).status == 200

    asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "query", "record"),
    [
        ("/margin", "to=0001-01-01", None), ("/margin", "from=1969-12-31", None), ("/models/big/worth/close", "", {"month": "9999-12"}),
        ("/bill", "", {"grace_days": -1}), *(
            ("/usage/events", "", {"events": [{"organisation": "acme", "request_id": "a", "at": at, "model": "m"}]})
            for at in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00")
        ),
    ],
)  # fmt: skip
def test_what_lies_beyond_the_calendar_is_a_mistake_of_the_caller(world: AdminWorld, path: str, query: str, record: Any) -> None:
    method, body = ("GET", b"") if record is None else ("POST", orjson.dumps(record))
    root = world.operator()
    answer = asyncio.run(ask(world.app(), method, BASE + path, root, body, query))
    assert answer.status == 422, answer.body


def test_an_unknown_customer_and_somebody_elses_are_told_apart_by_nobody(world: AdminWorld) -> None:
    owner = world.session("owner", "acme")
    app = world.app()
    for operation in OPERATIONS:
        if "organisation" not in operation.parts:
            continue
        found = [asyncio.run(ask(app, operation.method, place(operation, name), owner, b"{}")) for name in ("globex", "not-there")]
        assert [answer.status for answer in found] == [404, 404], operation.path
        assert found[0].body == found[1].body, operation.path


@pytest.mark.parametrize("name", ["a\r\nset-cookie: x=1", "a\x1b[31m", "\u202ebad", "a\x00b"])
def test_names_that_a_header_or_a_terminal_would_obey_are_refused(world: AdminWorld, name: str) -> None:
    root, app = world.operator(), world.app()
    for path, record in ((f"{ONE}/projects", {"name": name}), (ONE, {"name": name}), (f"{ONE}/suspend", {"reason": name})):
        method = "PATCH" if path == ONE else "POST"
        answer = asyncio.run(ask(app, method, BASE + path, root, orjson.dumps(record)))
        assert answer.status == 422 and b"set-cookie" not in repr(answer.headers).encode(), answer.body


def test_an_older_session_of_a_browser_ends_with_the_new_one_and_another_cookie_fixes_nothing(world: AdminWorld) -> None:
    from lode.app.access import sessions
    from lode.app.access.identities import Identity

    world.user(email="jo@x.org", organisation="acme", role="viewer")
    jo = Identity("https://idp", "jo", "jo@x.org")

    def login(replaces: str) -> str:
        return sessions.open_session(world.store, jo, reference="", replaces=replaces, hours=1, now_us=world.now_us)

    planted = "A" * 43  # a word of the attacker's in the victim's browser
    first = login(planted)
    second = login(first)
    app = world.app()

    def status(token: str) -> int:
        return asyncio.run(ask(app, "GET", BASE + ONE, ((b"cookie", f"__Host-lode_session={token}".encode()),))).status

    assert first != planted and [status(token) for token in (planted, first, second)] == [401, 401, 200]
