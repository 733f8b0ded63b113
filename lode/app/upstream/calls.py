"""What a client asks, read as far as money needs it: which keys, how long an answer may become, how many rows. The rest goes through.

Keys are a closed list: what is not in it might cost what nobody reserved (a dearer service tier, a search of the web).
OpenAI's words: https://platform.openai.com/docs/api-reference/chat/create.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from lode.app.contracts import RequestError
from lode.app.upstream.counting import text_bytes
from lode.core.errors import listed, near_miss

_SAMPLING = (
    *("temperature", "top_p", "top_k", "min_p", "n", "stop", "seed", "presence_penalty", "frequency_penalty", "repetition_penalty"),
    *("logit_bias", "logprobs", "stream", "stream_options", "user", "max_tokens", "model"),
)
CHAT = (
    *("messages", "max_completion_tokens", "top_logprobs", "response_format", "tools", "tool_choice", "parallel_tool_calls"),
    *("reasoning_effort", "verbosity", *_SAMPLING),
)
COMPLETIONS = ("prompt", "best_of", "echo", "suffix", *_SAMPLING)
EMBEDDINGS = ("input", "encoding_format", "dimensions", "user", "model")

_LIMITS = ("max_tokens", "max_completion_tokens")
_MAX_TOKENS = 10**7
_MAX_CHOICES = 128
_MAX_ROWS = 10**7
_PART_TOKENS = 20_000
"""Most tokens that a picture, a recording or a file in a message is taken for: their bytes say nothing of it."""
_EXTRA_TOKENS = 256
"""What a provider puts around messages, beyond their own bytes."""
_FREE_PARTS = ("text", "refusal")
_MAX_DEPTH = 250


@dataclass(slots=True)
class Call:
    """One request, ready to be sent to any provider.

    path: below a provider's address. fields: the JSON body but for the model's name. asked: the name that the client gave.
    input_most, output_most, rows: what it can take at most. input_bytes: of its texts, for an estimate.
    """

    path: str
    fields: dict[str, Any]
    asked: str = ""
    streams: bool = False
    wants_usage: bool = True
    input_most: int = 0
    output_most: int = 0
    rows: int = 0
    input_bytes: int = 0
    names_model: bool = True
    most: dict[str, int] = field(default_factory=dict)

    def body(self, model: str) -> bytes:
        """For the provider that calls the model so."""
        return orjson.dumps({**self.fields, "model": model} if self.names_model else self.fields)


Read = Callable[[bytes, str, int, str], Call]
"""Body, the model's name here, tokens where nothing is said, the word that says so -> what is asked. Errors: RequestError 400 and 404."""


def read_chat(body: bytes, name: str, default_tokens: int, word: str) -> Call:
    """`POST /chat/completions`."""
    found = _fields(body, CHAT, name)
    messages = found.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(item, dict) for item in messages):
        raise wrong("messages", "a list of messages that is not empty")
    _only_functions(found.get("tools"))
    return _generation(
        "/chat/completions", found, len(body) + _PART_TOKENS * _num_parts(messages), messages, (default_tokens, word)
    )


def read_completion(body: bytes, name: str, default_tokens: int, word: str) -> Call:
    """`POST /completions`. A list of prompts makes as many answers."""
    found = _fields(body, COMPLETIONS, name)
    prompt = found.get("prompt")
    if not isinstance(prompt, str | list) or not prompt:
        raise wrong("prompt", "a text or a list that is not empty")
    call = _generation("/completions", found, len(body), prompt, (default_tokens, "max_tokens"))
    num_prompts = len(prompt) if isinstance(prompt, list) and not isinstance(prompt[0], int) else 1
    choices = _whole(found, "best_of", 1, _MAX_CHOICES) or 1
    call.output_most *= num_prompts * max(1, -(-choices // (_whole(found, "n", 1, _MAX_CHOICES) or 1)))
    if found.get("echo"):
        call.output_most += call.input_most
    return call


def read_embeddings(body: bytes, name: str, default_tokens: int, word: str) -> Call:
    """`POST /embeddings`."""
    found = _fields(body, EMBEDDINGS, name)
    texts = found.get("input")
    if not isinstance(texts, str | list) or not texts:
        raise wrong("input", "a text or a list that is not empty")
    return Call("/embeddings", found, str(found["model"]), input_most=len(body) + _EXTRA_TOKENS, input_bytes=_size(texts))


def read_rows(body: bytes, name: str, default_tokens: int, word: str) -> Call:
    """`POST /v2/models/NAME/infer`: the first axis of every input counts the rows."""
    found = _json(body)
    inputs = found.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise wrong("inputs", "a list of tensors that is not empty")
    shapes = [item.get("shape") if isinstance(item, dict) else None for item in inputs]
    firsts = {shape[0] if isinstance(shape, list) and shape and type(shape[0]) is int else 0 for shape in shapes}
    rows = firsts.pop()
    if firsts or not 1 <= rows <= _MAX_ROWS:
        raise wrong("inputs.shape", f"the same first axis for every input, 1 to {_MAX_ROWS:,} rows")
    return Call("", found, name, rows=rows, names_model=False)


def wrong(param: str, allowed: str, type: str = "invalid_value") -> RequestError:
    """The error of one key."""
    return RequestError(400, type, f"{param}: allowed is {allowed}. Correct it.", param=param)


def _generation(path: str, found: dict[str, Any], input_bytes: int, texts: Any, default: tuple[int, str]) -> Call:
    """A request for text. default: tokens of an answer where the client says nothing, and the word for them."""
    limits = [_whole(found, word, 0, _MAX_TOKENS) for word in _LIMITS]
    given = max((limit for limit in limits if limit is not None), default=None)
    # Under the word that the provider is known to obey, whichever the client wrote: one that is ignored there bounds nothing.
    for word in _LIMITS:
        found.pop(word, None)
    given = found[default[1]] = default[0] if given is None else given
    streams, wants_usage = found.get("stream") is True, True
    if streams:
        options = found.get("stream_options")
        if options is not None and not isinstance(options, dict):
            raise wrong("stream_options", "an object")
        wants_usage = bool(options and options.get("include_usage") is True)
        found["stream_options"] = {**(options or {}), "include_usage": True}
    elif found.get("stream_options") is not None:
        raise wrong("stream_options", "nothing, unless stream is true")
    choices = _whole(found, "n", 1, _MAX_CHOICES) or 1
    return Call(
        path, found, str(found["model"]), streams, wants_usage, input_bytes + _EXTRA_TOKENS, given * choices,
        input_bytes=_size(texts),
    )  # fmt: skip


def _fields(body: bytes, allowed: tuple[str, ...], name: str) -> dict[str, Any]:
    found = _json(body)
    for word in found:
        if word not in allowed:
            text = f"{word[:60]}: no such key here, allowed: {listed(allowed, limit=30)}.{near_miss(word[:60], allowed)}"
            raise RequestError(400, "unknown_parameter", text, param=word[:60])
    if type(found.get("stream", False)) not in (bool, type(None)):
        raise wrong("stream", "true or false")
    asked = found.get("model")
    if asked != name:
        shown = f'"{asked[:60]}"' if isinstance(asked, str) else "no text"
        near = near_miss(asked[:60], [name]) if isinstance(asked, str) else ""
        raise RequestError(404, "model_not_found", f"model: found {shown}, allowed: {name}.{near}", param="model")
    return found


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, "invalid_json", f"the body is no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise RequestError(400, "invalid_json", "the body is no JSON object.")
    if body.count(b"[") + body.count(b"{") > _MAX_DEPTH:  # deeper than this can be read, and not written
        try:
            orjson.dumps(found)
        except orjson.JSONEncodeError:
            raise RequestError(400, "invalid_json", f"the body is nested deeper than {_MAX_DEPTH} levels.") from None
    return found


def _whole(found: Mapping[str, Any], word: str, low: int, high: int) -> int | None:
    value = found.get(word)
    if value is None:
        return None
    if type(value) is not int or not low <= value <= high:
        raise wrong(word, f"a whole number from {low} to {high:,}")
    return value


def _size(texts: Any) -> int:
    """Bytes of texts; of token ids, four each."""
    pending = texts if isinstance(texts, list) else []
    ids = len(pending) if pending and isinstance(pending[0], int) else 0
    return 4 * ids + text_bytes(texts)


def _num_parts(messages: list[dict[str, Any]]) -> int:
    """Parts of messages that are no text."""
    lists = [item["content"] for item in messages if isinstance(item.get("content"), list)]
    return sum(not isinstance(part, dict) or part.get("type") not in _FREE_PARTS for parts in lists for part in parts)


def _only_functions(tools: Any) -> None:
    if tools is None:
        return
    if not isinstance(tools, list) or not all(isinstance(item, dict) and item.get("type") == "function" for item in tools):
        raise wrong("tools", "functions, which the client calls itself; tools that the provider runs cost extra")
