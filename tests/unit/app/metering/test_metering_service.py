"""Metering as clients see it: through the endpoints of a table model and of a language model."""

from __future__ import annotations

import asyncio
import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

import httpx
import pytest

import lode.app
from lode.app.answering import Answering, Describe
from lode.app.audit import command
from lode.app.language.service import create_language_app
from lode.app.metered import Metered
from lode.app.metering.gate import GateOptions
from lode.app.metering.opening import Where, opened
from lode.app.options import LanguageServeOptions, ServeOptions
from lode.app.service import _gate, create_app
from lode.core.errors import ServeError
from lode.testing.protocol import Sample
from lode.testing.shop import Shop
from tests.unit.app.language.fakes import FakeModel

PREDICT, CHAT = "/v1/models/sample:predict", "/v1/chat/completions"
ROW = {"age": 39, "job": "clerk", "born": None, "member": True, "photo": None}
HI = [{"role": "user", "content": "say:hello"}]
TOKENS = {
    "name": "tokens", "version": 1, "currency": "EUR", "period": "month",
    "charges": [{"name": "out", "type": "standard", "price": "0.01", "unit": "output_tokens"}],
}  # fmt: skip


def talk(make: Any, conversation: Any) -> Any:
    async def main() -> Any:
        app = make()
        transport = httpx.ASGITransport(app=app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await conversation(client)

    return asyncio.run(main())


def test_every_endpoint_describes_or_is_metered() -> None:
    for module in pkgutil.walk_packages(lode.app.__path__, "lode.app."):
        if module.name.endswith(("endpoints", "metered", "routes")):
            importlib.import_module(module.name)
    found, kinds = [Answering], list[type]()
    while found:
        subclasses = found.pop().__subclasses__()
        found += subclasses
        kinds += subclasses
    # Outcomes are reported, not predicted: they take a key and no model. Administration is another service, with a policy of its own.
    kinds = [kind for kind in kinds if not kind.__module__.startswith("lode.app.admin.")]
    odd = {kind.__name__ for kind in kinds if not issubclass(kind, Describe | Metered)} - {"Outcomes"}
    assert not odd
    assert all("answer" not in vars(kind) for kind in kinds if issubclass(kind, Metered) and kind is not Metered)


def test_the_same_key_gets_the_same_answer_and_one_bill(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    headers = {"authorization": f"Bearer {shop.customer()}", "idempotency-key": "order-7"}

    async def conversation(client: httpx.AsyncClient) -> None:
        first, again = [await client.post(PREDICT, json={"rows": [ROW]}, headers=headers) for _ in range(2)]
        assert (first.status_code, again.status_code) == (200, 200) and again.content == first.content
        assert "x-lode-replayed" not in first.headers and again.headers["x-lode-replayed"] == "true"
        other = await client.post(PREDICT, json={"rows": [ROW, ROW]}, headers=headers)
        assert other.status_code == 409 and other.json()["error"]["type"] == "idempotency_conflict"
        for wrong in ("", "x" * 256, "a\x07b"):
            odd = await client.post(PREDICT, json={"rows": [ROW]}, headers={**headers, "idempotency-key": wrong})
            assert odd.status_code == 400

    talk(lambda: create_app(Sample(), ServeOptions(), shop.gate()), conversation)
    assert [line[0] for line in shop.used()] == ["order-7"]


def test_a_rate_is_a_429_that_says_when(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    headers = {"authorization": f"Bearer {shop.customer(limits=['2 requests/hour'])}"}

    async def conversation(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.post(PREDICT, json={"rows": [ROW]}, headers=headers) for _ in range(3)]

    found = talk(lambda: create_app(Sample(), ServeOptions(), shop.gate()), conversation)
    assert [response.status_code for response in found] == [200, 200, 429]
    assert (
        int(found[2].headers["retry-after"]) > 1000 and found[2].headers["ratelimit-policy"] == '"organisation-requests";q=2;w=3600'
    )


@pytest.mark.parametrize("stream", [False, True])
def test_a_language_model_is_reserved_by_max_tokens_and_billed_by_tokens(tmp_path: Path, stream: bool) -> None:
    shop = Shop(tmp_path, plan=TOKENS)
    headers = {"authorization": f"Bearer {shop.customer(limits=['0.20 EUR/month'])}", "idempotency-key": "talk"}
    body = {"model": "toy", "messages": HI, "stream": stream}

    async def conversation(client: httpx.AsyncClient) -> None:
        refused = await client.post(CHAT, json={**body, "max_tokens": 21}, headers={**headers, "idempotency-key": "long"})
        assert refused.status_code == 402 and "may cost 0.21" in refused.text
        first, again = [await client.post(CHAT, json={**body, "max_tokens": 20}, headers=headers) for _ in range(2)]
        assert first.status_code == 200 and again.content == first.content and again.headers["x-lode-replayed"] == "true"

    talk(lambda: create_language_app(FakeModel(), LanguageServeOptions(), shop.gate("toy")), conversation)
    ((id, status, amount, units),) = shop.used()
    assert (id, status) == ("talk", 200) and amount == json.loads(units)["output_tokens"] * 10**10 > 0


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_stream_whose_head_does_not_go_out_is_noted_too(tmp_path: Path, is_cancelled: bool) -> None:
    """The client reads nothing, or the server is stopped: the model has begun, and what it made is on the books."""
    shop = Shop(tmp_path, plan=TOKENS)
    body = json.dumps({"model": "toy", "messages": HI, "stream": True}).encode()
    headers = [(b"content-type", b"application/json"), (b"authorization", f"Bearer {shop.customer()}".encode())]
    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers}

    async def main() -> None:
        app, is_sending = create_language_app(FakeModel(), LanguageServeOptions(timeout_s=0.3), shop.gate("toy")), asyncio.Event()
        messages = iter([{"type": "http.request", "body": body}])

        async def receive() -> Any:
            return next(messages, None) or await asyncio.Event().wait()

        async def send(message: Any) -> None:
            is_sending.set()
            await asyncio.Event().wait()

        async with app.router.lifespan_context(app):
            task = asyncio.create_task(app(scope, receive, send))
            await is_sending.wait()
            if is_cancelled:
                task.cancel()
            await asyncio.wait([task])
            assert app.state.service.active == 0

    asyncio.run(main())
    ((_, status, amount, _),) = shop.used()
    assert status == 408 and amount > 0


def test_vectors_cost_compute_too(tmp_path: Path) -> None:
    shop = Shop(tmp_path, plan=TOKENS)
    headers = {"authorization": f"Bearer {shop.customer()}"}

    async def conversation(client: httpx.AsyncClient) -> None:
        found = await client.post("/v1/embeddings", json={"model": "toy", "input": ["one", "two"] * 10}, headers=headers)
        assert found.status_code == 200

    talk(lambda: create_language_app(FakeModel(), LanguageServeOptions(), shop.gate("toy")), conversation)
    ((_, status, _, units),) = shop.used()
    assert status == 200 and json.loads(units)["compute_us"] > 0


def test_the_first_start_makes_one_key_and_a_given_one_is_let_in(tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / "key"
    path.write_text("a-key-that-was-made-elsewhere-long-ago\n")
    for where in (
        Where(runs=tmp_path),
        Where(runs=tmp_path),
        Where(runs=tmp_path, key_file=path),
        Where(runs=tmp_path, key_file=path),
    ):
        gate, store = opened(where, "sample", GateOptions(), said.append)
        with store, store.view() as session:
            keys = session.rows("SELECT id FROM documents WHERE kind = 'key'")
    assert len(keys) == 2
    shown = [line for line in said if line.startswith("Key, shown only now: lode_")]
    assert len(shown) == 1 and any("`lode keys create CUSTOMER`" in line for line in said)
    caller = asyncio.run(gate.authorize({b"authorization": b"bearer " + path.read_bytes().strip()}))
    assert (caller.organisation, caller.kind) == ("own", "own")


@pytest.mark.parametrize("text", ["", "short", "a" * 20 + " " + "b" * 20, "\u00fc" * 40, "lode_" + "a" * 49])
def test_a_key_file_without_a_usable_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text, "utf-8")
    with pytest.raises(ServeError, match="--key-file"):
        opened(Where(runs=tmp_path, key_file=path), "sample", GateOptions(), print)
    with pytest.raises(ServeError, match="nothing-here"):
        opened(Where(runs=tmp_path, key_file=tmp_path / "nothing-here"), "sample", GateOptions(), print)


def test_the_plan_beside_the_file_becomes_the_plan_of_customers_without_one(tmp_path: Path) -> None:
    shop = Shop(tmp_path, plan=None)
    shop.customer()
    path = tmp_path / "team.toml"
    path.write_text(
        'name = "team"\nversion = 1\ncurrency = "EUR"\nperiod = "month"\n\n[[charges]]\nname = "calls"\ntype = "standard"\nprice = "0.01"\n'
    )
    for _ in range(2):
        _, store = opened(Where(runs=tmp_path, plan=path), "sample", GateOptions(), lambda line: None)
        store.close()
    assert shop._has_plan("acme")


def test_a_server_puts_signed_checkpoints_where_the_file_says(tmp_path: Path) -> None:
    said: list[str] = []
    options = ServeOptions(checkpoints="elsewhere")
    with _gate("sample", options, tmp_path / "runs", False, None, None, None, said.append):
        pass
    result = command.check(tmp_path / "runs", None, [str(tmp_path / "elsewhere")], None)
    assert result["checkpoints"] and len(said) == 1
