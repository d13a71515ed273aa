import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_transformers import gpt2, logits_of, random_ids

from happyllm_support.model.gpt2 import GPT2_124M, GPT2Config
from happyllm_support.model.layers import ACTIVATIONS
from happyllm_support.model.weights.config_fields import ConfigFields
from happyllm_support.model.weights.huggingface_gpt2 import (
    gpt2_config,
    gpt2_fields,
    gpt2_layout,
)
from happyllm_support.model.weights.pretrained import load_gpt2, load_pretrained


@pytest.fixture
def folder(tmp_path):
    gpt2().save_pretrained(tmp_path)
    return tmp_path


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_tensors(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file({name: tensor.clone() for name, tensor in change(tensors).items()}, path)


def without_prefix(tensors):
    return {
        name.removeprefix("transformer."): tensor for name, tensor in tensors.items()
    }


def with_old_buffers(tensors):
    for i in range(3):
        tensors[f"transformer.h.{i}.attn.bias"] = torch.ones(1, 1, 24, 24)
        tensors[f"transformer.h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    return tensors


def with_head(tensors):
    return tensors | {"lm_head.weight": tensors["transformer.wte.weight"]}


@pytest.mark.parametrize(
    "change",
    [
        without_prefix,
        with_old_buffers,
        with_head,
        lambda tensors: without_prefix(with_old_buffers(with_head(tensors))),
    ],
)
def test_all_spellings_of_a_checkpoint_are_the_same_model(folder, change):
    expected = logits_of(load_pretrained(folder), random_ids())
    edit_tensors(folder, change)
    model = load_gpt2(folder)
    assert torch.equal(logits_of(model, random_ids()), expected)
    assert model.lm_head.weight is model.tok_emb.weight


def test_what_is_ignored_is_ignored_by_name(folder):
    edit_tensors(
        folder, lambda tensors: tensors | {"transformer.h.0.attn.biases": torch.ones(1)}
    )
    with pytest.raises(
        ValueError,
        match=r"GPT-2 with 3 layers, .*: 1 unknown \(transformer\.h\.0\.attn\.biases\)",
    ):
        load_pretrained(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"add_cross_attention": True},
            "add_cross_attention is True; supported is False",
        ),
        (
            {"tie_word_embeddings": False},
            "tie_word_embeddings is False; supported is True",
        ),
        (
            {"quantization_config": {"bits": 4}},
            "quantization_config is {'bits': 4}; supported is None",
        ),
        (
            {"activation_function": "gelu_10"},
            "activation_function is 'gelu_10'; expected one of gelu, gelu_acc",
        ),
        ({"n_head": 5}, "d_model 32 cannot be split among n_head 5"),
        ({"n_layer": None}, "n_layer is missing; a positive integer"),
        ({"n_embd": "32"}, "n_embd is '32'; a positive integer"),
        ({"scale_attn_weights": "no"}, "scale_attn_weights is 'no'; true or false"),
    ],
)
def test_settings_that_we_have_not(folder, changes, message):
    edit_config(folder, **changes)
    with pytest.raises(ValueError, match=rf"config\.json: {message}"):
        load_pretrained(folder)


def test_config_and_tensors_that_do_not_belong_together(folder):
    edit_config(folder, n_layer=4)
    with pytest.raises(
        ValueError,
        match=r"12 missing \(transformer\.h\.3\.ln_1\.weight, .* and 9 more\)$",
    ):
        load_pretrained(folder)
    edit_config(folder, n_layer=3, n_positions=25)
    with pytest.raises(
        ValueError,
        match=r"1 of another shape \(transformer\.wpe\.weight is \(24, 32\), not "
        r"\(25, 32\)\)",
    ):
        load_pretrained(folder)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_config_round_trip(tmp_path, activation):
    config = GPT2Config(
        vocab_size=7,
        max_seq_len=9,
        n_layer=2,
        n_head=3,
        d_model=12,
        d_ff=5,
        norm_eps=1e-3,
        activation=activation,
        init_std=0.5,
    )
    (tmp_path / "config.json").write_text(json.dumps(gpt2_fields(config)))
    assert gpt2_config(ConfigFields.read(tmp_path / "config.json")) == config


def test_the_table_covers_the_released_model():
    layout = gpt2_layout(GPT2_124M)
    sizes = [torch.Size(entry.shape).numel() for entry in layout.tensors.values()]
    assert len(sizes) == 148 and sum(sizes) == 124_439_808
    assert gpt2_layout(dataclasses.replace(GPT2_124M, d_ff=10)).tensors[
        "transformer.h.0.mlp.c_fc.weight"
    ].shape == (
        768,
        10,
    )
