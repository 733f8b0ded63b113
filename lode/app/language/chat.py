"""`POST /v1/chat/completions`: what may stand in its body.

Source: https://platform.openai.com/docs/api-reference/chat/create.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lode.app.contracts import RequestError
from lode.app.language.contracts import Asked, Form
from lode.app.language.fields import Fields, fields_of, wrong
from lode.app.language.forms import form_of
from lode.app.language.sampling import KEYS, MAX_LOGPROBS, max_tokens_of, model_of, sampling_of, stream_of
from lode.app.language.tools import CLOSE, Choice, choice_of
from lode.app.validate import describe

CHAT_KEYS = (
    *KEYS,
    *("messages", "max_completion_tokens", "top_logprobs", "response_format", "tools", "tool_choice", "parallel_tool_calls"),
    *("metadata", "safety_identifier", "prompt_cache_key"),
)
"""The last three say something about the request to those who keep it; they change no answer."""

_REFUSED = {
    "audio": "the model reads and writes text.",
    "function_call": "use tool_choice.",
    "functions": "use tools.",
    "modalities": "the model reads and writes text.",
    "prediction": "leave it out; the answer is the same.",
    "prompt_cache_retention": "prefixes are kept as long as there is room.",
    "reasoning_effort": "the model has no reasoning that could be set.",
    "service_tier": "there is one.",
    "store": "nothing is stored.",
    "verbosity": "say it in a message.",
    "web_search_options": "the model has no access to the web.",
    "suffix": "the model was not taught to fill gaps.",
    "best_of": "use n, and choose.",
    "echo": "chat answers hold no prompt.",
}
_ROLES = ("system", "developer", "user", "assistant", "tool")
_PARTS = (
    "role",
    "content",
    "name",
    "tool_calls",
    "tool_call_id",
    "refusal",
    "reasoning_content",
    "annotations",
    "audio",
    "function_call",
)
_MAX_MESSAGES = 4096


def read_chat(fields: Fields, vocabulary: int, most: int) -> Asked:
    """most: choices that one request may ask for. Errors: RequestError 400."""
    fields.only(CHAT_KEYS, _REFUSED)
    model = model_of(fields)
    messages = _messages(fields)
    stream, with_usage = stream_of(fields)
    sampling = sampling_of(fields, vocabulary, _logprobs(fields))
    choice, form = choice_of(fields), form_of(fields)
    if choice is not None and not choice.several and choice.mode == "auto":
        # The only way to one call at most that lets the model choose: its end ends the answer.
        sampling = replace(sampling, stop=(*sampling.stop, CLOSE))
    return Asked(
        model=model,
        sampling=sampling,
        max_tokens=max_tokens_of(fields),
        count=fields.integer("n", 1, most, 1) or 1,
        stream=stream,
        with_usage=with_usage,
        messages=messages,
        tools=() if choice is None else choice.shown,
        calls=choice is not None,
        form=_one_form(choice, form),
    )


def _one_form(choice: Choice | None, form: Form | None) -> Form | None:
    if choice is not None and form is not None:
        raise wrong(form.param, "it beside tools", 'one of the two, or tool_choice: "none"')
    return form if choice is None else choice.form


def _logprobs(fields: Fields) -> int | None:
    wanted = fields.flag("logprobs")
    top = fields.integer("top_logprobs", 0, MAX_LOGPROBS)
    if top is not None and not wanted:
        raise wrong("top_logprobs", "it without logprobs", "it with logprobs: true")
    return (top or 0) if wanted else None


def _messages(fields: Fields) -> list[dict[str, Any]]:
    """Messages with the keys and roles that templates know; what they say is checked where they become a prompt."""
    records = fields.items("messages", _MAX_MESSAGES)
    if not records:
        raise RequestError(400, "missing_parameter", "messages: found none, allowed: at least one.", param="messages")
    return [_message(record, f"messages[{number}]") for number, record in enumerate(records)]


def _message(record: Any, path: str) -> dict[str, Any]:
    message = fields_of(record, path)
    message.only(_PARTS, {"function_call": "use tool_calls.", "audio": "the model reads text."})
    if "role" not in message:
        raise wrong(f"{path}.role", "nothing", ", ".join(_ROLES), "missing_parameter")
    role = message.word("role", _ROLES, "")
    made: dict[str, Any] = {"role": "system" if role == "developer" else role, "content": _content(message, path)}
    calls = message.items("tool_calls", 1024)
    if calls and role != "assistant":
        raise wrong(f"{path}.tool_calls", f"it with the role {role}", "it with the role assistant")
    if calls:
        made["tool_calls"] = [_call(call, f"{path}.tool_calls[{number}]") for number, call in enumerate(calls)]
    elif made["content"] is None:
        raise wrong(f"{path}.content", "nothing", "a text", "missing_parameter")
    for word in ("name", "tool_call_id"):
        if word in message:
            made[word] = message.text(word, 512)
    return made


def _content(message: Fields, path: str) -> str | None:
    """A text; parts of type text are joined."""
    value = message.any("content")
    if value is None or type(value) is str:
        return value
    if type(value) is not list:
        raise wrong(f"{path}.content", describe(value), "a text, or a list of parts", "invalid_type")
    texts = []
    for number, record in enumerate(value):
        part = fields_of(record, f"{path}.content[{number}]")
        kind = part.any("type")
        text = part.any("text")
        if kind != "text" or type(text) is not str:
            found = describe(kind) if kind != "text" else describe(text)
            raise wrong(
                f"{path}.content[{number}]",
                found,
                'parts {"type": "text", "text": ...}; the model reads text',
                "unsupported_content",
            )
        texts.append(text)
    return "".join(texts)


def _call(record: Any, path: str) -> dict[str, Any]:
    """A call of an earlier answer, as `lode.data.corpus.chat` reads it: its arguments stay the JSON text that they are."""
    call = fields_of(record, path)
    call.only(("id", "type", "function", "index"))
    call.word("type", ("function",), "function")
    inner = call.inner("function")
    name = None if inner is None else inner.text("name", 512)
    if inner is None or name is None:
        raise wrong(f"{path}.function.name", "nothing", "the name of the function", "missing_parameter")
    arguments = inner.text("arguments", 1 << 24, "{}")
    return {"id": call.text("id", 512, ""), "type": "function", "function": {"name": name, "arguments": arguments}}
