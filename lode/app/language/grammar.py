"""Answers that must have a form: grammars compiled by llguidance, in a thread, within bounds, and kept for the next request.

Needs the extra `grammar`. Imported by `lode/app/language/prepare.py` only, and only when a request asks for a form.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
import orjson
import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from lode.app.contracts import RequestError
from lode.app.language.contracts import Form
from lode.app.language.pieces import Pieces
from lode.data.corpus.contracts import Tokenizer

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

_KEPT = 64
_MAX_REASON = 400
_LIMITS = LLParserLimits(max_grammar_size=100_000, verbose_errors=False)
"""Compiling and each step have fuel in llguidance, so both end soon whatever the grammar is (0.5 s at the most, measured)."""
_JSON: JsonCompileOptions = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}


class Grammars:
    """The grammars of one tokenizer. Used from several threads."""

    def __init__(self, tokenizer: Tokenizer, pieces: Pieces):
        self._end = tokenizer.size if tokenizer.end is None else tokenizer.end
        self._tokenizer = LLTokenizer(TokenizerWrapper(_Vocabulary(tokenizer, pieces, self._end)))
        self._made: OrderedDict[tuple[str, str], LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, form: Form, count: int) -> list[Matcher]:
        """A grammar for each of `count` sequences. Errors: RequestError 400 with the reason why there can be none."""
        key = (form.kind, form.text)
        with self._lock:
            found = self._made.get(key)
        if found is None:
            found = self._compiled(form)
        with self._lock:
            self._made[key] = found
            self._made.move_to_end(key)
            if len(self._made) > _KEPT:
                self._made.popitem(last=False)
            return [Matcher(found.deep_copy()) for _ in range(count)]

    def _compiled(self, form: Form) -> LLMatcher:
        try:
            matcher = LLMatcher(self._tokenizer, _source(form), log_level=0, limits=_LIMITS)
            reason = matcher.get_error()
        except ValueError as error:
            reason = str(error)
        if reason:
            text = " ".join(reason.split())[:_MAX_REASON]
            raise RequestError(
                400, "invalid_schema", f"{form.param}: no grammar can be made of it: {text}. Change it.", param=form.param
            )
        return matcher


class Matcher:
    """Where one sequence stands in its grammar: a `lode.model.language.engine.contracts.Grammar`.

    problem: set where a step needed more than its bounds allow; the sequence then ends.
    """

    def __init__(self, matcher: LLMatcher):
        self._matcher = matcher
        self.problem = ""

    def mask(self, mask_W: torch.Tensor) -> None:
        """Write the allowed tokens as bits; none where something is wrong."""
        mask_W.zero_()
        if self._failed():
            return
        found_W = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        found_W = np.pad(found_W, (0, -len(found_W) % 4)).view(np.int32)
        size = min(len(found_W), len(mask_W))
        mask_W[:size] = torch.from_numpy(found_W[:size].copy())
        self._failed()

    def accept(self, token: int) -> None:
        """A token was chosen."""
        if not self._matcher.is_stopped():
            self._matcher.consume_token(token)
        self._failed()

    @property
    def is_over(self) -> bool:
        """Whether nothing but the end may follow."""
        return bool(self._matcher.is_stopped())

    def _failed(self) -> bool:
        if not self.problem and self._matcher.is_error():
            self.problem = " ".join(self._matcher.get_error().split())[:_MAX_REASON] or "the grammar cannot go on"
        return bool(self.problem)


class _Vocabulary:
    """What llguidance asks of a tokenizer. A vocabulary without an end gets one, which the model's mask leaves out."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, pieces: Pieces, end: int):
        self._tokenizer = tokenizer
        self.tokens = [*pieces.all, b"<end>"] if end == len(pieces.all) else pieces.all
        self.eos_token_id = end
        self.special_token_ids = [*pieces.special, end]

    def __call__(self, text: bytes | str) -> list[int]:
        written = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        return [int(token) for token in self._tokenizer.encode([written])[0]]


def _source(form: Form) -> str:
    """A form as llguidance reads it. Errors: ValueError."""
    if form.kind == "json":
        return str(LLMatcher.grammar_from_json_schema(form.text, overrides=_JSON))
    if form.kind == "regex":
        return str(LLMatcher.grammar_from_regex(form.text))
    if form.kind == "choice":
        choices = " | ".join(orjson.dumps(choice).decode() for choice in orjson.loads(form.text))
        return str(LLMatcher.grammar_from_lark(f"start: {choices}"))
    return str(LLMatcher.grammar_from_lark(form.text))
