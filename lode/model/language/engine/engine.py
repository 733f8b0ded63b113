"""The generation engine: requests in, text out, one step at a time. Nothing here waits, locks or starts threads.

    engine = Engine(decoder, words, memory_bytes=1 << 30)
    engine.submit(Request(id="a", tokens=[...], sampling=Sampling()))
    while engine.has_work:
        for delta in engine.step(): ...

One step: the scheduler picks sequences, the decoder runs once over all their tokens (attention over pages), the sampler draws one token for
each sequence that is through with its prompt, and each new token becomes text. Read next: `scheduler.py`, `attention.py`, `sampler.py`.
"""

from __future__ import annotations

from collections.abc import Sequence as Tokens
from pathlib import Path

import numpy as np
import torch

from lode.core.errors import ModelError, listed, near_miss
from lode.model.language.contracts import Architecture, Words
from lode.model.language.decoder import Decoder
from lode.model.language.engine import sampler, scoring
from lode.model.language.engine.attention import Decoding, PagedAttend, Piece
from lode.model.language.engine.cache import Cache, Slots
from lode.model.language.engine.checks import check_request
from lode.model.language.engine.contracts import Delta, Facts, FinishReason, Request, TokenFacts
from lode.model.language.engine.errors import ContextOverflowError, QueueFullError, UnknownAdapterError
from lode.model.language.engine.packed import packed
from lode.model.language.engine.pages import Pages
from lode.model.language.engine.scheduler import Plan, Scheduler
from lode.model.language.engine.sequence import Sequence
from lode.model.language.engine.several_adapters import Adapters

DEFAULT_MEMORY_BYTES = 256 << 20


class Engine:
    """Continues many sequences at a time. All methods are to be called from one thread.

    Args:
        decoder: What continues them; it is put into `eval` and stays where and of what type it is. Keys and values have its type. On
            processors its large weights are copied once, in another layout (`packed.py`).
        words: Its tokenizer.
        memory_bytes: What the cache of keys and values may take.
        page_tokens: Positions of one page: prefixes are shared in such steps.
        max_sequences: The most that run at a time.
        chunk_tokens: The most tokens of one step: more makes prompts quicker, and those who wait for their next token slower.
        max_waiting: Requests that may wait.
        share_prefixes: Whether a prompt takes up what an earlier one with the same beginning left in the cache.
        seed: Of requests that bring none; None for one of the machine's.
        architecture: What adapters are read with; without it none can be attached.
        base: `adapters.fingerprint` of the weights before they became int8, so that an adapter of another base is known then too.
    """

    def __init__(
        self,
        decoder: Decoder,
        words: Words,
        *,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        page_tokens: int = 64,
        max_sequences: int = 64,
        chunk_tokens: int = 256,
        max_waiting: int = 1024,
        share_prefixes: bool = True,
        seed: int | None = None,
        architecture: Architecture | None = None,
        base: str | None = None,
    ) -> None:
        self.decoder, self.words = packed(decoder.eval()), words
        self._device, dtype = decoder.embed.weight.device, decoder.embed.weight.dtype
        shape = decoder.shape
        self.cache = Cache(shape, memory_bytes=memory_bytes, page_tokens=page_tokens, dtype=dtype, device=self._device)
        self.max_tokens = min(shape.context, self.cache.num_pages * page_tokens)
        slots = Slots(max_sequences, -(-self.max_tokens // page_tokens))
        self.scheduler = Scheduler(
            Pages(self.cache.num_pages, self.cache.move), slots, page_tokens=page_tokens,
            chunk_tokens=max(chunk_tokens, max_sequences + page_tokens), share_prefixes=share_prefixes,
        )  # fmt: skip
        self.adapters = Adapters(self.decoder, architecture, base)
        self._slots, self._max_waiting = slots, max_waiting
        self._sequences: dict[str, Sequence] = {}
        self._seeds = np.random.default_rng(seed)
        self._ended: list[Delta] = []
        self._num_submitted = self._num_steps = self._num_prompt = self._num_cached = self._num_output = 0

    @property
    def has_work(self) -> bool:
        """Whether a step would do something."""
        return bool(self._sequences or self._ended)

    def submit(self, request: Request) -> None:
        """Let a request wait for its turn.

        Errors: ContextOverflowError with the counts, QueueFullError, UnknownAdapterError, BadRequestError; nothing has changed then.
        """
        check_request(request, self.decoder.shape.vocabulary, self._sequences)
        if len(request.tokens) >= self.max_tokens:
            why = "the context" if self.max_tokens == self.decoder.shape.context else "the memory of the cache"
            raise ContextOverflowError(len(request.tokens), self.max_tokens - 1, why)
        if self.scheduler.num_waiting >= self._max_waiting:
            raise QueueFullError(f"queue: found {self._max_waiting} requests waiting, which is all that may. Send it again later.")
        if request.adapter is not None and request.adapter not in self.adapters.names:
            names = self.adapters.names
            raise UnknownAdapterError(
                f'adapter: found "{request.adapter}", attached: {listed(names) or "none"}.{near_miss(request.adapter, names)} '
                "Ask for one of them, or for none."
            )
        drawn = int(self._seeds.integers(2**63))
        seed = drawn if request.sampling.seed is None else request.sampling.seed % 2**64
        sequence = Sequence(
            request, order=self._num_submitted, seed=seed, max_tokens=self.max_tokens, words=self.words,
            adapter_key=self.adapters.key(request.adapter),
        )  # fmt: skip
        self._num_submitted += 1
        self._sequences[request.id] = sequence
        self.scheduler.add(sequence)

    def cancel(self, request_id: str) -> bool:
        """Stop a request; its pages are free when this returns, and the next step gives its last delta. False where it is over already."""
        sequence = self._sequences.get(request_id)
        if sequence is None:
            return False
        self._ended.append(self._end(sequence, "cancelled", sequence.stream.finish()))
        return True

    @torch.inference_mode()
    def step(self) -> list[Delta]:
        """Run the decoder once; what is new for each request. Without work: nothing."""
        deltas, self._ended = self._ended, []
        plan = self.scheduler.plan()
        if plan.decoding or plan.prompts:
            self._num_steps += 1
            deltas += self._run(plan)
        return deltas

    def attach(self, name: str, folder: Path) -> None:
        """Make an adapter in PEFT's format available to requests. Errors: ArtifactError, for example for one of another base."""
        self.adapters.attach(name, folder)

    def detach(self, name: str) -> None:
        """Take an adapter away. Errors: ModelError while requests use it."""
        users = [sequence.request.id for sequence in self._sequences.values() if sequence.request.adapter == name]
        if users:
            raise ModelError(f'adapter: found "{name}" in use by {listed(users, 3)}. Wait for them or cancel them first.')
        self.adapters.detach(name)

    def embed(self, token_lists: Tokens[Tokens[int]]) -> np.ndarray:
        """The mean of the last hidden states of each text, of length 1, float32 (N, D). Errors: BadRequestError, ContextOverflowError."""
        return scoring.embed(self.decoder, token_lists)

    def logprobs(self, token_lists: Tokens[Tokens[int]]) -> list[np.ndarray]:
        """The log-probability of each token but the first, given those before it: float32 (T - 1,) each. Errors: as `embed`."""
        return scoring.logprobs(self.decoder, token_lists)

    def facts(self) -> Facts:
        """How busy it is."""
        pages = self.scheduler.pages
        return Facts(
            running=len(self.scheduler.running),
            waiting=self.scheduler.num_waiting,
            pages=pages.num_pages,
            pages_held=pages.num_pages - pages.available,
            pages_kept=pages.num_kept,
            page_tokens=self.cache.page_tokens,
            page_bytes=self.cache.page_bytes,
            steps=self._num_steps,
            prompt_tokens=self._num_prompt,
            cached_tokens=self._num_cached,
            output_tokens=self._num_output,
            preempted=self.scheduler.num_preempted,
            adapters=tuple(self.adapters.names),
        )

    def check(self) -> None:
        """Assert that no page is lost and every count is right; for tests."""
        self.scheduler.check()
        assert len(self._sequences) == self.scheduler.num_waiting + len(self.scheduler.running)

    def _run(self, plan: Plan) -> list[Delta]:
        """One pass through the decoder and what follows from it."""
        slots = self._slots
        decoding = np.array([sequence.slot for sequence in plan.decoding], dtype=np.int64)
        begins = [int(slots.length_S[sequence.slot]) for sequence, _ in plan.prompts]
        counts = np.array([1] * len(decoding) + [count for _, count in plan.prompts], dtype=np.int64)
        slot_N = np.repeat(np.append(decoding, [sequence.slot for sequence, _ in plan.prompts]).astype(np.int64), counts)
        pieces = [sequence.piece(begin, begin + count) for begin, (sequence, count) in zip(begins, plan.prompts, strict=True)]
        token_N = np.concatenate((slots.last_S[decoding], *pieces))
        position_N = np.concatenate(
            (slots.length_S[decoding], *(np.arange(b, b + c) for b, (_, c) in zip(begins, plan.prompts, strict=True)))
        )
        attend = self._attend(plan, decoding, begins, slot_N, position_N)
        inputs = torch.from_numpy(np.stack((token_N, position_N))).to(self._device)[:, :, None]
        self.adapters.choose([sequence.request.adapter for sequence in self._in_order(plan)], counts)
        h_ND = self.decoder(inputs[0], inputs[1], attend).squeeze(1)
        self.adapters.clear()
        np.add.at(slots.length_S, slot_N, 1)
        return self._draw(plan, h_ND, counts)

    @staticmethod
    def _in_order(plan: Plan) -> list[Sequence]:
        return [*plan.decoding, *(sequence for sequence, _ in plan.prompts)]

    def _attend(
        self, plan: Plan, decoding: np.ndarray, begins: list[int], slot_N: np.ndarray, position_N: np.ndarray
    ) -> PagedAttend:
        slots, size = self._slots, self.cache.page_tokens
        place_2N = np.stack((slots.table_SP[slot_N, position_N // size], position_N % size))
        pieces = [
            Piece(begin=begin, length=count, pages=slots.table_SP[sequence.slot, : -(-(begin + count) // size)].copy())
            for begin, (sequence, count) in zip(begins, plan.prompts, strict=True)
        ]
        several, places = None, torch.from_numpy(place_2N).to(self._device)
        if len(decoding):
            several = Decoding(slots.table_SP[decoding], slots.length_S[decoding] + 1, size, self._device)
        return PagedAttend(self.cache, places, several, len(decoding), pieces)

    def _draw(self, plan: Plan, h_ND: torch.Tensor, counts: np.ndarray) -> list[Delta]:
        """One token for each sequence whose tokens are all in the cache now."""
        last = np.cumsum(counts) - 1
        sequences = self._in_order(plan)
        is_sound = self._are_sound(h_ND, counts, len(plan.decoding))
        chosen = [
            row
            for row, sequence in enumerate(sequences)
            if is_sound[row] and int(self._slots.length_S[sequence.slot]) == len(sequence.tokens)
        ]
        failed = [self._fail(sequence) for sequence, sound in zip(sequences, is_sound, strict=True) if not sound]
        if not chosen:
            return failed
        index = torch.from_numpy(last[chosen]).to(self._device)
        drawn = sampler.draw(self._logits(h_ND.index_select(0, index)), [sequences[row] for row in chosen])
        return failed + [self._say(sequences[row], drawn, number) for number, row in enumerate(chosen)]

    @staticmethod
    def _are_sound(h_ND: torch.Tensor, counts: np.ndarray, num_decoding: int) -> list[bool]:
        """Whether each piece of a prompt is made of numbers: else whoever gets its pages later would have what is in them."""
        pieces = h_ND.split(counts.tolist())[num_decoding:]
        found: list[bool] = torch.stack([piece.isfinite().all() for piece in pieces]).tolist() if pieces else []
        return [True] * num_decoding + found

    def _logits(self, h_ND: torch.Tensor) -> torch.Tensor:
        """float32 (N, V), a tensor of its own: the sampler writes into it."""
        return scoring.logits(self.decoder, h_ND).float()

    def _say(self, sequence: Sequence, drawn: sampler.Drawn, row: int) -> Delta:
        """Take a drawn token into a sequence and say what it brought."""
        if not sequence.num_output:
            self._num_prompt += sequence.num_prompt
            self._num_cached += sequence.num_cached_prompt
        if not drawn.is_finite_N[row]:
            return self._fail(sequence)
        token = int(drawn.token_N[row])
        self.scheduler.register(sequence)
        sequence.tokens.append(token)
        self._slots.last_S[sequence.slot] = token
        self._num_output += 1
        facts = (_facts(drawn, row, sequence.sampling.logprobs),)
        grammar = sequence.request.grammar
        if token in sequence.end_tokens:
            return self._end(sequence, "stop", sequence.stream.finish(), facts)
        if grammar is not None:
            grammar.accept(token)
        text, is_stopped = sequence.stream.add(token)
        if is_stopped:
            return self._end(sequence, "stop", text, facts)
        if grammar is not None and grammar.is_over:
            return self._end(sequence, "stop", text + sequence.stream.finish(), facts)
        if sequence.is_full:
            return self._end(sequence, "length", text + sequence.stream.finish(), facts)
        return self._delta(sequence, text, facts)

    def _fail(self, sequence: Sequence) -> Delta:
        """End a sequence that has nothing to draw from, and nothing of it may stay in the cache."""
        pages = self._slots.pages(sequence.slot)[sequence.num_registered :]
        self.cache.scrub(pages)
        why = "the logits of the next token are not finite: the weights or the adapter are damaged, or nothing may follow (grammar, bias)"
        return self._end(sequence, "error", sequence.stream.finish(), error=why)

    def _end(
        self, sequence: Sequence, reason: FinishReason, text: str, facts: tuple[TokenFacts, ...] = (), error: str = ""
    ) -> Delta:
        self.scheduler.remove(sequence)
        del self._sequences[sequence.request.id]
        return self._delta(sequence, text, facts, reason, error)

    def _delta(
        self, sequence: Sequence, text: str, facts: tuple[TokenFacts, ...], reason: FinishReason | None = None, error: str = ""
    ) -> Delta:
        return Delta(
            sequence.request.id, text, facts, reason,
            sequence.num_prompt, sequence.num_output, sequence.num_cached_prompt, error,
        )  # fmt: skip


def _facts(drawn: sampler.Drawn, row: int, logprobs: int | None) -> TokenFacts:
    token = int(drawn.token_N[row])
    if logprobs is None or drawn.logprob_N is None:
        return TokenFacts(token)
    top: tuple[tuple[int, float], ...] = ()
    if logprobs and drawn.top_NL is not None and drawn.top_token_NL is not None:
        top = tuple(zip(drawn.top_token_NL[row, :logprobs].tolist(), drawn.top_NL[row, :logprobs].tolist(), strict=True))
    return TokenFacts(token, float(drawn.logprob_N[row]), top)
