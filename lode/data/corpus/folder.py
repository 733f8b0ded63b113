"""How a tokenizer lies in a folder: the three files that `transformers` reads, and the word of lode that made them.

Standard library only. Restoring one: lode/data/corpus/tokenizers.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lode.core.errors import ArtifactError
from lode.data.corpus.contracts import END, END_TURN, PAD

TOKENIZER, CONFIG, TEMPLATE, GENERATION = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"
_WORD = "lode_type"
_LONG = 1_000_000_000
_TURN_ENDS = (END_TURN, "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "<turn|>")
"""How well-known chat templates end a turn: where a folder does not say it, these end an answer too."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What lies in a folder. record: tokenizer.json. config: tokenizer_config.json. word: the tokenizer that wrote it, or "pretrained"."""

    record: dict[str, Any]
    config: dict[str, Any]
    template: str | None
    word: str
    text: str = field(repr=False)
    stops: tuple[int, ...] = ()

    @property
    def special(self) -> dict[str, int]:
        """Special tokens and their ids."""
        return {token["content"]: int(token["id"]) for token in self.record.get("added_tokens") or () if token.get("special")}

    @property
    def swallows(self) -> tuple[frozenset[str], frozenset[str]]:
        """See `Tokenizer.swallows`."""
        tokens = [token for token in self.record.get("added_tokens") or () if token.get("special")]
        before, behind = (frozenset(token["content"] for token in tokens if token.get(side)) for side in ("lstrip", "rstrip"))
        return before, behind

    def mark(self, role: str) -> str | None:
        """What "eos_token", "bos_token", "pad_token" or "unk_token" is: older files hold a mapping with `content`."""
        value = self.config.get(role)
        found = value.get("content") if isinstance(value, Mapping) else value
        return found if isinstance(found, str) else None


def added(mark: str, at: int) -> dict[str, Any]:
    """A special token as tokenizer.json lists it."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": at, "content": mark, **flags}


def write(folder: Path, text: str, word: str, template: str | None, unknown: str | None = None) -> None:
    """Write the files of a tokenizer of lode's own. text: tokenizer.json."""
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": PAD,
        "extra_special_tokens": ["<|im_start|>", END_TURN],
        "clean_up_tokenization_spaces": False,
        "model_max_length": _LONG,
        _WORD: word,
    }
    if unknown is not None:
        config["unk_token"] = unknown
    write_files(folder, text, config, template)


def write_files(folder: Path, text: str, config: Mapping[str, Any], template: str | None) -> None:
    """Each file whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    _put(folder / TOKENIZER, text)
    _put(folder / CONFIG, json.dumps(config, indent=1, ensure_ascii=False) + "\n")
    if template is not None:
        _put(folder / TEMPLATE, template)


def _put(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def read(folder: Path) -> Saved:
    """The files of any tokenizer. Errors: ArtifactError for one that is missing or no tokenizer, naming it."""
    path = folder / TOKENIZER
    if not path.is_file():
        raise ArtifactError(f"{path}: not there, {_instead(folder)}")
    text = _text(path)
    record = _object(path, text)
    if not isinstance(record.get("model"), Mapping):
        raise ArtifactError(f"{path}: holds no tokenizer (no `model`). Take the file from where it came from again.")
    config = _optional(folder / CONFIG)
    template = _text(folder / TEMPLATE) if (folder / TEMPLATE).is_file() else _template(config.get("chat_template"))
    word = str(config.get(_WORD, "pretrained"))
    found = Saved(record, config, template, word, text)
    return Saved(record, config, template, word, text, _stops(found, _optional(folder / GENERATION)))


def _instead(folder: Path) -> str:
    """What to do where there is no tokenizer.json: say which other tokenizer lies there."""
    others = [name for name in ("tokenizer.model", "vocab.json", "vocab.txt", "spiece.model") if (folder / name).is_file()]
    found = f"found {', '.join(others)}, allowed" if others else "allowed"
    return (
        f"{found} is a folder with tokenizer.json, as Hugging Face saves it. "
        "Make one of older files with AutoTokenizer.from_pretrained(folder).save_pretrained(folder)."
    )


def _optional(path: Path) -> dict[str, Any]:
    return _object(path, _text(path)) if path.is_file() else {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: cannot be read as UTF-8 ({error}). Take the file from where it came from again.") from error


def _object(path: Path, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ArtifactError(f"{path}: is no JSON ({error}). Take the file from where it came from again.") from error
    if not isinstance(found, dict):
        raise ArtifactError(
            f"{path}: holds {type(found).__name__}, allowed is an object. Take the file from where it came from again."
        )
    return found


def _template(value: Any) -> str | None:
    """The template of tokenizer_config.json: a text, or a list of named ones of which "default" counts."""
    if isinstance(value, list):
        named = {item.get("name"): item.get("template") for item in value if isinstance(item, Mapping)}
        value = named.get("default")
    return value if isinstance(value, str) else None


def _stops(saved: Saved, generation: Mapping[str, Any]) -> tuple[int, ...]:
    special = saved.special
    listed = generation.get("eos_token_id")
    ids = listed if isinstance(listed, list) else [listed]
    marks = [saved.mark("eos_token"), *_TURN_ENDS]
    found = [special.get(mark) for mark in marks if mark is not None] + [one for one in ids if isinstance(one, int)]
    return tuple(dict.fromkeys(one for one in found if one is not None))
