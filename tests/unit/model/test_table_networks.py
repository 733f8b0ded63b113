"""TabM, RealMLP and the joint encoders of tables: what their papers say of size, votes, first weights and rates."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from lode.core.errors import ModelError, SpecError
from lode.core.registry import REGISTRIES
from lode.core.spec import load
from lode.core.types import Component, FlatSpec, TensorSpec
from lode.model.contracts import Context, Examples, Shapes
from lode.model.families.network import Network
from lode.model.families.realmlp import Realmlp
from lode.model.families.tabm import Tabm
from lode.model.members import averaged, drop
from lode.model.neural import Smoothed
from lode.model.realmlp import NtkLinear, Parametric
from lode.model.training import Training
from tests.unit.model.network_samples import examples, shapes, task, tasks

TABLE = ("age", "income", "job")
TWO = Shapes({"size": TensorSpec("float32", (2,)), "kind": TensorSpec("int32", (), cardinality=5)}, FlatSpec((), ()))


def _context(epochs: int = 2, **options: object) -> Context:
    return Context(training=Training(epochs=epochs, batch=32, threads=1, precision="fp32", **options))  # type: ignore[arg-type]


def test_tabm_has_the_parameters_of_its_paper() -> None:
    family = Tabm(TWO, {"risk": tasks()["risk"]}, members=3, width=8, depth=2, embedding_width=4, bins=6)
    entering = 2 * (1 + 4) + 4
    embedding = 2 * 6 * 4
    first, second = entering * 8 + 3 * (entering + 8 + 8), 8 * 8 + 3 * (8 + 8 + 8)
    assert family.cost().parameters == embedding + first + second + 3 * (8 + 1)


def test_realmlp_has_the_parameters_of_its_paper() -> None:
    family = Realmlp(TWO, {"risk": tasks()["risk"]}, width=8, depth=2, frequencies=5, embedding_width=3)
    embedding = 2 * (5 + 5 + 5 * 3 + 3)
    entering = 2 * (1 + 3) + 4
    layers = (entering * 8 + 8 + 8) + (8 * 8 + 8 + 8)
    assert family.cost().parameters == embedding + entering + layers + 8 + 1


def test_members_vote_with_probabilities() -> None:
    scores_BMK = torch.tensor(np.random.default_rng(0).normal(0, 3, (5, 4, 3)), dtype=torch.float64)
    several = softmax(scores_BMK.numpy(), axis=2).mean(axis=1)
    np.testing.assert_allclose(softmax(averaged(scores_BMK, "softmax").numpy(), axis=1), several, rtol=1e-12)
    np.testing.assert_allclose(np.exp(averaged(scores_BMK, "softmax").numpy()), several, rtol=1e-12)
    yes = expit(scores_BMK.numpy()).mean(axis=1)
    np.testing.assert_allclose(expit(averaged(scores_BMK, "sigmoid").numpy()), yes, rtol=1e-12)
    assert torch.equal(averaged(scores_BMK, "scores"), scores_BMK.mean(dim=1))


def test_members_that_are_sure_stay_finite() -> None:
    sure = torch.tensor([[[200.0], [-200.0], [200.0]]])
    assert averaged(sure, "sigmoid")[0, 0].item() == pytest.approx(math.log(2), abs=1e-5)
    assert torch.isfinite(averaged(torch.full((1, 3, 1), 1e4), "sigmoid")).all()


def test_tabm_trains_each_member_with_its_own_loss() -> None:
    rows = examples(96, names=TABLE)
    family = Tabm(shapes(TABLE), tasks(), members=4, width=8)
    family.fit(rows, None, _context(1))
    module = family._neural.module.train()
    inputs = {name: torch.from_numpy(rows.arrays[name]) for name in TABLE}
    scores = module(inputs)["kind"]
    assert scores.shape == (96 * 4, 3)
    assert scores.view(96, 4, 3).std(dim=1).min() > 0, "members answer alike"


@pytest.mark.parametrize("family", [Tabm, Realmlp])
def test_other_inputs_beside_the_table_are_learnt_too(family: type, tmp_path: Path) -> None:
    rows = examples(64)
    made = family(shapes(), tasks(), width=16)
    made.fit(rows, None, _context(1))
    made.save(tmp_path)
    again = family(shapes(), tasks())
    again.load(tmp_path)
    assert all(np.array_equal(again.predict(rows)[name], scores) for name, scores in made.predict(rows).items())


def test_an_input_may_name_its_own_encoder() -> None:
    groups = Tabm(shapes(TABLE, {"job": Component("embedding", {"width": 3})}), tasks())._neural.build(0).groups
    assert groups[-1].encoder.options == {"width": 3}


def test_realmlp_starts_with_units_of_variance_one_that_bend_among_the_rows() -> None:
    torch.manual_seed(0)
    layer, h_BD = NtkLinear(6, 200), torch.randn(500, 6) * 5.0 + 2.0
    layer.start_from(h_BD)
    z_BD = layer(h_BD)
    assert torch.allclose(z_BD.std(dim=0, correction=0), torch.ones(200), atol=1e-4)
    share = (z_BD > 0).float().mean(dim=0)
    assert ((share > 0) & (share < 1)).all(), "a unit is on one side of all rows"
    assert torch.isfinite(layer.start_from(torch.zeros(3, 6))).all()


def test_realmlp_learns_at_the_rates_of_its_paper() -> None:
    module = Realmlp(TWO, {"risk": tasks()["risk"]})._neural.build(0)
    rates = {name: getattr(parameter, "rate_factor", 1.0) for name, parameter in module.named_parameters()}
    assert rates["scale_D"] == 6.0 and rates["layers.0.weight"] == 1.0
    assert {rates[name] for name in rates if name.endswith("bias") or "share_D" in name or "periodic" in name} == {0.1}


def test_parametric_activation_begins_as_the_function_itself() -> None:
    x = torch.linspace(-3, 3, 14).view(2, 7)
    for word in ("selu", "mish"):
        activation = Parametric(7, word)
        assert torch.allclose(activation(x), getattr(torch.nn.functional, word)(x))
        with torch.no_grad():
            activation.share_D.zero_()
        assert torch.equal(activation(x), x)


def test_realmlp_predicts_no_number_outside_those_of_training() -> None:
    rows = examples(200, names=TABLE)
    family = Realmlp(shapes(TABLE), {"price": tasks()["price"]}, width=16)
    family.fit(Examples(200, rows.arrays, None, {"price": rows.targets["price"]}), None, _context(4))
    far = {**rows.arrays, "age": rows.arrays["age"] * 1000}
    scores = family.predict(Examples(200, far, None))["price"]
    low, high = rows.targets["price"].min(), rows.targets["price"].max()
    assert scores.min() >= low and scores.max() <= high
    assert scores.max() == high or scores.min() == low


def test_label_smoothing_mixes_in_equal_probabilities() -> None:
    kind, scores = tasks()["kind"], torch.randn(6, 3, dtype=torch.float32)
    target = torch.tensor([0, 1, 2, 0, 1, 2])
    by_torch = torch.nn.functional.cross_entropy(scores, target, label_smoothing=0.1)
    assert torch.allclose(Smoothed(kind, 0.1).loss(scores, target), by_torch)
    soft = torch.nn.functional.binary_cross_entropy_with_logits(scores[:, 0], torch.tensor([0.95, 0.05] * 3))
    both = Smoothed(tasks()["risk"], 0.1).loss(scores[:, :1], torch.tensor([1, 0] * 3))
    assert torch.allclose(both, soft)


def test_dropout_by_bytes_keeps_the_share_and_the_mean() -> None:
    torch.manual_seed(0)
    out = drop(torch.ones(1001, 1001), 0.1)
    assert (out == 0).float().mean().item() == pytest.approx(26 / 256, abs=1e-3)
    assert out.mean().item() == pytest.approx(1.0, abs=2e-3)
    torch.manual_seed(0)
    assert torch.equal(out, drop(torch.ones(1001, 1001), 0.1))


@pytest.mark.parametrize("word", ["resnet_mlp", "ft_transformer"])
def test_table_names_the_encoder_of_columns_without_one(word: str, tmp_path: Path) -> None:
    registry = REGISTRIES["family"]
    own = shapes(encoders={"income": Component("mlp")})
    options = {"table": {"type": word, "width": 8, "depth": 1}, "width": 8}
    family: Network = registry.create(Component("network", options), own, tasks())
    groups = {group.inputs: group.encoder.type for group in family._neural.build(0).groups}
    assert groups == {("age", "job"): word, ("income",): "mlp", ("text",): "pooled", ("photo",): "cnn"}
    rows = examples(64)
    family.fit(rows, None, _context(1))
    family.save(tmp_path)
    again = Network(own, tasks())
    again.load(tmp_path)
    assert np.array_equal(again.predict(rows)["risk"], family.predict(rows)["risk"])


def test_a_misspelt_option_of_the_table_encoder_is_told_with_its_whole_key(tmp_path: Path) -> None:
    path = tmp_path / "lode.yaml"
    model = "{table: {type: ft_transformer, width: 32, dept: 2}}"
    path.write_text(f"name: x\ndata: {{source: {{type: sklearn, name: wine}}}}\noutputs: {{target: multiclass}}\nmodel: {model}\n")
    with pytest.raises(SpecError, match=r'model\.table\.dept.*found "dept".*Did you mean "depth"'):
        load(path)


def test_a_table_encoder_that_cannot_take_columns_is_named() -> None:
    family = REGISTRIES["family"].create(Component("network", {"table": "cnn"}), shapes(TABLE), tasks())
    with pytest.raises(ModelError, match=r"inputs\.age\.encoder: cnn cannot take"):
        family.cost()


@pytest.mark.parametrize("word", ["tabm", "realmlp"])
def test_a_curve_is_learnt(word: str) -> None:
    random = np.random.default_rng(0)
    x = random.uniform(-2, 2, (600, 1)).astype(np.float32)
    y = np.where(np.sin(3 * x[:, 0]) > 0, 1.0, -1.0).astype(np.float32)
    family = REGISTRIES["family"].create(
        Component(word, {"width": 32}),
        Shapes({"x": TensorSpec("float32", (1,))}, FlatSpec((), ())),
        {"y": task("number", np.array([-1.0, 1.0]))},
    )
    family.fit(Examples(600, {"x": x}, None, {"y": y}), None, _context(30))
    error = ((family.predict(Examples(600, {"x": x}, None))["y"][:, 0] - y) ** 2).mean()
    assert error < 0.3


def test_realmlp_takes_the_batch_of_its_paper_and_bends_numbers_smoothly() -> None:
    rows, price = examples(300, names=TABLE), task("quantiles", np.linspace(-1, 1, 20))
    family = Realmlp(shapes(TABLE), {"price": price}, width=8)
    chosen = family.fit(
        Examples(300, rows.arrays, None, {"price": rows.targets["price"]}), None, Context(training=Training(threads=1), rounds=1)
    ).choices
    assert (chosen["batch"], family._neural.options["activation"]) == (256, "mish")
    assert Realmlp(shapes(TABLE), tasks())._neural.options["activation"] == "selu"


def test_augmentations_move_to_the_device_of_the_fit() -> None:
    given = Shapes(TWO.inputs, TWO.flat, augments={"size": (Component("noise"),)})
    (noise,) = Network(given, {"risk": tasks()["risk"]})._neural._augment("meta").alone["size"]
    assert noise.spread.device.type == "meta"
