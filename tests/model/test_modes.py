"""How a model is run: mode, kernel and dropout, and what they leave behind."""

import pytest
import torch
from small_models import MODELS, build, close, some_ids
from torch import nn

from happyllm_support.model.layers import LayerNorm
from happyllm_support.model.modes import set_dropout, set_kernel, training_mode

every_model = pytest.mark.parametrize("name", MODELS)


@every_model
@pytest.mark.parametrize("on", [True, False])
def test_each_part_is_put_back_in_its_own_mode(name, on):
    model = build(name).train()
    model.blocks[1].eval()
    before = [module.training for module in model.modules()]
    with pytest.raises(KeyError), training_mode(model, on):
        assert {module.training for module in model.modules()} == {on}
        raise KeyError
    assert [module.training for module in model.modules()] == before
    assert len(set(before)) == 2


@every_model
def test_the_kernel_is_a_choice_of_every_run(name):
    model, ids = build(name), some_ids(2, 9)
    expected = model(ids)
    for kernel in ("naive", "online", "sdpa"):
        set_kernel(model, kernel)
        assert model.kernel == kernel
        close(model(ids), expected)
    with pytest.raises(
        ValueError,
        match=r"^attention kernel 'flash' is unknown; expected naive, sdpa, online$",
    ):
        set_kernel(model, "flash")
    with pytest.raises(ValueError, match=r"^Linear has no attention kernel to choose$"):
        set_kernel(nn.Linear(2, 2), "naive")


@every_model
def test_the_online_kernel_refuses_to_drop_weights(name):
    model = build(name, kernel="online", dropout=0.1)
    assert model(some_ids(1, 4)).isfinite().all(), "not in evaluation"
    with pytest.raises(ValueError, match=r"dropout is 0.1; the online kernel has none"):
        model.train()(some_ids(1, 4))


@pytest.mark.parametrize("wrong", [-0.1, 1.0, 2, None, "a", float("nan")])
def test_what_is_no_probability_is_refused(wrong):
    model = build("gpt2", dropout=0.2)
    with pytest.raises(ValueError, match=r"^dropout is .*; expected 0 to below 1$"):
        set_dropout(model, wrong)
    assert model.dropout.p == 0.2


@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm_computes_the_formula_of_its_docstring(bias):
    norm = LayerNorm(12, 0.3, bias=bias)
    nn.init.normal_(norm.weight)
    if bias:
        nn.init.normal_(norm.bias)
    x = torch.randn(4, 5, 12, generator=torch.Generator().manual_seed(0)) * 3 + 1
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).square().mean(-1, keepdim=True)
    expected = (x - mean) * torch.rsqrt(variance + 0.3) * norm.weight
    close(norm(x), expected + (norm.bias if bias else 0), 1e-5)
