"""Weights as files: what is refused says why, several files are one model, and whatever type they have becomes the one asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lode.core.errors import ArtifactError, LodeError, ModelError
from lode.model.language import weights
from lode.testing.architecture import small


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    architecture, decoder = small("llama", {"tied": False})
    weights.save(decoder, architecture, tmp_path)
    return tmp_path


def _change(folder: Path, **entries: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_a_pickle_is_refused_by_name_and_never_opened(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(ArtifactError, match=r"pytorch_model\.bin: found weights in a pickle, .* allowed is model\.safetensors"):
        weights.load(folder)
    (folder / "pytorch_model.bin").rename(folder / "model.safetensors")
    with pytest.raises(ArtifactError, match="not a safetensors file"):
        weights.load(folder)


def test_an_index_may_name_safetensors_beside_it_only(folder: Path) -> None:
    for name in ("pytorch_model-00001-of-00001.bin", "../model.safetensors"):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
        with pytest.raises(ArtifactError, match="allowed are safetensors files beside it"):
            weights.load(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": "model-1.safetensors"}}))
    with pytest.raises(ArtifactError, match="found no such file, though the index names it"):
        weights.load(folder)


def test_biases_that_were_trained_elsewhere_are_not_lost(tmp_path: Path) -> None:
    architecture, decoder = small("gpt2", {"bias": False})
    weights.save(decoder, architecture, tmp_path)
    found = load_file(tmp_path / "model.safetensors")
    found["transformer.h.0.ln_1.bias"] += 0.5
    save_file(found, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ArtifactError, match=r'h\.0\.ln_1\.bias with numbers other than 0.*write "bias": true'):
        weights.load(tmp_path)
    _change(tmp_path, bias=True)
    assert float(weights.load(tmp_path)[1].state_dict()["layers.0.attention_norm.bias"].mean()) == 0.5


def test_missing_left_over_and_misshapen_weights_are_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = load_file(path)
    some = {name: tensor for name, tensor in whole.items() if name != "model.norm.weight"}
    some["model.layers.7.mlp.up_proj.weight"] = torch.zeros(2)
    some["model.layers.0.self_attn.q_proj.weight"] = torch.zeros(3, 3)
    save_file(some, path)
    with pytest.raises(ArtifactError) as caught:
        weights.load(folder)
    told = str(caught.value)
    assert "missing: model.norm.weight" in told and "left over: model.layers.7.mlp.up_proj.weight" in told
    assert "model.layers.0.self_attn.q_proj.weight (3, 3) instead of (32, 32)" in told


def test_a_wrong_vocabulary_is_named(folder: Path) -> None:
    _change(folder, vocab_size=49)
    with pytest.raises(ArtifactError, match=r"vocabulary of 50 tokens, allowed are the 49 of config\.json"):
        weights.load(folder)
    architecture, _ = small("llama")
    weights.check_vocabulary(50, architecture, folder)
    with pytest.raises(ArtifactError, match="a tokenizer of 51 tokens for weights that know 50"):
        weights.check_vocabulary(51, architecture, folder)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"model_type": "lama"}, 'found model_type "lama".*Did you mean "llama"'),
        ({"hidden_act": "gelu"}, "found hidden_act: 'gelu', allowed: silu"),
        ({"quantization_config": {"bits": 4}}, "found quantization_config"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, 'rope_type: found "longrope", allowed: default, linear'),
        ({"rope_scaling": {"rope_type": "linear"}}, "rotary_scaling.factor: found None with rope_type: linear"),
        ({"partial_rotary_factor": 0.5}, "found partial_rotary_factor 0.5"),
        ({"num_hidden_layers": None}, "found num_hidden_layers: None"),
        ({"num_key_value_heads": 3}, "groups: found 3 for 4 heads"),
        ({"vocab_size": None}, "found vocab_size: None"),
    ],
)
def test_what_lode_does_not_build_is_named(folder: Path, entries: dict[str, Any], told: str) -> None:
    _change(folder, **entries)
    with pytest.raises(LodeError, match=told):
        weights.load(folder)


def test_several_files_are_one_model_and_older_files_of_a_folder_do_not_stay(tmp_path: Path) -> None:
    architecture, decoder = small("qwen3")
    weights.save(decoder, architecture, tmp_path)
    weights.save(decoder, architecture, tmp_path, shard_bytes=20_000)
    assert not (tmp_path / "model.safetensors").exists() and len(list(tmp_path.glob("model-*.safetensors"))) > 2
    _, back = weights.load(tmp_path)
    assert all(torch.equal(tensor, back.state_dict()[name]) for name, tensor in decoder.state_dict().items())
    weights.save(decoder, architecture, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_files_become_the_type_asked_for(tmp_path: Path, dtype: torch.dtype) -> None:
    architecture, decoder = small("gemma3")
    weights.save(decoder.to(dtype), architecture, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["torch_dtype"] == str(dtype).removeprefix("torch.")
    _, whole = weights.load(tmp_path)
    _, half = weights.load(tmp_path, dtype=torch.bfloat16)
    assert whole.embed.weight.dtype == torch.float32 and torch.equal(whole.embed.weight, decoder.embed.weight.float())
    assert half.embed.weight.dtype == torch.bfloat16
    assert half.rotary is not None and half.rotary.rates.dtype == torch.float32  # bfloat16 cannot count to 257


def test_old_gpt2_files_without_prefix_and_with_masks_are_read(tmp_path: Path) -> None:
    architecture, decoder = small("gpt2")
    weights.save(decoder, architecture, tmp_path)
    theirs = {name.removeprefix("transformer."): tensor for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    save_file({**theirs, "h.0.attn.bias": torch.ones(1, 1, 64, 64, dtype=torch.uint8)}, tmp_path / "model.safetensors")
    _, back = weights.load(tmp_path)
    assert torch.equal(back.layers[1].attention.k.weight, decoder.layers[1].attention.k.weight)  # type: ignore[union-attr,arg-type]


def test_sizes_that_do_not_fit_together_are_named() -> None:
    with pytest.raises(ModelError, match="width: found 32 for 5 heads, allowed is a multiple of the heads"):
        small("llama", {"heads": 5})
    with pytest.raises(ModelError, match="experts_used: found 9 of 4"):
        small("mixtral", {"experts": 4, "used": 9})
    with pytest.raises(ModelError, match="a row of 65 tokens, allowed are 64"):
        small("gpt2")[1](torch.zeros(1, 65, dtype=torch.int64))
