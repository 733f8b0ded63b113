"""Who runs in the next step, and with how many tokens: decoding first, then pieces of prompts, as long as tokens and memory last.

Every sequence that decodes gets its one token in every step; what `chunk_tokens` leaves goes to prompts in equal shares, so that a long
prompt delays neither them nor short ones behind it. Waiting requests are let in by tenant: of those with something waiting the one with the
fewest running, then who came first. When pages run out, the sequence that came last gives its own back and starts again later from its
tokens (what it said stays said); the one that came first therefore always ends.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from lode.model.language.engine.cache import Slots
from lode.model.language.engine.pages import Pages
from lode.model.language.engine.sequence import Sequence

_NEAR_POSITIONS = 2048
"""So far back attention costs about as much as the rest of a token; further back a piece of a prompt is made shorter for it."""


@dataclass(slots=True)
class Plan:
    """One step. decoding: sequences that get one token; prompts: (sequence, number of its next tokens)."""

    decoding: list[Sequence] = field(default_factory=list)
    prompts: list[tuple[Sequence, int]] = field(default_factory=list)


class Scheduler:
    """Waiting and running sequences and what they hold.

    Args:
        pages: The books of the cache.
        slots: Places of running sequences.
        page_tokens: Positions of a page.
        chunk_tokens: Most tokens of one step, at least one more than there are slots.
        share_prefixes: Whether prompts take up pages of earlier ones.
    """

    def __init__(self, pages: Pages, slots: Slots, *, page_tokens: int, chunk_tokens: int, share_prefixes: bool) -> None:
        self.pages, self.slots = pages, slots
        self.page_tokens, self.chunk_tokens, self.share_prefixes = page_tokens, chunk_tokens, share_prefixes
        self.running: list[Sequence] = []  # in the order in which they came
        self._waiting: dict[str, deque[Sequence]] = {}
        self.num_waiting = 0
        self.num_preempted = 0

    def add(self, sequence: Sequence) -> None:
        """Let it wait."""
        self._waiting.setdefault(sequence.request.salt, deque()).append(sequence)
        self.num_waiting += 1

    def remove(self, sequence: Sequence) -> None:
        """Forget it, wherever it is; its pages are free at once."""
        if sequence.slot >= 0:
            self._stop(sequence)
            return
        queue = self._waiting[sequence.request.salt]
        queue.remove(sequence)
        self._drop_if_empty(sequence.request.salt)
        self.num_waiting -= 1

    def plan(self) -> Plan:
        """The next step; pages for all its tokens are allocated."""
        plan = Plan(decoding=self._decoding())
        left = self.chunk_tokens - len(plan.decoding)
        prompts = [sequence for sequence in self.running if self._remaining(sequence) > 1]
        # At least a page for each: more prompts at a time would only make all of them late
        while left >= self.page_tokens * (len(prompts) + 1):
            admitted = self._admit()
            if admitted is None:
                break
            prompts.append(admitted)
        most = [min(self._remaining(sequence), self._most(sequence, bool(plan.decoding))) for sequence in prompts]
        plan.prompts = list(_shares(prompts, most, left))
        return plan

    def _most(self, sequence: Sequence, is_awaited: bool) -> int:
        """The longest piece of a prompt: while others wait for their next token, one that takes about as long as a first piece."""
        begin = int(self.slots.length_S[sequence.slot])
        return max(1, self.chunk_tokens * _NEAR_POSITIONS // (_NEAR_POSITIONS + begin)) if is_awaited else self.chunk_tokens

    def _remaining(self, sequence: Sequence) -> int:
        """Tokens that the cache has not yet; 1 while decoding."""
        return len(sequence.tokens) - int(self.slots.length_S[sequence.slot])

    def _decoding(self) -> list[Sequence]:
        """Sequences whose next token comes in this step, each with room for it; the last ones give way where there is none."""
        found = [sequence for sequence in self.running if self._remaining(sequence) == 1]
        index = np.array([sequence.slot for sequence in found], dtype=np.int64)
        is_full = self.slots.length_S[index] >= self.slots.num_pages_S[index] * self.page_tokens
        for row in np.flatnonzero(is_full):
            sequence = found[row]
            while sequence.slot >= 0 and not self.pages.available:
                self._preempt(self.running[-1])
            if sequence.slot >= 0:
                self.slots.append(sequence.slot, self.pages.allocate())
        return [sequence for sequence in found if sequence.slot >= 0]

    def _preempt(self, sequence: Sequence) -> None:
        self._stop(sequence)
        self._waiting.setdefault(sequence.request.salt, deque()).appendleft(sequence)
        self.num_waiting += 1
        self.num_preempted += 1

    def _stop(self, sequence: Sequence) -> None:
        # Last page first: of a chain of pages that nobody needs, the end is given up before the beginning
        for page in reversed(self.slots.pages(sequence.slot)):
            self.pages.release(page)
        self.slots.give_back(sequence.slot)
        self.running.remove(sequence)
        sequence.slot, sequence.num_registered = -1, 0

    def _admit(self) -> Sequence | None:
        """The next waiting sequence with pages for all its tokens, or None where there is no room for it."""
        if not self.num_waiting or not self.slots.num_free:
            return None
        running = Counter(sequence.request.salt for sequence in self.running)
        salt = min(self._waiting, key=lambda each: (running[each], self._waiting[each][0].order))
        sequence = self._waiting[salt][0]
        found = self._found(sequence)
        needed = -(-len(sequence.tokens) // self.page_tokens) - len(found)
        taken_up = sum(1 for page in found if not self.pages.references[page])
        # Who runs already will need further pages soon; letting in more than fit only to throw them out costs their prompts twice
        reserve = min(len(self.running), self.pages.num_pages // 10)
        if needed + taken_up + reserve > self.pages.available:
            return None
        self._waiting[salt].popleft()
        self._drop_if_empty(salt)
        self.num_waiting -= 1
        self._start(sequence, found, needed)
        return sequence

    def _found(self, sequence: Sequence) -> list[int]:
        """Pages of its beginning that are still there; the last token is always computed, for its logits."""
        if not self.share_prefixes:
            return []
        usable = (len(sequence.tokens) - 1) // self.page_tokens
        return self.pages.find(sequence.full_chain(self.page_tokens)[:usable])

    def _start(self, sequence: Sequence, found: list[int], needed: int) -> None:
        sequence.slot = self.slots.take()
        for page in found:
            self.pages.take_up(page)
            self.slots.append(sequence.slot, page)
        for _ in range(needed):
            self.slots.append(sequence.slot, self.pages.allocate())
        self.slots.length_S[sequence.slot] = len(found) * self.page_tokens
        self.slots.last_S[sequence.slot] = sequence.tokens[-1]
        sequence.num_registered = len(found)
        if not sequence.has_run:
            sequence.has_run, sequence.num_cached_prompt = True, len(found) * self.page_tokens
        at = next((at for at, other in enumerate(self.running) if other.order > sequence.order), len(self.running))
        self.running.insert(at, sequence)

    def _drop_if_empty(self, salt: str) -> None:
        if not self._waiting[salt]:
            del self._waiting[salt]

    def register(self, sequence: Sequence) -> None:
        """Let others find the full pages of a running sequence, whose content is known to be sound."""
        full = int(self.slots.length_S[sequence.slot]) // self.page_tokens
        if not self.share_prefixes or full <= sequence.num_registered:
            return
        chain = sequence.full_chain(self.page_tokens)
        for number in range(sequence.num_registered, full):
            self.pages.register(int(self.slots.table_SP[sequence.slot, number]), chain[number])
        sequence.num_registered = full

    def check(self) -> None:
        """Assert that every page is accounted for."""
        self.pages.check([self.slots.pages(sequence.slot) for sequence in self.running])
        assert len({sequence.slot for sequence in self.running}) == len(self.running)
        assert self.slots.num_free + len(self.running) == len(self.slots.length_S)
        assert self.num_waiting == sum(len(queue) for queue in self._waiting.values())
        orders = [sequence.order for sequence in self.running]
        assert orders == sorted(orders)


def _shares(prompts: list[Sequence], remaining: list[int], left: int) -> Iterator[tuple[Sequence, int]]:
    """Equal shares of `left` tokens, the ones with less to do first, so that what they leave goes to the others."""
    order = sorted(range(len(prompts)), key=lambda row: remaining[row])
    for number, row in enumerate(order):
        share = min(remaining[row], left // (len(order) - number))
        left -= share
        if share:
            yield prompts[row], share
