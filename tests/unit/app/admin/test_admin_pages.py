"""Lists in pages: bounded, whole, in one order; a word that leads on is good for its own list only."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from lode.app.admin.contracts import BASE
from lode.app.admin.service import DESCRIPTION, OPERATIONS
from lode.app.books import journal, pages
from lode.app.books.contracts import Act, Document, Session
from lode.app.books.pages import Span
from tests.unit.app.admin.test_admin_matrix import billed, place
from tests.unit.app.admin.world import AdminWorld, Answer, ask, get, post

LISTS = [item for item in OPERATIONS if item.items]


async def walked(app: Any, path: str, key: Any, items: str, limit: int, query: str = "") -> list[list[dict[str, Any]]]:
    """All pages of a list."""
    found, more = [], ""
    while True:
        page = await get(app, path, key, f"{query}&limit={limit}{more}".lstrip("&"))
        found.append(page[items])
        if page["next"] is None:
            return found
        more = f"&next={page['next']}"


def full(world: AdminWorld) -> str:
    """A key of the operator; some of everything that is listed."""
    root = world.operator()
    billed(world, root)
    for number in range(3):
        world.project(f"project {number}")
        account = world.account(f"account {number}")
        made = world.key("acme", account=account)
        world.limit(f"key/{made['id']}", "5 requests/second")
        world.user(email=f"p{number}@acme.org", organisation="acme", role="viewer")
        world.user(email=f"o{number}@us.org", operator="support")

    async def main() -> None:
        app = world.app()
        for number in range(3):
            await post(app, "/coupons", root, {"code": f"C{number}", "percent": "5"})
            await post(
                app, "/organisations/acme/credit", root, {"amount": "5.00", "priority": 3 - number, "reference": f"b{number}"}
            )
        events = [
            {"organisation": owner, "request_id": f"e{number}", "at": "2027-02-20T12:00:00Z", "model": f"m{number % 2}"}
            for number in range(4)
            for owner in ("acme", "nobody")
        ]
        events.append({**events[1], "model": "another"})  # the same id, another event
        done = (await post(app, "/usage/events", root, {"events": events}))["events"]
        assert Counter(row["result"] for row in done) == {"accepted": 4, "quarantined": 5}

    asyncio.run(main())
    return root


def test_every_list_comes_in_pages_that_together_are_the_whole_of_it(world: AdminWorld) -> None:
    root, app = full(world), None
    app = world.app()

    async def main() -> dict[str, int]:
        counts = {}
        for operation in LISTS:
            path = place(operation, "acme").removeprefix(BASE)
            query = "by=model,day" if "usage" in operation.path else ""
            (whole,) = await walked(app, path, root, operation.items, 1000, query)
            small = await walked(app, path, root, operation.items, 1, query)
            assert all(len(part) <= 1 for part in small), operation.path
            parts = small[::-1] if operation.items == "entries" else small
            assert [row for part in parts for row in part] == whole, operation.path
            counts[operation.path] = len(whole)
        return counts

    counts = asyncio.run(main())
    assert len(counts) == len(LISTS) >= 18
    assert {path for path, count in counts.items() if count < 2} <= {
        "/plans", "/organisations/{organisation}/subscriptions", "/invoices", "/organisations/{organisation}/invoices", "/margin"
    }  # fmt: skip
    grants = asyncio.run(walked(app, "/organisations/acme/credit", root, "grants", 2))
    assert [row["priority"] for part in grants for row in part] == [1, 2, 3]


def test_an_answer_is_bounded_where_nobody_asked_for_it(world: AdminWorld) -> None:
    root, app = world.operator(), world.app()

    def work(session: Session) -> None:
        fields = {"name": "", "status": "active", "created_us": 0}
        documents = [Document("project", f"prj_{number:04}", "acme", fields) for number in range(1500)]
        journal.append(session, [Act("project.create", "cli", "acme", documents=tuple(documents))], world.now_us())

    world.store.transact(work)

    async def main() -> list[int]:
        path = "/organisations/acme/projects"
        sizes = [len((await get(app, path, root))["projects"]), len((await get(app, path, root, "limit=1000"))["projects"])]
        for wrong in ("0", "1001", "-1", "1e3", "x", "%D9%A1"):
            assert (await ask(app, "GET", BASE + path, root, query=f"limit={wrong}")).status == 422
        return sizes

    assert asyncio.run(main()) == [100, 1000]


def test_what_comes_and_goes_meanwhile_is_neither_repeated_nor_does_it_hide_others(world: AdminWorld) -> None:
    root, app = world.operator(), world.app()
    for slug in ("bb", "dd", "ff"):
        world.customer(slug)

    async def main() -> list[str]:
        first = await get(app, "/organisations", root, "limit=3")
        seen = [row["organisation"] for row in first["organisations"]]
        world.customer("aa")  # before the page that was seen: not in the next one
        world.customer("cc")
        rest = await get(app, "/organisations", root, f"limit=1000&next={first['next']}")
        return [*seen, *(row["organisation"] for row in rest["organisations"])]

    assert asyncio.run(main()) == ["acme", "bb", "dd", "ff", "globex", "own"]


def test_a_word_from_elsewhere_or_an_edited_one_is_a_400(world: AdminWorld) -> None:
    root, app = world.operator(), world.app()
    for number in range(3):
        world.project(f"p{number}")
        world.project(f"p{number}", "globex")
        world.account(f"a{number}")

    async def asked(path: str, query: str) -> Answer:
        return await ask(app, "GET", BASE + path, root, query=query)

    async def main() -> None:
        path = "/organisations/acme/projects"
        word = (await get(app, path, root, "limit=1"))["next"]
        assert (await asked(path, f"limit=2&next={word}")).status == 200  # the size of a page may change
        text, _, seal = word.partition(".")
        edited = [f"{text[:-1]}{'A' if text[-1] != 'A' else 'B'}.{seal}", f"{text}.{seal[:-1]}", f"{text}.", text, f".{seal}", word + "0",
                  f"{text}=.{seal}", f"{text}.{seal.upper()}", "x", "WyJwcmoiXQ", "%C3%A4." + seal, "A" * 3000]  # fmt: skip
        for wrong in edited:
            answer = await asked(path, f"next={wrong}")
            assert (answer.status, answer.json["error"]["type"]) == (400, "wrong_page"), wrong
        for other in ("/organisations/globex/projects", "/organisations/acme/accounts", "/organisations"):
            assert (await asked(other, f"next={word}")).status == 400, other
        usage = (await get(app, "/audit", root, "limit=1&kind=project"))["next"]
        assert (await asked("/audit", f"kind=project&next={usage}")).status == 200
        assert (await asked("/audit", f"kind=key&next={usage}")).status == 400
        assert (await asked("/books", f"next={usage}")).status == 422

    asyncio.run(main())


def test_the_description_says_of_every_list_how_to_go_on(world: AdminWorld) -> None:
    found = asyncio.run(ask(world.app(), "GET", DESCRIPTION)).json["paths"]
    for operation in LISTS:
        told = found[BASE + operation.path][operation.method.lower()]
        names = {item["name"]: item["schema"] for item in told["parameters"]}
        assert names["limit"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100} and "next" in names
        schema = told["responses"]["200"]["content"]["application/json"]["schema"]
        assert schema["required"] == [operation.items, "next"]


def test_documents_by_id_are_found_though_others_between_them_are_not_wanted(
    world: AdminWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.store.view() as session:
        every = [item.id for item in pages.documents(session, "organisation")]
        assert every == ["acme", "globex", "own"]
        for most in (1, 2, 3):
            kept = pages.documents(session, "organisation", span=Span("", most), keep=lambda item: item.id != "acme")
            assert [item.id for item in kept] == ["globex", "own"][:most]
        asked: list[str] = []
        read = session.rows

        def rows(sql: str, values: Sequence[Any] = ()) -> Any:
            asked.append(sql)
            return read(sql, values)

        monkeypatch.setattr(session, "rows", rows)
        assert pages.documents(session, "organisation", span=Span("", 1), keep=lambda item: item.id == "x") == []
        assert len(asked) == 1  # not one for each that is not wanted
        assert pages.documents(session, "organisation", span=Span("own", 5)) == []


@pytest.mark.prove
def test_a_hundred_thousand_keys_come_in_small_answers(world: AdminWorld) -> None:
    root, app = world.operator(), world.app()
    model = world.key("acme")

    def work(session: Session) -> None:
        body = journal.document(session, "key", model["id"])
        assert body is not None
        for start in range(0, 100_000, 1000):
            documents = [Document("key", f"key_x{number:07}", "acme", body.body) for number in range(start, start + 1000)]
            journal.append(session, [Act("key.create", "cli", "acme", documents=tuple(documents))], world.now_us())

    world.store.transact(work)

    async def main() -> int:
        ids, more = set[str](), ""
        while True:
            answer = await ask(app, "GET", f"{BASE}/organisations/acme/keys", root, query=f"limit=1000{more}")
            assert len(answer.body) < 400_000
            ids |= {row["id"] for row in answer.json["keys"]}
            if answer.json["next"] is None:
                return len(ids)
            more = f"&next={answer.json['next']}"

    assert asyncio.run(main()) == 100_001
