"""Questions with several answers of which one is right: the one that the model finds likeliest counts as said.

Contract: lode/pipeline/language/contracts.py. How likely an answer is: lode/model/language/scoring.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np

from lode.core.errors import DataError, listed
from lode.core.types import FilePath, Range
from lode.data.place import Place
from lode.model.language.scoring import told
from lode.pipeline.language.contracts import Answered, Benchmark, Speaker
from lode.pipeline.language.questions import QUESTION, Context, Row, contents, rows, spread

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SHOWN = 5
_AT_ONCE = 256


class Choice(Benchmark):
    """Multiple choice, one right answer a question; compared with guessing.

    Args:
        path: a .jsonl or .csv file (also with .gz) of one question a row, relative to lode.yaml or to `--data DIR`.
        question: the column of the question.
        choices: the column that holds the answers as a list, or several columns of one answer each.
        answer: the column of the right one: its number from 0, its letter from A, or its own words.
        shots: so many rows of the beginning are not asked, but stand answered before every question.
        normalize: what an answer's log-probability is divided by, so that long ones may win: none, length (tokens) or bytes.
        letters: show the answers under letters in the question, and choose among the letters.
        prompt: how a question is written; the answer follows after a space.
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
        question: str = "question",
        choices: str | list[str] = "choices",
        answer: str = "answer",
        shots: Annotated[int, Range(0)] = 0,
        normalize: Literal["none", "length", "bytes"] = "none",
        letters: bool = False,
        prompt: str = "{question}\nAnswer:",
        name: str | None = None,
        items: Annotated[int, Range(1)] | None = None,
        sha256: str | None = None,
        origin: str | None = None,
    ) -> None:
        if QUESTION not in prompt:
            raise DataError(f"evaluate.tasks: prompt: found {prompt!r}, allowed is a text with {QUESTION} in it.")
        self.place, self.path, self.question, self.answer, self.shots = place, path, question, answer, shots
        self.choices = [choices] if isinstance(choices, str) else list(choices)
        self.normalize, self.letters, self.prompt, self.name, self.items = normalize, letters, prompt, name or path, items
        self.sha256, self.origin = sha256, origin

    def fingerprint(self) -> str:
        return hashlib.sha256(contents(self.place, self.path, self.sha256, self.origin)).hexdigest()

    def ask(self, model: Speaker, seed: int) -> Answered:
        data = contents(self.place, self.path, self.sha256, self.origin)
        found = rows(data, self.path, [self.question, self.answer, *self.choices])
        if len(found) <= self.shots:
            raise DataError(f"{self.path}: {len(found)} rows, allowed are more than `shots` ({self.shots}). Ask with fewer shots.")
        examples = [self._example(row, line) for line, row in enumerate(found[: self.shots], start=1)]
        asked = [int(place) + self.shots for place in spread(len(found) - self.shots, self.items)]
        context = Context(model.tokenizer, model.architecture.shape.context, examples)
        right: list[bool] = []
        chance: list[float] = []
        shown: list[dict[str, Any]] = []
        for begin in range(0, len(asked), _AT_ONCE):
            part = [(found[place], *self._answers(found[place], place + 1)) for place in asked[begin : begin + _AT_ONCE]]
            for (row, answers, wanted), scores in zip(part, self._scores(model, context, part), strict=True):
                said = _likeliest(scores, np.random.default_rng((seed, len(right))))
                right.append(said == wanted)
                chance.append(1 / len(answers))
                if len(shown) < _SHOWN:
                    shown.append(
                        {
                            "question": str(row[self.question]),
                            "wanted": answers[wanted],
                            "said": answers[said],
                            "right": said == wanted,
                        }
                    )
        return Answered(title=self.name, right=np.array(right, bool), chance=np.array(chance), shown=shown, parts=context.told())

    def _answers(self, row: Row, line: int) -> tuple[list[str], int]:
        """The answers of a row and which is right. Errors: DataError."""
        answers: Any = row[self.choices[0]] if len(self.choices) == 1 else [row[name] for name in self.choices]
        if not isinstance(answers, list) or len(answers) < 2:
            raise DataError(
                f"{self.path}: row {line}: {self.choices[0]} holds no list of two answers or more. Name the columns in a list."
            )
        if self.letters and len(answers) > len(_LETTERS):
            raise DataError(f"{self.path}: row {line}: {len(answers)} answers, allowed with letters: {len(_LETTERS)} at most.")
        texts = [str(answer) for answer in answers]
        wanted = _place_of(row[self.answer], texts)
        if wanted is None:
            raise DataError(
                f"{self.path}: row {line}: the answer is {str(row[self.answer])!r}, allowed are its number from 0, its letter, or one of "
                f"{listed(texts)}. Mend the row."
            )
        return texts, wanted

    def _question(self, row: Row, answers: Sequence[str]) -> str:
        text = str(row[self.question])
        if self.letters:
            text += "".join(f"\n{_LETTERS[place]}. {answer}" for place, answer in enumerate(answers))
        return self.prompt.replace(QUESTION, text)

    def _example(self, row: Row, line: int) -> str:
        answers, wanted = self._answers(row, line)
        return f"{self._question(row, answers)} {self._said(answers)[wanted]}"

    def _said(self, answers: Sequence[str]) -> list[str]:
        return list(_LETTERS[: len(answers)]) if self.letters else list(answers)

    def _scores(self, model: Speaker, context: Context, part: Sequence[tuple[Row, list[str], int]]) -> list[list[float]]:
        """Log-probability of each answer of each question, divided as `normalize` says."""
        pieces, ends, owners = [], [], []
        for number, (row, answers, _) in enumerate(part):
            said = [f" {answer}" for answer in self._said(answers)]
            tokens = [item[: context.context - 1] for item in model.tokenizer.encode(said, inside=True)]
            before = context.fitted(self._question(row, answers), max(map(len, tokens)))
            for text, own in zip(said, tokens, strict=True):
                pieces.append(np.concatenate((before, own)).astype(np.int64))
                ends.append((len(own), len(text.encode())))
                owners.append(number)
        scores: list[list[float]] = [[] for _ in part]
        for owner, (length, num_bytes), item in zip(owners, ends, told(model.decoder, pieces), strict=True):
            by = {"none": 1, "length": max(length, 1), "bytes": num_bytes}[self.normalize]
            scores[owner].append(-float(item.nats[len(item.nats) - length :].sum(dtype=np.float64)) / by)
        return scores


def _likeliest(scores: Sequence[float], random: np.random.Generator) -> int:
    """Which answer has the highest score; of equal ones any, so that a model that knows nothing is not given what stands first."""
    found = np.nan_to_num(np.asarray(scores), nan=-np.inf)
    return int(random.choice(np.flatnonzero(found == found.max())))


def _place_of(answer: Any, texts: Sequence[str]) -> int | None:
    """Which of the texts is meant: a number from 0, the words themselves, or a letter from A."""
    if isinstance(answer, int) and not isinstance(answer, bool):
        return answer if 0 <= answer < len(texts) else None
    word = str(answer)
    if word in texts:
        return texts.index(word)
    if len(word) == 1 and word.upper() in _LETTERS[: len(texts)]:
        return _LETTERS.index(word.upper())
    return int(word) if word.isdecimal() and int(word) < len(texts) else None
