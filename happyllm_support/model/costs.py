"""What a model costs before it has run: parameters by part, arithmetic per token, bytes
of cache per token.

Source: J. Kaplan et al., "Scaling Laws for Neural Language Models", 2020, table 1
(operations per token).
"""

from __future__ import annotations

import torch
from torch import nn

from happyllm_support.model.attention import Attention

PARTS = {
    "tok_emb": "token embedding",
    "pos_emb": "positions",
    "attn": "attention",
    "mlp": "MLP",
    "attn_norm": "norms",
    "mlp_norm": "norms",
    "final_norm": "norms",
    "lm_head": "head",
}


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Number of parameters of each part; a tied head has none of its own. Works on the
    meta device.

    Args:
        model: a model whose modules have the names of this course.

    Returns:
        Counts by "token embedding", "positions", "attention", "MLP", "norms", "head";
        parts that a model lacks are left out. The sum is the model's number of
        parameters.
    """
    counts = dict.fromkeys(PARTS.values(), 0)
    for (
        name,
        parameter,
    ) in model.named_parameters():  # a tied tensor comes once, under its first name
        part = next((piece for piece in name.split(".") if piece in PARTS), None)
        if part is None:
            raise ValueError(
                f"parameter {name} belongs to no known part; expected one of "
                f"{', '.join(PARTS)}"
            )
        counts[PARTS[part]] += parameter.numel()
    return {part: count for part, count in counts.items() if count}


def forward_flops_per_token(model: nn.Module, length: int) -> float:
    """Floating-point operations of a forward pass, per token; a backward pass takes
    twice as many.

    A linear map of d_in x d_out numbers takes 2 d_in d_out per token, a multiplication
    and an addition each. Attention takes 4 C per pair of query and key, 2 C for the
    score and 2 C for the average; a causal model has (length + 1) / 2 pairs per token.
    Norms, activations and the look-up of embeddings are not counted.

    Args:
        model: any model made of `Attention` and linear maps.
        length: tokens per sequence.

    Raises:
        ValueError: a length below 1.
    """
    if length < 1:
        raise ValueError(f"length is {length}; expected at least one token")
    linear = sum(
        module.weight.numel()
        for module in model.modules()
        if isinstance(module, nn.Linear)
    )
    width = sum(
        m.n_head * m.head_dim for m in model.modules() if isinstance(m, Attention)
    )
    return 2.0 * linear + 4.0 * width * (length + 1) / 2


def kv_bytes_per_token(model: nn.Module, dtype: torch.dtype = torch.bfloat16) -> int:
    """Bytes of keys and values that a cache keeps for every token: 2 K D numbers per
    layer.

    Args:
        model: any model made of `Attention`; on the meta device it costs nothing to
            ask.
        dtype: of the cached numbers.
    """
    numbers = sum(
        2 * m.n_kv_head * m.head_dim
        for m in model.modules()
        if isinstance(m, Attention)
    )
    return numbers * dtype.itemsize
