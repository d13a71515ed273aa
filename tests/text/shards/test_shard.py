import errno
import json
import os
import sys

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_dataset import VOCABULARY

from happyllm_support.text.shards import shard as shards
from happyllm_support.text.shards.shard import open_shard, write_shard
from happyllm_support.text.shards.shard_header import HEADER_BYTES, MAGIC

DOCUMENTS = [[5, 6, 7], [8], [9, 10]]


def write(path, documents=DOCUMENTS, vocab_size=300):
    write_shard(path, documents, vocab_size=vocab_size, vocabulary=VOCABULARY)
    return path


def rewrite_header(path, **changes):
    """Put other values in a header whose layout stays valid."""
    raw = bytearray(path.read_bytes())
    fields = json.loads(raw[len(MAGIC) : HEADER_BYTES]) | changes
    line = json.dumps({k: v for k, v in fields.items() if v is not ...}).encode()
    raw[:HEADER_BYTES] = MAGIC + line.ljust(HEADER_BYTES - len(MAGIC) - 1) + b"\n"
    path.write_bytes(raw)


def test_bytes_are_as_documented(tmp_path):
    raw = write(tmp_path / "a.tokens").read_bytes()
    first, second = raw[:HEADER_BYTES].splitlines()
    assert (
        first + b"\n" == b"happyllm-tokens\n"
        and raw[HEADER_BYTES - 1 : HEADER_BYTES] == b"\n"
    )
    assert json.loads(second) == {
        "version": 1,
        "dtype": "uint16",
        "vocab_size": 300,
        "vocabulary": VOCABULARY,
        "n_tokens": 6,
        "n_documents": 3,
    }
    assert raw[512:524] == np.array([5, 6, 7, 8, 9, 10], "<u2").tobytes()
    assert raw[524:576] == bytes(52)
    assert raw[576:] == np.array([0, 3, 4, 6], "<i8").tobytes()


@pytest.mark.parametrize(
    ("vocab_size", "dtype"),
    [(1, "<u2"), (65_536, "<u2"), (65_537, "<u4"), (2**32, "<u4")],
)
def test_ids_are_stored_in_the_smallest_type_that_holds_the_vocabulary(
    tmp_path, vocab_size, dtype
):
    shard = open_shard(
        write(tmp_path / "a", [[0, vocab_size - 1]], vocab_size), verify=True
    )
    assert shard.tokens.dtype == np.dtype(dtype) and shard.tokens.tolist() == [
        0,
        vocab_size - 1,
    ]


@settings(deadline=None)
@given(
    documents=st.lists(
        st.lists(st.integers(0, 69_999), min_size=1, max_size=40), max_size=12
    ),
    large=st.booleans(),
)
def test_round_trip(tmp_path_factory, documents, large):
    vocab_size = 70_000 if large else 60_000
    documents = [[token % vocab_size for token in document] for document in documents]
    path = write(tmp_path_factory.mktemp("shard") / "a", documents, vocab_size)
    shard = open_shard(path, vocabulary=VOCABULARY, verify=True)
    assert [document.tolist() for document in shard.documents()] == documents
    assert path.stat().st_size == shard.header.file_bytes and len(shard) == len(
        documents
    )
    assert shard.header.offsets_at % 64 == 0


def test_arrays_are_views_that_cannot_be_written(tmp_path):
    shard = open_shard(write(tmp_path / "a"))
    with pytest.raises(ValueError, match="read-only"):
        shard.document(0)[0] = 1
    for index in (-1, 3):
        with pytest.raises(IndexError, match=f"document {index} of .*a; it has 3"):
            shard.document(index)
    shard.release()
    assert shard.document(2).tolist() == [9, 10]


@pytest.mark.parametrize("size", [0, 5, 16, 300, 511, 512, 530, 600, 607])
def test_every_truncation_is_refused_by_name(tmp_path, size):
    path = write(tmp_path / "cut.tokens")
    assert path.stat().st_size == 608
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(
        ValueError, match=r"cut\.tokens is (truncated|no token shard)"
    ) as caught:
        open_shard(path)
    assert "\n" not in str(caught.value)


def test_bytes_too_many_are_refused(tmp_path):
    path = write(tmp_path / "long.tokens")
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(
        ValueError,
        match=r"long\.tokens is damaged: 609 bytes, expected 608 for 6 tokens in 3 d",
    ):
        open_shard(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, r"has format version 2; this release reads version 1"),
        ({"version": ...}, r"has format version None"),
        (
            {"dtype": "uint32"},
            r"damaged header: dtype 'uint32', expected uint16 for 300 ids",
        ),
        ({"dtype": "object"}, r"damaged header: dtype 'object'"),
        (
            {"vocab_size": 0},
            r"damaged header: vocab_size is 0; expected an integer of at least 1",
        ),
        ({"vocab_size": 2**40}, r"damaged header: vocab_size is"),
        ({"vocab_size": 300.0}, r"damaged header: vocab_size is 300.0"),
        ({"n_tokens": -6}, r"damaged header: n_tokens is -6"),
        ({"n_tokens": True}, r"damaged header: n_tokens is True"),
        ({"n_tokens": 10**18}, r"is truncated: 608 bytes, expected 2,000,"),
        ({"n_documents": 2}, r"is damaged: 608 bytes, expected 600"),
        ({"n_documents": "3"}, r"damaged header: n_documents is '3'"),
        (
            {"vocabulary": "abc"},
            r"damaged header: vocabulary is 'abc'; expected a fingerprint of 64",
        ),
        ({"vocabulary": ...}, r"damaged header: its fields are"),
        ({"extra": 1}, r"damaged header: its fields are"),
    ],
)
def test_header_that_does_not_add_up_is_refused(tmp_path, changes, message):
    path = write(tmp_path / "bad.tokens")
    rewrite_header(path, **changes)
    with pytest.raises(ValueError, match=r"bad\.tokens .*" + message) as caught:
        open_shard(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [b"not JSON", b"[1]", b"\xff\xfe", b"[" * 400, b'{"version": NaN}', b"1" * 490],
)
def test_second_line_that_is_no_header_is_refused(tmp_path, line):
    path = write(tmp_path / "bad.tokens")
    path.write_bytes(
        MAGIC + line.ljust(HEADER_BYTES - len(MAGIC)) + path.read_bytes()[HEADER_BYTES:]
    )
    with pytest.raises(
        ValueError, match=r"bad\.tokens has (a damaged header|format version)"
    ):
        open_shard(path)


def test_other_file_is_refused(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("Once upon a time\n" * 100)
    with pytest.raises(
        ValueError,
        match=r"text\.txt is no token shard: it begins with b'Once upon a time'",
    ):
        open_shard(path)
    with pytest.raises(FileNotFoundError, match=r"missing\.tokens"):
        open_shard(tmp_path / "missing.tokens")


@pytest.mark.parametrize(
    "offsets",
    [
        [0, 4, 3, 6],
        [0, 3, 3, 6],
        [1, 3, 4, 6],
        [0, 3, 4, 7],
        [0, -3, 4, 6],
        [0, 9, 10, 6],
    ],
)
@pytest.mark.parametrize("block", [1, 2, 3, 100])
def test_offsets_that_do_not_increase_are_refused(
    tmp_path, monkeypatch, offsets, block
):
    monkeypatch.setattr(shards, "BLOCK", block)
    path = write(tmp_path / "bad.tokens")
    open_shard(path)
    path.write_bytes(path.read_bytes()[:576] + np.array(offsets, "<i8").tobytes())
    with pytest.raises(
        ValueError,
        match=r"bad\.tokens is damaged: its document offsets do not increase from 0 to",
    ):
        open_shard(path)


def test_shard_of_another_vocabulary_is_refused(tmp_path):
    path = write(tmp_path / "a.tokens")
    with pytest.raises(
        ValueError,
        match=r"a\.tokens was written with vocabulary 0123456789ab, expected f{12};",
    ):
        open_shard(path, vocabulary="f" * 64)


@pytest.mark.parametrize("block", [1, 2, 100])
def test_ids_out_of_range_are_found_when_verified(tmp_path, monkeypatch, block):
    monkeypatch.setattr(shards, "BLOCK", block)
    path = write(tmp_path / "a.tokens")
    raw = bytearray(path.read_bytes())
    raw[HEADER_BYTES + 6 : HEADER_BYTES + 8] = (300).to_bytes(2, "little")
    path.write_bytes(raw)
    open_shard(path)  # the token is not looked at
    with pytest.raises(
        ValueError,
        match=r"a\.tokens holds id 300 at token 3; its vocabulary has ids 0 to 299",
    ):
        open_shard(path, verify=True)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], r"document 1 has shape \(0,\)"),
        ([[1, 2]], r"document 1 has shape \(1, 2\)"),
        ([1, 300], r"document 1 holds id 300; the vocabulary has ids 0 to 299"),
        ([1, -2], r"document 1 holds id -2;"),
        ([0.5], r"document 1 holds float64 values"),
    ],
)
def test_bad_documents_leave_no_file(tmp_path, document, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "a", [[1], document])
    assert os.listdir(tmp_path) == []


def test_interruption_and_full_disk_leave_the_old_shard(tmp_path):
    path = write(tmp_path / "a")

    def interrupted(error):
        yield [1, 2]
        raise error

    with pytest.raises(KeyboardInterrupt):
        write(path, interrupted(KeyboardInterrupt()))
    with pytest.raises(
        OSError, match=r"cannot write .*a: No space left on device"
    ) as caught:
        write(path, interrupted(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["a"] and len(open_shard(path)) == 3


@pytest.mark.skipif(
    sys.platform != "linux",
    reason="how much of a mapped file is resident is read from Linux",
)
def test_release_gives_resident_pages_back(tmp_path):
    n = 8_000_000  # 16 MB
    shard = open_shard(write(tmp_path / "big", [np.arange(n) % 300]))
    mapped = psutil.Process().memory_info

    def resident():
        return mapped().shared

    before = resident()
    total = int(shard.tokens.sum(dtype=np.int64))
    grown = resident() - before
    shard.release()
    assert grown > 15e6 and resident() - before < 1e6
    assert int(shard.tokens.sum(dtype=np.int64)) == total
