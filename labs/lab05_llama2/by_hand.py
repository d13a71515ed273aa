"""What lab 05 is compared with besides the package: the same things again, plainly, in
Python or in fp64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def randn(*shape: int, seed: int) -> Tensor:
    """Normal numbers that are always the same."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def norm_by_hand(vector: list[float], eps: float) -> list[float]:
    """RMSNorm of one vector, without a gain."""
    root = math.sqrt(math.fsum(v * v for v in vector) / len(vector) + eps)
    return [v / root for v in vector]


def frequencies_by_hand(
    head_dim: int, theta: float, scaling: str = "", factor: float = 1.0
) -> list[float]:
    """The frequencies as a geometric sequence from the fastest pair to the slowest."""
    slowest = theta ** (-(head_dim - 2) / head_dim)
    if (
        scaling == "ntk"
    ):  # the fastest stays, the slowest is divided, a geometric sequence between
        slowest /= factor
    steps = head_dim // 2 - 1
    divide = factor if scaling == "linear" else 1.0
    return [slowest ** (i / steps) / divide for i in range(steps + 1)]


def turned_by_hand(
    x: Tensor, cos: Tensor, sin: Tensor, pairs: list[tuple[int, int]]
) -> Tensor:
    """Each pair as a complex number, turned by one multiplication, in fp64."""
    turned = x.double().clone()
    for i, (a, b) in enumerate(pairs):
        turn = torch.complex(cos[..., i].double(), sin[..., i].double())
        z = torch.complex(x[..., a].double(), x[..., b].double()) * turn
        turned[..., a], turned[..., b] = z.real, z.imag
    return turned


def llama_weights(
    *,
    vocab_size: int,
    n_layer: int,
    n_head: int,
    n_kv_head: int,
    d_model: int,
    d_ff: int,
    seed: int,
):
    """Weights that matter everywhere: large ones, and no norm at 1."""
    keys = n_kv_head * (d_model // n_head)
    shapes = {"tok_emb.weight": (vocab_size, d_model)}
    for i in range(n_layer):
        shapes |= {
            f"blocks.{i}.attn_norm.weight": (d_model,),
            f"blocks.{i}.mlp_norm.weight": (d_model,),
        }
        for name, rows in (
            ("q_proj", d_model),
            ("k_proj", keys),
            ("v_proj", keys),
            ("o_proj", d_model),
        ):
            shapes[f"blocks.{i}.attn.{name}.weight"] = (rows, d_model)
        for name, shape in (
            ("gate", (d_ff, d_model)),
            ("up", (d_ff, d_model)),
            ("down", (d_model, d_ff)),
        ):
            shapes[f"blocks.{i}.mlp.{name}_proj.weight"] = shape
    shapes |= {"final_norm.weight": (d_model,), "lm_head.weight": (vocab_size, d_model)}
    generator = torch.Generator().manual_seed(seed)

    def scaled(name: str, noise: Tensor) -> Tensor:
        if noise.ndim == 1:
            return 1 + 0.3 * noise
        return noise * (
            0.5 if "emb" in name or "head" in name else 1.2 * noise.shape[1] ** -0.5
        )

    return {
        name: scaled(name, torch.randn(shape, generator=generator))
        for name, shape in shapes.items()
    }


def llama_by_hand(
    weights: dict[str, Tensor],
    ids: Tensor,
    positions: Tensor,
    n_head: int,
    n_kv_head: int,
    *,
    rope_theta: float = 10_000.0,
    norm_eps: float = 1e-5,
) -> Tensor:
    """The same model in fp64, head by head and token by token, its rotation a complex
    product.
    """
    w = {name: value.double() for name, value in weights.items()}
    half = w["tok_emb.weight"].shape[1] // n_head // 2
    speeds = rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)

    def norm(x: Tensor, name: str) -> Tensor:
        return (
            x
            / ((x * x).sum(-1, keepdim=True) / x.shape[-1] + norm_eps).sqrt()
            * w[f"{name}.weight"]
        )

    def turned(x: Tensor, where: Tensor) -> Tensor:
        turn = torch.polar(torch.ones_like(speeds), speeds * where)
        return torch.complex(x[:half], x[half:]) * turn

    def attention(x: Tensor, name: str, where: Tensor) -> Tensor:
        q, k, v = (x @ w[f"{name}.{kind}_proj.weight"].T for kind in "qkv")
        out = torch.zeros_like(x)
        for head in range(n_head):
            mine = slice(2 * half * head, 2 * half * (head + 1))
            group = head * n_kv_head // n_head
            shared = slice(2 * half * group, 2 * half * (group + 1))
            keys = torch.stack([turned(k[t, shared], where[t]) for t in range(len(x))])
            for t in range(len(x)):
                scores = (turned(q[t, mine], where[t]).conj() * keys[: t + 1]).sum(
                    -1
                ).real / (2 * half) ** 0.5
                out[t, mine] = scores.softmax(0) @ v[: t + 1, shared]
        return out @ w[f"{name}.o_proj.weight"].T

    logits = []
    for row, where in zip(ids, positions, strict=True):
        x = w["tok_emb.weight"][row]
        for i in range(sum(name.endswith("attn_norm.weight") for name in w)):
            x = x + attention(
                norm(x, f"blocks.{i}.attn_norm"), f"blocks.{i}.attn", where
            )
            h = norm(x, f"blocks.{i}.mlp_norm")
            gate, up, down = (
                w[f"blocks.{i}.mlp.{name}_proj.weight"]
                for name in ("gate", "up", "down")
            )
            x = x + ((h @ gate.T) * torch.sigmoid(h @ gate.T) * (h @ up.T)) @ down.T
        logits.append(norm(x, "final_norm") @ w["lm_head.weight"].T)
    return torch.stack(logits).float()


def cancelling(
    cos: Tensor, sin: Tensor, pairs: list[tuple[int, int]], seed: int
) -> Tensor:
    """Vectors in bf16 whose first member of each pair comes out small, as a difference
    of two large products.
    """
    shape = (cos.shape[0], 3, *cos.shape[2:])
    target = 1 + randn(*shape, seed=seed).abs()
    for a, _ in pairs:
        target[..., a] = 0.02 * randn(*shape[:-1], seed=seed + 1 + a)
    return turned_by_hand(target, cos, -sin, pairs).bfloat16()


def heads(x: Tensor, head_dim: int) -> Tensor:
    """(B, T, H D) -> (B, H, T, D)."""
    return x.unflatten(-1, (-1, head_dim)).transpose(1, 2)
