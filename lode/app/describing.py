"""The OpenAPI 3.1 description of what a server answers, put together from its protocols: `GET /openapi.json`, with a key.

Here stand the parts that several of them share: OpenAI's endpoints, those that somebody else's model has too, and outcomes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lode.app.contracts import Endpoint

Schema = dict[str, Any]
Paths = dict[str, Any]
PATH = "/openapi.json"
TEXT, COUNT = {"type": "string"}, {"type": "integer", "minimum": 1}
_ERRORS: Mapping[str, str] = {
    "400": "The body is not of the form.", "401": "No key, or a wrong one.", "402": "The budget or the credit is used up.",
    "403": "The key may not do this.", "404": "There is no such model or request.", "408": "The body came too slowly.",
    "409": "The Idempotency-Key was used for something else.", "413": "Too many bytes or rows.", "415": "Not application/json.",
    "422": "Nothing can be made of it: every problem is named.", "429": "Too much at once; `Retry-After` says when to come again.",
    "500": "The server failed on this request.", "502": "The model's provider failed.",
    "503": "Nothing can be noted or answered now; `Retry-After` says when to come again.", "504": "No answer in time.",
}  # fmt: skip
ERROR: Schema = {"type": "object", "properties": {"error": {"type": "object"}}, "required": ["error"]}


_EVENT: Schema = {"type": "object", "properties": {"data": TEXT}, "required": ["data"]}
"""One server-sent event. data: JSON, or [DONE] at the end."""


def endpoint(title: str, version: int | None, paths: Paths) -> Endpoint:
    """The route of a description."""
    found = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": str(version or "")},
        "security": [{"key": []}],
        "paths": dict(sorted(paths.items())),
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }
    return Endpoint("GET", PATH, lambda status: (200, found))


def closed(properties: Mapping[str, Schema], required: Sequence[str] = ()) -> Schema:
    """An object that has no other keys."""
    return {"type": "object", "properties": dict(properties), "required": list(required), "additionalProperties": False}


def posted(summary: str, body: Schema, answer: Schema, error: Schema = ERROR, *, streams: bool = False) -> Paths:
    """A path to which a body is sent. error: the form of what is refused. streams: whether the answer may come as events."""
    found = _operation(summary, answer, error)
    found["requestBody"] = {"required": True, **_json(body)}
    if streams:
        found["responses"]["200"]["content"]["text/event-stream"] = {"schema": _EVENT}
    return {"post": found}


def read(summary: str, answer: Schema, error: Schema = ERROR) -> Paths:
    """A path that tells something."""
    return {"get": _operation(summary, answer, error)}


def _operation(summary: str, answer: Schema, error: Schema) -> dict[str, Any]:
    answers = {status: {"description": words, **_json(error)} for status, words in _ERRORS.items()}
    return {"summary": summary, "responses": {"200": {"description": "The answer.", **_json(answer)}, **answers}}


def _json(schema: Schema) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _number(least: float, most: float) -> Schema:
    return {"type": "number", "minimum": least, "maximum": most}


_FUNCTION = closed({"name": TEXT, "arguments": TEXT}, ["name"])
_MESSAGE = {
    "type": "object", "required": ["role", "content"],
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant", "tool"]}, "content": {"type": ["string", "null", "array"]},
        "tool_calls": {"type": "array", "items": closed({"id": TEXT, "type": {"const": "function"}, "function": _FUNCTION})},
        "name": TEXT, "tool_call_id": TEXT,
    },
}  # fmt: skip
_TEXTS = {"anyOf": [TEXT, {"type": "array", "minItems": 1, "items": TEXT}]}
_TOOL = {
    "type": "object",
    "properties": {"type": {"const": "function"}, "function": {"type": "object"}},
    "required": ["type", "function"],
}
_KEYS: Mapping[str, Schema] = {
    "messages": {"type": "array", "minItems": 1, "items": _MESSAGE}, "input": _TEXTS, "n": {**COUNT, "maximum": 128},
    "prompt": {"anyOf": [*_TEXTS["anyOf"], {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}}]},
    "stream": {"type": "boolean"}, "stream_options": closed({"include_usage": {"type": "boolean"}}), "max_tokens": COUNT,
    "max_completion_tokens": COUNT, "temperature": _number(0, 2), "top_p": _number(0, 1), "min_p": _number(0, 1),
    "top_k": {"type": "integer", "minimum": -1}, "seed": {"type": "integer"}, "stop": _TEXTS, "presence_penalty": _number(-2, 2),
    "frequency_penalty": _number(-2, 2), "repetition_penalty": _number(0.01, 100), "user": TEXT,
    "logit_bias": {"type": "object", "additionalProperties": _number(-100, 100)}, "ignore_eos": {"type": "boolean"},
    "top_logprobs": {"type": "integer", "minimum": 0, "maximum": 20}, "logprobs": {"type": ["boolean", "integer"]},
    "echo": {"type": "boolean"}, "best_of": COUNT, "suffix": TEXT, "tools": {"type": "array", "items": _TOOL},
    "tool_choice": {"type": ["string", "object"]}, "parallel_tool_calls": {"type": "boolean"},
    "response_format": {"type": "object", "properties": {"type": {"enum": ["text", "json_object", "json_schema"]}}, "required": ["type"]},
    "guided_json": {"type": ["object", "string"]}, "guided_regex": TEXT, "guided_choice": {"type": "array", "items": TEXT},
    "encoding_format": {"enum": ["float", "base64"]}, "dimensions": COUNT, "metadata": {"type": "object"}, "safety_identifier": TEXT,
    "prompt_cache_key": TEXT, "reasoning_effort": TEXT, "verbosity": TEXT,
}  # fmt: skip
"""What a key of OpenAI's requests may hold; null stands for every one that is left out."""


def _body(names: Sequence[str], keys: Sequence[str], required: str) -> Schema:
    known = {**_KEYS, "model": {"enum": list(names)}}
    return closed({key: known[key] for key in sorted(keys)}, ["model", required])


def openai(names: Sequence[str], chat: Sequence[str], completions: Sequence[str], embeddings: Sequence[str]) -> Paths:
    """OpenAI's endpoints. names: of models. The others: keys that their bodies may have."""
    error = {
        "type": "object", "required": ["error"],
        "properties": {"error": {"type": "object", "required": ["message", "type", "param", "code"]}},
    }  # fmt: skip
    generated = {"type": "object", "required": ["id", "choices", "usage"]}
    listed = {"type": "object", "required": ["data"], "properties": {"data": {"type": "array"}}}
    about = {"type": "object", "required": ["id", "object"]}
    return {
        "/v1/chat/completions": posted("Answer a conversation", _body(names, chat, "messages"), generated, error, streams=True),
        "/v1/completions": posted("Go on with a text", _body(names, completions, "prompt"), generated, error, streams=True),
        "/v1/embeddings": posted("Vectors of texts", _body(names, embeddings, "input"), listed, error),
        "/v1/models": read("Models", listed, error),
        **{f"/v1/models/{name}": read("One model", about, error) for name in names},
    }


def inferred(path: str, names: Sequence[str], datatypes: Sequence[str]) -> Paths:
    """A path of the Open Inference Protocol v2 and what it leads to. names, datatypes: of the tensors that are taken; none: any."""
    error = {"type": "object", "properties": {"error": TEXT}, "required": ["error"]}
    named = {"enum": list(names)} if names else TEXT
    shape = {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "integer", "minimum": 0}}
    kinds = {"enum": list(datatypes)} if datatypes else TEXT
    tensor = {
        "type": "object", "required": ["name", "shape", "datatype", "data"],
        "properties": {"name": named, "shape": shape, "datatype": kinds, "data": {"type": "array"}},
    }  # fmt: skip
    output = {"type": "object", "properties": {"name": TEXT}, "required": ["name"]}
    body = {
        "type": "object", "required": ["inputs"],
        "properties": {
            "inputs": {"type": "array", "items": tensor}, "outputs": {"type": "array", "items": output}, "id": TEXT,
            "parameters": {"type": "object"},
        },
    }  # fmt: skip
    answer = {"type": "object", "required": ["model_name", "outputs"]}
    return {
        f"{path}/infer": posted("Predict (Open Inference Protocol v2)", body, answer, error),
        path: read("Tensors of the model", {"type": "object", "required": ["name", "inputs", "outputs"]}, error),
    }


def outcomes() -> Paths:
    """`POST /v1/outcomes`."""
    one = closed(
        {
            "row": {"type": "integer", "minimum": 0}, "outcome": {"type": ["number", "string", "boolean"]}, "rule": {"type": "number"},
            "amounts": {"type": "object"}, "happened": TEXT, "corrects": {"type": "integer", "minimum": 0},
        },
        ["row", "outcome"],
    )  # fmt: skip
    body = closed(
        {"request_id": {"type": "string", "minLength": 1, "maxLength": 255}, "outcomes": {"type": "array", "items": one}},
        ["request_id", "outcomes"],
    )
    answer = {"type": "object", "required": ["request_id", "recorded", "repeated"]}
    return {"/v1/outcomes": posted("What came true, by the id of the request that predicted it", body, answer)}
