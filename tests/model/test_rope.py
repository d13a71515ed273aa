"""Rotary positions: equal to transformers and to complex numbers, relative, and
untouched by moves of a model.
"""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from happyllm_support.model.rope import (
    RotaryPositions,
    apply_rope,
    apply_rope_interleaved,
    half_split_to_interleaved,
    interleaved_to_half_split,
)
from happyllm_support.model.rope_scaling import RopeScaling, rope_frequencies

B, H, K, T, D = 2, 6, 3, 5, 16
L = 32
UNEQUAL = torch.tensor([[0, 1, 2, 3, 4], [7, 0, 1, 130, 131]])
SCALINGS = {
    "none": (None, {"rope_type": "default"}),
    "linear": (("linear", 2.5, {}), {"rope_type": "linear", "factor": 2.5}),
    "dynamic": (("dynamic", 2.0, {}), {"rope_type": "dynamic", "factor": 2.0}),
    "yarn": (
        ("yarn", 4.0, {}),
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": L},
    ),
}


@pytest.fixture
def queries_and_keys():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(B, H, T, D, generator=generator), torch.randn(
        B, K, T, D, generator=generator
    )


def reference_rotary(head_dim, theta, **scaling):
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    return LlamaRotaryEmbedding(
        LlamaConfig(
            hidden_size=head_dim,
            num_attention_heads=1,
            max_position_embeddings=L,
            rope_parameters={"rope_theta": theta, **scaling},
        )
    )


def rotary_with(scaling, theta=10000.0):
    if scaling is not None:
        kind, factor, options = scaling
        scaling = RopeScaling(
            kind=kind, factor=factor, original_max_seq_len=L, **options
        )
    return RotaryPositions(D, theta=theta, scaling=scaling)


def complex_rotation(x, positions, theta=10000.0):
    """Meta's layout as it is defined: channels (2i, 2i + 1) are a complex number times
    e^(i p f), in fp64.
    """
    frequencies = theta ** (
        -torch.arange(0, x.shape[-1], 2, dtype=torch.float64) / x.shape[-1]
    )
    angles = positions[:, None, :, None].double() * frequencies
    numbers = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)))
    return torch.view_as_real(
        numbers * torch.polar(torch.ones_like(angles), angles)
    ).flatten(-2)


def test_a_quarter_turn_by_hand():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 1, 4)
    zero, one = torch.zeros(1, 1, 1, 4), torch.ones(1, 1, 1, 4)
    assert apply_rope(x, zero, one).flatten().tolist() == [-3.0, -4.0, 1.0, 2.0]
    assert apply_rope_interleaved(x, zero, one).flatten().tolist() == [
        -2.0,
        1.0,
        -4.0,
        3.0,
    ]


def test_angles_by_hand():
    cos, sin = RotaryPositions(4, theta=100.0)(torch.tensor([[0, 3]]))
    assert cos.shape == sin.shape == (1, 1, 2, 4)
    assert cos[0, 0, 0].tolist() == [1.0] * 4 and sin[0, 0, 0].tolist() == [0.0] * 4
    expected = torch.tensor(
        [math.cos(3.0), math.cos(0.3), math.cos(3.0), math.cos(0.3)]
    )
    torch.testing.assert_close(cos[0, 0, 1], expected)
    torch.testing.assert_close(
        sin[0, 0, 1, :2], torch.tensor([math.sin(3.0), math.sin(0.3)])
    )


@pytest.mark.parametrize("theta", [10000.0, 500000.0])
@pytest.mark.parametrize("name", SCALINGS)
@pytest.mark.parametrize(
    "positions", [UNEQUAL % L, UNEQUAL], ids=["within the original length", "beyond"]
)
def test_equals_transformers_with_unequal_rows(
    name, theta, positions, queries_and_keys
):
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    q, k = queries_and_keys
    scaling, parameters = SCALINGS[name]
    cos, sin = rotary_with(scaling, theta)(positions)
    expected = apply_rotary_pos_emb(
        q, k, *reference_rotary(D, theta, **parameters)(q, positions)
    )
    # Angles reach 131 radians, where neighbouring fp32 numbers are 1.5e-5 apart.
    for ours, reference in zip(
        (apply_rope(q, cos, sin), apply_rope(k, cos, sin)), expected, strict=True
    ):
        torch.testing.assert_close(
            ours, reference, rtol=0, atol=1e-6 if name != "dynamic" else 5e-5
        )


@pytest.mark.parametrize("name", ["linear", "dynamic", "yarn"])
def test_each_scaling_changes_the_angles(name):
    plain = RotaryPositions(D)(UNEQUAL)[0]
    assert (rotary_with(SCALINGS[name][0])(UNEQUAL)[0] - plain).abs().max() > 0.1


def test_yarn_multiplies_cosines_and_sines_by_its_attention_factor():
    cos, sin = rotary_with(("yarn", 4.0, {"attention_factor": 1.5}))(UNEQUAL)
    torch.testing.assert_close(cos**2 + sin**2, torch.full_like(cos, 1.5**2))


def test_dynamic_scaling_has_no_memory():
    rotary, short = rotary_with(SCALINGS["dynamic"][0]), torch.arange(T)[None]
    before = rotary(short)[0]
    long = rotary(UNEQUAL)[0]
    assert torch.equal(rotary(short)[0], before) and torch.equal(
        rotary(UNEQUAL)[0], long
    )
    assert not torch.equal(long[:1], before), (
        "the longest row of a batch sets the frequencies for all of them"
    )


def test_one_row_of_positions_serves_the_batch(queries_and_keys):
    q, rotary, row = (
        queries_and_keys[0],
        RotaryPositions(D),
        torch.arange(3, 3 + T)[None],
    )
    assert torch.equal(
        apply_rope(q, *rotary(row)), apply_rope(q, *rotary(row.expand(B, -1)))
    )


def test_interleaved_is_multiplication_of_complex_numbers(queries_and_keys):
    q, _ = queries_and_keys
    ours = apply_rope_interleaved(q, *RotaryPositions(D)(UNEQUAL))
    torch.testing.assert_close(
        ours.double(), complex_rotation(q, UNEQUAL), rtol=0, atol=5e-5
    )


def test_both_layouts_are_one_rotation_of_reordered_channels(queries_and_keys):
    q, _ = queries_and_keys
    cos, sin = RotaryPositions(D)(UNEQUAL)
    order = torch.cat((torch.arange(0, D, 2), torch.arange(1, D, 2)))
    interleaved = apply_rope_interleaved(q, cos, sin)[..., order]
    torch.testing.assert_close(
        apply_rope(q[..., order], cos, sin), interleaved, rtol=0, atol=1e-6
    )
    assert not torch.allclose(
        apply_rope(q, cos, sin), apply_rope_interleaved(q, cos, sin), atol=0.1
    )


@pytest.mark.parametrize("interleaved", [False, True])
def test_scores_depend_on_distance_only(interleaved, queries_and_keys):
    turn = apply_rope_interleaved if interleaved else apply_rope
    q, k = (x[:, :K] for x in queries_and_keys)
    rotary = RotaryPositions(D)

    def scores(shift):
        cos, sin = rotary(UNEQUAL + shift)
        return turn(q, cos, sin) @ turn(k, cos, sin).mT

    torch.testing.assert_close(scores(0), scores(100), rtol=0, atol=2e-4)
    assert (scores(0) - q @ k.mT).abs().max() > 1, "distances have to matter"
    cos, sin = rotary(UNEQUAL)
    moved_keys = turn(q, cos, sin) @ turn(k, *rotary(UNEQUAL + 1)).mT
    assert (moved_keys - scores(0)).abs().max() > 1


@pytest.mark.parametrize("turn", [apply_rope, apply_rope_interleaved])
def test_lengths_are_kept(turn, queries_and_keys):
    q, _ = queries_and_keys
    turned = turn(q, *RotaryPositions(D)(UNEQUAL))
    torch.testing.assert_close(turned.norm(dim=-1), q.norm(dim=-1), rtol=1e-6, atol=0)
    assert (turned - q)[UNEQUAL[:, None].expand(B, H, T) > 0].abs().max() > 1
    assert torch.equal(turned[1, :, 1], q[1, :, 1]), "position 0 is not turned"


@pytest.mark.parametrize("turn", [apply_rope, apply_rope_interleaved])
@pytest.mark.parametrize(
    ("dtype", "precision"), [(torch.float64, 1e-12), (torch.bfloat16, 2**-8)]
)
def test_dtype_is_kept_and_the_result_is_rounded_once(
    turn, dtype, precision, queries_and_keys
):
    q = queries_and_keys[0].to(dtype)
    cos, sin = RotaryPositions(D)(UNEQUAL)
    turned = turn(q, cos, sin)
    assert turned.dtype == dtype
    torch.testing.assert_close(
        turned.double(),
        turn(q.double(), cos.double(), sin.double()),
        rtol=precision,
        atol=1e-6,
    )


def test_gradients(queries_and_keys):
    cos, sin = RotaryPositions(D)(UNEQUAL)
    q = queries_and_keys[0][:, :2].double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: apply_rope(x, cos.double(), sin.double()), q
    )
    assert torch.autograd.gradcheck(
        lambda x: apply_rope_interleaved(x, cos.double(), sin.double()), q
    )


class Holder(nn.Module):
    """A model with rotary positions inside, as the moves of a model meet them."""

    def __init__(self, scaling):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.rotary = rotary_with(scaling)


@pytest.mark.parametrize("name", SCALINGS)
def test_a_model_built_on_meta_has_real_frequencies(name):
    expected = rotary_with(SCALINGS[name][0])
    with torch.device("meta"):
        model = Holder(SCALINGS[name][0])
    assert model.linear.weight.device.type == "meta"
    assert model.state_dict().keys() == {"linear.weight", "linear.bias"}
    assert torch.equal(model.rotary.inv_freq, expected.inv_freq)
    model.load_state_dict(nn.Linear(2, 2).state_dict(prefix="linear."), assign=True)
    assert torch.equal(model.rotary(UNEQUAL)[0], expected(UNEQUAL)[0])
    with torch.device("meta"):
        model = Holder(SCALINGS[name][0])
    for moved in (model.to_empty(device="cpu"), copy.deepcopy(model).to("meta")):
        assert torch.equal(moved.rotary.inv_freq, expected.inv_freq)


@pytest.mark.parametrize("name", SCALINGS)
def test_frequencies_stay_fp32_in_a_model_of_another_dtype(name):
    expected = rotary_with(SCALINGS[name][0])
    for model in (
        Holder(SCALINGS[name][0]).bfloat16(),
        Holder(SCALINGS[name][0]).double(),
    ):
        assert model.linear.weight.dtype != torch.float32
        assert torch.equal(model.rotary.inv_freq, expected.inv_freq)
        with torch.autocast("cpu", torch.bfloat16):
            cos, sin = model.rotary(UNEQUAL)
        assert cos.dtype == sin.dtype == torch.float32
        assert torch.equal(cos, expected(UNEQUAL)[0]) and torch.equal(
            sin, expected(UNEQUAL)[1]
        )


def test_frequencies_are_those_of_rope_frequencies_with_the_theta_given():
    scaling = RopeScaling(kind="ntk", factor=3.0, original_max_seq_len=L)
    rotary = RotaryPositions(D, theta=777.0, scaling=scaling)
    assert torch.equal(rotary.inv_freq, rope_frequencies(D, 777.0, scaling)[0])
    assert (
        repr(rotary) == f"RotaryPositions(head_dim=16, theta=777.0, scaling={scaling})"
    )


@pytest.mark.parametrize("name", ["none", "dynamic"])
def test_dynamo_traces_it_in_one_graph(name, queries_and_keys):
    rotary = rotary_with(SCALINGS[name][0])

    def turn(x, positions):
        return apply_rope(x, *rotary(positions))

    q, _ = queries_and_keys
    compiled = torch.compile(turn, backend="eager", fullgraph=True)
    torch.testing.assert_close(
        compiled(q, UNEQUAL), turn(q, UNEQUAL), rtol=0, atol=5e-5
    )


def test_rows_reordered_by_hand():
    weight = torch.arange(8)[:, None] * torch.ones(1, 3)
    assert interleaved_to_half_split(weight, 4)[:, 0].tolist() == [
        0,
        2,
        1,
        3,
        4,
        6,
        5,
        7,
    ]
    assert interleaved_to_half_split(torch.arange(6.0), 6).tolist() == [
        0,
        2,
        4,
        1,
        3,
        5,
    ]
    assert half_split_to_interleaved(torch.arange(6.0), 6).tolist() == [
        0,
        3,
        1,
        4,
        2,
        5,
    ]


@pytest.mark.parametrize("shape", [(3 * D, 7), (3 * D,)])
def test_conversion_round_trip(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    there = interleaved_to_half_split(weight, D)
    assert there.shape == weight.shape and not torch.equal(there, weight)
    assert torch.equal(half_split_to_interleaved(there, D), weight)
    assert torch.equal(
        interleaved_to_half_split(half_split_to_interleaved(weight, D), D), weight
    )


def test_converted_projections_give_the_same_scores():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(B, T, 7, generator=generator)
    w_q, w_k = (torch.randn(K * D, 7, generator=generator) for _ in range(2))
    b_q, b_k = (torch.randn(K * D, generator=generator) for _ in range(2))
    cos, sin = RotaryPositions(D)(UNEQUAL)

    def scores(turn, convert):
        q, k = (
            nn.functional.linear(x, convert(w), convert(b))
            .unflatten(-1, (K, D))
            .transpose(1, 2)
            for w, b in ((w_q, b_q), (w_k, b_k))
        )
        return turn(q, cos, sin) @ turn(k, cos, sin).mT

    theirs = scores(apply_rope_interleaved, lambda w: w)
    ours = scores(apply_rope, lambda w: interleaved_to_half_split(w, D))
    scale = theirs.std().item()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * scale)
    unconverted = scores(apply_rope, lambda w: w)
    assert (unconverted - theirs).abs().max() > 0.1 * scale


@pytest.mark.parametrize(
    "convert", [interleaved_to_half_split, half_split_to_interleaved]
)
def test_rows_that_are_no_heads_are_refused(convert):
    with pytest.raises(
        ValueError, match=r"^a weight of shape \(12, 5\) has no whole heads of 8 rows$"
    ):
        convert(torch.zeros(12, 5), 8)
    with pytest.raises(
        ValueError, match=r"^head_dim is 3; RoPE needs a positive, even one$"
    ):
        convert(torch.zeros(12, 5), 3)


def test_an_odd_head_dim_is_refused():
    with pytest.raises(ValueError, match=r"^head_dim is 7; RoPE needs an even one$"):
        RotaryPositions(7)
