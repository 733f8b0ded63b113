"""Every encoder of the folder keeps the contract; the programs' networks have the parameter counts of their books."""

from __future__ import annotations

import pytest
import torch

from lode.core.check import Finding, check_options
from lode.core.errors import LodeError, ModelError, SpecError
from lode.core.registry import REGISTRIES
from lode.core.types import Component, TensorSpec
from lode.testing.encoder import check_encoder, make, rows

WORDS = REGISTRIES["encoder"].names()


TINY = {"model_type": "bert", "vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16, "max_position_embeddings": 16}  # fmt: skip
OPTIONS = {"pretrained": {"config": TINY, "tune": "lora"}}
"""What a word needs beside its defaults."""


@pytest.mark.parametrize("word", WORDS)
def test_every_encoder_keeps_the_contract(word: str) -> None:
    if word == "pretrained":
        pytest.importorskip("transformers", reason="the package transformers is not installed (lodeml[pretrained])")
    check_encoder(Component(word, OPTIONS[word]) if word in OPTIONS else word)


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


@pytest.mark.parametrize(
    ("word", "option"),
    [
        *(("cnn", "channels"), ("cnn", "dense"), ("airbench", "widths"), ("convnext", "widths"), ("convnext", "depths")),
        *(("mel_cnn", "channels"), ("resnet", "depth")),
    ],
)
def test_a_list_of_sizes_has_no_zero_in_it(word: str, option: str) -> None:
    findings: list[Finding] = []
    check_options({option: [8, 0]}, REGISTRIES["encoder"].signature(word), (), findings)
    assert [(item.key, item.text.split(".")[0]) for item in findings] == [
        ((option, 1), "found 0, allowed: a whole number, at least 1")
    ]


def test_cnn_says_so_when_pooling_leaves_nothing() -> None:
    with pytest.raises(ModelError, match="leave nothing of a 8x8 picture"):
        REGISTRIES["encoder"].create(Component("cnn", {"channels": [4] * 4}), [TensorSpec("uint8", (8, 8, 1))])


def test_transformer_says_which_width_fits_its_heads() -> None:
    spec = TensorSpec("int32", (9,), ragged=(0,), cardinality=30)
    with pytest.raises(SpecError, match="Write width: 12"):
        REGISTRIES["encoder"].create(Component("transformer", {"width": 10}), [spec])


@pytest.mark.parametrize("word", ["gru", "lstm", "pooled", "textcnn", "transformer"])
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


@pytest.mark.parametrize(
    ("word", "options", "published"),
    [
        # He 2016: 11,689,512 with the head of 513,000 and norms in the ways around (1,792), which this one has not
        ("resnet", {"stem": "imagenet", "width": 64, "depth": 2}, 11_689_512 - 513_000 - 1_792),
        ("resnet", {"stem": "imagenet", "width": 64, "depth": [3, 4, 6, 3]}, 21_797_672 - 513_000 - 1_792),
        # Dosovitskiy 2021, ViT-Ti/16 as in DeiT: 5,717,416 with the head of 193,000
        ("vit", {"width": 192, "depth": 12, "heads": 3, "patch": 16, "positions": "learned", "pool": "token"}, 5_717_416 - 193_000),
        # Liu 2022, ConvNeXt-T: 28,589,128 with the head of 769,000
        ("convnext", {"widths": [96, 192, 384, 768], "depths": [3, 3, 9, 3], "patch": 4}, 28_589_128 - 769_000),
    ],
)
def test_published_networks_have_their_number_of_parameters(word: str, options: dict[str, object], published: int) -> None:
    encoder = REGISTRIES["encoder"].create(Component(word, options), [TensorSpec("uint8", (224, 224, 3))])
    assert _parameters(encoder) == published


def test_airbench_is_the_network_of_its_paper() -> None:
    encoder = REGISTRIES["encoder"].create(Component("airbench"), [TensorSpec("uint8", (32, 32, 3))])
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 256 * 256 + 256 * 256 + 256 * 256)
    assert sum(p.numel() for p in encoder.parameters() if p.requires_grad) == convolutions + 24 + 2 * (64 + 256 + 256)


def test_airbench_starts_by_whitening_the_patches() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.nn.functional.avg_pool2d(torch.rand(64, 3, 20, 20, generator=generator), 5, 1).permute(0, 2, 3, 1) * 4
    encoder = make("airbench", [TensorSpec("float32", (16, 16, 3))])
    encoder.start_from([x])
    patches = torch.nn.functional.conv2d(x.permute(0, 3, 1, 2), encoder.get_buffer("whitening")[:12]).transpose(0, 1).flatten(1)
    second = patches @ patches.T / patches.shape[1]
    assert torch.allclose(second - torch.diag(second.diagonal()), torch.zeros(12, 12), atol=0.02)
    assert second[0, 0] > 0.99 and second[11, 11] > 0.5


@pytest.mark.parametrize("word", ["airbench", "resnet"])
def test_averaged_flips_give_a_picture_and_its_mirror_image_the_same_vector(word: str) -> None:
    spec = TensorSpec("uint8", (16, 16, 3), scale=(1 / 255,) * 3, offset=(100.0,) * 3)
    x = rows([spec], 4)[0]
    for averaged in (True, False):
        encoder = REGISTRIES["encoder"].create(Component(word, {"average_flips": averaged}), [spec]).eval()
        assert torch.allclose(encoder([x]), encoder([x.flip(2)]), atol=1e-5) == averaged


@pytest.mark.parametrize(
    ("options", "message"), [({"depth": [1, 2]}, "found 2 entries beside stages: 4"), ({"depth": [1, 1, 1, 0]}, "at least 1")]
)
def test_resnet_says_which_depths_fit_its_stages(options: dict[str, object], message: str) -> None:
    with pytest.raises(LodeError, match=message):
        REGISTRIES["encoder"].create(Component("resnet", options), [TensorSpec("uint8", (32, 32, 3))])


def test_convnext_says_what_is_wrong_with_its_lists() -> None:
    with pytest.raises(SpecError, match="found 2 entries beside widths: 3 entries, allowed: 3"):
        REGISTRIES["encoder"].create(Component("convnext", {"depths": [1, 1]}), [TensorSpec("uint8", (32, 32, 3))])


@pytest.mark.parametrize(("depths", "first"), [([2, 2, 4], 1.0), ([3, 3, 9, 3], 1e-6)])
def test_blocks_of_a_shallow_convnext_count_from_the_first_step(depths: list[int], first: float) -> None:
    options = {"widths": [8] * len(depths), "depths": depths}
    encoder = REGISTRIES["encoder"].create(Component("convnext", options), [TensorSpec("uint8", (32, 32, 1))])
    assert all(torch.equal(block.factor_D, torch.full((8,), first)) for block in encoder.blocks)


def test_convnext_says_so_when_a_patch_is_larger_than_the_picture() -> None:
    with pytest.raises(ModelError, match="found patch: 64 for pictures of 28 pixels"):
        REGISTRIES["encoder"].create(Component("convnext", {"patch": 64}), [TensorSpec("uint8", (28, 32, 1))])


def test_vit_says_which_width_fits_its_heads() -> None:
    with pytest.raises(SpecError, match=r"found 52 beside heads: 3, allowed: a multiple of 12\. Write width: 48"):
        REGISTRIES["encoder"].create(Component("vit", {"width": 52, "heads": 3}), [TensorSpec("uint8", (32, 32, 3))])


@pytest.mark.parametrize("options", [{"positions": "learned"}, {"pool": "token"}, {"patch": 5}])
def test_vit_tells_places_apart(options: dict[str, object]) -> None:
    spec = TensorSpec("uint8", (16, 16, 1))
    encoder = REGISTRIES["encoder"].create(Component("vit", {"width": 24, "depth": 1, **options}), [spec]).eval()
    x = torch.zeros(2, 16, 16, 1)
    x[0, :4, :4], x[1, 8:12, 8:12] = 1.0, 1.0
    first, second = encoder([x])
    assert not torch.allclose(first, second, atol=1e-4)


def test_resnet_mlp_is_the_network_of_its_paper() -> None:
    specs = [TensorSpec("float32", (3,)), TensorSpec("int32", (), cardinality=5), TensorSpec("int32", (), cardinality=7)]
    encoder = REGISTRIES["encoder"].create(Component("resnet_mlp", {"width": 16, "depth": 2, "code_width": 4}), specs)
    enter, block = (3 + 2 * 4) * 16 + 16, (2 * 16) + (16 * 32 + 32) + (32 * 16 + 16)
    assert _parameters(encoder) == 12 * 4 + enter + 2 * block + 2 * 16


def test_ft_transformer_is_the_network_of_its_paper() -> None:
    specs = [TensorSpec("float32", (3,)), TensorSpec("int32", (), cardinality=5), TensorSpec("int32", (), cardinality=7)]
    options = {"width": 24, "depth": 2, "heads": 4}
    encoder = REGISTRIES["encoder"].create(Component("ft_transformer", options), specs)
    tokens = 3 * 24 + 12 * 24 + 5 * 24 + 24
    inner = 32  # 4/3 of 24
    block = 4 * (24 * 24 + 24) + (24 * 2 * inner + 2 * inner) + (inner * 24 + 24) + 2 * 24
    assert _parameters(encoder) == tokens + block + (block + 2 * 24) + 2 * 24


def test_ft_transformer_says_which_width_fits_its_heads() -> None:
    with pytest.raises(SpecError, match="Write width: 12"):
        REGISTRIES["encoder"].create(Component("ft_transformer", {"width": 10}), [TensorSpec("float32", (3,))])


def test_ft_transformer_reads_a_column_wherever_it_stands() -> None:
    """Attention has no order: two columns change places, and their weights with them, and nothing else changes."""
    specs = [TensorSpec("float32", (1,)), TensorSpec("float32", (1,))]
    encoder = make("ft_transformer", specs).eval()
    first, second = rows(specs, 4)
    before = encoder([first, second])
    with torch.no_grad():
        for parameter in (encoder.tokens.weight_FD, encoder.tokens.bias_FD):
            parameter.copy_(parameter.flip(0))
    assert torch.allclose(before, encoder([second, first]), atol=1e-5)


def test_piecewise_embedding_bends_at_the_quantiles_of_the_training_rows() -> None:
    spec = TensorSpec("float32", (2,))
    options = {"depth": 0, "embedding": "piecewise", "bins": 4, "embedding_width": 1}
    encoder = REGISTRIES["encoder"].create(Component("mlp", options), [spec])
    training = torch.tensor([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [4.0, 1.0], [8.0, 1.0]])
    encoder.start_from([training])
    with torch.no_grad():
        encoder.periodic.weight_FED.copy_(torch.tensor([1.0, 10.0, 100.0, 1000.0]).view(1, 4, 1).expand(2, 4, 1))
    x = torch.tensor([[-1.0, 5.0], [0.5, 1.0], [3.0, 0.0], [9.0, 1.0]])
    out = encoder([x])
    assert torch.equal(out[:, :2], x)
    # 3.0 lies half way between the third and the fourth of the quantiles 0, 1, 2, 4, 8; the constant column has no bins
    assert out[:, 2].tolist() == [0.0, 0.5, 1.0 + 10.0 + 50.0, 1111.0]
    assert out[:, 3].tolist() == [0.0, 0.0, 0.0, 0.0]
    again = REGISTRIES["encoder"].create(Component("mlp", options), [spec])
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again([x]), out)


def test_shifted_embedding_is_the_formula_by_hand() -> None:
    options = {"depth": 0, "embedding": "shifted", "frequencies": 2, "embedding_width": 1}
    encoder = REGISTRIES["encoder"].create(Component("mlp", options), [TensorSpec("float32", (1,))])
    part = encoder.periodic
    x = torch.tensor([[0.7]])
    waves = torch.cos(2 * torch.pi * 0.7 * part.frequency_FE[0] + part.phase_FE[0])
    by_hand = waves @ part.weight_FED[0, :, 0] + part.bias_FD[0, 0]
    assert torch.allclose(encoder([x])[0], torch.stack((x[0, 0], by_hand)))
    assert {parameter.rate_factor for parameter in part.parameters()} == {0.1}


def test_embedding_makes_ones_of_small_columns_and_vectors_of_large_ones() -> None:
    specs = [TensorSpec("int32", (), cardinality=4), TensorSpec("int32", (), cardinality=9)]
    encoder = REGISTRIES["encoder"].create(Component("embedding", {"one_hot": 3, "width": 2}), specs).eval()
    out = encoder([torch.tensor([0, 1, 3], dtype=torch.int32), torch.tensor([0, 1, 2], dtype=torch.int32)])
    assert encoder.width == 3 + 2
    assert out[:, :3].tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert torch.equal(out[:, 3:], encoder.tables[0][:3])


BLOCK = 12 * 24 * 24 + 13 * 24
"""Weights of a self-attention block of width 24: 4 D^2 around the attention, 8 D^2 in the feed-forward half, biases and two norms."""
TOKENS = TensorSpec("int32", (9,), ragged=(0,), cardinality=30)
STEPS = TensorSpec("float32", (20, 2), ragged=(0,))
VECTORS = TensorSpec("float32", (7, 3), ragged=(0,), ordered=False)
SOUND = TensorSpec("int16", (8000,), scale=(1 / 32768,), rate=8000)
NUMBERS = TensorSpec("float32", (3,))


@pytest.mark.parametrize(
    ("word", "options", "spec", "by_hand"),
    [
        ("mlp", {"width": 8, "depth": 2, "norm": "layer"}, NUMBERS, (3 * 8 + 8) + (8 * 8 + 8) + 2 * 16),
        ("embedding", {"width": 4}, TensorSpec("int32", (), cardinality=5), 5 * 4),
        ("pooled", {"width": 8}, TOKENS, 30 * 8),
        ("pooled", {"width": 8, "grams": 3, "buckets": 50}, TOKENS, (30 + 50) * 8),
        ("textcnn", {"embedding": 8, "channels": 6, "windows": [2, 3]}, TOKENS, 30 * 8 + (2 * 8 * 6 + 6) + (3 * 8 * 6 + 6)),
        ("lstm", {"embedding": 8, "width": 5}, TOKENS, 30 * 8 + 2 * 4 * (8 * 5 + 5 * 5 + 2 * 5)),
        ("gru", {"width": 5, "depth": 2}, STEPS, 2 * 3 * (2 * 5 + 5 * 5 + 2 * 5) + 2 * 3 * (10 * 5 + 5 * 5 + 2 * 5)),
        ("transformer", {"width": 24, "depth": 2}, TOKENS, (30 + 9) * 24 + 2 * BLOCK + 2 * 24),
        ("transformer", {"width": 24, "depth": 2, "pool": "cls"}, TOKENS, (30 + 9 + 1) * 24 + 2 * BLOCK + 2 * 24),
        # 20 steps are 2 blocks of windows of 5; a normed weight has a length for each channel
        ("tcn", {"width": 6}, STEPS, (2 * 6 * 5 + 2 * 6) + 3 * (6 * 6 * 5 + 2 * 6) + (2 * 6 + 6)),
        ("patch_tst", {"width": 24, "depth": 2, "patch": 8}, STEPS, (8 * 24 + 24) + 4 * 24 + 2 * BLOCK + 2 * 24),
        ("set", {"width": 8, "pool": "attention"}, VECTORS, (3 * 8 + 8) + 2 * (8 * 8 + 8) + 8),
        ("set", {"width": 8, "depth": 0}, TOKENS, 30 * 8 + (8 * 8 + 8)),
        # The figure of docs/how-to/encode-audio.md
        ("mel_cnn", {"channels": [24, 48, 96]}, SOUND, 52_392),
        ("mel_transformer", {"width": 24, "depth": 2}, SOUND,
         (3 * 40 * 24 + 24) + (3 * 24 * 24 + 24) + 32 * 24 + 2 * BLOCK + 2 * 24),
        ("several", {"encoders": [Component("pooled", {"width": 8}), Component("set", {"width": 8, "depth": 0})]}, TOKENS,
         30 * 8 + 30 * 8 + (8 * 8 + 8)),
    ],
)  # fmt: skip
def test_parameters_are_as_many_as_by_hand(word: str, options: dict[str, object], spec: TensorSpec, by_hand: int) -> None:
    encoder = REGISTRIES["encoder"].create(Component(word, options), [spec])
    assert _parameters(encoder) == by_hand
