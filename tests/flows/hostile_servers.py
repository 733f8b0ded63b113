"""What hostile requests are sent to: the admin API, a table model, a language model and somebody else's models, on real sockets in
threads of this process. Each has an OpenAPI description.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from lode.app import connection
from lode.app.admin.contracts import BASE
from lode.app.books.contracts import Store
from lode.app.language.service import create_language_app
from lode.app.listening import Server, listen
from lode.app.options import LanguageServeOptions, ServeOptions, UpstreamServeOptions
from lode.app.service import create_app
from lode.pipeline.providers import Provider as Asking
from lode.pipeline.upstream import UpstreamModel
from lode.testing.protocol import Sample
from lode.testing.provider import Provider
from lode.testing.shop import Shop
from lode.value import provider_prices
from tests.flows.hostile import Good, Maker
from tests.flows.toy import Toy
from tests.unit.app.admin.world import PLAN, AdminWorld, post

ROW = {"age": 39, "job": "clerk", "born": None, "member": True, "photo": None}
_ONE = "/organisations/acme"
_BODY_S = 1.0


@dataclass
class Target:
    """One server. key: that lets in. goods: requests that it answers well. described: where its description is."""

    name: str
    port: int
    key: str
    goods: tuple[Good, ...]
    described: str = "/openapi.json"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def maker(self, seed: int) -> Maker:
        return Maker(self.goods, [f"authorization: Bearer {self.key}"], seed)


class Faults(logging.Handler):
    """Keeps what is logged with a trace: a defect of ours."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record)[-2000:])


@dataclass
class Targets:
    """All of them. faults: what the servers logged."""

    all: tuple[Target, ...]
    faults: Faults = field(default_factory=Faults)

    def __getitem__(self, name: str) -> Target:
        return next(item for item in self.all if item.name == name)


@contextmanager
def targets(folder: Path, store: Store | None = None) -> Iterator[Targets]:
    """Servers that give up slow clients after a second, so that a test need not wait longer. store: other books of the admin API."""
    before, connection.HEAD_S = connection.HEAD_S, _BODY_S
    with ExitStack() as stack:
        stack.callback(setattr, connection, "HEAD_S", before)
        found = Targets(tuple(stack.enter_context(make(folder)) for make in (lambda folder: _admin(folder, store), *_MODELS)))
        for name in ("lode.app", "uvicorn.error"):
            logging.getLogger(name).addHandler(found.faults)
            stack.callback(logging.getLogger(name).removeHandler, found.faults)
        yield found


@contextmanager
def _running(app: Starlette, options: Any) -> Iterator[int]:
    with listen(options) as listener:
        server = Server(app, options)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(30)
    assert not thread.is_alive()


@contextmanager
def _admin(folder: Path, store: Store | None) -> Iterator[Target]:
    from lode.app.admin.service import AdminOptions

    (folder / "admin").mkdir()
    world = AdminWorld(folder / "admin", store)
    key = world.operator()
    project, made = world.project("one"), world.key("acme")
    number = asyncio.run(_billed(world, key))
    options = AdminOptions(port=0, body_timeout_s=_BODY_S)
    with world.store, _running(world.app(body_timeout_s=_BODY_S), options) as port:
        yield Target("admin", port, key, _admin_goods(project, made["id"], number), "/admin/openapi.json")


async def _billed(world: AdminWorld, key: str) -> str:
    """Credit, a plan, and an invoice of acme; its number."""
    app = world.app()
    await post(app, "/plans", key, {"plan": {**PLAN, "fees": [{"name": "base", "amount": "500.00"}]}})
    await post(app, f"{_ONE}/subscriptions", key, {"plan": "team"})
    await post(app, f"{_ONE}/credit", key, {"amount": "500.00"})
    world.later(24 * 40)
    return str((await post(app, f"{_ONE}/bill", key, {}))["issued"][0]["number"])


def _admin_goods(project: str, key: str, number: str) -> tuple[Good, ...]:
    """Bodies for the operations that have one, and the readings."""
    bill = f"{_ONE}/invoices/{number}"
    posts: dict[str, Any] = {
        "/organisations": {"organisation": "initech", "currency": "EUR", "name": "Initech", "country": "DE", "address": ["1 St"]},
        f"{_ONE}/projects": {"name": "two"},
        f"{_ONE}/accounts": {"name": "ci", "role": "admin"},
        f"{_ONE}/suspend": {"reason": "x"},
        f"{_ONE}/members": {"email": "jo@acme.org", "role": "owner"},
        f"{_ONE}/keys": {"name": "k", "project": project, "expires": "90d"},
        f"{_ONE}/keys/{key}/rotate": {"overlap": "1h"},
        f"{_ONE}/limits": {"subject": f"key/{key}", "limits": ["5 requests/second"]},
        "/limits": {"subject": "model/big", "limits": ["5 rows/day"]},
        "/operators": {"email": "a@b.org", "operator": "support"},
        "/plans": {"plan": {**PLAN, "name": "other"}},
        "/plans/default": {"plan": "team", "version": 1},
        "/plans/team/estimate": {"units": {"rows": 1000}, "model": "any"},
        "/plans/team@1/correct": {"by": "team@2", "reason": "x", "since": "2027-01-01", "preview": True},
        "/coupons": {"code": "A1", "percent": "5", "until": "30d"},
        f"{_ONE}/subscriptions": {"plan": "team", "since": "1d", "trial_days": 3},
        f"{_ONE}/subscriptions/change": {"plan": "team", "when": "now"},
        f"{_ONE}/subscriptions/cancel": {"when": "period_end", "reason": "x"},
        f"{_ONE}/bill": {"period": "2027-01", "grace_days": 1},
        "/bill": {"grace_days": 0, "interim": True},
        f"{bill}/notes": {"line": 1, "amount": "1.00", "reason": "x"},
        f"{bill}/void": {"reason": "x", "to": "cash"},
        f"{bill}/replace": {},
        f"{bill}/payments": {"amount": "1", "reference": "b"},
        f"{_ONE}/credit": {"amount": "5.00", "expires": "90d", "priority": 5, "reference": "r"},
        f"{_ONE}/credit/goodwill": {"amount": "1", "reason": "x"},
        f"{_ONE}/credit/refund": {"amount": "1.00", "reason": "x", "grant": ""},
        "/simulate": {"plan": "team", "start": "2027-01-01"},
        "/audit/verify": {"chain": True},
        "/usage/events": {"events": [{"organisation": "acme", "request_id": "e", "at": "2027-02-20T12:00:00Z", "model": "m"}]},
        "/margin/post": {"start": "2027-01-01", "end": "2027-02-01", "price_per_hour": "0.12 EUR"},
        "/models/big/worth/close": {"month": "2027-01", "currency": "EUR"},
    }  # fmt: skip
    everywhere = (
        "/organisations /usage?by=customer&from=2026-11-01 /margin?by=model /audit?kind=key&limit=5 /plans/team?version=1 /books"
    )
    there = (
        "/projects?limit=1 /members?next=x /keys /usage?by=day /audit /draft?period=2027-01 /credit /plan /subscriptions /limits"
    )
    files = (
        f"{_ONE}/usage/export?format=parquet",
        "/models/big/worth/page",
        "/usage/export?format=focus",
        f"{bill}/html",
        f"{bill}/pdf",
    )
    gets = (*everywhere.split(), *files, "/models/big/worth", "/invoices", bill, _ONE, *(_ONE + path for path in there.split()))
    return (
        *(Good("POST", BASE + path, body) for path, body in posts.items()),
        Good("PATCH", BASE + _ONE, {"name": "Acme", "address": ["a"]}),
        Good("PATCH", f"{BASE}{_ONE}/terms", {"zone": "Europe/Berlin", "payment": "invoice", "credit_line": "5"}),
        *(Good("GET", BASE + path) for path in gets),
        Good("POST", "/admin/login", {"name": "a", "password": "b"}),
        Good("GET", "/admin/openapi.json"),
    )


@contextmanager
def _rows(folder: Path) -> Iterator[Target]:
    shop = Shop(folder / "rows")
    key = shop.customer(key={"scopes": ["predict", "outcomes"]})
    options = ServeOptions(port=0, timeout_s=_BODY_S, max_body_bytes=262144)
    inputs = [
        {"name": name, "shape": [1], "datatype": "BYTES" if name != "age" else "FP64", "data": [value]}
        for name, value in ROW.items()
        if value
    ]
    goods = (
        Good("POST", "/v1/models/sample:predict", {"rows": [ROW, ROW]}),
        Good("POST", "/v2/models/sample/infer", {"id": "4", "inputs": inputs[:2]}),
        Good("POST", "/v1/outcomes", {"request_id": "a", "outcomes": [{"row": 0, "outcome": 1, "happened": "2026-11-30"}]}),
        Good("GET", "/v1/models"), Good("GET", "/openapi.json"), Good("GET", "/v2/models/sample"),
    )  # fmt: skip
    with shop.store, _running(create_app(Sample(), options, shop.gate("sample")), options) as port:
        yield Target("rows", port, key, goods)


@contextmanager
def _words(folder: Path) -> Iterator[Target]:
    shop, model = Shop(folder / "words"), Toy(context=64)
    key = shop.customer()
    options = LanguageServeOptions(port=0, cache=8_000_000, timeout_s=_BODY_S, max_body_bytes=262144)
    chat = {
        "model": "toy",
        "messages": [{"role": "user", "content": "Tell me."}],
        "max_tokens": 2,
        "temperature": 0.5,
        "seed": 1,
        "stream": False,
    }
    schema = {"name": "a", "schema": {"type": "object"}}
    goods = (
        Good("POST", "/v1/chat/completions", chat),
        Good("POST", "/v1/chat/completions", {**chat, "stream": True, "stop": ["x"], "n": 2, "logprobs": True, "top_logprobs": 2}),
        Good("POST", "/v1/chat/completions", {**chat, "response_format": {"type": "json_schema", "json_schema": schema}}),
        Good("POST", "/v1/completions", {"model": "toy", "prompt": "abc", "max_tokens": 2, "logit_bias": {"5": -100}, "echo": True}),
        Good("POST", "/v1/embeddings", {"model": "toy", "input": ["abc", "d"], "encoding_format": "float"}),
        Good("GET", "/v1/models"), Good("GET", "/v1/models/toy"),
    )  # fmt: skip
    with shop.store, _running(create_language_app(model, options, shop.gate("toy")), options) as port:
        yield Target("words", port, key, goods)


@contextmanager
def _passed(folder: Path) -> Iterator[Target]:
    chat = {"model": "assistant", "messages": [{"role": "user", "content": "Tell me."}], "max_tokens": 2}
    goods = (
        Good("POST", "/v1/chat/completions", chat), Good("POST", "/v1/chat/completions", {**chat, "stream": True}),
        Good("POST", "/v1/completions", {"model": "assistant", "prompt": "abc", "max_tokens": 2}),
        Good("POST", "/v1/embeddings", {"model": "assistant", "input": ["abc", "d"]}), Good("GET", "/v1/models"),
    )  # fmt: skip
    with _upstream(folder / "passed", False) as (port, key):
        yield Target("passed", port, key, goods)


@contextmanager
def _passed_rows(folder: Path) -> Iterator[Target]:
    path = "/v2/models/assistant"
    inputs = [{"name": "x", "shape": [2], "datatype": "FP64", "data": [1.0, 2.0]}]
    goods = (Good("POST", f"{path}/infer", {"inputs": inputs}), Good("GET", path), Good("GET", "/v2"))
    with _upstream(folder / "passed_rows", True) as (port, key):
        yield Target("passed rows", port, key, goods)


@contextmanager
def _upstream(folder: Path, rows: bool) -> Iterator[tuple[int, str]]:
    """A model of a make-believe provider: port and key."""
    from lode.app.upstream.service import create_upstream_app

    shop, provider = Shop(folder), Provider().start()
    (folder / "provider.key").write_text("sk-of-the-provider")
    (folder / "provider.key").chmod(0o600)
    protocol, address, name = ("open_inference", provider.rows_url, "scorer") if rows else ("openai", provider.url, "small-4")
    asking = Asking(protocol, address, name, {"file": "provider.key"}, provider_prices.parse(_PRICES, "prices.toml"), _PRICES)
    usual = {"timeout_s": 5.0, "retries": 1, "connections": 20, "max_tokens": 6, "max_tokens_word": "max_tokens"}
    model = UpstreamModel((asking,), usual, name="assistant", version=3, hash="0" * 64)
    options = UpstreamServeOptions(port=0, timeout_s=_BODY_S, max_body_bytes=262144)
    key, app = shop.customer(), create_upstream_app(model, options, shop.gate("assistant"), (folder,))
    try:
        with shop.store, _running(app, options) as port:
            yield port, key
    finally:
        provider.stop()


_PRICES = """
provider = "example"
version = "2026-11-01"
currency = "EUR"
[models.small-4]
input = "0.15"
output = "0.60"
[models.scorer]
row = "0.002"
"""
_MODELS = (_rows, _words, _passed, _passed_rows)
