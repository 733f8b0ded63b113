"""What `lode tune` may change: read from the file and the signatures, without importing an extension."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lode.core.check import Finding
from lode.core.errors import SpecError
from lode.core.search import Dimension, applied, dimensions
from lode.core.spec import load

TREE: dict[str, Any] = {
    "name": "x",
    "inputs": {"a": "number", "t": {"type": "text", "encoder": "pooled"}},
    "model": {"type": "network", "depth": 1},
}
FILE = """
name: x
data: {source: {type: csv, path: a.csv}}
inputs: {a: number, t: {type: text, encoder: pooled}}
outputs: {y: {type: binary, positive: 1}}
model: network
"""


def found(search: Any, tree: dict[str, Any] = TREE) -> list[Dimension]:
    findings: list[Finding] = []
    made = dimensions(tree, search, findings)
    assert not findings
    return made


def told(tmp_path: Path, tune: str, before: str = "") -> str:
    path = tmp_path / "lode.yaml"
    path.write_text(f"{FILE}{before}tune: {tune}\n")
    with pytest.raises(SpecError) as error:
        load(path)
    return str(error.value)


def test_a_list_is_what_is_tried_and_bounds_are_bounds() -> None:
    width, rate = found({"model.width": [32, 64], "train.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}})
    assert width.choices == (32, 64)
    assert (rate.low, rate.high, rate.log, rate.whole) == (1e-4, 1e-2, True, False)
    assert rate.grid() == pytest.approx([1e-4, 10 ** (-10 / 3), 10 ** (-8 / 3), 1e-2])


def test_a_whole_number_stays_whole() -> None:
    (depth,) = found({"model.depth": {"low": 1, "high": 3, "points": 3}}, {**TREE, "model": "network"})
    assert depth.whole
    assert depth.grid() == [1, 2, 3]


def test_nothing_after_a_name_asks_the_signature() -> None:
    (rate,) = found({"train.learning_rate": None})
    assert 0 < rate.low < rate.high < 1
    assert rate.log


def test_without_a_search_every_open_option_that_proposes_bounds_is_tried() -> None:
    names = [item.name for item in found(None)]
    assert "train.learning_rate" in names
    assert "model.width" in names
    assert "model.depth" not in names, "the file says it"


def test_options_of_a_word_exist_only_beside_the_word() -> None:
    word, heads = found({"inputs.t.encoder.heads": [2, 4], "inputs.t.encoder": ["pooled", "transformer"]})
    assert word.name == "inputs.t.encoder", "words come before what they name"
    assert not heads.exists(applied(TREE, [(word, "pooled")]))
    assert heads.exists(applied(TREE, [(word, "transformer")]))


def test_values_go_where_they_belong_and_leave_the_file_alone() -> None:
    word, heads = found({"inputs.t.encoder": ["pooled", "transformer"], "inputs.t.encoder.heads": [2, 4]})
    made = applied(TREE, [(word, "transformer"), (heads, 4)])
    assert made["inputs"]["t"]["encoder"] == {"type": "transformer", "heads": 4}
    assert made["model"] is not None
    assert TREE["inputs"]["t"]["encoder"] == "pooled"


@pytest.mark.parametrize(
    ("tune", "text"),
    [
        ("{search: {model.widht: [1, 2]}}", 'Did you mean "width"?'),
        ("{search: {model.depth: [-1, 2]}}", "tune.search.model.depth[0] (line 7): found -1, allowed: a whole number, at least 0."),
        ("{search: {model.width: {low: 9, high: 3}}}", "found low 9 and high 3, allowed: low below high"),
        ("{search: {model.width: [8]}}", "found 1 values, allowed: two or more"),
        ("{search: {inputs.z.encoder: [pooled, cnn]}}", 'found the input "z", allowed: a, t'),
        ("{search: {inputs.t.encoder: [pooled, transfromer]}}", 'Did you mean "transformer"?'),
        ("{search: {data.split: [1, 2]}}", "Name an option of one of them."),
        ("{search: {model.activation: {low: 1, high: 2}}}", "allowed: a list of values (relu"),
        (
            "{search: {model.width: {low: 8, high: 64, points: 0}}}",
            "points (line 7): found 0, allowed: a whole number, at least 2.",
        ),
        ("{search: {train.learning_rate: {low: 0.1, high: .inf}}}", "allowed: low below high"),
        ("{search: {model.width: [8, 16, 8.0]}}", "found 8.0 more than once, allowed: every value once."),
        ("{search: {1: [2, 3]}}", "tune.search"),
        ("{search: {train.budget: [1m, 2m]}}", "allowed: tune.budget. Use that."),
        ("{search: {model: [trees, linear], train.epochs: [1, 2]}}", "found beside model: trees, linear, which trains without it"),
        ("{method: bayes}", "allowed: tpe, random, grid, gp, hyperband, asha"),
        ("{trials: 0}", "at least 1"),
    ],
)
def test_mistakes_name_line_and_way_out(tmp_path: Path, tune: str, text: str) -> None:
    assert text in told(tmp_path, tune)


def test_options_of_the_loop_exist_only_beside_families_that_have_one() -> None:
    word, rate = found({"train.learning_rate": None, "model": ["network", "trees"]})
    assert rate.exists(applied(TREE, [(word, "network")]))
    assert not rate.exists(applied(TREE, [(word, "trees")]))


def test_a_grid_ends_at_its_bounds() -> None:
    (rate,) = found({"train.learning_rate": {"low": 0.003, "high": 0.7, "log": True, "points": 7}})
    assert (rate.grid()[0], rate.grid()[-1]) == (0.003, 0.7)
    assert max(rate.grid()) <= 0.7


def test_a_budget_of_fits_does_not_go_with_trials(tmp_path: Path) -> None:
    path = tmp_path / "lode.yaml"
    path.write_text(FILE + "train: {budget: 5m}\ntune: {trials: 2}\n")
    with pytest.raises(SpecError, match=r"ends fits by the clock .* allowed: tune\.budget"):
        load(path)


def test_auto_is_not_tuned(tmp_path: Path) -> None:
    path = tmp_path / "lode.yaml"
    path.write_text(FILE.replace("model: network", "model: auto") + "tune: {trials: 2}\n")
    with pytest.raises(SpecError, match="which tries families itself"):
        load(path)


# Options of the loop that vary together


def test_an_option_of_some_words_is_tried_beside_those_words_only() -> None:
    search = {"train.momentum": [0.5, 0.9], "train.optimizer": ["adam", "sgd", "muon"]}
    rule, momentum = found(search)
    assert rule.name == "train.optimizer", "the word comes first"
    assert not momentum.exists(applied(TREE, [(rule, "adam")]))
    assert all(momentum.exists(applied(TREE, [(rule, word)])) for word in ("sgd", "muon"))


def test_options_of_the_loop_that_vary_together_are_no_contradiction(tmp_path: Path) -> None:
    path = tmp_path / "lode.yaml"
    search = "{train.optimizer: [sgd, adam], train.momentum: [0.5, 0.9], train.batch: [8, 16], train.accumulate: [2, 12]}"
    path.write_text(f"{FILE}tune: {{search: {search}}}\n")
    load(path)


@pytest.mark.parametrize(
    ("search", "text"),
    [
        ("{train.optimizer: [adam, adamw], train.momentum: [0.5, 0.9]}", 'found beside optimizer: "adam", "adamw"'),
        ("{train.momentum: [0.5, 0.9]}", r"tune.search.train.momentum[0] (line 7): found beside optimizer: (left open)"),
    ],
)
def test_a_value_that_contradicts_the_file_is_told(tmp_path: Path, search: str, text: str) -> None:
    assert text in told(tmp_path, f"{{search: {search}}}")


@pytest.mark.parametrize(
    ("train", "search", "text"),
    [
        (
            "{optimizer: sgd, momentum: 0.9}",
            "{train.optimizer: [adamw, sgd]}",
            "tune.search.train.optimizer[0] (line 8): train.momentum: found beside optimizer: adamw, which may not use it",
        ),
        (
            # Beside adamw nothing replaces what the file says
            "{optimizer: sgd, momentum: 0.9}",
            "{train.optimizer: [sgd, adamw], train.momentum: [0.5, 0.9]}",
            "tune.search.train.optimizer[1] (line 8): train.momentum: found beside optimizer: adamw",
        ),
        (
            "{schedule: step, decay: 0.5, decay_epochs: 2}",
            "{train.schedule: [step, wsd], train.decay_epochs: [1, 2]}",
            "tune.search.train.schedule[1] (line 8): train.decay: found beside schedule: wsd",
        ),
        (
            "{optimizer: sgd, nesterov: true}",
            "{train.momentum: [0, 0.9]}",
            "tune.search.train.momentum[0] (line 8): train.nesterov: found beside momentum: 0",
        ),
        (
            "{schedule: wsd, cooldown: 0.5}",
            "{train.warmup: {low: 0.0, high: 0.9}}",
            "tune.search.train.warmup.high (line 8): train.cooldown: found 0.5 beside warmup: 0.9",
        ),
        ("{accumulate: 12}", "{train.batch: [8, 16]}", "tune.search.train.batch[0] (line 8): train.accumulate: found 12 pieces"),
    ],
)
def test_a_fixed_option_that_some_words_of_a_searched_one_may_not_use_is_told(
    tmp_path: Path, train: str, search: str, text: str
) -> None:
    message = told(tmp_path, f"{{search: {search}}}", f"train: {train}\n")
    assert text in message
    assert message.count("tune.search.") == message.count(text.split(" ")[0]), "the other values fit"


@pytest.mark.parametrize(
    ("train", "search"),
    [
        ("{optimizer: sgd, momentum: 0.9}", "{train.optimizer: [sgd, muon]}"),
        ("{optimizer: rmsprop, momentum: 0.9}", "{train.optimizer: [sgd, muon], train.learning_rate: [0.1, 0.2]}"),
        ("{schedule: wsd, cooldown: 0.5, warmup: 0.4}", "{train.cooldown: [0.1, 0.2], train.warmup: [0.1, 0.7]}"),
    ],
)
def test_what_every_trial_replaces_contradicts_nothing(tmp_path: Path, train: str, search: str) -> None:
    path = tmp_path / "lode.yaml"
    path.write_text(f"{FILE}train: {train}\ntune: {{search: {search}}}\n")
    load(path)


@pytest.mark.parametrize("budget", ["soon", "5 EUR", "0m", "5 dollars"])
def test_a_budget_that_buys_no_time_is_told_with_its_line(tmp_path: Path, budget: str) -> None:
    assert f"tune.budget (line 7): found '{budget}'" in told(tmp_path, f"{{budget: {budget}}}")


def test_nothing_to_try_is_told(tmp_path: Path) -> None:
    assert "tune.search (line 7): found nothing to try, allowed: options of the model" in told(tmp_path, "{search: {}}")


def test_names_of_inputs_may_have_points() -> None:
    tree = {**TREE, "inputs": {"a.x": {"type": "number", "encoder": "mlp"}, "a": {"type": "number", "encoder": "mlp"}}}
    word, width, other = found(
        {"inputs.a.x.encoder": ["mlp", "resnet_mlp"], "inputs.a.x.encoder.width": [8, 16], "inputs.a.encoder.width": [8, 9]}, tree
    )
    assert {word.key, width.key, other.key} == {
        ("inputs", "a.x", "encoder", "type"), ("inputs", "a.x", "encoder", "width"), ("inputs", "a", "encoder", "width")
    }  # fmt: skip


def test_an_option_of_an_encoder_that_the_file_does_not_name(tmp_path: Path) -> None:
    assert "inputs.a.encoder.width (line 7): found an option of an encoder, and the file names none there" in told(
        tmp_path, "{search: {inputs.a.encoder.width: [8, 16]}}"
    )
