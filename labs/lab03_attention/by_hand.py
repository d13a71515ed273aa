"""Inputs for the checks of lab 03, and what comes out of them, computed without the
package: loops, and float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

Blocks = list[tuple[Tensor, Tensor]]  # keys and values


def random(
    *shape: int, seed: int, size: float = 1.0, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Normal numbers, the same for the same seed."""
    return (
        size
        * torch.randn(
            *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
    ).to(dtype)


def some_mask(*shape: int, seed: int) -> Tensor:
    """A mask in which each query sees some keys and misses some, and each key alike."""
    mask = torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    for t in range(shape[-2]):
        mask[..., t, t % shape[-1]] = True
        mask[..., t, (t + 2) % shape[-1]] = False
    return mask


def softmax_by_loops(scores: Tensor, dim: int) -> Tensor:
    """The softmax along one axis, number by number."""
    moved = scores.double().movedim(dim, -1)
    rows = [
        [math.exp(x - max(row)) for x in row]
        for row in moved.reshape(-1, moved.shape[-1]).tolist()
    ]
    by_hand = torch.tensor(
        [[x / sum(row) for x in row] for row in rows], dtype=torch.float64
    )
    return by_hand.reshape(moved.shape).movedim(-1, dim).to(scores.dtype)


def mask_by_loops(
    q_positions: Tensor, k_positions: Tensor, *segments: Tensor
) -> Tensor:
    """The mask, pair by pair."""
    (B, T), S = q_positions.shape, k_positions.shape[1]
    mask = torch.zeros(B, 1, T, S, dtype=torch.bool)
    for b in range(B):
        for t in range(T):
            for s in range(S):
                early = int(k_positions[b, s]) <= int(q_positions[b, t])
                mine, other = (
                    (int(segments[0][b, t]), int(segments[1][b, s]))
                    if segments
                    else (1, 1)
                )
                mask[b, 0, t, s] = early and mine == other
    return mask


def groups_by_loops(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Grouped attention, head by head, by PyTorch's own."""
    size = q.shape[1] // k.shape[1]
    table = None if mask is None else mask[:, 0]
    heads = [
        F.scaled_dot_product_attention(q[:, h], k[:, h // size], v[:, h // size], table)
        for h in range(q.shape[1])
    ]
    return torch.stack(heads, dim=1)


def whole_row(q: Tensor, blocks: Blocks) -> Tensor:
    """Attention to the keys of all blocks at once, in float64."""
    keys, values = (torch.cat(parts).double() for parts in zip(*blocks, strict=True))
    return ((q.double() @ keys.T / math.sqrt(q.shape[1])).softmax(dim=-1) @ values).to(
        q.dtype
    )


def some_blocks() -> tuple[Tensor, Blocks]:
    """Queries, and blocks of unequal length with moderate scores that grow."""
    q = random(3, 4, seed=80)
    return q, [
        (random(s, 4, seed=81 + i, size=i + 1.0), random(s, 4, seed=91 + i))
        for i, s in enumerate((3, 1, 4, 2))
    ]


def extreme_blocks() -> list[tuple[str, Tensor, Blocks]]:
    """What the scores are like, queries, and blocks."""
    ones = torch.ones(1, 4, dtype=torch.float64)
    wide = [
        random(s, 4, seed=100 + i, dtype=torch.float64) for i, s in enumerate((2, 3, 2))
    ]
    values = [
        random(len(keys), 4, seed=110 + i, dtype=torch.float64)
        for i, keys in enumerate(wide)
    ]
    q = 20 + random(3, 4, seed=120, dtype=torch.float64)
    signs = torch.tensor([[1.0], [-1.0], [1.0]], dtype=torch.float64)
    cases: list[tuple[str, Tensor, Blocks]] = []
    for what, queries, sizes in (
        ("scores near 1000, ", q, (25, 25, 25)),
        ("scores near -1000, ", q, (-25, -25, -25)),
        ("queries with scores near 1000 and near -1000, ", signs * q, (25, 25, 25)),
        ("scores that rise by 2000, ", q, (-25, 25, 25)),
        ("scores that fall by 2000, ", q, (25, -25, -25)),
    ):
        keys = [size * ones + block for size, block in zip(sizes, wide, strict=True)]
        cases.append((what, queries, list(zip(keys, values, strict=True))))
    return cases
