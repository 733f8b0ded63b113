"""Where in a rendered conversation the answers stand. Templates are Jinja in a sandbox, as `transformers` renders them.

Three ways, the first that works: `{% generation %}` blocks of the template; rendering prompt by prompt; marking each answer.
Characters that Unicode will never use (U+FDD0 ..) stand for what must be found again.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lode.core.errors import DataError

OPEN, CLOSE, ESCAPE = "\ufdd0", "\ufdd1", "\ufdd2"
SENTINELS = dict.fromkeys(map(ord, (OPEN, CLOSE, ESCAPE)), "\ufffd")
Part = tuple[str, bool]
"""A piece of the rendering, and whether an assistant wrote it."""
Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]] | None
_BETWEEN = re.compile(f"{OPEN}(.*?){CLOSE}", re.DOTALL)


class _Generation(Extension):
    """`{% generation %} ... {% endgeneration %}`: what an assistant writes stands between OPEN and CLOSE."""

    tags: set[str] = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark", []), [], [], body).set_lineno(line)

    def _mark(self, caller: Macro) -> str:
        return f"{OPEN}{caller()}{CLOSE}"


def _raise(message: str) -> None:
    raise TemplateError(message)


def _as_json(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


@functools.lru_cache(maxsize=16)
def _compiled(template: str) -> Template:
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    made.filters["tojson"] = _as_json
    made.globals["raise_exception"] = _raise
    made.globals["strftime_now"] = _now
    try:
        return made.from_string(template)
    except TemplateError as error:
        raise DataError(f"chat template: line {getattr(error, 'lineno', '?')}: {error}. Mend chat_template.jinja.") from error


@dataclass(frozen=True, slots=True)
class Form:
    """How conversations are written: the template (Jinja), what it knows by name (eos_token, ...), and all special tokens."""

    template: str
    roles: Mapping[str, str]
    marks: tuple[str, ...]

    def write(self, messages: Messages, tools: Tools = None, add_generation_prompt: bool = False) -> str:
        """What the template writes; answers stand between OPEN and CLOSE where it says what they are.

        Errors: DataError with the template's own words.
        """
        # As `transformers` does it: templates know a key that is missing, and write None as the word.
        said = [{key: value for key, value in message.items() if value is not None} for message in messages]
        given = {"messages": said, "tools": list(tools) if tools else None, "documents": None}
        try:
            return _compiled(self.template).render(**given, **self.roles, add_generation_prompt=add_generation_prompt)
        except (TemplateError, TypeError, ValueError, AttributeError, KeyError, ArithmeticError) as error:
            raise DataError(f"messages: the chat template refuses them: {error}. Change the messages, or the template.") from error


def plain(text: str) -> str:
    """A rendering without what stands in it to be found again."""
    return text.replace(OPEN, "").replace(CLOSE, "").replace(ESCAPE, "")


def swallowed(texts: Sequence[str], before: frozenset[str], behind: frozenset[str]) -> list[str]:
    """Texts that follow one another without the blanks that their special tokens take: `before` those, and `behind` those."""
    made: list[str] = []
    ahead_of, after = either(tuple(sorted(before))), either(tuple(sorted(behind)))
    is_after = False
    for text in texts:
        text = text.lstrip() if is_after else text
        text = text if ahead_of is None else re.sub(rf"\s+{ahead_of.pattern}", r"\1", text)
        text = text if after is None else re.sub(rf"{after.pattern}\s+", r"\1", text)
        is_after = text.endswith(tuple(behind)) if text else is_after
        made.append(text)
    return made


def split(form: Form, messages: Messages, tools: Tools = None) -> list[Part]:
    """The rendering in pieces. Errors: DataError naming the first answer that cannot be found in it."""
    whole = form.write(messages, tools)
    if OPEN in whole:
        return _pieces(whole)
    found = _by_prompts(form, messages, tools, whole)
    return _by_marks(form, messages, tools, whole) if found is None else _trimmed(found, either(form.marks))


def split_prompt(form: Form, messages: Messages, tools: Tools = None) -> list[Part]:
    """As `split`, with the head of the next answer; one piece where earlier answers cannot be found."""
    whole = form.write(messages, tools, True)
    if OPEN in whole:
        return _pieces(whole)
    if not any(message["role"] == "assistant" for message in messages):
        return [(whole, False)]
    try:
        before = split(form, messages, tools)
    except DataError:
        return [(whole, False)]
    text = "".join(text for text, _ in before)
    return [*before, (whole[len(text) :], False)] if whole.startswith(text) else [(whole, False)]


def _pieces(whole: str) -> list[Part]:
    """Cut at OPEN and CLOSE."""
    parts = [(text, at % 2 == 1) for at, text in enumerate(_BETWEEN.split(whole))]
    return [(text, learned) for text, learned in parts if text]


def _by_prompts(form: Form, messages: Messages, tools: Tools, whole: str) -> list[Part] | None:
    """Each answer is what its message adds to the prompt before it; None where a template changes what it wrote before."""
    parts: list[Part] = []
    done = 0
    for at, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        try:
            head = form.write(messages[:at], tools, True)
            upto = form.write(messages[: at + 1], tools)
        except DataError:
            return None
        if not (whole.startswith(upto) and upto.startswith(head) and done <= len(head) < len(upto)):
            return None
        parts += [(whole[done : len(head)], False), (upto[len(head) :], True)]
        done = len(upto)
    return [part for part in (*parts, (whole[done:], False)) if part[0]]


def _by_marks(form: Form, messages: Messages, tools: Tools, whole: str) -> list[Part]:
    """Each answer's text is marked before rendering; right only where that changes nothing else."""
    answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    for strip in (False, True):
        try:
            text = form.write([_marked(message, strip) for message in messages], tools)
        except DataError:
            continue
        if text.replace(OPEN, "").replace(CLOSE, "") == whole and text.count(OPEN) == text.count(CLOSE) == len(answers):
            return _with_ends(_pieces(text), either(form.marks))
    raise DataError(
        f"messages[{answers[0]}]: its text cannot be found again in what the chat template makes of it, so what to learn is not known. "
        "Put {% generation %} and {% endgeneration %} around what the assistant writes in chat_template.jinja."
    )


def _marked(message: Mapping[str, Any], strip: bool) -> Mapping[str, Any]:
    content = message.get("content")
    if message["role"] != "assistant" or not content:
        return message
    return {**message, "content": f"{OPEN}{content.strip() if strip else content}{CLOSE}"}


def _with_ends(parts: list[Part], ends: re.Pattern[str] | None) -> list[Part]:
    """The mark that follows an answer belongs to it."""
    made: list[Part] = []
    for text, learned in parts:
        follows = ends is not None and bool(made) and made[-1][1] and not learned
        mark = re.match(rf"\s*{ends.pattern}", text) if ends is not None and follows else None
        if mark is not None:
            made[-1] = (made[-1][0] + mark.group(), True)
            text = text[mark.end() :]
        made.append((text, learned))
    return [part for part in made if part[0]]


def _trimmed(parts: list[Part], ends: re.Pattern[str] | None) -> list[Part]:
    """Blanks behind the mark that ends an answer belong to what follows."""
    made: list[Part] = []
    for text, learned in parts:
        last = list(ends.finditer(text))[-1:] if learned and ends else []
        if last and not text[last[0].end() :].strip():
            made += [(text[: last[0].end()], True), (text[last[0].end() :], False)]
        else:
            made.append((text, learned))
    return [part for part in made if part[0]]


@functools.lru_cache(maxsize=64)
def either(marks: tuple[str, ...]) -> re.Pattern[str] | None:
    """A pattern with one group that finds any of the marks, the longest first."""
    words = sorted({mark for mark in marks if mark}, key=lambda mark: (-len(mark), mark))
    return re.compile(f"({'|'.join(map(re.escape, words))})") if words else None


@functools.lru_cache(maxsize=64)
def ahead(marks: tuple[str, ...]) -> re.Pattern[str] | None:
    """A pattern whose group is the first character of any of the marks."""
    found = either(marks)
    return None if found is None else re.compile(f"(?=(?:{found.pattern[1:-1]}))(.)", re.DOTALL)
