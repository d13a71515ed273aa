"""The package's finished code under the names of this lab."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from happyllm_support.model.attention import naive_attention
from happyllm_support.model.masks import AttentionMask
from happyllm_support.model.online_attention import online_attention


def softmax(scores: Tensor, dim: int = -1) -> Tensor:
    return scores.softmax(dim)


def mask_from_positions(
    q_positions: Tensor,
    k_positions: Tensor,
    q_segments: Tensor | None = None,
    k_segments: Tensor | None = None,
) -> Tensor:
    return AttentionMask(q_positions, k_positions, q_segments, k_segments).allowed()


def sdpa(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    return naive_attention(q, k, v, mask, scale=scale)


def split_heads(x: Tensor, n_head: int) -> Tensor:
    by_head = (*x.shape[:2], n_head, x.shape[-1] // n_head)
    return x.view(by_head).transpose(1, 2)  # as Attention.project


def join_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)  # as Attention.forward


def grouped_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None
) -> Tensor:
    return sdpa(q, k, v, mask)  # naive_attention repeats the heads


def attend_online(
    q: Tensor, blocks: Iterator[tuple[Tensor, Tensor]]
) -> Iterator[Tensor]:
    k = v = q[:0]
    for keys, values in blocks:
        k, v = torch.cat([k, keys]), torch.cat([v, values])
        out = online_attention(q[None, None], k[None, None], v[None, None], block=2)
        yield out[0, 0]
