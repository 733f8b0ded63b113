"""Somebody else's model over real HTTP: a make-believe provider behind it, OpenAI's client in front, and what may go wrong between."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from lode.app.contracts import Asked, Caller, Gate, Hold, Kept, Usage
from lode.app.listening import Server as _Server
from lode.app.options import UpstreamServeOptions
from lode.app.service import listen
from lode.app.upstream.breaker import FAILURES, Breaker
from lode.app.upstream.service import create_upstream_app
from lode.core.errors import ServeError
from lode.pipeline.providers import Provider as Asking
from lode.pipeline.upstream import UpstreamModel
from lode.testing.provider import Provider
from lode.value import provider_prices

openai = pytest.importorskip("openai")

SECRET = "sk-of-the-provider-0123456789"
OURS = "lode_key-of-our-customer"
PRICES = """
provider = "example"
version = "2026-11-01"
currency = "USD"
[models.small-4]
input = "0.15"
cached_input = "0.075"
output = "0.60"
request = "0.0001"
[models.scorer]
row = "0.002"
"""
MESSAGES: Any = [{"role": "user", "content": "Count for me please"}]


class Notes(Gate):
    """A gate that writes down what it is told. refused: answered instead of a reservation."""

    keeps_bytes = 1 << 20

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.settled: list[tuple[Hold, Usage, Kept | None]] = []
        self.open = 0
        self.keys: list[bytes] = []

    async def authorize(self, headers: Mapping[bytes, bytes], scope: str = "predict") -> Caller:
        self.keys.append(headers.get(b"authorization", b""))
        return Caller("key_1", organisation="acme", key="key_1")

    async def reserve(self, caller: Caller, asked: Asked) -> Hold:
        self.asked.append(asked)
        for hold, _, kept in self.settled:
            if asked.is_repeatable and hold.asked.request_id == asked.request_id:
                return Hold(caller, asked, kept)
        self.open += 1
        return Hold(caller, asked)

    async def settle(self, hold: Hold, usage: Usage, kept: Kept | None = None) -> Kept | None:
        self.settled.append((hold, usage, kept))
        return None

    def release(self, hold: Hold) -> None:
        self.open = max(0, self.open - 1)

    def billed(self) -> list[Usage]:
        """What was noted of customers' requests."""
        return [usage for hold, usage, _ in self.settled if hold.caller.kind == "customer"]

    def lost(self) -> list[Usage]:
        """What was noted as our own cost."""
        return [usage for hold, usage, _ in self.settled if hold.caller.kind == "own"]


class Served:
    """The server in a thread, its gate, and OpenAI's client for it."""

    def __init__(self, url: str, gate: Notes, desk: Any):
        self.url, self.gate, self.desk = url, gate, desk
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key=OURS, max_retries=0, timeout=30)

    def chat(self, **more: Any) -> Any:
        return self.client.chat.completions.create(model="assistant", messages=MESSAGES, **more)

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return httpx.post(
            f"{self.url}{path}", json=body, headers={"Authorization": f"Bearer {OURS}", **(headers or {})}, timeout=30
        )

    def idle(self) -> None:
        until(lambda: self.desk.active == 0)


def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


def model_of(providers: list[Provider], folder: Path, *, rows: bool = False, **options: Any) -> UpstreamModel:
    prices = provider_prices.parse(PRICES, "prices.toml")
    file = folder / "provider.key"
    if not file.exists():
        file.write_text(SECRET + "\n")
        file.chmod(0o600)
    asking = tuple(
        Asking(
            "open_inference" if rows else "openai", item.rows_url if rows else item.url, "scorer" if rows else "small-4",
            {"file": "provider.key"}, prices, PRICES,
        )
        for item in providers
    )  # fmt: skip
    usual = {"timeout_s": 5.0, "retries": 2, "connections": 20, "max_tokens": 6, "max_tokens_word": "max_tokens"}
    return UpstreamModel(asking, {**usual, **options}, name="assistant", version=3, hash="0" * 64)


@contextmanager
def serving(model: UpstreamModel, folder: Path, **options: Any) -> Iterator[Served]:
    gate, made = Notes(), UpstreamServeOptions(port=0, grace_s=1.0, **options)
    app = create_upstream_app(model, made, gate, (folder,))
    with listen(made) as listener:
        server = _Server(app, made)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
        thread.start()
        until(lambda: server.started)
        try:
            yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", gate, app.state.service)
        finally:
            server.should_exit = True
            thread.join(10)


@pytest.fixture(scope="module")
def first() -> Iterator[Provider]:
    made = Provider().start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def second() -> Iterator[Provider]:
    made = Provider().start()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def _as_new(first: Provider, second: Provider) -> None:
    for provider in (first, second):
        provider.usual, provider.cached, provider.delay_s, provider.event_s = "ok", 0, 0.0, 0.0
        provider.sent_bytes = provider.hung_up = provider.padding = 0
        provider.script.clear()
        provider.requests.clear()
        provider.charged.clear()


@pytest.fixture(scope="module")
def shared(first: Provider, second: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("upstream")
    with serving(model_of([first, second], folder), folder, max_answer_bytes=1 << 20) as found:
        yield found


@pytest.fixture
def served(shared: Served) -> Iterator[Served]:
    """One server for many tests: nobody is taken for down, nothing is noted yet."""
    for line in shared.desk.tries.lines:
        line.breaker = Breaker()
    shared.gate.asked.clear()
    shared.gate.settled.clear()
    yield shared
    shared.idle()
    assert shared.gate.open == 0, "a reservation was left open"


def test_an_answer_is_passed_on_under_our_name_and_costs_what_the_price_list_says(served: Served, first: Provider) -> None:
    first.cached = 2
    answer = served.chat(max_tokens=3)
    assert answer.choices[0].message.content == "one two three"
    assert answer.model == "assistant"
    (usage,) = served.gate.billed()
    tokens = answer.usage.prompt_tokens
    assert usage.units["input_tokens"] == tokens and usage.units["output_tokens"] == 3 and usage.units["cached_tokens"] == 2
    assert usage.cost == 100_000_000 + (tokens - 2) * 150_000 + 2 * 75_000 + 3 * 600_000
    assert (usage.cost_currency, usage.provider, usage.estimated, usage.status) == ("USD", "example@2026-11-01", False, 200)
    assert (usage.model, usage.version) == ("assistant", 3)


def test_the_most_that_a_request_can_cost_is_set_aside_first(served: Served, first: Provider) -> None:
    served.chat(max_tokens=4, n=2)
    served.chat()
    stated, silent = served.gate.asked
    assert stated.most["output_tokens"] == 8
    assert silent.most["output_tokens"] == 6, "the default of the file"
    assert first.requests[1][2]["max_tokens"] == 6, "and the provider is told of it"
    for asked, usage in zip(served.gate.asked, served.gate.billed(), strict=True):
        assert asked.most["input_tokens"] >= usage.units["input_tokens"]
        assert asked.cost_most >= usage.cost and asked.cost_currency == "USD"


def test_the_clients_key_never_goes_up_and_the_providers_never_comes_down(
    served: Served, first: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    first.script += ["401", "400"]
    reply = served.post("/v1/chat/completions", {"model": "assistant", "messages": MESSAGES})
    bad = served.post("/v1/chat/completions", {"model": "assistant", "messages": MESSAGES})
    assert reply.status_code == 200
    for _, headers, asked in first.requests:
        assert headers["authorization"] == f"Bearer {SECRET}"
        assert OURS not in json.dumps([headers, asked])
        assert set(headers) <= {"host", "content-type", "content-length", "accept-encoding", "user-agent", "authorization"}
    for response in (reply, bad):
        assert set(response.headers) <= {"content-type", "content-length", "x-request-id", "x-lode-request-id", "date"}
        assert SECRET not in response.text
    assert SECRET not in caplog.text and OURS not in caplog.text
    assert SECRET not in repr(served.desk.tries.lines)


def test_a_stream_comes_as_it_is_made_with_the_usage_only_where_it_was_asked_for(served: Served, first: Provider) -> None:
    plain = list(served.chat(stream=True, max_tokens=4))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in plain) == "one two three four "
    assert {chunk.model for chunk in plain} == {"assistant"}
    assert all(chunk.usage is None and chunk.choices for chunk in plain)
    told = list(served.chat(stream=True, max_tokens=4, stream_options={"include_usage": True}))
    assert told[-1].usage.completion_tokens == 4 and told[-1].choices == []
    served.idle()
    assert [usage.units["output_tokens"] for usage in served.gate.billed()] == [4, 4]
    assert not any(usage.estimated for usage in served.gate.billed())
    assert all(asked["stream_options"] == {"include_usage": True} for _, _, asked in first.requests)


def test_a_stream_is_noted_before_its_end_is_sent(served: Served) -> None:
    with httpx.stream(
        "POST", f"{served.url}/v1/chat/completions", timeout=30,
        json={"model": "assistant", "messages": MESSAGES, "stream": True},
    ) as response:  # fmt: skip
        for line in response.iter_lines():
            if line == "data: [DONE]":
                assert len(served.gate.billed()) == 1
                break
        else:
            raise AssertionError("no end")


def test_what_a_provider_does_not_say_is_estimated_and_marked(served: Served, first: Provider) -> None:
    first.usual = "no_usage"
    served.chat(max_tokens=5)
    list(served.chat(max_tokens=5, stream=True))
    served.idle()
    whole, stream = served.gate.billed()
    for usage in (whole, stream):
        assert usage.estimated and usage.cost > 0
        assert usage.units["input_tokens"] >= 4 and 1 <= usage.units["output_tokens"] <= 5


def test_completions_and_embeddings_too(served: Served) -> None:
    client = served.client
    assert client.completions.create(model="assistant", prompt="count", max_tokens=2).choices[0].text == "one two"
    assert client.embeddings.create(model="assistant", input="count", encoding_format="float").data[0].embedding == [0.6, 0.8]
    assert [model.id for model in client.models.list()] == ["assistant"]
    texts, vectors = served.gate.billed()
    assert texts.units["output_tokens"] == 2
    assert "output_tokens" not in vectors.units and vectors.units["input_tokens"] == 1


@pytest.mark.parametrize("fault", ["500", "503", "429", "401", "404", "garbage", "cut", "drop", "huge", "gzip", "redirect"])
@pytest.mark.parametrize("stream", [False, True])
def test_where_one_provider_fails_the_next_answers_and_the_customer_pays_once(
    served: Served, first: Provider, second: Provider, fault: str, stream: bool
) -> None:
    first.script.append("drop" if fault == "cut" and stream else fault)
    made = served.chat(max_tokens=2, stream=stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in made) if stream else made.choices[0].message.content
    served.idle()
    assert text.split() == ["one", "two"]
    assert len(first.requests) == len(second.requests) == 1
    assert [usage.status for usage in served.gate.billed()] == [200]
    # What the failed try may have cost is ours, and nobody's bill.
    assert len(served.gate.lost()) == len(first.charged)
    assert all(usage.cost > 0 and usage.estimated and usage.status == 502 for usage in served.gate.lost())
    assert not any(path.endswith("/stolen") for path, _, _ in first.requests)


def test_a_provider_that_hangs_is_given_up(first: Provider, second: Provider, tmp_path: Path) -> None:
    first.usual = "hang"
    with serving(model_of([first, second], tmp_path, timeout_s=0.3), tmp_path) as served:
        assert served.chat(max_tokens=1).choices[0].message.content == "one"
        assert len(served.gate.lost()) == 1, "it had the request, so it may have charged it"


def test_the_same_provider_is_asked_again_where_there_is_no_other(first: Provider, tmp_path: Path) -> None:
    first.script += ["500", "500"]
    with serving(model_of([first], tmp_path), tmp_path) as served:
        assert served.chat(max_tokens=1).choices[0].message.content == "one"
        assert len(first.requests) == 3
        first.script += ["500"] * 3
        with pytest.raises(openai.InternalServerError) as caught:
            served.chat(max_tokens=1)
        assert caught.value.status_code == 502 and "not charged" in str(caught.value)
        assert served.gate.billed()[-1].cost == 0


def test_a_provider_that_is_not_there_costs_nothing(second: Provider, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        gone = Provider(port=taken.getsockname()[1])
        with serving(model_of([gone, second], tmp_path), tmp_path) as served:
            assert served.chat(max_tokens=1).choices[0].message.content == "one"
            assert served.gate.lost() == []


def test_a_provider_that_asks_to_be_left_alone_is(first: Provider, second: Provider, tmp_path: Path) -> None:
    first.script.append("429")
    with serving(model_of([first, second], tmp_path), tmp_path) as served:
        for _ in range(3):
            served.chat(max_tokens=1)
        assert (len(first.requests), len(second.requests)) == (1, 3)
        second.script.append("429")
        with pytest.raises(openai.APIStatusError):
            served.chat(max_tokens=1)
        reply = served.post("/v1/chat/completions", {"model": "assistant", "messages": MESSAGES})
        assert reply.status_code == 503 and 1 <= int(reply.headers["retry-after"]) <= 7
        assert (len(first.requests), len(second.requests)) == (1, 4), "nobody was asked"
        assert httpx.get(f"{served.url}/health/ready").status_code == 503
        assert httpx.get(f"{served.url}/health/live").status_code == 200


def test_after_failures_in_a_row_one_request_at_a_time_probes(first: Provider, second: Provider, tmp_path: Path) -> None:
    first.usual = "500"
    with serving(model_of([first, second], tmp_path), tmp_path) as served:
        for _ in range(FAILURES + 3):
            served.chat(max_tokens=1)
        assert len(first.requests) == FAILURES, "then it is left alone"
        first.usual = "ok"
        breaker = served.desk.tries.lines[0].breaker
        until(lambda: breaker.wait_s == 0)
        served.chat(max_tokens=1)
        assert len(first.requests) == FAILURES + 1 and not breaker.is_open


@pytest.mark.parametrize("fault", ["cut_after", "hang_after", "error_after"])
def test_after_the_first_byte_nobody_else_is_asked(first: Provider, second: Provider, tmp_path: Path, fault: str) -> None:
    first.usual, first.event_s = fault, 0.02
    with serving(model_of([first, second], tmp_path, timeout_s=0.5), tmp_path) as served:
        got: list[str] = []
        with pytest.raises(openai.APIError):
            got.extend(chunk.choices[0].delta.content for chunk in served.chat(max_tokens=6, stream=True))
        served.idle()
        assert got == ["one ", "two ", "three "]
        assert second.requests == []
        (usage,) = served.gate.billed()
        assert usage.status == 502 and usage.estimated and usage.cost > 0
        assert served.gate.open == 0


def test_a_stream_without_its_last_word_is_whole_where_every_choice_ended(served: Served, first: Provider) -> None:
    first.usual = "no_end"
    chunks = list(served.chat(max_tokens=2, stream=True, n=2))
    assert chunks[-1].choices[0].finish_reason == "stop"
    served.idle()
    assert served.gate.billed()[0].status == 200


def test_a_client_that_hangs_up_is_not_worked_for_any_more(served: Served, first: Provider) -> None:
    first.event_s = 0.02
    body = {"model": "assistant", "messages": MESSAGES, "stream": True, "max_tokens": 1000}
    with httpx.stream("POST", f"{served.url}/v1/chat/completions", json=body, timeout=30) as response:
        for line in response.iter_lines():
            if "two" in line:
                break
    until(lambda: first.hung_up == 1)
    served.idle()
    (usage,) = served.gate.billed()
    assert usage.status == 499 and usage.estimated
    assert 0 < usage.units["output_tokens"] < 500


def test_a_client_that_hangs_up_before_the_first_byte(first: Provider, tmp_path: Path) -> None:
    first.usual = "hang"
    with serving(model_of([first], tmp_path), tmp_path) as served:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{served.url}/v1/chat/completions", json={"model": "assistant", "messages": MESSAGES}, timeout=0.3)
        served.idle()
        (usage,) = served.gate.billed()
        assert usage.status == 499 and usage.estimated and usage.cost > 0
        assert served.gate.open == 0


def test_a_client_that_does_not_read_holds_the_provider_back(first: Provider, tmp_path: Path) -> None:
    """Back-pressure: what is between the two is bounded, however long the answer."""
    first.padding = 20_000
    with serving(model_of([first], tmp_path, timeout_s=30.0), tmp_path, timeout_s=1.0) as served:
        body = json.dumps({"model": "assistant", "messages": MESSAGES, "stream": True, "max_tokens": 5000}).encode()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", int(served.url.rsplit(":", 1)[1])))
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            until(lambda: bool(served.gate.asked))
            until(lambda: served.desk.active == 0, 20.0)  # left as a slow reader
        (usage,) = served.gate.billed()
        assert usage.status == 408
        assert first.sent_bytes < 50_000_000, "of 100 MB: the buffers of four sockets, and little more"


def test_the_same_request_again_gets_the_same_answer_and_asks_nobody(served: Served, first: Provider) -> None:
    body = {"model": "assistant", "messages": MESSAGES, "max_tokens": 2}
    once, again = (served.post("/v1/chat/completions", body, {"Idempotency-Key": "order-7"}) for _ in range(2))
    assert once.content == again.content and again.headers["x-lode-replayed"] == "true"
    assert len(first.requests) == 1


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"model": "assistent"}, 404, 'Did you mean "assistant"'),
        ({"service_tier": "priority"}, 400, "service_tier"),
        ({"max_token": 3}, 400, 'Did you mean "max_tokens"'),
        ({"max_tokens": -1}, 400, "max_tokens"),
        ({"max_tokens": "9"}, 400, "max_tokens"),
        ({"n": 1000}, 400, "n:"),
        ({"messages": []}, 400, "messages"),
        ({"tools": [{"type": "web_search"}]}, 400, "functions"),
        ({"stream_options": {"include_usage": True}}, 400, "stream_options"),
    ],
)
def test_what_could_cost_what_nobody_set_aside_is_refused(
    served: Served, first: Provider, change: dict[str, Any], status: int, words: str
) -> None:
    reply = served.post("/v1/chat/completions", {"model": "assistant", "messages": MESSAGES, **change})
    assert reply.status_code == status and words in reply.json()["error"]["message"]
    assert first.requests == [] and served.gate.asked == []


def test_the_clients_own_mistake_goes_through_in_the_providers_words(served: Served, first: Provider, second: Provider) -> None:
    first.script.append("422")
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        served.chat()
    assert "the request is wrong" in str(caught.value) and caught.value.param == "messages"
    assert second.requests == [] and served.gate.billed()[0].cost == 0


def test_rows_of_the_open_inference_protocol(first: Provider, second: Provider, tmp_path: Path) -> None:
    body = {"id": "7", "inputs": [{"name": "x", "shape": [3, 2], "datatype": "FP64", "data": [1.0] * 6}]}
    first.script.append("500")
    with serving(model_of([first, second], tmp_path, rows=True), tmp_path) as served:
        reply = served.post("/v2/models/assistant/infer", body)
        assert reply.status_code == 200, reply.text
        assert reply.json()["model_name"] == "assistant" and reply.json()["outputs"][0]["data"] == [0.5] * 3
        assert second.requests[0][0] == "/v2/models/scorer/infer"
        (usage,) = served.gate.billed()
        assert usage.units["rows"] == 3 and usage.cost == 3 * 2_000_000_000 and not usage.estimated
        assert served.gate.asked[0].most["rows"] == 3
        body["inputs"].append({"name": "z", "shape": [4], "datatype": "FP64", "data": [1.0] * 4})  # type: ignore[attr-defined]
        assert served.post("/v2/models/assistant/infer", body).status_code == 400
        assert httpx.get(f"{served.url}/v2/health/ready").status_code == 200


@pytest.mark.parametrize(
    ("content", "mode", "key", "words"),
    [
        ("sk-1234567", 0o644, {"file": "k"}, "others may read"),
        ("", 0o600, {"file": "k"}, "found no key"),
        ("two words", 0o600, {"file": "k"}, "found no key"),
        ("sk-1234567", 0o600, {"file": "missing"}, "no such file"),
        ("sk-1234567", 0o600, {"file": "k", "name": "main"}, "no JSON object"),
        ('{"other": "sk-1234567"}', 0o600, {"file": "k", "name": "main"}, 'no text under "main"'),
    ],
)
def test_a_key_that_cannot_be_used_stops_the_start_without_being_shown(
    tmp_path: Path, content: str, mode: int, key: dict[str, str], words: str
) -> None:
    path = tmp_path / "k"
    path.write_text(content)
    path.chmod(mode)
    prices = provider_prices.parse(PRICES, "prices.toml")
    asking = Asking("openai", "http://127.0.0.1:9/v1", "small-4", key, prices, PRICES)
    options = {"timeout_s": 5.0, "retries": 0, "connections": 1, "max_tokens": 6, "max_tokens_word": "max_tokens"}
    with pytest.raises(ServeError, match=words) as caught:
        create_upstream_app(UpstreamModel((asking,), options, name="x"), UpstreamServeOptions(), Notes(), (tmp_path,))
    assert "1234567" not in str(caught.value)


def test_a_provider_whose_certificate_nobody_vouches_for_is_not_told_our_key(tmp_path: Path) -> None:
    """TLS is verified: a certificate of one's own making is as good as nobody there."""
    pytest.importorskip("cryptography")
    heard: list[bytes] = []

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(100))
        writer.close()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    started = asyncio.start_server(client, "127.0.0.1", 0, ssl=self_signed(tmp_path))
    listening = asyncio.run_coroutine_threadsafe(started, loop).result(10)
    model = model_of([Provider(port=listening.sockets[0].getsockname()[1])], tmp_path)
    asking = replace(model.providers[0], address=model.providers[0].address.replace("http:", "https:"))
    with serving(replace(model, providers=(asking,)), tmp_path) as served:
        with pytest.raises(openai.APIStatusError):
            served.chat()
        assert served.gate.lost() == [] and heard == []
    loop.call_soon_threadsafe(listening.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def self_signed(folder: Path) -> ssl.SSLContext:
    """For 127.0.0.1, by itself."""
    import ipaddress
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = made.add_extension(names, False).sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "server.pem").write_bytes(pem + signed.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context
