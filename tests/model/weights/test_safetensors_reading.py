import json

import pytest
import torch
from safetensors.torch import save_file

from happyllm_support.model.weights.safetensors_reading import (
    first_few,
    open_folder,
    read_header,
)

TENSORS = {
    "a": torch.arange(6.0).view(2, 3),
    "b": torch.ones(4, dtype=torch.bfloat16),
    "c": torch.tensor([7.0]),
}


def write_shards(folder, shards, weight_map=None):
    for file, names in shards.items():
        save_file({name: TENSORS[name] for name in names}, folder / file)
    weight_map = weight_map or {
        name: file for file, names in shards.items() for name in names
    }
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map})
    )
    return folder


def read_all(folder, **kwargs):
    stored = open_folder(folder, **kwargs)
    return dict(stored.read(set(stored.infos)))


def same(found):
    return found.keys() == TENSORS.keys() and all(
        torch.equal(found[name], TENSORS[name]) for name in TENSORS
    )


def test_one_file_and_shards_read_alike(tmp_path):
    save_file(TENSORS, tmp_path / "model.safetensors")
    info = open_folder(tmp_path).infos["b"]
    assert (info.shape, info.dtype, info.path) == (
        (4,),
        "BF16",
        tmp_path / "model.safetensors",
    )
    assert same(read_all(tmp_path))
    (tmp_path / "shards").mkdir()
    shards = write_shards(
        tmp_path / "shards", {"x.safetensors": ["a"], "y.safetensors": ["b", "c"]}
    )
    assert same(read_all(shards))
    assert list(dict(open_folder(shards).read({"c"}))) == ["c"]


def test_several_files_by_pattern(tmp_path):
    save_file({"a": TENSORS["a"]}, tmp_path / "consolidated.00.safetensors")
    save_file(
        {"b": TENSORS["b"], "c": TENSORS["c"]}, tmp_path / "consolidated.01.safetensors"
    )
    assert same(read_all(tmp_path, pattern="consolidated*.safetensors"))
    save_file({"a": TENSORS["a"]}, tmp_path / "consolidated.01.safetensors")
    with pytest.raises(
        ValueError,
        match=r"consolidated\.01\.safetensors and consolidated\.00\.safetensors both "
        r"hold a:",
    ):
        open_folder(tmp_path, "consolidated*.safetensors")


def damaged(change):
    def make(folder):
        save_file(TENSORS, folder / "model.safetensors")
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(change(content))

    return make


def with_header(header):
    return lambda _: len(header).to_bytes(8, "little") + header


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            damaged(lambda b: b[:-1]),
            r"model\.safetensors is cut off: \d+ bytes, \d+ are announced; get it "
            r"again",
        ),
        (
            damaged(lambda b: b[:100]),
            "not a whole safetensors file: 100 bytes, and a header of",
        ),
        (damaged(lambda b: b""), "not a whole safetensors file: 0 bytes"),
        (damaged(lambda b: b[:5]), "not a whole safetensors file: 5 bytes"),
        (damaged(lambda b: b + b"more"), "not an intact safetensors file"),
        (damaged(with_header(b"{]")), "its header cannot be read"),
        (damaged(with_header(b"[1, 2]")), "its header cannot be read"),
        (damaged(with_header(b'{"a": {"dtype": "F32"}}')), "its header cannot be read"),
        (
            damaged(
                with_header(
                    b'{"a": {"dtype": "F32", "shape": 3, "data_offsets": [0, 0]}}'
                )
            ),
            "cannot be read",
        ),
        (
            damaged(
                with_header(
                    b'{"a": {"dtype": "X9", "shape": [], "data_offsets": [0, 0]}}'
                )
            ),
            "not an intact",
        ),
        (
            damaged(lambda _: b"version https://git-lfs.github.com/spec/v1\n"),
            "a pointer of Git LFS",
        ),
        (
            lambda folder: (folder / "model.safetensors").mkdir(),
            r"model\.safetensors is a folder; a safetensors file",
        ),
        (lambda folder: None, r"no model\.safetensors in "),
        (
            lambda folder: (folder / "w.safetensors").touch(),
            r"no model\.safetensors in .*; there is w\.safetensors",
        ),
        (
            lambda folder: (folder / "pytorch_model.bin").touch(),
            r"pickled only \(pytorch_model\.bin\).*save_file",
        ),
        (
            lambda folder: (folder / "a.index.json").touch(),
            r"no model\.safetensors in ",
        ),
        (
            lambda folder: write_shards(
                folder, {"x.safetensors": ["a"]}, {"a": "y.safetensors"}
            ),
            "names the shard y",
        ),
        (
            lambda folder: write_shards(
                folder, {"x.safetensors": ["a"]}, {"a": "../x.safetensors"}
            ),
            "names the shard",
        ),
        (
            lambda folder: write_shards(
                folder, {"x.safetensors": ["a"]}, {n: "x.safetensors" for n in "ab"}
            ),
            r"x\.safetensors lacks what model\.safetensors\.index\.json says: b",
        ),
        (
            lambda folder: write_shards(
                folder, {"x.safetensors": ["a", "b"]}, {"a": "x.safetensors"}
            ),
            r"x\.safetensors holds besides what model\.safetensors\.index\.json says: "
            r"b",
        ),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text("{}"),
            "it has no weight_map",
        ),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text("{"),
            "no valid JSON",
        ),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        open_folder(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_no_folder(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"no such folder: \S+nowhere$"):
        open_folder(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is a file; name the folder"):
        open_folder(tmp_path / "file")
    monkeypatch.setenv("HAPPYLLM_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="happyllm data fetch gpt2"):
        open_folder(tmp_path / "gpt2")


def test_header_of_one_file(tmp_path):
    save_file(TENSORS, tmp_path / "x.safetensors", metadata={"format": "pt"})
    assert {
        name: info.shape
        for name, info in read_header(tmp_path / "x.safetensors").items()
    } == {
        "a": (2, 3),
        "b": (4,),
        "c": (1,),
    }


def test_some_names():
    assert (first_few(["a"]), first_few(list("abc")), first_few(list("abcde"))) == (
        "a",
        "a, b, c",
        "a, b, c and 2 more",
    )
