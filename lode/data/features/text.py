"""Texts: token codes for networks, weighted terms (TF-IDF) for baselines. Tokens are cut in chunks of rows.

How texts are cut is in lode/data/encoding/tokens.py, the term arithmetic in lode/data/encoding/terms.py. Read lode/data/contracts.py first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import polars as pl
from scipy import sparse

from lode.core import packages
from lode.core.errors import SpecError
from lode.core.types import FilePath, FlatSpec, Range, TensorSpec
from lode.data import cells
from lode.data.contracts import Feature, State
from lode.data.encoding.terms import Terms, Tokens
from lode.data.encoding.tokens import Bytes, Tokenizer, Words, chunks

_CHARS_PER_TOKEN = 32
_SAMPLE_ROWS = 10_000
_TERM_ROWS = 200_000
_CJK_SHARE = 0.2
_NUM_SPECIAL = 2  # 0 padding, 1 unknown
_MAX_LETTERS = 4_095  # five of them are one number below 2^63

_CJK = r"[\p{Han}\p{Hiragana}\p{Katakana}]"


class Text(Feature):
    """Free text. Lower-cased; cut into words and punctuation, or into characters where it is Chinese or Japanese, or as told.

    Only the first 32 * length characters of a cell are looked at. Code 0 is padding, 1 an unknown token, 2 the most frequent one.

    Args:
        length: so many tokens of a text are kept for networks.
        tokens: "word", "character", "space" (whatever stands between blanks: texts that are cut already), "bpe" (frequent runs of bytes,
            learnt from the training texts; needs lodeml[bpe]) or "byte"; without it, the training texts decide between words and
            characters by their share of Chinese and Japanese.
        vocabulary: so many different tokens are known, the most frequent ones; with "bpe" at least 256, with "byte" always 256.
        terms: so many terms (1 or 2 words or byte pairs, 1 to 3 characters or bytes) are weighted for baselines, the most frequent ones.
        letters: runs of up to so many letters, with the blanks between words, are terms of baselines too, as many again: stems, endings,
            misspelt words; 0 for none. A model takes several times as long.
        checkpoint: folder of a Hugging Face checkpoint whose own tokenizer cuts the texts for networks (needs lodeml[bpe]); the encoder
            pretrained asks for it by itself. Baselines get words or characters.
        join: what stands between the pieces of a cell that is a list of texts.
        nested: whether other lists and records become JSON text; left open, such cells are refused.
    """

    kind: ClassVar[Literal["string"]] = "string"
    expects: ClassVar[str] = "a text"

    def __init__(
        self,
        *,
        length: Annotated[int, Range(1, 8192)] = 256,
        tokens: Literal["word", "character", "space", "bpe", "byte"] | None = None,
        vocabulary: Annotated[int, Range(16, 1_000_000)] = 20_000,
        terms: Annotated[int, Range(16, 1_000_000)] = 20_000,
        letters: Annotated[int, Range(0, 5)] = 0,
        checkpoint: FilePath | None = None,
        join: str = " ",
        nested: Literal["json"] | None = None,
    ) -> None:
        if checkpoint is not None and tokens is not None:
            raise SpecError(
                f"text: found tokens: {tokens} beside checkpoint (the encoder pretrained brings it), allowed is one of them. "
                "Leave out tokens."
            )
        self.length = length
        self.tokens = tokens
        self.vocabulary = vocabulary
        self.terms = terms
        self.letters = letters
        self.checkpoint = checkpoint
        self.join = join
        self.nested = nested
        self._unit: str = tokens or "word"
        self._longest = 1
        self._tokenizer: Tokenizer = Words("word", _CHARS_PER_TOKEN * length)
        self._term_tokenizer: Tokenizer = self._tokenizer
        self._terms = self._letter_terms = Terms(np.zeros(0, np.int64), np.zeros(0), 1)
        self._letters = Words("letter", _CHARS_PER_TOKEN * length, letters)

    def parse(self, column: pl.Series) -> pl.Series:
        dtype = column.dtype
        if dtype == pl.Object:
            column = cells.object_strings(column)
        elif dtype == pl.Binary:
            column = cells.utf8(column)
        elif dtype == pl.List(pl.String):
            column = column.list.join(self.join, ignore_nulls=True)  # a text that is cut already
        elif dtype.is_nested() and self.nested == "json":
            column = cells.json_texts(column)
        elif dtype.is_nested():
            return pl.Series(column.name, [None] * len(column), dtype=pl.String)
        elif dtype != pl.String:
            column = column.cast(pl.String)
        if len(column) <= cells.FEW_ROWS:
            texts = column.to_list()
            blanks = [text is not None and not text.strip(cells.BLANKS) for text in texts]
            if not any(blanks):
                return column
            texts = [None if no else text for text, no in zip(texts, blanks, strict=True)]
            return pl.Series(column.name, texts, dtype=pl.String)
        blank = column.str.strip_chars(cells.BLANKS) == ""
        return column.zip_with(~blank.fill_null(False), pl.Series([None], dtype=pl.String)) if blank.any() else column

    def fit(self, column: pl.Series, target: np.ndarray | None = None, folds: np.ndarray | None = None) -> None:
        self._unit = self.tokens or _unit(column)
        self._tokenizer, self._term_tokenizer = self._made()
        size = max(self.vocabulary, self.terms) if isinstance(self._tokenizer, Words) else self.vocabulary
        self._longest = min(max(self._tokenizer.fit(column, size), 1), self.length)
        terms = self._term_tokenizer
        if terms is not self._tokenizer:
            terms.fit(column, self.terms)
        self._terms = self._fitted_terms(terms, column)
        if self.letters:
            self._letters.fit(column, _MAX_LETTERS)
            self._letter_terms = self._fitted_terms(self._letters, column)

    def _fitted_terms(self, tokenizer: Tokenizer, column: pl.Series) -> Terms:
        step = -(-len(column) // _TERM_ROWS) or 1
        rows = (tokenizer.tokens(chunk) for chunk in chunks(column.gather_every(step)))
        return Terms.fit(rows, base=tokenizer.count + 1, max_grams=tokenizer.max_grams, max_terms=self.terms)

    def _made(self) -> tuple[Tokenizer, Tokenizer]:
        """For networks and for baselines: the same, but where a checkpoint has its own."""
        max_chars = _CHARS_PER_TOKEN * self.length
        own: Tokenizer = Bytes(max_chars) if self._unit == "byte" else Words(self._unit, max_chars)
        if self._unit == "bpe":
            own = _byte_pairs(max_chars)
        return (own if self.checkpoint is None else _of_checkpoint(max_chars, self.length, self.checkpoint)), own

    def fit_transform(self, column: pl.Series, target: np.ndarray | None, folds: np.ndarray | None) -> np.ndarray:
        self.fit(column, target, folds)
        return self.transform(column)

    def transform(self, column: pl.Series) -> np.ndarray:
        array = np.zeros((len(column), self._longest), dtype=np.int32)
        start = 0
        for chunk in chunks(column):
            self._pad(self._tokenizer.tokens(chunk), array[start : start + len(chunk)])
            start += len(chunk)
        return array

    def _pad(self, tokens: Tokens, array: np.ndarray) -> None:
        """Write codes into the rows of int32 (N, L), which is all 0."""
        kept = np.minimum(tokens.lengths, array.shape[1])
        rows = np.repeat(np.arange(len(kept)), kept)
        places = np.arange(len(rows)) - np.repeat(np.cumsum(kept) - kept, kept)
        starts = np.cumsum(tokens.lengths) - tokens.lengths
        codes = tokens.codes[np.repeat(starts, kept) + places]
        known = (codes > 0) & (codes <= self._num_known)
        array[rows, places] = np.where(known, codes + np.int32(_NUM_SPECIAL - 1), np.int32(1))

    def inverse(self, array: np.ndarray) -> pl.Series:
        """The known tokens, joined; an unknown one is a replacement character. Case and spacing are not kept by words."""
        rows = [[max(code - _NUM_SPECIAL + 1, 0) for code in row if code] for row in array.tolist()]
        texts = [self._tokenizer.text(row) for row in rows]
        return pl.Series([text if text.strip(cells.BLANKS) else None for text in texts], dtype=pl.String)

    @property
    def _num_known(self) -> int:
        """How many tokens networks know."""
        count = self._tokenizer.count
        return min(count, self.vocabulary) if isinstance(self._tokenizer, Words) else count

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec("int32", (self._longest,), ragged=(0,), cardinality=self._num_known + _NUM_SPECIAL)

    def words(self) -> Sequence[str]:
        return ["", "", *self._tokenizer.names[: self._num_known]]

    @property
    def flat_spec(self) -> FlatSpec:
        names = self._terms.names(self._term_tokenizer.names, self._term_tokenizer.glue)
        if self.letters:
            names += [f'"{run}"' for run in self._letter_terms.names(self._letters.names, self._letters.glue)]
        return FlatSpec(tuple(names), (-1,) * len(names))

    def flat(self, column: pl.Series) -> Any:
        words = self._terms.weigh([self._term_tokenizer.tokens(chunk) for chunk in chunks(column)])
        if not self.letters:
            return words
        letters = self._letter_terms.weigh([self._letters.tokens(chunk) for chunk in chunks(column)])
        return sparse.hstack([words, letters], format="csr")

    def unseen(self, column: pl.Series) -> int:
        return 0

    def state(self) -> State:
        facts = {"unit": self._unit, "longest": self._longest, **self._tokenizer.state(), **self._term_tokenizer.state()}
        facts |= {"term_keys": self._terms.keys, "term_weights": self._terms.weights}
        if self.letters:
            letters = self._letter_terms
            facts |= {"letters": list(self._letters.names), "letter_keys": letters.keys, "letter_weights": letters.weights}
        return facts

    def restore(self, state: State) -> None:
        self._unit, self._longest = str(state["unit"]), int(state["longest"])
        self._tokenizer, self._term_tokenizer = self._made()
        for tokenizer in {id(made): made for made in (self._tokenizer, self._term_tokenizer)}.values():
            tokenizer.restore(state)
        self._terms = _terms(state, "term", self._term_tokenizer)
        if self.letters:
            self._letters.restore({"words": state["letters"]})
            self._letter_terms = _terms(state, "letter", self._letters)


def _terms(state: State, name: str, tokenizer: Tokenizer) -> Terms:
    """Those that were kept under this name."""
    keys, weights = np.asarray(state[f"{name}_keys"], np.int64), np.asarray(state[f"{name}_weights"], np.float64)
    return Terms(keys, weights, tokenizer.count + 1)


def _of_checkpoint(max_chars: int, length: int, folder: str) -> Tokenizer:
    """Errors: MissingPackageError where the package tokenizers is not installed."""
    try:
        from lode.data.encoding.checkpoint_tokens import CheckpointTokens  # a package of its own, as below
    except ModuleNotFoundError as error:
        if error.name != "tokenizers":
            raise
        raise packages.missing("text: checkpoint", error) from error
    return CheckpointTokens(max_chars, length, folder)


def _byte_pairs(max_chars: int) -> Tokenizer:
    """Errors: MissingPackageError where the package tokenizers is not installed."""
    try:
        from lode.data.encoding.byte_pairs import BytePairs  # 0.1 s and a package of its own: only who asks for byte pairs needs it
    except ModuleNotFoundError as error:
        if error.name != "tokenizers":
            raise
        raise packages.missing("text: tokens: bpe", error) from error
    return BytePairs(max_chars)


def _unit(column: pl.Series) -> str:
    """Either "character", where a fifth of what the first texts hold is Chinese or Japanese, or "word"."""
    texts = column.drop_nulls().head(_SAMPLE_ROWS).str.head(1_000)
    num_chars, num_cjk = (int(texts.str.count_matches(pattern).to_numpy().sum()) for pattern in (r"\S", _CJK))
    return "character" if num_chars and num_cjk >= _CJK_SHARE * num_chars else "word"
