"""LoRA and DoRA beside a decoder: their arithmetic, their files and those of `peft`, and bases they do not belong to."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lode.core.errors import ArtifactError, ModelError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model.language import adapter_files, adapters, weights
from lode.model.language.contracts import Adapter
from lode.model.lora import LoraLinear
from lode.testing.adapter import base, tokens, train


def _adapter(word: str = "lora", **options: object) -> Adapter:
    made: Adapter = REGISTRIES["adapter"].create(Component(word, options))
    return made


def test_dora_by_hand() -> None:
    layer = torch.nn.Linear(2, 1)
    made = LoraLinear(layer, rank=1, alpha=2.0, dropout=0.0, decomposed=True)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0]]))
        layer.bias.fill_(0.5)
        made.down.copy_(torch.tensor([[1.0, 1.0]]))
        made.up.fill_(1.0)
        made.magnitude.fill_(10.0)
    # (1, 2) + 2 * (1, 1) = (3, 4), of length 5, becomes (6, 8)
    assert made(torch.tensor([[1.0, 1.0]])).item() == pytest.approx(14.5)
    assert torch.allclose(made.weight(), torch.tensor([[6.0, 8.0]]))
    made(torch.tensor([[1.0, 1.0]])).backward()
    # no gradient goes through the length: d/d up = m / |V| * s * (down x) = 2 * 2 * 2
    assert made.up.grad.item() == pytest.approx(8.0) and made.base.weight.grad is None


def test_rank_stabilized_counts_by_the_root_of_the_rank() -> None:
    layer = torch.nn.Linear(8, 8)
    plain, stable = (LoraLinear(layer, rank=4, alpha=8.0, dropout=0.0, rank_stabilized=word) for word in (False, True))
    assert (plain.factor, stable.factor) == (2.0, 4.0)


def test_dropout_is_of_the_adapter_alone_and_of_training_alone() -> None:
    decoder = base("llama")[1]
    _adapter("dora", dropout=0.5).attach(decoder)
    one = decoder.train()(tokens())
    assert torch.allclose(one, decoder(tokens()), atol=1e-6)  # nothing learned yet: whatever is dropped was 0
    train(decoder)
    with torch.no_grad():
        decoder.train()
        assert not torch.allclose(decoder(tokens()), decoder(tokens()), atol=1e-5)
        decoder.eval()
        assert torch.equal(decoder(tokens()), decoder(tokens()))


def test_targets_are_words_or_whole_names_and_a_misspelt_one_is_told() -> None:
    decoder = base("llama")[1]
    _adapter(targets=["attention", "layers.1.mlp.down"]).attach(decoder)
    assert list(adapters.adapted(decoder)) == [
        *(f"layers.0.attention.{word}" for word in ("q", "k", "v", "out")),
        *(f"layers.1.attention.{word}" for word in ("q", "k", "v", "out")),
        "layers.1.mlp.down",
    ]
    with pytest.raises(ModelError, match=r'targets: found "atention", allowed are attention, q, .*Did you mean "attention"'):
        _adapter(targets=["atention"]).attach(base("llama")[1])
    with pytest.raises(ModelError, match="found an adapter on this decoder already"):
        _adapter().attach(decoder)


def test_experts_and_their_router_have_no_adapter() -> None:
    decoder = base("mixtral")[1]
    _adapter().attach(decoder)
    assert {name.split(".")[2] for name in adapters.adapted(decoder)} == {"attention"}


@pytest.mark.parametrize(
    ("architecture", "word", "options"),
    [
        ("llama", "lora", {"rank": 3}),
        ("qwen3", "dora", {"rank": 3, "rslora": True}),
        ("gpt2", "lora", {"rank": 2, "targets": ["q", "v", "mlp"]}),
        ("gpt2", "dora", {"rank": 2, "rslora": True}),
        ("gemma3", "lora", {"rank": 2, "targets": ["layers.0.attention.q", "down"]}),
    ],
)
def test_peft_reads_ours_and_we_read_what_it_writes(
    architecture: str, word: str, options: dict[str, object], tmp_path: Path
) -> None:
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    made, decoder = base(architecture)
    weights.save(decoder, made, tmp_path / "base")
    adapter = _adapter(word, **options)
    adapter.attach(decoder)
    train(decoder)
    adapter_files.save(decoder, adapter, made, tmp_path / "ours", str(tmp_path / "base"))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
        both = peft.PeftModel.from_pretrained(theirs, tmp_path / "ours").eval()
        wanted = decoder.logits(decoder(tokens()))
        assert (both(tokens()).logits - wanted).abs().max() < 1e-5
        both.save_pretrained(tmp_path / "theirs")
        config = json.loads((tmp_path / "theirs" / adapter_files.CONFIG).read_text())
        assert config["r"] == options["rank"] and config["use_dora"] is (word == "dora")
        other = base(architecture)[1]
        adapter_files.load(other, made, tmp_path / "theirs")
        assert (other.logits(other(tokens())) - wanted).abs().max() < 1e-5
        merged = both.merge_and_unload()
        adapters.fold(other)
        assert (merged(tokens()).logits - other.logits(other(tokens()))).abs().max() < 1e-5


def test_an_adapter_that_peft_made_for_one_matrix_of_three_is_read(tmp_path: Path) -> None:
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    made, decoder = base("gpt2")
    weights.save(decoder, made, tmp_path / "base")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    asked = peft.LoraConfig(r=3, lora_alpha=7, target_modules=["c_attn"], init_lora_weights=False, fan_in_fan_out=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = peft.get_peft_model(theirs, asked).eval()
        both.save_pretrained(tmp_path / "theirs")
    adapter_files.load(decoder, made, tmp_path / "theirs")
    assert set(adapters.adapted(decoder)) == {f"layers.{at}.attention.{word}" for at in (0, 1) for word in "qkv"}
    with torch.no_grad():
        assert (both(tokens()).logits - decoder.logits(decoder(tokens()))).abs().max() < 1e-5


def test_patterns_are_regular_expressions_as_in_peft(tmp_path: Path) -> None:
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    made, decoder = base("llama")
    weights.save(decoder, made, tmp_path / "base")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    patterns = {
        "rank_pattern": {r"layers\.0\..*": 5, "up_proj": 2},
        "alpha_pattern": {r"layers\.[1-9]\.self_attn\.[qk]_proj": 64, "^.*down_proj": 3},
    }
    asked = peft.LoraConfig(r=3, lora_alpha=7, target_modules="all-linear", init_lora_weights=False, **patterns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = peft.get_peft_model(theirs, asked).eval()
        both.save_pretrained(tmp_path / "theirs")
    adapter_files.load(decoder, made, tmp_path / "theirs")
    with torch.no_grad():
        expected = both(tokens()).logits
        # The drawn deltas are large: what is lost is rounding of their sums
        assert (expected - decoder.logits(decoder(tokens()))).abs().max() < 1e-5 * expected.abs().max().clamp(min=10)


def _saved(folder: Path) -> Path:
    made, decoder = base("llama")
    adapter = _adapter(rank=2)
    adapter.attach(decoder)
    adapter_files.save(decoder, adapter, made, folder)
    return folder


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    folder = _saved(tmp_path / "adapter")
    made, other = base("llama", seed=1)
    with pytest.raises(
        ArtifactError, match=r"found an adapter for base weights [0-9a-f]{12}, allowed is one for [0-9a-f]{12}, which"
    ):
        adapter_files.load(other, made, folder)
    made, other = base("gpt2")
    with pytest.raises(ArtifactError, match='found an adapter for a "llama", allowed is one for this base, a "gpt2"'):
        adapter_files.load(other, made, folder)
    tensors = load_file(folder / adapter_files.WEIGHTS)
    save_file(tensors, folder / adapter_files.WEIGHTS)  # as peft writes it: without a word about the base
    with pytest.raises(
        ArtifactError, match=r"found adapters for model\.layers\.0.*allowed are layers of this base such as transformer\.h"
    ):
        adapter_files.load(other, made, folder)
    made, own = base("llama")
    key = next(iter(tensors))
    save_file({**tensors, key: tensors[key][:, :3].contiguous()}, folder / adapter_files.WEIGHTS)
    with pytest.raises(ArtifactError, match=r"found lora_A \(2, 3\), .* allowed is lora_A \(2, \d+\).*another base"):
        adapter_files.load(own, made, folder)


def test_the_base_in_16_bits_is_the_same_base(tmp_path: Path) -> None:
    folder = _saved(tmp_path / "adapter")
    made, decoder = base("llama")
    adapter_files.load(decoder.to(torch.bfloat16), made, folder)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"peft_type": "IA3"}, r"found peft_type: 'IA3', allowed is 'LORA'"),
        ({"bias": "all"}, "found bias: 'all', allowed is 'none'"),
        ({"modules_to_save": ["lm_head"]}, r"found modules_to_save: \['lm_head'\]"),
        ({"init_lora_weights": "pissa"}, "found init_lora_weights: 'pissa'"),
    ],
)
def test_what_lode_does_not_compute_is_refused(change: dict[str, object], match: str, tmp_path: Path) -> None:
    folder = _saved(tmp_path / "adapter")
    path = folder / adapter_files.CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    made, decoder = base("llama")
    with pytest.raises(ArtifactError, match=match):
        adapter_files.load(decoder, made, folder)


def test_damage_and_pickles_are_refused(tmp_path: Path) -> None:
    folder = _saved(tmp_path / "adapter")
    made, decoder = base("llama")
    path = folder / adapter_files.WEIGHTS
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    with pytest.raises(ArtifactError, match="found a damaged file"):
        adapter_files.load(decoder, made, folder)
    path.rename(folder / "adapter_model.bin")
    with pytest.raises(ArtifactError, match=r"found adapter_model\.bin, allowed is adapter_model\.safetensors: pickles"):
        adapter_files.load(decoder, made, folder)
    (folder / adapter_files.CONFIG).write_text("{")
    with pytest.raises(ArtifactError, match="found no adapter"):
        adapter_files.load(decoder, made, folder)


def test_an_artifact_holds_the_merged_model_and_the_adapter(tmp_path: Path) -> None:
    made, decoder = base("llama")
    adapter = _adapter(rank=2)
    adapter.attach(decoder)
    train(decoder)
    adapters.merge(decoder)
    adapter_files.save_model(decoder, adapter, made, tmp_path / "model")
    whole = weights.load(tmp_path / "model")[1]
    with torch.no_grad():
        assert torch.equal(whole(tokens()), decoder(tokens()))
    beside = base("llama")[1]
    adapter_files.load(beside, made, tmp_path / "model" / adapter_files.FOLDER)
    adapters.unmerge(decoder)
    with torch.no_grad():
        assert torch.equal(beside(tokens()), decoder(tokens()))
    adapter_files.save_model(decoder, _adapter(rank=2, merge=True), made, tmp_path / "merged")
    assert not (tmp_path / "merged" / adapter_files.FOLDER).exists()
