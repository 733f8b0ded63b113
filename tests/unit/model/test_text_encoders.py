"""Encoders of texts against plain torch and by hand: recurrent ones, windows, runs of words, several at once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lode.core.errors import ModelError
from lode.core.registry import REGISTRIES
from lode.core.types import Component, TensorSpec
from lode.model.flops import FlopCounter
from lode.model.recurrent import drop_codes, masked_max, masked_mean

TEXT = TensorSpec("int32", (9,), ragged=(0,), cardinality=30)
SERIES = TensorSpec("float32", (6, 2), ragged=(0,))
STEPPED = [word for word in REGISTRIES["encoder"].names() if REGISTRIES["encoder"].constant(word, "gives_steps")]


def make(word: str, spec: TensorSpec = TEXT, **options: object):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return REGISTRIES["encoder"].create(Component(word, options), [spec]).eval()


@pytest.fixture
def tokens() -> torch.Tensor:
    """Texts of 9, 4, 1 and no words."""
    x = torch.randint(2, 30, (4, 9), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    return x * (torch.arange(9) < torch.tensor([9, 4, 1, 0])[:, None])


@pytest.mark.parametrize(("word", "cell"), [("lstm", nn.LSTM), ("gru", nn.GRU)])
def test_both_directions_agree_with_packed_sequences_of_torch(word: str, cell: type, tokens: torch.Tensor) -> None:
    encoder = make(word, embedding=5, width=3)
    plain = cell(5, 3, batch_first=True, bidirectional=True)
    ahead, back = encoder.core.layers[0]
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        getattr(plain, name).data.copy_(getattr(ahead, name).data)
        getattr(plain, f"{name}_reverse").data.copy_(getattr(back, name).data)
    lengths = torch.tensor([9, 4, 1])
    embedded = encoder.core.table_VD[tokens[:3].long()]
    packed = nn.utils.rnn.pack_padded_sequence(embedded, lengths, batch_first=True)
    wanted_BTD, _ = nn.utils.rnn.pad_packed_sequence(plain(packed)[0], batch_first=True)
    found_BTD, real_BT = encoder.steps([tokens])
    assert real_BT.sum(dim=1).tolist() == [9, 4, 1, 1]
    assert torch.allclose(found_BTD[:3] * real_BT[:3, :, None], wanted_BTD, atol=1e-6)


def test_the_last_state_of_each_direction_has_read_everything(tokens: torch.Tensor) -> None:
    encoder = make("lstm", embedding=5, width=3, pool="last")
    h_BTD, _ = encoder.steps([tokens])
    wanted = torch.stack([torch.cat((h_BTD[row, last, :3], h_BTD[row, 0, 3:])) for row, last in enumerate([8, 3, 0, 0])])
    assert torch.equal(encoder([tokens]), wanted)


def test_lstm_is_the_network_of_program_p4() -> None:
    spec = TensorSpec("int32", (100,), ragged=(0,), cardinality=10_000)
    encoder = make("lstm", spec, embedding=16, width=128, directions=1, pool="last")
    # Keras has one vector of biases, torch has two: 512 more
    assert sum(item.numel() for item in encoder.parameters()) == 10_000 * 16 + 4 * 128 * (16 + 128 + 1) + 512
    assert encoder.width == 128


def test_a_series_ends_where_its_padding_begins() -> None:
    x = torch.randn(3, 6, 2, generator=torch.Generator().manual_seed(0))
    x[1, 4:] = float("nan")
    encoder = make("gru", SERIES)
    assert torch.allclose(encoder([x])[1], encoder([x[1:2, :4]])[0], atol=1e-6)
    assert encoder.steps([x])[1].sum(dim=1).tolist() == [6, 4, 6]


@pytest.mark.parametrize("word", [word for word in STEPPED if word in ("gru", "lstm", "textcnn", "transformer")])
def test_vectors_of_words_do_not_depend_on_padding(word: str, tokens: torch.Tensor) -> None:
    encoder = make(word)
    long_BTD, keep_BT = encoder.steps([tokens])
    short_BTD, _ = encoder.steps([tokens[1:2, :4]])
    assert long_BTD.shape[:2] == keep_BT.shape == tokens.shape and long_BTD.shape[2] == encoder.width
    assert torch.allclose(long_BTD[1, :4], short_BTD[0], atol=1e-5) and keep_BT[1].tolist() == [True] * 4 + [False] * 5


def test_a_window_looks_at_its_neighbours() -> None:
    encoder = make("textcnn", embedding=4, channels=2, windows=[3])
    h_BTD, _ = encoder.steps([torch.tensor([[5, 6, 7]], dtype=torch.int32)])
    layer, table = encoder.convolutions[0], encoder.table_VD
    middle = torch.relu(torch.einsum("odk,kd->o", layer.weight, table[[5, 6, 7]]) + layer.bias)
    first = torch.relu(torch.einsum("odk,kd->o", layer.weight[:, :, 1:], table[[5, 6]]) + layer.bias)
    assert torch.allclose(h_BTD[0, 1], middle, atol=1e-6) and torch.allclose(h_BTD[0, 0], first, atol=1e-6)


def test_runs_of_words_know_their_order_and_padding_does_not_count() -> None:
    one, other = (torch.tensor([row], dtype=torch.int32) for row in ([2, 3, 4, 0, 0], [4, 3, 2, 0, 0]))
    words, runs = make("pooled"), make("pooled", grams=2, buckets=1000)
    assert torch.allclose(words([one]), words([other]), atol=1e-6) and not torch.allclose(runs([one]), runs([other]), atol=1e-3)
    assert torch.allclose(runs([one]), runs([one[:, :3]]), atol=1e-6)
    codes, real = runs._runs(one)
    assert codes.shape == (1, 5 + 4) and real.sum() == 3 + 2 and int(codes[real].max()) < len(runs.table_VD)


def test_the_root_of_the_number_divides_the_sum() -> None:
    tokens = torch.tensor([[2, 5, 6, 7]], dtype=torch.int32)
    assert torch.allclose(make("pooled", scale="sqrt")([tokens]), 2 * make("pooled")([tokens]), atol=1e-6)


def test_several_encoders_stand_side_by_side(tokens: torch.Tensor) -> None:
    both = make("several", encoders=[{"type": "pooled", "width": 3}, {"type": "gru", "width": 4, "embedding": 5}])
    parts = [part([tokens]) for part in both.parts]
    assert both.width == 3 + 8 and torch.equal(both([tokens]), torch.cat(parts, dim=1))
    made = REGISTRIES["encoder"].create(Component("several", both.portable({"encoders": None})), [TEXT])
    assert {name: item.shape for name, item in made.state_dict().items()} == {n: i.shape for n, i in both.state_dict().items()}
    assert both.wants() == {"clip": 1.0}, "what its encoders want of train: is what it wants"
    with pytest.raises(ModelError, match="encoder several: cnn cannot take this input"):
        make("several", encoders=["pooled", "cnn"])


def test_masked_pools_by_hand() -> None:
    h_BTD = torch.tensor([[[1.0, -5.0], [3.0, -7.0], [100.0, 100.0]]])
    keep_BT = torch.tensor([[True, True, False]])
    assert masked_mean(h_BTD, keep_BT).tolist() == [[2.0, -6.0]] and masked_max(h_BTD, keep_BT).tolist() == [[3.0, -5.0]]


def test_hidden_words_become_unknown_and_padding_stays(tokens: torch.Tensor) -> None:
    hidden = drop_codes(tokens, 1.0)
    assert torch.equal(hidden != 0, tokens != 0) and set(hidden.unique().tolist()) == {0, 1}


def test_operations_of_recurrent_layers_and_windows_are_counted(tokens: torch.Tensor) -> None:
    for word, gates in (("lstm", 4), ("gru", 3)):
        encoder = make(word, embedding=5, width=3)
        with FlopCounter() as counter:
            encoder([tokens])
        assert counter.total == 2 * 36 * (2 * gates * 3 * (5 + 3))
    with FlopCounter() as counter:
        make("textcnn", embedding=5, channels=3, windows=[2, 4])([tokens])
    assert counter.total == 2 * 36 * 3 * 5 * (2 + 4)


@pytest.mark.parametrize("word", ["lstm", "gru"])
def test_values_of_a_series_are_not_dropped(word: str) -> None:
    """A word that loses some of its numbers is still that word; a series of one channel that loses values is another series."""
    series = torch.randn(4, 6, 2, generator=torch.Generator().manual_seed(0))
    encoder = make(word, SERIES, width=3, dropout=0.9)
    quiet_BTD, _ = encoder.steps([series])
    assert torch.equal(encoder.train().steps([series])[0], quiet_BTD)
    text = make(word, width=3, dropout=0.9, unknown=0.0)
    words = torch.full((4, 9), 3, dtype=torch.int32)
    assert not torch.equal(text.train().steps([words])[0], text.eval().steps([words])[0])
