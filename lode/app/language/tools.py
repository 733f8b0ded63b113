"""Tools that a model may call: what a request says of them, and the calls in what the model wrote.

A call is written `<tool_call>{"name": NAME, "arguments": OBJECT}</tool_call>`, as Hermes and Qwen models were taught
(https://github.com/NousResearch/Hermes-Function-Calling) and as the chat template of lode's own tokenizers has it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from lode.app.contracts import RequestError
from lode.app.language.contracts import Form, Tool
from lode.app.language.fields import Fields, fields_of, wrong
from lode.app.validate import describe, short
from lode.core.errors import listed, near_miss

OPEN, CLOSE = "<tool_call>", "</tool_call>"

_MAX_TOOLS = 128
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)')
_MAX_DESCRIPTION = 1 << 16


@dataclass(frozen=True, slots=True)
class Choice:
    """Which tools there are and what is to be done with them. mode: "named" means that `tools` holds the one that must be called."""

    tools: tuple[Tool, ...]
    mode: Literal["none", "auto", "required", "named"]
    several: bool

    @property
    def shown(self) -> list[dict[str, Any]]:
        """The tools as a chat template gets them."""
        return [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
            }
            for tool in self.tools
        ]

    @property
    def form(self) -> Form | None:
        """What forces calls, or (of a strict tool) how they are written; None where the model may write what it likes."""
        if self.mode == "auto" and not any(tool.strict for tool in self.tools):
            return None
        several = self.several and self.mode != "named"
        return Form(kind="calls", text=_lark(self.tools, several, self.mode == "auto"), param="tools")


def choice_of(fields: Fields) -> Choice | None:
    """The tools of a request; None where it has none, or wants none called. Errors: RequestError 400."""
    records = fields.items("tools", _MAX_TOOLS)
    several = fields.flag("parallel_tool_calls", True)
    if not records:
        if "tool_choice" in fields and fields.any("tool_choice") not in ("none", "auto"):
            raise wrong("tool_choice", "it without tools", "tools to choose from")
        return None
    tools = tuple(_tool(record, f"tools[{number}]") for number, record in enumerate(records))
    names = [tool.name for tool in tools]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise wrong(f"tools[{number}].function.name", f'"{name}" a second time', "each name once")
    wanted = fields.any("tool_choice")
    if type(wanted) is dict:
        name = _named(fields_of(wanted, "tool_choice"), names)
        return Choice(tuple(tool for tool in tools if tool.name == name), "named", False)
    mode = fields.word("tool_choice", ("none", "auto", "required"), "auto")
    if mode == "none":
        return None
    return Choice(tools, "required" if mode == "required" else "auto", several)


def _tool(record: Any, path: str) -> Tool:
    outer = fields_of(record, path)
    outer.only(("type", "function"))
    outer.word("type", ("function",), "function")
    inner = outer.inner("function")
    if inner is None:
        raise wrong(f"{path}.function", "nothing", "the function with its name", "missing_parameter")
    inner.only(("name", "description", "parameters", "strict"))
    name = inner.text("name", 64)
    if name is None or not _NAME.fullmatch(name):
        found = "nothing" if name is None else f'"{name}"'
        raise wrong(f"{path}.function.name", found, "1 to 64 letters, digits, _ and -")
    parameters = inner.any("parameters")
    if parameters is not None and type(parameters) is not dict:
        raise wrong(f"{path}.function.parameters", describe(parameters), "a JSON schema", "invalid_type")
    description = inner.text("description", _MAX_DESCRIPTION, "") or ""
    return Tool(name=name, description=description, parameters=parameters or {"type": "object"}, strict=inner.flag("strict"))


def _named(choice: Fields, names: list[str]) -> str:
    choice.only(("type", "function"))
    choice.word("type", ("function",), "function")
    inner = choice.inner("function")
    name = None if inner is None else inner.text("name", 64)
    if name not in names:
        found = "nothing" if name is None else f'"{short(name)}"'
        path = "tool_choice.function.name"
        text = f"{path}: found {found}, allowed: {listed(names)}.{near_miss(name or '', names)}"
        raise RequestError(400, "invalid_value", text, param=path)
    assert name is not None
    return name


def _lark(tools: tuple[Tool, ...], several: bool, free: bool) -> str:
    """Calls as a Lark grammar of llguidance; free: among text. Each schema is a root of its own, so that its $refs hold.

    Source of the form with text: the lazy lexemes of https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md#tool-calling.
    """
    if free:
        lines = ["start: call* TEXT" if several else "start: call? TEXT", "TEXT: /(.|\\n)*/", f'open[lazy]: TEXT "{OPEN}"']
    else:
        lines = ['start: call ("\\n" call)*' if several else "start: call", f'open: "{OPEN}"']
    lines.append(f'call: open "\\n"? one "\\n"? "{CLOSE}"')
    lines.append(f"one: {' | '.join(f'c{number}' for number in range(len(tools)))}")
    for number, tool in enumerate(tools):
        head = orjson.dumps(f'{{"name": "{tool.name}", "arguments": ').decode()
        schema = {**tool.parameters, "x-guidance": {"whitespace_flexible": False}}
        lines += [f'c{number}: {head} a{number} "}}"', f"a{number}: %json {orjson.dumps(schema).decode()}"]
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Said:
    """A part of an answer.

    call: which call it belongs to, None for text. name: set where a call begins. text: of the answer, or JSON of the arguments.
    """

    text: str = ""
    call: int | None = None
    name: str = ""


class CallReader:
    """What the model writes, cut into text and calls as it comes. What is no call that can be read is given on as text."""

    def __init__(self) -> None:
        self.calls = 0
        self._buffer = ""
        self._blanks = ""
        self._state: Literal["text", "head", "arguments", "tail"] = "text"
        self._depth = 0
        self._quoted = False
        self._escaped = False

    def feed(self, text: str) -> list[Said]:
        """What is certain now."""
        self._buffer += text
        found: list[Said] = []
        steps = {"text": self._text, "head": self._head, "arguments": self._arguments, "tail": self._tail}
        while steps[self._state](found):
            pass
        return found

    def end(self) -> list[Said]:
        """What was held back, at the end of the answer."""
        rest, self._buffer = self._buffer, ""
        found: list[Said] = []
        if self._state == "head":
            self._whole(rest, "", found)
        elif self._state == "text" and (rest.strip() or not self.calls):
            found += [Said(rest)] if rest else []
        return found

    def _text(self, found: list[Said]) -> bool:
        """Text up to the next call; blanks before a call, and what may be the beginning of its mark, wait."""
        before, mark, after = self._buffer.partition(OPEN)
        if mark:
            text = before.rstrip()
            if text:
                found.append(Said(text))
            self._blanks = before[len(text) :]
            self._buffer, self._state = after, "head"
            return True
        kept = next((size for size in range(len(OPEN) - 1, 0, -1) if before.endswith(OPEN[:size])), 0)
        sure = before[: len(before) - kept].rstrip()
        if sure:
            found.append(Said(sure))
            self._buffer = before[len(sure) :]
        return False

    def _head(self, found: list[Said]) -> bool:
        """The name, then arguments as they come; anything else waits until it is whole."""
        match = _HEAD.match(self._buffer)
        if match is not None:
            name = _string(match[1])
            if name is not None:
                self._begin(name, found)
                self._buffer, self._state, self._depth = self._buffer[match.end() :], "arguments", 0
                return True
        inner, mark, after = self._buffer.partition(CLOSE)
        if not mark:
            return False
        self._whole(inner, CLOSE, found)
        self._buffer, self._state = after, "text"
        return True

    def _arguments(self, found: list[Said]) -> bool:
        """The object of the arguments, character by character up to its closing brace."""
        for at, character in enumerate(self._buffer):
            if self._ends(character):
                end = at + 1 if character == "}" else at
                self._argue(self._buffer[:end], found)
                self._buffer, self._state = self._buffer[end:], "tail"
                return True
        self._argue(self._buffer, found)
        self._buffer = ""
        return False

    def _ends(self, character: str) -> bool:
        """Whether the arguments end with it: their last brace, or a mark that no JSON has."""
        if self._escaped:
            self._escaped = False
        elif self._quoted:
            self._escaped = character == "\\"
            self._quoted = character != '"'
        elif character == '"':
            self._quoted = True
        elif character in "{[":
            self._depth += 1
        elif character in "}]":
            self._depth -= 1
            return self._depth <= 0
        return character == "<" and not self._quoted and not self._escaped

    def _tail(self, found: list[Said]) -> bool:
        """What stands between the arguments and the mark says nothing."""
        _, mark, after = self._buffer.partition(CLOSE)
        if mark:
            self._buffer, self._state = after, "text"
        return bool(mark)

    def _whole(self, inner: str, mark: str, found: list[Said]) -> None:
        """A call in another order or with its arguments as text; else it is text after all."""
        try:
            record = orjson.loads(inner)
        except orjson.JSONDecodeError:
            record = None
        name = record.get("name") if isinstance(record, dict) else None
        arguments = record.get("arguments", record.get("parameters", {})) if isinstance(record, dict) else None
        if not isinstance(name, str) or not isinstance(arguments, dict | str):
            found.append(Said(f"{self._blanks}{OPEN}{inner}{mark}"))
            return
        self._begin(name, found)
        self._argue(arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode(), found)

    def _begin(self, name: str, found: list[Said]) -> None:
        found.append(Said(call=self.calls, name=name))
        self.calls += 1

    def _argue(self, text: str, found: list[Said]) -> None:
        if text:
            found.append(Said(text, call=self.calls - 1))


def _string(quoted: str) -> str | None:
    try:
        found = orjson.loads(quoted)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, str) else None
