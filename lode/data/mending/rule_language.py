"""The language of the cleaner `rules`: text -> tree. Nothing of it is ever run as Python; lode/data/mending/rule_meaning.py makes
polars of it.

age >= 18 and age <= 120            18 <= age <= 120               zip matches "^[0-9]{5}$"
state in ["NY", "CA"]               if paid > 0 then date is known   `Sample size` * 2 < total
unique(id)                          unique(id, day)                zip determines city, state
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MAX_CHARS, MAX_DEPTH = 2_000, 40
FUNCTIONS = {
    "abs": 1, "round": 1, "number": 1, "word": 1, "length": 1, "lower": 1, "upper": 1, "year": 1, "month": 1, "day": 1, "weekday": 1,
    "extract": 2, "replace": 3,
}  # fmt: skip
"""Name -> how many arguments."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<string>"(?:\\"|[^"])*"|'(?:\\'|[^'])*')
    |`(?P<quoted>[^`]+)`
    |(?P<name>[^\W\d]\w*)
    |(?P<mark>->|==|!=|<>|<=|>=|[<>=+\-*/%()\[\],]))""",
    re.VERBOSE,
)
_WORDS = ("and", "or", "not", "in", "matches", "is", "missing", "known", "implies", "if", "then", "determines", "true", "false")
_COMPARE = {"==": "==", "=": "==", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


class RuleError(ValueError):
    """What is wrong with a rule, without where it stands (internal; becomes a SpecError or a DataError)."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. op: "column", "literal" (float, str or bool), "and", "<=", "in", "unique", "determines", a function's name, ...

    value: of a literal, the name of a column, the words of a list. parts: what it works on.
    """

    op: str
    value: Any = None
    parts: tuple[Node, ...] = ()

    def walk(self) -> Iterator[Node]:
        """This node and all below it."""
        yield self
        for part in self.parts:
            yield from part.walk()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it names, each once."""
        return tuple(dict.fromkeys(node.value for node in self.walk() if node.op == "column"))


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int


def parse(text: str) -> Node:
    """The tree of a rule. Errors: RuleError saying what stands where."""
    if len(text) > MAX_CHARS:
        raise RuleError(f"{len(text):,} characters, at most {MAX_CHARS:,} are allowed")
    parser = _Parser(text, _tokens(text))
    node = parser.rule()
    parser.end()
    if not node.columns:
        raise RuleError("it names no column")
    return node


def _tokens(text: str) -> list[_Token]:
    found, place, end = [], 0, len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None:
            start = place + len(text[place:]) - len(text[place:].lstrip())
            raise RuleError(f'found "{text[start]}" at character {start + 1}, which means nothing here')
        kind = str(match.lastgroup)
        word = match[kind]
        if kind == "name" and word.lower() in _WORDS:
            kind, word = "word", word.lower()
        found.append(_Token(kind, word, match.start(str(match.lastgroup))))
        place = match.end()
    return [*found, _Token("end", "the end", end)]


class _Parser:
    """Recursive descent, one method per level, from the loosest operator to the tightest."""

    def __init__(self, text: str, tokens: list[_Token]) -> None:
        self.text, self.tokens, self.place, self.depth = text, tokens, 0, 0

    @property
    def now(self) -> _Token:
        return self.tokens[self.place]

    def take(self, *texts: str) -> str | None:
        """The next word or mark, if it is one of these."""
        if self.now.kind in ("word", "mark") and self.now.text in texts:
            self.place += 1
            return self.tokens[self.place - 1].text
        return None

    def need(self, text: str) -> None:
        if self.take(text) is None:
            self.fail(f'"{text}"')

    def fail(self, wanted: str) -> None:
        raise RuleError(f'found "{self.now.text}" at character {self.now.start + 1}, {wanted} is expected')

    def end(self) -> None:
        if self.now.kind != "end":
            self.fail("the end, or and, or, a comparison")

    def rule(self) -> Node:
        if self.now.kind == "name" and self.now.text == "unique" and self.tokens[self.place + 1].text == "(":
            self.place += 2
            columns = self.columns()
            self.need(")")
            return Node("unique", None, columns)
        if any(token.kind == "word" and token.text == "determines" for token in self.tokens):
            keys = self.columns()
            self.need("determines")
            return Node("determines", len(keys), (*keys, *self.columns()))
        return self.implication()

    def columns(self) -> tuple[Node, ...]:
        found = []
        while True:
            if self.now.kind not in ("name", "quoted"):
                self.fail("a column")
            found.append(Node("column", self.now.text))
            self.place += 1
            if self.take(",") is None:
                return tuple(found)

    def implication(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise RuleError(f"it is nested more than {MAX_DEPTH} deep")
        if self.take("if"):
            first = self.either()
            self.need("then")
            node = Node("implies", None, (first, self.implication()))
        else:
            node = self.either()
            if self.take("implies", "->"):
                node = Node("implies", None, (node, self.implication()))
        self.depth -= 1
        return node

    def either(self) -> Node:
        node = self.both()
        while self.take("or"):
            node = Node("or", None, (node, self.both()))
        return node

    def both(self) -> Node:
        node = self.negation()
        while self.take("and"):
            node = Node("and", None, (node, self.negation()))
        return node

    def negation(self) -> Node:
        num_not = 0
        while self.take("not"):
            num_not += 1
        node = self.comparison()
        return Node("not", None, (node,)) if num_not % 2 else node

    def comparison(self) -> Node:
        node = self.sum()
        if self.take("is"):
            return self.presence(node)
        if self.take("matches"):
            return Node("matches", self.string(), (node,))
        if self.take("in"):
            return Node("in", self.list(), (node,))
        if self.now.text == "not" and self.tokens[self.place + 1].text in ("in", "matches"):
            self.place += 1
            inner = Node("in", self.list(), (node,)) if self.take("in") else Node("matches", self.after_matches(), (node,))
            return Node("not", None, (inner,))
        return self.chain(node)

    def after_matches(self) -> str:
        self.need("matches")
        return self.string()

    def presence(self, node: Node) -> Node:
        is_not = self.take("not") is not None
        word = self.take("missing", "known")
        if word is None:
            self.fail('"missing" or "known"')
        return Node("missing" if (word == "missing") != is_not else "known", None, (node,))

    def chain(self, left: Node) -> Node:
        """`1 <= x <= 5` is both."""
        made: Node | None = None
        while mark := self.take(*_COMPARE):
            right = self.sum()
            one = Node(_COMPARE[mark], None, (left, right))
            made = one if made is None else Node("and", None, (made, one))
            left = right
        return left if made is None else made

    def sum(self) -> Node:
        node = self.product()
        while mark := self.take("+", "-"):
            node = Node(mark, None, (node, self.product()))
        return node

    def product(self) -> Node:
        node = self.sign()
        while mark := self.take("*", "/", "%"):
            node = Node(mark, None, (node, self.sign()))
        return node

    def sign(self) -> Node:
        num_minus = 0
        while self.take("-"):
            num_minus += 1
        node = self.atom()
        if not num_minus % 2:
            return node
        if node.op == "literal" and isinstance(node.value, float):
            return Node("literal", -node.value)
        return Node("-", None, (Node("literal", 0.0), node))

    def atom(self) -> Node:
        token = self.now
        if self.take("("):
            node = self.implication()
            self.need(")")
            return node
        if word := self.take("true", "false"):
            return Node("literal", word == "true")
        if token.kind not in ("number", "string", "name", "quoted"):
            self.fail("a column, a number or a text")
        self.place += 1
        if token.kind == "number":
            return Node("literal", float(token.text))
        if token.kind == "string":
            return Node("literal", _unquoted(token.text))
        if token.kind == "name" and self.now.text == "(" and self.now.kind == "mark":
            return self.call(token)
        return Node("column", token.text)

    def call(self, token: _Token) -> Node:
        if token.text not in FUNCTIONS:
            raise RuleError(f'found the function "{token.text}", allowed: {", ".join(FUNCTIONS)}, and unique at the start')
        self.need("(")
        parts = [self.implication()]
        while self.take(","):
            parts.append(self.implication())
        self.need(")")
        if len(parts) != FUNCTIONS[token.text]:
            raise RuleError(f"{token.text} takes {FUNCTIONS[token.text]} arguments, found {len(parts)}")
        return Node(token.text, None, tuple(parts))

    def string(self) -> str:
        if self.now.kind != "string":
            self.fail("a text in quotes")
        self.place += 1
        return _unquoted(self.tokens[self.place - 1].text)

    def list(self) -> tuple[Any, ...]:
        closing = {"[": "]", "(": ")"}.get(self.take("[", "(") or "")
        if closing is None:
            self.fail('"["')
        found: list[Any] = []
        while True:
            node = self.sign()
            if node.op != "literal":
                self.fail("a number or a text")
            found.append(node.value)
            if self.take(",") is None:
                break
        self.need(str(closing))
        return tuple(found)


def _unquoted(text: str) -> str:
    """Without its quotes; a backslash is a backslash (patterns are full of them) but before a quote."""
    return text[1:-1].replace("\\" + text[0], text[0])
