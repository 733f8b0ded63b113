"""The family `network`: what it builds, that it learns, that it comes back from disk, what it refuses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lode.core.errors import ArtifactError, ModelError
from lode.core.types import Component, FlatSpec, TensorSpec
from lode.model.contracts import Context, Examples, Shapes
from lode.model.families.network import Network
from lode.model.flops import FlopCounter
from lode.model.network import group_inputs
from lode.model.training import Training
from tests.unit.model.network_samples import SPECS, examples, shapes, task, tasks

TABLE = ("age", "income", "job")


def _fit(network: Network, rows: Examples, epochs: int = 2, seed: int = 0) -> Network:
    network.fit(rows, None, Context(seed=seed, training=Training(epochs=epochs, batch=32)))
    return network


def test_program_p6_is_exactly_784_128_10() -> None:
    mlp = Component("mlp", {"width": 128, "depth": 1})
    spec = TensorSpec("uint8", (28, 28, 1), scale=(1 / 255,))
    digits = {"digit": task("multiclass", np.array([str(digit) for digit in range(10)], object))}
    network = Network(Shapes({"image": spec}, FlatSpec((), ()), {"image": mlp}), digits, depth=0)
    cost = network.cost()
    assert cost.parameters == 101_770
    assert cost.flops_per_row == 2 * (784 * 128 + 128 * 10)
    assert cost.weight_bytes == 4 * 101_770


def test_program_p5_is_the_mean_of_embeddings_and_one_number() -> None:
    text = {"text": Component("pooled", {"width": 16})}
    network = Network(shapes(("text",), text), {"risk": tasks()["risk"]}, depth=0)
    assert network.cost().parameters == 11 * 16 + 16 + 1


def test_inputs_with_the_same_joint_encoder_are_encoded_together() -> None:
    own = {"income": Component("mlp", {"width": 4})}
    groups = group_inputs(SPECS, own)
    assert [(group.inputs, group.encoder.type) for group in groups] == [
        (("age",), "mlp"),
        (("income",), "mlp"),
        (("job",), "embedding"),
        (("text",), "pooled"),
        (("photo",), "cnn"),
    ]
    assert group_inputs(SPECS, {})[0].inputs == ("age", "income")


@pytest.mark.parametrize("fusion", ["concat", "attention"])
def test_every_kind_of_input_and_output_is_learnt_together(fusion: str) -> None:
    rows = examples(400)
    network = _fit(Network(shapes(), tasks(), fusion=fusion, width=32), rows, epochs=20)
    scores = network.predict(rows)
    assert {name: array.shape for name, array in scores.items()} == {
        "risk": (400, 1),
        "kind": (400, 3),
        "price": (400, 1),
    }
    assert all(array.dtype == np.float32 for array in scores.values())
    assert ((scores["risk"][:, 0] > 0) == rows.targets["risk"]).mean() > 0.9
    assert (scores["kind"].argmax(1) == rows.targets["kind"]).mean() > 0.8
    assert np.corrcoef(scores["price"][:, 0], rows.targets["price"])[0, 1] > 0.9


def test_a_saved_network_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    rows = examples(100)
    network = _fit(Network(shapes(), tasks(), width=16), rows)
    network.save(tmp_path)
    again = Network(shapes(), tasks())
    again.load(tmp_path)
    for name, scores in network.predict(rows).items():
        assert np.array_equal(again.predict(rows)[name], scores)
    assert again.cost() == network.cost()


def test_equal_seeds_give_equal_files_and_other_seeds_other_ones(tmp_path: Path) -> None:
    hashes = []
    for number, seed in enumerate((3, 3, 4)):
        _fit(Network(shapes(TABLE), tasks(), width=16), examples(100, names=TABLE), seed=seed).save(tmp_path / str(number))
        files = [(tmp_path / str(number) / name).read_bytes() for name in ("network.safetensors", "network.json")]
        hashes.append(hashlib.sha256(b"".join(files)).hexdigest())
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_saved_network_names_every_option_so_that_later_defaults_change_nothing(tmp_path: Path) -> None:
    _fit(Network(shapes(TABLE), tasks(), width=16), examples(64, names=TABLE), epochs=1).save(tmp_path)
    record = json.loads((tmp_path / "network.json").read_text())
    assert record["options"]["width"] == 16 and {"depth", "dropout", "norm"} <= set(record["options"])
    assert {"frequencies", "embedding_width", "spread"} <= set(record["groups"][0]["encoder"])


def test_predictions_do_not_depend_on_the_global_random_state() -> None:
    rows = examples(64, names=TABLE)
    state = torch.random.get_rng_state()
    first = _fit(Network(shapes(TABLE), tasks(), width=16), rows).predict(rows)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.rand(7)
    second = _fit(Network(shapes(TABLE), tasks(), width=16), rows).predict(rows)
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_answers_take_fewer_rows_at_a_time_where_memory_does_not_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(shapes(("age", "job")), {"risk": tasks()["risk"]}, width=8)
    network.fit(some := examples(100, 0, ("age", "job")), None, Context(training=Training(epochs=1)))
    module, wanted, sizes = network._neural.module, network.predict(some)["risk"], []

    def forward(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        sizes.append(len(inputs["age"]))
        if sizes[-1] > 40:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")
        return type(module).forward(module, inputs)

    monkeypatch.setattr(module, "forward", forward)
    np.testing.assert_allclose(network.predict(some)["risk"], wanted, atol=1e-6)
    assert max(sizes[-3:]) <= 40


def test_rows_without_a_target_are_masked_and_the_others_learnt() -> None:
    rows = examples(300, names=TABLE)
    gaps = np.random.default_rng(1).random(300) < 0.5
    targets = {
        "risk": np.where(gaps, -1, rows.targets["risk"]),
        "price": np.where(gaps, rows.targets["price"], np.nan).astype(np.float32),
    }
    both = {name: tasks()[name] for name in targets}
    network = _fit(Network(shapes(TABLE), both, width=32), Examples(300, rows.arrays, None, targets), epochs=20)
    scores = network.predict(rows)
    assert np.isfinite(scores["risk"]).all() and np.isfinite(scores["price"]).all()
    assert ((scores["risk"][:, 0] > 0) == rows.targets["risk"]).mean() > 0.85


def test_one_row_more_than_a_batch_trains_with_batch_norm() -> None:
    _fit(Network(shapes(TABLE), tasks(), width=8, norm="batch"), examples(65, names=TABLE))


def test_the_heads_start_at_the_rates_of_the_classes() -> None:
    network = Network(shapes(TABLE), {"risk": tasks()["risk"]}, width=8)
    rows = examples(200, names=TABLE)
    rare = Examples(200, rows.arrays, None, {"risk": (np.arange(200) < 20).astype(np.int64)})
    network.fit(rare, None, Context(training=Training(epochs=1, learning_rate=1e-12)))
    assert network._neural.module.heads[0].bias.item() == pytest.approx(np.log(21 / 181), abs=1e-4)


def test_members_learn_together_and_answer_as_one(tmp_path: Path) -> None:
    rows = examples(300, names=TABLE)
    gaps = np.where(np.arange(300) % 3 == 0, -1, rows.targets["risk"])
    partly = Examples(300, rows.arrays, None, {**rows.targets, "risk": gaps})
    network = _fit(Network(shapes(TABLE), tasks(), width=16, members=3), partly, epochs=20)
    scores = network.predict(rows)
    assert scores["kind"].shape == (300, 3)
    assert ((scores["risk"][:, 0] > 0) == rows.targets["risk"]).mean() > 0.85
    network.save(tmp_path)
    again = Network(shapes(TABLE), tasks())
    again.load(tmp_path)
    assert np.array_equal(again.predict(rows)["risk"], scores["risk"])


def test_an_encoder_that_cannot_take_an_input_is_named_with_those_that_can() -> None:
    with pytest.raises(ModelError, match=r"inputs\.age\.encoder: cnn cannot take .*allowed is .*mlp"):
        Network(shapes(("age",), {"age": Component("cnn")}), tasks()).cost()


def test_options_of_an_encoder_that_do_not_fit_the_input_name_it() -> None:
    wrong = shapes(("age", "job", "photo"), {"photo": Component("cnn", {"channels": [4] * 4})})
    network = Network(wrong, {"risk": tasks()["risk"]})
    with pytest.raises(ModelError, match=r"^inputs\.photo\.encoder cnn: 4 rounds of convolution"):
        network.fit(examples(20, 0, ("age", "job", "photo")), None, Context(training=Training(epochs=1)))


def test_a_folder_without_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no readable network"):
        Network(shapes(), tasks()).load(tmp_path)


def test_a_network_of_a_later_format_is_refused(tmp_path: Path) -> None:
    _fit(Network(shapes(TABLE), tasks(), width=8), examples(64, names=TABLE), epochs=1).save(tmp_path)
    path = tmp_path / "network.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(ArtifactError, match="found format 99"):
        Network(shapes(TABLE), tasks()).load(tmp_path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    for name, width in (("a", 8), ("b", 9)):
        _fit(Network(shapes(TABLE), tasks(), width=width), examples(64, names=TABLE), epochs=1).save(tmp_path / name)
    (tmp_path / "a" / "network.safetensors").write_bytes((tmp_path / "b" / "network.safetensors").read_bytes())
    with pytest.raises(ArtifactError, match="does not fit"):
        Network(shapes(TABLE), tasks()).load(tmp_path / "a")


def test_our_count_of_operations_is_that_of_torch() -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    encoders = {"text": Component("transformer", {"width": 8, "heads": 2}), "photo": Component("resnet", {"width": 4})}
    network = Network(shapes(encoders=encoders), tasks(), fusion="attention")
    module = network._neural.build(0).eval()
    rows = {name: torch.zeros(2, *spec.shape, dtype=getattr(torch, spec.dtype)) for name, spec in SPECS.items()}
    with torch.inference_mode(), FlopCounter() as ours:
        module(rows)
    # torch's counter knows attention in terms of its matrix products only
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as theirs:
        module(rows)
    assert ours.total == theirs.get_total_flops()
