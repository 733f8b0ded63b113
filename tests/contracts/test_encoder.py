"""Every encoder of the folder keeps the contract; the programs' networks have the parameter counts of their books."""

from __future__ import annotations

import pytest
import torch

from lode.core.errors import ModelError
from lode.core.registry import REGISTRIES
from lode.core.types import Component, TensorSpec
from lode.testing.encoder import check_encoder, make, rows

WORDS = REGISTRIES["encoder"].names()


@pytest.mark.parametrize("word", WORDS)
def test_every_encoder_keeps_the_contract(word: str) -> None:
    check_encoder(word)


def _parameters(encoder: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in encoder.parameters())


def test_cnn_is_the_network_of_program_p3() -> None:
    options = {"channels": [32], "padding": "valid", "norm": "none", "dense": 64}
    encoder = REGISTRIES["encoder"].create(Component("cnn", options), [TensorSpec("uint8", (32, 32, 3))])
    assert _parameters(encoder) == 896 + 15 * 15 * 32 * 64 + 64


def test_cnn_is_the_network_of_program_p1() -> None:
    options = {"channels": [32, 64, 128], "padding": "valid", "norm": "none", "dense": 512, "dropout": 0.5}
    encoder = REGISTRIES["encoder"].create(Component("cnn", options), [TensorSpec("uint8", (150, 150, 3))])
    assert _parameters(encoder) == 896 + 18_496 + 73_856 + 17 * 17 * 128 * 512 + 512


def test_cnn_takes_several_dense_layers_as_program_p7_has_them() -> None:
    options = {"channels": [32, 64, 128, 128], "padding": "valid", "norm": "none", "dense": [512, 256, 128]}
    encoder = REGISTRIES["encoder"].create(Component("cnn", options), [TensorSpec("uint8", (150, 150, 3))])
    dense = 7 * 7 * 128 * 512 + 512 + 512 * 256 + 256 + 256 * 128 + 128
    assert _parameters(encoder) == 896 + 18_496 + 73_856 + 147_584 + dense
    assert encoder.width == 128


def test_cnn_says_so_when_pooling_leaves_nothing() -> None:
    with pytest.raises(ModelError, match="leave nothing of a 8x8 picture"):
        REGISTRIES["encoder"].create(Component("cnn", {"channels": [4] * 4}), [TensorSpec("uint8", (8, 8, 1))])


def test_transformer_says_which_width_fits_its_heads() -> None:
    spec = TensorSpec("int32", (9,), ragged=(0,), cardinality=30)
    with pytest.raises(ModelError, match="Use width: 12"):
        REGISTRIES["encoder"].create(Component("transformer", {"width": 10}), [spec])


@pytest.mark.parametrize("word", ["pooled", "transformer"])
def test_padding_does_not_change_a_text(word: str) -> None:
    spec = TensorSpec("int32", (9,), ragged=(0,), cardinality=30)
    encoder = make(word, [spec]).eval()
    tokens = rows([spec], 4)[0]
    tokens[:, 5:] = 0
    assert torch.allclose(encoder([tokens]), encoder([tokens[:, :5]]), atol=1e-5)


def test_mean_of_words_is_the_mean_by_hand() -> None:
    encoder = make("pooled", [TensorSpec("int32", (4,), ragged=(0,), cardinality=6)]).eval()
    mean = (encoder.table_VD[2] + encoder.table_VD[5]) / 2
    assert torch.allclose(encoder([torch.tensor([[2, 5, 0, 0]], dtype=torch.int32)])[0], mean)


def test_embedding_keeps_columns_apart() -> None:
    spec = TensorSpec("int32", (), cardinality=4)
    encoder = REGISTRIES["encoder"].create(Component("embedding", {"width": 2}), [spec, spec]).eval()
    same = encoder([torch.tensor([1], dtype=torch.int32), torch.tensor([1], dtype=torch.int32)])[0]
    assert not torch.allclose(same[:2], same[2:])
    other = encoder([torch.tensor([1], dtype=torch.int32), torch.tensor([3], dtype=torch.int32)])[0]
    assert torch.equal(same[:2], other[:2]) and not torch.equal(same[2:], other[2:])


def test_embedding_trains_the_vector_of_unknown_categories() -> None:
    spec = TensorSpec("int32", (), cardinality=4)
    options = {"unknown": 0.5, "width": 2}
    encoder = REGISTRIES["encoder"].create(Component("embedding", options), [spec]).train()
    encoder([torch.full((64,), 2, dtype=torch.int32)]).sum().backward()
    assert encoder.tables[0].grad[0].abs().sum() > 0
