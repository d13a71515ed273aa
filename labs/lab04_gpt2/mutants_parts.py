"""Mistakes in the formulas: LayerNorm and GELU."""

from __future__ import annotations

import math

import torch

from . import reference
from .by_hand import gelu_by_loops
from .checks import lab


@lab.mutant("layer_norm", "eps is added outside of the root")
def eps_outside(x, weight, bias, eps=1e-5):
    centred = x - x.mean(dim=-1, keepdim=True)
    return (
        centred / (centred.square().mean(dim=-1, keepdim=True).sqrt() + eps) * weight
        + bias
    )


@lab.mutant("layer_norm", "the argument eps is not used, and 1e-5 always is")
def eps_fixed(x, weight, bias, eps=1e-5):
    return reference.layer_norm(x, weight, bias)


@lab.mutant(
    "layer_norm",
    "the variance is divided by C - 1, as torch.var and torch.std do by default",
)
def unbiased(x, weight, bias, eps=1e-5):
    return (x - x.mean(dim=-1, keepdim=True)) / torch.sqrt(
        x.var(dim=-1, keepdim=True) + eps
    ) * weight + bias


@lab.mutant(
    "layer_norm", "the mean is not subtracted: a root mean square norm with a shift"
)
def not_centred(x, weight, bias, eps=1e-5):
    return x / torch.sqrt(x.square().mean(dim=-1, keepdim=True) + eps) * weight + bias


@lab.mutant(
    "layer_norm",
    "the mean is subtracted for the variance, but not from what is divided",
)
def numerator_not_centred(x, weight, bias, eps=1e-5):
    return (
        x / torch.sqrt(x.var(dim=-1, correction=0, keepdim=True) + eps) * weight + bias
    )


@lab.mutant("layer_norm", "the numbers are divided by the variance, without the root")
def no_root(x, weight, bias, eps=1e-5):
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + eps) * weight + bias


@lab.mutant(
    "layer_norm",
    "the statistics are taken over all tokens at once instead of over each one's C "
    "numbers",
)
def over_everything(x, weight, bias, eps=1e-5):
    centred = x - x.mean()
    return centred / torch.sqrt(centred.square().mean() + eps) * weight + bias


@lab.mutant(
    "layer_norm",
    "the statistics are taken over the first axis (the batch), as a batch norm does",
)
def over_batch(x, weight, bias, eps=1e-5):
    centred = x - x.mean(dim=0, keepdim=True)
    return (
        centred / torch.sqrt(centred.square().mean(dim=0, keepdim=True) + eps) * weight
        + bias
    )


@lab.mutant(
    "layer_norm", "eps is not added at all, and tokens of small numbers are blown up"
)
def no_eps(x, weight, bias, eps=1e-5):
    return reference.layer_norm(x, weight, bias, 0.0)


@lab.mutant(
    "layer_norm",
    "x.std is divided by as it is: it divides by C - 1, and eps is missing",
)
def plain_std(x, weight, bias, eps=1e-5):
    return (x - x.mean(dim=-1, keepdim=True)) / x.std(
        dim=-1, keepdim=True
    ) * weight + bias


@lab.mutant(
    "layer_norm",
    "x.std + eps is divided by: std divides by C - 1, and eps belongs inside of the "
    "root",
)
def std_and_eps(x, weight, bias, eps=1e-5):
    return (x - x.mean(dim=-1, keepdim=True)) / (
        x.std(dim=-1, keepdim=True) + eps
    ) * weight + bias


@lab.mutant("layer_norm", "eps is added twice, or doubled")
def eps_twice(x, weight, bias, eps=1e-5):
    return reference.layer_norm(x, weight, bias, 2 * eps)


@lab.mutant(
    "layer_norm",
    "the statistics are taken over axis 1, the tokens; they belong over the last "
    "axis, dim=-1",
)
def over_axis_one(x, weight, bias, eps=1e-5):
    centred = x - x.mean(dim=1, keepdim=True)
    return (
        centred / torch.sqrt(centred.square().mean(dim=1, keepdim=True) + eps) * weight
        + bias
    )


@lab.mutant("layer_norm", "the gain is 1 + weight; here weight itself is the gain")
def one_plus_weight(x, weight, bias, eps=1e-5):
    return reference.layer_norm(x, 1 + weight, bias, eps)


@lab.mutant("layer_norm", "the gain is not multiplied")
def no_gain(x, weight, bias, eps=1e-5):
    return reference.layer_norm(x, torch.ones_like(weight), bias, eps)


@lab.mutant("layer_norm", "the bias is not added")
def no_bias(x, weight, bias, eps=1e-5):
    return reference.layer_norm(x, weight, torch.zeros_like(bias), eps)


@lab.mutant("layer_norm", "the bias is added before the gain and is multiplied by it")
def bias_before_gain(x, weight, bias, eps=1e-5):
    return reference.layer_norm(x, weight, bias * weight, eps)


@lab.mutant(
    "layer_norm",
    "the variance is the mean of squares minus the square of the mean, which cancels "
    "in float32",
)
def cancelling(x, weight, bias, eps=1e-5):
    mean = x.mean(dim=-1, keepdim=True)
    variance = x.square().mean(dim=-1, keepdim=True) - mean.square()
    return (x - mean) / torch.sqrt(variance + eps) * weight + bias


@lab.mutant(
    "layer_norm",
    "mean and variance are cut off from the gradient, by detach() or no_grad()",
)
def detached(x, weight, bias, eps=1e-5):
    mean, variance = (
        x.detach().mean(-1, keepdim=True),
        x.detach().var(-1, correction=0, keepdim=True),
    )
    return (x - mean) / torch.sqrt(variance + eps) * weight + bias


# GELU

FACTOR = math.sqrt(2 / math.pi)


@lab.mutant("gelu", "the exact form with erf is used, which GPT-2 was not trained with")
def exact(x):
    return x / 2 * (1 + torch.erf(x / math.sqrt(2)))


@lab.mutant("gelu", "the approximation by a sigmoid, x sigmoid(1.702 x), is used")
def sigmoid(x):
    return x * torch.sigmoid(1.702 * x)


@lab.mutant("gelu", "it is ReLU")
def relu(x):
    return x.clamp(min=0)


@lab.mutant("gelu", "it is SiLU, x sigmoid(x)")
def silu(x):
    return x * torch.sigmoid(x)


@lab.mutant("gelu", "the factor is sqrt(2 pi) instead of sqrt(2 / pi)")
def wrong_factor(x):
    return x / 2 * (1 + torch.tanh(math.sqrt(2 * math.pi) * (x + 0.044715 * x**3)))


@lab.mutant("gelu", "the factor is 2 / pi, without the root")
def factor_without_root(x):
    return x / 2 * (1 + torch.tanh(2 / math.pi * (x + 0.044715 * x**3)))


@lab.mutant("gelu", "the coefficient of the cube is ten times too large, 0.44715")
def wrong_coefficient(x):
    return x / 2 * (1 + torch.tanh(FACTOR * (x + 0.44715 * x**3)))


@lab.mutant("gelu", "the cubic term is missing")
def no_cube(x):
    return x / 2 * (1 + torch.tanh(FACTOR * x))


@lab.mutant("gelu", "x is squared where it should be cubed")
def squared(x):
    return x / 2 * (1 + torch.tanh(FACTOR * (x + 0.044715 * x**2)))


@lab.mutant(
    "gelu",
    "sqrt(2 / pi) multiplies x only and not the cubic term, a pair of brackets is "
    "missing",
)
def brackets(x):
    return x / 2 * (1 + torch.tanh(FACTOR * x + 0.044715 * x**3))


@lab.mutant("gelu", "the factor 1/2 is missing")
def no_half(x):
    return x * (1 + torch.tanh(FACTOR * (x + 0.044715 * x**3)))


@lab.mutant("gelu", "the 1 in front of tanh is missing")
def no_one(x):
    return x / 2 * torch.tanh(FACTOR * (x + 0.044715 * x**3))


@lab.mutant("gelu", "tanh is made of exponentials, which overflow for large numbers")
def overflowing(x):
    grown = torch.exp(2 * FACTOR * (x + 0.044715 * x**3))
    return x / 2 * (1 + (grown - 1) / (grown + 1))


@lab.mutant(
    "gelu", "the numbers go through Python's math or NumPy, where no gradient follows"
)
def cut_off(x):
    return gelu_by_loops(x.detach()).to(x.dtype)
