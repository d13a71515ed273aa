import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_transformers import gpt2, llama, logits_of, random_ids
from torch import nn

from happyllm_support.model.gpt2 import GPT2, TINY
from happyllm_support.model.llama2 import TINY as TINY_LLAMA
from happyllm_support.model.llama2 import Llama2
from happyllm_support.model.weights.pretrained import (
    load_gpt2,
    load_llama,
    load_pretrained,
    save_pretrained,
)

BUILDERS = {"gpt2": gpt2, "llama": llama}


@pytest.fixture(params=BUILDERS)
def folder(request, tmp_path):
    BUILDERS[request.param]().save_pretrained(tmp_path / request.param)
    return tmp_path / request.param


def test_saving_gives_back_the_very_tensors(folder, tmp_path):
    save_pretrained(load_pretrained(folder), tmp_path / "again")
    before, after = (
        load_file(where / "model.safetensors") for where in (folder, tmp_path / "again")
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_shards_give_the_same_model(folder, tmp_path):
    model = load_pretrained(folder)
    save_pretrained(model, tmp_path / "shards", max_shard_bytes=10_000)
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 3
    assert torch.equal(
        logits_of(load_pretrained(tmp_path / "shards"), random_ids()),
        logits_of(model, random_ids()),
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtypes_are_kept_or_cast(folder, tmp_path, dtype):
    exact = load_pretrained(folder)
    cast = load_pretrained(folder, dtype=dtype)
    assert {p.dtype for p in cast.parameters()} == {dtype}
    save_pretrained(cast, tmp_path / "cast")
    assert json.loads((tmp_path / "cast" / "config.json").read_text())["dtype"] == str(
        dtype
    ).removeprefix("torch.")
    kept = load_pretrained(tmp_path / "cast")
    assert {p.dtype for p in kept.parameters()} == {dtype}
    for name, parameter in exact.named_parameters():
        assert torch.equal(kept.get_parameter(name), parameter.to(dtype))
    back = load_pretrained(tmp_path / "cast", dtype=torch.float32)
    assert logits_of(back, random_ids()).dtype == torch.float32


def test_a_loaded_model_is_finished(folder):
    model = load_pretrained(folder)
    assert not model.training and model.kernel == "sdpa"
    tensors = [*model.parameters(), *model.buffers()]
    assert all(tensor.device.type == "cpu" for tensor in tensors)
    assert all(parameter.requires_grad for parameter in model.parameters())
    model.train()(random_ids()).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_training_a_loaded_model_leaves_the_file_alone(folder):
    with pytest.raises(
        ValueError,
        match=r"holds generation_config\.json, no part of a model's folder; move it",
    ):
        save_pretrained(load_pretrained(folder), folder, overwrite=True)
    (folder / "generation_config.json").unlink()
    before = (folder / "model.safetensors").read_bytes()
    model = load_pretrained(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert (folder / "model.safetensors").read_bytes() == before
    save_pretrained(
        model, folder, overwrite=True
    )  # in the place of the file that it was mapped from
    assert all(
        not tensor.any() for tensor in load_file(folder / "model.safetensors").values()
    )


def test_fused_optimizers_see_dense_parameters(folder):
    """A window into another tensor would be walked through as if it were dense: its
    neighbours would be changed.
    """
    models = [load_pretrained(folder) for _ in range(2)]
    with torch.no_grad():
        for parameter in models[1].parameters():
            parameter.data = parameter.clone(memory_format=torch.contiguous_format)
    for model, fused in zip(models, (True, False), strict=True):
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=0.01, eps=0.01, fused=fused
        )
        for step in range(2):
            optimizer.zero_grad()
            model(random_ids(seed=step)).square().mean().backward()
            optimizer.step()
    for (name, one), two in zip(
        models[0].named_parameters(), models[1].parameters(), strict=True
    ):
        torch.testing.assert_close(
            one,
            two,
            rtol=1e-3,
            atol=2e-4,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def test_the_other_architecture(folder):
    other, name = (
        (load_llama, "llama") if folder.name == "gpt2" else (load_gpt2, "gpt2")
    )
    with pytest.raises(
        ValueError,
        match=rf"config\.json: model_type is '{folder.name}'; expected {name}",
    ):
        other(folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "mistral"}, "model_type is 'mistral'; expected gpt2 or llama"),
        ({}, "model_type is missing; a string"),
    ],
)
def test_an_unknown_architecture(tmp_path, config, message):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=rf"config\.json: {message}"):
        load_pretrained(tmp_path)


def test_folders_without_a_part(folder):
    (folder / "model.safetensors").rename(folder / "elsewhere")
    with pytest.raises(ValueError, match=r"no model\.safetensors in "):
        load_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"no config\.json in "):
        load_pretrained(folder)
    with pytest.raises(ValueError, match="no such folder: nowhere"):
        load_pretrained("nowhere")


def test_wrong_arguments_are_not_blamed_on_the_file(folder):
    for wrong in (None, 3, ["gpt2"]):
        with pytest.raises(ValueError, match=r"^folder is .*; expected the path of a"):
            load_pretrained(wrong)
    for dtype in (torch.int64, "bfloat16"):
        with pytest.raises(
            ValueError,
            match=rf"^dtype is {dtype}; weights can be torch\.float64, "
            rf".*torch\.bfloat16$",
        ):
            load_pretrained(folder, dtype=dtype)


@pytest.mark.parametrize("make", [lambda: GPT2(TINY), lambda: Llama2(TINY_LLAMA)])
def test_what_cannot_be_saved(tmp_path, make):
    with (
        torch.device("meta"),
        pytest.raises(ValueError, match="on the meta device and has no weights"),
    ):
        save_pretrained(make(), tmp_path / "model")
    model = make()
    model.blocks[0].attn.lora_a = nn.Parameter(torch.ones(1))
    with pytest.raises(
        ValueError, match=r"this model has blocks\.0\.attn\.lora_a, which a "
    ):
        save_pretrained(model, tmp_path / "model")
    model = make()
    model.blocks[1].to(torch.bfloat16)
    with pytest.raises(
        ValueError,
        match=r"parameters in bfloat16 and float32; convert it to one with \.to\(\)",
    ):
        save_pretrained(model, tmp_path / "model")
    with pytest.raises(
        ValueError, match="config_fields has vocab_size, which the model itself decides"
    ):
        save_pretrained(
            make(),
            tmp_path / "model",
            config_fields={"vocab_size": 3, "eos_token_id": 2},
        )
    assert not list(tmp_path.iterdir())


def test_more_fields_for_the_configuration(tmp_path):
    save_pretrained(GPT2(TINY), tmp_path / "model", config_fields={"eos_token_id": 2})
    assert (
        json.loads((tmp_path / "model" / "config.json").read_text())["eos_token_id"]
        == 2
    )
    assert load_pretrained(tmp_path / "model").config == TINY


def test_loading_draws_no_random_numbers(folder):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    load_pretrained(folder)
    assert torch.rand(1) == expected


@pytest.mark.parametrize("device", ["foo", "cuda:99"])
def test_a_device_that_is_not_there(folder, device):
    with pytest.raises(
        ValueError,
        match=rf"^device '{device}' cannot be used here; expected cpu, or .*GPU$",
    ):
        load_pretrained(folder, device=device)


@pytest.mark.parametrize("device", ["meta", torch.device("meta"), None])
def test_a_device_that_holds_no_numbers(folder, device):
    with pytest.raises(ValueError, match=r"^device is .*, which holds no numbers; exp"):
        load_pretrained(folder, device=device)


def rewrite(folder, change):
    """Change the stored tensor of the last MLP's first matrix; return its name."""
    tensors = load_file(folder / "model.safetensors")
    name = sorted(n for n in tensors if "c_fc.weight" in n or "up_proj.weight" in n)[-1]
    change(tensors[name])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return name


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers_are_refused(folder, value):
    name = rewrite(folder, lambda tensor: tensor[3, 4:6].fill_(value))
    with pytest.raises(ValueError) as caught:
        load_pretrained(folder)
    message = str(caught.value)
    assert message.startswith(str(folder)) and "\n" not in message
    assert ": 2 of the " in message and f"of {name} are not finite" in message


def test_large_weights_are_weights(folder):
    rewrite(folder, lambda tensor: tensor.fill_(3e38))  # their sum is infinite
    model = load_pretrained(folder)
    assert model.blocks[-1].mlp.up_proj.weight.min() > 2e38


def test_an_absurd_number_of_layers_is_refused_before_a_table_is_made(folder):
    path = folder / "config.json"
    fields = json.loads(path.read_text())
    name = "n_layer" if "n_layer" in fields else "num_hidden_layers"
    path.write_text(json.dumps(fields | {name: 10**12}))  # the table would take hours
    with pytest.raises(ValueError, match="asks for 1,000,000,000,000 layers, and the "):
        load_pretrained(folder)
