"""What people get wrong in lab 05: the norm and the MLP here; the rest in the files
that are imported below.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from . import (  # noqa: F401  # they declare theirs
    mutants_frequencies,
    mutants_model,
    mutants_rope,
    mutants_wiring,
    reference,
)
from .checks import lab

# ---- rms_norm


def _mean_square(x: Tensor) -> Tensor:
    return x.float().square().mean(-1, keepdim=True)


@lab.mutant("rms_norm", "eps is added to the root instead of under it")
def eps_outside(x, weight, eps=1e-5):
    return (x.float() / (_mean_square(x).sqrt() + eps)).to(x.dtype) * weight


@lab.mutant("rms_norm", "eps is left out")
def no_eps(x, weight, eps=1e-5):
    return (x.float() * _mean_square(x).rsqrt()).to(x.dtype) * weight


@lab.mutant("rms_norm", "eps is squared before it is added")
def eps_squared(x, weight, eps=1e-5):
    return (x.float() * (_mean_square(x) + eps**2).rsqrt()).to(x.dtype) * weight


@lab.mutant("rms_norm", "the argument eps is ignored and 1e-5 used")
def eps_default(x, weight, eps=1e-5):
    return reference.rms_norm(x, weight, 1e-5)


@lab.mutant("rms_norm", "the argument eps is ignored and 1e-6 used")
def eps_of_others(x, weight, eps=1e-5):
    return reference.rms_norm(x, weight, 1e-6)


@lab.mutant(
    "rms_norm",
    "eps is a lower limit of the mean of squares (clamp) instead of a summand",
)
def eps_clamps_mean(x, weight, eps=1e-5):
    return (x.float() * _mean_square(x).clamp(min=eps).rsqrt()).to(x.dtype) * weight


@lab.mutant(
    "rms_norm",
    "the vector is divided by its length (the L2 norm): squares are summed, and eps "
    "is left out",
)
def l2_norm(x, weight, eps=1e-5):
    return F.normalize(x.float(), dim=-1, eps=0.0).to(x.dtype) * weight


@lab.mutant(
    "rms_norm",
    "the mean runs over axis 0, the rows of the batch, instead of over the channels",
)
def axis_zero(x, weight, eps=1e-5):
    return (x.float() * (x.float().square().mean(0, keepdim=True) + eps).rsqrt()).to(
        x.dtype
    ) * weight


@lab.mutant(
    "rms_norm",
    "torch's layer_norm is used, which subtracts the mean, with an eps of its own",
)
def layer_norm(x, weight, eps=1e-5):
    return F.layer_norm(x, weight.shape, weight)


@lab.mutant(
    "rms_norm", "the mean of squares is detached, so that no gradient comes from it"
)
def detached(x, weight, eps=1e-5):
    return (x.float() * (_mean_square(x) + eps).rsqrt().detach()).to(x.dtype) * weight


@lab.mutant(
    "rms_norm", "eps is a lower limit of the root instead of a summand under it"
)
def eps_as_limit(x, weight, eps=1e-5):
    return (x.float() / _mean_square(x).sqrt().clamp(min=eps)).to(x.dtype) * weight


@lab.mutant("rms_norm", "the mean is subtracted first, as LayerNorm does")
def centred(x, weight, eps=1e-5):
    exact = x.float() - x.float().mean(-1, keepdim=True)
    return (exact * (_mean_square(exact) + eps).rsqrt()).to(x.dtype) * weight


@lab.mutant(
    "rms_norm",
    "the divisor is the standard deviation, which is taken around the mean, and not "
    "the root mean square",
)
def standard_deviation(x, weight, eps=1e-5):
    variance = x.float().var(-1, keepdim=True, unbiased=False)
    return (x.float() * (variance + eps).rsqrt()).to(x.dtype) * weight


@lab.mutant(
    "rms_norm",
    "the divisor comes from x.var(), which is taken around the mean and divides by C "
    "- 1",
)
def variance_of_torch(x, weight, eps=1e-5):
    return (x.float() * (x.float().var(-1, keepdim=True) + eps).rsqrt()).to(
        x.dtype
    ) * weight


@lab.mutant(
    "rms_norm", "the mean is subtracted in the numerator, but not under the root"
)
def numerator_centred(x, weight, eps=1e-5):
    centred = x.float() - x.float().mean(-1, keepdim=True)
    return (centred * (_mean_square(x) + eps).rsqrt()).to(x.dtype) * weight


@lab.mutant("rms_norm", "eps is added to the quotient: parentheses are missing")
def eps_after_division(x, weight, eps=1e-5):
    return (x.float() * _mean_square(x).rsqrt() + eps).to(x.dtype) * weight


@lab.mutant("rms_norm", "the squares are summed instead of averaged")
def summed(x, weight, eps=1e-5):
    return (x.float() * (_mean_square(x) * x.shape[-1] + eps).rsqrt()).to(
        x.dtype
    ) * weight


@lab.mutant(
    "rms_norm", "the root is forgotten: the vector is divided by its mean square"
)
def no_root(x, weight, eps=1e-5):
    return (x.float() / (_mean_square(x) + eps)).to(x.dtype) * weight


@lab.mutant(
    "rms_norm", "the vector is multiplied by its root mean square instead of divided"
)
def multiplied(x, weight, eps=1e-5):
    return (x.float() * (_mean_square(x) + eps).sqrt()).to(x.dtype) * weight


@lab.mutant(
    "rms_norm", "the statistics are taken in the dtype of the input instead of in fp32"
)
def low_precision(x, weight, eps=1e-5):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


@lab.mutant(
    "rms_norm",
    "everything is computed in the dtype of the input, with a root and a division, "
    "instead of in fp32",
)
def low_precision_division(x, weight, eps=1e-5):
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps) * weight


@lab.mutant("rms_norm", "the result stays in fp32 when the input is in bf16")
def not_cast_back(x, weight, eps=1e-5):
    return x.float() * (_mean_square(x) + eps).rsqrt() * weight.float()


@lab.mutant(
    "rms_norm",
    "the weight is applied before the norm, so that the norm takes its scale away "
    "again",
)
def weight_first(x, weight, eps=1e-5):
    scaled = x.float() * weight.float()
    return (scaled * (_mean_square(scaled) + eps).rsqrt()).to(x.dtype)


@lab.mutant("rms_norm", "the gain is 1 + weight, as in Gemma, instead of weight")
def one_plus_weight(x, weight, eps=1e-5):
    return (x.float() * (_mean_square(x) + eps).rsqrt()).to(x.dtype) * (1 + weight)


@lab.mutant("rms_norm", "the weight is left out")
def no_weight(x, weight, eps=1e-5):
    return (x.float() * (_mean_square(x) + eps).rsqrt()).to(x.dtype)


@lab.mutant("rms_norm", "the mean runs over the tokens instead of over the channels")
def wrong_axis(x, weight, eps=1e-5):
    return (x.float() * (x.float().square().mean(-2, keepdim=True) + eps).rsqrt()).to(
        x.dtype
    ) * weight


@lab.mutant(
    "rms_norm", "one mean is taken of the whole batch instead of one per vector"
)
def all_axes(x, weight, eps=1e-5):
    return (x.float() * (x.float().square().mean() + eps).rsqrt()).to(x.dtype) * weight


# ---- SwiGLU


@lab.mutant("SwiGLU", "gate and up are exchanged: the activation is on the wrong one")
class GateForUp(reference.SwiGLU):
    def forward(self, x):
        return self.down_proj(self.gate_proj(x) * F.silu(self.up_proj(x)))


@lab.mutant("SwiGLU", "the gate passes through a sigmoid (GLU) instead of SiLU")
class SigmoidGate(reference.SwiGLU):
    def forward(self, x):
        return self.down_proj(torch.sigmoid(self.gate_proj(x)) * self.up_proj(x))


@lab.mutant("SwiGLU", "the gate passes through GELU (GEGLU) instead of SiLU")
class GELUGate(reference.SwiGLU):
    def forward(self, x):
        return self.down_proj(F.gelu(self.gate_proj(x)) * self.up_proj(x))


@lab.mutant(
    "SwiGLU", "the gate passes through the tanh approximation of GELU instead of SiLU"
)
class TanhGELUGate(reference.SwiGLU):
    def forward(self, x):
        return self.down_proj(
            F.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x)
        )


@lab.mutant("SwiGLU", "the gate passes through ReLU (ReGLU) instead of SiLU")
class ReLUGate(reference.SwiGLU):
    def forward(self, x):
        return self.down_proj(F.relu(self.gate_proj(x)) * self.up_proj(x))


@lab.mutant("SwiGLU", "SiLU is applied to the product instead of to the gate")
class ProductActivated(reference.SwiGLU):
    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x) * self.up_proj(x)))


@lab.mutant("SwiGLU", "SiLU is applied to both factors")
class BothActivated(reference.SwiGLU):
    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * F.silu(self.up_proj(x)))


@lab.mutant("SwiGLU", "there is no activation: the product of two linear maps")
class NotActivated(reference.SwiGLU):
    def forward(self, x):
        return self.down_proj(self.gate_proj(x) * self.up_proj(x))


@lab.mutant("SwiGLU", "gate and value are added instead of multiplied")
class Added(reference.SwiGLU):
    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) + self.up_proj(x))


@lab.mutant("SwiGLU", "the gate is left out: an ordinary MLP with SiLU")
class NoGate(reference.SwiGLU):
    def forward(self, x):
        return self.down_proj(F.silu(self.up_proj(x)))


@lab.mutant("SwiGLU", "up_proj is forgotten: nothing is multiplied with the gate")
class NoUp(reference.SwiGLU):
    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)))


@lab.mutant("SwiGLU", "the input is added to the result; that is the block's business")
class Residual(reference.SwiGLU):
    def forward(self, x):
        return x + super().forward(x)


@lab.mutant("SwiGLU", "the projections have biases", section="No biases")
class Biased(reference.SwiGLU):
    def __init__(self, d_model, d_ff):
        super().__init__(d_model, d_ff, bias=True)
