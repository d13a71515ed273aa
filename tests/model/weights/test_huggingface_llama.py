import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_transformers import llama, logits_of, random_ids

from happyllm_support.model.llama2 import LLAMA2_70B, Llama2Config
from happyllm_support.model.positions import RopeScaling
from happyllm_support.model.weights.config_fields import ConfigFields
from happyllm_support.model.weights.huggingface_llama import (
    llama2_config,
    llama2_fields,
    llama2_layout,
)
from happyllm_support.model.weights.pretrained import (
    load_llama,
    load_pretrained,
    save_pretrained,
)

SIZES = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 61,
    "intermediate_size": 56,
    "max_position_embeddings": 64,
}


def read(tmp_path, **changes):
    (tmp_path / "config.json").write_text(json.dumps(SIZES | changes))
    return llama2_config(ConfigFields.read(tmp_path / "config.json"))


def test_defaults_are_those_of_transformers(tmp_path):
    config = read(tmp_path)
    assert (
        config.n_kv_head,
        config.norm_eps,
        config.rope_theta,
        config.max_seq_len,
    ) == (4, 1e-6, 10000.0, 64)
    assert not (
        config.tie_embeddings
        or config.attention_bias
        or config.mlp_bias
        or config.rope_scaling
    )


YARN = RopeScaling(kind="yarn", factor=4.0, original_max_seq_len=16)
YARN_FIELDS = {"factor": 4.0, "original_max_position_embeddings": 16}


@pytest.mark.parametrize(
    ("changes", "theta", "scaling", "limit"),
    [
        ({"rope_theta": 5e5}, 5e5, None, 64),
        ({"rope_theta": 5e5, "rope_scaling": None}, 5e5, None, 64),
        (
            {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
            5e5,
            None,
            64,
        ),
        ({"rope_parameters": {"rope_theta": 5e5}}, 5e5, None, 64),
        (
            {"rope_theta": 70, "rope_scaling": {"type": "linear", "factor": 2.0}},
            70.0,
            RopeScaling(kind="linear", factor=2.0, original_max_seq_len=64),
            64,
        ),
        (
            {"rope_scaling": {"rope_type": "dynamic", "factor": 2}},
            10000.0,
            RopeScaling(kind="dynamic", factor=2.0, original_max_seq_len=64),
            128,
        ),
        (
            {"rope_parameters": {"rope_type": "yarn", **YARN_FIELDS}},
            10000.0,
            YARN,
            64,
        ),
        (
            {"rope_scaling": {"type": "yarn", "original_max_position_embeddings": 16}},
            10000.0,
            YARN,
            64,
        ),
        (
            {
                "original_max_position_embeddings": 16,
                "rope_scaling": {"type": "yarn", "factor": 4.0},
            },
            10000.0,
            YARN,
            64,
        ),
        (  # both spellings: the older wins, as in transformers
            {
                "rope_scaling": {"type": "yarn", **YARN_FIELDS},
                "rope_parameters": {"rope_type": "linear", "factor": 9.0},
            },
            10000.0,
            YARN,
            64,
        ),
    ],
)
def test_both_spellings_of_rotary_scaling(tmp_path, changes, theta, scaling, limit):
    config = read(tmp_path, **changes)
    assert (config.rope_theta, config.rope_scaling, config.max_seq_len) == (
        theta,
        scaling,
        limit,
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'; supported is 'silu'"),
        (
            {"head_dim": 16},
            "head_dim is 16; supported is hidden_size / num_attention_heads = 32 / 4",
        ),
        ({"num_key_value_heads": 3}, "n_kv_head 3 cannot be shared by n_head 4"),
        (
            {"hidden_size": 36, "num_attention_heads": 12},
            "heads of d_model 36 / n_head 12 = 3 dimensions",
        ),
        (
            {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
            "RoPE scaling is 'llama3'; expected default, lin",
        ),
        ({"rope_scaling": {"rope_type": "linear"}}, "factor is missing; a number"),
        (
            {"rope_scaling": {"rope_type": "linear", "factor": 0.5}},
            r"RoPE scaling factor is 0\.5; at least 1",
        ),
        ({"rope_scaling": [1]}, r"rope_scaling is \[1\]; an object"),
        (
            {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
            "partial_rotary_factor is 0.5; supp",
        ),
        ({"rope_theta": "big"}, "rope_theta is 'big'; a number"),
        (
            {"rms_norm_eps": None, "vocab_size": 0},
            "vocab_size is 0; a positive integer",
        ),
    ],
)
def test_settings_that_we_have_not(tmp_path, changes, message):
    with pytest.raises(ValueError, match=rf"config\.json: {message}"):
        read(tmp_path, **changes)


@pytest.mark.parametrize(
    "scaling",
    [
        None,
        RopeScaling(kind="linear", factor=2.5, original_max_seq_len=24),
        RopeScaling(kind="dynamic", factor=2.0, original_max_seq_len=30),
        YARN,
        RopeScaling(
            kind="yarn",
            factor=4.0,
            original_max_seq_len=9,
            beta_fast=8.0,
            beta_slow=2.0,
            attention_factor=1.5,
        ),
        RopeScaling(
            kind="yarn",
            factor=4.0,
            original_max_seq_len=9,
            mscale=0.7,
            mscale_all_dim=0.1,
            truncate=False,
        ),
    ],
)
def test_config_round_trip(tmp_path, scaling):
    config = Llama2Config(
        vocab_size=7,
        max_seq_len=50,
        n_layer=2,
        n_head=4,
        n_kv_head=2,
        d_model=32,
        d_ff=5,
        rope_theta=77.0,
        rope_scaling=scaling,
        norm_eps=1e-3,
        attention_bias=True,
        mlp_bias=True,
        tie_embeddings=True,
        init_std=0.5,
    )
    (tmp_path / "config.json").write_text(json.dumps(llama2_fields(config)))
    fields = ConfigFields.read(tmp_path / "config.json")
    assert llama2_config(fields) == config


def test_ntk_scaling_is_written_as_the_base_that_it_amounts_to(tmp_path):
    llama().save_pretrained(tmp_path / "plain")
    model = load_pretrained(tmp_path / "plain")
    scaled = type(model)(
        Llama2Config(
            **vars(model.config)
            | {
                "rope_scaling": RopeScaling(
                    kind="ntk", factor=2.0, original_max_seq_len=8
                )
            }
        )
    )
    scaled.load_state_dict(model.state_dict())
    save_pretrained(scaled.eval(), tmp_path / "scaled")
    again = load_pretrained(tmp_path / "scaled")
    assert (
        again.config.rope_scaling is None
        and again.config.rope_theta == pytest.approx(10000 * 2 ** (8 / 6))
    )
    ids = random_ids()
    torch.testing.assert_close(
        logits_of(again, ids), logits_of(scaled, ids), rtol=0, atol=1e-3
    )
    assert not torch.allclose(
        logits_of(again, ids), logits_of(model, ids), rtol=0, atol=1e-1
    )


def edit_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {name: tensor.clone() for name, tensor in change(tensors).items()},
        folder / "model.safetensors",
    )


@pytest.fixture
def tied(tmp_path):
    llama(tie_word_embeddings=True).save_pretrained(tmp_path)
    return tmp_path


def test_tied_heads(tied):
    assert "lm_head.weight" not in load_file(tied / "model.safetensors")
    model = load_llama(tied)
    assert model.lm_head.weight is model.tok_emb.weight
    expected = logits_of(model, random_ids())
    edit_tensors(tied, lambda t: t | {"lm_head.weight": t["model.embed_tokens.weight"]})
    assert torch.equal(logits_of(load_llama(tied), random_ids()), expected)
    edit_tensors(tied, lambda t: t | {"lm_head.weight": t["lm_head.weight"] + 1})
    with pytest.raises(
        ValueError,
        match=r"lm_head\.weight and model\.embed_tokens\.weight differ, but "
        r"config\.json",
    ):
        load_llama(tied)
    config = json.loads((tied / "config.json").read_text())
    (tied / "config.json").write_text(
        json.dumps(config | {"tie_word_embeddings": False})
    )  # as the message advises
    assert load_llama(tied).lm_head.weight is not load_llama(tied).tok_emb.weight


def test_a_missing_head_is_seen(tmp_path):
    llama().save_pretrained(tmp_path)
    edit_tensors(
        tmp_path,
        lambda t: {
            name: tensor for name, tensor in t.items() if name != "lm_head.weight"
        },
    )
    with pytest.raises(
        ValueError, match=r"LLaMA with 3 layers, .*: 1 missing \(lm_head\.weight\)$"
    ):
        load_pretrained(tmp_path)


def test_prefix_and_old_frequencies(tied):
    expected = logits_of(load_llama(tied), random_ids())
    edit_tensors(
        tied,
        lambda t: {name.removeprefix("model."): tensor for name, tensor in t.items()},
    )
    assert torch.equal(logits_of(load_llama(tied), random_ids()), expected)
    edit_tensors(
        tied, lambda t: t | {"layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    )
    assert torch.equal(logits_of(load_llama(tied), random_ids()), expected)


def test_the_table_covers_the_largest_model():
    sizes = [
        torch.Size(entry.shape).numel()
        for entry in llama2_layout(LLAMA2_70B).tensors.values()
    ]
    assert len(sizes) == 80 * 9 + 3 and sum(sizes) == 68_976_648_192
