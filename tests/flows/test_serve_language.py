"""A language model over HTTP, as OpenAI's own Python client sees it: on a socket, on the real engine, with random weights."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette

from lode.app.language.service import create_language_app
from lode.app.listening import Server as _Server
from lode.app.options import LanguageServeOptions
from lode.app.service import listen
from lode.testing.shop import Shop
from tests.flows.toy import Toy, write_adapter

openai = pytest.importorskip("openai")
pytest.importorskip("llguidance")

KEY = "a-key-of-the-tests-that-is-long-enough"
NO_MARKS = {str(token): -100 for token in Toy().tokenizer.special.values()}
"""Random weights write special tokens as often as letters, and those are no text."""
MESSAGES: Any = [{"role": "user", "content": "Tell me."}]
SCHEMA = {
    "type": "object",
    "properties": {
        "ok": {"type": "boolean"},
        "size": {"enum": ["small", "large"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["ok", "size", "count"],
    "additionalProperties": False,
}
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"city": {"$ref": "#/$defs/city"}},
                "required": ["city"],
                "additionalProperties": False,
                "$defs": {"city": {"enum": ["Bonn", "Li<ma>"]}},
            },
        },
    }
    for name in ("weather", "time")
]


class Served:
    """A server in a thread of this process, so that a test can look at its engine."""

    def __init__(self, app: Starlette, url: str, toy: Toy, server: _Server):
        self.server = server
        self.desk, self.url, self.engine = app.state.service, url, toy.made[-1]
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=60)

    def idle(self) -> None:
        """Wait until nothing is generated any more, then hold the engine's own books against what they must be."""
        until(lambda: not self.engine.has_work and self.desk.active == 0)
        facts = self.engine.facts()
        assert (facts.running, facts.waiting, facts.pages_held) == (0, 0, 0)
        self.engine.check()


@contextmanager
def serving(toy: Toy | None = None, **options: Any) -> Iterator[Served]:
    model, given = toy or Toy(), LanguageServeOptions(port=0, cache=8_000_000, **options)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder, listen(given) as listener:
        shop = Shop(Path(folder))
        shop.customer(kind="own")
        shop.key(text=KEY)
        app = create_language_app(model, given, shop.gate("toy"))
        server = _Server(app, given)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            until(lambda: server.started)
            yield Served(app, url, model, server)
        finally:
            server.should_exit = True
            thread.join(30)
    assert not thread.is_alive()


def until(condition: Callable[[], Any], limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("adapters")
    adapters = {name: str(write_adapter(folder / name, seed)) for seed, name in enumerate(("formal", "brief"))}
    with serving(Toy(context=1024), adapters=adapters, max_sequences=16, max_waiting=64) as found:
        yield found


def chat(served: Served, **more: Any) -> Any:
    return served.client.chat.completions.create(**{"model": "toy", "messages": MESSAGES, "max_tokens": 12, "seed": 1, **more})


def folded(stream: Any) -> dict[str, Any]:
    """What a stream says in all."""
    found: dict[str, Any] = {"text": "", "reason": None, "usage": None, "logprobs": [], "calls": [], "roles": 0}
    for chunk in stream:
        found["usage"] = chunk.usage or found["usage"]
        for choice in chunk.choices:
            found["roles"] += choice.delta.role == "assistant"
            found["text"] += choice.delta.content or ""
            found["reason"] = choice.finish_reason or found["reason"]
            found["logprobs"] += choice.logprobs.content if choice.logprobs else []
            for call in choice.delta.tool_calls or []:
                if call.id:
                    assert call.index == len(found["calls"])
                    found["calls"].append([call.function.name, ""])
                found["calls"][call.index][1] += call.function.arguments or ""
    return found


def test_a_chat_and_its_stream_are_the_same_answer_with_exact_usage(served: Served) -> None:
    whole = chat(served, logprobs=True, top_logprobs=3)
    stream = folded(chat(served, logprobs=True, top_logprobs=3, stream=True, stream_options={"include_usage": True}))
    choice = whole.choices[0]
    assert (choice.message.content, choice.finish_reason) == (stream["text"], stream["reason"])
    assert choice.message.role == "assistant" and stream["roles"] == 1
    assert whole.model == "toy" and whole.object == "chat.completion" and whole.id.startswith("chatcmpl-")
    prompt = "<|im_start|>user\nTell me.<|im_end|>\n<|im_start|>assistant\n"
    assert whole.usage.prompt_tokens == len(re.sub(r"<\|\w+\|>", "!", prompt))
    assert whole.usage.completion_tokens == 12 == len(choice.message.content)
    assert stream["usage"].to_dict() | {"prompt_tokens_details": None} == whole.usage.to_dict() | {"prompt_tokens_details": None}
    assert stream["usage"].prompt_tokens_details.cached_tokens in (0, 16)
    entries = choice.logprobs.content
    assert "".join(entry.token for entry in entries) == choice.message.content
    assert [entry.token for entry in entries] == [entry.token for entry in stream["logprobs"]]
    # What was in the cache is the same numbers, but in products of another shape.
    assert np.allclose([entry.logprob for entry in entries], [entry.logprob for entry in stream["logprobs"]], atol=1e-4)
    assert all(len(entry.top_logprobs) == 3 and bytes(entry.bytes).decode() == entry.token for entry in entries)
    assert entries[0].top_logprobs[0].logprob >= entries[0].top_logprobs[1].logprob


def test_a_prefix_that_was_seen_comes_from_the_cache_and_is_counted(served: Served) -> None:
    messages = [{"role": "user", "content": "the same long beginning " * 4}]
    first, second = (chat(served, messages=messages, max_tokens=2, temperature=0) for _ in range(2))
    assert first.usage.prompt_tokens_details.cached_tokens == 0
    assert 16 <= second.usage.prompt_tokens_details.cached_tokens < second.usage.prompt_tokens
    assert first.choices[0].message.content == second.choices[0].message.content


def test_the_same_seed_gives_the_same_choices_and_each_choice_is_its_own(served: Served) -> None:
    one, two = (chat(served, n=4, seed=7) for _ in range(2))
    texts = [choice.message.content for choice in one.choices]
    assert [choice.index for choice in one.choices] == [0, 1, 2, 3]
    assert texts == [choice.message.content for choice in two.choices]
    assert len(set(texts)) == 4
    assert chat(served, seed=7).choices[0].message.content == texts[0]
    assert chat(served, seed=8).choices[0].message.content != texts[0]
    assert one.usage.completion_tokens == 48 and one.usage.prompt_tokens == chat(served).usage.prompt_tokens


def test_completions_go_on_from_texts_and_from_tokens(served: Served) -> None:
    create = functools.partial(served.client.completions.create, logit_bias=NO_MARKS)
    tokens = [int(token) for token in Toy().tokenizer.encode(["once"])[0]]
    texts = create(model="toy", prompt=["once", "twice"], max_tokens=6, temperature=0, logprobs=2)
    same = create(model="toy", prompt=tokens, max_tokens=6, temperature=0, echo=False)
    assert [choice.index for choice in texts.choices] == [0, 1]
    assert texts.choices[0].text == same.choices[0].text
    facts = texts.choices[0].logprobs
    assert "".join(facts.tokens) == texts.choices[0].text and facts.text_offset == [0, 1, 2, 3, 4, 5]
    assert all(2 <= len(entry) <= 3 and token in entry for entry, token in zip(facts.top_logprobs, facts.tokens, strict=True))
    assert texts.usage.prompt_tokens == 9 and texts.usage.completion_tokens == 12
    echoed = create(model="toy", prompt="once", max_tokens=6, temperature=0, echo=True)
    assert echoed.choices[0].text == "once" + same.choices[0].text
    stream = create(model="toy", prompt="once", max_tokens=6, temperature=0, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == same.choices[0].text


def test_stop_bias_and_penalties_do_what_they_say(served: Served) -> None:
    plain = chat(served, temperature=0, max_tokens=30).choices[0]
    stop = plain.message.content[10:12]
    cut = chat(served, temperature=0, max_tokens=30, stop=[stop, "never"])
    assert cut.choices[0].message.content == plain.message.content.partition(stop)[0]
    assert cut.choices[0].finish_reason == "stop"
    token = int(Toy().tokenizer.encode(["Z"])[0][0])
    assert chat(served, logit_bias={str(token): 100}).choices[0].message.content == "Z" * 12
    assert "Z" not in chat(served, logit_bias={str(token): -100}, max_tokens=100).choices[0].message.content
    some = chat(served, frequency_penalty=2, presence_penalty=2, extra_body={"top_k": 5, "min_p": 0.01, "repetition_penalty": 1.3})
    assert some.usage.completion_tokens == 12


def test_answers_are_held_to_a_schema(served: Served) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    for seed in range(4):
        answer = chat(served, response_format=form, max_tokens=100, seed=seed).choices[0]
        found = json.loads(answer.message.content)
        assert answer.finish_reason == "stop" and found.keys() == {"ok", "size", "count"}
        assert isinstance(found["ok"], bool) and found["size"] in ("small", "large") and 0 <= found["count"] <= 9
    stream = folded(chat(served, response_format=form, max_tokens=100, seed=3, stream=True))
    assert stream["text"] == answer.message.content
    whatever = chat(served, response_format={"type": "json_object"}, max_tokens=60)
    assert whatever.choices[0].message.content.startswith("{")
    assert chat(served, extra_body={"guided_regex": "[0-9]{3}-[a-c]"}, max_tokens=60).choices[0].message.content[3] == "-"
    assert chat(served, extra_body={"guided_choice": ["yes", "no"]}, max_tokens=60).choices[0].message.content in ("yes", "no")
    guided = served.client.completions.create(model="toy", prompt="x", max_tokens=60, extra_body={"guided_json": SCHEMA})
    assert json.loads(guided.choices[0].text).keys() == {"ok", "size", "count"}


def test_forced_tools_are_called_with_arguments_of_their_schema_also_in_a_stream(served: Served) -> None:
    named: Any = {"type": "function", "function": {"name": "time"}}
    choice = chat(served, tools=TOOLS, tool_choice=named, max_tokens=200).choices[0]
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    assert call.function.name == "time" and json.loads(call.function.arguments)["city"] in ("Bonn", "Li<ma>")
    more = {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 200}
    whole = chat(served, **more).choices[0].message.tool_calls
    stream = folded(chat(served, stream=True, **more))
    assert [[item.function.name, item.function.arguments] for item in whole] == stream["calls"]
    assert stream["reason"] == "tool_calls" and len(whole) == 1
    # A conversation goes on with the calls and what came of them.
    said = [
        *MESSAGES,
        {"role": "assistant", "tool_calls": [call.to_dict()]},
        {"role": "tool", "tool_call_id": call.id, "content": "8"},
    ]
    assert chat(served, messages=said, tools=TOOLS).usage.completion_tokens > 0


def test_embeddings_have_length_1_and_do_not_depend_on_their_neighbours(served: Served) -> None:
    texts = [f"text number {number}" for number in range(20)]
    found = served.client.embeddings.create(model="toy", input=texts)
    vectors = np.array([item.embedding for item in found.data])
    assert vectors.shape == (20, 32) and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    alone = served.client.embeddings.create(model="toy", input=texts[7], encoding_format="float").data[0].embedding
    assert np.allclose(alone, vectors[7], atol=1e-5)
    assert found.usage.prompt_tokens == found.usage.total_tokens == sum(map(len, texts))


def test_adapters_are_models_and_answer_differently_at_the_same_time(served: Served) -> None:
    names = [model.id for model in served.client.models.list()]
    assert names == ["toy", "formal", "brief"] and served.client.models.retrieve("formal").id == "formal"
    alone = [chat(served, model=name, temperature=0).choices[0].message.content for name in names]
    assert len(set(alone)) == 3

    async def together() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0, timeout=60) as client:
            asked = (client.chat.completions.create(model=name, messages=MESSAGES, max_tokens=12, temperature=0) for name in names)
            return [answer.choices[0].message.content for answer in await asyncio.gather(*asked)]

    assert asyncio.run(together()) == alone


def test_32_at_once_get_their_own_answers_and_leave_no_page_behind(served: Served) -> None:
    async def one(client: Any, number: int) -> tuple[int, int, str]:
        more = {"stream": True, "stream_options": {"include_usage": True}} if number % 2 else {}
        messages = [{"role": "user", "content": f"question {number % 8} " * (1 + number % 5)}]
        answer = await client.chat.completions.create(model="toy", messages=messages, max_tokens=5 + number, seed=number, **more)
        if not number % 2:
            return number, answer.usage.completion_tokens, answer.choices[0].finish_reason
        reason, used = "", 0
        async for chunk in answer:
            reason = (chunk.choices[0].finish_reason if chunk.choices else None) or reason
            used = chunk.usage.completion_tokens if chunk.usage else used
        return number, used, reason

    async def main() -> list[tuple[int, int, str]]:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0, timeout=60) as client:
            return await asyncio.gather(*(one(client, number) for number in range(32)))

    for number, used, reason in asyncio.run(main()):
        assert 0 < used <= 5 + number
        assert reason == "stop" or (reason == "length" and used == 5 + number)
    served.idle()
    metrics = httpx.get(f"{served.url}/metrics", headers={"authorization": f"Bearer {KEY}"}).text
    assert 'lode_cache_pages{state="held"} 0.0' in metrics and "lode_time_to_first_chunk_seconds_count" in metrics


def test_who_hangs_up_in_a_stream_or_while_waiting_frees_the_pages(served: Served) -> None:
    before = served.engine.facts().output_tokens
    stream = chat(served, stream=True, max_tokens=400, extra_body={"ignore_eos": True})
    for _, _chunk in zip(range(3), stream, strict=False):
        pass
    assert served.engine.facts().pages_held > 0
    stream.close()
    served.idle()
    with pytest.raises(openai.APITimeoutError):
        chat(served, max_tokens=450, timeout=0.05, extra_body={"ignore_eos": True})
    served.idle()
    # Nothing was generated for nobody up to the end.
    assert served.engine.facts().output_tokens - before < 850
    metrics = httpx.get(f"{served.url}/metrics", headers={"authorization": f"Bearer {KEY}"}).text
    assert 'lode_requests_total{route="/v1/chat/completions",status="499"} 2.0' in metrics


def test_a_client_that_reads_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lode.app.language.runner.MAX_PENDING", 50)
    with serving(Toy(context=4096), timeout_s=2.0) as served:
        # Much is sent for each token, and the client's buffer is small: so the server's is full soon.
        body = {"model": "toy", "prompt": "x", "max_tokens": 4000, "stream": True, "ignore_eos": True, "n": 16, "logprobs": 20}
        head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer {KEY}\r\n"
        sent = json.dumps(body).encode()
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", int(served.url.rpartition(":")[2])))
            connection.sendall(f"{head}content-length: {len(sent)}\r\n\r\n".encode() + sent)
            until(lambda: served.engine.facts().running == 16)
            served.idle()
            assert served.engine.facts().output_tokens < 16 * 4000


def test_errors_have_openais_form_and_the_clients_classes(served: Served) -> None:
    stranger = openai.OpenAI(base_url=f"{served.url}/v1", api_key="nobody", max_retries=0)
    with pytest.raises(openai.AuthenticationError) as caught:
        stranger.models.list()
    assert caught.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError, match='Did you mean "formal"') as unknown:
        chat(served, model="fromal")
    assert (unknown.value.param, unknown.value.code, unknown.value.type) == ("model", "model_not_found", "invalid_request_error")
    with pytest.raises(openai.NotFoundError, match="Did you mean"):
        served.client.models.retrieve("formel")
    with pytest.raises(openai.BadRequestError, match=r"found 4,0.. tokens in the prompt.*context has 1,024") as long:
        chat(served, messages=[{"role": "user", "content": "x" * 4000}])
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="for the answer"):
        chat(served, max_tokens=100_000)
    with pytest.raises(openai.BadRequestError, match="Invalid type: objekt"):
        chat(served, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "objekt"}}})
    with pytest.raises(openai.BadRequestError, match="1,000 of them"):
        chat(served, stop=[str(number) for number in range(1000)])


def test_weights_that_give_nan_cost_their_own_request_only() -> None:
    toy = Toy()
    toy.decoder.embed.weight.data[int(toy.tokenizer.encode(["\u6771"])[0][0])] = float("nan")
    with serving(toy) as served:
        good: list[Any] = []
        more = {"logit_bias": NO_MARKS | {str(int(toy.tokenizer.encode(["\u6771"])[0][0])): -100}, "max_tokens": 100}
        thread = threading.Thread(target=lambda: good.append(chat(served, **more)))
        thread.start()
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError, match="not finite") as caught:
                chat(served, messages=[{"role": "user", "content": "\u6771"}], stream=stream)
            assert caught.value.code == "model_failed"
        thread.join(60)
        assert good[0].usage.completion_tokens == 100
        served.idle()


def test_a_full_queue_is_a_429_that_says_when_to_come_again() -> None:
    with serving(max_sequences=1, max_waiting=1) as served:
        more = {"max_tokens": 400, "extra_body": {"ignore_eos": True}}
        found: list[Any] = []
        threads = [threading.Thread(target=lambda: found.append(chat(served, **more))) for _ in range(2)]
        for thread in threads:
            thread.start()
        until(lambda: served.engine.facts().running + served.engine.facts().waiting == 2)
        with pytest.raises(openai.RateLimitError) as caught:
            chat(served)
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
        for thread in threads:
            thread.join(60)
        with pytest.raises(openai.BadRequestError, match="1 to 2"):  # a full queue would have been said first
            chat(served, n=3)
        assert [answer.usage.completion_tokens for answer in found] == [400, 400]
        assert chat(served).choices[0].finish_reason == "length"


def long_stream(client: Any, max_tokens: int) -> Iterator[Any]:
    more = {"stream": True, "extra_body": {"ignore_eos": True}, "logit_bias": NO_MARKS}
    return iter(client.chat.completions.create(model="toy", messages=MESSAGES, max_tokens=max_tokens, seed=1, **more))


def test_a_server_that_is_told_to_stop_finishes_what_is_open() -> None:
    with serving() as served:
        stream = long_stream(served.client, 200)
        first = [next(stream) for _ in range(3)]
        served.server.handle_exit(signal.SIGTERM, None)
        assert httpx.get(f"{served.url}/health/ready").status_code == 503
        with pytest.raises(openai.APIStatusError, match="stopping"):
            next(long_stream(served.client, 2))
        done = folded([*first, *stream])
        assert done["reason"] == "length" and len(done["text"]) == 200


def test_when_the_time_to_finish_is_over_open_streams_end_with_an_error() -> None:
    with serving(Toy(context=4096), grace_s=0.1) as served:
        stream = long_stream(served.client, 4000)
        next(stream)
        served.server.handle_exit(signal.SIGTERM, None)
        with pytest.raises(openai.APIError, match="not complete"):
            list(stream)


PROGRAM = """
import torch
from lode.app.metering.open_gate import OpenGate
from lode.app.options import LanguageServeOptions
from lode.app.language.service import create_language_app
from lode.app.service import listen, run_app
from tests.flows.toy import Toy

torch.set_num_threads(1)
options = LanguageServeOptions(port=0, cache=64_000_000)
app = create_language_app(Toy(context=4096), options, OpenGate())
with listen(options) as listener:
    print(listener.getsockname()[1], flush=True)
    run_app(app, options, listener)
"""


@contextmanager
def process() -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """The toy in a process of its own, and a client."""
    started = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    try:
        assert started.stdout is not None
        port = started.stdout.readline().strip()
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="x", max_retries=0, timeout=60)
        yield started, client
    finally:
        started.kill()
        started.communicate()


def test_kill_9_breaks_off_every_answer_for_its_client_to_see_and_the_next_start_serves() -> None:
    with process() as (started, client):
        stream = long_stream(client, 4000)
        whole: list[Any] = []
        alone = threading.Thread(target=lambda: whole.append(_caught(client)))
        alone.start()
        seen = [next(stream) for _ in range(5)]
        started.kill()
        broken = pytest.raises(Exception, match=r"closed|reset|incomplete|disconnected|Connection error")
        with broken as caught:
            seen += list(stream)
        alone.join(30)
        assert isinstance(whole[0], openai.APIConnectionError)
        assert type(caught.value).__module__.partition(".")[0] in ("openai", "httpx", "httpx2")
        assert all(choice.finish_reason is None for chunk in seen for choice in chunk.choices)
    with process() as (_, client):
        again = folded(long_stream(client, 300))
        assert again["reason"] == "length"
        assert again["text"].startswith("".join(chunk.choices[0].delta.content or "" for chunk in seen)[:300])


def _caught(client: Any) -> Any:
    try:
        return client.chat.completions.create(model="toy", messages=MESSAGES, max_tokens=4000, extra_body={"ignore_eos": True})
    except openai.OpenAIError as error:
        return error
