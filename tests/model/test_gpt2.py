"""GPT-2: sizes that are known, its embeddings and head, and its configuration; the rest
is in `test_both_models`.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small_models import GPT2_SMALL, VOCAB, build, close, some_ids

from happyllm_support.model.gpt2 import (
    GPT2,
    GPT2_124M,
    GPT2_355M,
    GPT2_774M,
    GPT2_1558M,
    TINY,
    GPT2Config,
)
from happyllm_support.model.layers import ACTIVATIONS


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (GPT2_124M, 124_439_808),
        (GPT2_355M, 354_823_168),
        (GPT2_774M, 774_030_080),
        (GPT2_1558M, 1_557_611_200),
        (TINY, 512 * 96 + 256 * 96 + 3 * (12 * 96**2 + 13 * 96) + 2 * 96),
        (
            GPT2Config(**GPT2_SMALL),
            VOCAB * 24 + 32 * 24 + 3 * (12 * 24**2 + 13 * 24) + 2 * 24,
        ),
    ],
    ids=["124M", "355M", "774M", "1558M", "tiny", "small"],
)
def test_parameter_counts_on_meta(config, count):
    with torch.device("meta"):
        model = GPT2(config)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert model.num_parameters() == count


def test_the_smallest_preset_runs():
    model = GPT2(TINY, torch.Generator().manual_seed(0))
    logits = model(torch.randint(512, (2, 256)))
    assert logits.shape == (2, 256, 512) and torch.isfinite(logits).all()


def test_the_formula_at_the_head_of_the_module():
    model = build("gpt2")
    ids = some_ids(2, 9)
    x = model.tok_emb.weight[ids] + model.pos_emb.weight[:9]
    for block in model.blocks:
        x = x + block.attn(block.attn_norm(x))
        x = x + block.mlp(block.mlp_norm(x))
    close(model(ids), model.final_norm(x) @ model.tok_emb.weight.T)


def test_a_wrong_activation_eps_or_norm_place_would_be_noticed():
    model, ids = build("gpt2"), some_ids(2, 9)
    expected = model(ids)
    for change in ({"activation": "gelu"}, {"activation": "relu"}, {"norm_eps": 1e-3}):
        assert (
            build("gpt2", **change)(ids) - expected
        ).abs().max() > 1e-4 * expected.std(), change


def test_the_width_of_the_mlp():
    assert GPT2Config(d_model=96, n_head=4).mlp_width == 384
    assert GPT2Config(d_ff=100).mlp_width == 100
    assert build("gpt2", d_ff=10).blocks[0].mlp.up_proj.weight.shape == (10, 24)
    assert GPT2_1558M.n_kv_head == 25


def test_every_projection_has_a_bias_and_the_head_has_none():
    names = [
        name for name, _ in build("gpt2").named_parameters() if name.endswith("bias")
    ]
    assert len(names) == 3 * 8 + 1
    assert "lm_head.bias" not in names and "blocks.2.attn.k_proj.bias" in names


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_activation_is_the_configured_one(activation):
    model = build("gpt2", activation=activation)
    assert {block.mlp.activation for block in model.blocks} == {activation}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 0}, "vocab_size is 0; expected a positive whole number"),
        ({"max_seq_len": -1}, "max_seq_len is -1; expected a positive whole number"),
        ({"n_layer": 1.5}, "n_layer is 1.5; expected a positive whole number"),
        ({"n_head": 0}, "n_head is 0; expected a positive whole number"),
        ({"d_model": None}, "d_model is None; expected a positive whole number"),
        ({"d_ff": 0}, "d_ff is 0; expected a positive whole number"),
        (
            {"n_head": 5},
            "d_model 768 cannot be split among n_head 5; n_head has to divide it",
        ),
        (
            {"activation": "swish"},
            "activation 'swish' is unknown; allowed are gelu, gelu_tanh, .*",
        ),
        ({"norm_eps": -1e-5}, "norm_eps is -1e-05; expected a positive number"),
        ({"norm_eps": float("nan")}, "norm_eps is nan; expected a positive number"),
        ({"norm_eps": "a"}, "norm_eps is 'a'; expected a positive number"),
        ({"init_std": 0}, "init_std is 0; expected a positive number"),
    ],
    ids=str,
)
def test_a_bad_configuration_is_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        GPT2Config(**changes)


def test_a_configuration_cannot_be_changed_only_replaced():
    with pytest.raises(dataclasses.FrozenInstanceError):
        GPT2_124M.n_head = 5  # type: ignore[misc]
    with pytest.raises(ValueError, match="n_head 7"):
        dataclasses.replace(GPT2_124M, n_head=7)
    assert (
        dataclasses.replace(GPT2_124M, n_layer=24, n_head=16, d_model=1024) == GPT2_355M
    )
