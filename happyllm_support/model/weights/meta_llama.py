"""LLaMA as Meta publishes it: params.json, short names, and rotary channels in pairs of
neighbours.

Source: github.com/meta-llama/llama, `llama/model.py` (names, the width of the MLP,
`freqs_cis` on neighbouring channels). Meta's own files are pickled; this reads the same
tensors from safetensors files.
"""

from __future__ import annotations

import re

from happyllm_support.model.llama2 import Llama2Config
from happyllm_support.model.weights.config_fields import ConfigFields
from happyllm_support.model.weights.huggingface_llama import llama2_rows
from happyllm_support.model.weights.safetensors_reading import StoredTensors
from happyllm_support.model.weights.tensor_layout import Layout

PARAMS_NAME = "params.json"

_NAMES = {
    "tok_emb": "tok_embeddings",
    "final_norm": "norm",
    "lm_head": "output",
    "blocks": "layers",
    "attn_norm": "attention_norm",
    "mlp_norm": "ffn_norm",
    "attn.q_proj": "attention.wq",
    "attn.k_proj": "attention.wk",
    "attn.v_proj": "attention.wv",
    "attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
}


def meta_config(
    fields: ConfigFields,
    stored: StoredTensors,
    *,
    max_seq_len: int,
) -> Llama2Config:
    """Read params.json; `vocab_size` is -1 in LLaMA's, and comes from the embedding.

    Args:
        fields: the file.
        stored: the tensors beside it.
        max_seq_len: which params.json does not say: 2,048 for LLaMA, 4,096 for LLaMA2.

    Raises:
        ValueError: a field that is missing or not what it should be, or of a kind of
            LLaMA that we have not.
    """
    d_model, n_head = fields.integer("dim"), fields.integer("n_heads")
    fields.require("use_scaled_rope", False)
    fields.require("sliding_window", None)
    fields.require("moe", None)
    if fields.has("head_dim") and fields.integer("head_dim") * n_head != d_model:
        raise fields.error(
            "head_dim", f"supported is dim / n_heads = {d_model} / {n_head}"
        )
    embedding = stored.infos.get("tok_embeddings.weight")
    vocab_size = (
        embedding.shape[0]
        if embedding and fields.fields.get("vocab_size") == -1
        else None
    )
    with fields.naming_the_file():
        return Llama2Config(
            vocab_size=vocab_size or fields.integer("vocab_size"),
            max_seq_len=fields.integer("max_seq_len", max_seq_len),
            n_layer=fields.integer("n_layers"),
            n_head=n_head,
            n_kv_head=fields.integer("n_kv_heads", n_head),
            d_model=d_model,
            d_ff=_mlp_width(fields, d_model),
            rope_theta=fields.number("rope_theta", 10000.0),
            norm_eps=fields.number("norm_eps", 1e-5),
        )


def meta_layout(config: Llama2Config) -> Layout:
    """The table of stored tensors."""
    return Layout(
        what=f"LLaMA in Meta's layout with {config.n_layer} layers, d_model "
        f"{config.d_model}",
        tensors=dict(llama2_rows(config, _NAMES, interleaved=True)),
        canonical=lambda name: name,
        ignored=re.compile(r"rope\.freqs"),
        head="output.weight",
        embedding="tok_embeddings.weight",
        tied=False,
    )


def _mlp_width(fields: ConfigFields, d_model: int) -> int:
    """8/3 d_model, times a factor in the larger models, rounded up to a multiple: 7B:
    11,008, 70B: 28,672.
    """
    if fields.has("hidden_dim"):
        return fields.integer("hidden_dim")
    width = int(fields.number("ffn_dim_multiplier", 1.0) * int(2 * 4 * d_model / 3))
    multiple = fields.integer("multiple_of", 256)
    return -(-width // multiple) * multiple
