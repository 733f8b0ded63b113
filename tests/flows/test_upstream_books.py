"""Somebody else's model, metered for real: the recipe is packaged and served, budgets hold, and the books agree with the provider."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from lode.app.books import journal
from lode.app.listening import Server as _Server
from lode.app.options import UpstreamServeOptions
from lode.app.service import listen
from lode.app.upstream.reconcile import reconcile
from lode.app.upstream.service import create_upstream_app
from lode.core.errors import BillingError, SpecError
from lode.pipeline.loading import load
from lode.pipeline.run import run
from lode.pipeline.upstream import UpstreamModel, secret_folders
from lode.testing.provider import Provider
from lode.testing.shop import Shop

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "language" / "someone-elses-model"
NAME = RECIPE.name
MESSAGES = [{"role": "user", "content": "Count for me please"}]


@pytest.fixture
def providers() -> Iterator[tuple[Provider, Provider]]:
    made = Provider(cached=1).start(), Provider().start()
    yield made
    for provider in made:
        provider.stop()


def copied(folder: Path, providers: tuple[Provider, Provider], more: str = "") -> Path:
    """The recipe with the addresses of these providers."""
    shutil.copytree(RECIPE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("runs"))
    path = folder / "lode.yaml"
    text = path.read_text()
    for port, provider in zip(("9100", "9101"), providers, strict=True):
        text = text.replace(f"127.0.0.1:{port}/v1", f"127.0.0.1:{provider.port}/v1")
    path.write_text(text.replace("  timeout_s: 30\n", f"  timeout_s: 1\n{more}"))
    return path


def packaged(folder: Path, providers: tuple[Provider, Provider]) -> UpstreamModel:
    model = run(copied(folder, providers)).model
    assert isinstance(model, UpstreamModel)
    return model


@contextmanager
def serving(model: UpstreamModel, shop: Shop) -> Iterator[tuple[str, Any]]:
    options = UpstreamServeOptions(port=0, grace_s=1.0)
    app = create_upstream_app(model, options, shop.gate(model.name), ())
    with listen(options) as listener:
        server = _Server(app, options)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
        thread.start()
        until(lambda: server.started)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", app.state.service
        finally:
            server.should_exit = True
            thread.join(10)


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


def ask(url: str, key: str, headers: Mapping[str, str] | None = None, **more: Any) -> httpx.Response:
    body = {"model": NAME, "messages": MESSAGES, "max_tokens": 5, **more}
    found = {"Authorization": f"Bearer {key}", **(headers or {})}
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=found, timeout=30)


def resale() -> dict[str, Any]:
    return tomllib.loads((RECIPE / "plans" / "resale.toml").read_text())


def test_the_books_agree_with_the_provider_whatever_went_wrong(providers: tuple[Provider, Provider], tmp_path: Path) -> None:
    first, second = providers
    shop = Shop(tmp_path, plan=resale())
    key = shop.customer(currency="USD")
    with serving(packaged(tmp_path / "recipe", providers), shop) as (url, desk):
        for fault in ("ok", "500", "ok", "400", "429"):
            first.script.append(fault)
            assert ask(url, key).status_code == (400 if fault == "400" else 200)
        again = [ask(url, key, {"Idempotency-Key": "order-1"}) for _ in range(3)]
        assert len({reply.content for reply in again}) == 1
        assert ask(url, key, stream=True).text.endswith("data: [DONE]\n\n")
        until(lambda: desk.active == 0)
    usage = tmp_path / "usage.json"
    usage.write_text(json.dumps(first.usage() + second.usage()))
    found = reconcile(shop.store, usage)
    assert found["capture_rate"] == "1.000000" and found["difference"] == "0", found
    expected = json.loads((RECIPE / "expected.json").read_text())["metric"]
    assert expected["at_least"] <= float(found["capture_rate"]) <= expected["at_most"]
    rows = shop.read(lambda session: session.rows("SELECT amount, cost, provider, kind, status FROM usage ORDER BY sequence"))
    answered = [row for row in rows if row[4] == 200]
    assert len(answered) == 6, "four answers, one for three requests with one id, one stream"
    for amount, cost, provider, kind, _ in answered:
        assert provider == "example@2026-11-01" and kind == "customer"
        assert int(amount) == max(100_000_000, int(cost) * 5 // 4), "the plan: a quarter on top, at least 0.0001"
    balances = shop.read(lambda session: session.rows("SELECT account, amount FROM balances"))
    owed = {account: int(amount) for account, amount in balances}
    assert sum(owed.values()) == 0
    assert owed["payable/example/USD"] == -sum(int(cost) for _, cost, *_ in rows)
    assert sum(len(provider.charged) for provider in providers) == 6


def test_a_try_that_was_charged_and_lost_is_our_cost_and_no_revenue(providers: tuple[Provider, Provider], tmp_path: Path) -> None:
    first, second = providers
    shop = Shop(tmp_path, plan=resale())
    key = shop.customer(currency="USD")
    with serving(packaged(tmp_path / "recipe", providers), shop) as (url, _):
        first.script.append("drop")
        assert ask(url, key).status_code == 200
        first.usual = second.usual = "drop"
        assert ask(url, key).status_code == 502
    rows = shop.read(lambda session: session.rows("SELECT kind, status, amount, cost, estimated FROM usage ORDER BY sequence"))
    lost = [row for row in rows if row[0] == "own"]
    assert len(lost) == 4 and all(int(cost) > 0 and int(amount) == 0 and estimated for _, _, amount, cost, estimated in lost)
    revenue = shop.read(lambda session: journal.balance(session, "revenue/USD"))
    assert -revenue == sum(int(row[2]) for row in rows if row[0] == "customer") > 0
    usage = tmp_path / "usage.json"
    usage.write_text(json.dumps(first.usage() + second.usage()))
    found = reconcile(shop.store, usage)
    # What nobody saw of an answer is not guessed: the gap shows, with the requests that it comes from.
    assert found["estimated_requests"] == 4 and 0 < float(found["capture_rate"]) < 1


def test_a_budget_holds_before_the_provider_is_asked(providers: tuple[Provider, Provider], tmp_path: Path) -> None:
    shop = Shop(tmp_path, plan=resale())
    key = shop.customer(currency="USD", limits=("0.0003 USD/month",))
    with serving(packaged(tmp_path / "recipe", providers), shop) as (url, _):
        statuses = [ask(url, key).status_code for _ in range(6)]
    assert statuses[:3] == [200, 200, 200] and set(statuses[3:]) <= {402, 429}
    assert len(providers[0].charged) == 3, "nobody was asked for what could not be paid"


def test_an_artifact_holds_who_is_asked_and_at_which_prices_and_no_secret(
    providers: tuple[Provider, Provider], tmp_path: Path
) -> None:
    path = copied(tmp_path, providers, "  key: {file: secrets/provider.key}\n")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "provider.key").write_text("sk-very-secret-1")
    done, again = run(path), run(path)
    made = done.manifests["package"].result
    assert made["new"] and again.manifests["package"].cached
    assert not [file for file in (tmp_path / "runs").rglob("*") if file.is_file() and b"sk-very-secret-1" in file.read_bytes()]
    model = load(NAME, tmp_path / "runs")
    assert isinstance(model, UpstreamModel)
    assert [item.prices.version for item in model.providers] == ["2026-11-01"] * 2
    assert secret_folders(tmp_path / "runs", model.card)[0] == tmp_path
    prices = tmp_path / "prices" / "example.toml"
    prices.write_text(prices.read_text().replace('"0.15"', '"0.18"'))
    assert run(path).manifests["package"].result["version"] == 2, "other prices are another version"
    with pytest.raises(SpecError, match="no stage train"):
        run(path, until="train")
    prices.write_text(prices.read_text().replace("small-4", "small-5"))
    with pytest.raises(BillingError, match=r"Did you mean \"small-5\""):
        run(path)
