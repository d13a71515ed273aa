import json

import pytest
import torch
from safetensors import safe_open

from happyllm_support.model.weights import safetensors_writing
from happyllm_support.model.weights.safetensors_reading import open_folder
from happyllm_support.model.weights.safetensors_writing import plan_shards, write_folder

TENSORS = {"a": torch.ones(2, 3), "b": torch.zeros(4), "c": torch.tensor([7.0])}


def write(folder, max_shard_bytes=1000, overwrite=False, tensors=TENSORS):
    makers = {name: (lambda tensor=tensor: tensor) for name, tensor in tensors.items()}
    sizes = {name: tensor.nbytes for name, tensor in tensors.items()}
    write_folder(
        folder,
        {"x": 1},
        makers,
        sizes,
        max_shard_bytes=max_shard_bytes,
        overwrite=overwrite,
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_plan():
    assert plan_shards({"a": 3, "b": 3, "c": 9}, 6) == [["a", "b"], ["c"]]
    assert plan_shards({"a": 9, "b": 1}, 6) == [["a"], ["b"]]
    assert plan_shards({"a": 3}, 3) == [["a"]]
    with pytest.raises(ValueError, match="max_shard_bytes is 0; expected at least 1"):
        plan_shards({"a": 3}, 0)


def test_one_file(tmp_path):
    write(tmp_path / "model")
    assert names(tmp_path / "model") == ["config.json", "model.safetensors"]
    assert json.loads((tmp_path / "model" / "config.json").read_text()) == {"x": 1}
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_shards_and_index(tmp_path):
    write(tmp_path / "model", max_shard_bytes=24)
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert names(tmp_path / "model") == [
        "config.json",
        *shards,
        "model.safetensors.index.json",
    ]
    index = json.loads(
        (tmp_path / "model" / "model.safetensors.index.json").read_text()
    )
    assert index == {
        "metadata": {"total_size": 24 + 16 + 4},
        "weight_map": {"a": shards[0], "b": shards[1], "c": shards[1]},
    }
    stored = open_folder(tmp_path / "model")
    assert all(
        torch.equal(tensor, TENSORS[name]) for name, tensor in stored.read(set(TENSORS))
    )


def test_tensors_that_share_memory_are_written_each(tmp_path):
    write(tmp_path / "model", tensors={"a": TENSORS["a"], "b": TENSORS["a"][:1]})
    found = dict(open_folder(tmp_path / "model").read({"a", "b"}))
    assert torch.equal(found["a"], TENSORS["a"]) and torch.equal(
        found["b"], TENSORS["a"][:1]
    )


def test_a_folder_is_complete_or_absent(tmp_path, monkeypatch):
    write(tmp_path / "old")
    before = (tmp_path / "old" / "model.safetensors").read_bytes()

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(safetensors_writing, "atomic_write_json", stop)
    for name in ("new", "old"):
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / name, overwrite=True, tensors={"a": torch.zeros(1)})
    assert (
        names(tmp_path) == ["old"]
        and (tmp_path / "old" / "model.safetensors").read_bytes() == before
    )


def test_only_a_model_is_replaced(tmp_path):
    write(tmp_path / "model", max_shard_bytes=24)
    with pytest.raises(
        ValueError, match="model exists; choose another folder, or ask for it"
    ):
        write(tmp_path / "model")
    write(tmp_path / "model", overwrite=True)
    assert names(tmp_path / "model") == ["config.json", "model.safetensors"]
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty")
    assert names(tmp_path / "empty") == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("x"), "no folder; choose another name"),
        (lambda path: path.symlink_to("nowhere"), "no folder; choose another name"),
        (
            lambda path: (write(path), (path / "thesis.txt").touch()),
            r"holds thesis\.txt, no part of a model",
        ),
        (
            lambda path: (path.mkdir(), (path / "model.safetensors").touch()),
            "holds no model and is not replaced",
        ),
        (
            lambda path: (
                path.mkdir(),
                (path / "model.safetensors.index.json").write_text("[]"),
            ),
            r"holds model\.safetensors\.index\.json, no part",
        ),
    ],
)
def test_anything_else_is_never_replaced(tmp_path, make, message):
    make(tmp_path / "model")
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "model", overwrite=True)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write .*model: Not a directory"):
        write(tmp_path / "file" / "model")
