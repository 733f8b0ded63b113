"""Text as it comes: whole characters, and never a letter that a stop string takes back."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from lode.model.language.engine.stop import TextStream


class Bytes:
    """256 tokens, one for each byte."""

    size, end = 256, None

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode("utf-8", errors="replace")


class Spaced:
    """Words; the first of a text has no space before it, as sentencepiece writes them."""

    size, end = 3, None

    def decode(self, tokens: Sequence[int]) -> str:
        return " ".join(("one", "two", "three")[token] for token in tokens)


def written(text: bytes, stops: Sequence[str] = (), prompt: bytes = b"") -> tuple[list[str], bool]:
    stream = TextStream(Bytes(), list(prompt), stops)
    pieces = []
    for token in text:
        piece, stopped = stream.add(token)
        pieces.append(piece)
        if stopped:
            return pieces, True
    return [*pieces, stream.finish()], False


def test_characters_come_whole() -> None:
    pieces, _ = written("a漢😀é".encode())
    assert [piece for piece in pieces if piece] == ["a", "漢", "😀", "é"]


def test_what_never_becomes_a_character_is_replaced_at_the_end() -> None:
    assert "".join(written(b"ab" + "漢".encode()[:2])[0]) == "ab\ufffd"


def test_bytes_that_are_no_text_do_not_hold_back_what_follows() -> None:
    pieces, _ = written(b"\xff" * 9 + b"abc")
    assert "".join(pieces) == "\ufffd" * 9 + "abc"


def test_a_prompt_that_ends_within_a_character_changes_nothing_else() -> None:
    assert "".join(written(b"abc", prompt="漢".encode()[:2])[0]) == "abc"


def test_spaces_come_out_as_in_the_whole() -> None:
    tokens = [0, 1, 2, 1] * 10
    stream = TextStream(Spaced(), tokens[:2], ())
    made = "".join(stream.add(token)[0] for token in tokens[2:]) + stream.finish()
    assert Spaced().decode(tokens[:2]) + made == Spaced().decode(tokens)


def test_the_stop_string_is_left_out_and_ends_the_text() -> None:
    pieces, stopped = written(b"Hello.\n\nUser: more", ["\n\nUser:"])
    assert stopped and "".join(pieces) == "Hello."


def test_what_could_become_a_stop_string_waits_and_nothing_else() -> None:
    pieces, stopped = written(b"a<b<|end|", ["<|end|>"])
    assert pieces == ["a", "", "<b", "", "", "", "", "", "", "<|end|"]
    assert not stopped


def test_of_overlapping_stop_strings_the_first_to_end_counts() -> None:
    pieces, stopped = written(b"xabcde", ["abcdef", "cd"])
    assert stopped and "".join(pieces) == "xab"
    assert "".join(written(b"aaab", ["aab"])[0]) == "a"


def test_an_empty_stop_string_stops_nothing() -> None:
    assert "".join(written(b"abc", [""])[0]) == "abc"


def test_a_thousand_stop_strings_equal_a_plain_search() -> None:
    draw = random.Random(3)
    for _ in range(40):
        stops = ["".join(draw.choices("abc", k=draw.randrange(4, 12))) for _ in range(1000 if draw.random() < 0.1 else 6)]
        text = "".join(draw.choices("abc", k=200))
        ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
        expected = text[: min((end, -(end - begin)) for end, begin in ends)[0]] if ends else text
        pieces, stopped = written(text.encode(), stops)
        made = "".join(pieces)
        assert stopped is bool(ends)
        assert expected.startswith(made)
        if ends:
            first = min(end for end, _ in ends)
            assert made == text[: min(begin for end, begin in ends if end == first)]
        else:
            assert made == text


@pytest.mark.parametrize("num_stops", [1, 1000])
def test_state_stays_small_however_many_stop_strings_there_are(num_stops: int) -> None:
    stream = TextStream(Bytes(), [], [f"stop {number:04d}" for number in range(num_stops)])
    for token in b"no such thing here, stop 99" * 20:
        stream.add(token)
    assert len(stream._stops._open) <= 2
