"""Every benchmark keeps the contract; choice and generate find what a model knows, and say what is wrong with a file."""

from __future__ import annotations

import copy
import csv
import gzip
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.place import Place
from lode.testing.benchmark import check_benchmark
from lode.testing.speaker import PlainSpeaker, counting_speaker, small_speaker

CYCLE = "abcdefgh"
KNOWN: dict[str, dict[str, Any]] = {
    "choice": {"question": "question", "choices": "choices", "prompt": "{question}"},
    "generate": {"prompt": "question", "answer": "wanted", "max_tokens": 4},
}


@pytest.fixture(scope="module")
def cyclist() -> PlainSpeaker:
    """A model that knows one thing: after a, a space and b come a, a space and c, and so on around."""
    return counting_speaker(" ".join(CYCLE * 9), "0123456789ABCDEFGH.:?\n")


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    rows = [
        {
            "question": f"{CYCLE[at]} {CYCLE[at + 1]}",
            "choices": [CYCLE[at], CYCLE[at + 2], CYCLE[at + 1]],
            "answer": 1,
            "wanted": f" {CYCLE[at + 2]} ",
        }
        for at in range(6)
    ]
    _write(tmp_path / "questions.jsonl", rows)
    return tmp_path


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _made(word: str, folder: Path, **options: Any) -> Any:
    return REGISTRIES["benchmark"].create(Component(word, {"path": "questions.jsonl", **options}), Place(folder))


@pytest.mark.parametrize("word", REGISTRIES["benchmark"].names())
def test_every_benchmark_keeps_the_contract(word: str, questions: Path, cyclist: PlainSpeaker) -> None:
    component = Component(word, {"path": "questions.jsonl", **KNOWN.get(word, {})})
    check_benchmark(lambda place: REGISTRIES["benchmark"].create(component, place), Place(questions), cyclist)


@pytest.mark.parametrize("normalize", ["none", "length", "bytes"])
def test_what_the_model_knows_is_right_and_the_opposite_is_wrong(questions: Path, cyclist: PlainSpeaker, normalize: str) -> None:
    knows = _made("choice", questions, prompt="{question}", normalize=normalize).ask(cyclist, 0)
    assert knows.right.all() and (knows.chance == 1 / 3).all() and len(knows.right) == 6
    swapped = [{"question": f"{a} {b}", "choices": [a, c], "answer": a} for a, b, c in zip("abc", "bcd", "cde", strict=True)]
    _write(questions / "questions.jsonl", swapped)
    assert not _made("choice", questions, prompt="{question}", normalize=normalize).ask(cyclist, 0).right.any()


def test_length_decides_unless_it_is_divided_out(questions: Path, cyclist: PlainSpeaker) -> None:
    """The longer answer is foretold letter by letter, but every letter costs something."""
    _write(questions / "questions.jsonl", [{"question": "a b", "choices": ["c d e f g", "e"], "answer": "c d e f g"}])
    assert _made("choice", questions, prompt="{question}", normalize="length").ask(cyclist, 0).right.all()
    _write(questions / "questions.jsonl", [{"question": "a b", "choices": ["c d e f h", "c"], "answer": "c"}])
    assert _made("choice", questions, prompt="{question}").ask(cyclist, 0).right.all()


def test_shots_stand_before_the_question_and_are_not_asked(questions: Path, cyclist: PlainSpeaker) -> None:
    found = _made("choice", questions, prompt="{question}", shots=2).ask(cyclist, 0)
    assert len(found.right) == 4 and not found.parts
    crowded = _made("choice", questions, prompt="{question}", shots=5).ask(cyclist, 0)
    assert crowded.parts == {"with fewer examples": 1}  # 32 characters hold four of them
    with pytest.raises(DataError, match=r"6 rows, allowed are more than `shots` \(6\)"):
        _made("choice", questions, shots=6).ask(cyclist, 0)


def test_answers_may_be_columns_letters_or_words(questions: Path, cyclist: PlainSpeaker) -> None:
    rows = [{"q": "a b", "A": "a", "B": "c", "right": "B"}, {"q": "b c", "A": "d", "B": "b", "right": "d"}]
    _write(questions / "questions.jsonl", rows)
    options: dict[str, Any] = {"question": "q", "choices": ["A", "B"], "answer": "right"}
    assert _made("choice", questions, prompt="{question}", **options).ask(cyclist, 0).right.all()
    lettered = _made("choice", questions, letters=True, **options)
    assert lettered._question(rows[0], ["a", "c"]) == "a b\nA. a\nB. c\nAnswer:"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"question": "a", "choices": ["b", "c"], "answer": "e"}],
            r"row 1: the answer is 'e', allowed are its number from 0, its letter",
        ),
        ([{"question": "a", "choices": ["b", "c"], "answer": 2}], "row 1: the answer is '2'"),
        ([{"question": "a", "choices": "b", "answer": 0}], "choices holds no list of two answers"),
        (
            [{"qestion": "a", "choices": ["b", "c"], "answer": 0}],
            'row 1: no "question", found qestion, choices, answer. Did you mean "qestion"',
        ),
        ([], "holds no question"),
    ],
)
def test_a_row_that_cannot_be_asked_is_named(
    rows: list[dict[str, Any]], message: str, tmp_path: Path, cyclist: PlainSpeaker
) -> None:
    _write(tmp_path / "questions.jsonl", rows)
    with pytest.raises(DataError, match=message):
        _made("choice", tmp_path).ask(cyclist, 0)


def test_a_file_that_is_none_is_an_error(tmp_path: Path, cyclist: PlainSpeaker) -> None:
    (tmp_path / "questions.jsonl").write_text('{"question": 1}\nnot json\n')
    with pytest.raises(DataError, match=r"questions\.jsonl: line 2 is no JSON"):
        _made("choice", tmp_path).ask(cyclist, 0)
    with pytest.raises(DataError, match=r"found sha256 \w+, allowed is 00"):
        _made("choice", tmp_path, sha256="00").fingerprint()
    (tmp_path / "questions.txt").write_text("x")
    with pytest.raises(DataError, match="is no file of questions"):
        _made("choice", tmp_path, path="questions.txt").ask(cyclist, 0)


@pytest.mark.parametrize(
    ("match", "more", "said", "wanted", "is_right"),
    [
        ("exact", {}, " c d ", "c d", True),
        ("exact", {}, "c d e", "c d", False),
        ("contains", {}, "it is c d.", "c d", True),
        ("contains", {}, "it is c", "c d", False),
        ("number", {}, "so 3 and 4 make 1,007.0", "#### 1007", True),
        ("number", {}, "7 then 8", "#### 7", False),
        ("number", {}, "none", "#### 7", False),
        ("regex", {"pattern": r"Answer: (\w+)"}, "Answer: a. No. Answer: b", "b", True),
        ("regex", {"pattern": r"Answer: (\w+)"}, "b", "b", False),
        ("regex", {"pattern": r"(a+)+!"}, "a" * 100, "b", False),  # takes Python's own module longer than the universe has
    ],
)
def test_free_answers_are_compared_as_the_file_says(
    match: str, more: dict[str, Any], said: str, wanted: str, is_right: bool, tmp_path: Path
) -> None:
    assert _made("generate", tmp_path, match=match, **more)._is_right(said, wanted) is is_right


def test_a_model_that_knows_the_next_letters_writes_them(questions: Path, cyclist: PlainSpeaker) -> None:
    options: dict[str, Any] = {"prompt": "question", "answer": "wanted", "match": "exact"}
    assert _made("generate", questions, max_tokens=3, **options).ask(cyclist, 0).right.all()
    assert _made("generate", questions, max_tokens=3, chat=True, **options).ask(cyclist, 0).right.all()
    assert not _made("generate", questions, max_tokens=1, **options).ask(cyclist, 0).right.any()


def test_a_chat_without_room_for_an_answer_is_a_wrong_answer(questions: Path, cyclist: PlainSpeaker) -> None:
    options: dict[str, Any] = {"prompt": "question", "answer": "wanted", "match": "exact", "max_tokens": 3, "chat": True}
    narrow = PlainSpeaker(cyclist.decoder, SimpleNamespace(shape=SimpleNamespace(context=4)), cyclist.tokenizer)  # type: ignore[arg-type]
    answered = _made("generate", questions, **options).ask(narrow, 0)
    assert not answered.right.any() and answered.parts == {"cut questions": len(answered.right)}


def test_a_pattern_is_checked_when_the_file_is_read(tmp_path: Path) -> None:
    for options, message in [
        ({"match": "regex"}, "go together"),
        ({"match": "regex", "pattern": "("}, "is no regular"),
        ({"match": "regex", "pattern": "a"}, "no group"),
        ({"match": "regex", "pattern": "(?<=x)(a)"}, "look-around"),
    ]:
        with pytest.raises(DataError, match=message):
            _made("generate", tmp_path, **options)


@pytest.mark.parametrize("answer", ["", " ", [], ["4", ""]])
def test_an_empty_answer_is_an_error_and_not_right_for_everybody(answer: Any, tmp_path: Path, cyclist: PlainSpeaker) -> None:
    _write(tmp_path / "questions.jsonl", [{"prompt": "a b", "answer": answer}])
    with pytest.raises(DataError, match=r"answer: found .* for the question 'a b'"):
        _made("generate", tmp_path, match="contains").ask(cyclist, 0)


def test_equal_answers_are_guessed_among_and_the_first_is_not_preferred(tmp_path: Path, cyclist: PlainSpeaker) -> None:
    _write(tmp_path / "questions.jsonl", [{"question": "a b", "choices": ["c"] * 4, "answer": 0}] * 200)
    found = _made("choice", tmp_path, prompt="{question}").ask(cyclist, 0)
    assert 0.15 < found.right.mean() < 0.35
    with torch.no_grad():
        lost = copy.deepcopy(cyclist)
        lost.decoder.head.fill_(float("nan"))
    assert _made("choice", tmp_path, prompt="{question}").ask(lost, 0).right.mean() < 0.35


def test_there_are_26_letters(tmp_path: Path, cyclist: PlainSpeaker) -> None:
    _write(tmp_path / "questions.jsonl", [{"question": "a b", "choices": list("abcdefgh") * 4, "answer": 30}])
    with pytest.raises(DataError, match="row 1: 32 answers, allowed with letters: 26 at most"):
        _made("choice", tmp_path, letters=True).ask(cyclist, 0)


@pytest.mark.data
def test_chinese_exams_and_sums_are_read_as_they_are_published(lode_data: Path, tmp_path: Path) -> None:
    """CMMLU's four columns of answers and GSM8K's "#### 42"; a model with drawn weights can only guess."""
    with zipfile.ZipFile(lode_data / "llm-eval" / "cmmlu_dev.zip") as archive:
        name = next(name for name in archive.namelist() if name.endswith(".csv"))
        rows = list(csv.DictReader(io.StringIO(archive.read(name).decode("utf-8-sig"))))
    _write(tmp_path / "questions.jsonl", rows)
    speaker = small_speaker([row["Question"] for row in rows], context=64)
    found = _made("choice", tmp_path, question="Question", choices=["A", "B", "C", "D"], answer="Answer", letters=True).ask(
        speaker, 0
    )
    assert len(found.right) == len(rows) and (found.chance == 0.25).all()
    with gzip.open(lode_data / "llm-eval" / "gsm8k_train.jsonl.gz", "rt", encoding="utf-8") as file:
        _write(tmp_path / "questions.jsonl", [json.loads(next(file)) for _ in range(3)])
    sums = _made("generate", tmp_path, prompt="question", answer="answer", match="number", max_tokens=8)
    assert sums._is_right("It is 72.", sums._answers(json.loads((tmp_path / "questions.jsonl").read_text().splitlines()[0]))[0])
    assert not sums.ask(speaker, 0).right.any()
