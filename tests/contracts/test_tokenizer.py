"""Every tokenizer passes the suite of lode.testing, and `transformers` reads its files and cuts the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

from lode.core.errors import ArtifactError, DataError, SpecError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.corpus import chat, coder, tokenizers
from lode.data.corpus.contracts import Tokenizer
from lode.data.place import Place
from lode.testing.tokenizer import ATTACK, TEXTS, check_tokenizer

CASES: list[tuple[str, dict[str, Any]]] = [
    ("characters", {}),
    ("characters", {"min_frequency": 4, "vocabulary": 24}),
    ("bytes", {}),
    ("bpe", {"vocabulary": 300}),
    ("bpe", {"vocabulary": 400, "min_frequency": 1, "pattern": r"\s+|\S+"}),
    ("pretrained", {"path": "llama"}),
]
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How are you?"},
    {"role": "assistant", "content": "\nWell, thanks."},
    {"role": "user", "content": "And now?"},
    {"role": "assistant", "content": "Still well."},
]
END = {"__type": "AddedToken", "content": "</s>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
LLAMA_CHAT = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A folder as Llama's: blanks before words, an unknown token, a token before every text, a chat template in the config."""
    engine = Engine(models.BPE(unk_token="<unk>", byte_fallback=True))
    engine.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    engine.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first"), decoders.Fuse()])
    codes = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>", "<s>", "</s>", *codes], show_progress=False)
    engine.train_from_iterator(TEXTS, trainer)
    engine.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    record = json.loads(engine.to_str())
    record["added_tokens"] = [token for token in record["added_tokens"] if not token["content"].startswith("<0x")]
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(record), encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": END, "unk_token": "<unk>"}
    config |= {"chat_template": LLAMA_CHAT, "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def maker(word: str, options: dict[str, Any], folder: Path) -> Callable[[], Tokenizer]:
    return lambda: tokenizers.make(Component(word, options), Place(folder))


def fitted(word: str, options: dict[str, Any], folder: Path) -> Tokenizer:
    made = maker(word, options, folder)()
    made.fit(iter([*TEXTS, *(message["content"] for message in CHAT), "systemuserassistant", ATTACK] * 3))
    return made


@pytest.mark.parametrize(("word", "options"), CASES)
def test_a_tokenizer_keeps_its_contract(word: str, options: dict[str, Any], tmp_path: Path, llama: Path) -> None:
    lossy = word == "pretrained" or ("min_frequency" in options and word == "characters")
    check_tokenizer(maker(word, options, tmp_path), tmp_path, exact=not lossy)


def test_every_tokenizer_is_tested() -> None:
    assert {word for word, _ in CASES} == set(REGISTRIES["tokenizer"].names())


@pytest.mark.parametrize(("word", "options"), CASES)
def test_transformers_reads_the_files_and_gives_the_same_tokens(
    word: str, options: dict[str, Any], tmp_path: Path, llama: Path
) -> None:
    tokenizer = fitted(word, options, tmp_path)
    tokenizer.save(tmp_path / "saved")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert len(theirs) == tokenizer.size and theirs.eos_token_id == tokenizer.end
    for text in (*TEXTS, "unseen: \u00df\u4e9c q"):
        assert theirs.encode(text, add_special_tokens=False) == tokenizer.encode([text])[0].tolist(), text
        if tokenizer.unknown is None:
            assert theirs.decode(tokenizer.encode([text])[0]) == tokenizer.decode(tokenizer.encode([text])[0])
    first = theirs.encode("a")[0] if tokenizer.begin is not None else None
    assert tokenizer.begin == first
    loaded = tokenizers.load(tmp_path / "saved")
    assert type(loaded) is type(tokenizer)
    assert np.array_equal(loaded.encode([TEXTS[0]])[0], tokenizer.encode([TEXTS[0]])[0])


@pytest.mark.parametrize("word", ["characters", "bytes", "bpe"])
def test_transformers_renders_our_template_with_the_same_tokens_and_mask(word: str, tmp_path: Path) -> None:
    tokenizer = fitted(word, {}, tmp_path)
    tokenizer.save(tmp_path / "saved")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "saved")
    plain = [{**message, "content": message["content"].strip()} for message in CHAT]
    found = theirs.apply_chat_template(plain, return_dict=True, return_assistant_tokens_mask=True)
    ids, learned = chat.tokens(tokenizer, plain)
    assert found["input_ids"] == ids.tolist() and found["assistant_masks"] == learned.tolist()
    asked = theirs.apply_chat_template(plain[:-1], add_generation_prompt=True, return_dict=True)
    assert asked["input_ids"] == chat.prompt(tokenizer, plain[:-1]).tolist()


@pytest.mark.parametrize(("word", "options"), CASES)
def test_the_mask_is_exactly_what_the_model_will_write(word: str, options: dict[str, Any], tmp_path: Path, llama: Path) -> None:
    """Behind the prompt of each turn come, token by token, the learned tokens of that turn, and nothing else is learned."""
    tokenizer = fitted(word, options, tmp_path)
    messages = CHAT if word != "pretrained" else CHAT[1:]
    ids, learned = chat.tokens(tokenizer, messages)
    runs = np.flatnonzero(np.diff(np.concatenate([[0], learned, [0]])))
    answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    assert len(runs) == 2 * len(answers)
    for at, begin, end in zip(answers, runs[0::2], runs[1::2], strict=True):
        if word != "pretrained":  # Llama's template strips nothing, but its prompt ends before the blank
            assert np.array_equal(ids[:begin], chat.prompt(tokenizer, messages[:at]))
            assert np.array_equal(ids[begin : end - 1], tokenizer.encode([messages[at]["content"]], inside=True)[0])
        assert ids[end - 1] in tokenizer.stops
    assert chat.tokens(tokenizer, messages, last=True)[1].sum() == runs[-1] - runs[-2]


def test_a_blank_before_the_first_word_is_put_only_at_the_start(tmp_path: Path, llama: Path) -> None:
    tokenizer = fitted("pretrained", {"path": "llama"}, tmp_path)
    theirs = AutoTokenizer.from_pretrained(llama)
    ids, _ = chat.tokens(tokenizer, CHAT[3:])
    assert ids.tolist() == theirs.apply_chat_template(CHAT[3:], return_dict=True)["input_ids"]


def test_a_special_token_that_takes_the_blanks_beside_it_does_so(tmp_path: Path, llama: Path) -> None:
    """Phi 3's tokens take the line end that its template writes behind them."""
    record = json.loads((llama / "tokenizer.json").read_text(encoding="utf-8"))
    for token in record["added_tokens"]:
        token["rstrip"], token["lstrip"] = token["content"] == "<s>", token["content"] == "</s>"
    (llama / "tokenizer.json").write_text(json.dumps(record), encoding="utf-8")
    template = "{% for m in messages %}{{ bos_token + '\n' + m['content'] + ' ' + eos_token + '\n' }}{% endfor %}"
    (llama / "chat_template.jinja").write_text(template, encoding="utf-8")
    tokenizer, theirs = fitted("pretrained", {"path": "llama"}, tmp_path), AutoTokenizer.from_pretrained(llama)
    ids, learned = chat.tokens(tokenizer, CHAT[1:])
    assert ids.tolist() == theirs.apply_chat_template(CHAT[1:], return_dict=True)["input_ids"]
    assert tokenizer.decode(ids[learned == 1], special=True).count("</s>") == 2


@pytest.mark.parametrize(("word", "options"), CASES)
def test_an_id_that_no_token_has_writes_nothing(word: str, options: dict[str, Any], tmp_path: Path, llama: Path) -> None:
    """The weights that a model starts from may have more tokens than its tokenizer."""
    tokenizer = fitted(word, options, tmp_path)
    ids = tokenizer.encode(["How"])[0].tolist()
    for special in (False, True):
        written = tokenizer.decode([*ids, tokenizer.size, tokenizer.size + 999], special=special)
        assert written == tokenizer.decode(ids, special=special)


def test_bpe_learns_merges_and_a_corpus_of_characters_its_alphabet(tmp_path: Path) -> None:
    texts = ["low lower lowest newer newest widest"] * 10
    small = tokenizers.make(Component("bpe", {"vocabulary": 300}), Place(tmp_path))
    small.fit(texts)
    assert 260 < small.size <= 300 and len(small.encode(["lowest"])[0]) <= 3 < len("lowest")
    letters = tokenizers.make(Component("characters"), Place(tmp_path))
    letters.fit(["cab"])
    assert letters.encode(["abc"])[0].tolist() == [0, 1, 2] and letters.size == 8
    assert letters.encode(["z"])[0].tolist() == [letters.unknown]


def test_faults_say_what_is_allowed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for word in ("characters", "bpe"):
        with pytest.raises(DataError, match="the training texts are empty"):
            tokenizers.make(Component(word), place).fit([""])
    with pytest.raises(SpecError, match=r"tokenizer bpe:vocabulary: found 100, allowed"):
        tokenizers.make(Component("bpe", {"vocabulary": 100}), place)
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(
        ArtifactError, match=r"tokenizer.json: not there, found vocab.json, allowed is a folder with tokenizer.json"
    ):
        tokenizers.make(Component("pretrained", {"path": "."}), place)
    (tmp_path / "tokenizer.json").write_text("[]")
    with pytest.raises(ArtifactError, match="holds list, allowed is an object"):
        tokenizers.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "Pickle", "vocab": {"a": 0}}}')
    with pytest.raises(ArtifactError, match="holds a model 'Pickle' of 1 tokens, allowed: BPE"):
        tokenizers.load(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        tokenizers.make(Component("pretrained", {"path": "nowhere"}), place)


def test_a_very_long_text_is_cut_in_parts_without_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"line {number} of a text,  in which\twords stand.\n\n" for number in range(200))
    for word, options in (("bpe", {"vocabulary": 400}), ("bpe", {"vocabulary": 300, "pattern": r"\s+|\S+"})):
        tokenizer = fitted(word, options, tmp_path)
        whole = tokenizer.encode([text, "short", "x" * 500])
        monkeypatch.setattr(coder, "_LONGEST_CHARS", 300)
        parts = tokenizer.encode([text, "short", "x" * 500])
        monkeypatch.undo()
        assert all(map(np.array_equal, whole[:2], parts[:2]))
        assert tokenizer.decode(parts[2]) == "x" * 500 and tokenizer.decode(parts[0]) == text
