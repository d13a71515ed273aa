"""The parts beside attention that every block is made of: a norm, an MLP, and the two
residual lines.

    x = x + attn(norm(x))
    x = x + mlp(norm(x))

Source: J. L. Ba et al., "Layer Normalization", 2016; B. Zhang, R. Sennrich, "Root Mean
Square Layer Normalization", 2019; D. Hendrycks, K. Gimpel, "Gaussian Error Linear
Units", 2016; N. Shazeer, "GLU Variants Improve Transformer", 2020; R. Xiong et al., "On
Layer Normalization in the Transformer Architecture", 2020 (norms before, not after).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from happyllm_support.model.attention import Attention
from happyllm_support.model.context import Context


class LayerNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axis.

    Args:
        d_model: C, length of the last axis.
        eps: added to the variance, inside the root.
        bias: whether there is one.
    """

    def __init__(self, d_model: int, eps: float = 1e-5, *, bias: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model)) if bias else None

    def forward(self, x: Float[Tensor, "... C"]) -> Float[Tensor, "... C"]:
        """Shift each vector to mean 0 and scale it to variance 1; then weight and bias.

            mean = x.mean(-1, keepdim=True)
            variance = (x - mean).square().mean(-1, keepdim=True)
            (x - mean) * torch.rsqrt(variance + eps) * weight + bias

        This is what the fused kernel computes, in one pass over x and with sums in
        fp32. Written out, forward and backward take five times as long.
        """
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last axis: a LayerNorm that neither
    centres nor shifts.

    The mean of squares is taken in fp32 also for bf16 input: in bf16 a sum of a few
    hundred squares loses its small ones. The result is rounded to the input's dtype
    before the weight is applied, as LLaMA does.

    Args:
        d_model: C, length of the last axis.
        eps: added to the mean of squares, inside the root.
    """

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Float[Tensor, "... C"]) -> Float[Tensor, "... C"]:
        """Scale each vector to a root mean square of 1, then by the weight."""
        exact = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        inverse_rms = torch.rsqrt(exact.square().mean(dim=-1, keepdim=True) + self.eps)
        return (exact * inverse_rms).to(x.dtype) * self.weight


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


class GELUMLP(nn.Module):
    """down(gelu(up(x))): GPT-2's MLP, each token by itself.

    Args:
        d_model: C, width of input and output.
        d_ff: width in between, 4 C in GPT-2.
        bias: whether the two projections have one.
        activation: a name in `ACTIVATIONS`; GPT-2 was trained with "gelu_tanh".

    Raises:
        ValueError: an unknown activation.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        *,
        bias: bool = True,
        activation: str = "gelu_tanh",
    ) -> None:
        super().__init__()
        check_activation(activation)
        self.activation = activation
        self.up_proj = nn.Linear(d_model, d_ff, bias=bias)
        self.down_proj = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Float[Tensor, "... C"]) -> Float[Tensor, "... C"]:
        """Apply the MLP to every vector on the last axis."""
        return self.down_proj(ACTIVATIONS[self.activation](self.up_proj(x)))


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)): LLaMA's MLP; three matrices, so at equal size d_ff
    is 2/3 of GPT-2's.

    Args:
        d_model: C, width of input and output.
        d_ff: width in between.
        bias: whether the three projections have one.
    """

    def __init__(self, d_model: int, d_ff: int, *, bias: bool = False) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(d_model, d_ff, bias=bias)
        self.up_proj = nn.Linear(d_model, d_ff, bias=bias)
        self.down_proj = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Float[Tensor, "... C"]) -> Float[Tensor, "... C"]:
        """Apply the MLP to every vector on the last axis."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """One layer of a transformer; the norms stand before the parts.

    Args:
        attn_norm: norm in front of attention.
        attn: attention.
        mlp_norm: norm in front of the MLP.
        mlp: the MLP.

    Attributes:
        dropout: drops elements of what a part adds to the stream, in training, once
            `modes.set_dropout` has given it a probability.
    """

    def __init__(
        self,
        attn_norm: nn.Module,
        attn: Attention,
        mlp_norm: nn.Module,
        mlp: nn.Module,
    ) -> None:
        super().__init__()
        self.attn_norm = attn_norm
        self.attn = attn
        self.mlp_norm = mlp_norm
        self.mlp = mlp
        self.dropout = nn.Dropout(0.0)

    def forward(
        self, x: Float[Tensor, "B T C"], context: Context | None = None, layer: int = 0
    ) -> Float[Tensor, "B T C"]:
        """Let the tokens exchange what they know, then let each think about it."""
        x = x + self.dropout(self.attn(self.attn_norm(x), context, layer))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


def initialise_normal(
    model: nn.Module,
    std: float,
    *,
    residual_std: float,
    generator: torch.Generator | None = None,
) -> None:
    """Draw all matrices from N(0, std^2); gains of norms become 1, biases 0.

    Args:
        model: anything made of the parts of this course.
        std: standard deviation, 0.02 in GPT-2.
        residual_std: that of `o_proj` and `down_proj`, whose outputs are added up over
            the layers: with std / sqrt(2 n_layer) the sum of 2 n_layer of them has the
            variance of one.
        generator: source of the numbers; None: PyTorch's global one.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            continue
        if parameter.ndim == 2:
            residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            nn.init.normal_(
                parameter, std=residual_std if residual else std, generator=generator
            )
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.ones_(parameter)


def tie_head(lm_head: nn.Module, tok_emb: nn.Embedding) -> None:
    """Give the head the embedding's weight.

    Raises:
        ValueError: the head is something that holds a linear map (an adapter, a
            quantized layer) and would get a second weight.
    """
    if not isinstance(lm_head, nn.Linear):
        raise ValueError(
            f"lm_head is a {type(lm_head).__name__}; expected nn.Linear, so tie the "
            "weights before the head is wrapped"
        )
    lm_head.weight = tok_emb.weight


def check_sizes(config: object, *names: str) -> None:
    """Raise ValueError for an attribute that is not a positive integer."""
    for name in names:
        value = getattr(config, name)
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} is {value!r}; expected a positive whole number")


def check_positive(config: object, *names: str) -> None:
    """Raise ValueError for an attribute that is not a positive, finite number."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ValueError(f"{name} is {value!r}; expected a positive number")


def check_activation(activation: str) -> None:
    """Raise ValueError for a name that is not in `ACTIVATIONS`."""
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"activation {activation!r} is unknown; allowed are "
            f"{', '.join(ACTIVATIONS)}"
        )
