"""Pages: counted, found again, moved down, given up in order of use; never lost."""

from __future__ import annotations

import random

import pytest

from lode.model.language.engine.pages import Pages, chain_start, digests


class Store:
    """What lies in each page, so that a lost or mixed-up one is seen."""

    def __init__(self, num_pages: int) -> None:
        self.content: list[bytes | None] = [None] * num_pages

    def move(self, source: int, target: int) -> None:
        self.content[target] = self.content[source]


def test_digests_cover_everything_before_and_only_full_pages() -> None:
    start = chain_start("tenant", None)
    one = digests([1, 2, 3, 4, 5], 2, start)
    assert len(one) == 2
    assert digests([1, 2, 3, 4], 2, start) == one
    assert digests([9, 2, 3, 4], 2, start)[1] != one[1]
    assert digests([1, 2, 3, 4, 5, 6], 2, start, known=one)[:2] == one


def test_tenants_and_adapters_never_share() -> None:
    starts = {
        chain_start(salt, adapter) for salt, adapter in (("", None), ("a", None), ("", "a"), ("a", "a"), ("", ""), ("aa", None))
    }
    assert len(starts) == 6


def test_a_released_page_is_found_again_until_it_is_given_up() -> None:
    store = Store(2)
    pages = Pages(2, store.move)
    page = pages.allocate()
    pages.register(page, b"x")
    pages.release(page)
    assert pages.find([b"x", b"y"]) == [page]
    assert (pages.available, pages.num_kept) == (2, 1)
    pages.take_up(page)
    assert pages.available == 1
    pages.release(page)
    first, second = pages.allocate(), pages.allocate()
    assert {first, second} == {0, 1}
    assert pages.find([b"x"]) == []
    pages.check([[first, second]])


def test_held_pages_stay_low_and_kept_content_moves_up() -> None:
    store = Store(6)
    pages = Pages(6, store.move)
    old = [pages.allocate() for _ in range(3)]
    for page in old:
        store.content[page] = bytes([page])
        pages.register(page, bytes([page]))
        pages.release(page)
    new = [pages.allocate() for _ in range(3)]
    assert new == [0, 1, 2], "what is decoded lies dense"
    assert [store.content[pages.find([bytes([page])])[0]] for page in old] == [b"\x00", b"\x01", b"\x02"]
    assert pages.num_moves == 3
    pages.check([new])


def test_what_was_used_longest_ago_goes_first() -> None:
    pages = Pages(3, lambda source, target: None)
    taken = [pages.allocate() for _ in range(3)]
    for page in taken:
        pages.register(page, bytes([page]))
    for page in (1, 0, 2):
        pages.release(page)
    pages.allocate()
    assert not pages.find([b"\x01"])
    assert pages.find([b"\x00"]) and pages.find([b"\x02"])


def test_two_of_a_kind_keep_the_first() -> None:
    pages = Pages(3, lambda source, target: None)
    first, second = pages.allocate(), pages.allocate()
    pages.register(first, b"x")
    pages.register(second, b"x")
    assert pages.find([b"x"]) == [first]
    pages.release(second)
    assert pages.num_kept == 0
    pages.check([[first]])


def test_releasing_too_often_is_seen() -> None:
    pages = Pages(1, lambda source, target: None)
    page = pages.allocate()
    pages.release(page)
    with pytest.raises(AssertionError, match="more often"):
        pages.release(page)


def test_the_check_sees_a_leak() -> None:
    pages = Pages(2, lambda source, target: None)
    pages.allocate()
    with pytest.raises(AssertionError, match="references"):
        pages.check([])


def test_ten_thousand_random_operations_lose_and_mix_up_nothing() -> None:
    draw = random.Random(5)
    store = Store(24)
    pages = Pages(24, store.move)
    tables: list[list[int]] = []
    for step in range(10_000):
        roll = draw.random()
        if roll < 0.45 and pages.available:
            page = pages.allocate()
            mark = bytes([draw.randrange(40)])
            store.content[page] = mark
            if draw.random() < 0.6:
                pages.register(page, mark)
            tables.append([page])
        elif roll < 0.6:
            mark = bytes([draw.randrange(40)])
            for page in pages.find([mark]):
                assert store.content[page] == mark
                pages.take_up(page)
                tables.append([page])
        elif tables:
            for page in tables.pop(draw.randrange(len(tables))):
                pages.release(page)
        if step % 50 == 0:
            pages.check(tables)
    assert pages.num_moves > 20
    assert max(len(pages._lowest), len(pages._highest_blank)) <= 24, "the heaps stay as small as the pages are many"
