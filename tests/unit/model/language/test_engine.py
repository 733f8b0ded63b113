"""The engine beside the decoder run plainly: the same tokens, whatever is batched, shared, cut into pieces, thrown out or taken back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lode.core.errors import ModelError
from lode.model.language.engine.contracts import Request, Sampling
from lode.model.language.engine.engine import Engine
from lode.model.language.engine.errors import BadRequestError, ContextOverflowError, QueueFullError, UnknownAdapterError
from tests.unit.model.language.engine_samples import ARCHITECTURES, GREEDY, VOCABULARY, Letters, alone, ask, make, prompts, run

SMALL = {"memory_bytes": 1 << 20, "page_tokens": 4, "max_sequences": 5, "chunk_tokens": 16}


@pytest.mark.parametrize("word", ARCHITECTURES)
def test_greedy_answers_are_the_decoders_own(word: str) -> None:
    _, decoder = make(word)
    texts = prompts(9)
    answers = ask(Engine(decoder, Letters(), **SMALL), texts, GREEDY)
    for text, answer in zip(texts, answers, strict=True):
        assert answer.tokens == alone(decoder, text, 24)
        assert answer.text == Letters().decode(answer.tokens)
        assert answer.last is not None and answer.last.finish_reason == "length"
        assert (answer.last.input_tokens, answer.last.output_tokens) == (len(text), 24)


@pytest.mark.parametrize("changed", [
    {"chunk_tokens": 512, "max_sequences": 16}, {"page_tokens": 64}, {"page_tokens": 1}, {"max_sequences": 1}, {"share_prefixes": False},
    {"memory_bytes": 40 * 4 * 512},
], ids=str)  # fmt: skip
def test_how_the_work_is_cut_changes_no_token(changed: dict) -> None:
    _, decoder = make()
    texts = prompts(8)
    engine = Engine(decoder, Letters(), **{**SMALL, **changed})
    assert [answer.tokens for answer in ask(engine, texts, GREEDY)] == [alone(decoder, text, 24) for text in texts]


def test_sequences_thrown_out_for_lack_of_pages_go_on_as_if_nothing_had_been() -> None:
    _, decoder = make()
    texts = prompts(8, longest=30)
    few = Engine(decoder, Letters(), memory_bytes=20 * 4 * 512, page_tokens=4, max_sequences=8, share_prefixes=False)
    sampling = dataclasses.replace(GREEDY, max_tokens=40, temperature=1.0, seed=5)
    many = Engine(decoder, Letters(), memory_bytes=1 << 22, page_tokens=4, max_sequences=8)
    found, expected = ask(few, texts, sampling), ask(many, texts, sampling)
    assert few.facts().preempted > 0 and many.facts().preempted == 0
    assert [(each.tokens, each.text) for each in found] == [(each.tokens, each.text) for each in expected]


def test_a_known_beginning_is_taken_up_and_changes_nothing() -> None:
    _, decoder = make()
    start = prompts(1, seed=4, longest=200)[0][:50] or [1]
    start = (start * 50)[:41]
    texts = [[*start, number] for number in range(1, 6)]
    sampling = dataclasses.replace(GREEDY, logprobs=0)
    engine = Engine(decoder, Letters(), **SMALL)
    first = ask(engine, texts[:1], sampling)[0]
    answers = ask(engine, texts, sampling)
    assert [answer.tokens for answer in answers] == [alone(decoder, text, 24) for text in texts]
    np.testing.assert_allclose(answers[0].logprobs, first.logprobs, atol=1e-4)
    assert first.last is not None and first.last.cached_tokens == 0
    assert [answer.last.cached_tokens for answer in answers if answer.last] == [40] * 5
    assert engine.facts().cached_tokens == 200


def test_the_very_same_prompt_still_computes_its_last_token() -> None:
    _, decoder = make()
    engine = Engine(decoder, Letters(), **SMALL)
    text = list(range(1, 17))
    ask(engine, [text], GREEDY)
    answer = ask(engine, [text], GREEDY)[0]
    assert answer.last is not None and answer.last.cached_tokens == 12
    assert answer.tokens == alone(decoder, text, 24)


def test_tenants_do_not_share() -> None:
    _, decoder = make()
    engine = Engine(decoder, Letters(), **SMALL)
    text = list(range(1, 40))
    ask(engine, [text], GREEDY, salt="one")
    other = ask(engine, [text], GREEDY, salt="two")[0]
    same = ask(engine, [text], GREEDY, salt="one")[0]
    assert other.last and other.last.cached_tokens == 0
    assert same.last and same.last.cached_tokens == 36


def test_bfloat16_answers_like_the_plain_decoder_in_bfloat16() -> None:
    _, decoder = make()
    decoder = decoder.to(torch.bfloat16)
    texts = prompts(6)
    sampling = dataclasses.replace(GREEDY, max_tokens=1, logprobs=0)
    answers = ask(Engine(decoder, Letters(), **SMALL), texts, sampling)
    for text, answer in zip(texts, answers, strict=True):
        with torch.inference_mode():
            expected = decoder.logits(decoder(torch.tensor([text]))[0, -1]).float().log_softmax(-1)
        # 8 bits of scores of about 4: a hundredth or two. The token is the likeliest, or as good as it.
        assert answer.logprobs[0] == pytest.approx(float(expected.max()), abs=0.05)
        assert float(expected[answer.tokens[0]]) == pytest.approx(float(expected.max()), abs=0.05)


def test_a_seed_gives_the_same_text_alone_and_among_others() -> None:
    _, decoder = make()
    text = prompts(1)[0]
    sampling = Sampling(max_tokens=30, temperature=1.0, top_p=0.9, top_k=50, seed=11)
    one = ask(Engine(decoder, Letters(), **SMALL), [text], sampling)[0]
    engine = Engine(decoder, Letters(), **SMALL)
    for number, other in enumerate(prompts(6, seed=2)):
        engine.submit(Request(id=f"other {number}", tokens=other, sampling=Sampling(max_tokens=20)))
    engine.submit(Request(id="it", tokens=text, sampling=sampling))
    assert run(engine)["it"].tokens == one.tokens
    different = ask(Engine(decoder, Letters(), **SMALL), [text], dataclasses.replace(sampling, seed=12))[0]
    assert different.tokens != one.tokens


def test_without_a_seed_every_request_draws_its_own() -> None:
    _, decoder = make()
    answers = ask(Engine(decoder, Letters(), seed=1, **SMALL), [[5]] * 3, Sampling(max_tokens=20))
    assert len({tuple(answer.tokens) for answer in answers}) == 3


def test_the_end_token_ends_the_text_and_is_counted_but_not_written() -> None:
    _, decoder = make()
    text = prompts(1)[0]
    tokens = alone(decoder, text, 24)
    end = tokens[10]
    until = tokens.index(end) + 1
    asked = dataclasses.replace(GREEDY, ignore_end=False)
    answer = ask(Engine(decoder, Letters(end), **SMALL), [text], asked)[0]
    assert answer.last and answer.last.finish_reason == "stop" and answer.last.output_tokens == until
    assert answer.text == Letters().decode(tokens[: until - 1])
    own = ask(Engine(decoder, Letters(), **SMALL), [text], dataclasses.replace(GREEDY, stop_tokens=(end,)))[0]
    assert own.tokens == tokens[:until]


def test_a_stop_string_ends_the_text_before_it() -> None:
    _, decoder = make()
    text = prompts(1)[0]
    tokens = alone(decoder, text, 24)
    stop = Letters().decode(tokens[5:7])
    answer = ask(Engine(decoder, Letters(), **SMALL), [text], dataclasses.replace(GREEDY, stop=(stop, "never")))[0]
    whole = Letters().decode(tokens)
    assert answer.text == whole[: whole.index(stop)]
    assert answer.last and answer.last.finish_reason == "stop"


def test_the_context_ends_a_text() -> None:
    _, decoder = make(context=20)
    answer = ask(Engine(decoder, Letters(), **SMALL), [list(range(1, 16))], GREEDY)[0]
    assert answer.last and (answer.last.finish_reason, answer.last.output_tokens) == ("length", 5)
    assert answer.tokens == alone(make(context=160)[1], list(range(1, 16)), 5)


def test_cancelling_frees_pages_at_once_and_the_rest_goes_on() -> None:
    _, decoder = make()
    engine = Engine(decoder, Letters(), **SMALL)
    texts = prompts(7)
    for number, text in enumerate(texts):
        engine.submit(Request(id=str(number), tokens=text, sampling=GREEDY))
    for _ in range(6):
        engine.step()
    held = engine.facts().pages_held
    assert engine.cancel("0") and engine.cancel("6") and not engine.cancel("0")
    assert engine.facts().pages_held < held
    engine.check()
    answers = run(engine)
    assert {answers[each].last.finish_reason for each in ("0", "6")} == {"cancelled"}
    assert [answers[str(number)].last.finish_reason for number in range(1, 6)] == ["length"] * 5
    assert engine.facts().pages_held == 0


def test_a_long_prompt_is_read_in_shorter_pieces_the_further_back_it_looks_while_others_wait() -> None:
    _, decoder = make("llama", context=8192)

    def pieces(others: int) -> list[int]:
        engine = Engine(decoder, Letters(), memory_bytes=16 << 20, page_tokens=64, max_sequences=4, chunk_tokens=1000)
        for number in range(others):
            engine.submit(Request(id=str(number), tokens=[1, 2], sampling=Sampling(max_tokens=500, ignore_end=True)))
        engine.step()
        engine.submit(Request(id="long", tokens=[3] * 6000, sampling=GREEDY))
        found = []
        while not found or found[-1] < 6000:
            engine.step()
            found.append(int(engine.scheduler.slots.length_S[engine.scheduler.running[-1].slot]))
        return np.diff([0, *found]).tolist()

    alone_in_it, beside_one = pieces(0), pieces(1)
    assert alone_in_it == [1000] * 6
    assert beside_one[0] == 999 and beside_one[:-1] == sorted(beside_one[:-1], reverse=True) and 250 < beside_one[-2] < 350


@pytest.mark.parametrize(("word", "bad"), [("llama", [95] * 100), ("mistral", [95, *[9] * 30])])
def test_a_prompt_without_numbers_ends_at_once_and_leaves_nothing_behind(
    word: str, bad: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is cancelled before its end, and where a window hides what was wrong from its last token."""
    monkeypatch.setitem(ARCHITECTURES, "mistral", {**ARCHITECTURES["mistral"], "tied": False})
    _, decoder = make(word)
    decoder.embed.weight[95] = float("nan")
    engine = Engine(decoder, Letters(), memory_bytes=1 << 20, page_tokens=8, max_sequences=2, chunk_tokens=40)
    engine.submit(Request(id="bad", tokens=bad, sampling=GREEDY))
    deltas = engine.step()
    engine.cancel("bad")
    engine.submit(Request(id="good", tokens=[5, 6, 7], sampling=Sampling(max_tokens=8, temperature=0.0)))
    answers = run(engine)
    assert answers["good"].tokens == alone(decoder, [5, 6, 7], 8)
    assert [delta.finish_reason for delta in deltas] == ["error"]


def test_a_request_whose_logits_are_not_finite_ends_alone_and_leaves_nothing_behind() -> None:
    _, decoder = make("llama")
    decoder.embed.weight[95] = float("nan")
    texts = [[token for token in text if token != 95] for text in prompts(8)]
    expected = [alone(decoder, text, 24) for text in texts]
    engine = Engine(decoder, Letters(), memory_bytes=30 * 4 * 512, page_tokens=4, max_sequences=5)
    for _ in range(3):
        engine.submit(Request(id="bad", tokens=[3, 95, 4, 5, 6, 7, 8, 9], sampling=Sampling(max_tokens=9)))
        for number, text in enumerate(texts):
            engine.submit(Request(id=str(number), tokens=text, sampling=GREEDY))
        answers = run(engine)
        assert answers["bad"].last.finish_reason == "error" and "not finite" in answers["bad"].last.error
        assert answers["bad"].last.output_tokens == 0
        for number, tokens in enumerate(expected):
            until = tokens.index(95) + 1 if 95 in tokens else 24  # it may say the broken token itself
            assert answers[str(number)].tokens[:until] == tokens[:until]
    assert bool(engine.cache.k_LPGOK.isfinite().all()) and bool(engine.cache.v_LPGKO.isfinite().all())


def test_tenants_take_turns() -> None:
    _, decoder = make()
    engine = Engine(decoder, Letters(), memory_bytes=1 << 20, page_tokens=4, max_sequences=2)
    for number in range(6):
        engine.submit(Request(id=f"greedy {number}", tokens=[1, 2], sampling=GREEDY, salt="greedy"))
    engine.submit(Request(id="modest", tokens=[3], sampling=GREEDY, salt="modest"))
    ended = []
    while engine.has_work:
        ended += [delta.id for delta in engine.step() if delta.finish_reason]
    assert ended.index("modest") <= 2


def test_a_long_prompt_does_not_delay_short_ones() -> None:
    _, decoder = make()
    engine = Engine(decoder, Letters(), memory_bytes=1 << 20, page_tokens=4, max_sequences=4, chunk_tokens=12)
    engine.submit(Request(id="long", tokens=[7] * 120, sampling=GREEDY))
    engine.submit(Request(id="short", tokens=[8, 9], sampling=dataclasses.replace(GREEDY, max_tokens=3)))
    first: dict[str, int] = {}
    for step in range(40):
        for delta in engine.step():
            first.setdefault(delta.id, step)
    assert first["short"] < first["long"]


@pytest.mark.parametrize(("request_", "error", "says"), [
    ({"tokens": []}, BadRequestError, "found none"),
    ({"tokens": [1, 96]}, BadRequestError, "found token 96, allowed are 0 to 95"),
    ({"tokens": [-1]}, BadRequestError, "found token -1"),
    ({"tokens": [1] * 160}, ContextOverflowError, "found a prompt of 160 tokens, the context allows 159"),
    ({"tokens": [1], "adapter": "x"}, UnknownAdapterError, 'found "x", attached: none'),
    ({"tokens": [1], "sampling": Sampling(temperature=float("nan"))}, BadRequestError, "temperature: found nan"),
    ({"tokens": [1], "sampling": Sampling(top_p=0.0)}, BadRequestError, "above 0 to 1"),
    ({"tokens": [1], "sampling": Sampling(logprobs=101)}, BadRequestError, "allowed are 0 to 100"),
    ({"tokens": [1], "sampling": Sampling(logit_bias={96: 1.0})}, BadRequestError, "logit_bias: found token 96"),
    ({"tokens": [1], "sampling": Sampling(logit_bias={1: float("inf")})}, BadRequestError, "found inf, allowed are numbers from -1e"),
    ({"tokens": [1], "sampling": Sampling(logit_bias={1: 1e39})}, BadRequestError, "found 1e.39"),
    ({"tokens": [1], "sampling": Sampling(presence_penalty=1e300)}, BadRequestError, "presence_penalty"),
    ({"tokens": [1], "sampling": Sampling(repetition_penalty=1e-300)}, BadRequestError, "repetition_penalty"),
    ({"tokens": [1], "sampling": Sampling(max_tokens=0)}, BadRequestError, "max_tokens: found 0"),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_what_cannot_be_answered_is_refused_with_a_reason(request_: dict, error: type[ModelError], says: str) -> None:
    _, decoder = make()
    engine = Engine(decoder, Letters(), **SMALL)
    with pytest.raises(error, match=says):
        engine.submit(Request(**{"id": "a", "sampling": GREEDY, **request_}))
    assert not engine.has_work


def test_memory_bounds_the_prompt_too() -> None:
    _, decoder = make()
    engine = Engine(decoder, Letters(), memory_bytes=3 * 4 * 512, page_tokens=4)
    with pytest.raises(ContextOverflowError, match="memory of the cache") as caught:
        engine.submit(Request(id="a", tokens=[1] * 100, sampling=GREEDY))
    assert caught.value.input_tokens == 100 and caught.value.allowed_tokens < 100
    with pytest.raises(ModelError, match="two pages"):
        Engine(decoder, Letters(), memory_bytes=100)


def test_a_queue_has_an_end_and_ids_are_unique() -> None:
    _, decoder = make()
    engine = Engine(decoder, Letters(), max_waiting=1, **SMALL)
    engine.submit(Request(id="a", tokens=[1], sampling=GREEDY))
    with pytest.raises(BadRequestError, match="at work already"):
        engine.submit(Request(id="a", tokens=[1], sampling=GREEDY))
    with pytest.raises(QueueFullError, match="1 requests waiting"):
        engine.submit(Request(id="b", tokens=[1], sampling=GREEDY))


def test_log_probabilities_of_texts_are_the_decoders() -> None:
    _, decoder = make()
    texts = prompts(7)
    found = Engine(decoder, Letters(), **SMALL).logprobs(texts)
    for text, logprobs in zip(texts, found, strict=True):
        with torch.inference_mode():
            expected = decoder.logits(decoder(torch.tensor([text]))[0]).log_softmax(-1)
        assert logprobs.dtype == np.float32 and len(logprobs) == len(text) - 1
        np.testing.assert_allclose(logprobs, [float(expected[at, token]) for at, token in enumerate(text[1:])], atol=1e-4)


def test_vectors_are_means_of_length_one_and_do_not_depend_on_company() -> None:
    _, decoder = make()
    texts = prompts(7)
    engine = Engine(decoder, Letters(), **SMALL)
    found = engine.embed(texts)
    assert found.shape == (7, 32) and found.dtype == np.float32
    with torch.inference_mode():
        mean = decoder(torch.tensor([texts[3]]))[0].mean(0)
    np.testing.assert_allclose(found[3], (mean / mean.norm()).numpy(), atol=1e-5)
    np.testing.assert_allclose(engine.embed(texts[3:4])[0], found[3], atol=1e-5)
    with pytest.raises(BadRequestError, match="no tokens"):
        engine.embed([[1], []])
    with pytest.raises(ContextOverflowError):
        engine.embed([[1] * (160 + 1)])


def test_reported_log_probabilities_are_those_before_temperature() -> None:
    _, decoder = make()
    text = prompts(1)[0]
    engine = Engine(decoder, Letters(), **SMALL)
    engine.submit(Request(id="a", tokens=text, sampling=Sampling(max_tokens=4, temperature=0.5, top_k=1, logprobs=3)))
    deltas = []
    while engine.has_work:
        deltas += engine.step()
    facts = [each for delta in deltas for each in delta.tokens]
    whole = text + [each.token for each in facts]
    expected = engine.logprobs([whole])[0][len(text) - 1 :]
    np.testing.assert_allclose([each.logprob for each in facts], expected, atol=1e-4)
    for each in facts:
        assert len(each.top) == 3 and each.top[0][0] == each.token and each.top[0][1] == pytest.approx(each.logprob)
        assert sorted((value for _, value in each.top), reverse=True) == [value for _, value in each.top]


def test_the_vocabulary_of_the_samples_is_that_of_the_decoder() -> None:
    assert make()[1].shape.vocabulary == VOCABULARY
