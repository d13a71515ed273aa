"""Attention: each token asks, every earlier token answers, and the answers are
averaged.

    weights = softmax(q k^T / sqrt(D) + mask)        output = weights v

Three functions compute exactly this: `naive_attention` in five lines that keep the (T,
S) weights, `sdpa_attention` through the fused kernels of PyTorch, and
`online_attention` a block at a time. `Attention` is the layer around them, for every
head its own keys and values (n_kv_head = n_head, multi-head), for groups of heads the
same ones (grouped query), or for all heads the same (n_kv_head = 1, multi-query).

Source: A. Vaswani et al., "Attention Is All You Need", 2017, section 3.2; N. Shazeer,
"Fast Transformer Decoding: One Write-Head is All You Need", 2019 (multi-query); J.
Ainslie et al., "GQA", 2023 (grouped-query).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from happyllm_support.model.context import Context, Kernel
from happyllm_support.model.online_attention import (
    not_causal,
    online_attention,
    unshared_heads,
)
from happyllm_support.model.rope import apply_rope

if TYPE_CHECKING:
    Mask = Bool[Tensor, "#B #H T S"] | Float[Tensor, "#B #H T S"]
    """True where a key is seen; or what is added to the scores, -infinity where not."""


def attention_weights(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B K S D"],
    mask: Mask | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
) -> Float[Tensor, "B H T S"]:
    """softmax(scale q k^T) over the keys that each query may see.

    Args:
        q: queries.
        k: keys; K divides H, and heads h of one group share key head h // (H / K).
        mask: which keys are seen, `AttentionMask.dense()`; every query has to see one,
            be it only itself. None: all keys.
        causal: instead of a mask, no look ahead: query i sees keys 0 to i.
        scale: factor on the scores, 1 / sqrt(D) by default.

    Returns:
        Weights that sum to 1 over S.

    Raises:
        ValueError: K does not divide H, or `causal` with a mask or other keys than
            queries.
    """
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    scores = q @ repeat_heads(k, q.shape[1]).transpose(-2, -1) * factor  # (B, H, T, S)
    if causal:
        if mask is not None or q.shape[2] != k.shape[2]:
            raise not_causal(q, k, mask)
        mask = torch.ones_like(scores[0, 0], dtype=torch.bool).tril()  # (T, S)
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, -torch.inf)
    elif mask is not None:
        scores = scores + mask.to(scores.dtype)
    return scores.softmax(dim=-1)


def naive_attention(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B K S D"],
    v: Float[Tensor, "B K S D"],
    mask: Mask | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "B H T D"]:
    """The formula as it is written, with all B H T S weights in memory.

    Args:
        q: queries.
        k: keys, as in `attention_weights`.
        v: values, one per key.
        mask: as in `attention_weights`.
        causal: see there.
        scale: factor on the scores, 1 / sqrt(D) by default.
        dropout: probability with which each weight is dropped (the others are scaled up
            to make up for it).

    Returns:
        One average of values per query and head.
    """
    weights = attention_weights(q, k, mask, causal=causal, scale=scale)
    weights = F.dropout(weights, p=dropout, training=dropout > 0)
    return weights @ repeat_heads(v, q.shape[1])


def sdpa_attention(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B K S D"],
    v: Float[Tensor, "B K S D"],
    mask: Mask | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "B H T D"]:
    """`naive_attention` through PyTorch's fused kernels; the same arguments and errors.

    The kernel's own `is_causal` counts from the first query and the first key: with
    more keys than queries it would let a new token see only the oldest ones. So it is
    taken where queries and keys are the same tokens, and refused elsewhere.
    """
    if q.shape[1] % k.shape[1]:
        raise unshared_heads(k.shape[1], q.shape[1])
    if causal and (mask is not None or q.shape[2] != k.shape[2]):
        raise not_causal(q, k, mask)
    if mask is not None and mask.dtype not in (torch.bool, q.dtype):
        mask = mask.to(q.dtype)
    return F.scaled_dot_product_attention(
        q,
        k,
        v,
        mask,
        dropout_p=dropout,
        is_causal=causal,
        scale=scale,
        enable_gqa=k.shape[1] != q.shape[1],
    )


def repeat_heads(x: Float[Tensor, "B K S D"], n_head: int) -> Float[Tensor, "B H S D"]:
    """Give each query head its key (or value) head: head h gets number h // (H / K).

    Raises:
        ValueError: K does not divide H.
    """
    if n_head % x.shape[1]:
        raise unshared_heads(x.shape[1], n_head)
    return (
        x if x.shape[1] == n_head else x.repeat_interleave(n_head // x.shape[1], dim=1)
    )


KERNELS: dict[Kernel, Callable[..., Tensor]] = {
    "naive": naive_attention,
    "sdpa": sdpa_attention,
    "online": online_attention,
}


class Attention(nn.Module):
    """Project to queries, keys and values, attend per head, project back.

    Args:
        d_model: C, width of the residual stream; n_head divides it.
        n_head: H query heads of size D = C / H.
        n_kv_head: K heads of keys and values; divides n_head, which is also the
            default.
        bias: whether the four projections have one.

    Attributes:
        dropout: probability of dropping a weight, in training; `modes.set_dropout`.

    Raises:
        ValueError: heads that do not divide.
    """

    def __init__(
        self,
        d_model: int,
        n_head: int,
        n_kv_head: int | None = None,
        *,
        bias: bool = False,
    ) -> None:
        super().__init__()
        n_kv_head = n_head if n_kv_head is None else n_kv_head
        check_heads(d_model, n_head, n_kv_head)
        self.n_head, self.n_kv_head, self.head_dim = (
            n_head,
            n_kv_head,
            d_model // n_head,
        )
        self.dropout = 0.0
        self.q_proj = nn.Linear(d_model, d_model, bias=bias)
        self.k_proj = nn.Linear(d_model, n_kv_head * self.head_dim, bias=bias)
        self.v_proj = nn.Linear(d_model, n_kv_head * self.head_dim, bias=bias)
        self.o_proj = nn.Linear(d_model, d_model, bias=bias)

    def forward(
        self, x: Float[Tensor, "B T C"], context: Context | None = None, layer: int = 0
    ) -> Float[Tensor, "B T C"]:
        """Attend among the tokens of x and, with a cache, to those before them.

        Args:
            x: the (normed) residual stream.
            context: mask, rotation, cache and kernel; None: one document, no look
                ahead, no rotation.
            layer: which of the cache's layers is this one's.
        """
        if context is None:
            context = Context(torch.arange(x.shape[1], device=x.device)[None])
        q, k, v = self.project(x, context)
        if context.cache is not None:
            k, v = context.cache.write(layer, k, v)  # (B, K, S, D)
        out = KERNELS[context.kernel](
            q,
            k,
            v,
            context.mask,
            causal=context.mask is None,
            dropout=self.dropout if self.training else 0.0,
        )  # (B, H, T, D)
        return self.o_proj(out.transpose(1, 2).flatten(2))  # (B, T, C)

    def project(
        self, x: Float[Tensor, "B T C"], context: Context | None = None
    ) -> tuple[
        Float[Tensor, "B H T D"], Float[Tensor, "B K T D"], Float[Tensor, "B K T D"]
    ]:
        """Queries, keys and values of x by head, queries and keys rotated."""
        by_head = (*x.shape[:2], -1, self.head_dim)  # (B, T, heads, D)
        q = self.q_proj(x).view(by_head).transpose(1, 2)
        k = self.k_proj(x).view(by_head).transpose(1, 2)
        v = self.v_proj(x).view(by_head).transpose(1, 2)
        if context is not None and context.rope is not None:
            q, k = apply_rope(q, *context.rope), apply_rope(k, *context.rope)
        return q, k, v


def check_heads(d_model: int, n_head: int, n_kv_head: int) -> None:
    """Raise ValueError unless n_head divides d_model and n_kv_head divides n_head."""
    if n_head < 1 or d_model < 1 or d_model % n_head:
        raise ValueError(
            f"d_model {d_model} cannot be split among n_head {n_head}; n_head has to "
            "divide it"
        )
    if n_kv_head < 1 or n_head % n_kv_head:
        raise ValueError(
            f"n_kv_head {n_kv_head} cannot be shared by n_head {n_head}; n_kv_head has "
            "to divide it"
        )
