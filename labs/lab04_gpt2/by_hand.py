"""Inputs for the checks of lab 04, and what comes out of them, computed without the
package: loops, and float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

SIZES = {"vocab_size": 13, "max_seq_len": 7, "n_layer": 2, "n_head": 2, "d_model": 8}


def seeded(seed: int) -> torch.Generator:
    """A generator."""
    return torch.Generator().manual_seed(seed)


def normal(
    *shape: int, seed: int, scale: float = 1.0, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Normal numbers of a seed."""
    return scale * torch.randn(shape, generator=seeded(seed), dtype=dtype)


def norm_by_loops(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LayerNorm of each row of (N, C), number by number, in Python's floats."""
    rows: list[list[float]] = []
    for row in x.tolist():
        mean = sum(row) / len(row)
        root = math.sqrt(sum((number - mean) ** 2 for number in row) / len(row) + eps)
        rows.append(
            [
                (n - mean) / root * w + b
                for n, w, b in zip(row, weight.tolist(), bias.tolist(), strict=True)
            ]
        )
    return torch.tensor(rows, dtype=torch.float64)


def gelu_by_loops(x: Tensor) -> Tensor:
    """The tanh form, number by number."""
    numbers = [
        n / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (n + 0.044715 * n**3)))
        for n in x.flatten().tolist()
    ]
    return torch.tensor(numbers, dtype=torch.float64).reshape(x.shape)


def gelu_slope(x: Tensor) -> Tensor:
    """The derivative of the tanh form, by hand."""
    k = math.sqrt(2 / math.pi)
    t = torch.tanh(k * (x + 0.044715 * x**3))
    return (1 + t) / 2 + x / 2 * (1 - t**2) * k * (1 + 3 * 0.044715 * x**2)


def linear64(x: Tensor, weights: Weights, name: str) -> Tensor:
    """A linear map in float64."""
    return x @ weights[f"{name}.weight"].double().T + weights[f"{name}.bias"].double()


def norm64(x: Tensor, weights: Weights, name: str) -> Tensor:
    """A LayerNorm in float64."""
    return F.layer_norm(
        x,
        x.shape[-1:],
        weights[f"{name}.weight"].double(),
        weights[f"{name}.bias"].double(),
    )


def attention64(x: Tensor, weights: Weights, name: str, n_head: int) -> Tensor:
    """Causal attention in float64, one head and one query after the other."""
    q, k, v = (linear64(x, weights, f"{name}.{part}_proj") for part in "qkv")
    heads: list[Tensor] = []
    for part in torch.arange(x.shape[-1]).chunk(n_head):
        queries: list[Tensor] = []
        for t in range(x.shape[1]):
            scores = (k[:, : t + 1, part] * q[:, t : t + 1, part]).sum(-1) / math.sqrt(
                len(part)
            )
            queries.append((scores.softmax(-1)[..., None] * v[:, : t + 1, part]).sum(1))
        heads.append(torch.stack(queries, dim=1))
    return linear64(torch.cat(heads, dim=-1), weights, f"{name}.o_proj")


def part_weights(width: int, seed: int) -> Weights:
    """Random weights of a norm, attention, a norm and a stand-in MLP; all gains and
    biases count.
    """
    generator = seeded(seed)
    shapes = {f"attn.{part}_proj": (width, width) for part in "qkvo"} | {
        "mlp.proj": (width, width)
    }
    weights: Weights = {}
    for name in ("attn_norm", "mlp_norm"):
        weights[f"{name}.weight"] = 1 + 0.5 * torch.randn(width, generator=generator)
        weights[f"{name}.bias"] = 0.5 * torch.randn(width, generator=generator)
    for name, shape in shapes.items():
        weights[f"{name}.weight"] = torch.randn(shape, generator=generator) / 2
        weights[f"{name}.bias"] = 0.3 * torch.randn(width, generator=generator)
    return weights


def shapes_of(width: int, d_ff: int) -> Shapes:
    """Some of a model's parameters: the tables, blocks 0 and 5, the last norm."""
    shapes: Shapes = {"tok_emb.weight": (100, width), "pos_emb.weight": (64, width)}
    for i in (0, 5):
        for norm in ("attn_norm", "mlp_norm"):
            shapes |= {
                f"blocks.{i}.{norm}.weight": (width,),
                f"blocks.{i}.{norm}.bias": (width,),
            }
        for part, (d_out, d_in) in {
            **{f"attn.{part}_proj": (width, width) for part in "qkvo"},
            "mlp.up_proj": (d_ff, width),
            "mlp.down_proj": (width, d_ff),
        }.items():
            shapes |= {
                f"blocks.{i}.{part}.weight": (d_out, d_in),
                f"blocks.{i}.{part}.bias": (d_out,),
            }
    return shapes | {"final_norm.weight": (width,), "final_norm.bias": (width,)}


def model_weights(seed: int) -> Weights:
    """Random weights for every parameter of the small model but its head."""
    generator = seeded(seed)

    def draw(*shape: int, scale: float, around: float = 0.0) -> Tensor:
        return around + scale * torch.randn(shape, generator=generator)

    width = SIZES["d_model"]
    weights = {"tok_emb.weight": draw(SIZES["vocab_size"], width, scale=0.7)}
    weights["pos_emb.weight"] = draw(SIZES["max_seq_len"], width, scale=0.7)
    norms = [
        f"blocks.{i}.{norm}"
        for i in range(SIZES["n_layer"])
        for norm in ("attn_norm", "mlp_norm")
    ]
    for name in (*norms, "final_norm"):
        weights[f"{name}.weight"], weights[f"{name}.bias"] = (
            draw(width, scale=0.3, around=1),
            draw(width, scale=0.3),
        )
    for i in range(SIZES["n_layer"]):
        sizes = {f"attn.{part}_proj": (width, width) for part in "qkvo"}
        sizes |= {
            "mlp.up_proj": (4 * width, width),
            "mlp.down_proj": (width, 4 * width),
        }
        for name, (d_out, d_in) in sizes.items():
            weights[f"blocks.{i}.{name}.weight"] = draw(d_out, d_in, scale=d_in**-0.5)
            weights[f"blocks.{i}.{name}.bias"] = draw(d_out, scale=0.3)
    return weights


def model64(ids: Tensor, weights: Weights) -> Tensor:
    """The whole model in float64, written as formulas; the table is used twice."""
    x = (
        weights["tok_emb.weight"].double()[ids]
        + weights["pos_emb.weight"].double()[: ids.shape[1]]
    )
    for i in range(SIZES["n_layer"]):
        x = x + attention64(
            norm64(x, weights, f"blocks.{i}.attn_norm"),
            weights,
            f"blocks.{i}.attn",
            SIZES["n_head"],
        )
        up = linear64(
            norm64(x, weights, f"blocks.{i}.mlp_norm"),
            weights,
            f"blocks.{i}.mlp.up_proj",
        )
        bent = (
            up / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3)))
        )
        x = x + linear64(bent, weights, f"blocks.{i}.mlp.down_proj")
    return norm64(x, weights, "final_norm") @ weights["tok_emb.weight"].double().T


def table_gradient(ids: Tensor, weights: Weights, cotangent: Tensor) -> Tensor:
    """The gradient of the table, over both of its uses."""
    table = weights["tok_emb.weight"].double().requires_grad_()
    model64(ids, {**weights, "tok_emb.weight": table}).backward(cotangent.double())
    assert table.grad is not None
    return table.grad.float()


def checkpoint(
    n_layer: int,
    width: int,
    d_ff: int,
    *,
    seed: int,
    prefix: str = "",
    extras: bool = False,
) -> tuple[Weights, Weights]:
    """A checkpoint in Hugging Face's names, and what it is in ours, by indexing."""
    generator = seeded(seed)
    theirs: Weights = {}
    ours: Weights = {}

    def draw(there: str, *shape: int) -> Tensor:
        theirs[f"{prefix}{there}"] = torch.randn(shape, generator=generator)
        return theirs[f"{prefix}{there}"]

    ours["tok_emb.weight"], ours["pos_emb.weight"] = (
        draw("wte.weight", 9, width),
        draw("wpe.weight", 5, width),
    )
    for i in range(n_layer):
        there, here = f"h.{i}", f"blocks.{i}"
        for norm, name in (("ln_1", "attn_norm"), ("ln_2", "mlp_norm")):
            for kind in ("weight", "bias"):
                ours[f"{here}.{name}.{kind}"] = draw(f"{there}.{norm}.{kind}", width)
        fused, bias = (
            draw(f"{there}.attn.c_attn.weight", width, 3 * width),
            draw(f"{there}.attn.c_attn.bias", 3 * width),
        )
        for n, part in enumerate("qkv"):
            columns = range(n * width, (n + 1) * width)
            ours[f"{here}.attn.{part}_proj.weight"] = torch.stack(
                [fused[:, column] for column in columns]
            )
            ours[f"{here}.attn.{part}_proj.bias"] = torch.stack(
                [bias[column] for column in columns]
            )
        for name, part, d_in, d_out in (
            ("attn.c_proj", "attn.o_proj", width, width),
            ("mlp.c_fc", "mlp.up_proj", width, d_ff),
            ("mlp.c_proj", "mlp.down_proj", d_ff, width),
        ):
            conv = draw(f"{there}.{name}.weight", d_in, d_out)
            ours[f"{here}.{part}.weight"] = torch.stack(
                [conv[:, column] for column in range(d_out)]
            )
            ours[f"{here}.{part}.bias"] = draw(f"{there}.{name}.bias", d_out)
        if extras:
            theirs[f"{prefix}{there}.attn.bias"] = torch.ones(1, 1, 5, 5).tril()
            theirs[f"{prefix}{there}.attn.masked_bias"] = torch.tensor(-1e4)
    for kind in ("weight", "bias"):
        ours[f"final_norm.{kind}"] = draw(f"ln_f.{kind}", width)
    if extras:
        theirs["lm_head.weight"] = theirs[f"{prefix}wte.weight"].clone()
    return theirs, ours
