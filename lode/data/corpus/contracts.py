"""The contract of tokenizers (files in lode/data/tokenizers), and how a corpus of tokens lies on disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

END, START_TURN, END_TURN, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
MARKS = (END, START_TURN, END_TURN, PAD)
"""The special tokens that every tokenizer of lode's own has; no text can write them."""


class Tokenizer(ABC):
    """Text to tokens and back. `__init__(self, place: Place, *, ...)`; state is Hugging Face's tokenizer.json wherever that can hold it.

    All of these are known after `fit` or `load`:

    size: number of tokens, special ones included (ids 0 .. size - 1). end: the token behind a document; None where there is none.
    begin: the token that goes before a text, where the tokenizer asks for one (Llama, Gemma); mostly None.
    unknown: the token of what it cannot write; None where it can write everything.
    stops: tokens at which an answer is over (end of the document, end of a turn).
    special: every special token and its id. roles: which one is "eos_token", "bos_token", "pad_token", "unk_token", as far as there is
    one. template: the chat template (Jinja), or None. swallows: special tokens that take the blanks before them, and those behind them.
    """

    size: int
    end: int | None
    begin: int | None
    unknown: int | None
    stops: tuple[int, ...]
    special: Mapping[str, int]
    roles: Mapping[str, str]
    template: str | None
    swallows: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())

    @abstractmethod
    def fit(self, texts: Iterable[str]) -> None:
        """Learn from the training split's texts; nothing where the tokenizer comes from elsewhere. Deterministic.

        texts is read once, so that it may be larger than memory.
        """

    @abstractmethod
    def encode(self, texts: Sequence[str], *, inside: bool = False) -> list[np.ndarray]:
        """int32 (T,) each, without `begin` and `end`. Special tokens written in a text are text: a document cannot inject them.

        inside: something stands before these texts, which makes a difference to tokenizers that put a blank before the first word.
        """

    @abstractmethod
    def decode(self, tokens: Sequence[int] | np.ndarray, *, special: bool = False) -> str:
        """Text; bytes that are no UTF-8 become U+FFFD, ids that no token has (weights are padded) nothing.

        special: whether special tokens are written out.
        """

    def id_of(self, mark: str) -> int | None:
        """The id of a special token, or None."""
        return self.special.get(mark)

    @abstractmethod
    def save(self, folder: Path) -> None:
        """tokenizer.json, tokenizer_config.json and chat_template.jinja, as `transformers` reads them."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Read it back. Errors: ArtifactError; never runs code, never reads a pickle."""


FILES = ("tokens.npy", "documents.npy", "learned.npy", "rows.npy", "about.json")
"""A folder of tokens (lode/data/corpus/store.py): tokens (N,) uint16 or uint32, documents (D + 1,) int64 offsets, learned (N,) uint8
(absent where every token is learned), rows (D,) int64 (which row of the split each document is from; some give none), about:
{"documents", "tokens", "learned_tokens", "bytes" (UTF-8 of what is learned), "words", "vocabulary", "unknown_tokens", "rows", "rejected"
(reason -> rows), "tokens_per_byte", "tokens_per_word", "languages"}. Arrays are written in blocks and mapped into memory, never held whole.

documents[0] > 0 of texts: a token that ends documents stands before the first one, so that the token before every document is such a
one, and a document's first token can be learned too."""
