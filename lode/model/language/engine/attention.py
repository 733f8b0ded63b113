"""Queries of one step meet the pages of their sequences: decoding of all sequences at once, new pieces of prompts one by one.

Legend: N tokens of the step, D of them decoding (one for each sequence; they come first), C pairs of a sequence and a page, P pages,
G key/value heads, R query heads for each of them, O positions of a page, K head width, T new tokens of a prompt.

Decoding is bound by memory, so it must not copy keys and values. Each page is one small product with the query of the sequence that owns
it, and what the pages of a sequence give is added up with the weights of one softmax (split keys, as in Flash-Decoding, Dao 2023). The
dense beginning of the cache is read where it lies, pages of nobody included; pages beyond it, and those that several sequences share,
are copied first. Nothing is padded to the longest sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from lode.model.language.contracts import Look
from lode.model.language.engine.cache import Cache

_WORTH_WALKING = 0.6
"""Share of pages in use from which on reading all of them costs less than copying those in use (a copy reads, writes and reads)."""


_BLOCK_SCORES = 1 << 19
"""Scores that are held at a time: they stay in the processor's cache (bfloat16, 226 new tokens behind 9,774, one layer: 62 ms, all
at once 137 ms; 256 behind 1,024: 5 and 11 ms)."""
_LEAST_BLOCK_ROWS = 16
"""New tokens of a block: every block reads all keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """New tokens of one prompt. begin: tokens that the cache has already; pages: of the sequence, up to begin + length."""

    begin: int
    length: int
    pages: np.ndarray


class Decoding:
    """Which page belongs to which decoding sequence, ready for the device.

    Args:
        table_DP: int64, pages of each sequence.
        length_D: int64, positions of each that its query sees, its own included.
        page_tokens: O.
        device: Where the tensors go.
    """

    def __init__(self, table_DP: np.ndarray, length_D: np.ndarray, page_tokens: int, device: torch.device) -> None:
        count_D = (length_D + page_tokens - 1) // page_tokens
        owner_C = np.repeat(np.arange(len(length_D)), count_D)
        order_C = np.arange(len(owner_C)) - np.repeat(np.cumsum(count_D) - count_D, count_D)
        page_C = table_DP[owner_C, order_C]
        self.num_walked, is_walked_C = _walk(page_C)
        owner_P = np.full(self.num_walked, len(length_D))  # nobody: what comes out for this row is thrown away
        first_P = np.zeros(self.num_walked, dtype=np.int64)
        owner_P[page_C[is_walked_C]], first_P[page_C[is_walked_C]] = owner_C[is_walked_C], order_C[is_walked_C] * page_tokens
        rest = ~is_walked_C
        owner_C = np.concatenate((owner_P, owner_C[rest]))
        first_C = np.concatenate((first_P, order_C[rest] * page_tokens))
        seen_C = np.append(length_D, page_tokens)[owner_C] - first_C
        packed = np.stack((owner_C, np.minimum(owner_C, len(length_D) - 1), seen_C))
        self.owner_C, self.query_C, self.seen_C = torch.from_numpy(packed).to(device)
        self.has_strangers = len(page_C) < len(owner_C)
        self._copied_E = torch.from_numpy(page_C[rest]).to(device) if rest.any() else None
        self.page_tokens = page_tokens
        self._masks: dict[int | None, torch.Tensor] = {}

    def copied(self, pages_P: torch.Tensor) -> torch.Tensor:
        """The pages that are not read where they lie, (E, ...)."""
        return pages_P[:0] if self._copied_E is None else pages_P.index_select(0, self._copied_E)

    def mask(self, window: int | None) -> torch.Tensor:
        """0 where a query sees a position, else minus infinity, float32 (C, 1, O)."""
        found = self._masks.get(window)
        if found is None:
            behind_CO = self.seen_C[:, None] - torch.arange(1, self.page_tokens + 1, device=self.seen_C.device)
            is_seen = behind_CO >= 0 if window is None else (behind_CO >= 0) & (behind_CO < window)
            found = torch.zeros(is_seen.shape, device=is_seen.device).masked_fill_(~is_seen, float("-inf"))[:, None]
            self._masks[window] = found
        return found


def _walk(page_C: np.ndarray) -> tuple[int, np.ndarray]:
    """How many pages are read from the beginning of the cache as they lie, and which of the pairs are found there.

    The longest beginning of which a share of `_WORTH_WALKING` is in use; of pairs that share a page, the first one.
    """
    page_U, first_U = np.unique(page_C, return_index=True)
    dense = np.flatnonzero(np.arange(1, len(page_U) + 1) >= _WORTH_WALKING * (page_U + 1))
    num_used = int(dense[-1]) + 1 if len(dense) else 0
    is_walked_C = np.zeros(len(page_C), dtype=bool)
    is_walked_C[first_U[:num_used]] = True
    return (int(page_U[num_used - 1]) + 1 if num_used else 0), is_walked_C


class PagedAttend:
    """`Attend` over the cache, for one step. Tokens are rows of one position: (N, 1, heads, K).

    Args:
        cache: Where keys and values of the step are written, and all of them read.
        place_2N: Where keys and values of each token go: int64, its page and its position there.
        decoding: None where no sequence decodes.
        pieces: Of prompts, in the order of their tokens, after the decoding ones.
        num_decoding: D.
    """

    def __init__(
        self, cache: Cache, place_2N: torch.Tensor, decoding: Decoding | None, num_decoding: int, pieces: list[Piece]
    ) -> None:
        self._cache, self._decoding, self._num_decoding = cache, decoding, num_decoding
        self._page_N, self._at_N = place_2N
        self._pieces = [PieceAttend(cache, piece, place_2N.device) for piece in pieces]

    def __call__(self, layer: int, q_BTHK: torch.Tensor, k_BTGK: torch.Tensor, v_BTGK: torch.Tensor, look: Look) -> torch.Tensor:
        q_NHK, k_NGK, v_NGK = q_BTHK.squeeze(1), k_BTGK.squeeze(1), v_BTGK.squeeze(1)
        k_PGOK, v_PGKO = self._cache.layers[layer]
        k_PGOK[self._page_N, :, self._at_N] = k_NGK
        v_PGKO[self._page_N, :, :, self._at_N] = v_NGK
        made, at = [], self._num_decoding
        if self._decoding is not None:
            made.append(decode(q_NHK[:at], k_PGOK, v_PGKO, self._decoding, look))
        for piece in self._pieces:
            to = at + piece.length
            made.append(piece(layer, q_NHK[at:to], k_NGK[at:to], v_NGK[at:to], look))
            at = to
        return (made[0] if len(made) == 1 else torch.cat(made)).unsqueeze(1)


def decode(q_DHK: torch.Tensor, k_PGOK: torch.Tensor, v_PGKO: torch.Tensor, plan: Decoding, look: Look) -> torch.Tensor:
    """One query for each sequence over all its pages, (D, H, K). X below: C G, products of one page and head."""
    (num, heads, width), groups = q_DHK.shape, k_PGOK.shape[1]
    q_XRK = q_DHK.index_select(0, plan.query_C).view(-1, heads // groups, width)
    scores_CHO = _scores(q_XRK, k_PGOK, plan, look).reshape(-1, heads, plan.page_tokens)
    # The mask comes after the products: as what they start from it would be written out in full first, which takes as long as they do
    scores_CHO = torch.add(plan.mask(look.window), scores_CHO, alpha=look.scale if look.softcap is None else look.softcap)
    if num == 1 and not plan.has_strangers:
        weight_HY = functional.softmax(scores_CHO.transpose(0, 1).flatten(1), dim=-1)
        weight_CHO = weight_HY.view(heads, -1, plan.page_tokens).transpose(0, 1)
        return _over_values(weight_CHO, v_PGKO, plan).sum(0, keepdim=True).to(q_DHK.dtype)
    owner_C, best_CH = plan.owner_C, scores_CHO.amax(-1)
    best_DH = best_CH.new_full((num + 1, heads), float("-inf")).scatter_reduce_(
        0, owner_C[:, None].expand(-1, heads), best_CH, "amax"
    )
    weight_CHO = scores_CHO.sub_(best_DH.index_select(0, owner_C)[:, :, None]).exp_()
    sum_DH = best_CH.new_zeros((num + 1, heads)).index_add_(0, owner_C, weight_CHO.sum(-1))
    made_DHK = best_CH.new_zeros((num + 1, heads, width)).index_add_(0, owner_C, _over_values(weight_CHO, v_PGKO, plan))
    return (made_DHK / sum_DH[:, :, None])[:num].to(q_DHK.dtype)


def _scores(q_XRK: torch.Tensor, k_PGOK: torch.Tensor, plan: Decoding, look: Look) -> torch.Tensor:
    """Products of queries and keys (X, R, O); where scores are capped, their hyperbolic tangents."""
    scores_XRO = _through_pages(q_XRK, k_PGOK, plan)
    return scores_XRO if look.softcap is None else scores_XRO.float().mul_(look.scale / look.softcap).tanh_()


def _over_values(weight_CHO: torch.Tensor, v_PGKO: torch.Tensor, plan: Decoding) -> torch.Tensor:
    """What each page adds to its owner, float32 (C, H, K)."""
    (num, heads, size), groups = weight_CHO.shape, v_PGKO.shape[1]
    weight_XRO = weight_CHO.to(v_PGKO.dtype).reshape(-1, heads // groups, size)
    return _through_pages(weight_XRO, v_PGKO, plan).reshape(num, heads, -1).float()


def _through_pages(rows_XRY: torch.Tensor, pages_PGZY: torch.Tensor, plan: Decoding) -> torch.Tensor:
    """Rows times the transposed page and head that they belong to, (X, R, Z)."""
    at = plan.num_walked * pages_PGZY.shape[1]
    made = [
        _times(rows_XRY[chosen], pages.flatten(0, 1))
        for pages, chosen in ((pages_PGZY[: plan.num_walked], slice(0, at)), (plan.copied(pages_PGZY), slice(at, None)))
        if len(pages)
    ]
    return made[0] if len(made) == 1 else torch.cat(made)


def _times(rows_XRY: torch.Tensor, page_XZY: torch.Tensor) -> torch.Tensor:
    """Rows times the transposed page, (X, R, Z); of float32 on processors page times rows (800 pages, two rows: 580 us, not 880)."""
    if rows_XRY.dtype == torch.float32 and rows_XRY.device.type == "cpu":
        return torch.bmm(page_XZY, rows_XRY.transpose(1, 2)).transpose(1, 2)
    return torch.bmm(rows_XRY, page_XZY.transpose(1, 2))


class PieceAttend:
    """New tokens of one prompt over themselves and what the cache has of it."""

    def __init__(self, cache: Cache, piece: Piece, device: torch.device) -> None:
        self.length = piece.length
        self._cache, self._begin, self._device = cache, piece.begin, device
        self._pages = torch.from_numpy(piece.pages).to(device)
        self._masks: dict[int | None, torch.Tensor] = {}

    def __call__(self, layer: int, q_THK: torch.Tensor, k_TGK: torch.Tensor, v_TGK: torch.Tensor, look: Look) -> torch.Tensor:
        q_HTK = q_THK.transpose(0, 1)
        if not self._begin:
            k_GTK, v_GTK = k_TGK.transpose(0, 1), v_TGK.transpose(0, 1)
        else:
            first = self._first_page(look.window)
            end = self._begin + self.length - first * self._cache.page_tokens
            k_PGOK, v_PGKO = (cache.index_select(0, self._pages[first:]) for cache in self._cache.layers[layer])
            k_GTK, v_GTK = (pages.transpose(0, 1).flatten(1, 2)[:, :end] for pages in (k_PGOK, v_PGKO.transpose(2, 3)))
        if look.softcap is not None or (q_HTK.dtype == torch.bfloat16 and q_HTK.device.type == "cpu" and self.length > 1):
            # Torch's kernel knows no softcap, and for bfloat16 on processors it takes twice the time of plain products
            mask_TX = self._mask(look.window)
            rows = max(_LEAST_BLOCK_ROWS, _BLOCK_SCORES // (q_HTK.shape[0] * mask_TX.shape[1]))
            blocks = zip(q_HTK.split(rows, dim=1), mask_TX.split(rows), strict=True)
            made_HTK = torch.cat([_plain(q, k_GTK, v_GTK, look, mask) for q, mask in blocks], dim=1)
        else:
            is_cut = look.window is not None and look.window < self._begin + self.length
            mask = self._mask(look.window).to(q_HTK.dtype) if is_cut or (self._begin and self.length > 1) else None
            made_HTK = functional.scaled_dot_product_attention(
                q_HTK[None], k_GTK[None], v_GTK[None], mask, is_causal=mask is None and self.length > 1, scale=look.scale,
                enable_gqa=q_HTK.shape[0] != k_GTK.shape[0],
            )[0]  # fmt: skip
        return made_HTK.transpose(0, 1)

    def _first_page(self, window: int | None) -> int:
        return 0 if window is None else max(0, self._begin - window + 1) // self._cache.page_tokens

    def _mask(self, window: int | None) -> torch.Tensor:
        """0 where seen, else minus infinity, float32 (T, positions of the pages from the first one that is seen)."""
        found = self._masks.get(window)
        if found is None:
            first = self._first_page(window) * self._cache.page_tokens
            key = torch.arange(first, self._begin + self.length, device=self._device)
            behind = torch.arange(self._begin, self._begin + self.length, device=self._device)[:, None] - key
            is_seen = behind >= 0 if window is None else (behind >= 0) & (behind < window)
            found = torch.zeros(is_seen.shape, device=self._device).masked_fill_(~is_seen, float("-inf"))
            self._masks[window] = found
        return found


def _plain(q_HTK: torch.Tensor, k_GTK: torch.Tensor, v_GTK: torch.Tensor, look: Look, mask_TX: torch.Tensor) -> torch.Tensor:
    """Attention in two products, the softmax in float32, (H, T, K)."""
    heads, length, width = q_HTK.shape
    q_GXK = (q_HTK * look.scale).reshape(k_GTK.shape[0], -1, width)
    scores = torch.matmul(q_GXK, k_GTK.transpose(1, 2)).view(heads, length, -1).float()
    if look.softcap is not None:
        scores = look.softcap * torch.tanh(scores / look.softcap)
    weights = functional.softmax(scores + mask_TX, dim=-1).to(v_GTK.dtype)
    return torch.matmul(weights.view(k_GTK.shape[0], -1, weights.shape[-1]), v_GTK).view(heads, length, width)
