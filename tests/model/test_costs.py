"""Costs: parameters by part, operations against PyTorch's own counter, bytes of cache
against a cache.
"""

from __future__ import annotations

import pytest
import torch
from small_models import MODELS, ListCache, build, some_ids
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from happyllm_support.model.costs import (
    forward_flops_per_token,
    kv_bytes_per_token,
    parameter_counts,
)
from happyllm_support.model.gpt2 import GPT2, GPT2_124M
from happyllm_support.model.llama2 import LLAMA2_7B, LLAMA2_70B, Llama2


def on_meta(config: object) -> nn.Module:
    with torch.device("meta"):
        return GPT2(config) if config is GPT2_124M else Llama2(config)


def test_parts_of_gpt2():
    assert parameter_counts(on_meta(GPT2_124M)) == {
        "token embedding": 50257 * 768,
        "positions": 1024 * 768,
        "attention": 12 * (4 * 768**2 + 4 * 768),
        "MLP": 12 * (8 * 768**2 + 5 * 768),
        "norms": 25 * 2 * 768,
    }
    assert sum(parameter_counts(on_meta(GPT2_124M)).values()) == 124_439_808


def test_parts_of_llama2():
    assert parameter_counts(on_meta(LLAMA2_70B)) == {
        "token embedding": 32000 * 8192,
        "attention": 80 * (2 * 8192**2 + 2 * 8192 * 1024),
        "MLP": 80 * 3 * 8192 * 28672,
        "norms": 161 * 8192,
        "head": 32000 * 8192,
    }
    assert "head" not in parameter_counts(build("llama2", tie_embeddings=True))


@pytest.mark.parametrize(
    "changes", [{}, {"attention_bias": True, "mlp_bias": True}], ids=["plain", "biases"]
)
def test_parts_add_up(changes):
    model = build("llama2", **changes)
    assert (
        sum(parameter_counts(model).values())
        == model.num_parameters()
        == sum(p.numel() for p in model.parameters())
    )


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("length", [1, 2, 17, 32])
def test_operations_are_those_that_pytorch_counts(name, length):
    """PyTorch counts all pairs of the naive kernel, length per token; half of them, and
    half of the diagonal, count.
    """
    model = build(name, kernel="naive")
    with FlopCounterMode(display=False) as counter:
        model(some_ids(3, length))
    per_token = counter.get_total_flops() / (3 * length)
    unseen = length - (length + 1) / 2
    assert forward_flops_per_token(model, length) == per_token - 4 * 3 * 24 * unseen
    assert forward_flops_per_token(model, length) > 2 * 3 * 4 * 24**2


@pytest.mark.parametrize("name", MODELS)
def test_a_backward_pass_takes_twice_as_many(name):
    """Exactly so but for the gradient of what the first layers read, which nobody asks
    for: embeddings have none.
    """
    model = build(name, kernel="naive")
    with FlopCounterMode(display=False) as forward:
        logits = model(some_ids(3, 16))
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    assert backward.get_total_flops() == 2 * forward.get_total_flops()


def test_operations_of_a_70b_model_cost_nothing_to_ask_for():
    flops = forward_flops_per_token(on_meta(LLAMA2_70B), 4096)
    matrices = 68_976_648_192 - 32000 * 8192 - 161 * 8192
    assert flops == 2 * matrices + 80 * 4 * 8192 * 4097 / 2


@pytest.mark.parametrize("length", [0, -3])
def test_a_length_below_one_is_refused(length):
    with pytest.raises(
        ValueError, match=f"^length is {length}; expected at least one token$"
    ):
        forward_flops_per_token(build("gpt2"), length)


def test_bytes_of_the_cache():
    assert kv_bytes_per_token(on_meta(LLAMA2_7B)) == 524_288
    assert kv_bytes_per_token(on_meta(LLAMA2_70B)) == 327_680
    assert kv_bytes_per_token(on_meta(GPT2_124M), torch.float32) == 12 * 2 * 768 * 4


@pytest.mark.parametrize("name", MODELS)
def test_a_cache_holds_that_many_bytes(name):
    model = build(name, dtype=torch.float32)
    cache = ListCache(2, 3)
    model(some_ids(2, 9), cache=cache)
    held = sum(
        tensor.nbytes for layer in cache.layers if layer is not None for tensor in layer
    )
    assert held == 2 * 9 * kv_bytes_per_token(model, torch.float32)


def test_parameters_of_unknown_modules_are_named():
    with pytest.raises(
        ValueError, match=r"^parameter 0\.weight belongs to no known part"
    ):
        parameter_counts(nn.Sequential(nn.Linear(2, 3)))
