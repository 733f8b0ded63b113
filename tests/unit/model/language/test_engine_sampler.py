"""What is drawn: each setting alone against a plain computation, all of them in one batch, and nothing from a damaged row."""

from __future__ import annotations

from collections.abc import Sequence as Tokens

import numpy as np
import pytest
import torch

from lode.model.language.engine.contracts import Request, Sampling
from lode.model.language.engine.sampler import draw, uniform
from lode.model.language.engine.sequence import Sequence
from tests.unit.model.language.engine_samples import Letters

SIZE = 70


class Only:
    """A grammar that allows some tokens and is over after one."""

    def __init__(self, allowed: Tokens[int]) -> None:
        self.allowed, self.is_over = allowed, False

    def mask(self, mask_W: torch.Tensor) -> None:
        mask_W.zero_()
        for token in self.allowed:
            mask_W[token // 32] |= torch.tensor(1 << (token % 32), dtype=torch.int64).to(torch.int32)

    def accept(self, token: int) -> None:
        self.is_over = True


def sequence(sampling: Sampling, *, tokens: Tokens[int] = (1,), output: Tokens[int] = (), grammar: Only | None = None) -> Sequence:
    request = Request(id="a", tokens=tokens, sampling=sampling, grammar=grammar)
    made = Sequence(request, order=0, seed=sampling.seed or 0, max_tokens=100, words=Letters())
    made.tokens += list(output)
    return made


def logits(rows: int, *, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, SIZE, generator=torch.Generator().manual_seed(seed)) * 2


def shares(sampling: Sampling, row: torch.Tensor, count: int = 4_000) -> np.ndarray:
    """How often each token is drawn."""
    seeds = range(1, count + 1)
    asked = [sequence(Sampling(**{**fields(sampling), "seed": seed})) for seed in seeds]
    drawn = draw(row.repeat(count, 1), asked)
    return np.bincount(drawn.token_N, minlength=SIZE) / count


def fields(sampling: Sampling) -> dict:
    return {name: getattr(sampling, name) for name in sampling.__slots__}


def test_greedy_takes_the_best_and_knows_its_log_probability() -> None:
    rows = logits(4)
    expected = rows.log_softmax(-1)
    drawn = draw(rows.clone(), [sequence(Sampling(temperature=0.0, logprobs=number)) for number in range(4)])
    assert drawn.token_N.tolist() == rows.argmax(-1).tolist()
    assert drawn.logprob_N is not None and drawn.top_NL is not None
    np.testing.assert_allclose(drawn.logprob_N, expected.amax(-1), rtol=1e-5)
    np.testing.assert_allclose(drawn.top_NL, expected.topk(3).values, rtol=1e-5)


@pytest.mark.parametrize(("sampling", "kept"), [
    (Sampling(), None),
    (Sampling(temperature=0.5), None),
    (Sampling(top_k=3), 3),
    (Sampling(top_p=0.5), "p"),
    (Sampling(min_p=0.3), "min"),
], ids=["plain", "temperature", "top_k", "top_p", "min_p"])  # fmt: skip
def test_tokens_come_as_often_as_they_should(sampling: Sampling, kept: object) -> None:
    row = logits(1)
    expected = (row[0] / sampling.temperature).softmax(-1).double().numpy()
    order = np.argsort(-expected)
    if kept == "p":
        kept = int(np.searchsorted(np.cumsum(expected[order]), 0.5)) + 1
    elif kept == "min":
        kept = int((expected >= 0.3 * expected.max()).sum())
    if kept is not None:
        expected[order[int(kept) :]] = 0.0
        expected /= expected.sum()
    found = shares(sampling, row)
    assert not found[expected == 0].any(), "nothing that was filtered out may come"
    assert np.abs(found - expected).sum() < 0.15


def test_top_k_comes_before_top_p() -> None:
    row = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    asked = [sequence(Sampling(top_k=2, top_p=0.5, seed=seed)) for seed in range(1, 200)]
    assert set(draw(row.repeat(199, 1), asked).token_N.tolist()) == {0}, "of two, 0.4 is more than half"


def test_each_row_of_a_batch_has_its_own_settings() -> None:
    settings = [
        Sampling(temperature=0.0), Sampling(seed=3), Sampling(seed=3, top_k=2), Sampling(seed=4, top_p=0.3), Sampling(seed=5, min_p=0.5),
        Sampling(seed=6, repetition_penalty=2.0, presence_penalty=1.0), Sampling(temperature=0.0, logit_bias={7: 50.0}),
        Sampling(seed=9, temperature=3.0),
    ]  # fmt: skip
    rows = logits(len(settings))
    together = draw(rows.clone(), [sequence(each) for each in settings]).token_N
    alone = [int(draw(rows[at : at + 1].clone(), [sequence(each)]).token_N[0]) for at, each in enumerate(settings)]
    assert together.tolist() == alone
    assert together[6] == 7


def test_penalties_are_openai_s_and_keskar_s() -> None:
    row = logits(1)
    asked = Sampling(temperature=0.0, repetition_penalty=1.5, presence_penalty=0.3, frequency_penalty=0.2, logprobs=0)
    one = sequence(asked, tokens=[1, 2], output=[2, 3, 3])
    expected = row[0].clone()
    for token in (1, 2, 3):
        expected[token] = expected[token] / 1.5 if expected[token] > 0 else expected[token] * 1.5
    expected[2] -= 0.3 + 0.2
    expected[3] -= 0.3 + 0.4
    worked = row.clone()
    drawn = draw(worked, [one])
    torch.testing.assert_close(worked[0], expected)
    assert drawn.token_N[0] == int(expected.argmax())
    one.tokens.append(int(drawn.token_N[0]))
    again = row.clone()
    draw(again, [one])
    expected_again = expected[drawn.token_N[0]] - 0.2 - (0.3 if int(drawn.token_N[0]) not in (2, 3) else 0.0)
    if int(drawn.token_N[0]) in (1, 2, 3):
        assert float(again[0, drawn.token_N[0]]) == pytest.approx(float(expected_again), abs=1e-5)


def test_a_grammar_forbids_and_an_empty_one_is_an_error() -> None:
    rows = logits(3)
    grammars = [Only([5, 31, 32, 69]), Only([]), None]
    drawn = draw(rows.clone(), [sequence(Sampling(temperature=0.0), grammar=each) for each in grammars])
    allowed = rows[0, [5, 31, 32, 69]]
    assert drawn.token_N[0] == [5, 31, 32, 69][int(allowed.argmax())]
    assert drawn.token_N[2] == int(rows[2].argmax())
    assert drawn.is_finite_N.tolist() == [True, False, True]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_damaged_row_is_told_and_the_others_are_drawn(value: float, temperature: float) -> None:
    rows = logits(3)
    asked = [sequence(Sampling(temperature=temperature, seed=2, top_p=0.9, logprobs=2)) for _ in range(3)]
    sound = draw(rows.clone(), asked).token_N
    rows[1, 4] = value
    drawn = draw(rows, asked)
    assert drawn.is_finite_N.tolist() == [True, False, True]
    assert drawn.token_N[[0, 2]].tolist() == sound[[0, 2]].tolist()


def test_random_numbers_are_even_and_depend_on_seed_and_place() -> None:
    many = uniform(np.arange(50_000, dtype=np.uint64), np.zeros(50_000))
    steps = uniform(np.full(50_000, 7, dtype=np.uint64), np.arange(50_000))
    for found in (many, steps):
        assert found.min() > 0 and found.max() < 1
        assert np.abs(np.histogram(found, 20, (0, 1))[0] / 2500 - 1).max() < 0.1
    assert abs(np.corrcoef(steps[1:], steps[:-1])[0, 1]) < 0.02
    assert (
        uniform(np.array([2**64 - 1], dtype=np.uint64), np.array([5]))[0]
        == uniform(np.array([2**64 - 1], dtype=np.uint64), np.array([5]))[0]
    )


def test_rounding_never_draws_what_cannot_come() -> None:
    row = torch.full((1, SIZE), -200.0)
    row[0, 3] = 0.0
    drawn = draw(row.repeat(500, 1), [sequence(Sampling(seed=seed)) for seed in range(1, 501)])
    assert set(drawn.token_N.tolist()) == {3}


@pytest.mark.parametrize("temperature", [1e-300, 1e-45, 1e-38, 1e-6])
def test_hardly_any_temperature_is_greedy(temperature: float) -> None:
    rows = logits(6)
    rows[:, 3] *= 100
    asked = [sequence(Sampling(temperature=temperature, seed=seed)) for seed in range(6)]
    assert draw(rows.clone(), asked).token_N.tolist() == rows.argmax(-1).tolist()


def test_a_top_k_beyond_any_number_of_tokens_leaves_all() -> None:
    rows = logits(4)
    asked = [[sequence(Sampling(top_k=top_k, seed=seed)) for seed in range(4)] for top_k in (0, SIZE + 1, 10**30)]
    every, *others = (draw(rows.clone(), each).token_N.tolist() for each in asked)
    assert others == [every, every]
