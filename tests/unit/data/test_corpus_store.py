"""Rows to token files: what is written, what is counted, and that nothing half-written stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lode.core.errors import ArtifactError, DataError
from lode.core.types import Component
from lode.data.corpus import render, store, tokenizers
from lode.data.corpus.contracts import Tokenizer
from lode.data.place import Place

TEXT = Component("next_token")


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    return tokenizers.make(Component("bytes"), Place(tmp_path))


def test_documents_come_back_as_they_went_in(tokenizer: Tokenizer, tmp_path: Path) -> None:
    texts = ["one", None, "", "zwei\u00e9", "\u4e09 \u56db"]
    batches = [pl.DataFrame({"text": texts[:2]}), pl.DataFrame({"text": texts[2:]}, schema={"text": pl.String})]
    about = store.write(tokenizer, TEXT, iter(batches), tmp_path / "tokens")
    arrays = store.read(tmp_path / "tokens")
    assert arrays["tokens"].dtype == np.uint16 and arrays["documents"].dtype == np.int64 and "learned" not in arrays
    assert isinstance(arrays["tokens"], np.memmap)
    offsets = arrays["documents"]
    found = [tokenizer.decode(arrays["tokens"][begin:end], special=True) for begin, end in pairwise(offsets)]
    assert found == [f"{text}<|endoftext|>" for text in texts if text]
    assert offsets[0] == 1 and arrays["tokens"][0] == tokenizer.end  # what stands before every document stands before the first
    assert store.rows(tmp_path / "tokens").tolist() == [0, 3, 4]
    assert about == store.read_about(tmp_path / "tokens")
    assert (about["documents"], about["rows"], about["rejected"]) == (3, 5, {"empty text": 2})
    assert about["bytes"] == sum(len(text.encode()) for text in texts if text) and about["words"] == 4
    assert about["tokens"] == about["learned_tokens"] + 1 == len(arrays["tokens"])


def test_a_separator_stands_in_place_of_the_end_token(tokenizer: Tokenizer, tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["a", "b"]})
    about = store.write(tokenizer, TEXT, [frame], tmp_path / "tokens", separator="\n\n")
    assert tokenizer.decode(store.read(tmp_path / "tokens")["tokens"]) == "\na\n\nb\n\n" and about["bytes"] == 6
    store.write(tokenizer, TEXT, [frame], tmp_path / "tokens", separator="")
    assert store.read(tmp_path / "tokens")["tokens"].tolist() == [97, 98]


def test_a_large_vocabulary_takes_four_bytes_and_unknown_tokens_are_counted(tmp_path: Path) -> None:
    large = tokenizers.make(Component("characters", {"vocabulary": 100_000}), Place(tmp_path))
    large.fit(["".join(chr(point) for point in range(0x3400, 0x3400 + 70_000) if not 0xD800 <= point < 0xE000)])
    about = store.write(large, TEXT, [pl.DataFrame({"text": ["\u3400a", "b"]})], tmp_path / "tokens")
    assert large.size > 1 << 16 and store.read(tmp_path / "tokens")["tokens"].dtype == np.uint32
    assert about["unknown_tokens"] == 2


def test_answers_are_learned_and_pairs_stand_side_by_side(tokenizer: Tokenizer, tmp_path: Path) -> None:
    frame = pl.DataFrame({"ask": ["Why?", "", "How?", "Who?"], "more": ["", "", "Tell.", None], "good": ["So.", "x", "Thus.", "I."],
                          "bad": ["No.", "y", "Nay.", "I."]})  # fmt: skip
    chats = Component("answers", {"prompt": ["ask", "more"], "answer": "good", "system": "Be brief."})
    about = store.write(tokenizer, chats, [frame], tmp_path / "chats")
    arrays = store.read(tmp_path / "chats")
    assert tokenizer.decode(arrays["tokens"][arrays["learned"] == 1], special=True) == "So.<|im_end|>Thus.<|im_end|>I.<|im_end|>"
    assert "<|im_start|>user\nHow?\n\nTell.<|im_end|>" in tokenizer.decode(arrays["tokens"], special=True)
    assert about["rejected"] == {"empty prompt": 1} and store.rows(tmp_path / "chats").tolist() == [0, 2, 3]
    pairs = Component("preferences", {"prompt": ["ask", "more"], "chosen": "good", "rejected": "bad"})
    about = store.write(tokenizer, pairs, [frame], tmp_path / "pairs")
    arrays = store.read(tmp_path / "pairs")
    assert about["documents"] == 4 and store.rows(tmp_path / "pairs").tolist() == [0, 0, 2, 2]
    assert tokenizer.decode(arrays["tokens"][arrays["learned"] == 1], special=True) == "".join(
        f"{text}<|im_end|>" for text in ("So.", "No.", "Thus.", "Nay.")
    )
    assert about["rejected"] == {"empty prompt": 1, "chosen and rejected are the same": 1}


def test_conversations_come_from_a_column_of_messages_and_bad_ones_are_counted(tokenizer: Tokenizer, tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    objective = Component("answers", {"messages": "talk"})
    cells = [json.dumps(talk), "[{", json.dumps(talk[:1])]
    about = store.write(tokenizer, objective, [pl.DataFrame({"talk": cells})], tmp_path / "json")
    listed = store.write(tokenizer, objective, [pl.DataFrame({"talk": [talk]})], tmp_path / "listed")
    assert about["documents"] == listed["documents"] == 1 and sum(about["rejected"].values()) == 2
    assert np.array_equal(store.read(tmp_path / "json")["tokens"], store.read(tmp_path / "listed")["tokens"])
    assert list(render.texts(objective, [pl.DataFrame({"talk": cells})])) == ["Hi", "Ho", "Hi"]


def test_paragraphs_are_joined_and_one_column_needs_no_name(tokenizer: Tokenizer, tmp_path: Path) -> None:
    store.write(tokenizer, TEXT, [pl.DataFrame({"lines": [["a", "b"], None]})], tmp_path / "tokens")
    assert tokenizer.decode(store.read(tmp_path / "tokens")["tokens"]) == "a\nb"
    with pytest.raises(DataError, match=r'model.objective.text: no column "txt", found text. Did you mean "text"\?'):
        store.write(tokenizer, Component("next_token", {"text": "txt"}), [pl.DataFrame({"text": ["a"]})], tmp_path / "tokens")
    with pytest.raises(DataError, match="of the columns a, b none is clearly the text"):
        store.write(tokenizer, TEXT, [pl.DataFrame({"a": ["x"], "b": ["y"]})], tmp_path / "tokens")


def test_an_empty_corpus_is_an_error_that_leaves_nothing(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the corpus is empty, allowed: at least one document"):
        store.write(tokenizer, TEXT, [], tmp_path / "tokens")
    with pytest.raises(DataError, match=r"none of 2 rows gives a document \(2 times empty text\)"):
        store.write(tokenizer, TEXT, [pl.DataFrame({"text": ["", None]}, schema={"text": pl.String})], tmp_path / "tokens")
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    store.write(tokenizer, TEXT, [pl.DataFrame({"text": ["abc", "def"]})], folder)
    np.save(folder / "documents.npy", np.zeros(2, np.int64))
    with pytest.raises(ArtifactError, match=r"documents.npy: holds \(2,\), about.json says 3. Remove the folder"):
        store.read(folder)
    (folder / "tokens.npy").write_bytes(b"\x80\x04nothing")
    with pytest.raises(ArtifactError, match=r"tokens\.npy: cannot be read"):
        store.read(folder)
    (folder / "about.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"about\.json: says nothing of tokens"):
        store.read(folder)


_ENDLESS = """
    import sys
    from pathlib import Path
    import polars as pl
    from lode.core.types import Component
    from lode.data.corpus import store, tokenizers
    from lode.data.place import Place

    folder = Path(sys.argv[1])
    batch = pl.DataFrame({"text": ["some words"] * 1000})

    def batches():
        while True:
            yield batch
            print("batch", flush=True)

    store.write(tokenizers.make(Component("bytes"), Place(folder)), Component("next_token"), batches(), folder / "tokens")
"""


def test_a_process_killed_while_it_writes_leaves_what_was_there(tokenizer: Tokenizer, tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    store.write(tokenizer, TEXT, [pl.DataFrame({"text": ["whole"]})], folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    command = [sys.executable, "-c", textwrap.dedent(_ENDLESS), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as process:
        assert process.stdout is not None and process.stdout.readline() == b"batch\n"
        os.kill(process.pid, signal.SIGKILL)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    store.write(tokenizer, TEXT, [pl.DataFrame({"text": ["again"]})], folder)
    assert [path.name for path in tmp_path.iterdir()] == ["tokens"]
    assert tokenizer.decode(store.read(folder)["tokens"]) == "again"


def test_rows_are_asked_for_one_batch_at_a_time(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Before a batch is read, the one before it lies on disk (but for what the file system still holds)."""
    sizes: list[int] = []

    def batches() -> Iterator[pl.DataFrame]:
        for _ in range(3):
            sizes.append(sum(path.stat().st_size for path in (tmp_path / ".tokens.tmp").glob("tokens.npy")))
            yield pl.DataFrame({"text": ["x" * 100_000] * 10})

    started = time.monotonic()
    store.write(tokenizer, TEXT, batches(), tmp_path / "tokens")
    assert sizes[1] - sizes[0] > 1_900_000 and sizes[2] - sizes[1] > 1_900_000, (sizes, started)


def test_figures_by_language_where_languages_can_be_told(tokenizer: Tokenizer, tmp_path: Path) -> None:
    pytest.importorskip("py3langid")
    english = "The weather in the north of the country was cold and rainy for most of the year."
    chinese = (
        "\u767d\u65e5\u4f9d\u5c71\u5c3d\uff0c\u9ec4\u6cb3\u5165\u6d77\u6d41\u3002"
        "\u6b32\u7a77\u5343\u91cc\u76ee\uff0c\u66f4\u4e0a\u4e00\u5c42\u697c\u3002"
    )
    about = store.write(tokenizer, TEXT, [pl.DataFrame({"text": [english] * 6 + [chinese] * 5})], tmp_path / "tokens")
    assert about["languages"] == {
        "en": {"documents": 6, "tokens_per_word": round(len(english) / 17, 4), "tokens_per_byte": 1.0},
        "zh": {"documents": 5, "tokens_per_word": 3.0, "tokens_per_byte": 1.0},
    }
    asked = pl.DataFrame({"ask": ["Why?"] * 11, "say": [english] * 6 + [chinese] * 5})
    about = store.write(tokenizer, Component("answers", {"prompt": "ask", "answer": "say"}), [asked], tmp_path / "answers")
    # Of conversations what is learned counts: the answer and the mark that ends it
    assert about["languages"]["en"] == {
        "documents": 6,
        "tokens_per_word": round((len(english) + 1) / 17, 4),
        "tokens_per_byte": round((len(english) + 1) / len(english), 4),
    }
    assert about["languages"]["zh"]["documents"] == 5
