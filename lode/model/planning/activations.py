"""What a training step of a decoder keeps of each token until the way back, tensor by tensor, as `lode/model/language` computes it.

Korthikanti 2022 (arXiv 2205.05198, section 4) counts 34 s b h bytes for a GPT block with 16-bit activations, and 5 a s^2 b for its scores,
which flash attention never stores. Ours differs where our blocks do: the residual stream and the norms stay in float32, a gated MLP keeps
four tensors, and short rows in bfloat16 on a processor keep their scores. A test compares each case with what autograd saves.

Legend as in `decoder.py`; N tokens of the piece of a batch that goes through at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from lode.model.planning import decoder
from lode.model.shape import Shape

MOST_POSITIONS = 512
"""As in `lode/model/language/scores.py`."""
_WHOLE_LOGITS_BYTES, _RUN_BYTES, _RUN_BYTES_GPU, _LEAST_ROWS = 8 << 20, 8 << 20, 256 << 20, 256
"""As in `lode/model/language/loss.py`: logits up to the first are made at once, larger ones in runs of the others."""


@dataclass(frozen=True, slots=True)
class Step:
    """The piece of a batch that goes forward and back at once, on one device.

    rows, length: its tokens. half: bf16 or fp16 under autocast, weights in float32. gpu: torch's fused kernels of GPUs (dropout of
    attention needs no scores there, and masks of dropout are bytes). masked: several documents in a row.
    recompute: `train.checkpoint_activations`.
    """

    rows: int
    length: int
    half: bool = False
    gpu: bool = False
    masked: bool = False
    recompute: bool = False

    @property
    def tokens(self) -> int:
        return self.rows * self.length

    @property
    def number_bytes(self) -> int:
        """Of what products take and give."""
        return 2 if self.half else 4


def layer_bytes(shape: Shape, step: Step) -> float:
    """Kept by one block for all tokens of the piece."""
    norms = (4 if shape.post_norms else 2) * _norm(shape) + 2 * 4 * shape.width
    inputs = 2.0 * _input(shape, step)
    posts = 2 * 4 * shape.width if shape.post_norms else 0
    return step.tokens * (norms + posts + inputs + _attention(shape, step) + _mlp(shape, step) + 2 * _dropped(shape, step))


def kept_bytes(shape: Shape, step: Step) -> float:
    """Kept by all blocks, the embedding and the last norm; with `recompute` only what goes into each block."""
    tokens = step.tokens
    blocks = shape.layers * (4.0 * tokens * shape.width if step.recompute else layer_bytes(shape, step))
    last = _norm(shape) + 4 * shape.width + _input(shape, step)
    ends = tokens * (8 + last + (_dropped(shape, step, embedding=True)))
    return blocks + ends + mask_bytes(shape, step)


def mask_bytes(shape: Shape, step: Step) -> float:
    """Of the masks that all layers share: a square of scores for each row where documents share it, one in all for windows."""
    if _holds_scores(shape, step):
        return 0.0  # nothing keeps it for the way back
    square = float(step.length) ** 2 * step.number_bytes
    windows = any(shape.local) and (shape.window or step.length) < step.length
    kinds = (
        len({bool(local) for local in shape.local} or {False}) if step.masked else int(windows) + int(bool(shape.softcap_scores))
    )
    return kinds * square * (step.rows if step.masked else 1)


def cast_bytes(shape: Shape, step: Step) -> float:
    """Copies of the weights in 16 bits, which autograd keeps until the way back."""
    if not step.half:
        return 0.0
    experts = shape.experts - shape.experts_used if shape.experts else 0
    unused = shape.layers * experts * 3 * shape.width * shape.hidden
    return 2.0 * (decoder.multiplied(shape) + unused)


def head_bytes(shape: Shape, step: Step) -> tuple[float, float]:
    """Of the loss: what it holds between forward and back, and what its way back needs on top. Logits whole, or in runs.

    In runs both gradients are made on the way forward (Hsu 2024, arXiv 2410.10989): those of the hidden states and of the head, which
    the way back multiplies once more.
    """
    logits = 4.0 * step.tokens * shape.vocabulary
    if logits <= _WHOLE_LOGITS_BYTES:
        return logits, 2.0 * logits + (logits if step.half else 0.0)
    weights = 4.0 * shape.vocabulary * shape.width
    hidden = float(step.tokens * shape.width)
    return hidden * step.number_bytes + weights, weights + 2.0 * 4.0 * hidden


def run_bytes(shape: Shape, step: Step) -> float:
    """Of one run of logits on the way forward: as they come, in float32, their probabilities, and back in the products' type."""
    most = _RUN_BYTES_GPU if step.gpu else _RUN_BYTES
    logits = 4.0 * step.tokens * shape.vocabulary
    if logits <= _WHOLE_LOGITS_BYTES:
        return logits * (2.0 if step.half else 1.0)
    rows = min(step.tokens, max(_LEAST_ROWS, most // (4 * shape.vocabulary)))
    capped = 8.0 if shape.softcap_logits else 0.0  # two more on the way through the cap, and back
    return rows * shape.vocabulary * (4.0 + 4.0 + capped + 2.0 * step.number_bytes)


def back_bytes(shape: Shape, step: Step) -> float:
    """What one block needs on its way back on top of what is kept: gradients of its widest part, the MLP's."""
    return step.tokens * (2 * 4.0 * shape.width + (3.0 if shape.gated else 2.0) * step.number_bytes * _wide(shape))


def widest_bytes(shape: Shape, step: Step) -> float:
    """The widest activation of a block: the MLP's, or all scores where they are stored."""
    stored = _holds_scores(shape, step) or shape.softcap_scores or (shape.dropout and not step.gpu)
    return float(step.tokens * step.number_bytes * max(_wide(shape), shape.heads * step.length if stored else 0))


def judged_bytes(shape: Shape, step: Step, tokens: int) -> float:
    """Of a look at so many validation tokens, which has no way back: the residual stream thrice, one block's widest part, and a run of
    logits.
    """
    if not tokens:
        return 0.0
    attention = 2.0 * shape.heads * shape.head_width + 2.0 * shape.groups * shape.head_width
    mlp = (3.0 if shape.gated else 2.0) * _wide(shape)
    return tokens * (3 * 4.0 * shape.width + step.number_bytes * max(attention, mlp)) + run_bytes(shape, step)


def _wide(shape: Shape) -> int:
    """Numbers per token inside the MLP, of all experts that are used."""
    return shape.hidden * (shape.experts_used if shape.experts else 1)


def _norm(shape: Shape) -> float:
    """Per token, its input left out: mean and rate, or the rate alone."""
    return 8.0 if shape.norm == "layer" else 4.0


def _input(shape: Shape, step: Step) -> float:
    """Per token, what the linear layers behind a norm read."""
    return float(step.number_bytes * shape.width)


def _holds_scores(shape: Shape, step: Step) -> bool:
    """Whether attention goes the way of `lode/model/language/scores.py`: short rows in bfloat16 on a processor."""
    return step.half and not step.gpu and step.length <= MOST_POSITIONS and not shape.softcap_scores and not shape.dropout


def _attention(shape: Shape, step: Step) -> float:
    """Per token: queries, keys, values, what the heads give, and the sums of the softmax, or all scores where a kernel stores them."""
    size, heads = step.number_bytes, shape.heads
    wide, narrow = heads * shape.head_width, shape.groups * shape.head_width
    normed = sum(4.0 * width + 4.0 * count for width, count in ((wide, heads), (narrow, shape.groups))) if shape.qk_norm else 0.0
    if shape.softcap_scores:
        return normed + size * 4.0 * wide + heads * step.length * (8.0 if not step.half else 4.0 + 2.0 + 2.0)
    if shape.dropout and not step.gpu:
        return normed + 4.0 * 3 * wide + size * wide + heads * step.length * 12.0
    scores = 2.0 * heads * step.length if _holds_scores(shape, step) else 4.0 * heads
    return normed + size * (2.0 * wide + 2.0 * narrow) + scores


def _mlp(shape: Shape, step: Step) -> float:
    """Per token: what goes into and comes out of the activation, and its product; of experts for each one used, and the routing."""
    size = step.number_bytes
    if not shape.experts:
        return size * shape.hidden * (4.0 if shape.gated else 2.0)
    used = shape.experts_used
    routing = 4.0 * shape.experts + 4.0 + used * (8.0 * 4 + 4.0 + size)
    return routing + used * size * (2.0 * shape.width + 4.0 * shape.hidden)


def _dropped(shape: Shape, step: Step, embedding: bool = False) -> float:
    """Per token and dropout: its mask, a byte each on GPUs, else as wide as what it falls on."""
    if not shape.dropout:
        return 0.0
    return shape.width * (1.0 if step.gpu else 4.0 if embedding else float(step.number_bytes))
