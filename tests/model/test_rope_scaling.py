"""Rotary frequencies: the numbers of transformers, what each kind of scaling promises,
and what is refused.
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from happyllm_support.model.rope_scaling import RopeScaling, rope_frequencies

L = 512


def reference_frequencies(head_dim, theta, seq_len=None, max_positions=L, **scaling):
    """Frequencies and attention factor of transformers for a Llama with these
    `rope_parameters`.
    """
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = LlamaConfig(
        hidden_size=head_dim,
        num_attention_heads=1,
        max_position_embeddings=max_positions,
        rope_parameters={"rope_theta": theta, **scaling},
    )
    return ROPE_INIT_FUNCTIONS[scaling["rope_type"]](config, "cpu", seq_len=seq_len)


def assert_same(ours, reference):
    (frequencies, factor), (expected, expected_factor) = ours, reference
    assert frequencies.dtype == torch.float32
    torch.testing.assert_close(frequencies, expected, rtol=1e-6, atol=0)
    assert factor == pytest.approx(expected_factor, rel=1e-6)


def scaled(kind, factor=4.0, **options):
    return RopeScaling(kind=kind, factor=factor, original_max_seq_len=L, **options)


def test_frequencies_by_hand():
    frequencies, factor = rope_frequencies(8, 10000.0)
    torch.testing.assert_close(
        frequencies, torch.tensor([1.0, 0.1, 0.01, 0.001]), rtol=1e-6, atol=0
    )
    assert factor == 1.0
    assert rope_frequencies(2, 10000.0)[0].tolist() == [1.0]


@pytest.mark.parametrize("theta", [10000.0, 500000.0])
@pytest.mark.parametrize("head_dim", [4, 64, 80, 128])
def test_default_equals_transformers(head_dim, theta):
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = LlamaConfig(
        hidden_size=head_dim,
        num_attention_heads=1,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
    )
    assert_same(
        rope_frequencies(head_dim, theta),
        LlamaRotaryEmbedding.compute_default_rope_parameters(config),
    )


@pytest.mark.parametrize("factor", [1.0, 2.0, 7.5])
def test_linear_equals_transformers(factor):
    reference = reference_frequencies(64, 10000.0, rope_type="linear", factor=factor)
    assert_same(rope_frequencies(64, 10000.0, scaled("linear", factor)), reference)
    torch.testing.assert_close(
        reference[0] * factor, rope_frequencies(64, 10000.0)[0], rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("seq_len", [1, L - 1, L, L + 1, 3 * L, 40 * L])
def test_dynamic_equals_transformers_at_any_length(seq_len, as_tensor):
    length = torch.tensor(seq_len) if as_tensor else seq_len
    ours = rope_frequencies(64, 10000.0, scaled("dynamic", 2.0), length)
    reference = reference_frequencies(
        64, 10000.0, rope_type="dynamic", factor=2.0, seq_len=length
    )
    torch.testing.assert_close(ours[0], reference[0], rtol=2e-6, atol=0)
    assert ours[1] == 1.0
    unscaled = rope_frequencies(64, 10000.0)[0]
    assert torch.equal(ours[0], unscaled) == (seq_len <= L), (
        "nothing may change up to the original length"
    )


def test_dynamic_without_a_length_changes_nothing():
    assert torch.equal(
        rope_frequencies(64, 1e4, scaled("dynamic"))[0], rope_frequencies(64, 1e4)[0]
    )


@pytest.mark.parametrize("factor", [1.0, 2.0, 8.0])
def test_ntk_keeps_the_fastest_pair_and_divides_the_slowest_by_the_factor(factor):
    plain = rope_frequencies(64, 10000.0)[0]
    slowed, attention_factor = rope_frequencies(64, 10000.0, scaled("ntk", factor))
    assert slowed[0] == plain[0] == 1.0
    torch.testing.assert_close(slowed[-1], plain[-1] / factor, rtol=2e-6, atol=0)
    assert attention_factor == 1.0
    assert (slowed.diff() < 0).all()


def test_ntk_is_dynamic_scaling_held_at_one_length():
    # 1 + 2 (2.5 L / L - 1) = 4
    reference = reference_frequencies(
        64, 10000.0, rope_type="dynamic", factor=2.0, seq_len=5 * L // 2
    )
    torch.testing.assert_close(
        rope_frequencies(64, 10000.0, scaled("ntk", 4.0))[0],
        reference[0],
        rtol=2e-6,
        atol=0,
    )


YARN = [
    {},
    {"attention_factor": 1.7},
    {"mscale": 1.0, "mscale_all_dim": 0.707},
    {"mscale": 0.5},
    {"mscale": 0.5, "mscale_all_dim": 0.0},
    {"attention_factor": 0.9, "mscale": 1.0, "mscale_all_dim": 0.707},
    {"beta_fast": 16.0, "beta_slow": 2.0},
    {"beta_fast": 1.01, "beta_slow": 1.0},
    {"truncate": False},
    {"truncate": False, "beta_fast": 8.0, "beta_slow": 0.5},
]


@pytest.mark.parametrize(
    "options", YARN, ids=lambda options: ",".join(options) or "defaults"
)
@pytest.mark.parametrize("factor", [1.0, 4.0, 32.0])
def test_yarn_equals_transformers(options, factor):
    reference = reference_frequencies(
        64,
        10000.0,
        rope_type="yarn",
        factor=factor,
        original_max_position_embeddings=L,
        **options,
    )
    assert_same(
        rope_frequencies(64, 10000.0, scaled("yarn", factor, **options)), reference
    )


@settings(max_examples=60, deadline=None)
@given(
    half=st.integers(2, 80),
    theta=st.floats(100.0, 1e6),
    factor=st.floats(1.0, 64.0),
    length=st.integers(7, 16384),
    slow=st.floats(0.1, 4.0),
    wider=st.floats(1.5, 64.0),
    truncate=st.booleans(),
)
def test_yarn_equals_transformers_for_any_numbers(
    half, theta, factor, length, slow, wider, truncate
):
    options = {
        "factor": factor,
        "beta_slow": slow,
        "beta_fast": slow * wider,
        "truncate": truncate,
    }
    reference, factor = reference_frequencies(
        2 * half,
        theta,
        max_positions=length,
        rope_type="yarn",
        original_max_position_embeddings=length,
        **options,
    )
    first, last = (
        2 * half * math.log(length / (2 * math.pi * b)) / (2 * math.log(theta))
        for b in (slow * wider, slow)
    )
    ours = rope_frequencies(
        2 * half,
        theta,
        RopeScaling(kind="yarn", original_max_seq_len=length, **options),
    )
    if (
        last > 0 and first < 2 * half - 1
    ):  # outside, the ends of the reference's ramp change places
        assert_same(ours, (reference, factor))


def test_yarn_keeps_what_turns_often_and_divides_what_does_not_turn_once():
    plain = rope_frequencies(64, 10000.0)[0]
    slowed, factor = rope_frequencies(64, 10000.0, scaled("yarn"))
    turns = L * plain / (2 * math.pi)
    assert (turns > 32).any() and (turns < 0.5).any()
    assert torch.equal(slowed[turns > 32], plain[turns > 32])
    torch.testing.assert_close(
        slowed[turns < 0.5], plain[turns < 0.5] / 4, rtol=1e-6, atol=0
    )
    between = slowed[(turns < 20) & (turns > 2)] / plain[(turns < 20) & (turns > 2)]
    assert ((between < 1) & (between > 0.25)).all()
    assert factor == pytest.approx(0.1 * math.log(4) + 1)


def test_yarn_leaves_a_model_alone_whose_pairs_all_turn_often():
    scaling = RopeScaling(kind="yarn", factor=4.0, original_max_seq_len=1_000_000)
    assert torch.equal(
        rope_frequencies(8, 10.0, scaling)[0], rope_frequencies(8, 10.0)[0]
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"kind": "cubic"},
            "RoPE scaling kind 'cubic' is unknown; linear, ntk, dynamic, yarn are",
        ),
        ({"factor": 0.5}, "RoPE scaling factor is 0.5; at least 1 is needed"),
        ({"factor": math.nan}, "RoPE scaling factor is nan; at least 1 is needed"),
        ({"factor": math.inf}, "RoPE scaling factor is inf; at least 1 is needed"),
        (
            {"original_max_seq_len": 0},
            "original_max_seq_len is 0; at least 1 is needed",
        ),
        (
            {"beta_fast": 1.0},
            "beta_slow is 1.0 and beta_fast 1.0; 0 < beta_slow < beta_fast is needed",
        ),
        (
            {"beta_slow": 0.0},
            "beta_slow is 0.0 and beta_fast 32.0; 0 < beta_slow < beta_fast is needed",
        ),
        (
            {"attention_factor": -1.0},
            "attention_factor is -1.0; a positive number is needed",
        ),
        ({"mscale": -1.0}, "mscale is -1.0; 0 or more is needed"),
        ({"mscale_all_dim": math.nan}, "mscale_all_dim is nan; 0 or more is needed"),
        (
            {"kind": "linear", "mscale": 1.0},
            "mscale is 1.0; it belongs to kind 'yarn', not 'linear'",
        ),
        (
            {"kind": "ntk", "beta_fast": 16.0},
            "beta_fast is 16.0; it belongs to kind 'yarn', not 'ntk'",
        ),
        (
            {"kind": "dynamic", "truncate": False},
            "truncate is False; it belongs to kind 'yarn', not 'dynamic'",
        ),
    ],
)
def test_a_scaling_that_means_nothing_is_refused(fields, message):
    with pytest.raises(ValueError) as error:
        RopeScaling(
            **({"kind": "yarn", "factor": 2.0, "original_max_seq_len": L} | fields)
        )
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((7, 10000.0), "head_dim is 7; RoPE needs an even one"),
        ((0, 10000.0), "head_dim is 0; RoPE needs a positive one"),
        ((-2, 10000.0), "head_dim is -2; RoPE needs a positive one"),
        ((8, 1.0), "theta is 1.0; RoPE needs more than 1"),
        ((8, math.nan), "theta is nan; RoPE needs more than 1"),
        (
            (2, 10000.0, scaled("ntk")),
            "head_dim is 2; RoPE scaling 'ntk' needs at least 4",
        ),
        (
            (2, 10000.0, scaled("dynamic")),
            "head_dim is 2; RoPE scaling 'dynamic' needs at least 4",
        ),
    ],
)
def test_frequencies_that_do_not_exist_are_refused(arguments, message):
    with pytest.raises(ValueError) as error:
        rope_frequencies(*arguments)
    assert str(error.value) == message
