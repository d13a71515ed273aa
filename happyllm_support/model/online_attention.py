"""Attention without a (T, S) array: the softmax is taken in one pass over blocks of
keys.

Softmax seems to need a whole row of scores before it can give the first weight, for
each weight is divided by the sum of the row. But attention only wants the weighted sum
of the values, and three things per query are enough to build that one block of keys at
a time: `top`, the largest score so far, and relative to it `total`, the sum of the
exponentials, and `sums`, the same sum with each exponential times its value. A block
that brings a larger score makes what was summed before too large by a known factor, so
that is shrunk first and the block is added then:

    total <- total * exp(top - new_top) + sum_j exp(s_j - new_top)
    sums  <- sums  * exp(top - new_top) + sum_j exp(s_j - new_top) v_j

and in the end the output is sums / total.

The backward pass keeps the output O and one number per query, lse = top + log(total),
and computes each block of scores S a second time. The weights are then P = exp(S - lse)
at once and, with dO the gradient of the output,

    dV = P' dO,   dP = dO V',   dS = P * (dP - delta),   dQ = dS K,   dK = dS' Q,
    delta_i = sum_d dO_id O_id

(' transposes). The gradient of softmax subtracts sum_j P_ij dP_ij, which needs a whole
row of P; delta is the same number from two vectors that are there.

Source: M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018
(the running maximum and sum); M. Rabe, C. Staats, "Self-attention Does Not Need O(n^2)
Memory", 2021; T. Dao et al., "FlashAttention", 2022, and T. Dao, "FlashAttention-2",
2023 (recomputation, lse and delta in the backward pass; queries in the outer loop).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from happyllm_support.model.masks import AttentionMask


def online_softmax_sum(
    scores: Float[Tensor, " S"], values: Float[Tensor, "S D"], block: int
) -> Float[Tensor, " D"]:
    """Return softmax(scores) @ values for one query, never looking at more than `block`
    scores: the idea alone.

    Args:
        scores: one score per key.
        values: one row per key.
        block: keys per step, 1 or more.
    """
    top, total, sums = (
        scores.new_tensor(-torch.inf),
        scores.new_zeros(()),
        torch.zeros_like(values[0]),
    )
    for columns in _slices(len(scores), block):
        new_top = torch.maximum(top, scores[columns].max())
        shrink, weights = torch.exp(top - new_top), torch.exp(scores[columns] - new_top)
        total = total * shrink + weights.sum()
        sums = sums * shrink + weights @ values[columns]
        top = new_top
    return sums / total


def online_attention(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B K S D"],
    v: Float[Tensor, "B K S D"],
    mask: AttentionMask | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
    block: int = 256,
) -> Float[Tensor, "B H T D"]:
    """Return softmax(scale q k' + bias) v while holding no more than `block` by `block`
    scores per row and head.

    Sums run in fp32 where the inputs are bf16 or fp16. Blocks that no query sees are
    skipped, nearly half of them where the mask is causal. Heads that share a key head
    are lined up as more queries of it; no key or value is repeated.

    Args:
        q: (B, H, T, D) queries.
        k: (B, K, S, D) keys; K divides H.
        v: (B, K, S, D) values.
        mask: which keys are seen, asked block by block, and ALiBi's slopes (constants,
            they get no gradient); every query has to see a key. None: all keys.
        causal: instead of a mask, no look ahead: query i sees keys 0 to i.
        scale: factor on the scores, 1 / sqrt(D) by default.
        dropout: only 0; weights that are not kept could not be dropped alike in both
            passes.
        block: queries and keys per block, 1 or more; the result is the same. On CPUs a
            block that stays in the cache is fastest.

    Returns:
        (B, H, T, D) in q's dtype.

    Raises:
        ValueError: dropout is not 0, block is below 1, K does not divide H, or
            `causal` with a mask or other keys than queries.
    """
    if dropout != 0.0:
        raise ValueError(
            f"dropout is {dropout}; the online kernel has none (use the naive or sdpa "
            "kernel, or 0)"
        )
    if block < 1:
        raise ValueError(f"block is {block}; expected at least 1")
    if q.shape[1] % k.shape[1]:
        raise unshared_heads(k.shape[1], q.shape[1])
    if causal and (mask is not None or q.shape[2] != k.shape[2]):
        raise not_causal(q, k, mask)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return cast(Tensor, _OnlineAttention.apply(q, k, v, mask, causal, scale, block))


def unshared_heads(n_kv_head: int, n_head: int) -> ValueError:
    """What to raise where key heads cannot be shared by groups of equal size."""
    return ValueError(
        f"{n_kv_head} key heads cannot be shared by {n_head} query heads; expected a K "
        "that divides H"
    )


def not_causal(q: Tensor, k: Tensor, mask: object) -> ValueError:
    """What to raise where "no look ahead" has no or two meanings."""
    if mask is not None:
        return ValueError("causal and a mask were both given; expected one of them")
    return ValueError(
        f"causal with {q.shape[2]} queries and {k.shape[2]} keys; expected as many "
        "keys as queries, or a mask from their positions"
    )


class _OnlineAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: AttentionMask | None,
        causal: bool,
        scale: float,
        block: int,
    ) -> Tensor:
        out = torch.empty_like(q)
        lse = q.new_empty((*q.shape[:3], 1), dtype=_sum_dtype(q))
        with torch.autocast(q.device.type, enabled=False):  # sums stay in fp32
            for rows in _slices(q.shape[2], block):
                q_block = _by_key_head(q[:, :, rows], k) * scale  # (B K, H/K t, D)
                sums = torch.zeros_like(q_block)
                total = torch.zeros_like(q_block[..., :1])
                # Not -infinity, since -infinity - -infinity would be NaN.
                top = torch.full_like(total, torch.finfo(total.dtype).min)
                blocks = _score_blocks(q_block, k, mask, causal, rows, block)
                for columns, _, scores in blocks:
                    v_block = _by_key_head(v[:, :, columns], k)
                    new_top = torch.maximum(top, scores.amax(-1, keepdim=True))
                    shrink = top.sub_(new_top).exp_()
                    weights = scores.sub_(new_top).exp_()
                    total.mul_(shrink).add_(weights.sum(-1, keepdim=True))
                    sums.mul_(shrink).baddbmm_(weights, v_block)
                    top = new_top
                out[:, :, rows] = (sums / total).view_as(out[:, :, rows])
                lse[:, :, rows] = (top + total.log()).view_as(lse[:, :, rows])
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.mask, ctx.causal, ctx.scale, ctx.block = mask, causal, scale, block
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v, out, lse = ctx.saved_tensors
        dq = torch.empty_like(q)
        dk, dv = (torch.zeros_like(_by_key_head(x, k)) for x in (k, v))  # (B K, S, D)
        with torch.autocast(q.device.type, enabled=False):
            for rows in _slices(q.shape[2], ctx.block):
                q_block, lse_block, out_block, d_out_block = (
                    _by_key_head(x[:, :, rows], k) for x in (q, lse, out, d_out)
                )
                q_block = q_block * ctx.scale
                delta = (out_block * d_out_block).sum(-1, keepdim=True)
                dq_block = torch.zeros_like(q_block)  # (B K, H/K t, D)
                blocks = _score_blocks(
                    q_block, k, ctx.mask, ctx.causal, rows, ctx.block
                )
                for columns, k_block, scores in blocks:
                    weights = scores.sub_(lse_block).exp_()
                    dv[:, columns].baddbmm_(weights.mT, d_out_block)
                    d_weights = d_out_block @ _by_key_head(v[:, :, columns], k).mT
                    d_scores = d_weights.sub_(delta).mul_(weights)
                    dk[:, columns].baddbmm_(d_scores.mT, q_block)
                    dq_block.baddbmm_(d_scores, k_block)
                dq[:, :, rows] = (dq_block * ctx.scale).view_as(dq[:, :, rows])
        dk, dv = dk.view_as(k).to(k.dtype), dv.view_as(v).to(v.dtype)
        return dq, dk, dv, None, None, None, None


def _score_blocks(
    q_block: Tensor,
    k: Tensor,
    mask: AttentionMask | None,
    causal: bool,
    rows: slice,
    block: int,
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield (columns, keys, scores) for each block of keys that some query of `rows`
    sees; -inf where one does not.
    """
    for columns in _slices(k.shape[2], block):
        hidden = bias = None
        if causal:
            if columns.start >= rows.stop:
                return  # this block and all after it lie in the future
            if columns.stop > rows.start + 1:  # not wholly in the past
                query, key = (
                    torch.arange(s.start, s.stop, device=k.device)
                    for s in (rows, columns)
                )
                hidden = key > query[:, None]
        elif mask is not None:
            hidden, bias = ~mask.allowed(rows, columns), mask.bias(rows, columns)
            if hidden.device.type == "cpu" and hidden.all():
                continue  # another document, padding, or the future
        k_block = _by_key_head(k[:, :, columns], k)
        scores = q_block @ k_block.mT  # (B K, H/K t, s)
        by_head = scores.view(
            k.shape[0], -1, rows.stop - rows.start, columns.stop - columns.start
        )  # (B, H, t, s)
        if bias is not None:
            by_head += bias
        if hidden is not None:
            by_head.masked_fill_(hidden, -torch.inf)
        yield columns, k_block, scores


def _slices(length: int, block: int) -> list[slice]:
    return [
        slice(start, min(start + block, length)) for start in range(0, length, block)
    ]


def _by_key_head(x: Tensor, k: Tensor) -> Tensor:
    """Line up what shares a key head, in the dtype of the sums: (B, H, t, D) -> (B K,
    H/K t, D).
    """
    return x.reshape(k.shape[0] * k.shape[1], -1, x.shape[-1]).to(_sum_dtype(x))


def _sum_dtype(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
