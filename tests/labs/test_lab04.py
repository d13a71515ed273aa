"""Lab 04: the examples in the docstrings are true, and what is given computes what the package computes."""

import math
from pathlib import Path

import pytest
import torch

from happyllm_support.grading.labs import load_lab, load_module

LABS = Path(__file__).resolve().parent.parent.parent / "labs"


@pytest.fixture(scope="module")
def lab():
    return load_lab(LABS, "04").reference


@pytest.fixture(scope="module")
def stub(lab):
    return load_module(LABS / "lab04_gpt2", "gpt2")


def test_the_examples_in_the_docstrings(lab):
    normed = lab["layer_norm"](torch.tensor([1.0, 3.0]), torch.ones(2), torch.tensor([0.0, 10.0]), 0.0)
    assert normed.tolist() == [-1, 11]
    ones = torch.tensor([1.0, -1.0], dtype=torch.float64)
    assert lab["gelu"](ones).tolist() == pytest.approx([0.841192, -0.158808], abs=5e-7)
    assert torch.nn.functional.gelu(ones).tolist() == pytest.approx([0.841345, -0.158655], abs=5e-7)
    name = "blocks.0.attn.o_proj.weight"
    drawn = lab["initialise"]({name: (400, 400)}, 8, torch.Generator().manual_seed(0))[name]
    assert drawn.std().item() == pytest.approx(0.005, rel=0.01)
    assert 0.02 / math.sqrt(16) == pytest.approx(0.005)


def test_the_given_attention_and_norm_are_those_of_the_package(lab, stub):
    x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1))
    for name, sizes in (("Attention", (12, 3)), ("LayerNorm", (12,)), ("StandIn", (12,))):
        given, packaged = getattr(stub, name)(*sizes), lab[name](*sizes)
        packaged.load_state_dict(given.state_dict())
        torch.testing.assert_close(given(x), packaged(x))
        assert not torch.allclose(given(x), given(x + torch.arange(12.0)))


def test_the_checkpoint_of_the_check_is_named_as_that_of_transformers():
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 9, "n_positions": 5, "n_embd": 6, "n_inner": 10, "n_layer": 2, "n_head": 2}
    theirs = GPT2LMHeadModel(GPT2Config(**sizes)).state_dict()
    load_lab(LABS, "04")
    made, _ = load_module(LABS / "lab04_gpt2", "by_hand").checkpoint(2, 6, 10, seed=1, prefix="transformer.")
    assert {name: t.shape for name, t in theirs.items() if name != "lm_head.weight"} == {
        n: t.shape for n, t in made.items()
    }
