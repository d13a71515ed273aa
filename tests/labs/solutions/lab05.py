"""Lab 05, written otherwise than the package: complex numbers, einsum, permutations, a
loop over the heads.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

ScalingKind = Literal["linear", "ntk"]


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    wide = x.to(torch.float32)
    power = torch.einsum("...c,...c->...", wide, wide) / wide.shape[-1]
    return torch.einsum(
        "...c,...,c->...c", wide, (power + eps) ** -0.5, weight.to(torch.float32)
    ).to(x.dtype)


def rope_frequencies(
    head_dim: int,
    theta: float = 10000.0,
    *,
    scaling: ScalingKind | None = None,
    factor: float = 1.0,
) -> Tensor:
    if head_dim & 1:
        raise ValueError(f"{head_dim} channels are no pairs")
    if scaling not in {None, "linear", "ntk"}:
        raise ValueError(f"no scaling is called {scaling}")
    base = theta * factor ** (head_dim / (head_dim - 2)) if scaling == "ntk" else theta
    divide = factor if scaling == "linear" else 1.0
    return torch.tensor(
        [base ** (-2 * i / head_dim) / divide for i in range(head_dim // 2)]
    )


class RotaryPositions(nn.Module):
    def __init__(
        self,
        head_dim: int,
        *,
        theta: float = 10000.0,
        scaling: ScalingKind | None = None,
        factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.speed = rope_frequencies(head_dim, theta, scaling=scaling, factor=factor)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        angles = (
            torch.einsum("bt,d->btd", positions.double(), self.speed.double())
            .repeat(1, 1, 2)
            .unsqueeze(1)
        )
        return torch.cos(angles).float(), torch.sin(angles).float()


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    pairs = torch.complex(x[..., :half].float(), x[..., half:].float())
    turned = pairs * torch.complex(cos, sin)[..., :half]
    return torch.cat([turned.real, turned.imag], dim=-1).to(x.dtype)


def apply_rope_interleaved(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    pairs = torch.view_as_complex(x.float().unflatten(-1, (half, 2)).contiguous())
    turned = pairs * torch.complex(cos, sin)[..., half:]
    return torch.view_as_real(turned).flatten(-2).to(x.dtype)


def interleaved_to_half_split(weight: Tensor, head_dim: int) -> Tensor:
    if weight.shape[0] % head_dim:
        raise ValueError(f"{weight.shape[0]} rows are no whole heads of {head_dim}")
    order = [
        start + channel
        for start in range(0, weight.shape[0], head_dim)
        for channel in [*range(0, head_dim, 2), *range(1, head_dim, 2)]
    ]
    return weight[order]


class SwiGLU(nn.Module):
    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        for name, shape in (
            ("gate", (d_model, d_ff)),
            ("up", (d_model, d_ff)),
            ("down", (d_ff, d_model)),
        ):
            self.add_module(f"{name}_proj", nn.Linear(*shape, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate_proj(x)
        return self.down_proj(gate * gate.sigmoid() * self.up_proj(x))


class RMSNorm(nn.Module):
    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


class Attention(nn.Module):
    def __init__(self, d_model: int, n_head: int, n_kv_head: int) -> None:
        super().__init__()
        self.n_head, self.n_kv_head, self.head_dim = (
            n_head,
            n_kv_head,
            d_model // n_head,
        )
        self.q_proj = nn.Linear(d_model, d_model, bias=False)
        self.k_proj = nn.Linear(d_model, n_kv_head * self.head_dim, bias=False)
        self.v_proj = nn.Linear(d_model, n_kv_head * self.head_dim, bias=False)
        self.o_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        queries = self.q_proj(x).split(self.head_dim, dim=-1)
        keys = self.k_proj(x).split(self.head_dim, dim=-1)
        values = self.v_proj(x).split(self.head_dim, dim=-1)
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        out: list[Tensor] = []
        for head, query in enumerate(queries):
            group = head * self.n_kv_head // self.n_head
            q = apply_rope(query[:, None], cos, sin)[:, 0]
            k = apply_rope(keys[group][:, None], cos, sin)[:, 0]
            scores = torch.einsum("btd,bsd->bts", q, k) / self.head_dim**0.5
            weights = scores.masked_fill(later, -torch.inf).softmax(dim=-1)
            out.append(torch.einsum("bts,bsd->btd", weights, values[group]))
        return self.o_proj(torch.cat(out, dim=-1))


class SmallLlama(nn.Module):
    """Without a class for the blocks: a dict of parts for each."""

    def __init__(
        self,
        vocab_size: int,
        n_layer: int,
        n_head: int,
        n_kv_head: int,
        d_model: int,
        d_ff: int,
        *,
        rope_theta: float = 10000.0,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.rotary = RotaryPositions(d_model // n_head, theta=rope_theta)
        self.tok_emb = nn.Embedding(vocab_size, d_model)
        self.blocks = nn.ModuleList()
        for _ in range(n_layer):
            parts: dict[str, nn.Module] = {
                "attn_norm": RMSNorm(d_model, norm_eps),
                "attn": Attention(d_model, n_head, n_kv_head),
                "mlp_norm": RMSNorm(d_model, norm_eps),
                "mlp": SwiGLU(d_model, d_ff),
            }
            self.blocks.append(nn.ModuleDict(parts))
        self.final_norm = RMSNorm(d_model, norm_eps)
        self.lm_head = nn.Linear(d_model, vocab_size, bias=False)

    def forward(self, ids: Tensor, *, positions: Tensor | None = None) -> Tensor:
        if positions is None:
            positions = torch.stack([torch.arange(ids.shape[1])] * ids.shape[0])
        cos, sin = self.rotary(positions)
        stream = self.tok_emb.weight[ids]
        for part in self.blocks:
            stream = stream + part["attn"](part["attn_norm"](stream), cos, sin)
            stream = stream + part["mlp"](part["mlp_norm"](stream))
        return self.lm_head(self.final_norm(stream))
