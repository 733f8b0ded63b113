"""What clients and providers send to do harm: bodies that can be read and not written, ceilings that nobody obeys, keys in errors."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from lode.app.contracts import RequestError
from lode.app.upstream import calls
from lode.app.upstream.counting import Counted
from lode.app.upstream.errors import passed_on
from lode.app.upstream.events import Events, written
from lode.app.upstream.failure import TryError

DEEP = b"[" * 300 + b"1" + b"]" * 300
SECRET = "sk-of-the-provider-0123456789"
BODIES: list[tuple[calls.Read, dict[str, Any]]] = [
    (calls.read_chat, {"model": "m", "messages": [{"role": "user", "content": "@"}]}),
    (calls.read_completion, {"model": "m", "prompt": "a", "stop": "@"}),
    (calls.read_embeddings, {"model": "m", "input": ["@"]}),
    (calls.read_rows, {"inputs": [{"name": "x", "shape": [1], "data": "@"}]}),
]


@pytest.mark.parametrize(("read", "body"), BODIES)
def test_what_is_nested_too_deeply_is_the_clients_mistake(read: calls.Read, body: dict[str, Any]) -> None:
    text = orjson.dumps(body)
    assert read(text, "m", 16, "max_tokens").body("p")
    with pytest.raises(RequestError) as caught:
        read(text.replace(b'"@"', DEEP), "m", 16, "max_tokens")
    assert caught.value.status == 400
    wide = read(text.replace(b'"@"', b"[" + b"[1]," * 2000 + b"[1]]"), "m", 16, "max_tokens")
    assert wide.body("p")


@pytest.mark.parametrize("shape", [[[[]]], [{}], ["1"], [True], [1.0], [None], [], {}, 1, None, [0]])
def test_a_shape_that_is_none_is_the_clients_mistake(shape: Any) -> None:
    body = orjson.dumps({"inputs": [{"name": "x", "shape": shape, "data": [1]}]})
    with pytest.raises(RequestError, match=r"inputs\.shape"):
        calls.read_rows(body, "m", 16, "max_tokens")


@pytest.mark.parametrize("word", ["max_tokens", "max_completion_tokens"])
def test_the_ceiling_goes_out_under_the_word_that_the_provider_obeys(word: str) -> None:
    for given in (
        {"max_completion_tokens": 7},
        {"max_tokens": 7},
        {"max_tokens": 7, "max_completion_tokens": 3},
        {"max_tokens": None},
    ):
        body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], **given})
        call = calls.read_chat(body, "m", 7, word)
        sent = orjson.loads(call.body("p"))
        assert call.output_most == 7 and {key: sent[key] for key in sent if key.startswith("max_")} == {word: 7}


def test_no_part_of_the_key_is_left_where_a_message_is_cut() -> None:
    for before in range(1960, 2005):
        text = orjson.dumps({"error": {"message": "x" * before + SECRET, "param": "p" * 80 + SECRET, "code": "c" * 90 + SECRET}})
        failure = passed_on[400](text, SECRET, "theirs", "ours")
        assert "sk-of" not in f"{failure.message}{failure.param}{failure.type}" and len(failure.message) <= 2000


class Said:
    """A response whose body is this, a piece at a time."""

    def __init__(self, *pieces: bytes):
        self.content, self._pieces = self, iter(pieces)

    async def readany(self) -> bytes:
        return next(self._pieces, b"")


def test_a_provider_that_nests_deeply_fails_and_not_we() -> None:
    call = calls.read_chat(orjson.dumps(BODIES[0][1]), "m", 16, "max_tokens")
    said: Any = Said(b'data: {"choices": [{"index": 0, "delta": {"content": ' + DEEP + b"}}]}\n\n")
    with pytest.raises(TryError, match="nested"):
        asyncio.run(Events(said, call, 1 << 20).some())
    with pytest.raises(TryError, match="nested"):
        written(orjson.loads(b'{"choices": ' + DEEP + b"}"), Counted())
