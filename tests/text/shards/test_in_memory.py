import numpy as np
import pytest
import torch
from tiny_tokenizer import ByteTokenizer

from happyllm_support.text.shards.batches import BatchConfig, TokenBatches
from happyllm_support.text.shards.dataset import open_dataset
from happyllm_support.text.shards.in_memory import encode_documents
from happyllm_support.text.shards.prepare import prepare

TEXTS = ["one", "a longer text", "", "ö", "text number four", "5", "six and seven"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The same documents in memory and in a folder."""
    root = tmp_path_factory.mktemp("data") / "texts"
    prepare(TEXTS, ByteTokenizer(), root, fractions={"train": 1.0}, shard_tokens=30)
    return encode_documents(iter(TEXTS), ByteTokenizer()), open_dataset(root)


def test_documents_are_encoded_in_order_without_the_empty_ones():
    data = encode_documents(["ab", "", "c"], ByteTokenizer())
    assert [data.document(i).tolist() for i in range(len(data))] == [
        [256, 97, 98, 257],
        [256, 99, 257],
    ]
    assert (data.n_tokens, data.n_bytes, data.lengths().tolist(), data.pad_id) == (
        7,
        3,
        [4, 3],
        258,
    )
    bare = encode_documents(["ab", "c"], ByteTokenizer(), add_bos=False, add_eos=False)
    assert [bare.document(i).tolist() for i in range(2)] == [[97, 98], [99]]


@pytest.mark.parametrize("mode", ["stream", "concat", "packed", "documents"])
def test_batches_are_those_of_a_prepared_dataset(pair, mode):
    memory, folder = pair
    config = BatchConfig(batch_size=2, seq_len=9, mode=mode, drop_last=False, seed=3)
    ours, theirs = TokenBatches(memory, config), TokenBatches(folder, config)
    assert ours.steps_per_epoch == theirs.steps_per_epoch > 1
    for _ in range(3 * ours.steps_per_epoch):
        a, b = next(ours), next(theirs)
        for name in ("ids", "targets", "positions", "segments"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name


def test_totals_are_those_of_a_prepared_dataset(pair):
    memory, folder = pair
    for name in ("n_tokens", "n_bytes", "vocab_size", "vocabulary", "pad_id"):
        assert getattr(memory, name) == getattr(folder, name), name
    assert (
        np.array_equal(memory.lengths(), folder.lengths())
        and len(memory) == len(folder) == 6
    )


def test_batches_resume_and_refuse_other_documents(pair):
    memory, _ = pair
    config = BatchConfig(batch_size=1, seq_len=9)
    batches = TokenBatches(memory, config)
    next(batches)
    state = batches.state_dict()
    again = TokenBatches(encode_documents(TEXTS, ByteTokenizer()), config)
    again.load_state_dict(state)
    assert torch.equal(next(again).ids, next(batches).ids)
    for other in (
        TEXTS[:-1],
        [*TEXTS[:-1], "six and sevem"],
        ["onea", " longer text", *TEXTS[2:]],
    ):
        with pytest.raises(
            ValueError,
            match=r"and the dataset in memory of . documents is [0-9a-f]{16}",
        ):
            TokenBatches(
                encode_documents(other, ByteTokenizer()), config
            ).load_state_dict(state)


def test_mistakes_are_named(pair):
    with pytest.raises(ValueError, match="documents is one string"):
        encode_documents("a text", ByteTokenizer())
    with pytest.raises(ValueError, match="no document with any text"):
        encode_documents(["", ""], ByteTokenizer())
    with pytest.raises(
        ValueError, match="add_eos is set, and the tokenizer has no eos token"
    ):
        encode_documents(["a"], ByteTokenizer(eos_id=None))
    with pytest.raises(
        ValueError, match=r"document 1 holds the lone surrogate \\ud800"
    ):
        encode_documents(["a", "b\ud800"], ByteTokenizer())
    with pytest.raises(ValueError, match="a document is a int; expected a str"):
        encode_documents([3], ByteTokenizer())
    with pytest.raises(
        IndexError, match="document 6 of the dataset in memory of 6 documents"
    ):
        pair[0].document(6)
    with pytest.raises(
        ValueError,
        match="the 6 rows of 9 tokens in the dataset in memory of 6 documents",
    ):
        TokenBatches(pair[0], BatchConfig(batch_size=60, seq_len=9, mode="documents"))
