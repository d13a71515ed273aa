import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_transformers import assert_equal_logits, llama, logits_of, random_ids

from happyllm_support.model.positions import (
    apply_rope,
    half_split_to_interleaved,
    interleaved_to_half_split,
    rope_frequencies,
)
from happyllm_support.model.weights.config_fields import ConfigFields
from happyllm_support.model.weights.meta_llama import meta_config
from happyllm_support.model.weights.pretrained import load_meta, load_pretrained
from happyllm_support.model.weights.safetensors_reading import StoredTensors

PARAMS = {
    "dim": 32,
    "n_layers": 3,
    "n_heads": 4,
    "n_kv_heads": 2,
    "multiple_of": 8,
    "norm_eps": 1e-5,
    "vocab_size": -1,
}
RENAMED = {
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.embed_tokens": "tok_embeddings",
    "lm_head": "output",
}


def in_metas_layout(model):
    """The same weights under Meta's names, rows of queries and keys in pairs of
    neighbours.
    """
    tensors = {}
    for name, tensor in model.state_dict().items():
        if "q_proj" in name or "k_proj" in name:
            tensor = half_split_to_interleaved(tensor, 8)
        for theirs, metas in RENAMED.items():
            name = name.replace(theirs, metas)
        tensors[name.removeprefix("model.")] = tensor.contiguous()
    return tensors


@pytest.fixture(scope="module")
def theirs():
    return llama(intermediate_size=88)


@pytest.fixture
def folder(tmp_path, theirs):
    save_file(
        in_metas_layout(theirs) | {"rope.freqs": torch.ones(4)},
        tmp_path / "consolidated.00.safetensors",
    )
    (tmp_path / "params.json").write_text(json.dumps(PARAMS))
    return tmp_path


def test_the_same_logits(folder, theirs):
    model = load_meta(folder)
    assert (model.config.d_ff, model.config.vocab_size, model.config.max_seq_len) == (
        88,
        61,
        4096,
    )
    assert_equal_logits(logits_of(model, random_ids()), logits_of(theirs, random_ids()))
    assert torch.equal(
        logits_of(load_pretrained(folder), random_ids()), logits_of(model, random_ids())
    )


def test_rows_in_the_other_order_are_seen(folder, theirs):
    tensors = in_metas_layout(theirs) | {
        "layers.0.attention.wq.weight": theirs.model.layers[0].self_attn.q_proj.weight
    }
    save_file(
        {name: tensor.detach() for name, tensor in tensors.items()},
        folder / "consolidated.00.safetensors",
    )
    with pytest.raises(AssertionError, match="logits differ"):
        assert_equal_logits(
            logits_of(load_meta(folder), random_ids()), logits_of(theirs, random_ids())
        )


def test_the_order_of_rows_is_that_of_rotating_neighbours():
    """Independent of our permutation: complex products, as Meta's code rotates, give
    the scores of the half-split.
    """
    weight, x = torch.randn(8, 5), torch.randn(6, 5)
    angles = torch.arange(6.0)[:, None] * rope_frequencies(8, 10000.0)[0]  # (T, D/2)
    pairs = torch.view_as_complex((x @ weight.T).view(6, 4, 2)) * torch.polar(
        torch.ones_like(angles), angles
    )
    cos, sin = (
        torch.cat((f, f), dim=-1)[None, None] for f in (angles.cos(), angles.sin())
    )
    ours = apply_rope(
        (x @ interleaved_to_half_split(weight, 8).T)[None, None], cos, sin
    )[0, 0]
    rotated = torch.view_as_real(pairs).flatten(-2)
    torch.testing.assert_close(ours @ ours.T, rotated @ rotated.T)


@pytest.mark.parametrize(
    ("params", "width"),
    [
        ({"dim": 4096, "multiple_of": 256}, 11008),
        ({"dim": 5120, "multiple_of": 256}, 13824),
        ({"dim": 8192, "multiple_of": 4096, "ffn_dim_multiplier": 1.3}, 28672),
        ({"dim": 4096, "hidden_dim": 14336}, 14336),
    ],
)
def test_width_of_the_mlp(tmp_path, params, width):
    (tmp_path / "params.json").write_text(
        json.dumps(PARAMS | {"vocab_size": 9} | params)
    )
    fields, nothing = (
        ConfigFields.read(tmp_path / "params.json"),
        StoredTensors(folder=tmp_path, infos={}),
    )
    assert meta_config(fields, nothing, max_seq_len=9).d_ff == width


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"use_scaled_rope": True}, "use_scaled_rope is True; supported is False"),
        ({"moe": {"num_experts": 8}}, "moe is {'num_experts': 8}; supported is None"),
        ({"sliding_window": 4096}, "sliding_window is 4096"),
        ({"head_dim": 16}, "head_dim is 16; supported is dim / n_heads = 32 / 4"),
        ({"n_heads": 5}, "d_model 32 cannot be split among n_head 5"),
        ({"vocab_size": 0}, "vocab_size is 0; a positive integer"),
    ],
)
def test_settings_that_we_have_not(folder, params, message):
    (folder / "params.json").write_text(json.dumps(PARAMS | params))
    with pytest.raises(ValueError, match=rf"params\.json: {message}"):
        load_meta(folder)


def test_pickled_files_and_slices_are_refused(folder):
    tensors = load_file(folder / "consolidated.00.safetensors")
    save_file(tensors, folder / "consolidated.01.safetensors")
    with pytest.raises(
        ValueError,
        match=r"both hold .*: slices for several GPUs, or two models; join them",
    ):
        load_meta(folder)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    (folder / "consolidated.00.pth").touch()
    with pytest.raises(
        ValueError, match=r"pickled only \(consolidated\.00\.pth\).*; convert them with"
    ):
        load_pretrained(folder)


def test_every_tensor_is_accounted_for(folder):
    tensors = load_file(folder / "consolidated.00.safetensors")
    tensors["layers.3.attention_norm.weight"] = tensors.pop(
        "layers.2.attention_norm.weight"
    )
    save_file(tensors, folder / "consolidated.00.safetensors")
    message = (
        r"Meta's layout .*: 1 missing \(layers\.2\.attention_norm\.weight\); "
        r"1 unknown \(layers\.3\.attention_norm"
    )
    with pytest.raises(ValueError, match=message):
        load_meta(folder)
