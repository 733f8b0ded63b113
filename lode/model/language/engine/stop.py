"""Tokens to text as they come: no half characters, and nothing that a stop string could still take back.

`TextStream.add` takes a token and gives the text that is final. Read next: `engine.py`, which has one stream for each request.
"""

from __future__ import annotations

from collections.abc import Sequence

from lode.model.language.contracts import Words

_UNKNOWN = "\ufffd"
_LONGEST_PIECE = 8
"""Tokens that may wait for the rest of a character (4 bytes, one token each, and some that were no character to begin with)."""
_LONGEST_WINDOW = 16
"""Tokens that are decoded together with the next one: some tokenizers write a token otherwise at the beginning of a text."""


class StopStrings:
    """The beginnings of all stop strings as one tree: a text is followed through it in time that does not depend on their number.

    Args:
        stops: Texts that end the answer; empty ones are left out.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._root: dict[str, dict] = {}
        for stop in filter(None, stops):
            node = self._root
            for character in stop:
                node = node.setdefault(character, {})
            node[""] = {}  # a stop string ends here
        self._open: list[tuple[int, dict[str, dict]]] = []  # (where it began, how far it came)
        self._seen = 0

    def find(self, text: str) -> int | None:
        """Where the stop string begins that ends first within all text given so far; None where none ends in `text`."""
        if not self._root:
            return None
        for character in text:
            reached = []
            for start, node in (*self._open, (self._seen, self._root)):
                below = node.get(character)
                if below is not None:
                    if "" in below:
                        return start
                    reached.append((start, below))
            self._open = reached
            self._seen += 1
        return None

    def safe_from(self, given: int) -> int | None:
        """How many characters after the first `given` ones no stop string can take back; None: all of them."""
        return self._open[0][0] - given if self._open else None


class TextStream:
    """The text of one answer.

    Args:
        words: Decodes tokens.
        prompt: The tokens before the answer.
        stops: What ends it.
    """

    def __init__(self, words: Words, prompt: Sequence[int], stops: Sequence[str]) -> None:
        self._words = words
        self._stops = StopStrings(stops)
        self._window: list[int] = []  # tokens whose text is known, and begins and ends with whole characters
        self._window_text = ""
        self._pending: list[int] = []  # tokens whose text is not complete yet
        self._held = ""  # text that a stop string could take back
        self._given = 0  # characters given out, in all
        self._start_window(list(prompt)[-4:])

    def add(self, token: int) -> tuple[str, bool]:
        """(text that is final now, whether a stop string ended the answer)."""
        self._pending.append(token)
        text = self._words.decode(self._window + self._pending)
        if text.endswith(_UNKNOWN) and len(self._pending) < _LONGEST_PIECE:
            return "", False
        return self._take(text)

    def finish(self) -> str:
        """What is left when the answer ends without a stop string: held text, and bytes that never became a character."""
        text = ""
        if self._pending:
            text, stopped = self._take(self._words.decode(self._window + self._pending))
            if stopped:
                return text
        held, self._held = self._held, ""
        return text + held

    def _start_window(self, tokens: list[int]) -> None:
        text = self._words.decode(tokens) if tokens else ""
        is_whole = not text.endswith(_UNKNOWN)
        self._window, self._window_text = (tokens, text) if is_whole else ([], "")

    def _take(self, text: str) -> tuple[str, bool]:
        """Text of window and pending tokens to what is final of it."""
        piece, pending = text[len(self._window_text) :], self._pending
        self._pending = []
        if len(self._window) + len(pending) > _LONGEST_WINDOW or text.endswith(_UNKNOWN):
            self._start_window(pending)
        else:
            self._window, self._window_text = self._window + pending, text
        begin = self._stops.find(piece)
        whole = self._held + piece
        if begin is not None:
            return whole[: begin - self._given], True
        final = whole[: self._stops.safe_from(self._given)]
        self._held = whole[len(final) :]
        self._given += len(final)
        return final, False
