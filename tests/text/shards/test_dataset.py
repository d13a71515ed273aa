import json
import os

import pytest
from small_dataset import VOCABULARY, make_dataset, numbered_documents, write_dataset

from happyllm_support.text.shards.dataset import (
    INDEX_NAME,
    open_dataset,
    read_index,
    shard_name,
)

LENGTHS = [3, 9, 1, 4, 17, 2]


@pytest.fixture
def root(tmp_path):
    return write_dataset(
        tmp_path / "data", numbered_documents(LENGTHS), shard_tokens=13
    )


def change_index(root, change):
    index = json.loads((root / INDEX_NAME).read_text())
    change(index)
    (root / INDEX_NAME).write_text(json.dumps(index))


def test_documents_are_numbered_across_shards(root):
    dataset = open_dataset(root, vocabulary=VOCABULARY, verify=True)
    expected = list(numbered_documents(LENGTHS))
    assert [len(shard) for shard in dataset.shards] == [
        3,
        1,
        1,
        1,
    ]  # 3 + 9 + 1 fill 13; 17 has its own
    assert len(dataset) == 6 and dataset.n_tokens == 36 and dataset.n_bytes == 36
    assert dataset.lengths().tolist() == LENGTHS
    assert [dataset.document(i).tolist() for i in range(6)] == expected
    assert [ids.tolist() for ids in dataset.documents()] == expected
    dataset.release()
    assert dataset.document(5).tolist() == expected[5]
    for index in (-1, 6):
        with pytest.raises(
            IndexError, match=rf"document {index} of .*data \(train\); it has 6"
        ):
            dataset.document(index)
    assert shard_name(12) == "shard-00012.tokens" and dataset.shards[
        3
    ].path == root / "train" / shard_name(3)


def test_identity_follows_the_tokens_and_not_the_place(tmp_path):
    a, b = (make_dataset(tmp_path / name, [[1, 2], [3]]) for name in "ab")
    c = make_dataset(tmp_path / "c", [[1], [2, 3]])
    assert a.identity == b.identity != c.identity


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda root: os.remove(root / INDEX_NAME),
            r"data is no dataset: it has no index\.json",
        ),
        (
            lambda root: (root / INDEX_NAME).write_text("{"),
            r"index\.json is not a dataset's index: no valid JSON",
        ),
        (
            lambda root: (root / INDEX_NAME).write_text("[]"),
            r"a JSON object is expected, not list",
        ),
        (
            lambda root: (root / INDEX_NAME).write_text("[" * 10**5),
            r"index\.json is not a dataset's index",
        ),
        (
            lambda root: (root / INDEX_NAME).write_bytes(b"\xff"),
            r"index\.json is not UTF-8: byte 0xff at offset 0",
        ),
        (
            lambda root: change_index(root, lambda i: i.update(format="x")),
            "has format 'x'; expected 'happyllm-d",
        ),
        (
            lambda root: change_index(root, lambda i: i.update(version=2)),
            "has version 2; this release reads 1",
        ),
        (
            lambda root: change_index(root, lambda i: i.pop("splits")),
            r"damaged \(KeyError: 'splits'\)",
        ),
        (
            lambda root: change_index(root, lambda i: i.update(splits=[])),
            r"damaged \(AttributeError",
        ),
        (
            lambda root: change_index(
                root,
                lambda i: i["splits"]["train"]["shards"][1].update(file="../../secret"),
            ),
            r"damaged \(TypeError: shard '../../secret'\)",
        ),
        (
            lambda root: change_index(
                root, lambda i: i["splits"]["train"]["shards"][1].update(tokens="9")
            ),
            r"damaged \(TypeError: '9' is not int\)",
        ),
        (
            lambda root: change_index(
                root, lambda i: i["splits"]["train"]["shards"][1].update(tokens=5)
            ),
            r"00001\.tokens has \(tokens, documents, vocab_size\) \(4, 1, 1000\), "
            r"and index\.json lists \(5, 1, 1000\)",
        ),
        (
            lambda root: change_index(
                root, lambda i: i["tokenizer"].update(fingerprint="f" * 64)
            ),
            r"00000\.tokens was written with vocabulary 0123456789ab, expected f{12}",
        ),
        (
            lambda root: os.remove(root / "train" / shard_name(2)),
            r"shard-00002\.tokens is missing",
        ),
        (
            lambda root: os.truncate(root / "train" / shard_name(2), 530),
            r"shard-00002\.tokens is truncated: 530 bytes",
        ),
        (
            lambda root: change_index(
                root, lambda i: i["splits"]["train"].update(shards=[])
            ),
            "has no documents",
        ),
    ],
)
def test_damage_is_refused_in_one_line(root, spoil, message):
    spoil(root)
    with pytest.raises(ValueError, match=message) as caught:
        open_dataset(root)
    assert "\n" not in str(caught.value)


def test_another_split_or_vocabulary_is_refused(root):
    with pytest.raises(ValueError, match=r"data has no split 'valid'; it has train"):
        open_dataset(root, "valid")
    with pytest.raises(
        ValueError,
        match=r"data was written with vocabulary 0123456789ab, expected aaaaaaaaaaaa",
    ):
        open_dataset(root, vocabulary="a" * 64)


def test_a_changed_token_is_found_by_its_hash_when_verified(root):
    path = root / "train" / shard_name(1)
    raw = bytearray(path.read_bytes())
    raw[512] ^= 1
    path.write_bytes(raw)
    open_dataset(root)
    with pytest.raises(
        ValueError,
        match=r"shard-00001\.tokens has SHA-256 \w{12}, and index\.json lists \w{12}",
    ):
        open_dataset(root, verify=True)


def test_index_is_as_documented(root):
    index = read_index(root)
    assert (index["format"], index["version"]) == ("happyllm-dataset", 1)
    assert index["tokenizer"]["file"] == "tokenizer.json" and list(index["splits"]) == [
        "train"
    ]
    entry = index["splits"]["train"]
    assert (entry["documents"], entry["tokens"], entry["bytes"]) == (6, 36, 36)
    assert [shard["file"] for shard in entry["shards"]] == [
        f"train/{shard_name(i)}" for i in range(4)
    ]
