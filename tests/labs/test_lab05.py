"""Lab 05: the examples in the docstrings of its stubs are true, and a notebook can
bring all that is to be written.
"""

import math
from pathlib import Path

import pytest
import torch

from happyllm_support.grading import notebook
from happyllm_support.grading.labs import load_lab

LAB = load_lab(Path(__file__).resolve().parent.parent.parent / "labs", "05")
lab05 = type(
    "Reference",
    (),
    {name: staticmethod(value) for name, value in LAB.reference.items()},
)


def test_rms_norm():
    x, ones = torch.tensor([1.0, 7.0]), torch.ones(2)
    assert x.square().mean() == 25
    assert lab05.rms_norm(x, ones, 0.0).tolist() == pytest.approx([0.2, 1.4])
    assert lab05.rms_norm(x, ones, 11.0).tolist() == pytest.approx([1 / 6, 7 / 6])


@pytest.mark.parametrize(
    ("settings", "want"),
    [
        ({}, [1, 0.1, 0.01, 0.001]),
        ({"scaling": "linear", "factor": 8.0}, [0.125, 0.0125, 0.00125, 0.000125]),
        ({"scaling": "ntk", "factor": 8.0}, [1, 0.05, 0.0025, 0.000125]),
    ],
    ids=["none", "linear", "ntk"],
)
def test_rope_frequencies(settings, want):
    assert lab05.rope_frequencies(8, 10000.0, **settings).tolist() == pytest.approx(
        want
    )


def test_rotary_positions():
    cos, sin = lab05.RotaryPositions(4, theta=100.0)(torch.tensor([[0, 3]]))
    assert cos.shape == sin.shape == (1, 1, 2, 4)
    first, second = cos[0, 0].tolist()
    assert first == [1, 1, 1, 1]
    assert second == pytest.approx([math.cos(3), math.cos(0.3)] * 2)


@pytest.mark.parametrize(
    ("name", "want"),
    [("apply_rope", [-3, -4, 1, 2]), ("apply_rope_interleaved", [-2, 1, -4, 3])],
)
def test_a_quarter_turn(name, want):
    x = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]])
    turned = getattr(lab05, name)(x, torch.zeros(1, 1, 1, 4), torch.ones(1, 1, 1, 4))
    assert turned.flatten().tolist() == want


def test_the_order_of_rows():
    rows = lab05.interleaved_to_half_split(torch.arange(12.0), 6)
    assert rows.tolist() == [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]


def test_swiglu():
    mlp = lab05.SwiGLU(1, 1)
    weights = {"gate": 1.0, "up": 2.0, "down": 3.0}
    mlp.load_state_dict(
        {f"{name}_proj.weight": torch.tensor([[w]]) for name, w in weights.items()}
    )
    assert mlp(torch.ones(1)).item() == pytest.approx(4.386, abs=5e-4)


def test_the_names_in_the_docstring_of_the_model_are_its_parameters():
    model = lab05.SmallLlama(7, 1, 2, 1, 8, 4)
    names = {name for name, _ in model.named_parameters()}
    block = {f"blocks.0.attn.{kind}_proj.weight" for kind in "qkvo"}
    block |= {f"blocks.0.mlp.{kind}_proj.weight" for kind in ("gate", "up", "down")}
    block |= {"blocks.0.attn_norm.weight", "blocks.0.mlp_norm.weight"}
    assert names == block | {"tok_emb.weight", "final_norm.weight", "lm_head.weight"}


def test_a_notebook_is_not_given_what_the_learner_writes():
    given = notebook._given(LAB)
    assert not {"RMSNorm", "Attention", "Block"} & set(given), (
        "unwritten, they would take the place of the learner's"
    )
