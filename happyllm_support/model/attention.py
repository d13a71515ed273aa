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

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from happyllm_support.model.context import Context
from happyllm_support.model.masks import AttentionMask
from happyllm_support.model.online_attention import check_key_heads, online_attention
from happyllm_support.model.positions import apply_rope


def attention_weights(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B K S D"],
    mask: AttentionMask | None = None,
    *,
    scale: float | None = None,
) -> Float[Tensor, "B H T S"]:
    """softmax(scale q k^T) over the keys that each query may see.

    Args:
        q: queries.
        k: keys; K divides H, and heads h of one group share key head h // (H / K).
        mask: which keys are seen; None: all of them.
        scale: factor on the scores, 1 / sqrt(D) by default.

    Returns:
        Weights that sum to 1 over S; zeros for a query that may see nothing.
    """
    k = repeat_heads(k, q.shape[1])
    scores = (
        q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    )  # (B, H, T, S)
    if mask is None:
        return scores.softmax(dim=-1)
    bias = mask.bias()
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    weights = scores.masked_fill(~mask.dense, torch.finfo(scores.dtype).min).softmax(
        dim=-1
    )
    return weights if mask.sees_something is None else weights * mask.sees_something


def naive_attention(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B K S D"],
    v: Float[Tensor, "B K S D"],
    mask: AttentionMask | None = None,
    *,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "B H T D"]:
    """The formula as it is written, with all weights in memory: B H T S numbers,
    several times over in training.

    Args:
        q: queries.
        k: keys, as in `attention_weights`.
        v: values, one per key.
        mask: which keys are seen; None: all of them.
        scale: factor on the scores, 1 / sqrt(D) by default.
        dropout: probability with which each weight is dropped (the others are scaled up
            to make up for it).

    Returns:
        One average of values per query and head; zeros for a query that may see
        nothing.
    """
    weights = F.dropout(
        attention_weights(q, k, mask, scale=scale), p=dropout, training=dropout > 0
    )
    return weights @ repeat_heads(v, q.shape[1])


def sdpa_attention(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B K S D"],
    v: Float[Tensor, "B K S D"],
    mask: AttentionMask | None = None,
    *,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "B H T D"]:
    """`naive_attention` through `torch.nn.functional.scaled_dot_product_attention` and
    its fused kernels.

    The kernel's own `is_causal` is used where it is right: it counts from the first
    query and the first key, so with more keys than queries it would let a new token see
    only the oldest keys.

    Raises:
        ValueError: K does not divide H.
    """
    check_key_heads(k.shape[1], q.shape[1])
    plain = mask is not None and mask.plain
    attn_mask = None if mask is None or plain else mask.dense
    bias = None if mask is None else mask.bias()
    if mask is not None and bias is not None:
        attn_mask = bias.to(q.dtype).masked_fill(~mask.dense, -math.inf)
    sees_something = None if mask is None else mask.sees_something
    if attn_mask is not None and sees_something is not None:
        # A row that sees nothing would be 0 / 0: it sees everything, and its output is
        # set to zero below.
        open_row = 0.0 if bias is not None else True
        attn_mask = torch.where(
            sees_something, attn_mask, torch.tensor(open_row, device=q.device)
        )
    out = F.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask,
        dropout_p=dropout,
        is_causal=plain,
        scale=scale,
        enable_gqa=k.shape[1] != q.shape[1],
    )
    return out if sees_something is None else out * sees_something


def repeat_heads(x: Float[Tensor, "B K S D"], n_head: int) -> Float[Tensor, "B H S D"]:
    """Give each query head its key (or value) head: head h gets number h // (H / K).

    Raises:
        ValueError: K does not divide H.
    """
    if n_head % x.shape[1]:
        raise ValueError(
            f"{x.shape[1]} key heads cannot be shared by {n_head} query heads; K has "
            "to divide H"
        )
    return (
        x if x.shape[1] == n_head else x.repeat_interleave(n_head // x.shape[1], dim=1)
    )


Kernel = Callable[..., Tensor]
KERNELS: dict[str, Kernel] = {
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
        dropout: probability of dropping a weight, in training.
        kernel: "naive", "sdpa" or "online"; the numbers are the same.

    Raises:
        ValueError: heads that do not divide, or an unknown kernel.
    """

    def __init__(
        self,
        d_model: int,
        n_head: int,
        n_kv_head: int | None = None,
        *,
        bias: bool = False,
        dropout: float = 0.0,
        kernel: str = "sdpa",
    ) -> None:
        super().__init__()
        n_kv_head = n_head if n_kv_head is None else n_kv_head
        check_heads(d_model, n_head, n_kv_head)
        check_kernel(kernel, dropout)
        self.n_head, self.n_kv_head, self.head_dim = (
            n_head,
            n_kv_head,
            d_model // n_head,
        )
        self.dropout, self.kernel = dropout, kernel
        self.q_proj = nn.Linear(d_model, d_model, bias=bias)
        self.k_proj = nn.Linear(d_model, n_kv_head * self.head_dim, bias=bias)
        self.v_proj = nn.Linear(d_model, n_kv_head * self.head_dim, bias=bias)
        self.o_proj = nn.Linear(d_model, d_model, bias=bias)

    def forward(
        self, x: Float[Tensor, "B T C"], context: Context | None = None, layer: int = 0
    ) -> Float[Tensor, "B T C"]:
        """Attend among the tokens of x and, where the context has a cache, to those
        before them.

        Args:
            x: the (normed) residual stream.
            context: positions, mask, rotation and cache; None: one document, no look
                ahead, no rotation.
            layer: which of the cache's layers is this one's.
        """
        context = Context.plain(x.shape[1], x.device) if context is None else context
        q, k = self._queries_and_keys(x, context)
        v = self._split(self.v_proj(x), self.n_kv_head)
        if context.cache is not None:
            k, v = context.cache.write(layer, k, v)  # (B, K, S, D)
        dropout = self.dropout if self.training else 0.0
        out = KERNELS[self.kernel](
            q, k, v, context.mask, dropout=dropout
        )  # (B, H, T, D)
        return self.o_proj(out.transpose(1, 2).flatten(2))  # (B, T, C)

    def weights(
        self, x: Float[Tensor, "B T C"], context: Context | None = None
    ) -> Float[Tensor, "B H T T"]:
        """The attention weights that `forward` would use for x, without a cache: for
        looking at.
        """
        context = Context.plain(x.shape[1], x.device) if context is None else context
        q, k = self._queries_and_keys(x, context)
        return attention_weights(q, k, context.mask)

    def _queries_and_keys(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        q = self._split(self.q_proj(x), self.n_head)  # (B, H, T, D)
        k = self._split(self.k_proj(x), self.n_kv_head)  # (B, K, T, D)
        if context.rope is not None:
            q, k = apply_rope(q, *context.rope), apply_rope(k, *context.rope)
        return q, k

    def _split(self, x: Tensor, n_head: int) -> Tensor:
        return x.view(*x.shape[:2], n_head, self.head_dim).transpose(
            1, 2
        )  # (B, n_head, T, D)


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


def check_kernel(kernel: str, dropout: float) -> None:
    """Raise ValueError for an unknown kernel, or one that cannot drop weights when it
    would have to.
    """
    if kernel not in KERNELS:
        raise ValueError(
            f"attention kernel {kernel!r} is unknown; allowed are {', '.join(KERNELS)}"
        )
    if not is_number(dropout) or not 0.0 <= dropout < 1.0:
        raise ValueError(
            f"dropout is {dropout!r}; expected a probability from 0 to below 1"
        )
    if kernel == "online" and dropout > 0:
        raise ValueError(
            f"the online kernel drops no weights; set dropout ({dropout}) to 0, or "
            "take naive or sdpa"
        )


def is_number(value: object) -> bool:
    """Whether a configuration's value can be compared with a number, whatever its
    annotation says.
    """
    return isinstance(value, int | float)
