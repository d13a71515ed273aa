"""Lab 04, solved in another way than the package: einsum, loops, formulas in other
forms.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    return torch.addcmul(bias, (x - mean) * (variance + eps) ** -0.5, weight)


def gelu(x: Tensor) -> Tensor:
    # (1 + tanh(u)) / 2 is the logistic function of 2 u
    return x * torch.sigmoid(x * (1.0 + 0.044715 * x * x) * math.sqrt(8 / math.pi))


class GELUMLP(nn.Module):
    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.down_proj = nn.Linear(d_ff, d_model)
        self.up_proj = nn.Linear(d_model, d_ff)

    def forward(self, x: Tensor) -> Tensor:
        up = torch.einsum("...c,fc->...f", x, self.up_proj.weight) + self.up_proj.bias
        return (
            torch.einsum("...f,cf->...c", gelu(up), self.down_proj.weight)
            + self.down_proj.bias
        )


class Block(nn.Module):
    def __init__(
        self, attn_norm: nn.Module, attn: nn.Module, mlp_norm: nn.Module, mlp: nn.Module
    ) -> None:
        super().__init__()
        for name, part in (
            ("mlp", mlp),
            ("mlp_norm", mlp_norm),
            ("attn", attn),
            ("attn_norm", attn_norm),
        ):
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        for norm, part in ((self.attn_norm, self.attn), (self.mlp_norm, self.mlp)):
            x = torch.add(part(norm(x)), x)
        return x


def initialise(
    shapes: dict[str, tuple[int, ...]],
    n_layer: int,
    generator: torch.Generator,
    std: float = 0.02,
) -> dict[str, Tensor]:
    drawn = {}
    for name, shape in shapes.items():
        module, kind = name.split(".")[-2:]
        tensor = torch.full(shape, 1.0 if kind == "weight" else 0.0)
        if tensor.ndim > 1:
            share = {
                "o_proj": 0.5 / n_layer,
                "down_proj": 0.5 / n_layer,
                "pos_emb": 0.25,
            }.get(module, 1.0)
            tensor.normal_(0.0, (std * std * share) ** 0.5, generator=generator)
        drawn[name] = tensor
    return drawn


class LayerNorm(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.ones(d_model)),
            nn.Parameter(torch.zeros(d_model)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.bias)


class Attention(nn.Module):
    def __init__(self, d_model: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            nn.Linear(d_model, d_model) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            p(x).unflatten(-1, (self.n_head, -1))
            for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        scores = torch.einsum("bthd,bshd->bhts", q, k) / math.sqrt(q.shape[-1])
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        weights = scores.masked_fill(future, -math.inf).softmax(-1)
        return self.o_proj(torch.einsum("bhts,bshd->bthd", weights, v).flatten(2))


class StandIn(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.proj = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).tanh()


class GPT2(nn.Module):
    def __init__(
        self, vocab_size: int, max_seq_len: int, n_layer: int, n_head: int, d_model: int
    ) -> None:
        super().__init__()
        self.lm_head = nn.Linear(d_model, vocab_size, bias=False)
        self.final_norm = LayerNorm(d_model)
        self.blocks = nn.ModuleList()
        for _ in range(n_layer):
            parts = (
                LayerNorm(d_model),
                Attention(d_model, n_head),
                LayerNorm(d_model),
                GELUMLP(d_model, 4 * d_model),
            )
            self.blocks.append(Block(*parts))
        self.pos_emb = nn.Embedding(max_seq_len, d_model)
        self.tok_emb = nn.Embedding(vocab_size, d_model, _weight=self.lm_head.weight)
        self.tok_emb.weight = self.lm_head.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tok_emb(ids) + self.pos_emb.weight[None, : ids.shape[-1]]
        for block in self.blocks:
            x = block(x)
        return torch.einsum("btc,vc->btv", self.final_norm(x), self.tok_emb.weight)

    def num_parameters(self) -> int:
        return sum(
            {
                id(p): p.numel()
                for _, p in self.named_parameters(remove_duplicate=False)
            }.values()
        )

    def load(self, parameters: dict[str, Tensor]) -> None:
        own = dict(self.named_parameters(remove_duplicate=False))
        with torch.no_grad():
            for name, tensor in parameters.items():
                own[name].copy_(tensor)


def load_conv1d(tensors: dict[str, Tensor], n_layer: int) -> dict[str, Tensor]:
    names = {"wte.weight": "tok_emb.weight", "wpe.weight": "pos_emb.weight"}
    for kind in ("weight", "bias"):
        names[f"ln_f.{kind}"] = f"final_norm.{kind}"
        for i in range(n_layer):
            for there, here in {
                "ln_1": "attn_norm",
                "attn.c_attn": "attn.qkv",
                "attn.c_proj": "attn.o_proj",
                "ln_2": "mlp_norm",
                "mlp.c_fc": "mlp.up_proj",
                "mlp.c_proj": "mlp.down_proj",
            }.items():
                names[f"h.{i}.{there}.{kind}"] = f"blocks.{i}.{here}.{kind}"
    found = {}
    for full, tensor in tensors.items():
        name = full.removeprefix("transformer.")
        if name in names:
            found[names[name]] = (
                tensor.clone().t()
                if ".c_" in name and tensor.dim() == 2
                else tensor.clone()
            )
        elif full != "lm_head.weight" and name.split(".")[2:] not in (
            ["attn", "bias"],
            ["attn", "masked_bias"],
        ):
            raise ValueError(
                f"the checkpoint holds {full}, which is no tensor of a GPT-2 with "
                f"{n_layer} layers"
            )
    for name, ours in names.items():
        if ours not in found:
            raise ValueError(f"the checkpoint lacks {name}")
    for name in [name for name in found if ".qkv." in name]:
        fused = found.pop(name)
        width = len(fused) // 3
        for n, part in enumerate("qkv"):
            found[name.replace("qkv", f"{part}_proj")] = fused[
                n * width : (n + 1) * width
            ]
    return found
