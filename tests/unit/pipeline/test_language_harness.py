"""A language model answers lm-evaluation-harness: with a stand-in for its base class, and with the real one where it is installed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from lode.core.errors import MissingPackageError
from lode.model.language.scoring import told
from lode.testing.speaker import PlainSpeaker, counting_speaker, small_speaker

NAME = "lode.pipeline.language.harness"
CYCLE = " ".join("abcdefgh" * 9)


@dataclass
class Asked:
    """The harness's Instance, as far as a model sees it."""

    args: tuple[Any, ...]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The adapter over a base class that does nothing."""
    base = type("LM", (), {"__init__": lambda self: None})
    modules = {name: ModuleType(name) for name in ("lm_eval", "lm_eval.api", "lm_eval.api.model")}
    modules["lm_eval.api.model"].LM = base  # type: ignore[attr-defined]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    yield importlib.import_module(NAME)
    sys.modules.pop(NAME, None)


@pytest.fixture(scope="module")
def cyclist() -> PlainSpeaker:
    return counting_speaker(CYCLE, "Q:\n", context=16)


def test_a_continuation_costs_what_the_decoder_says(harness: ModuleType, cyclist: PlainSpeaker) -> None:
    model = harness.HarnessModel(cyclist)
    right, wrong = model.loglikelihood([Asked(("a b", " c d")), Asked(("a b ", "d e"))])
    tokens = cyclist.tokenizer.encode(["a b c d"])[0]
    assert right[0] == pytest.approx(-float(told(cyclist.decoder, [tokens])[0].nats[2:].sum()), abs=1e-5)
    assert right[1] and not wrong[1] and right[0] > wrong[0] + 3
    assert model.loglikelihood([Asked(("", "a b"))])[0][0] < 0


def test_a_context_that_is_too_long_loses_its_beginning(harness: ModuleType, cyclist: PlainSpeaker) -> None:
    model = harness.HarnessModel(cyclist)
    long = model.loglikelihood([Asked(("Q" * 100 + " a b", " c"))])[0]
    assert long == pytest.approx(model.loglikelihood([Asked(("a b", " c"))])[0], abs=1e-5)


def test_a_rolling_text_is_told_once_from_its_first_token_on(harness: ModuleType) -> None:
    speaker = small_speaker(["abcdefgh"], context=8)
    model = harness.HarnessModel(speaker)
    text = "abcdefgh" * 3
    tokens = np.append([speaker.tokenizer.end or 0], speaker.tokenizer.encode([text])[0])
    first, second, third = (told(speaker.decoder, [tokens[begin : begin + 9]])[0].nats for begin in (0, 8, 16))
    assert model.loglikelihood_rolling([Asked((text,))]) == [
        pytest.approx(-float(np.concatenate((first, second, third)).sum()), abs=1e-4)
    ]


def test_answers_end_where_the_task_says(harness: ModuleType, cyclist: PlainSpeaker) -> None:
    model = harness.HarnessModel(cyclist)
    assert model.generate_until(
        [Asked(("a b", {"until": [" e"], "max_gen_toks": 8})), Asked(("a b", {"until": "d", "max_gen_toks": 3}))]
    ) == [
        " c d",
        " c ",
    ]


def test_without_the_package_the_install_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setitem(sys.modules, "lm_eval.api", None)
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    with pytest.raises(MissingPackageError, match=r'pip install "lodeml\[harness\]"'):
        importlib.import_module(NAME)


@pytest.mark.prove
def test_the_real_harness_takes_the_model(cyclist: PlainSpeaker) -> None:
    pytest.importorskip("lm_eval", reason="lm-eval and its hundred packages are not installed: pip install 'lodeml[harness]'")
    from lm_eval.api.instance import Instance

    sys.modules.pop(NAME, None)
    model = importlib.import_module(NAME).HarnessModel(cyclist)
    asked = Instance("loglikelihood", {}, ("a b", " c d"), 0)
    assert model.loglikelihood([asked])[0][1] and (model.rank, model.world_size) == (0, 1)
