"""Our logits are those of `transformers`, and the comparison sees every setting that
can be wrong.
"""

import copy
import dataclasses
import json

import pytest
import torch
from tiny_transformers import (
    assert_equal_logits,
    gpt2,
    llama,
    logits_of,
    random_ids,
    relative_difference,
)
from transformers.activations import ACT2FN

from happyllm_support.files import home
from happyllm_support.model.gpt2 import GPT2
from happyllm_support.model.llama2 import Llama2
from happyllm_support.model.modes import set_kernel
from happyllm_support.model.positions import interleaved_to_half_split
from happyllm_support.model.weights.huggingface_gpt2 import ACTIVATION_OF
from happyllm_support.model.weights.pretrained import load_pretrained, save_pretrained

GPT2S = (
    {"scale_attn_weights": False},
    {"scale_attn_by_inverse_layer_idx": True},
    {"scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True},
    {"reorder_and_upcast_attn": True, "attn_implementation": "eager"},
    {"n_inner": None, "layer_norm_epsilon": 1e-6},
)
ORIGINAL = 32  # the trained length of the scaled models, which are compared past it
LLAMAS = {
    "plain": {},
    "multi-head": {"num_key_value_heads": 4},
    "multi-query": {"num_key_value_heads": 1},
    "attention bias": {"attention_bias": True},
    "mlp bias": {"mlp_bias": True},
    "tied": {"tie_word_embeddings": True},
    "eps": {"rms_norm_eps": 1e-6},
    "theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "linear": {
        "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 700.0}
    },
    "dynamic": {
        "rope_parameters": {"rope_type": "dynamic", "factor": 3.0, "rope_theta": 700.0}
    },
    "yarn": {
        "max_position_embeddings": 4 * ORIGINAL,
        "rope_parameters": {
            "rope_type": "yarn",
            "factor": 4.0,
            "rope_theta": 700.0,
            "original_max_position_embeddings": ORIGINAL,
        },
    },
    "yarn, all fields": {
        "max_position_embeddings": 2048,
        "rope_parameters": {
            "rope_type": "yarn",
            "factor": 4.0,
            "rope_theta": 10000.0,
            "original_max_position_embeddings": 512,
            "beta_fast": 6.0,
            "beta_slow": 0.5,
            "mscale": 0.8,
            "mscale_all_dim": 0.4,
            "truncate": False,
        },
    },
    "yarn, attention factor": {
        "max_position_embeddings": 4 * ORIGINAL,
        "rope_parameters": {
            "rope_type": "yarn",
            "factor": 4.0,
            "rope_theta": 10000.0,
            "original_max_position_embeddings": ORIGINAL,
            "attention_factor": 1.5,
        },
    },
}
# of the standard deviation; measured are 0.03 to 0.07, and 0.4 and more for wrong
# models
BF16_TOLERANCE = 0.125
LENGTHS = {
    "linear": 32,
    "dynamic": 2 * ORIGINAL,
    "yarn": 2 * ORIGINAL,
}  # longer than trained where that can be


CASES = {
    **{name: (gpt2, {"activation_function": name}) for name in ACTIVATION_OF},
    **{str(changes): (gpt2, changes) for changes in GPT2S},
    **{name: (llama, changes) for name, changes in LLAMAS.items()},
}


def length_for(kind):
    return LENGTHS.get(kind.partition(",")[0], 24)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A model of theirs, and ours from its folder, made once for each description."""
    made = {}

    def make(build, name, **changes):
        if name not in made:
            theirs = build(**changes)
            folder = tmp_path_factory.mktemp("theirs")
            theirs.save_pretrained(folder)
            made[name] = theirs, load_pretrained(folder)
        return made[name]

    return make


def rebuilt(ours, **changes):
    """The same weights under another configuration."""
    kernel = changes.pop("kernel", "sdpa")
    model = type(ours)(dataclasses.replace(ours.config, **changes))
    model.load_state_dict(
        {key: value.clone() for key, value in ours.state_dict().items()}, assign=True
    )
    model.tie_weights()
    set_kernel(model, kernel)
    return model.eval()


@pytest.mark.parametrize("name", sorted(ACT2FN))
def test_gpt2_with_every_activation(pair, tmp_path, name):
    if name not in ACTIVATION_OF:
        (tmp_path / "config.json").write_text(
            json.dumps({"model_type": "gpt2", "activation_function": name})
        )
        with pytest.raises(
            ValueError,
            match=rf"config\.json: activation_function is '{name}'; expected one of "
            rf"gelu, ",
        ):
            load_pretrained(tmp_path)
        return
    theirs, ours = pair(gpt2, name, activation_function=name)
    assert isinstance(ours, GPT2) and not ours.training
    ids = random_ids()
    assert_equal_logits(logits_of(ours, ids), logits_of(theirs, ids))


def test_the_activations_that_gpt2_names_are_supported():
    assert {"relu", "silu", "gelu", "tanh", "gelu_new"} <= set(ACTIVATION_OF)


@pytest.mark.parametrize("name", LLAMAS)
def test_llama(pair, name):
    theirs, ours = pair(llama, name, **LLAMAS[name])
    assert isinstance(ours, Llama2)
    ids = random_ids(length=length_for(name))
    assert_equal_logits(logits_of(ours, ids), logits_of(theirs, ids))


@pytest.mark.parametrize("changes", GPT2S, ids=lambda changes: " ".join(changes))
def test_gpt2_of_other_kinds(pair, changes):
    theirs, ours = pair(gpt2, str(changes), **changes)
    ids = random_ids()
    assert_equal_logits(logits_of(ours, ids), logits_of(theirs, ids))


def left_padded():
    """Two rows of 20 and 13 tokens in a batch of width 20, as each side wants it."""
    ids = random_ids(length=20)
    real = torch.ones(2, 20, dtype=torch.long)
    real[1, :7] = 0
    positions = (real.cumsum(1) - 1).clamp(min=0)
    return ids, real, positions


@pytest.mark.parametrize("kernel", ["sdpa", "naive", "online"])
@pytest.mark.parametrize("build", [gpt2, llama])
def test_left_padded_rows(pair, build, kernel):
    theirs, ours = pair(build, build.__name__)
    ids, real, positions = left_padded()
    expected = logits_of(theirs, ids, attention_mask=real, position_ids=positions)
    got = logits_of(
        rebuilt(ours, kernel=kernel), ids, positions=positions, segments=real
    )
    assert_equal_logits(got[real == 1], expected[real == 1])
    alone = logits_of(ours, ids[1:, 7:])  # and padding changes nothing
    assert_equal_logits(got[1:, 7:], alone)
    unmasked = logits_of(ours, ids, positions=positions)
    assert relative_difference(unmasked[1, 7:], expected[1, 7:]) > 1e-2


def assert_seen(wrong, theirs, ids):
    with pytest.raises(AssertionError, match="logits differ"):
        assert_equal_logits(logits_of(wrong, ids), logits_of(theirs, ids))


def with_wrong_scale(ours):
    """Scores scaled by 1/sqrt(d_model), seen through the queries."""
    wrong = rebuilt(ours)
    with torch.no_grad():
        for block in wrong.blocks:
            for parameter in block.attn.q_proj.parameters():
                parameter.mul_(ours.config.n_head**-0.5)
    return wrong


every_case = pytest.mark.parametrize("name", CASES)


@every_case
def test_a_wrong_eps_is_seen(pair, name):
    build, changes = CASES[name]
    theirs, ours = pair(build, name, **changes)
    assert_seen(
        rebuilt(ours, norm_eps=ours.config.norm_eps / 2),
        theirs,
        random_ids(length=length_for(name)),
    )


@every_case
def test_a_wrong_scale_of_attention_is_seen(pair, name):
    build, changes = CASES[name]
    theirs, ours = pair(build, name, **changes)
    assert_seen(with_wrong_scale(ours), theirs, random_ids(length=length_for(name)))


@pytest.mark.parametrize("name", LLAMAS)
def test_a_wrong_base_of_the_rotation_is_seen(pair, name):
    theirs, ours = pair(llama, name, **LLAMAS[name])
    wrong = rebuilt(ours, rope_theta=1.0005 * ours.config.rope_theta)
    assert_seen(wrong, theirs, random_ids(length=length_for(name)))


NEAREST = {
    "gelu_tanh": "gelu",
    "gelu": "gelu_tanh",
    "quick_gelu": "gelu",
    "relu": "gelu",
    "silu": "quick_gelu",
    "tanh": "silu",
}


@pytest.mark.parametrize("name", ACTIVATION_OF)
def test_another_activation_is_seen(pair, name):
    theirs, ours = pair(gpt2, name, activation_function=name)
    assert_seen(
        rebuilt(ours, activation=NEAREST[ours.config.activation]), theirs, random_ids()
    )


@pytest.mark.parametrize(
    ("build", "name", "heads"), [(gpt2, "gelu", {}), (llama, "plain", {"n_kv_head": 1})]
)
def test_other_heads_are_seen(pair, build, name, heads):
    theirs, ours = pair(build, name, **CASES[name][1])
    assert_seen(rebuilt(ours, n_head=2, **heads), theirs, random_ids())


@pytest.mark.parametrize(
    "name", ["linear", "dynamic", "yarn", "yarn, all fields", "yarn, attention factor"]
)
def test_wrong_scaling_is_seen(pair, name):
    theirs, ours = pair(llama, name, **LLAMAS[name])
    ids = random_ids(length=length_for(name))
    expected = logits_of(theirs, ids)
    config = ours.config
    wrong = [
        {"rope_scaling": None},
        {
            "rope_scaling": dataclasses.replace(
                config.rope_scaling, factor=config.rope_scaling.factor * 1.01
            )
        },
    ]
    if name == "yarn, all fields":
        fields = {
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "mscale": 0.81,
            "mscale_all_dim": 0.41,
            "truncate": True,
        }
        wrong += [
            {"rope_scaling": dataclasses.replace(config.rope_scaling, **{k: v})}
            for k, v in fields.items()
        ]
    for changes in wrong:
        with pytest.raises(AssertionError, match="logits differ"):
            assert_equal_logits(logits_of(rebuilt(ours, **changes), ids), expected)


def test_interleaved_channels_are_seen(pair):
    theirs, ours = pair(llama, "plain")
    wrong = rebuilt(ours)
    with torch.no_grad():
        for block in wrong.blocks:
            for linear in (block.attn.q_proj, block.attn.k_proj):
                linear.weight.copy_(interleaved_to_half_split(linear.weight, 8))
    with pytest.raises(AssertionError, match="logits differ"):
        assert_equal_logits(
            logits_of(wrong, random_ids()), logits_of(theirs, random_ids())
        )


def test_small_weights_would_prove_little():
    logits = 0.1 * torch.randn(2, 3, 61)
    with pytest.raises(AssertionError, match="prove little"):
        relative_difference(logits, logits)
    with pytest.raises(AssertionError, match="logits differ"):
        assert_equal_logits(torch.zeros(2, 3, 61), 100 * logits)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (gpt2, "gelu"),
        (llama, "tied"),
        *((llama, name) for name in LLAMAS if name != "tied"),
    ],
)
def test_transformers_reads_what_we_write(pair, tmp_path, build, name):
    changes = {"activation_function": "gelu"} if build is gpt2 else LLAMAS[name]
    _, ours = pair(build, name, **changes)
    save_pretrained(ours, tmp_path / "ours", max_shard_bytes=20_000)  # several shards
    theirs, loading = type(build()).from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not any(loading.values()), loading
    ids = random_ids(length=length_for(name))
    assert_equal_logits(logits_of(ours, ids), logits_of(theirs.eval(), ids))
    assert load_pretrained(tmp_path / "ours").config == ours.config


@pytest.mark.parametrize("name", ["gelu", "plain", "tied"])
def test_shards_that_transformers_wrote(pair, tmp_path, name):
    build, changes = CASES[name]
    theirs, _ = pair(build, name, **changes)
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (
        len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 2
        and not (tmp_path / "model.safetensors").exists()
    )
    ids = random_ids()
    assert_equal_logits(
        logits_of(load_pretrained(tmp_path), ids), logits_of(theirs, ids)
    )


@pytest.mark.parametrize("name", ["gelu_new", "plain", "attention bias"])
def test_bf16_folders(pair, tmp_path, name):
    """Both round to 8 bits after every step, each in its own order: the fp32 tests are
    the sharp ones.
    """
    build, changes = CASES[name]
    copy.deepcopy(pair(build, name, **changes)[0]).to(torch.bfloat16).save_pretrained(
        tmp_path
    )
    theirs = type(build()).from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    ours = load_pretrained(tmp_path)
    assert {p.dtype for model in (ours, theirs) for p in model.parameters()} == {
        torch.bfloat16
    }
    ids = random_ids()
    expected = logits_of(theirs, ids)
    assert_equal_logits(logits_of(ours, ids), expected, BF16_TOLERANCE)
    wrong = [with_wrong_scale(ours), rebuilt(ours, norm_eps=1e-3)]
    wrong.append(
        rebuilt(
            ours, **{"activation": "silu"} if build is gpt2 else {"rope_theta": 5000.0}
        )
    )
    for model in wrong:
        with pytest.raises(AssertionError, match="logits differ"):
            assert_equal_logits(logits_of(model, ids), expected, BF16_TOLERANCE)


REAL = home() / "gpt2"


@pytest.mark.skipif(
    not (REAL / "model.safetensors").exists(),
    reason="gpt2 is not in HAPPYLLM_HOME (data fetch gpt2)",
)
def test_the_real_124m_checkpoint():
    from transformers import GPT2LMHeadModel

    from happyllm_support.text.corpora.download import verify
    from happyllm_support.text.corpora.registry import REGISTRY

    for part in ("config.json", "model.safetensors"):
        file = REGISTRY["gpt2"].parts[part]
        verify(home() / file.path, file)
    ours, theirs = load_pretrained(REAL), GPT2LMHeadModel.from_pretrained(REAL).eval()
    assert ours.num_parameters() == 124_439_808
    ids = torch.tensor(
        [
            [464, 2068, 7586, 21831, 18045, 625, 262, 16931, 3290],
            [15496, 11, 616, 1438, 318, 1757, 13, 314, 716],
        ]
    )
    assert_equal_logits(logits_of(ours, ids), logits_of(theirs, ids))
