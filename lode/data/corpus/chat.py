"""Conversations to tokens, with an exact mask of what an assistant wrote; and to the prompt that a model goes on from.

The mask is exact because each answer is cut into tokens on its own, as the model will write it: first the prompt, then the answer.
Where an answer begins and ends comes from lode/data/corpus/spans.py. Read lode/data/corpus/template.py for the default template.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lode.core.errors import DataError, near_miss
from lode.data.corpus import spans
from lode.data.corpus.contracts import Tokenizer
from lode.data.corpus.spans import CLOSE, ESCAPE, OPEN, SENTINELS

Message = Mapping[str, Any]
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_OTHER_NAMES = {
    "human": "user",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "ipython": "tool",
    "observation": "tool",
}
"""Roles of the form {"from", "value"}, which many data sets have."""


def tokens(
    tokenizer: Tokenizer, messages: Sequence[Message], *, tools: Sequence[Mapping[str, Any]] | None = None, last: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """A conversation as int32 (T,) and uint8 (T,): 1 for every token of an assistant's content and for the mark that ends it.

    last: only the last answer is learned. Errors: DataError naming the message that cannot be used or found again in the rendering.
    """
    asked = read(messages)
    if not any(message["role"] == "assistant" for message in asked):
        raise DataError(f"messages: found {len(asked)} and none of an assistant, allowed: at least one. There is nothing to learn.")
    parts = spans.split(_form(tokenizer), _guarded(tokenizer, asked), _guarded(tokenizer, tools))
    answers = [at for at, (_, learned) in enumerate(parts) if learned]
    kept = set(answers[-1:] if last else answers)
    ids = _encoded(tokenizer, parts)
    learned = [np.full(len(part), at in kept, np.uint8) for at, part in enumerate(ids)]
    return np.concatenate(ids), np.concatenate(learned)


def prompt(tokenizer: Tokenizer, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None = None) -> np.ndarray:
    """What the model goes on from, int32 (T,): the conversation and the head of the next answer. Errors: as `tokens`."""
    parts = spans.split_prompt(_form(tokenizer), _guarded(tokenizer, read(messages)), _guarded(tokenizer, tools))
    return np.concatenate(_encoded(tokenizer, parts))


def render(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] | None = None,
    *,
    add_generation_prompt: bool = False,
) -> str:
    """The conversation as the template writes it."""
    return spans.plain(_form(tokenizer).write(read(messages), tools, add_generation_prompt))


def _encoded(tokenizer: Tokenizer, parts: Sequence[spans.Part]) -> list[np.ndarray]:
    """The tokens of each part, int32 (T,)."""
    texts = spans.swallowed([text for text, _ in parts], *tokenizer.swallows)
    return [encode_marked(tokenizer, text, inside=at > 0) for at, text in enumerate(texts)]


def encode_marked(tokenizer: Tokenizer, text: str, *, inside: bool = False) -> np.ndarray:
    """Text in which the template wrote special tokens, int32 (T,). What messages said of them is guarded, and stays text."""
    pattern = spans.either(tuple(tokenizer.special))
    pieces = pattern.split(text) if pattern else [text]
    found: list[np.ndarray] = []
    for at, piece in enumerate(pieces):
        if at % 2:
            found.append(np.array([tokenizer.special[piece]], np.int32))
        elif piece:
            found += tokenizer.encode([piece.replace(ESCAPE, "")], inside=inside or at > 0)
    return np.concatenate(found) if found else np.empty(0, np.int32)


def read(messages: Any) -> list[dict[str, Any]]:
    """Messages in one form: role, content (a text or None), and what else they have. A text is read as JSON.

    Errors: DataError naming the message.
    """
    if isinstance(messages, str):
        try:
            messages = json.loads(messages)
        except ValueError as error:
            raise DataError(f'messages: is no JSON ({error}), allowed: a list of {{"role", "content"}}. Mend the cell.') from error
    if not isinstance(messages, Sequence) or isinstance(messages, bytes) or not len(messages):
        raise DataError(f'messages: found {_kind(messages)}, allowed: a list of {{"role", "content"}} with at least one. Mend it.')
    return [_message(message, at) for at, message in enumerate(messages)]


def _message(message: Any, at: int) -> dict[str, Any]:
    where = f"messages[{at}]"
    if not isinstance(message, Mapping):
        raise DataError(f'{where}: found {_kind(message)}, allowed: an object with "role" and "content". Mend it.')
    found = {key: value for key, value in message.items() if value is not None}
    role = found.pop("role", None) or found.pop("from", None)
    role = _OTHER_NAMES.get(role, role) if isinstance(role, str) else role
    if role not in _ROLES:
        known = near_miss(str(role), _ROLES)
        raise DataError(f"{where}.role: found {role!r}, allowed: {', '.join(_ROLES)}.{known} Name who wrote it.")
    content = _content(found.pop("content", found.pop("value", None)), where)
    calls = found.pop("tool_calls", None)
    if content is None and not calls:
        raise DataError(f"{where}.content: found nothing, allowed: a text. Write one, or leave the message out.")
    made: dict[str, Any] = {"role": role, "content": content, **found}
    if calls:
        made["tool_calls"] = _calls(calls, where)
    return made


def _content(content: Any, where: str) -> str | None:
    """A text; parts of the form {"type": "text", "text"} are joined."""
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, Sequence) and all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content):
        return "".join(part["text"] for part in content)
    raise DataError(f"{where}.content: found {_kind(content)}, allowed: a text, or parts of type text. Leave the others out.")


def _calls(calls: Any, where: str) -> list[Any]:
    """Tool calls with their arguments as an object: OpenAI's form has them as JSON in a text, templates write them as JSON themselves."""
    if not isinstance(calls, Sequence) or not all(isinstance(call, Mapping) for call in calls):
        raise DataError(f"{where}.tool_calls: found {_kind(calls)}, allowed: a list of objects. Mend it.")
    made = []
    for at, call in enumerate(calls):
        inner = call.get("function") or call
        if not isinstance(inner, Mapping):
            raise DataError(f"{where}.tool_calls[{at}].function: found {_kind(inner)}, allowed: an object. Mend it.")
        inner = dict(inner)
        if isinstance(inner.get("arguments"), str):
            try:
                inner["arguments"] = json.loads(inner["arguments"])
            except ValueError as error:
                raise DataError(f"{where}.tool_calls[{at}].arguments: is no JSON ({error}). Mend it.") from error
        made.append({**call, "function": inner} if "function" in call else inner)
    return made


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"


def _form(tokenizer: Tokenizer) -> spans.Form:
    if tokenizer.template is None:
        raise DataError(
            "model.tokenizer: has no chat template, and conversations need one. "
            "Put a chat_template.jinja into the tokenizer's folder, or learn from plain text (objective next_token)."
        )
    return spans.Form(tokenizer.template, tokenizer.roles, tuple(tokenizer.special))


def _guarded(tokenizer: Tokenizer, value: Any) -> Any:
    """The same messages with every special token that one of their texts writes out broken up, so that it stays text."""
    if isinstance(value, str):
        clean = value.translate(SENTINELS) if any(sign in value for sign in (OPEN, CLOSE, ESCAPE)) else value
        pattern = spans.ahead(tuple(tokenizer.special))
        return pattern.sub(rf"\1{ESCAPE}", clean) if pattern else clean
    if isinstance(value, Mapping):
        return {_guarded(tokenizer, key): _guarded(tokenizer, item) for key, item in value.items()}
    return [_guarded(tokenizer, item) for item in value] if isinstance(value, list | tuple) else value
