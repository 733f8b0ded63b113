"""The names of weights in Hugging Face's checkpoints and in `Decoder`, both ways, and what a config.json says that lode does not build.

Architectures (lode/model/architectures) say their names here as data; what differs in layout they do themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lode.core.errors import ArtifactError, ModelError, listed, near_miss
from lode.model.language.contracts import Shape
from lode.model.language.decoder import Decoder

LLAMA_LAYER: Mapping[str, str] = {
    "attention_norm": "input_layernorm",
    "attention.q": "self_attn.q_proj",
    "attention.k": "self_attn.k_proj",
    "attention.v": "self_attn.v_proj",
    "attention.out": "self_attn.o_proj",
    "attention.q_norm": "self_attn.q_norm",
    "attention.k_norm": "self_attn.k_norm",
    "mlp_norm": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}
GEMMA_LAYER: Mapping[str, str] = {
    **LLAMA_LAYER,
    "attention_post_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "mlp_post_norm": "post_feedforward_layernorm",
}
LLAMA_OUTSIDE: Mapping[str, str] = {"embed": "model.embed_tokens", "norm": "model.norm", "unembed": "lm_head"}


@dataclass(frozen=True, slots=True)
class Names:
    """Ours to theirs, without `.weight` and `.bias`. layer: within a layer; outside: the rest; stem: what stands before a layer's number.

    optional: a prefix that some checkpoints leave out. ignored: ends of names that hold nothing learned.
    """

    layer: Mapping[str, str]
    outside: Mapping[str, str]
    stem: str = "model.layers"
    optional: str = "model."
    ignored: tuple[str, ...] = (".rotary_emb.inv_freq",)

    def theirs(self, name: str) -> str:
        """Their name of one of our weights, or of a layer (`layers.3.attention.q`, as adapters name them)."""
        stem, dot, end = name.rpartition(".")
        if end not in ("weight", "bias"):
            stem, dot, end = name, "", ""
        if stem in self.outside:
            return self.outside[stem] + dot + end
        _, number, inner = stem.split(".", 2)
        return f"{self.stem}.{number}.{self.layer[inner]}{dot}{end}"


LLAMA = Names(LLAMA_LAYER, LLAMA_OUTSIDE)
GEMMA = Names(GEMMA_LAYER, LLAMA_OUTSIDE)


def renamed(ours: Mapping[str, torch.Tensor], names: Names) -> dict[str, torch.Tensor]:
    """Our state under their names, layouts untouched."""
    return {names.theirs(name): tensor for name, tensor in ours.items()}


def named_back(theirs: Mapping[str, torch.Tensor], shape: Shape, names: Names) -> dict[str, torch.Tensor]:
    """Their state (checked already) under our names."""
    return {name: theirs[names.theirs(name)] for name in meta_state(shape)}


def meta_state(shape: Shape) -> dict[str, torch.Tensor]:
    """The decoder's state without memory: names and shapes only."""
    with torch.device("meta"):
        return dict(Decoder(shape).state_dict())


def checked(
    theirs: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], names: Names, tied: bool
) -> dict[str, torch.Tensor]:
    """Exactly the weights that are expected (names and shapes; may be on the meta device).

    Errors: ArtifactError naming weights that are missing, left over or misshapen.
    """
    found = {_full(name, expected, names): tensor for name, tensor in theirs.items() if not name.endswith(names.ignored)}
    if tied:
        found.pop("lm_head.weight", None)  # some write the embedding twice
    missing = sorted(expected.keys() - found.keys())
    over = sorted(found.keys() - expected.keys())
    wrong = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if missing or over or wrong:
        told = [f"missing: {listed(missing)}"] * bool(missing) + [f"left over: {listed(over)}"] * bool(over)
        told += [f"of another shape: {listed(wrong, 4)}"] * bool(wrong)
        raise ArtifactError(
            f"weights: found others than config.json says ({'; '.join(told)}), allowed are exactly its own. "
            "Take config.json and weights from one place."
        )
    return found


def _full(name: str, expected: Mapping[str, torch.Tensor], names: Names) -> str:
    return name if name in expected or names.optional + name not in expected else names.optional + name


def rotary_of(config: Mapping[str, Any], base: float) -> tuple[float, dict[str, Any]]:
    """Base and scaling, as a config.json of transformers 4 (`rope_theta`, `rope_scaling`) or 5 (`rope_parameters`) has them."""
    said = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    said.setdefault("rope_type", said.pop("type", "default"))
    found = float(said.pop("rope_theta", None) or config.get("rope_theta") or base)
    share = said.pop("partial_rotary_factor", None) or config.get("partial_rotary_factor") or 1.0
    if share != 1.0:
        raise ModelError(
            f"config.json: found partial_rotary_factor {share}, allowed is 1. lode turns whole heads only; choose other weights."
        )
    scaling = {key: value for key, value in said.items() if value is not None}
    return found, {} if scaling["rope_type"] == "default" else scaling


def rotary_to(base: float, scaling: Mapping[str, Any]) -> dict[str, Any]:
    """Config entries that transformers 4 and 5 both read."""
    return {"rope_theta": base, "rope_scaling": dict(scaling) or None}


def refuse(config: Mapping[str, Any], only: Mapping[str, tuple[Any, ...]]) -> None:
    """Errors: ModelError for the first key whose value is not among those that lode builds (absent keys pass)."""
    for key, allowed in {**only, "quantization_config": (None,)}.items():
        if key in config and config[key] not in allowed:
            words = ", ".join("none" if value is None else str(value) for value in allowed)
            near = near_miss(str(config[key]), [str(value) for value in allowed])
            raise ModelError(
                f"config.json: found {key}: {config[key]!r}, allowed: {words}.{near} lode does not build others; choose other weights."
            )


def layer_kinds(config: Mapping[str, Any], layers: int) -> tuple[bool, ...] | None:
    """`layer_types` as whether each layer looks back a window only; None where the config does not say.

    Errors: ModelError for other kinds of layers.
    """
    said = config.get("layer_types")
    if not said:
        return None
    odd = sorted(set(said) - {"sliding_attention", "full_attention"})
    if odd or len(said) != layers:
        raise ModelError(
            f"config.json: found layer_types {listed(odd) or len(said)}, allowed are sliding_attention and full_attention for each of "
            f"{layers} layers. Choose other weights."
        )
    return tuple(word == "sliding_attention" for word in said)


def layer_words(local: tuple[bool, ...]) -> list[str]:
    """What `layer_kinds` reads."""
    return ["sliding_attention" if one else "full_attention" for one in local]


def as_whole(number: float) -> int | float:
    """A whole number where it all but is one (config.json wants an int)."""
    return round(number) if abs(number - round(number)) < 1e-6 * abs(number) else number


def head_width_of(width: int, heads: int, head_width: int | None) -> int:
    """The given one, else width / heads. Errors: ModelError where that is no whole number."""
    if head_width is not None:
        return head_width
    if width % heads:
        raise ModelError(
            f"architecture.width: found {width} for {heads} heads, allowed is a multiple of the heads. Change one, or write head_width."
        )
    return width // heads


def hidden_of(width: int, ratio: float) -> int:
    """The width times `ratio`, rounded up to a multiple of 64 (of 8 below 64) so that matrix kernels run at full speed."""
    step = 64 if width >= 64 else 8
    return -(-round(ratio * width) // step) * step


def sizes(
    vocabulary: int, *, layers: int, heads: int, groups: int | None, width: int, head_width: int | None, hidden: int | None,
    ratio: float, context: int,
) -> dict[str, Any]:  # fmt: skip
    """The sizes of a `Shape`, what was left open filled in. ratio: of the hidden width to the width."""
    return {
        "vocabulary": vocabulary,
        "layers": layers,
        "heads": heads,
        "groups": heads if groups is None else groups,
        "width": width,
        "head_width": head_width_of(width, heads, head_width),
        "hidden": hidden_of(width, ratio) if hidden is None else hidden,
        "context": context,
    }


def gemma_shape(sizes: Mapping[str, Any], pattern: int, attention_width: float | None) -> dict[str, Any]:
    """What Gemma 2 and 3 have in common, beside the sizes."""
    return {
        **sizes,
        "norm_shift": 1.0,
        "post_norms": True,
        "activation": "gelu_tanh",
        "local": tuple(bool((layer + 1) % pattern) for layer in range(sizes["layers"])),
        "attention_scale": (attention_width or sizes["head_width"]) ** -0.5,
        "embedding_scale": sizes["width"] ** 0.5,
    }


def common_config(shape: Shape) -> dict[str, Any]:
    """The entries that all architectures with rotary positions share."""
    return {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.groups,
        "head_dim": shape.head_width,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.norm_eps,
        "tie_word_embeddings": shape.tied,
        "attention_dropout": shape.dropout,
        "initializer_range": 0.02,
        **no_special_tokens(),
        **rotary_to(shape.rotary_base, shape.rotary_scaling),
    }


def no_special_tokens() -> dict[str, Any]:
    """The tokenizer knows them; transformers' own defaults would name tokens that mean something else here."""
    return {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def common_options(config: Mapping[str, Any], *, base: float, tied: bool) -> dict[str, Any]:
    """The options that all architectures with rotary positions share. Errors: ModelError for a key that is missing."""
    needed = ("num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size")
    for key in needed:
        if not isinstance(config.get(key), int):
            raise ModelError(
                f"config.json: found {key}: {config.get(key)!r}, allowed is a whole number. Take the file that belongs to the weights."
            )
    rotary_base, scaling = rotary_of(config, base)
    return {
        "layers": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "groups": config.get("num_key_value_heads") or config["num_attention_heads"],
        "width": config["hidden_size"],
        "head_width": config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"],
        "hidden": config["intermediate_size"],
        "context": config.get("max_position_embeddings", 2048),
        "dropout": float(config.get("attention_dropout") or 0.0),
        "rotary_base": rotary_base,
        "rotary_scaling": scaling,
        "norm_eps": float(config.get("rms_norm_eps", 1e-6)),
        "tied": bool(config.get("tie_word_embeddings", tied)),
    }


def later_windows_config(shape: Shape) -> dict[str, Any]:
    """What config.json of Qwen says of windows: the first layers see everything, the others `window` positions."""
    if not any(shape.local):
        return {"use_sliding_window": False, "sliding_window": None}
    first, kinds = shape.local.index(True), layer_words(shape.local)
    return {"use_sliding_window": True, "sliding_window": shape.window, "max_window_layers": first, "layer_types": kinds}


def later_windows(config: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """`window` and `global_layers` from it. Errors: ModelError where layers change more than once."""
    local = layer_kinds(config, layers)
    if local is None and config.get("use_sliding_window"):
        local = tuple(layer >= config.get("max_window_layers", 28) for layer in range(layers))
    if not local or not any(local) or not config.get("sliding_window"):
        return {"window": None, "global_layers": 0}
    first = local.index(True)
    if not all(local[first:]):
        raise ModelError(
            "config.json: found layer_types that change more than once, allowed are first full_attention, then sliding_attention."
        )
    return {"window": config["sliding_window"], "global_layers": first}
