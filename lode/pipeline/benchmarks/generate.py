"""Questions that the model answers in its own words, held against the answers that are known.

Contract: lode/pipeline/language/contracts.py.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl

from lode.core.errors import DataError
from lode.core.types import FilePath, Range
from lode.data.corpus import chat
from lode.data.place import Place
from lode.model.language.engine.contracts import Sampling
from lode.pipeline.language.contracts import Answered, Benchmark, Speaker
from lode.pipeline.language.questions import Context, Row, contents, rows, spread

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_SHOWN = 5


class Generate(Benchmark):
    """Questions answered freely (greedily, so that the same model says the same), compared with known answers.

    Args:
        path: a .jsonl or .csv file (also with .gz) of one question a row, relative to lode.yaml or to `--data DIR`.
        prompt: the column of the question.
        answer: the column of the known answer, or of a list of answers of which any is right.
        match: exact (the same words, but for white space at the ends), contains (the answer stands in what was said), number (the last
            number said is the answer's last one), or regex (what `pattern` finds in both is the same).
        pattern: for regex: a regular expression; its first group, in its last hit, is compared. It is read by the Rust crate regex,
            which takes time linear in the text: no look-around, no back references.
        max_tokens: the longest answer.
        stop: words that end an answer.
        shots: so many rows of the beginning are not asked, but stand answered before every question.
        chat: ask as a user's message, for a model that was taught to answer; shots are left out then.
        name: what the report calls it; left open, the file's name.
        items: at most so many questions are asked, evenly spaced; left open, all.
        sha256: the expected sha256 of the file.
        origin: where the file comes from; repeated in the error when it is missing.
    """

    def __init__(
        self,
        place: Place,
        *,
        path: FilePath,
        prompt: str = "prompt",
        answer: str = "answer",
        match: Literal["exact", "contains", "number", "regex"] = "exact",
        pattern: str | None = None,
        max_tokens: Annotated[int, Range(1)] = 64,
        stop: list[str] = ("\n\n",),  # type: ignore[assignment]
        shots: Annotated[int, Range(0)] = 0,
        chat: bool = False,
        name: str | None = None,
        items: Annotated[int, Range(1)] | None = None,
        sha256: str | None = None,
        origin: str | None = None,
    ) -> None:
        if (match == "regex") != (pattern is not None):
            raise DataError("evaluate.tasks: `match: regex` and `pattern` go together, found one of them. Write both or none.")
        self.place, self.path, self.prompt, self.answer, self.match = place, path, prompt, answer, match
        self.max_tokens, self.stop, self.shots, self.chat, self.name = max_tokens, tuple(stop), shots, chat, name or path
        self.items, self.sha256, self.origin = items, sha256, origin
        self._pattern = None if pattern is None else _compiled(pattern)

    def fingerprint(self) -> str:
        return hashlib.sha256(contents(self.place, self.path, self.sha256, self.origin)).hexdigest()

    def ask(self, model: Speaker, seed: int) -> Answered:
        data = contents(self.place, self.path, self.sha256, self.origin)
        found = rows(data, self.path, [self.prompt, self.answer])
        if len(found) <= self.shots:
            raise DataError(f"{self.path}: {len(found)} rows, allowed are more than `shots` ({self.shots}). Ask with fewer shots.")
        asked = [found[int(place) + self.shots] for place in spread(len(found) - self.shots, self.items)]
        context = Context(model.tokenizer, model.architecture.shape.context, [self._example(row) for row in found[: self.shots]])
        said = self._said(model, context, asked, seed)
        right = [
            any(self._is_right(words, answer) for answer in self._answers(row)) for row, words in zip(asked, said, strict=True)
        ]
        shown = [
            {"question": str(row[self.prompt]), "wanted": self._answers(row)[0], "said": words, "right": good}
            for row, words, good in list(zip(asked, said, right, strict=True))[:_SHOWN]
        ]
        return Answered(
            title=self.name, right=np.array(right, bool), chance=np.zeros(len(right)), shown=shown, parts=context.told()
        )

    def _said(self, model: Speaker, context: Context, asked: Sequence[Row], seed: int) -> list[str]:
        room = min(self.max_tokens, max(1, context.context // 2))
        sampling = Sampling(max_tokens=room, temperature=0.0, stop=self.stop, seed=seed)
        if self.chat:
            return [self._chatted(model, context, [{"role": "user", "content": str(row[self.prompt])}], sampling) for row in asked]
        prompts = [model.tokenizer.decode(context.fitted(str(row[self.prompt]), room)) for row in asked]
        return model.generate(prompts, sampling)

    def _chatted(self, model: Speaker, context: Context, messages: list[dict[str, str]], sampling: Sampling) -> str:
        """The answer; nothing to a question that leaves no room for one, which cannot be cut as a text can."""
        if len(chat.prompt(model.tokenizer, messages)) < context.context:
            return model.chat(messages, sampling)
        context.cut += 1
        return ""

    def _example(self, row: Row) -> str:
        return f"{row[self.prompt]}{self._answers(row)[0]}"

    def _answers(self, row: Row) -> list[str]:
        """Errors: DataError for an empty one, which every text contains."""
        found: Any = row[self.answer]
        answers = [str(answer) for answer in found] if isinstance(found, list) else [str(found)]
        if not answers or not all(map(str.strip, answers)):
            raise DataError(
                f"{self.path}: {self.answer}: found {found!r} for the question {str(row[self.prompt])[:60]!r}, allowed is a text, or a "
                "list of texts. Mend the row, or leave it out."
            )
        return answers

    def _is_right(self, said: str, wanted: str) -> bool:
        if self.match == "exact":
            return said.strip() == wanted.strip()
        if self.match == "contains":
            return wanted.strip() in said
        if self.match == "number":
            numbers = [_NUMBER.findall(text) for text in (said, wanted)]
            return all(numbers) and float(numbers[0][-1].replace(",", "")) == float(numbers[1][-1].replace(",", ""))
        hits = [_last(self._pattern or "", text) for text in (said, wanted)]
        return hits[0] is not None and hits[0] == (hits[1] if hits[1] is not None else wanted.strip())


def _compiled(pattern: str) -> str:
    """Errors: DataError for what is no regular expression, or has no group."""
    try:
        groups = pl.select(pl.lit("").str.extract_groups(pattern)).to_series().struct.fields
    except pl.exceptions.ComputeError as error:
        reason = next((line for line in str(error).splitlines() if line.startswith("error: ")), "error: too large")
        raise DataError(
            f"evaluate.tasks: pattern: {pattern!r} is no regular expression ({reason.removeprefix('error: ')}). Mend it."
        ) from error
    if not groups:
        raise DataError(f"evaluate.tasks: pattern: {pattern!r} has no group, one is needed. Put brackets around the answer.")
    return pattern


def _last(pattern: str, text: str) -> str | None:
    """The first group of the last hit. Not Python's `re`: a careless pattern would never come back from it."""
    hits = pl.Series([text]).str.extract_all(pattern).list.last()
    found: str | None = hits.str.extract(pattern, 1)[0]
    return None if found is None else found.strip()
