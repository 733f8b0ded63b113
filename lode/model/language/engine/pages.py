"""Who holds which page of the cache: counts of references, pages found again by what is in them, and which ones to give up first.

A page holds the keys and values of `page_tokens` positions in every layer; this file only counts them, `cache.py` has the tensors.

    blank    nobody refers to it and nothing in it is worth keeping
    kept     nobody refers to it, but its digest says what is in it: a later prompt with the same beginning takes it up again
    held     one or more sequences refer to it

Held pages are kept in the lowest places: where the lowest place that nobody refers to has a kept page in it, that one is moved up, once.
So decoding reads one dense piece of memory instead of copying scattered pages together in every layer of every step (`attention.py`).
"""

from __future__ import annotations

import hashlib
import heapq
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np

Move = Callable[[int, int], None]
"""move(source, target): copy what is in one page to another."""


def digests(tokens: Sequence[int], page_tokens: int, start: bytes, *, known: Sequence[bytes] = ()) -> list[bytes]:
    """One digest for each full page of `tokens`, of all tokens up to its end: equal digests mean equal keys and values.

    start: what besides tokens decides them (tenant, adapter); see `chain_start`. known: those of the first pages, not made again.
    """
    made = list(known)
    for page in range(len(made), len(tokens) // page_tokens):
        piece = np.asarray(tokens[page * page_tokens : (page + 1) * page_tokens], dtype=np.int64).tobytes()
        made.append(hashlib.blake2b((made[-1] if made else start) + piece, digest_size=16).digest())
    return made


def chain_start(salt: str, adapter: str | None) -> bytes:
    """Where the chain of a request begins: prompts of another tenant or adapter never meet, not even by their timing."""
    words = [salt.encode("utf-8", "surrogatepass"), b"" if adapter is None else b"\x01" + adapter.encode("utf-8", "surrogatepass")]
    return hashlib.blake2b(b"".join(len(word).to_bytes(8, "big") + word for word in words), digest_size=16).digest()


class Pages:
    """The books of `num_pages` pages.

    Args:
        num_pages: How many there are.
        move: Copies a page; called at once, before the page that became free is handed out.
    """

    def __init__(self, num_pages: int, move: Move) -> None:
        self.num_pages = num_pages
        self.references = np.zeros(num_pages, dtype=np.int64)
        self.digest_of: list[bytes | None] = [None] * num_pages
        self._move = move
        self._page_of: dict[bytes, int] = {}
        self._kept: OrderedDict[bytes, None] = OrderedDict()  # the one used longest ago comes first
        self._lowest = list(range(num_pages))  # a heap of pages that nobody refers to, and of stale entries
        self._is_in_heap = np.ones(num_pages, dtype=bool)
        self._highest_blank = [-page for page in range(num_pages - 1, -1, -1)]  # the same of blank ones, from above
        self._is_in_blank = np.ones(num_pages, dtype=bool)
        self._num_held = 0
        self.num_moves = 0

    @property
    def available(self) -> int:
        """Pages that can be handed out: blank and kept ones."""
        return self.num_pages - self._num_held

    @property
    def num_kept(self) -> int:
        """Pages that nobody refers to, but whose content may be found again."""
        return len(self._kept)

    def find(self, chain: Sequence[bytes]) -> list[int]:
        """The pages of the longest beginning of a chain that is still there; nothing is taken."""
        found = []
        for digest in chain:
            page = self._page_of.get(digest)
            if page is None:
                break
            found.append(page)
        return found

    def take_up(self, page: int) -> None:
        """Refer to a page that `find` found."""
        if self.references[page] == 0:
            digest = self.digest_of[page]
            assert digest is not None, "a page without a digest cannot be found"
            del self._kept[digest]
            self._num_held += 1
        self.references[page] += 1

    def allocate(self) -> int:
        """A page of one's own, in the lowest place there is. Its content is undefined. Call only while `available` is above 0."""
        page = self._pop_lowest()
        digest = self.digest_of[page]
        if digest is not None:
            self._make_room(page, digest)
        self.references[page] = 1
        self._num_held += 1
        return page

    def release(self, page: int) -> None:
        """Refer to it no more; without references it is kept if it has a digest, else blank."""
        assert self.references[page] > 0, f"page {page} was released more often than taken"
        self.references[page] -= 1
        if self.references[page]:
            return
        self._num_held -= 1
        if not self._is_in_heap[page]:
            self._is_in_heap[page] = True
            heapq.heappush(self._lowest, page)
        digest = self.digest_of[page]
        if digest is not None:
            self._kept[digest] = None
        elif not self._is_in_blank[page]:
            self._is_in_blank[page] = True
            heapq.heappush(self._highest_blank, -page)

    def register(self, page: int, digest: bytes) -> None:
        """Say what a held page has in it. Of two pages with the same content, the first one stays the one that is found."""
        if self.digest_of[page] is None and digest not in self._page_of:
            self.digest_of[page] = digest
            self._page_of[digest] = page

    def _pop_lowest(self) -> int:
        while True:
            page = heapq.heappop(self._lowest)
            self._is_in_heap[page] = False
            if self.references[page] == 0:
                return page

    def _make_room(self, page: int, digest: bytes) -> None:
        """Move the kept content of `page` to a blank page or over the content used longest ago; or give it up, if that is itself."""
        target = self._pop_blank()
        if target is None:
            oldest, _ = self._kept.popitem(last=False)
            target = self._page_of.pop(oldest)
            self.digest_of[target] = None
            if target == page:
                return
        self._move(page, target)
        self.num_moves += 1
        self.digest_of[page], self.digest_of[target] = None, digest
        self._page_of[digest] = target

    def _pop_blank(self) -> int | None:
        while self._highest_blank:
            page = -heapq.heappop(self._highest_blank)
            self._is_in_blank[page] = False
            if self.references[page] == 0 and self.digest_of[page] is None:
                return page
        return None

    def check(self, tables: Sequence[Sequence[int]]) -> None:
        """Assert that the books are right. tables: the pages that each living sequence refers to."""
        held = np.zeros(self.num_pages, dtype=np.int64)
        for table in tables:
            np.add.at(held, np.asarray(table, dtype=np.int64), 1)
        assert (held == self.references).all(), "references do not match the sequences' tables"
        assert self._num_held == int((held > 0).sum()), "held pages are miscounted"
        named = {digest: page for page, digest in enumerate(self.digest_of) if digest is not None}
        assert named == self._page_of, "digests do not lead back to their pages"
        kept = {digest for digest, page in named.items() if not self.references[page]}
        assert kept == set(self._kept), "kept pages are miscounted"
        idle = {page for page in range(self.num_pages) if not self.references[page]}
        assert idle <= set(self._lowest), "a page is lost"
        blank = {page for page in idle if self.digest_of[page] is None}
        assert blank <= {-page for page in self._highest_blank}, "a blank page is lost"
