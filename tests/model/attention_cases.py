"""Inputs for tests of attention, and attention written as loops over single numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from happyllm_support.model.attention import KERNELS
from happyllm_support.model.masks import AttentionMask

SLOPES = torch.tensor([0.5, 0.25, 0.125, 0.0625], dtype=torch.float64)


@dataclass(frozen=True)
class Case:
    """Queries, keys, values and a mask, or `causal` in its place."""

    q: Tensor
    k: Tensor
    v: Tensor
    mask: AttentionMask | None
    scale: float | None = None
    causal: bool = False

    def leaves(
        self, dtype: torch.dtype = torch.float64
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Fresh q, k, v that gradients can be taken for."""
        return tuple(
            x.detach().to(dtype).requires_grad_() for x in (self.q, self.k, self.v)
        )


def tensors(
    n_kv_head: int, n_queries: int, n_keys: int, *, size: float = 1.5, seed: int = 0
) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    shapes = (
        (2, 4, n_queries, 6),
        (2, n_kv_head, n_keys, 6),
        (2, n_kv_head, n_keys, 6),
    )
    return tuple(
        size * torch.randn(shape, generator=g, dtype=torch.float64) for shape in shapes
    )


def case(name: str, n_kv_head: int) -> Case:
    """B = 2, H = 4, D = 6 and 9 queries, with one mask of each kind."""
    n, past = 9, 4
    square, longer = tensors(n_kv_head, n, n), tensors(n_kv_head, n, n + past)
    positions = torch.arange(n)[None]
    padded = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1, 1], [1] * 9])
    packed = torch.tensor([[1, 1, 1, 2, 2, 2, 2, 0, 0], [1, 1, 1, 1, 1, 1, 2, 3, 3]])
    nothing = torch.tensor([[0] * 9, [0, 1, 1, 1, 1, 1, 1, 1, 1]])
    within = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 0, 0], [0, 1, 2, 3, 4, 5, 0, 0, 1]])
    after = (torch.arange(n) + past)[None].expand(2, -1)
    everything = torch.arange(n + past)[None].expand(2, -1)
    past_segments = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    new_segments = torch.ones(2, n, dtype=torch.int64)
    every = {
        "no mask": lambda: Case(*longer, None),
        "plain": lambda: Case(*square, None, causal=True),
        "scaled": lambda: Case(*square, None, scale=1.0, causal=True),
        "causal by mask": lambda: Case(*square, AttentionMask.causal(n)),
        "left padding": lambda: Case(
            *square,
            AttentionMask(positions, positions, padded, padded),
        ),
        "packed": lambda: Case(
            *square,
            AttentionMask(within, within, packed, packed),
        ),
        "fully padded row": lambda: Case(
            *square,
            AttentionMask(positions, positions, nothing, nothing),
        ),
        "past": lambda: Case(*longer, AttentionMask(after[:1], everything[:1])),
        "padded past": lambda: Case(
            *longer,
            AttentionMask(
                after,
                everything,
                new_segments,
                torch.cat([past_segments, new_segments], 1),
            ),
        ),
        "alibi": lambda: Case(
            *square, AttentionMask(positions, positions, slopes=SLOPES)
        ),
        "alibi, packed": lambda: Case(
            *square,
            AttentionMask(within, within, packed, packed, SLOPES),
        ),
    }
    return every[name]()


NAMES = (
    "no mask",
    "plain",
    "scaled",
    "causal by mask",
    "left padding",
    "packed",
    "fully padded row",
    "past",
    "padded past",
    "alibi",
    "alibi, packed",
)


def attend(kernel: str, x: Case, *qkv: Tensor, **options: object) -> Tensor:
    """Run a kernel on a case, or on other numbers with the case's mask."""
    mask = x.mask if x.mask is None or kernel == "online" else x.mask.dense()
    q, k, v = qkv or (x.q, x.k, x.v)
    return KERNELS[kernel](q, k, v, mask, causal=x.causal, scale=x.scale, **options)


def looped(x: Case) -> Tensor:
    """The formula for one query of one head at a time, over a list of the keys that it
    may see.
    """
    q, k, v = x.q, x.k, x.v
    out = torch.zeros_like(q)
    per_head = q.shape[1] // k.shape[1]
    scale = 1 / math.sqrt(q.shape[-1]) if x.scale is None else x.scale
    for b, h, t in torch.cartesian_prod(
        *(torch.arange(n) for n in q.shape[:3])
    ).tolist():
        seen, scores = [], []
        for s in range(k.shape[2]):
            products = zip(
                q[b, h, t].tolist(), k[b, h // per_head, s].tolist(), strict=True
            )
            score = scale * sum(a * c for a, c in products)
            if x.causal and s > t:
                continue
            if x.mask is not None:
                m = x.mask
                q_position, k_position = (
                    int(p[b % len(p), i])
                    for p, i in ((m.q_positions, t), (m.k_positions, s))
                )
                if k_position > q_position:
                    continue
                if (
                    m.q_segments is not None
                    and m.q_segments[b, t] != m.k_segments[b, s]
                ):
                    continue
                if m.slopes is not None:
                    score -= float(m.slopes[h]) * (q_position - k_position)
            seen.append(s)
            scores.append(score)
        total = sum(math.exp(score) for score in scores)
        for s, score in zip(seen, scores, strict=True):
            out[b, h, t] += math.exp(score) / total * v[b, h // per_head, s]
    return out


def off_by(found: Tensor, expected: Tensor) -> float:
    """The largest difference as a fraction of the expected numbers' standard deviation;
    that must not be tiny.
    """
    found, expected = found.detach(), expected.detach()
    spread = float(expected.double().std())
    assert spread > 0.02, "the expected numbers hardly differ from a constant"
    assert torch.isfinite(found).all()
    return float((found.double() - expected.double()).abs().max()) / spread
