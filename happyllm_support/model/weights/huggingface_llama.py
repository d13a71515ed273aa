"""LLaMA in Hugging Face's folders: config.json with its two spellings of rotary
scaling, and the names of the tensors.

Source: names and fields as in `transformers`' LlamaConfig and LlamaForCausalLM; before
version 5 `rope_theta` and `rope_scaling` (with "type", later "rope_type"), since then
one object `rope_parameters`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

from happyllm_support.model.llama2 import Llama2Config
from happyllm_support.model.positions import RopeScaling
from happyllm_support.model.weights.config_fields import ConfigFields
from happyllm_support.model.weights.tensor_layout import Layout, Stored

_PREFIX = "model."
# Frequencies of rotary positions, which old checkpoints keep in every layer.
_BUFFERS = re.compile(r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq")
_YARN = ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim")


def llama2_config(fields: ConfigFields) -> Llama2Config:
    """Read config.json.

    Args:
        fields: the file; its `attention_dropout` is not taken over, it belongs to a
            training run.

    Raises:
        ValueError: a field that is missing, not what it should be, or of a kind of
            LLaMA that we have not.
    """
    d_model, n_head = (
        fields.integer("hidden_size"),
        fields.integer("num_attention_heads"),
    )
    fields.require("hidden_act", "silu", "swish")
    fields.require("quantization_config", None)
    if fields.has("head_dim") and fields.integer("head_dim") * n_head != d_model:
        raise fields.error(
            "head_dim",
            f"supported is hidden_size / num_attention_heads = {d_model} / {n_head}",
        )
    theta, scaling, max_seq_len = _rope(fields)
    with fields.naming_the_file():
        return Llama2Config(
            vocab_size=fields.integer("vocab_size"),
            max_seq_len=max_seq_len,
            n_layer=fields.integer("num_hidden_layers"),
            n_head=n_head,
            n_kv_head=fields.integer("num_key_value_heads", n_head),
            d_model=d_model,
            d_ff=fields.integer("intermediate_size"),
            rope_theta=theta,
            rope_scaling=scaling,
            norm_eps=fields.number("rms_norm_eps", 1e-6),
            attention_bias=fields.flag("attention_bias", False),
            mlp_bias=fields.flag("mlp_bias", False),
            tie_embeddings=fields.flag("tie_word_embeddings", False),
            init_std=fields.number("initializer_range", 0.02),
        )


def llama2_fields(config: Llama2Config) -> dict[str, Any]:
    """The fields of config.json that `transformers`, of version 4 or 5, needs; begin
    and end tokens are not known.
    """
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_kv_head,
        "head_dim": config.d_model // config.n_head,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "tie_word_embeddings": config.tie_embeddings,
        "initializer_range": config.init_std,
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "eos_token_id": None,
        **_rope_fields(config),
    }


def _rope(fields: ConfigFields) -> tuple[float, RopeScaling | None, int]:
    """Base, scaling and the longest sequence; where both spellings are there, the older
    wins, as in `transformers`.
    """
    rope = (
        fields.mapping("rope_scaling")
        or fields.mapping("rope_parameters")
        or ConfigFields(fields.path, {})
    )
    rope.require("partial_rotary_factor", 1.0)
    theta = rope.number("rope_theta", fields.number("rope_theta", 10000.0))
    limit = fields.integer("max_position_embeddings", 2048)
    kind = rope.text("rope_type", rope.text("type", "default"))
    if kind == "default":
        return theta, None, limit
    if kind not in ("linear", "dynamic", "yarn"):
        raise ValueError(
            f"{fields.path}: RoPE scaling is {kind!r}; expected default, linear, "
            "dynamic or yarn"
        )
    original = (
        limit  # of `dynamic` that is what transformers takes, whatever else is said
    )
    if kind == "yarn":
        original = fields.integer(
            "original_max_position_embeddings",
            rope.integer("original_max_position_embeddings", limit),
        )
    elif kind == "linear":
        original = fields.integer("original_max_seq_len", limit)
    factor = rope.number("factor", limit / original if kind == "yarn" else None)
    yarn = {
        name: rope.number(name) for name in _YARN if kind == "yarn" and rope.has(name)
    }
    with fields.naming_the_file():
        scaling = RopeScaling(
            kind=kind,
            factor=factor,
            original_max_seq_len=original,
            truncate=kind != "yarn" or rope.flag("truncate", True),
            **yarn,
        )
    if (
        kind == "dynamic"
    ):  # there the limit is the length from which on frequencies change
        limit = fields.integer("max_seq_len", int(limit * factor))
    return theta, scaling, limit


def _rope_fields(config: Llama2Config) -> dict[str, Any]:
    """Both spellings; `max_seq_len` and `original_max_seq_len` are ours, where the
    others have no place.
    """
    scaling, theta = config.rope_scaling, config.rope_theta
    rope: dict[str, Any] = {"rope_type": "default"}
    more: dict[str, Any] = {"max_position_embeddings": config.max_seq_len}
    if (
        scaling is not None and scaling.kind == "ntk"
    ):  # which is another base, and transformers has no name for it
        head_dim = config.d_model // config.n_head
        theta *= scaling.factor ** (head_dim / (head_dim - 2))
    elif scaling is not None:
        rope = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling is not None and scaling.kind == "linear":
        more["original_max_seq_len"] = scaling.original_max_seq_len
    if scaling is not None and scaling.kind == "dynamic":
        more = {
            "max_position_embeddings": scaling.original_max_seq_len,
            "max_seq_len": config.max_seq_len,
        }
    if scaling is not None and scaling.kind == "yarn":
        rope["original_max_position_embeddings"] = scaling.original_max_seq_len
        rope["truncate"] = scaling.truncate
        rope |= {
            name: getattr(scaling, name)
            for name in _YARN
            if getattr(scaling, name) is not None
        }
    old = None if rope["rope_type"] == "default" else rope
    return {
        **more,
        "rope_theta": theta,
        "rope_scaling": old,
        "rope_parameters": {**rope, "rope_theta": theta},
    }


def llama2_layout(config: Llama2Config) -> Layout:
    """The table of stored tensors."""
    names = {
        "tok_emb": f"{_PREFIX}embed_tokens",
        "final_norm": f"{_PREFIX}norm",
        "lm_head": "lm_head",
        "blocks": f"{_PREFIX}layers",
        "attn_norm": "input_layernorm",
        "mlp_norm": "post_attention_layernorm",
        **{f"attn.{part}_proj": f"self_attn.{part}_proj" for part in "qkvo"},
        **{f"mlp.{part}_proj": f"mlp.{part}_proj" for part in ("gate", "up", "down")},
    }
    return Layout(
        what=f"LLaMA with {config.n_layer} layers, d_model {config.d_model} and "
        f"{config.vocab_size:,} tokens",
        tensors=dict(llama2_rows(config, names)),
        canonical=lambda name: (
            name if name.startswith((_PREFIX, "lm_head.")) else _PREFIX + name
        ),
        ignored=_BUFFERS,
        head="lm_head.weight",
        embedding=f"{_PREFIX}embed_tokens.weight",
        tied=config.tie_embeddings,
    )


def llama2_rows(
    config: Llama2Config, names: dict[str, str], *, interleaved: bool = False
) -> Iterator[tuple[str, Stored]]:
    """Yield the table for any naming of the parts.

    Args:
        config: sizes.
        names: another program's name for each of our modules; those in a block without
            the block's.
        interleaved: whether the rows of queries and keys are in Meta's order.
    """
    c, v, d_ff, head_dim = (
        config.d_model,
        config.vocab_size,
        config.d_ff,
        config.d_model // config.n_head,
    )
    kv = config.n_kv_head * head_dim
    order = head_dim if interleaved else None
    linears: dict[str, tuple[int, int, bool]] = {
        "attn.q_proj": (c, c, config.attention_bias),
        "attn.k_proj": (kv, c, config.attention_bias),
        "attn.v_proj": (kv, c, config.attention_bias),
        "attn.o_proj": (c, c, config.attention_bias),
        "mlp.gate_proj": (d_ff, c, config.mlp_bias),
        "mlp.up_proj": (d_ff, c, config.mlp_bias),
        "mlp.down_proj": (c, d_ff, config.mlp_bias),
    }
    yield (
        f"{names['tok_emb']}.weight",
        Stored(shape=(v, c), targets=("tok_emb.weight",)),
    )
    for i in range(config.n_layer):
        there, here = f"{names['blocks']}.{i}", f"blocks.{i}"
        for part in ("attn_norm", "mlp_norm"):
            yield (
                f"{there}.{names[part]}.weight",
                Stored(shape=(c,), targets=(f"{here}.{part}.weight",)),
            )
        for part, (d_out, d_in, bias) in linears.items():
            shapes = (
                {"weight": (d_out, d_in), "bias": (d_out,)}
                if bias
                else {"weight": (d_out, d_in)}
            )
            for kind, shape in shapes.items():
                yield (
                    f"{there}.{names[part]}.{kind}",
                    Stored(
                        shape=cast("tuple[int, ...]", shape),
                        targets=(f"{here}.{part}.{kind}",),
                        head_dim=order
                        if part in ("attn.q_proj", "attn.k_proj")
                        else None,
                    ),
                )
    yield (
        f"{names['final_norm']}.weight",
        Stored(shape=(c,), targets=("final_norm.weight",)),
    )
    if not config.tie_embeddings:
        yield (
            f"{names['lm_head']}.weight",
            Stored(shape=(v, c), targets=("lm_head.weight",)),
        )
