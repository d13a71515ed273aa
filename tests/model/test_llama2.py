"""LLaMA2: sizes that are known, its parts, and its configuration; the rest is in
`test_both_models`.
"""

from __future__ import annotations

import math

import pytest
import torch
from small_models import LLAMA2_SMALL, VOCAB, build, close, some_ids

from happyllm_support.model.llama2 import (
    LLAMA2_7B,
    LLAMA2_13B,
    LLAMA2_70B,
    LLAMA_215M,
    LLAMA_242M,
    SMALL,
    TINY,
    Llama2,
    Llama2Config,
)
from happyllm_support.model.positions import RopeScaling


def expected_count(c: Llama2Config) -> int:
    """Embedding and head, then per layer attention, MLP and two norms, then the last
    norm.
    """
    attention = 2 * c.d_model**2 + 2 * c.d_model * c.d_model // c.n_head * c.n_kv_head
    ends = c.vocab_size * c.d_model * (1 if c.tie_embeddings else 2) + c.d_model
    return ends + c.n_layer * (attention + 3 * c.d_model * c.d_ff + 2 * c.d_model)


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (LLAMA2_7B, 6_738_415_616),
        (LLAMA2_13B, 13_015_864_320),
        (LLAMA2_70B, 68_976_648_192),
        (LLAMA_215M, 215_127_040),
        (LLAMA_242M, 215_127_040 + (32_000 - 6_144) * 1_024),
        (TINY, expected_count(TINY)),
        (SMALL, expected_count(SMALL)),
        (Llama2Config(**LLAMA2_SMALL), expected_count(Llama2Config(**LLAMA2_SMALL))),
    ],
    ids=["7B", "13B", "70B", "215M", "242M", "tiny", "small", "test"],
)
def test_parameter_counts_on_meta(config, count):
    with torch.device("meta"):
        model = Llama2(config)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert model.num_parameters() == count == expected_count(config)


def test_names_of_presets_are_their_sizes():
    sizes = {
        config: expected_count(config) / 1e6
        for config in (TINY, SMALL, LLAMA_215M, LLAMA_242M)
    }
    assert sizes[TINY] == pytest.approx(0.4, abs=0.05)
    assert sizes[SMALL] == pytest.approx(26, abs=1)
    assert (round(sizes[LLAMA_215M]), round(sizes[LLAMA_242M])) == (215, 242)


@pytest.mark.parametrize("config", [TINY, SMALL], ids=["tiny", "small"])
def test_small_presets_run(config):
    model = Llama2(config, torch.Generator().manual_seed(0))
    logits = model(torch.randint(config.vocab_size, (2, 20)))
    assert logits.shape == (2, 20, config.vocab_size) and torch.isfinite(logits).all()


def test_the_formula_at_the_head_of_the_module():
    """Attention written out once more, with the rotation as a complex number."""
    model = build("llama2")
    ids = some_ids(2, 9)
    x = model.tok_emb.weight[ids]
    angles = torch.arange(9, dtype=torch.float64)[:, None] * 10000.0 ** (
        -torch.arange(3, dtype=torch.float64) / 3
    )

    def heads(projected: torch.Tensor) -> torch.Tensor:
        return projected.unflatten(-1, (-1, 6)).transpose(1, 2)  # (B, heads, T, 6)

    def turned(projected: torch.Tensor) -> torch.Tensor:
        a, b = projected.chunk(2, dim=-1)
        z = torch.complex(a, b) * torch.polar(torch.ones_like(angles), angles)
        return torch.cat([z.real, z.imag], dim=-1)

    for block in model.blocks:
        y, attn = block.attn_norm(x), block.attn
        q, k, v = (
            turned(heads(attn.q_proj(y))),
            turned(heads(attn.k_proj(y))),
            heads(attn.v_proj(y)),
        )
        k, v = (
            t.repeat_interleave(2, dim=1) for t in (k, v)
        )  # query heads 0 and 1 share key head 0
        scores = (q @ k.transpose(-2, -1) / math.sqrt(6)).masked_fill(
            torch.ones(9, 9).triu(1).bool(), -math.inf
        )
        x = x + attn.o_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        y, mlp = block.mlp_norm(x), block.mlp
        x = x + mlp.down_proj(
            torch.nn.functional.silu(mlp.gate_proj(y)) * mlp.up_proj(y)
        )
    close(
        model(ids), model.final_norm(x) @ model.lm_head.weight.T, 1e-5
    )  # frequencies are fp32


def test_a_wrong_base_eps_or_scaling_would_be_noticed():
    ids = some_ids(2, 9)
    expected = build("llama2")(ids)
    scaling = RopeScaling(kind="linear", factor=2.0, original_max_seq_len=32)
    for change in (
        {"rope_theta": 9000.0},
        {"norm_eps": 1e-3},
        {"rope_scaling": scaling},
    ):
        assert (
            build("llama2", **change)(ids) - expected
        ).abs().max() > 1e-4 * expected.std(), change


@pytest.mark.parametrize("n_kv_head", [1, 2, 4])
def test_groups_of_query_heads_share_keys_and_values(n_kv_head):
    """The same model with each key and value head written out for every query head of
    its group.
    """
    model = build("llama2", n_kv_head=n_kv_head)
    full = build("llama2", n_kv_head=4)
    state = model.state_dict()
    for key in state:
        if "k_proj" in key or "v_proj" in key:
            assert state[key].shape == (6 * n_kv_head, 24)
            state[key] = (
                state[key]
                .unflatten(0, (-1, 6))
                .repeat_interleave(4 // n_kv_head, dim=0)
                .flatten(0, 1)
            )
    full.load_state_dict(state)
    close(model(some_ids(2, 9)), full(some_ids(2, 9)))


def test_shifting_all_positions_changes_nothing():
    model, ids = build("llama2"), some_ids(2, 9)
    positions = torch.arange(9).expand(2, 9)
    close(model(ids, positions=positions + 13), model(ids), 1e-5)
    assert (model(ids, positions=positions * 2) - model(ids)).abs().max() > 0.1


@pytest.mark.parametrize("attention_bias", [False, True])
@pytest.mark.parametrize("mlp_bias", [False, True])
def test_biases_are_where_they_are_asked_for(attention_bias, mlp_bias):
    model = build("llama2", attention_bias=attention_bias, mlp_bias=mlp_bias)
    names = [name for name, _ in model.named_parameters() if name.endswith("bias")]
    assert sum("attn." in name for name in names) == (12 if attention_bias else 0)
    assert sum("mlp." in name for name in names) == (9 if mlp_bias else 0)
    assert len(names) == 12 * attention_bias + 9 * mlp_bias


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            ({name: 0}, f"{name} is 0; expected a positive whole number")
            for name in (
                "vocab_size",
                "max_seq_len",
                "n_layer",
                "n_head",
                "n_kv_head",
                "d_model",
                "d_ff",
            )
        ),
        (
            {"n_head": 48},
            "d_model 4096 cannot be split among n_head 48; n_head has to divide it",
        ),
        (
            {"n_kv_head": 5},
            "n_kv_head 5 cannot be shared by n_head 32; n_kv_head has to divide it",
        ),
        (
            {"n_kv_head": 64},
            "n_kv_head 64 cannot be shared by n_head 32; n_kv_head has to divide it",
        ),
        (
            {"d_model": 96, "n_head": 32, "n_kv_head": 8},
            "heads of d_model 96 / n_head 32 = 3 dimensions cannot be rotated in "
            "pairs; the number has to be even",
        ),
        ({"norm_eps": 0.0}, "norm_eps is 0.0; expected a positive number"),
        ({"init_std": -0.02}, "init_std is -0.02; expected a positive number"),
        ({"norm_eps": None}, "norm_eps is None; expected a positive number"),
        ({"rope_theta": "a"}, "rope_theta is 'a'; expected a positive number"),
        ({"rope_theta": 1.0}, "theta is 1.0; RoPE needs more than 1"),
    ],
    ids=str,
)
def test_a_bad_configuration_is_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Llama2Config(**changes)


def test_scaling_reaches_the_model():
    scaling = RopeScaling(kind="yarn", factor=4.0, original_max_seq_len=32)
    model = build("llama2", rope_scaling=scaling)
    assert model.rotary.scaling is scaling
    assert model(some_ids(1, 9)).shape == (1, 9, VOCAB)


def test_without_another_number_every_head_has_its_own_keys():
    config = Llama2Config(n_head=8, d_model=64)
    assert config.n_kv_head == 8
    assert Llama2Config().n_kv_head == 32, "the 7B"
    assert Llama2Config(n_head=8, d_model=64, n_kv_head=2).n_kv_head == 2
    with pytest.raises(ValueError, match=r"^n_kv_head is 0; expected a positive"):
        Llama2Config(n_head=8, d_model=64, n_kv_head=0)


def test_a_scaling_of_another_type_is_named():
    with pytest.raises(
        ValueError, match=r"^rope_scaling is a dict; expected a RopeScal"
    ):
        Llama2Config(rope_scaling={"kind": "linear", "factor": 2.0})
