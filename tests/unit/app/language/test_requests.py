"""What a client can do wrong, and what it is told: always below 500, always in OpenAI's form, nothing hangs."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from lode.app.contracts import Asked, Caller, Gate, Hold, Kept, Usage
from lode.app.language.chat import read_chat
from lode.app.language.fields import Fields
from lode.app.language.pieces import Pieces
from lode.app.language.prepare import Preparer
from lode.app.options import LanguageServeOptions
from lode.core.errors import ServeError
from lode.testing.shop import Shop
from tests.unit.app.language.fakes import CRASH, NAN, FakeModel

CHAT, COMPLETE, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
HI = [{"role": "user", "content": "say:hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def post(talk: Any, path: str, body: Any, **rest: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else orjson.dumps({"model": "toy", **body})
    return talk(lambda client, desk: client.post(path, content=content, headers={"content-type": "application/json"}), **rest)


async def _until(condition: Callable[[], object]) -> None:
    """A deadline: a test that waits for what never comes must fail, not hang."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


def error_of(response: httpx.Response) -> dict[str, Any]:
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


WRONG: list[tuple[str, Any, str, str]] = [
    (CHAT, {}, "messages", "found none"),
    (CHAT, {"messages": []}, "messages", "found none"),
    (CHAT, {"messages": "hi"}, "messages", "a list"),
    (CHAT, {"messages": [5]}, "messages[0]", "an object"),
    (CHAT, {"messages": [{"content": "x"}]}, "messages[0].role", "system"),
    (CHAT, {"messages": [{"role": "usr", "content": "x"}]}, "messages[0].role", 'Did you mean "user"?'),
    (CHAT, {"messages": [{"role": "user"}]}, "messages[0].content", "a text"),
    (CHAT, {"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "a text"),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages[0].content[0]", "reads text"),
    (CHAT, {"messages": [{"role": "user", "content": "x", "tool_calls": [{}]}]}, "messages[0].tool_calls", "assistant"),
    (CHAT, {"messages": HI, "temprature": 1}, "temprature", 'Did you mean "temperature"?'),
    (CHAT, {"messages": HI, "temperature": "hot"}, "temperature", "a number from 0 to 2"),
    (CHAT, {"messages": HI, "temperature": 2.1}, "temperature", "2.1"),
    (CHAT, {"messages": HI, "temperature": True}, "temperature", "the boolean true"),
    (CHAT, {"messages": HI, "top_p": -0.1}, "top_p", "from 0 to 1"),
    (CHAT, {"messages": HI, "max_tokens": 0}, "max_tokens", "from 1"),
    (CHAT, {"messages": HI, "max_tokens": -1}, "max_tokens", "from 1"),
    (CHAT, {"messages": HI, "max_tokens": 1.5}, "max_tokens", "a whole number"),
    (CHAT, {"messages": HI, "max_tokens": 10**9}, "messages", "the model's context has 4,096"),
    (CHAT, {"messages": HI, "max_tokens": 10**18}, "max_tokens", "a whole number"),
    (CHAT, {"messages": HI, "max_tokens": 5, "max_completion_tokens": 6}, "max_tokens", "one of the two"),
    (CHAT, {"messages": HI, "n": 0}, "n", "from 1 to 288"),
    (CHAT, {"messages": HI, "n": 10**12}, "n", "from 1 to 288"),
    (CHAT, {"messages": HI, "stop": [""]}, "stop", "1 to 256 characters"),
    (CHAT, {"messages": HI, "stop": ["x"] * 1000}, "stop", "1,000 of them"),
    (CHAT, {"messages": HI, "stop": [1]}, "stop", "a text"),
    (CHAT, {"messages": HI, "logit_bias": {"x": 1}}, "logit_bias", "token ids"),
    (CHAT, {"messages": HI, "logit_bias": {"999999": 1}}, "logit_bias", "token ids"),
    (CHAT, {"messages": HI, "logit_bias": {"1": 101}}, "logit_bias.1", "from -100 to 100"),
    (CHAT, {"messages": HI, "logprobs": 5}, "logprobs", "true or false"),
    (CHAT, {"messages": HI, "top_logprobs": 2}, "top_logprobs", "with logprobs: true"),
    (CHAT, {"messages": HI, "logprobs": True, "top_logprobs": 21}, "top_logprobs", "from 0 to 20"),
    (CHAT, {"messages": HI, "stream": 1}, "stream", "true or false"),
    (CHAT, {"messages": HI, "stream_options": {"include_usage": True}}, "stream_options", "with stream: true"),
    (CHAT, {"messages": HI, "stream": True, "stream_options": {"usage": 1}}, "stream_options.usage", "include_usage"),
    (CHAT, {"messages": HI, "functions": []}, "functions", "use tools"),
    (CHAT, {"messages": HI, "reasoning_effort": "high"}, "reasoning_effort", "not supported"),
    (CHAT, {"messages": HI, "store": True}, "store", "nothing is stored"),
    (CHAT, {"messages": HI, "echo": True}, "echo", "not supported"),
    (CHAT, {"messages": HI, "tool_choice": "required"}, "tool_choice", "tools"),
    (CHAT, {"messages": HI, "tools": [TOOL, TOOL]}, "tools[1].function.name", "a second time"),
    (CHAT, {"messages": HI, "tools": [{"type": "function"}]}, "tools[0].function", "with its name"),
    (CHAT, {"messages": HI, "tools": [{"function": {"name": "a b"}}]}, "tools[0].function.name", "letters"),
    (CHAT, {"messages": HI, "tools": [TOOL], "tool_choice": "f"}, "tool_choice", "none, auto, required"),
    (CHAT, {"messages": HI, "tools": [TOOL], "tool_choice": {"function": {"name": "g"}}}, "tool_choice.function.name", '"g"'),
    (CHAT, {"messages": HI, "tools": [TOOL], "response_format": {"type": "json_object"}}, "response_format", "beside tools"),
    (CHAT, {"messages": HI, "response_format": {"type": "xml"}}, "response_format.type", "json_schema"),
    (CHAT, {"messages": HI, "response_format": {"type": "json_schema"}}, "response_format.json_schema", "schema"),
    (CHAT, {"messages": HI, "guided_json": {"type": "objekt"}}, "guided_json", "Invalid type: objekt"),
    (CHAT, {"messages": HI, "guided_json": "{"}, "guided_json", "no JSON"),
    (CHAT, {"messages": HI, "guided_json": {"$ref": "#/nowhere"}}, "guided_json", "nowhere"),
    (CHAT, {"messages": HI, "guided_json": {"enum": ["x" * 70_000]}}, "guided_json", "bytes"),
    (CHAT, {"messages": HI, "guided_regex": "(["}, "guided_regex", "unclosed"),
    (CHAT, {"messages": HI, "guided_choice": []}, "guided_choice", "not empty"),
    (CHAT, {"messages": HI, "guided_regex": "a", "guided_choice": ["a"]}, "guided_choice", "beside guided_regex"),
    (CHAT, {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]}, "messages", "no JSON"),
    (COMPLETE, {}, "prompt", "nothing"),
    (COMPLETE, {"prompt": []}, "prompt", "a list of 0"),
    (COMPLETE, {"prompt": [[]]}, "prompt[0]", "a list of 0"),
    (COMPLETE, {"prompt": [1, 10**6]}, "prompt", "token ids from 0"),
    (COMPLETE, {"prompt": [1, -1]}, "prompt", "token ids from 0"),
    (COMPLETE, {"prompt": ["x"] * 300}, "n", "continuations in all"),
    (COMPLETE, {"prompt": "x", "suffix": "y"}, "suffix", "not supported"),
    (COMPLETE, {"prompt": "x", "best_of": 3}, "best_of", "not supported"),
    (COMPLETE, {"prompt": "x", "echo": True, "logprobs": 1}, "echo", "not supported with logprobs"),
    (COMPLETE, {"prompt": "x", "messages": HI}, "messages", "unknown key"),
    (COMPLETE, {"prompt": "x" * 5000}, "prompt", "found 5,000 tokens in the prompt and 16 for the answer"),
    (COMPLETE, {"prompt": "x" * 1_000_000}, "prompt", "the model's context has 4,096"),
    (COMPLETE, {"prompt": "x", "tools": [TOOL]}, "tools", "unknown key"),
    (EMBED, {}, "input", "nothing"),
    (EMBED, {"input": []}, "input", "an empty list"),
    (EMBED, {"input": ["a", ""]}, "input", "an empty text"),
    (EMBED, {"input": [1, 2]}, "input[0]", "token ids"),
    (EMBED, {"input": "x" * 5000}, "input", "5,000 tokens"),
    (EMBED, {"input": "x", "dimensions": 8}, "dimensions", "not supported"),
    (EMBED, {"input": "x", "encoding_format": "hex"}, "encoding_format", "base64"),
]  # fmt: skip


def test_each_wrong_request_is_a_400_that_names_its_key_and_what_is_allowed(talk: Any) -> None:
    pytest.importorskip("llguidance")

    async def conversation(client: httpx.AsyncClient, desk: Any) -> None:
        for path, body, param, words in WRONG:
            response = await client.post(path, json={"model": "toy", **body})
            error = error_of(response)
            assert (response.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param), (body, error)
            assert words in error["message"] and len(error["message"]) < 1000, error
        assert not desk.engine.open and desk.active == 0
        assert (await client.post(CHAT, json={"model": "toy", "messages": HI})).status_code == 200

    talk(conversation)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b'{"model": "toy", "messages": [', "not JSON"),
        (b'{"model": "toy", "prompt": "\xff\xfe"}', "UTF-8"),
        (b'{"model": "toy", "prompt": "\\ud800"}', "not JSON"),
        (b'{"model": "toy", "temperature": NaN}', "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b'{"model": "toy", "metadata": ' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}", "levels deep"),
        (b"[]", "a JSON object"),
        (b"{}", "Name one of GET /v1/models"),
    ],
)
def test_bodies_that_cannot_be_read_are_the_clients_fault(talk: Any, body: bytes, words: str) -> None:
    for path in (CHAT, COMPLETE, EMBED):
        response = post(talk, path, body)
        assert response.status_code == 400
        assert words in error_of(response)["message"]


def test_unknown_models_and_paths_are_404_with_the_near_miss(talk: Any) -> None:
    response = post(talk, CHAT, {"model": "tyo", "messages": HI})
    assert response.status_code == 404 and error_of(response)["code"] == "model_not_found"
    assert 'Did you mean "toy"?' in error_of(response)["message"]
    missing = talk(lambda client, desk: client.get("/v1/models/tyo"))
    assert missing.status_code == 404 and 'Did you mean "/v1/models/toy"?' in error_of(missing)["message"]
    assert error_of(talk(lambda client, desk: client.get(CHAT)))["code"] == "bad_method"


def test_who_has_no_key_is_told_so_and_too_large_or_odd_bodies_are_refused(talk: Any, tmp_path: Path) -> None:
    for path in (CHAT, COMPLETE, EMBED):
        response = post(talk, path, {}, gate=Shop(tmp_path).gate())
        assert response.status_code == 401 and error_of(response)["code"] == "invalid_api_key"
    large = post(talk, CHAT, {"messages": HI}, options=LanguageServeOptions(max_body_bytes=20))
    assert large.status_code == 413 and error_of(large)["code"] == "too_large"
    odd = talk(lambda client, desk: client.post(CHAT, content=b"x", headers={"content-type": "text/plain"}))
    assert odd.status_code == 415 and error_of(odd)["type"] == "invalid_request_error"


def test_a_model_without_a_template_cannot_chat_and_one_without_a_place_for_tools_gets_none(talk: Any) -> None:
    response = post(talk, CHAT, {"messages": HI}, model=FakeModel(template=False))
    assert response.status_code == 400 and "Use /v1/completions" in error_of(response)["message"]
    model = FakeModel()
    model.tokenizer.template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    response = post(talk, CHAT, {"messages": HI, "tools": [TOOL]}, model=model)
    assert response.status_code == 400 and "no place" in error_of(response)["message"]
    model.tokenizer.template = "{{ raise_exception('roles must alternate') }}"
    response = post(talk, CHAT, {"messages": HI}, model=model)
    assert response.status_code == 400 and "roles must alternate" in error_of(response)["message"]


def test_nan_logits_cost_one_request_and_say_whose_fault_it_is(talk: Any) -> None:
    async def conversation(client: httpx.AsyncClient, desk: Any) -> None:
        bodies = [{"model": "toy", "messages": [{"role": "user", "content": text}]} for text in ("say:one", NAN, "say:two")]
        answers = await asyncio.gather(*(client.post(CHAT, json=body) for body in bodies))
        assert [answer.status_code for answer in answers] == [200, 500, 200]
        error = error_of(answers[1])
        assert (error["type"], error["code"]) == ("server_error", "model_failed") and "NaN" in error["message"]
        broken = await client.post(CHAT, json=bodies[1] | {"stream": True})
        assert broken.status_code == 500  # before the first chunk there is a status to say it with

    talk(conversation)


def test_an_engine_that_fails_ends_every_request_with_an_error_and_is_not_ready_any_more(
    talk: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def conversation(client: httpx.AsyncClient, desk: Any) -> None:
        assert (await client.get("/health/live")).status_code == (await client.get("/health/ready")).status_code == 200
        slow = {"model": "toy", "messages": [{"role": "user", "content": "say:" + "x" * 3000}]}
        crash = {"model": "toy", "prompt": CRASH}
        desk.engine.gate.clear()
        tasks = [asyncio.create_task(client.post(CHAT, json=slow | {"stream": stream})) for stream in (False, True)]
        # Only the first is sure to be in the engine: its step holds the thread that would take the second.
        await _until(lambda: desk.active == 2 and desk.engine.open)
        work = asyncio.create_task(client.post(EMBED, json={"model": "toy", "input": "x"}))
        tasks.append(asyncio.create_task(client.post(COMPLETE, json=crash)))
        await _until(lambda: desk.active == 4)
        desk.engine.gate.set()
        for answer in await asyncio.gather(*tasks):
            assert answer.status_code == 503 or '"code":"engine_failed"' in answer.text
            assert "[DONE]" not in answer.text
        await work
        assert (await client.get("/health/live")).status_code == (await client.get("/health/ready")).status_code == 503
        after = await client.post(CHAT, json=slow)
        assert after.status_code == 503 and error_of(after)["code"] == "engine_failed"

    with caplog.at_level(logging.CRITICAL):
        talk(conversation)
    assert "the engine crashed" in caplog.text


def test_usage_is_settled_once_for_each_request_with_its_tokens_however_it_ends(talk: Any) -> None:
    noted: list[Usage] = []
    wanted: list[Asked] = []
    released: list[Hold] = []

    class Notes(Gate):
        async def authorize(self, headers: Mapping[bytes, bytes], scope: str = "predict") -> Caller:
            return Caller("tenant")

        async def reserve(self, caller: Caller, asked: Asked) -> Hold:
            wanted.append(asked)
            return Hold(caller, asked)

        async def settle(self, hold: Hold, usage: Usage, kept: Kept | None = None) -> Kept | None:
            noted.append(usage)
            return None

        def release(self, hold: Hold) -> None:
            released.append(hold)

    async def conversation(client: httpx.AsyncClient, desk: Any) -> None:
        for body in ({}, {"stream": True}, {"n": 3}, {"max_tokens": 0}):
            await client.post(CHAT, json={"model": "toy", "messages": HI, **body})
        await client.post(EMBED, json={"model": "toy", "input": ["abc", "de"]})
        assert desk.engine.salts == {"tenant"}

    talk(conversation, gate=Notes())
    assert [usage.status for usage in noted] == [200] * 4  # the fourth was refused when its body was read
    units = [usage.units for usage in noted]
    assert [found.get("output_tokens", 0) for found in units] == [2, 2, 6, 0]
    assert [found["input_tokens"] for found in units] == [units[0]["input_tokens"]] * 3 + [5]
    assert units[0]["input_tokens"] > 5 and units[0]["cached_tokens"] == units[0]["input_tokens"] // 2
    assert len({usage.request_id for usage in noted}) == 4 and all(found["answer_bytes"] > 0 for found in units[:3])
    for asked, found in zip(wanted, units, strict=True):
        assert all(found.get(name, 0) <= most for name, most in asked.most.items())
    assert {id(hold) for hold in released} and len({id(hold.asked) for hold in released}) == 4


def test_deadlines_are_504_before_the_first_token_and_an_error_in_the_stream_after_it(talk: Any) -> None:
    async def conversation(client: httpx.AsyncClient, desk: Any) -> None:
        desk.engine.gate.clear()
        late = await client.post(CHAT, json={"model": "toy", "messages": HI})
        assert late.status_code == 504 and "no token within 0.05 s" in error_of(late)["message"]
        desk.engine.gate.set()
        await _until(lambda: not desk.engine.open)

    talk(conversation, options=LanguageServeOptions(timeout_s=0.05))

    async def endless(client: httpx.AsyncClient, desk: Any) -> None:
        body = {"model": "toy", "messages": [{"role": "user", "content": "say:" + "x" * 3000}], "stream": True}
        text = (await client.post(CHAT, json=body)).text
        assert '"content":"x"' in text and '"code":"timeout"' in text and "[DONE]" not in text
        await _until(lambda: not desk.engine.open)

    talk(endless, options=LanguageServeOptions(answer_s=0.01))


@pytest.mark.parametrize(("name", "words"), [("toy", "the model itself"), ("a/b", "letters, digits"), ("", "letters, digits")])
def test_an_adapter_needs_a_name_of_its_own(talk: Any, name: str, words: str) -> None:
    with pytest.raises(ServeError, match=words):
        post(talk, CHAT, {}, options=LanguageServeOptions(adapters={name: "x"}))  # type: ignore[dict-item]


def test_a_server_without_the_grammar_package_says_how_to_install_it(talk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    monkeypatch.delitem(sys.modules, "lode.app.language.grammar", raising=False)
    response = post(talk, CHAT, {"messages": HI, "guided_regex": "a"})
    assert response.status_code == 400 and 'pip install "lodeml[grammar]"' in error_of(response)["message"]


def test_long_tools_are_cut_into_tokens_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    model, threads = FakeModel(), list[int]()

    def prompt(*given: Any) -> list[int]:
        threads.append(threading.get_ident())
        return [1]

    monkeypatch.setattr("lode.app.language.prepare.chat.prompt", prompt)
    preparer = Preparer(model, Pieces(model.tokenizer), ())
    for description in ("short", "long " * 10_000):
        tool = {"type": "function", "function": {"name": "f", "description": description}}
        fields = Fields({"model": model.name, "messages": HI, "tools": [tool]})
        asyncio.run(preparer.requests(read_chat(fields, model.tokenizer.size, 1), "id", ""))
    assert threads[0] == threading.get_ident() != threads[1]
