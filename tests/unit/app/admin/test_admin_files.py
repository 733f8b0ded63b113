"""Files over HTTP: exports whole and in bounded memory, invoices as pages and PDFs, what a name in them cannot do; and what is closed."""

from __future__ import annotations

import asyncio
import csv
import errno
import io
import tempfile
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from lode.app.access.roles import TENANT
from lode.app.admin import downloads
from lode.app.admin.contracts import BASE
from lode.app.answering import Stream
from lode.app.invoices import export
from tests.unit.app.admin.test_admin_matrix import billed
from tests.unit.app.admin.world import PLAN, AdminWorld, Answer, ask, get, post

ONE = "/organisations/acme"
HOSTILE = "<script>alert(1)</script>\"; x='"


async def imported(app: Any, root: str, count: int, organisation: str = "acme") -> None:
    """Requests that were measured elsewhere, as the API takes them."""
    for start in range(0, count, 1000):
        events = [
            {
                "organisation": organisation,
                "request_id": f"e{number}",
                "at": "2027-02-20T12:00:00Z",
                "model": "=1+1",
                "units": {"rows": 10},
            }
            for number in range(start, min(start + 1000, count))
        ]
        assert {row["result"] for row in (await post(app, "/usage/events", root, {"events": events}))["events"]} <= {
            "accepted",
            "known",
        }


async def file(app: Any, path: str, key: Any, query: str = "") -> Answer:
    answer = await ask(app, "GET", BASE + path, key, query=query)
    assert answer.status == 200, answer.body
    assert int(answer.headers.get(b"content-length", b"%d" % len(answer.body))) == len(answer.body)
    return answer


def test_usage_is_exported_in_three_forms_and_a_customer_gets_only_its_own(world: AdminWorld) -> None:
    root = world.operator()
    billed(world, root)
    owner = world.session("owner", "acme")
    viewer = world.session("viewer", "globex")

    async def main() -> None:
        app = world.app()
        await imported(app, root, 500)
        await imported(app, root, 1)  # the same again
        found = await file(app, f"{ONE}/usage/export", owner)
        assert found.headers[b"content-type"] == b"text/csv; charset=utf-8"
        assert found.headers[b"content-disposition"] == b'attachment; filename="usage-acme.csv"'
        rows = list(csv.DictReader(io.StringIO(found.body.decode())))
        assert len({row["request_id"] for row in rows}) == 500 and rows[0]["model"] == "'=1+1"
        frame = pl.read_parquet(io.BytesIO((await file(app, "/usage/export", root, "format=parquet")).body))
        assert frame.height == 500 and str(frame["amount"].sum()) == "10.000000000000"
        focus = list(csv.DictReader(io.StringIO((await file(app, f"{ONE}/usage/export", owner, "format=focus")).body.decode())))
        assert (
            focus and {row["BillingAccountId"] for row in focus} == {"acme"} and focus[0]["InvoiceIssuerName"] == "Model Works GmbH"
        )
        assert len((await file(app, f"{ONE}/usage/export", owner, "to=2027-02-20")).body.splitlines()) == 1
        assert (await ask(app, "GET", f"{BASE}{ONE}/usage/export", owner, query="format=exe")).status == 422
        assert (await ask(app, "GET", f"{BASE}{ONE}/usage/export", viewer)).status == 404
        assert len((await file(app, "/organisations/globex/usage/export", viewer)).body.splitlines()) == 1

    asyncio.run(main())


def test_an_export_that_finds_no_room_is_a_503_and_leaves_nothing(
    world: AdminWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root, place = world.operator(), tmp_path / "exports"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))

    async def asked() -> Answer:
        return await ask(world.app(), "GET", f"{BASE}/usage/export", root)

    assert asyncio.run(asked()).status == 200 and list(place.iterdir()) == []

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads.export, "write", full)
    answer = asyncio.run(asked())
    assert (answer.status, answer.headers[b"retry-after"]) == (503, b"60") and list(place.iterdir()) == []


def test_what_stands_on_invoices_is_exported_to_nobody_who_may_not_read_them(world: AdminWorld) -> None:
    app = world.app()

    async def status(member: Any, word: str) -> int:
        return (await ask(app, "GET", f"{BASE}{ONE}/usage/export", member, query=f"format={word}")).status

    for role, actions in TENANT.items():
        member = world.session(role, "acme")
        assert asyncio.run(status(member, "csv")) == (200 if "usage.read" in actions else 403), role
        assert asyncio.run(status(member, "focus")) == (200 if "invoice.read" in actions else 403), role


def test_every_form_says_in_one_way_that_the_disk_is_full() -> None:
    rows = [{name: "1" if name in (*export.TEXTS, "amount") else 1 for name in export.COLUMNS}] * 20_000
    for write in (lambda path: export._parquet(path, iter(rows)), lambda path: export._csv(path, rows[0], rows, frozenset())):
        with pytest.raises(OSError) as found:
            write(Path("/dev/full"))
        assert found.value.errno == errno.ENOSPC


def test_a_file_is_closed_though_nobody_reads_it_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1_000_000)
    content = (tmp_path / "a").open("rb")
    _, stream, headers = downloads.sent(downloads.File("text/csv", content, 'a"\r\nset-cookie: x=1.csv'))
    assert isinstance(stream, Stream) and (b"content-length", b"1000000") in headers
    assert (b"content-disposition", b'attachment; filename="a---set-cookie--x-1.csv"') in headers
    stream.ended()
    assert content.closed


def test_an_invoice_as_a_page_and_as_a_pdf_runs_nothing_of_a_name(world: AdminWorld) -> None:
    root = world.operator()

    async def named() -> None:
        await post(world.app(), ONE, root, {"name": HOSTILE, "address": ["<img src=x onerror=alert(1)>"]}, "PATCH")

    asyncio.run(named())
    number, owner = billed(world, root), world.session("owner", "acme")

    async def main() -> None:
        app = world.app()
        shown = await file(app, f"{ONE}/invoices/{number}/html", owner)
        assert shown.headers[b"content-type"] == b"text/html; charset=utf-8"
        policy = shown.headers[b"content-security-policy"]
        assert b"default-src 'none'" in policy and b"sandbox" in policy and b"frame-ancestors 'none'" in policy
        assert b"<script" not in shown.body and b"<img" not in shown.body and b"&lt;script&gt;" in shown.body
        pdf = await file(app, f"{ONE}/invoices/{number}/pdf", owner)
        assert (
            pdf.body.startswith(b"%PDF-") and pdf.headers[b"content-disposition"] == f'attachment; filename="{number}.pdf"'.encode()
        )
        note = await post(app, f"{ONE}/invoices/{number}/notes", root, {"line": 1, "amount": "1.00", "reason": HOSTILE})
        assert b"<script" not in (await file(app, f"{ONE}/invoices/{note['number']}/html", owner)).body
        for what in ("html", "pdf"):
            assert (await ask(app, "GET", f"{BASE}/organisations/globex/invoices/{number}/{what}", root)).status == 404
            assert (await ask(app, "GET", f"{BASE}{ONE}/invoices/none/{what}", owner)).status == 404

    asyncio.run(main())


def test_costs_are_posted_once_and_a_month_is_closed_by_who_may(world: AdminWorld) -> None:
    root, auditor = world.operator(), world.session("auditor", "own")

    async def main() -> None:
        app = world.app()
        price = {"price_per_hour": "0.12 EUR", "start": "2027-01-01", "end": "2027-01-10"}
        assert await post(app, "/margin/post", root, price) == {"days": 0, "posted": {}}
        for path, record in (
            ("/margin/post", price),
            ("/models/big/worth/close", {"month": "2026-12"}),
            ("/usage/events", {"events": []}),
        ):
            answer = await ask(app, "POST", BASE + path, auditor, orjson.dumps(record))
            assert answer.status == 403, path
        wrong = await ask(app, "POST", f"{BASE}/models/big/worth/close", root, b'{"month": "2099-01"}')
        assert wrong.status == 422 and "not over" in wrong.json["error"]["message"]
        wrong = await ask(app, "POST", f"{BASE}/usage/events", root, orjson.dumps({"events": [{"organisation": "acme"}] * 1001}))
        assert wrong.status == 422 and "1001" in wrong.json["error"]["message"]
        wrong = await ask(app, "POST", f"{BASE}/usage/events", root, b'{"events": [{"organisation": "acme", "nope": 1}]}')
        assert wrong.status == 422 and "events[0]" in wrong.json["error"]["message"]

    asyncio.run(main())


def test_a_wrong_price_is_corrected_by_a_later_version_once_looked_at(world: AdminWorld) -> None:
    root = world.operator()
    billed(world, root)
    right = {**PLAN, "version": 2, "fees": [{"name": "base", "amount": "10.00"}]}
    right["charges"] = [{**right["charges"][0], "price": "0.001"}]

    async def main() -> None:
        app = world.app()
        await imported(app, root, 3)
        await post(app, "/plans", root, {"plan": right})
        asked, before = {"by": "team@2", "reason": "a zero too few"}, world.head()
        shown = await post(app, "/plans/team@1/correct", root, {**asked, "preview": True})
        assert (shown["applied"], shown["difference"]) == (False, "-0.03") and world.head() == before
        done = await post(app, "/plans/team@1/correct", root, asked)
        assert (done["applied"], done["difference"]) == (True, "-0.03")
        assert (await ask(app, "POST", f"{BASE}/plans/team@1/correct", root, b'{"by": "team@9", "reason": "x"}')).status == 404

    asyncio.run(main())


def test_a_customer_is_not_told_where_our_files_lie(world: AdminWorld) -> None:
    owner, root = world.session("owner", "acme"), world.operator()
    (world.folder / "seller.toml").unlink()
    app = world.app()
    answer = asyncio.run(ask(app, "GET", f"{BASE}{ONE}/draft", owner))
    assert answer.status == 503 and str(world.folder).encode() not in answer.body and b"Ask the operator" in answer.body
    told = asyncio.run(ask(app, "GET", f"{BASE}{ONE}/draft", root))
    assert told.status == 422 and b"seller.toml" in told.body
    assert asyncio.run(get(app, ONE, owner))["organisation"] == "acme"


def test_a_margin_is_told_in_the_currency_that_was_asked_for(world: AdminWorld) -> None:
    root = world.operator()
    billed(world, root)
    world.later(1)

    async def main() -> None:
        app, span = world.app(), "currency=USD&from=2027-01-01&to=2027-12-31"
        assert "--rate EUR=" in (await ask(app, "GET", f"{BASE}/margin", root, query=span)).json["error"]["message"]
        euros = await get(app, "/margin", root, query=span.replace("USD", "EUR"))
        dollars = await get(app, "/margin", root, query=f"{span}&rate=EUR%3D2,JPY%3D0.01")
        assert float(dollars["total"]["revenue"]) == 2 * float(euros["total"]["revenue"]) > 0

    asyncio.run(main())
