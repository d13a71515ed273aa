"""The package's code under the names of the lab."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from happyllm_support.model import attention, gpt2, layers
from happyllm_support.model.layers import Block, LayerNorm, initialise_normal
from happyllm_support.model.weights.huggingface_gpt2 import gpt2_layout

__all__ = ["GELUMLP", "GPT2", "Attention", "Block", "LayerNorm", "StandIn"]


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return functional_call(
        LayerNorm(x.shape[-1], eps), {"weight": weight, "bias": bias}, (x,)
    )


def gelu(x: Tensor) -> Tensor:
    return layers.ACTIVATIONS["gelu_tanh"](x)


class GELUMLP(layers.GELUMLP):
    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__(d_model, d_ff)


def initialise(
    shapes: dict[str, tuple[int, ...]],
    n_layer: int,
    generator: torch.Generator,
    std: float = 0.02,
) -> dict[str, Tensor]:
    drawn: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        one = _Named(name, torch.empty(shape))
        usual = std / 2 if name == "pos_emb.weight" else std
        initialise_normal(
            one, usual, residual_std=std * (2 * n_layer) ** -0.5, generator=generator
        )
        drawn[name] = one.tensor.detach()
    return drawn


class _Named(nn.Module):
    """A module with one parameter of any name."""

    def __init__(self, name: str, tensor: Tensor) -> None:
        super().__init__()
        self.name, self.tensor = name, nn.Parameter(tensor)

    def named_parameters(self, *_, **__):
        yield self.name, self.tensor


class Attention(attention.Attention):
    def __init__(self, d_model: int, n_head: int) -> None:
        super().__init__(d_model, n_head, bias=True)


class StandIn(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.proj = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.proj(x))


class GPT2(gpt2.GPT2):
    def __init__(
        self, vocab_size: int, max_seq_len: int, n_layer: int, n_head: int, d_model: int
    ) -> None:
        sizes = {
            "max_seq_len": max_seq_len,
            "n_layer": n_layer,
            "n_head": n_head,
            "d_model": d_model,
        }
        super().__init__(gpt2.GPT2Config(vocab_size=vocab_size, **sizes))

    def load(self, parameters: dict[str, Tensor]) -> None:
        self.load_state_dict(
            {**parameters, "lm_head.weight": parameters["tok_emb.weight"]}, assign=True
        )
        self.tie_weights()


def load_conv1d(tensors: dict[str, Tensor], n_layer: int) -> dict[str, Tensor]:
    layout = gpt2_layout(gpt2.GPT2Config(n_layer=n_layer))
    stored = {layout.canonical(name): tensor for name, tensor in tensors.items()}
    unknown = [
        n
        for n in stored
        if n not in layout.tensors
        and n != layout.head
        and not layout.ignored.fullmatch(n)
    ]
    missing = [name for name in layout.tensors if name not in stored]
    if unknown or missing:
        raise ValueError(f"{', '.join(unknown + missing)}: unknown or missing")
    parts = [entry.take_apart(stored[name]) for name, entry in layout.tensors.items()]
    return {
        target: part.contiguous() for found in parts for target, part in found.items()
    }
