import re

import pytest
import torch
from safetensors.torch import save_file

from happyllm_support.model.weights.safetensors_reading import open_folder
from happyllm_support.model.weights.tensor_layout import (
    Layout,
    Stored,
    read_parameters,
    stored_tensors,
)

LAYOUT = Layout(
    what="toy",
    tensors={
        "emb": Stored(shape=(5, 2), targets=("tok_emb.weight",)),
        "qkv": Stored(shape=(2, 6), targets=("q", "k", "v"), transposed=True),
        "qkv_bias": Stored(shape=(6,), targets=("qb", "kb", "vb")),
        "wq": Stored(shape=(4, 2), targets=("wq",), head_dim=4),
    },
    canonical=lambda name: name.removeprefix("model."),
    ignored=re.compile("mask"),
    head="head",
    embedding="emb",
    tied=True,
)
FILE = {
    "emb": torch.arange(10.0).view(5, 2),
    "qkv": torch.arange(12.0).view(2, 6),
    "qkv_bias": torch.arange(6.0),
    "wq": torch.arange(8.0).view(4, 2),
}


def read(folder, tensors, layout=LAYOUT, dtype=None):
    save_file(tensors, folder / "model.safetensors")
    return read_parameters(open_folder(folder), layout, dtype=dtype, device="cpu")


def test_worked_example(tmp_path):
    found = read(tmp_path, FILE)
    expected = {
        "tok_emb.weight": FILE["emb"].tolist(),
        "q": [[0, 6], [1, 7]],
        "k": [[2, 8], [3, 9]],
        "v": [[4, 10], [5, 11]],
        "qb": [0, 1],
        "kb": [2, 3],
        "vb": [4, 5],
        "wq": [
            [0, 1],
            [4, 5],
            [2, 3],
            [6, 7],
        ],  # Meta's pairs (0, 1), (2, 3) become (0, 2), (1, 3)
    }
    assert {name: tensor.tolist() for name, tensor in found.items()} == expected
    assert all(
        tensor.is_contiguous() or tensor.t().is_contiguous()
        for tensor in found.values()
    )


def test_saving_is_the_inverse(tmp_path):
    made = stored_tensors(read(tmp_path, FILE), LAYOUT)
    assert made.keys() == FILE.keys()
    for name, make in made.items():
        assert torch.equal(make(), FILE[name]) and make().is_contiguous()


def test_prefix_ignored_tensors_and_an_equal_head(tmp_path):
    more = {"model.mask": torch.ones(1), "head": FILE["emb"].clone()}
    found = read(
        tmp_path, {f"model.{name}": tensor for name, tensor in FILE.items()} | more
    )
    assert found.keys() == read(tmp_path, FILE).keys()


def test_dtypes(tmp_path):
    half = {name: tensor.to(torch.bfloat16) for name, tensor in FILE.items()}
    assert {(t.dtype, t.is_contiguous()) for t in read(tmp_path, half).values()} == {
        (torch.bfloat16, True)
    }
    assert {t.dtype for t in read(tmp_path, half, dtype=torch.float32).values()} == {
        torch.float32
    }
    mixed = FILE | {"qkv": half["qkv"]}
    with pytest.raises(
        ValueError,
        match=r"holds .* in (BF16|F32) and .* in (BF16|F32); choose one with dtype=",
    ):
        read(tmp_path, mixed)
    cast = read(tmp_path, mixed, dtype=torch.float16).values()
    assert {(t.dtype, t.is_contiguous()) for t in cast} == {(torch.float16, True)}
    with pytest.raises(
        ValueError,
        match=r"model\.safetensors: qkv is stored as I8; F64, F32, F16, BF16 can be "
        r"read",
    ):
        read(tmp_path, FILE | {"qkv": FILE["qkv"].to(torch.int8)}, dtype=torch.float32)


def without(*names):
    return {name: tensor for name, tensor in FILE.items() if name not in names}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            without("qkv", "wq"),
            r"does not hold the tensors of a toy: 2 missing \(qkv, wq\)$",
        ),
        (FILE | {"x": torch.ones(1)}, r"toy: 1 unknown \(x\)$"),
        (
            FILE | {f"x{i}": torch.ones(1) for i in range(9)},
            r"toy: 9 unknown \(x0, x1, x2 and 6 more\)$",
        ),
        (
            FILE | {"wq": torch.ones(2, 4)},
            r"1 of another shape \(wq is \(2, 4\), not \(4, 2\)\)$",
        ),
        (
            without("emb") | {"wq": torch.ones(3), "x": torch.ones(1)},
            r"1 missing .*; 1 unknown .*; 1 of another shape",
        ),
        (
            FILE | {"model.wq": FILE["wq"].clone()},
            r"holds model\.wq and wq, the same tensor|holds wq and model\.wq",
        ),
        (FILE | {"masked": torch.ones(1)}, r"1 unknown \(masked\)"),
        (
            FILE | {"head": FILE["emb"] + 1},
            "emb and head differ, but config.json says that they are one",
        ),
        (FILE | {"head": FILE["emb"].to(torch.float16)}, "emb and head differ"),
        (FILE | {"head": FILE["emb"][:3].clone()}, "emb and head differ"),
    ],
)
def test_every_tensor_is_accounted_for(tmp_path, tensors, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, tensors)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_models_that_cannot_be_saved(tmp_path):
    parameters = read(tmp_path, FILE)
    with pytest.raises(
        ValueError, match=r"this model has lora_a, which a toy has not; merge adapters"
    ):
        stored_tensors(parameters | {"lora_a": torch.ones(1)}, LAYOUT)
    with pytest.raises(ValueError, match="this model lacks q, "):
        stored_tensors(
            {name: tensor for name, tensor in parameters.items() if name != "q"}, LAYOUT
        )
    with pytest.raises(ValueError, match="meta device"):
        stored_tensors(
            {name: tensor.to("meta") for name, tensor in parameters.items()}, LAYOUT
        )
    with pytest.raises(ValueError, match=r"call tie_weights\(\) first"):
        stored_tensors(parameters | {"lm_head.weight": FILE["emb"] + 1}, LAYOUT)
    stored_tensors(parameters | {"lm_head.weight": FILE["emb"]}, LAYOUT)
