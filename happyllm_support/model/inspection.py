"""Look inside a model while it reads: which token attended to which.

The weights are recomputed from what enters each attention layer, so they can be looked
at whatever kernel the model uses, and a model that nobody looks into pays nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from happyllm_support.model.attention import Attention, attention_weights
from happyllm_support.model.language_model import LanguageModel
from happyllm_support.model.masks import AttentionMask
from happyllm_support.model.modes import training_mode


@torch.no_grad()
def attention_maps(
    model: LanguageModel | nn.Module,
    ids: Int64[Tensor, "B T"],
    *,
    positions: Int64[Tensor, "B T"] | None = None,
    segments: Int64[Tensor, "B T"] | None = None,
) -> list[Float[Tensor, "B H T T"]]:
    """Run a model on ids, without dropout, and return the attention weights of each
    layer, first layer first.

    Args:
        model: anything whose attention layers are `Attention` and that takes ids,
            positions and segments.
        ids: tokens.
        positions: as the model takes them.
        segments: as the model takes them.

    Returns:
        Per layer the weight with which each token (axis 2) attends to each token (axis
        3).
    """
    maps: list[Tensor] = []

    def look(
        layer: nn.Module, inputs: tuple[Any, ...], by_name: dict[str, Any]
    ) -> None:
        assert isinstance(layer, Attention)
        x = inputs[0] if inputs else by_name["x"]
        context = inputs[1] if len(inputs) > 1 else by_name.get("context")
        q, k, _ = layer.project(x, context)
        mask = None if context is None else context.mask
        if isinstance(mask, AttentionMask):
            mask = mask.dense()
        maps.append(attention_weights(q, k, mask, causal=mask is None))

    layers = [module for module in model.modules() if isinstance(module, Attention)]
    handles = [
        layer.register_forward_pre_hook(look, with_kwargs=True) for layer in layers
    ]
    try:
        with training_mode(model, False):
            model(ids, positions=positions, segments=segments)
    finally:
        for handle in handles:
            handle.remove()
    return maps
