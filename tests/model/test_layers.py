"""Norms, MLPs and the block against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from small_models import close, randomise
from torch import Tensor

from happyllm_support.model.attention import Attention
from happyllm_support.model.layers import (
    ACTIVATIONS,
    GELUMLP,
    Block,
    LayerNorm,
    RMSNorm,
    SwiGLU,
    check_sizes,
    initialise_normal,
)


def vectors(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64
    ).to(dtype)


def test_layer_norm_by_hand():
    norm = LayerNorm(2, eps=0.75)  # mean 2, variance 1: (x - 2) / sqrt(1.75)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, 1.0]))
        norm.bias.copy_(torch.tensor([0.5, 0.0]))
    out = norm(torch.tensor([[1.0, 3.0]])).detach()
    root = math.sqrt(1.75)
    torch.testing.assert_close(out, torch.tensor([[0.5 - 2 / root, 1 / root]]))


def test_layer_norm_is_its_formula():
    norm = randomise(LayerNorm(24, eps=0.1)).double()
    x = 0.3 * vectors(2, 5, 24) + 1
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).square().mean(-1, keepdim=True)
    close(norm(x), (x - mean) / (variance + 0.1).sqrt() * norm.weight + norm.bias)
    outside = (x - mean) / (variance.sqrt() + 0.1) * norm.weight + norm.bias
    assert (norm(x) - outside).abs().max() > 0.01, (
        "eps outside of the root would not be noticed"
    )
    assert [name for name, _ in LayerNorm(4, bias=False).named_parameters()] == [
        "weight"
    ]


def test_rms_norm_by_hand():
    norm = RMSNorm(2, eps=0.5)  # mean of squares 12.5: x / sqrt(13)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, 1.0]))
    out = norm(torch.tensor([[3.0, 4.0]])).detach()
    torch.testing.assert_close(out, torch.tensor([[6.0, 4.0]]) / math.sqrt(13))


def test_rms_norm_is_its_formula():
    norm = randomise(RMSNorm(24, eps=0.1)).double()
    x = 0.3 * vectors(2, 5, 24) + 1
    mean_square = x.square().mean(-1, keepdim=True)
    close(norm(x), x / (mean_square + 0.1).sqrt() * norm.weight)
    outside = x / (mean_square.sqrt() + 0.1) * norm.weight
    assert (norm(x) - outside).abs().max() > 0.01, (
        "eps outside of the root would not be noticed"
    )
    centred = x - x.mean(-1, keepdim=True)
    assert (
        norm(x) - centred / (centred.square().mean(-1, keepdim=True) + 0.1).sqrt()
    ).abs().max() > 0.1


def test_rms_norm_passes_the_right_gradient():
    norm = randomise(RMSNorm(6, eps=0.1)).double()
    assert torch.autograd.gradcheck(norm, (vectors(3, 6).requires_grad_(),))


@pytest.mark.parametrize("norm", [RMSNorm, LayerNorm], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_statistics_in_fp32(norm, dtype):
    """Every element is the exact one, rounded once. With statistics in 16 bits half of
    them are not.
    """
    x = vectors(64, 384, dtype=dtype)
    centred = x.double() - (
        x.double().mean(-1, keepdim=True) if norm is LayerNorm else 0
    )
    exact = (centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()).to(
        dtype
    )
    ours = norm(384).to(dtype)(x)
    assert ours.dtype == dtype
    assert (ours == exact).double().mean() > 0.99
    coarse = x - (x.mean(-1, keepdim=True) if norm is LayerNorm else 0)
    coarse = coarse * torch.rsqrt(coarse.square().mean(-1, keepdim=True) + 1e-5)
    assert (coarse == exact).double().mean() < 0.9


def test_rms_norm_survives_squares_that_bf16_sums_and_fp16_squares_do_not():
    large = torch.full(
        (1, 8), 1000.0, dtype=torch.float16
    )  # 1,000 squared is infinite in fp16
    torch.testing.assert_close(
        RMSNorm(8).half()(large), torch.ones(1, 8, dtype=torch.float16)
    )


def test_rms_norm_keeps_the_dtype():
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        assert RMSNorm(8).to(dtype)(vectors(2, 8, dtype=dtype)).dtype == dtype


FORMULAS = {
    "gelu": lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: (
        0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "quick_gelu": lambda x: x / (1 + math.exp(-1.702 * x)),
    "relu": lambda x: max(x, 0.0),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "tanh": math.tanh,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gelu_mlp_is_its_formula_with_every_activation(name):
    mlp = randomise(GELUMLP(6, 10, activation=name)).double()
    x = 2 * vectors(2, 3, 6)
    inner = x @ mlp.up_proj.weight.T + mlp.up_proj.bias
    inner = torch.tensor(
        [FORMULAS[name](v) for v in inner.flatten().tolist()], dtype=torch.float64
    ).view_as(inner)
    expected = inner @ mlp.down_proj.weight.T + mlp.down_proj.bias
    close(mlp(x), expected)
    for other in set(ACTIVATIONS) - {name}:
        mlp.activation = other
        assert (mlp(x) - expected).abs().max() > 1e-5, f"{other} would pass for {name}"


def test_gpt2s_mlp_has_the_tanh_form_and_biases():
    assert GELUMLP(4, 8).activation == "gelu_tanh"
    assert sum(p.numel() for p in GELUMLP(4, 8).parameters()) == 2 * 4 * 8 + 8 + 4
    assert sum(p.numel() for p in GELUMLP(4, 8, bias=False).parameters()) == 2 * 4 * 8


@pytest.mark.parametrize("bias", [False, True])
def test_swiglu_is_its_formula(bias):
    mlp = randomise(SwiGLU(6, 10, bias=bias)).double()
    x = vectors(2, 3, 6)
    gate, up = x @ mlp.gate_proj.weight.T, x @ mlp.up_proj.weight.T
    if bias:
        gate, up = gate + mlp.gate_proj.bias, up + mlp.up_proj.bias
    expected = (gate * torch.sigmoid(gate) * up) @ mlp.down_proj.weight.T
    close(mlp(x), expected + (mlp.down_proj.bias if bias else 0))
    assert sum(p.numel() for p in mlp.parameters()) == 3 * 60 + (26 if bias else 0)


def test_an_unknown_activation_is_refused():
    message = (
        "^activation 'swish' is unknown; allowed are gelu, gelu_tanh, "
        "quick_gelu, relu, silu, tanh$"
    )
    with pytest.raises(ValueError, match=message):
        GELUMLP(4, 8, activation="swish")


def test_a_block_is_two_residual_lines_with_the_norms_in_front():
    block = Block(RMSNorm(12), Attention(12, 3), LayerNorm(12), SwiGLU(12, 20))
    block = randomise(block).double()
    x = vectors(2, 5, 12)
    after = x + block.attn(block.attn_norm(x))
    close(block(x), after + block.mlp(block.mlp_norm(after)))


def test_initialise_normal_leaves_meta_alone_and_sets_the_rest():
    with torch.device("meta"):
        block = Block(RMSNorm(12), Attention(12, 3), LayerNorm(12), GELUMLP(12, 20))
    initialise_normal(block, 0.02, residual_std=0.01)
    assert all(p.is_meta for p in block.parameters())
    real = randomise(
        Block(RMSNorm(64), Attention(64, 4, bias=True), LayerNorm(64), GELUMLP(64, 256))
    )
    initialise_normal(
        real, 0.5, residual_std=0.1, generator=torch.Generator().manual_seed(0)
    )
    for name, parameter in real.named_parameters():
        if parameter.ndim == 1:
            assert (parameter == (0 if name.endswith("bias") else 1)).all(), name
        else:
            expected = (
                0.1 if name in ("attn.o_proj.weight", "mlp.down_proj.weight") else 0.5
            )
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name


@pytest.mark.parametrize("value", [0, -1, 2.0, True, None, "3"])
def test_sizes_are_positive_whole_numbers(value):
    config = type("Config", (), {"n_layer": value, "fine": 1})()
    check_sizes(config, "fine")
    with pytest.raises(
        ValueError, match=f"^n_layer is {value!r}; expected a positive whole number$"
    ):
        check_sizes(config, "fine", "n_layer")
