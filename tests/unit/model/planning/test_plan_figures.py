"""Time, money, serving, budgets, advice and reconciling: arithmetic on plain numbers."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
import torch
from torch import nn

from lode.core.errors import SpecError
from lode.core.hardware import Device, Price, find, known, money, priced
from lode.core.registry import REGISTRIES
from lode.core.types import Component, FlatSpec, TensorSpec
from lode.model.contracts import Context, Examples, Fitted, Shapes
from lode.model.planning import budget, clock, decoder, sharding
from lode.model.planning.activations import Step
from lode.model.planning.advice import advise
from lode.model.planning.live import LiveBytes, peak_at, peak_of
from lode.model.planning.memory import Keeping
from lode.model.planning.reconcile import reconcile
from lode.model.planning.serving import serving
from lode.model.planning.survey import survey
from lode.model.planning.table import trees
from lode.model.shape import Shape
from lode.model.training import Training

PLAIN = Device("toy", "a toy", 1e9, 1e9, {"fp32": 1e12}, {"fp32": (0.25, 1.0)}, price=Price(Decimal("3.6"), "EUR", "here"))


def llama(layers: int, context: int = 128) -> Shape:
    return Shape(vocabulary=1000, layers=layers, width=64 * layers, heads=layers, groups=layers, head_width=64, hidden=192 * layers,
                 context=context)  # fmt: skip


def test_time_is_operations_over_speed_and_money_time_times_price() -> None:
    band = clock.step_seconds(1e12, PLAIN, "fp32")
    assert (band.low, band.middle, band.high) == pytest.approx((1.0, 2.0, 4.0))
    assert clock.step_seconds(1e12, PLAIN, "fp32", devices=4).high == pytest.approx(1.0)
    assert clock.cost(1000.0, 2, PLAIN) == Decimal("2.0000")
    assert clock.utilisation(1e12, 2.0, PLAIN, "fp32") == pytest.approx(0.5)


def test_a_token_reads_every_weight_and_its_cache() -> None:
    shape = llama(2)
    found = serving(shape, PLAIN, "fp32", 4, context=100)
    read = 4 * decoder.multiplied(shape) + 100 * decoder.cache_bytes(shape, 4)
    assert found.floor_s == pytest.approx(read / 1e9)
    assert found.tokens_s == pytest.approx(1.0 / found.floor_s)
    assert found.price_per_million is not None
    assert float(found.price_per_million) == pytest.approx(1e6 * 3.6 / 3600 / found.batch_tokens_s, rel=1e-3)


@pytest.mark.parametrize("flops", [1e15, 1e18, 1e20, 1e22])
@pytest.mark.parametrize("ratio", [budget.CHINCHILLA, budget.OVERTRAINED])
def test_a_budget_of_operations_is_spent_whole(flops: float, ratio: float) -> None:
    size = budget.size_for(flops, ratio, llama)
    assert size.tokens * decoder.training_flops(size.shape, size.shape.context) == pytest.approx(flops)
    assert size.parameters == sum(decoder.parameters(size.shape).values())


def test_a_budget_pays_for_about_as_many_tokens_a_parameter_as_it_says() -> None:
    """The rule of thumb C = 6 N D leaves the scores out: on 2,048 tokens of context its models saw 16 tokens a parameter, not 20."""
    for flops, ratio in ((3e19, 20.0), (3e19, 200.0), (1e21, 20.0)):
        size = budget.size_for(flops, ratio, lambda layers: llama(layers, 2048))
        assert size.ratio == pytest.approx(ratio, rel=0.15)
        assert size.tokens == pytest.approx(size.ratio * size.parameters)
        assert 6 * size.parameters * size.tokens == pytest.approx(flops, rel=0.3)  # Chinchilla's own count, by hand


def test_more_money_is_a_larger_model_and_more_text_a_smaller_one() -> None:
    small, large = (budget.size_for(flops, 20.0, llama) for flops in (1e18, 1e20))
    assert small.parameters < large.parameters
    assert budget.size_for(1e20, 200.0, llama).parameters < large.parameters


def test_the_best_way_is_the_simplest_that_fits() -> None:
    device = find("t4")
    found = sharding.ways(llama(8, 1024), Step(8, 1024, half=True, gpu=True), Keeping(), device, (1, 2, 4))
    best = sharding.best(found)
    assert best is not None
    assert best.fits
    assert all(not way.fits or (way.devices, way.recompute) >= (best.devices, best.recompute) for way in found)
    assert not [way for way in found if way.sharding == "tensor" and way.devices == 3]
    assert sharding.best(sharding.ways(llama(40, 4096), Step(512, 4096, gpu=True), Keeping(), device, (1,))) is None


def test_every_device_of_the_table_is_whole() -> None:
    for name, device in known().items():
        assert device.price is not None, name
        assert set(device.mfu) <= set(device.peak), name
        assert all(0 < low < high < 1 for low, high in device.mfu.values()), name
        assert device.source, name
        assert device.mfu_source, name
        assert "20" in device.price.source, f"{name}: a price has a date"


def test_unknown_hardware_names_the_near_miss() -> None:
    with pytest.raises(SpecError, match=r'found "h10", allowed: here, t4.*Did you mean "h100"'):
        find("h10")
    assert find("A100").name == "a100-80"


def test_prices_are_the_users_own_or_the_tables() -> None:
    found = priced(find("h100"), "2.50/h", "EUR")
    assert found.price is not None
    assert (found.price.per_hour, found.price.currency) == (Decimal("2.50"), "EUR")
    with pytest.raises(SpecError, match="no rates of exchange"):
        priced(find("h100"), None, "EUR")
    with pytest.raises(SpecError, match="--price"):
        priced(find("h100"), "cheap", None)
    with pytest.raises(SpecError, match="--currency"):
        priced(find("h100"), "2", "euro")
    assert money("50 EUR") == (Decimal(50), "EUR")
    for wrong in ("50", "0 EUR", "EUR 50", "-3 EUR"):
        with pytest.raises(SpecError, match="--budget"):
            money(wrong)
    for unclear in ("1,000 EUR", "1.000 EUR", "50.000 EUR"):
        with pytest.raises(SpecError, match=r'Write --budget "(1|50)000 EUR" or "(1|50) EUR"'):
            money(unclear)
    assert money("0,50 EUR") == (Decimal("0.50"), "EUR")
    assert money("0.125 EUR") == (Decimal("0.125"), "EUR")
    with pytest.raises(SpecError, match="above 0"):
        priced(find("h100"), "0", "EUR")


def test_precision_is_the_best_that_the_device_has() -> None:
    assert (find("t4").precision("auto"), find("h100").precision("auto")) == ("fp16", "bf16")
    with pytest.raises(SpecError, match="found precision bf16, which it has not"):
        find("t4").precision("bf16")


def test_reconciling_says_how_far_a_forecast_lay() -> None:
    said = {"parameters": 10, "seconds": {"low": 1.0, "middle": 2.0, "high": 4.0}, "flops": 5.0, "money": None}
    rows = {row["figure"]: row for row in reconcile(said, {"parameters": 10, "seconds": 5.0, "steps": 3})}
    assert list(rows) == ["parameters", "training (forecast: its steps alone)"]
    assert rows["parameters"]["error"] == 0.0
    assert rows["parameters"]["within"] is None
    assert rows["training (forecast: its steps alone)"]["error"] == pytest.approx(-0.6)
    assert rows["training (forecast: its steps alone)"]["within"] is False
    assert reconcile(said, {"seconds": 3.0})[0]["within"] is True
    assert reconcile(said, {"parameters": 0})[0]["error"] is None


@pytest.mark.parametrize(
    ("rows", "kinds", "task", "family"),
    [
        (500, ["number"], "binary", "auto"), (20_000, ["number", "category"], "number", "trees"), (10**6, ["number"], "binary", "trees"),
        (5000, ["image"], "multiclass", "network"), (1000, ["text"], "binary", "auto"), (10**5, ["text"], "binary", "network"),
        (1000, ["number"], "anomaly", "isolation"), (1000, ["number"], "ranking", "trees"), (1000, ["text"], "tags", "network"),
    ],
)  # fmt: skip
def test_advice_names_a_family_that_there_is_and_says_why(rows: int, kinds: list[str], task: str, family: str) -> None:
    found = advise(rows, kinds, task)
    assert found.family == family
    assert found.reason
    assert found.sure
    words = {*REGISTRIES["family"].names(), "auto"}
    assert {found.family, *found.others} <= words


def test_live_bytes_follow_tensors_and_extrapolate() -> None:
    def changes(rows: int) -> list[int]:
        with LiveBytes() as live:
            x = torch.zeros(rows, 10)
            y = x + 1
            del x
            z = torch.cat((y, y))
            del y, z
        return live.changes

    low, high = changes(2), changes(4)
    assert peak_of(low) == 2 * 10 * 4 * 3
    assert peak_at(100, 2, low, 4, high) == 100 * 10 * 4 * 3
    assert peak_at(10, 1, [5], 2, [7, -7]) == 5 + 9 * 2


def test_a_survey_leaves_the_job_as_it_was() -> None:
    """The same fit with and without it: the same bits; and it counts parameters and operations as torch does."""
    random = np.random.default_rng(0)
    arrays = {"x": random.integers(0, 256, (64, 8, 8, 3), np.uint8)}
    task = REGISTRIES["task"].create(Component("multiclass"))
    labels = np.array([str(number % 3) for number in range(64)], dtype=object)
    task.fit(labels)
    examples = Examples(64, arrays, None, {"y": task.encode(labels)})
    spec = TensorSpec("uint8", (8, 8, 3), scale=(255.0, 255.0, 255.0), offset=(0.0, 0.0, 0.0))
    found = []

    def look(job: object, choices: object, training: Training, try_steps: object) -> Fitted | None:
        found.append(survey(job, choices, training))  # type: ignore[arg-type]
        return None

    def fitted(hook: object) -> dict[str, np.ndarray]:
        encoders = {"x": Component("resnet", {"width": 8})}
        family = REGISTRIES["family"].create(Component("network"), Shapes({"x": spec}, FlatSpec((), ()), encoders), {"y": task})
        family.fit(examples, None, Context(training=Training(epochs=1, batch=16), survey=hook))  # type: ignore[arg-type]
        assert not found or found[0].parameters == family.cost().parameters
        scores: dict[str, np.ndarray] = family.predict(Examples(64, arrays, None))
        return scores

    plain = fitted(None)
    looked = fitted(look)
    assert np.array_equal(plain["y"], looked["y"])
    assert found[0].steps == 4
    assert found[0].flops > 0
    assert found[0].memory.peak_bytes > 16 * found[0].parameters


def test_full_trees_have_a_leaf_more_than_inner_nodes() -> None:
    found = trees(1000, 10, 3, 20, 8)
    assert found.parameters == 20 * 3 * 15
    assert found.flops_per_row == 20 * 3 * 4
    assert found.memory_bytes < trees(2000, 10, 3, 20, 8).memory_bytes


def test_a_module_without_gradients_to_its_input_saves_them() -> None:
    from lode.model.flops import TrainingFlops

    model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 4))
    with TrainingFlops() as counter:
        model(torch.zeros(2, 8))
    assert counter.total == 2 * (2 * 8 * 16 * 2 + 2 * 16 * 4 * 3)
