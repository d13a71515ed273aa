import doctest
import math
from itertools import pairwise

import pytest
import torch

from happyllm_support.model.gpt2 import GPT2, GPT2Config
from happyllm_support.model.llama2 import Llama2, Llama2Config
from happyllm_support.training import optim
from happyllm_support.training.optim import (
    OptimizerConfig,
    build_optimizer,
    learning_rate,
    set_learning_rate,
)

SMALL = {"vocab_size": 11, "max_seq_len": 8, "n_layer": 2, "n_head": 2, "d_model": 8}


def names_of(model, group):
    held = {id(parameter) for parameter in group["params"]}
    return {
        name for name, parameter in model.named_parameters() if id(parameter) in held
    }


def llama(**options):
    return Llama2(Llama2Config(**SMALL, n_kv_head=1, d_ff=12, **options))


@pytest.mark.parametrize(
    "make",
    [lambda: GPT2(GPT2Config(**SMALL)), llama, lambda: llama(attention_bias=True)],
)
def test_matrices_decay_and_nothing_else(make):
    model = make()
    decayed, kept = build_optimizer(
        model, OptimizerConfig(lr=1e-3, weight_decay=0.3)
    ).param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.3, 0.0)
    all_names = {name for name, _ in model.named_parameters()}
    not_decayed = {
        name for name in all_names if "norm" in name or name.endswith("bias")
    }
    assert names_of(model, kept) == not_decayed
    assert names_of(model, decayed) == all_names - not_decayed
    assert "tok_emb.weight" in names_of(model, decayed)


def test_a_tied_weight_is_updated_once_and_frozen_ones_never():
    model = GPT2(GPT2Config(**SMALL))
    model.blocks[0].requires_grad_(False)
    groups = build_optimizer(model, OptimizerConfig(lr=1e-3)).param_groups
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert held.count(id(model.lm_head.weight)) == 1 and len(held) == len(set(held))
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert not {id(p) for p in model.blocks[0].parameters()} & set(held)


def test_one_step_by_hand():
    """After one step both running means are the gradient's own, so that the update is
    lr sign(gradient).
    """
    layer = torch.nn.Linear(2, 2)
    before = [parameter.detach().clone() for parameter in layer.parameters()]
    layer.weight.grad = torch.tensor([[1.0, -2.0], [3.0, -4.0]])
    layer.bias.grad = torch.tensor([5.0, -6.0])
    optimizer = build_optimizer(layer, OptimizerConfig(lr=0.7, weight_decay=0.5))
    set_learning_rate(optimizer, 0.1)
    optimizer.step()
    torch.testing.assert_close(
        layer.weight, before[0] * (1 - 0.1 * 0.5) - 0.1 * layer.weight.grad.sign()
    )
    torch.testing.assert_close(layer.bias, before[1] - 0.1 * layer.bias.grad.sign())


def test_settings_reach_the_optimizer():
    groups = build_optimizer(
        llama(), OptimizerConfig(lr=0.2, betas=(0.8, 0.7), eps=1e-3)
    ).param_groups
    assert all(
        (g["lr"], g["betas"], g["eps"]) == (0.2, (0.8, 0.7), 1e-3) for g in groups
    )
    set_learning_rate(
        optimizer := build_optimizer(llama(), OptimizerConfig(lr=0.2)), 0.5
    )
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]


def test_worked_example_of_the_docstring():
    assert doctest.testmod(optim).attempted == 1 and doctest.testmod(optim).failed == 0


def test_schedule_rises_in_equal_steps_to_the_peak_and_falls_to_the_floor():
    rates = [
        learning_rate(s, steps=100, lr=2e-3, warmup_steps=10, min_lr_ratio=0.2)
        for s in range(100)
    ]
    assert rates[:11] == pytest.approx([2e-3 * k / 11 for k in range(1, 12)])
    assert max(rates) == rates[10] == 2e-3 and rates[-1] == pytest.approx(4e-4)
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert [
        a + b for a, b in zip(rates[10:], rates[:9:-1], strict=False)
    ] == pytest.approx([2.4e-3] * 90)  # symmetric
    assert rates[10 + 30] == pytest.approx(
        2e-3 * (0.2 + 0.8 * (1 + math.cos(math.pi * 30 / 89)) / 2)
    )


def test_schedule_at_its_ends():
    assert learning_rate(0, steps=1, lr=3.0) == 3.0
    assert [
        learning_rate(s, steps=3, lr=3.0, warmup_steps=2) for s in range(3)
    ] == pytest.approx([1.0, 2.0, 3.0])
    assert [learning_rate(s, steps=2, lr=1.0, min_lr_ratio=0.0) for s in range(2)] == [
        1.0,
        0.0,
    ]
    assert {learning_rate(s, steps=9, lr=0.5, min_lr_ratio=1.0) for s in range(9)} == {
        0.5
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0.0}, "lr is 0.0; expected a positive number"),
        ({"lr": math.nan}, "lr is nan"),
        ({"eps": -1.0}, "eps is -1.0; expected a positive number"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; expected 0 or more"),
        (
            {"betas": (0.9, 1.0)},
            r"betas is \(0.9, 1.0\); expected two numbers from 0 to below 1",
        ),
    ],
)
def test_bad_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        OptimizerConfig(**({"lr": 1e-3} | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps is 0; expected at least 1"),
        ({"warmup_steps": 5}, "warmup_steps is 5; expected 0 to 4 for 5 steps"),
        ({"warmup_steps": -1}, "warmup_steps is -1"),
        ({"min_lr_ratio": 1.5}, "min_lr_ratio is 1.5; expected 0 to 1"),
        ({"step": 5}, "step is 5; expected 0 to 4"),
        ({"step": -1}, "step is -1"),
    ],
)
def test_bad_schedules_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        learning_rate(**({"step": 0, "steps": 5, "lr": 1.0} | change))


def test_a_model_without_anything_to_train_is_refused():
    with pytest.raises(ValueError, match="nothing to train"):
        build_optimizer(llama().requires_grad_(False), OptimizerConfig(lr=1e-3))
