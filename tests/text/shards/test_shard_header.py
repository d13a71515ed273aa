import re

from happyllm_support.text.shards.shard_header import HEADER_BYTES, ShardHeader


def test_header_survives_its_own_bytes():
    header = ShardHeader(
        vocab_size=2**32, vocabulary="f" * 64, n_tokens=10**15, n_documents=10**14
    )
    raw = header.to_bytes()
    assert len(raw) == HEADER_BYTES and ShardHeader.from_bytes(raw) == header
    assert re.fullmatch(rb"happyllm-tokens\n\{.*\} *\n", raw)
