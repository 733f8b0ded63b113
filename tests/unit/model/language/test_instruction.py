"""Answers and preferences: which tokens count, the formulas against ones written out by hand, the reference, and that both learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lode.core.errors import SpecError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.model.contracts import Examples
from lode.model.language import adapters
from lode.model.language.contracts import DOCUMENTS, LEARNED, TOKENS, Objective
from lode.model.language.decoder import Decoder
from lode.model.language.rows import TokenRows
from lode.model.objectives.preferences import preference_loss
from lode.testing.adapter import base

PAIRS = {"prompt": "question", "chosen": "better", "rejected": "worse"}


def _objective(word: str, **options: object) -> Objective:
    made: Objective = REGISTRIES["objective"].create(Component(word, options))
    return made


def _corpus(lengths: list[int], prompts: list[int], seed: int = 0) -> Examples:
    """Documents of random tokens, of which those behind the prompt are learned; the two of a pair have the same prompt."""
    random = np.random.default_rng(seed)
    documents = [random.integers(1, 24, length) for length in lengths]
    for first in range(0, len(documents) - 1, 2):
        documents[first + 1][: prompts[first]] = documents[first][: prompts[first]]
    learned = [np.arange(length) >= prompt for length, prompt in zip(lengths, prompts, strict=True)]
    arrays = {
        TOKENS: np.concatenate(documents).astype(np.uint16),
        DOCUMENTS: np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        LEARNED: np.concatenate(learned).astype(np.uint8),
    }
    return Examples(len(lengths), arrays, None)


def _logprob(decoder: Decoder, corpus: Examples, document: int, most: int) -> torch.Tensor:
    """Log-probabilities of the learned tokens of one document, read alone."""
    start, end = (int(corpus.arrays[DOCUMENTS][document + at]) for at in (0, 1))
    tokens = torch.from_numpy(corpus.arrays[TOKENS][start:end].astype(np.int64))[: most + 1]
    logs = torch.log_softmax(decoder.logits(decoder(tokens[None, :-1]))[0], dim=-1)
    found = logs.gather(1, tokens[1:, None])[:, 0]
    return found[torch.from_numpy(corpus.arrays[LEARNED][start:end].astype(bool))[: most + 1][1:]]


def _pairs() -> Examples:
    return _corpus([7, 5, 9, 8, 4, 6, 20, 3], [3, 3, 2, 2, 2, 2, 2, 2])


def _rows(objective: Objective, decoder: Decoder, corpus: Examples) -> TokenRows:
    extra = objective.prepare(decoder, corpus.arrays, "cpu")
    return TokenRows(corpus, "pairs" if objective.reads == "pairs" else "documents", 16, "cpu", extra=extra)


def test_answers_are_all_that_is_learned() -> None:
    decoder, corpus = base("llama")[1], _corpus([7, 5, 9, 8], [3, 3, 2, 8])
    objective = _objective("answers", prompt="question", answer="answer")
    rows = _rows(objective, decoder, corpus)
    with torch.no_grad():
        wanted = -torch.cat([_logprob(decoder, corpus, document, 16) for document in range(4)])
        batch = next(rows.batches(np.arange(rows.num_rows), rows.num_rows))
        assert objective.loss(decoder, batch).item() == pytest.approx(wanted.mean().item(), abs=1e-6)
    assert len(wanted) == 4 + 2 + 7 + 0 == int((batch.targets_BT >= 0).sum())


def test_experts_stay_in_balance_while_answers_are_learned() -> None:
    decoder, corpus = base("mixtral")[1], _corpus([7, 5, 9, 8], [3, 3, 2, 2])
    objective = _objective("answers", prompt="question", answer="answer")
    batch = next(_rows(objective, decoder, corpus).batches(np.arange(2), 2))
    told = objective.loss(decoder, batch)
    taught = objective.loss(decoder.train(), batch)
    balance = decoder.balance_loss()
    assert balance is not None and balance.item() > 0
    assert taught.item() == pytest.approx(told.item() + balance.item(), abs=1e-6)


@pytest.mark.parametrize("kind", ["sigmoid", "ipo"])
@pytest.mark.parametrize("normalised", [False, True])
def test_preferences_are_the_formula_written_out(kind: str, normalised: bool) -> None:
    start, decoder, corpus = base("llama", 1)[1], base("llama")[1], _pairs()
    options = {"beta": 0.3, "loss": kind, "normalised": normalised, "label_smoothing": 0.1 if kind == "sigmoid" else 0.0}
    objective = _objective("preferences", **PAIRS, **options)
    rows = _rows(objective, start, corpus)
    assert rows.num_rows == 4
    expected, rewards = [], []
    with torch.no_grad():
        for pair in range(4):
            gains = []
            for document in (2 * pair, 2 * pair + 1):
                own, before = (_logprob(model, corpus, document, 16) for model in (decoder, start))
                gains.append(float(own.sum() - before.sum()) / (len(own) if normalised else 1))
            ahead = gains[0] - gains[1]
            rewards.append([0.3 * gain for gain in gains])
            right, wrong = (1 / (1 + math.exp(-sign * 0.3 * ahead)) for sign in (1, -1))
            expected.append(-0.9 * math.log(right) - 0.1 * math.log(wrong) if kind == "sigmoid" else (ahead - 1 / 0.6) ** 2)
        batch = next(rows.batches(np.arange(4), 4))
        assert objective.loss(decoder, batch).item() == pytest.approx(np.mean(expected), abs=1e-5)
        figures = {name: float(value) for name, value in objective.figures(decoder, batch).items()}
    chosen, rejected = np.array(rewards).T
    wanted = {
        "accuracy": np.mean(chosen > rejected),
        "margin": np.mean(chosen - rejected),
        "chosen_reward": chosen.mean(),
        "rejected_reward": rejected.mean(),
    }
    assert figures == pytest.approx(wanted, abs=1e-5)


def test_pieces_of_a_batch_add_up_to_it() -> None:
    start, decoder = base("llama", 1)[1], base("llama")[1]
    objective = _objective("preferences", **PAIRS)
    rows = _rows(objective, start, _pairs())
    with torch.no_grad():
        whole = objective.loss(decoder, next(rows.batches(np.arange(4), 4)))
        parts = next(rows.pieces(np.arange(4), 4, 3))
        added = sum(objective.loss(decoder, piece) * piece.share for piece in parts)
    assert len(parts) == 2 and float(added) == pytest.approx(float(whole), abs=1e-6)


def test_a_large_vocabulary_takes_another_path_to_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for most in (1 << 30, 0):
        monkeypatch.setattr("lode.model.objectives.preferences._WHOLE_BYTES", most)
        start, decoder = base("llama", 1)[1], base("llama")[1]
        objective = _objective("preferences", **PAIRS)
        batch = next(_rows(objective, start, _pairs()).batches(np.arange(4), 4))
        objective.loss(decoder, batch).backward()
        found.append([weight.grad for weight in decoder.parameters()])
    assert all(torch.allclose(one, other, atol=1e-7) for one, other in zip(*found, strict=True))


def test_at_the_start_nothing_is_preferred_and_the_loss_is_log_2() -> None:
    decoder = base("llama")[1]
    objective = _objective("preferences", **PAIRS)
    batch = next(_rows(objective, decoder, _pairs()).batches(np.arange(4), 4))
    assert objective.loss(decoder, batch).item() == pytest.approx(math.log(2), abs=1e-6)


def test_beside_an_adapter_the_reference_is_the_model_without_it() -> None:
    decoder, corpus = base("llama")[1], _pairs()
    objective = _objective("preferences", **PAIRS)
    wanted = objective.prepare(decoder, corpus.arrays, "cpu")["reference"]
    REGISTRIES["adapter"].create(Component("lora")).attach(decoder)
    for layer in adapters.adapted(decoder).values():
        layer.up.data.normal_()
    assert np.array_equal(objective.prepare(decoder, corpus.arrays, "cpu")["reference"], wanted)


@pytest.mark.parametrize("word", ["answers", "preferences"])
def test_both_learn_beside_an_adapter(word: str) -> None:
    decoder = base("llama")[1]
    options = PAIRS if word == "preferences" else {"prompt": "question", "answer": "answer"}
    objective = _objective(word, **options)
    REGISTRIES["adapter"].create(Component("lora")).attach(decoder)
    rows = _rows(objective, decoder, _pairs())
    optimizer = torch.optim.Adam(adapters.trained(decoder), 0.01)
    losses = []
    for _ in range(30):
        batch = next(rows.batches(rows.trainable, len(rows.trainable)))
        loss = objective.loss(decoder, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    if word == "preferences":
        assert objective.figures(decoder, batch)["accuracy"].item() == 1.0


def test_columns_that_say_nothing_or_too_much_are_told() -> None:
    for word, options in (
        ("answers", {}),
        ("answers", {"prompt": "a"}),
        ("answers", {"prompt": "a", "answer": "b", "messages": "c"}),
    ):
        with pytest.raises(SpecError, match="found neither or both of prompt with answer, and messages"):
            _objective(word, **options)
    with pytest.raises(SpecError, match="found neither or both of prompt and messages"):
        _objective("preferences", chosen="a", rejected="b")


def test_ipo_and_sigmoid_by_hand() -> None:
    ahead = torch.tensor([0.0, 2.0])
    assert preference_loss(ahead, 0.5, "ipo", 0.0).tolist() == [1.0, 1.0]
    assert preference_loss(ahead, 0.5, "sigmoid", 0.0).tolist() == pytest.approx([math.log(2), math.log(1 + math.exp(-1))])
