"""GPT-2 in Hugging Face's folders: config.json, the names of the tensors and what they
hold.

Its linear layers are `Conv1D`s, weights (in, out), and the projections of queries, keys
and values are one, `c_attn`.

Source: the released checkpoint, huggingface.co/openai-community/gpt2; names and fields
as in `transformers`' GPT2Config and GPT2LMHeadModel.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from happyllm_support.model.gpt2 import GPT2Config
from happyllm_support.model.weights.config_fields import ConfigFields
from happyllm_support.model.weights.tensor_layout import Layout, Stored

ACTIVATION_OF = {
    "gelu_new": "gelu_tanh",  # first: what is written for "gelu_tanh"
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
"""Our activation for Hugging Face's name."""

# The causal mask, which old checkpoints keep in every layer, and the number that it
# masked with.
_BUFFERS = re.compile(r"transformer\.h\.\d+\.attn\.(bias|masked_bias)")
_PREFIX = "transformer."


def gpt2_config(fields: ConfigFields) -> GPT2Config:
    """Read config.json.

    Args:
        fields: the file; its dropout rates are not taken over, they belong to a
            training run.

    Raises:
        ValueError: a field that is missing, not what it should be, or of a kind of
            GPT-2 that we have not.
    """
    name = fields.text("activation_function", "gelu_new")
    if name not in ACTIVATION_OF:
        raise fields.error(
            "activation_function", f"expected one of {', '.join(sorted(ACTIVATION_OF))}"
        )
    fields.require("add_cross_attention", False)
    fields.require("tie_word_embeddings", True)
    fields.require("quantization_config", None)
    with fields.naming_the_file():
        return GPT2Config(
            vocab_size=fields.integer("vocab_size"),
            max_seq_len=fields.integer("n_positions", 1024),
            n_layer=fields.integer("n_layer"),
            n_head=fields.integer("n_head"),
            d_model=fields.integer("n_embd"),
            d_ff=fields.integer("n_inner") if fields.has("n_inner") else None,
            norm_eps=fields.number("layer_norm_epsilon", 1e-5),
            activation=ACTIVATION_OF[name],
            init_std=fields.number("initializer_range", 0.02),
        )


def gpt2_fields(config: GPT2Config) -> dict[str, Any]:
    """The fields of config.json that `transformers` needs; it has no tokens for begin
    and end, which are not known.
    """
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.max_seq_len,
        "n_ctx": config.max_seq_len,
        "n_embd": config.d_model,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_inner": config.d_ff,
        "activation_function": next(
            name for name, ours in ACTIVATION_OF.items() if ours == config.activation
        ),
        "layer_norm_epsilon": config.norm_eps,
        "initializer_range": config.init_std,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def gpt2_layout(config: GPT2Config) -> Layout:
    """The table of stored tensors."""
    return Layout(
        what=f"GPT-2 with {config.n_layer} layers, d_model {config.d_model} and "
        f"{config.vocab_size:,} tokens",
        tensors=dict(_rows(config)),
        canonical=lambda name: (
            name if name.startswith((_PREFIX, "lm_head.")) else _PREFIX + name
        ),
        ignored=_BUFFERS,
        head="lm_head.weight",
        embedding="transformer.wte.weight",
        tied=True,
    )


def fold_attention_scale(
    fields: ConfigFields, parameters: dict[str, Tensor], config: GPT2Config
) -> None:
    """Honour two rarely used fields by scaling queries, so that the model itself has
    one scale, 1/sqrt(head_dim).

    `scale_attn_weights: false` leaves scores unscaled,
    `scale_attn_by_inverse_layer_idx: true` divides those of layer i (from 0) by i + 1.
    Scores are linear in q, so the same numbers come from a q_proj scaled by the ratio.

    Args:
        fields: config.json.
        parameters: the state dict, changed in place.
        config: the model's.
    """
    unscaled = not fields.flag("scale_attn_weights", True)
    by_layer = fields.flag("scale_attn_by_inverse_layer_idx", False)
    for i in range(config.n_layer):
        factor = (config.d_model / config.n_head) ** 0.5 if unscaled else 1.0
        factor /= i + 1 if by_layer else 1
        if factor != 1.0:
            for name in (
                f"blocks.{i}.attn.q_proj.weight",
                f"blocks.{i}.attn.q_proj.bias",
            ):
                parameters[name] = parameters[name] * factor


def _rows(config: GPT2Config) -> Iterator[tuple[str, Stored]]:
    c, d_ff = config.d_model, config.mlp_width
    yield (
        f"{_PREFIX}wte.weight",
        Stored(shape=(config.vocab_size, c), targets=("tok_emb.weight",)),
    )
    yield (
        f"{_PREFIX}wpe.weight",
        Stored(shape=(config.max_seq_len, c), targets=("pos_emb.weight",)),
    )
    for i in range(config.n_layer):
        there, here = f"{_PREFIX}h.{i}", f"blocks.{i}"
        yield from _norm(f"{there}.ln_1", f"{here}.attn_norm", c)
        qkv = [f"{here}.attn.{part}_proj" for part in "qkv"]
        yield from _conv1d(f"{there}.attn.c_attn", qkv, c, 3 * c)
        yield from _conv1d(f"{there}.attn.c_proj", [f"{here}.attn.o_proj"], c, c)
        yield from _norm(f"{there}.ln_2", f"{here}.mlp_norm", c)
        yield from _conv1d(f"{there}.mlp.c_fc", [f"{here}.mlp.up_proj"], c, d_ff)
        yield from _conv1d(f"{there}.mlp.c_proj", [f"{here}.mlp.down_proj"], d_ff, c)
    yield from _norm(f"{_PREFIX}ln_f", "final_norm", c)


def _norm(there: str, here: str, width: int) -> Iterator[tuple[str, Stored]]:
    for kind in ("weight", "bias"):
        yield f"{there}.{kind}", Stored(shape=(width,), targets=(f"{here}.{kind}",))


def _conv1d(
    there: str, here: list[str], d_in: int, d_out: int
) -> Iterator[tuple[str, Stored]]:
    weights, biases = (
        tuple(f"{name}.{kind}" for name in here) for kind in ("weight", "bias")
    )
    yield (
        f"{there}.weight",
        Stored(shape=(d_in, d_out), targets=weights, transposed=True),
    )
    yield f"{there}.bias", Stored(shape=(d_out,), targets=biases)
