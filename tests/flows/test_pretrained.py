"""A checkpoint named in lode.yaml: one word is enough, its content decides the key, and the artifact needs nothing beside itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lode.core.errors import DataError
from lode.pipeline import loading
from lode.pipeline.run import run

transformers = pytest.importorskip("transformers", reason="the package transformers is not installed (lodeml[pretrained])")

FILE = """
name: films
data:
  source: {type: csv, path: films.csv}
inputs:
  review:
    type: text
    length: 12
    encoder: {type: pretrained, path: tiny, tune: frozen}
    augment: AUGMENT
outputs:
  liked: {type: binary, positive: yes}
model: network
train: {epochs: 2}
"""
NAMES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "fine", "bad", "film", "the", "was"]


def checkpoint(folder: Path, seed: int) -> None:
    """A tiny BERT with random weights."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    options = {"vocab_size": len(NAMES), "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        transformers.AutoModel.from_config(transformers.AutoConfig.for_model("bert", **options)).save_pretrained(folder)
    engine = Tokenizer(models.WordLevel({name: code for code, name in enumerate(NAMES)}, unk_token="[UNK]"))
    engine.pre_tokenizer = pre_tokenizers.Whitespace()
    engine.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    engine.save(str(folder / "tokenizer.json"))


def files(folder: Path, augment: str = "[]") -> Path:
    rng = np.random.default_rng(0)
    words = rng.choice(["good", "fine", "bad"], 120)
    texts = [f"the film was {word}" for word in words]
    pl.DataFrame({"review": texts, "liked": np.where(words == "bad", "no", "yes")}).write_csv(folder / "films.csv")
    checkpoint(folder / "tiny", 0)
    (folder / "alike.txt").write_text("good, fine\n")
    (folder / "lode.yaml").write_text(FILE.replace("AUGMENT", augment))
    return folder / "lode.yaml"


def test_one_word_is_enough_and_the_artifact_stands_alone(tmp_path: Path) -> None:
    spec = files(tmp_path)
    done = run(spec)
    again = run(spec)
    assert again.manifests["train"].key == done.manifests["train"].key and again.manifests["train"].cached
    held = "".join(path.read_text() for path in done.model.folder.rglob("*.json") if path.name not in ("lineage.json", "card.json"))
    assert str(tmp_path) not in held
    rows = pl.DataFrame({"review": ["the film was bad", "good", None]})
    before = done.model.predict(rows)
    shutil.rmtree(tmp_path / "tiny")
    assert loading.load("films", done.runs).predict(rows).equals(before)
    with pytest.raises(DataError, match="tiny: no such file or folder"):
        run(spec)


def test_another_checkpoint_at_the_same_path_is_another_run(tmp_path: Path) -> None:
    spec = files(tmp_path)
    first = run(spec, until="train").manifests["train"].key
    checkpoint(tmp_path / "tiny", 1)
    assert run(spec, until="train").manifests["train"].key != first


def test_words_are_replaced_by_those_of_a_list(tmp_path: Path) -> None:
    spec = files(tmp_path, "[{type: synonyms, path: alike.txt}, drop, swap]")
    done = run(spec, until="train")
    recipe = json.loads((done.folders["train"] / "models" / "network" / "artifact.json").read_text())["recipe"]
    assert recipe["augments"]["review"][0]["path"] == "alike.txt"
