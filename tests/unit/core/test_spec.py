from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from lode.core.errors import SpecError
from lode.core.spec import InputSpec, OutputSpec, Spec, load, policy_for
from lode.core.types import Component

Load = Callable[..., Spec]

SMALL = """
name: cards
data:
  source: {type: csv, path: cards.csv}
outputs:
  default: {type: binary, positive: 1}
"""

FULL = """
name: cards
data:
  source: {type: csv, path: cards.csv}
  clean: [missing, {type: missing, numbers: median}]
  split: {by: group, column: customer, seed: 7}
inputs:
  limit: number
  age:
  scan: {type: image, height: 8, encoder: {type: mlp, width: 64}, augment: [flip, {type: flip, share: 0.1}]}
  other: {encoder: mlp}
outputs:
  default: {type: binary, positive: 1}
model: {fusion: attention}
train: {epochs: 3, stop: {patience: 2}}
evaluate: {slices: [limit]}
value: {currency: EUR, true_positive: 0.1, false_positive: cost_column}
serve: {queue: 5}
"""


def problems(load_text: Load, text: str | bytes) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_text(text)
    return str(caught.value).splitlines()


def test_a_full_file_becomes_records(load_text: Load) -> None:
    spec = load_text(FULL)
    assert spec.name == "cards"
    assert spec.data.sources == {"all": (Component("csv", {"path": "cards.csv"}),)}
    assert spec.data.clean == (Component("missing"), Component("missing", {"numbers": "median"}))
    assert spec.data.split == {"by": "group", "column": "customer", "seed": 7}
    flips = (Component("flip"), Component("flip", {"share": 0.1}))
    assert spec.inputs == (
        InputSpec("limit", Component("number")),
        InputSpec("age"),
        InputSpec("scan", Component("image", {"height": 8}), Component("mlp", {"width": 64}), flips),
        InputSpec("other", None, Component("mlp")),
    )
    assert spec.outputs == (OutputSpec("default", Component("binary", {"positive": 1})),)
    assert spec.model == Component("network", {"fusion": "attention"})
    assert spec.train == {"epochs": 3, "stop": {"patience": 2}}
    assert spec.value is not None
    assert spec.value.policy == Component("matrix", {"true_positive": Decimal("0.1"), "false_positive": "cost_column"})
    assert spec.value.options == {"currency": "EUR"}
    assert spec.serve == {"queue": 5}


def test_money_never_goes_through_a_float(load_text: Load) -> None:
    spec = load_text(SMALL + "value: {true_positive: 0.1234567890123456789012, false_positive: '-3.10'}\n")
    assert spec.value is not None and spec.value.policy is not None
    assert str(spec.value.policy.options["true_positive"]) == "0.1234567890123456789012"
    assert spec.resolved()["value"]["policy"] == {
        "type": "matrix", "true_positive": "0.1234567890123456789012", "false_positive": "-3.10",
    }  # fmt: skip


def test_a_small_file_leaves_the_rest_open(load_text: Load) -> None:
    spec = load_text(SMALL)
    assert (spec.inputs, spec.value, spec.model) == (None, None, Component("network"))
    assert (spec.train, spec.evaluate, spec.serve, spec.data.split, spec.data.clean) == ({}, {}, {}, {}, ())


def test_empty_sections_are_open_sections(load_text: Load) -> None:
    assert load_text(SMALL + "inputs:\ntrain:\nmodel:\nvalue:\nserve:\nevaluate:\n").model == Component("network")


def test_inputs_and_outputs_may_be_lists(load_text: Load) -> None:
    spec = load_text("name: a\ndata: {source: {type: csv, path: x}}\ninputs: [a, b]\noutputs: [c]\n")
    assert spec.inputs == (InputSpec("a"), InputSpec("b"))
    assert spec.outputs == (OutputSpec("c"),)


def test_sources_may_be_parts_and_lists(load_text: Load) -> None:
    parts = "{train: [{type: csv, path: a}, {type: csv, path: b}], test: {type: csv, path: c}}"
    text = f"name: a\noutputs: [y]\ndata: {{source: {parts}}}\n"
    assert {part: len(found) for part, found in load_text(text).data.sources.items()} == {"train": 2, "test": 1}
    assert list(load_text("name: a\noutputs: [y]\ndata: {source: [{type: csv, path: a}]}\n").data.sources) == ["all"]


def test_resolved_has_every_default_and_is_json(load_text: Load) -> None:
    resolved = load_text(FULL).resolved()
    assert json.loads(json.dumps(resolved)) == resolved
    assert resolved["data"]["source"] == {"all": [{"type": "csv", "path": "cards.csv", "separator": ","}]}
    assert resolved["data"]["split"] == {
        "by": "group", "column": "customer", "stratify": None, "validation": 0.1, "test": 0.2, "seed": 7,
    }  # fmt: skip
    assert resolved["inputs"]["scan"]["feature"] == {"type": "image", "height": 8, "sizes": [1, 2]}
    assert resolved["inputs"]["age"] == {"feature": None, "encoder": None, "augment": []}
    assert resolved["model"] == {"type": "network", "width": 256, "fusion": "attention"}
    assert resolved["value"]["currency"] == "EUR"
    assert resolved["value"]["policy"]["true_positive"] == "0.1"
    assert resolved["evaluate"] == {"resamples": 1000, "slices": ["limit"]}


def test_a_file_resolves_equally_wherever_it_lies(load_text: Load, tmp_path: Path) -> None:
    here = load_text(FULL).resolved()
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "other.yaml").write_text(FULL)
    assert load(folder / "other.yaml", tmp_path).resolved() == here


def test_writing_a_default_changes_nothing(load_text: Load) -> None:
    written = SMALL + "model: {type: network, width: 256}\ntrain: {rate: 1.0e-3}\nserve: {queue: 128}\n"
    assert load_text(written).resolved() == load_text(SMALL).resolved()


MISSPELT = """
nmae: cards
name: cards
data:
  sourc: x
  source: {type: csv, path: a, separater: ';'}
  clean: [{type: missing, number: mean}]
  split: {bye: random}
inputs:
  limit: {type: number, scal: none}
  scan: {type: image, height: 8, encoder: {type: mlp, widht: 3}, augment: [{type: flip, shar: 0.1}]}
outputs:
  default: {type: binary, positive: 1, positiv: 2}
model: {type: network, witdh: 3}
train: {epoch: 3, stop: {patienc: 3}}
evaluate: {resample: 3}
value: {curency: EUR, true_positive: 1, true_positiv: 2}
serve: {que: 3}
"""


def test_misspelt_keys_are_named_at_every_level_in_the_order_of_the_file(load_text: Load) -> None:
    found = problems(load_text, MISSPELT)
    wanted = [
        ("nmae (line 2)", "name"),
        ("data.sourc (line 5)", "source"),
        ("data.source.separater (line 6)", "separator"),
        ("data.clean[0].number (line 7)", "numbers"),
        ("data.split.bye (line 8)", "by"),
        ("inputs.limit.scal (line 10)", "scale"),
        ("inputs.scan.augment[0].shar (line 11)", "share"),
        ("inputs.scan.encoder.widht (line 11)", "width"),
        ("outputs.default.positiv (line 13)", "positive"),
        ("model.witdh (line 14)", "width"),
        ("train.epoch (line 15)", "epochs"),
        ("train.stop.patienc (line 15)", "patience"),
        ("evaluate.resample (line 16)", "resamples"),
        ("value.curency (line 17)", "currency"),
        ("value.true_positiv (line 17)", "true_positive"),
        ("serve.que (line 18)", "queue"),
    ]
    assert [line.split(": found")[0] for line in found] == [f"lode.yaml:{key}" for key, _ in wanted]
    for line, (_, near) in zip(found, wanted, strict=True):
        assert f'Did you mean "{near}"?' in line


def test_an_error_line_says_where_what_allowed_and_next(load_text: Load) -> None:
    text = SMALL + "inputs:\n  limit: {type: number, scal: none}\n"
    assert problems(load_text, text) == [
        'lode.yaml:inputs.limit.scal (line 8): found "scal", allowed: type, encoder, augment, scale, clip. Did you mean "scale"?'
    ]


@pytest.mark.parametrize(
    ("extra", "key", "create", "near"),
    [
        ("inputs: {a: imge}", "inputs.a", "features/imge.py", "image"),
        ("inputs: {a: {type: numbr}}", "inputs.a.type", "features/numbr.py", "number"),
        ("inputs: {a: {encoder: mpl}}", "inputs.a.encoder", "encoders/mpl.py", "mlp"),
        ("inputs: {a: {augment: [flop]}}", "inputs.a.augment[0]", "augment/flop.py", "flip"),
        ("model: {type: tree}", "model.type", "families/tree.py", "trees"),
        ("model: atuo", "model", "families/atuo.py", "auto"),
        ("value: {type: matrx}", "value.type", "policies/matrx.py", "matrix"),
    ],
)
def test_unknown_words_list_the_folder_and_the_file_to_create(
    load_text: Load, extra: str, key: str, create: str, near: str
) -> None:
    (line,) = problems(load_text, SMALL + extra)
    assert line.startswith(f"lode.yaml:{key} (line 7): found ")
    assert "allowed: " in line and create in line
    assert f'Did you mean "{near}"?' in line


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (SMALL + "train: {epochs: 0}", "lode.yaml:train.epochs (line 7): found 0, allowed: a whole number, at least 1 or null."),
        (SMALL + "train: {epochs: 1.5}", "found 1.5, allowed: a whole number"),
        (SMALL + "train: {rate: 0}", "found 0, allowed: a number, above 0."),
        (SMALL + "train: 3", "lode.yaml:train (line 7): found 3, allowed: a mapping with epochs, rate, stop."),
        (SMALL + "model: {fusion: no}", 'found "no", allowed: concat, attention.'),
        (SMALL + "inputs: {a: {type: image, height: 9999}}", "found 9999, allowed: a whole number, from 1 to 4096."),
        (
            SMALL + "inputs: {a: image}",
            'inputs.a.height (line 7): found nothing, allowed: a whole number, from 1 to 4096. Add "height',
        ),
        (SMALL + "inputs: {a: {height: 3}}", "inputs.a.type (line 7): found nothing, allowed: image, number."),
        (SMALL + "inputs: {a: 3}", "inputs.a (line 7): found 3, allowed: a word or a mapping with `type`."),
        (SMALL + "inputs: []", "inputs (line 7): found none, allowed: one column or more."),
        (SMALL + "inputs: word", 'inputs (line 7): found "word", allowed: columns'),
        (SMALL + "inputs: [a, a]", 'inputs[1] (line 7): found "a" a second time'),
        (SMALL + "inputs: [__row__]", "__row__ is kept for row numbers"),
        (SMALL + "inputs: {a: {augment: flip}}", 'found "flip", allowed: a list.'),
        (SMALL + "model: {type: 3}", "found 3, allowed: auto, ensemble, network, trees"),
        (SMALL + "model: {type: auto, candidates: [tree]}", 'model.candidates[0] (line 7): found "tree", allowed: network, trees.'),
        (SMALL + "value: {true_positive: much more}", None),
        (SMALL + "value: {false_positive: 3}", "value.true_positive (line 7): found nothing"),
        (SMALL.replace("cards\n", "Cards!\n", 1), 'name (line 2): found "Cards!", allowed: lower-case letters'),
        (SMALL.replace("name: cards\n", ""), "name (line 2): found nothing, allowed: lower-case letters"),
        (SMALL.replace("csv", "cvs"), 'data.source.type (line 4): found "cvs", allowed: csv. Did you mean "csv"?'),
        ("name: a\noutputs: [y]\n", "lode.yaml:data.source (line 1): found nothing, allowed: csv."),
        ("name: a\noutputs: [y]\ndata: {source: []}\n", "found an empty list, allowed: one source or more."),
        ("name: a\noutputs: [y]\ndata: {source: {test: {type: csv, path: x}}}\n", "data.source.train (line 3): found nothing"),
        (
            "name: a\noutputs: [y]\ndata: {source: {trian: {type: csv, path: x}}}\n",
            'found "trian", allowed: train, validation, test.',
        ),
        ("name: a\noutputs: [y]\ndata: {source: {path: x}}\n", "data.source.type (line 3): found nothing, allowed: csv."),
        ("name: a\ndata: {source: {type: csv, path: x}}\n", "outputs (line 1): found nothing, allowed: the columns to predict."),
        ("", "lode.yaml (line 1): found an empty file"),
        ("# nothing but a comment\n", "found an empty file"),
        ("- a\n- b\n", "found a list, allowed: a mapping"),
        ("hello\n", "found a single word, allowed: a mapping"),
        ("name: [\n", "found text that is not YAML"),
        (b"name: caf\xe9\n", "found the byte 0xe9, allowed: UTF-8 text."),
        (SMALL + "train:\n\tepochs: 3\n", "lode.yaml (line 8): found a tab in the indentation"),
        (SMALL + "train: {}\ntrain: {}\n", 'lode.yaml:train (line 8): found "train" a second time (first in line 7)'),
    ],
)
def test_wrong_files_have_their_message(load_text: Load, text: str, wanted: str | None) -> None:
    if wanted is None:
        load_text(text)
        return
    found = problems(load_text, text)
    assert any(wanted in line for line in found), found


TO_BE_NAMED = "{type: binary, positive: 1}"
PARTS = "name: a\noutputs: [y]\ndata: {source: {train: {type: csv, path: x}, test: {type: csv, path: z}}, "
RULES = [
    (SMALL + "inputs: {default: number}", 'inputs.default (line 7): found "default", which is an output too'),
    (SMALL + "inputs: [a, default]", 'inputs[1] (line 7): found "default", which is an output too'),
    (SMALL.replace(TO_BE_NAMED, "binary"), "outputs.default.positive (line 6): found nothing"),
    (SMALL.replace(", positive: 1", ""), "outputs.default.positive (line 6): found nothing"),
    (SMALL.replace("cards.csv}", "cards.csv}\n  split: {by: time}"), "data.split.column (line 5): found nothing"),
    (
        SMALL.replace("cards.csv}", "cards.csv}\n  split: {column: x}"),
        "data.split.column (line 5): found a column, which a random split",
    ),
    (
        SMALL.replace("cards.csv}", "cards.csv}\n  split: {by: time, column: x, stratify: y}"),
        "data.split.stratify (line 5): found an option that a split by time",
    ),
    (
        PARTS + "split: {test: 0.1}}",
        "data.split.test (line 3): found an option for rows that the sources have split already (train, test)",
    ),
    (PARTS + "split: {by: group}}", "data.split.by (line 3): found an option for rows"),
    (PARTS + "split: {by: random}}", "data.split.by (line 3): found an option for rows"),
    (SMALL + "value: {true_positive: 1, currency: EURO}", 'value.currency (line 7): found "EURO", allowed: three capital letters'),
    (
        SMALL + "model: trees\ntrain: {epochs: 3}",
        "train (line 8): found epochs, options of the training loop, which trees does not use, allowed: seed, budget.",
    ),
    (SMALL + "model: trees\ninputs: {a: {encoder: mlp}}", 'inputs.a.encoder (line 8): found encoder options, which model "trees"'),
    (SMALL + "model: trees\ninputs: {a: {augment: [flip]}}", "inputs.a.augment (line 8): found augment options"),
    (SMALL.replace(TO_BE_NAMED, "multiclass") + "value: {true_positive: 1}", 'outputs.default (line 6): found "multiclass"'),
    (SMALL.replace(TO_BE_NAMED, "") + "value: {true_positive: 1}", "outputs.default (line 6): found no type"),
    (
        SMALL + "value: {type: newsvendor, price: 3, cost: 1}",
        'value (line 7): found the policy "newsvendor" for outputs of type number',
    ),
]


@pytest.mark.parametrize(("text", "wanted"), RULES)
def test_rules_between_sections_hold(load_text: Load, text: str, wanted: str) -> None:
    (line,) = problems(load_text, text)
    assert wanted in line


@pytest.mark.parametrize(
    "text",
    [
        SMALL + "model: auto\ntrain: {epochs: 3}\ninputs: {a: {encoder: mlp}}",
        SMALL + "model: {type: auto, candidates: [trees]}",
        SMALL + "model: trees\ntrain: {}",
        SMALL.replace(TO_BE_NAMED, "number") + "value: {price: 3, cost: 1.50}",
        "name: a\noutputs: [y]\ndata: {source: {train: {type: csv, path: x}}, split: {by: given}}\n",
        PARTS + "split: {validation: 0.2, stratify: y, seed: 3}}",
    ],
)
def test_what_is_right_passes(load_text: Load, text: str) -> None:
    load_text(text)


def test_the_policy_follows_the_task_of_the_first_output(load_text: Load) -> None:
    number = load_text(SMALL.replace(TO_BE_NAMED, "number") + "value: {price: 3, cost: 1.50}")
    assert number.value is not None and number.value.policy == Component(
        "newsvendor", {"price": Decimal(3), "cost": Decimal("1.50")}
    )
    assert policy_for(number, "number") == number.value.policy
    assert policy_for(load_text(SMALL), "binary") is None


def test_missing_files_say_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="lode init"):
        load(tmp_path / "lode.yaml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="found a folder"):
        load(tmp_path)


def test_the_data_folder_is_kept(load_text: Load) -> None:
    load_text(SMALL)
    Path("elsewhere").mkdir()
    assert load("lode.yaml", "elsewhere").data_folder == Path("elsewhere")


def test_loading_imports_no_extension(load_text: Load, catalog: Path) -> None:
    for path in catalog.rglob("*.py"):
        path.write_text(path.read_text() + "\nraise SystemError('imported')\n")
    load_text(FULL).resolved()


def test_a_folder_of_data_that_is_not_there_is_not_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "lode.yaml"
    path.write_text("name: x\n", "utf-8")
    for found in (tmp_path / "nothere", path):
        with pytest.raises(SpecError, match=rf"^--data: found {found}, which is no folder, allowed: one that is there\."):
            load(path, found)
