"""A decoder's parameters, operations and cache from its Shape alone. Exact where a number can be; sources stand beside each formula.

Legend: B rows, T positions, D width, H query heads, G key/value heads, K head width, F hidden width, V vocabulary, L layers.
Read `activations.py` next (what training keeps of each token), then `memory.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from lode.model.shape import Shape


def parameters(shape: Shape) -> dict[str, int]:
    """Number of parameters by part; their sum is what `Decoder(shape)` has. A tied head has none of its own."""
    wide, narrow = shape.heads * shape.head_width, shape.groups * shape.head_width
    attention = shape.width * (wide + 2 * narrow) + wide * shape.width
    attention += shape.bias_qkv * (wide + 2 * narrow) + shape.bias_out * shape.width
    one_norm = shape.width * (2 if shape.norm == "layer" else 1)
    norms = one_norm * (4 if shape.post_norms else 2) + shape.qk_norm * 2 * shape.head_width
    return {
        "embedding": shape.vocabulary * shape.width,
        "positions": shape.context * shape.width if shape.positions == "learned" else 0,
        "attention": shape.layers * attention,
        "mlp": shape.layers * _mlp(shape),
        "norms": shape.layers * norms + one_norm,
        "head": 0 if shape.tied else shape.vocabulary * shape.width,
    }


def multiplied(shape: Shape) -> int:
    """Parameters that each token is multiplied with: the embedding is only looked up, the head counts also where it is tied.

    Of experts only those that a token uses (PaLM, Chowdhery 2022, arXiv 2204.02311, appendix B, counts likewise).
    """
    return shape.layers * _layer_products(shape) + shape.vocabulary * shape.width


def forward_flops(shape: Shape, length: int) -> float:
    """Floating-point operations of one token's forward pass in rows of `length` tokens; a multiply and an add are two.

    2 N + 4 L H K T: each weight once, each query with every key and every score with every value. The causal half is not taken off, as
    in PaLM's appendix B, nanoGPT's `estimate_mfu` and torchtitan: a share of the peak means the same everywhere then. Layers that look
    back a window get no discount either, because torch's kernels compute all scores and mask them.
    """
    return 2.0 * multiplied(shape) + 4.0 * shape.layers * shape.heads * shape.head_width * length


def training_flops(shape: Shape, length: int, recompute: bool = False, trained: float = 1.0) -> float:
    """Of one trained token: forward, and twice as much back (PaLM, appendix B: 6 N + 12 L H K T).

    recompute: activation checkpointing runs every block's forward pass again (Chen 2016, arXiv 1604.06174). trained: share of the
    weights that learn; where the others are frozen (adapters) their own gradient, a third of the work, is not computed.
    """
    forward = forward_flops(shape, length)
    attention = 4.0 * shape.layers * shape.heads * shape.head_width * length
    products = forward - attention
    again = 2.0 * shape.layers * _layer_products(shape) + attention if recompute else 0.0
    return products * (2.0 + trained) + 3.0 * attention + again


def decoding_flops(shape: Shape, context: int) -> float:
    """Of one generated token with `context` tokens before it in the cache: 2 N + 4 L H K context, less where layers look back a window."""
    seen = sum(min(context, shape.window or context) if _is_local(shape, layer) else context for layer in range(shape.layers))
    return 2.0 * multiplied(shape) + 4.0 * shape.heads * shape.head_width * seen


def cache_bytes(shape: Shape, number_bytes: int = 2) -> int:
    """Bytes of one token's keys and values in all layers: 2 L G K numbers (Pope 2022, arXiv 2211.05102, section 2)."""
    return 2 * shape.layers * shape.groups * shape.head_width * number_bytes


def adapter_parameters(shape: Shape, rank: int, targets: tuple[str, ...], dora: bool = False) -> int:
    """Of LoRA on these layers (q, k, v, out, gate, up, down): rank * (in + out) each (Hu 2021, arXiv 2106.09685); DoRA adds one
    magnitude for each output (Liu 2024, arXiv 2402.09353).
    """
    sizes = linear_sizes(shape)
    return shape.layers * sum(rank * (sizes[name][0] + sizes[name][1]) + dora * sizes[name][1] for name in targets if name in sizes)


def linear_sizes(shape: Shape) -> Mapping[str, tuple[int, int]]:
    """Inputs and outputs of the linear layers of one block, experts left out."""
    wide, narrow = shape.heads * shape.head_width, shape.groups * shape.head_width
    sizes = {"q": (shape.width, wide), "k": (shape.width, narrow), "v": (shape.width, narrow), "out": (wide, shape.width)}
    if not shape.experts:
        sizes |= {"up": (shape.width, shape.hidden), "down": (shape.hidden, shape.width)}
        sizes |= {"gate": (shape.width, shape.hidden)} if shape.gated else {}
    return sizes


def _mlp(shape: Shape) -> int:
    """Parameters of one layer's MLP, or of its experts and their router."""
    if shape.experts:
        return shape.experts * 3 * shape.width * shape.hidden + shape.width * shape.experts
    ups = 2 if shape.gated else 1
    return (ups + 1) * shape.width * shape.hidden + shape.bias_mlp * (ups * shape.hidden + shape.width)


def _layer_products(shape: Shape) -> int:
    """Weights of one layer that a token is multiplied with."""
    wide, narrow = shape.heads * shape.head_width, shape.groups * shape.head_width
    attention = shape.width * (wide + 2 * narrow) + wide * shape.width
    if shape.experts:
        return attention + shape.experts_used * 3 * shape.width * shape.hidden + shape.width * shape.experts
    return attention + (3 if shape.gated else 2) * shape.width * shape.hidden


def _is_local(shape: Shape, layer: int) -> bool:
    return bool(shape.local) and shape.local[layer]
