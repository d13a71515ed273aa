"""A dataset of given documents, for the tests of shards and batches."""

import json
from pathlib import Path

from happyllm_support.text.shards.dataset import TOKENIZER_NAME, Dataset, open_dataset
from happyllm_support.text.shards.dataset_writer import SplitWriter, write_index

VOCABULARY = "0123456789abcdef" * 4


def write_dataset(
    root: Path, documents, *, vocab_size=1000, shard_tokens=1 << 20, pad_id=0
) -> Path:
    root.mkdir(parents=True)
    writer = SplitWriter(
        root / "train",
        shard_tokens=shard_tokens,
        vocab_size=vocab_size,
        vocabulary=VOCABULARY,
    )
    for document in documents:
        writer.write(document, len(document))
    (root / TOKENIZER_NAME).write_text(json.dumps({"a": "tokenizer"}))
    tokenizer = {"fingerprint": VOCABULARY, "vocab_size": vocab_size, "pad_id": pad_id}
    write_index(
        root, tokenizer=tokenizer, options={}, splits={"train": writer.finish()}
    )
    return root


def make_dataset(root: Path, documents, **options) -> Dataset:
    return open_dataset(write_dataset(root, documents, **options))


def numbered_documents(lengths):
    """Documents whose tokens are all different: 1, 2, 3, ... across documents."""
    following = 1
    for length in lengths:
        yield list(range(following, following + length))
        following += length
