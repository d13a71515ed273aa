import random
import tracemalloc

import pytest
import regex
from hypothesis import given, settings
from small_bpe import ENGLISH, MIXED, small_model, texts

from happyllm_support.text.tokenizer.encoder import BPEEncoder
from happyllm_support.text.tokenizer.merging import merge_by_scan
from happyllm_support.text.tokenizer.pretokenize import pretokenize
from happyllm_support.text.tokenizer.tokenizer import Tokenizer


def encode_plainly(text, model):
    """Every piece merged by itself, nothing remembered, no words."""
    table = {pair: 256 + rank for rank, pair in enumerate(model.merges)}
    pieces = pretokenize(text, model.pattern)
    return [
        token
        for piece in pieces
        for token in merge_by_scan([model.byte_ids[b] for b in piece.encode()], table)
    ]


@pytest.mark.parametrize("pattern", ["gpt2", "bilingual"])
@settings(max_examples=150, deadline=None)
@given(text=texts)
def test_words_and_tables_change_no_id(pattern, text):
    model = small_model(pattern)
    assert BPEEncoder(model).encode_ordinary(text) == encode_plainly(text, model)


def test_a_pattern_of_your_own_is_encoded_piece_by_piece():
    model = small_model(
        r"\p{L}+o? \p{L}+", 400
    )  # a piece runs over a space, and much lies between the matches
    assert BPEEncoder(model).encode_ordinary(MIXED) == encode_plainly(MIXED, model)


def test_permuted_bytes():
    model = small_model()
    permuted = type(model)(
        merges=((5, 6),), pattern="gpt2", byte_ids=(*range(1, 256), 0)
    )
    assert BPEEncoder(permuted).encode_ordinary("\x04\x05\x06\x04") == [256, 7, 5]


def tables(encoder):
    return encoder._pieces, encoder._words


def entries(table):
    return len(table) + len(table._older)


@pytest.mark.parametrize("cache_size", [2, 3, 10])
def test_the_tables_stay_small_and_the_ids_the_same(cache_size):
    encoder = BPEEncoder(small_model(), cache_size=cache_size)
    for _ in range(3):
        assert encoder.encode_ordinary(MIXED) == encode_plainly(MIXED, small_model())
        assert 0 < max(map(entries, tables(encoder))) <= cache_size


def test_long_words_are_not_kept():
    encoder = BPEEncoder(small_model())
    encoder.encode_ordinary("x" * 1000 + " " + "y" * 1000)
    assert [entries(table) for table in tables(encoder)] == [0, 0]
    encoder.encode_ordinary("short words")
    assert [entries(table) for table in tables(encoder)] == [2, 2]


def test_what_is_remembered_is_not_worked_out_again():
    merged = []
    encoder = BPEEncoder(
        small_model(), merge_bytes=lambda piece: merged.append(piece) or list(piece)
    )
    encoder.encode_ordinary("zqx zqx, zqx")
    assert merged == [b"zqx", b" zqx"]
    encoder.encode_ordinary("zqx zqx")
    assert len(merged) == 2


def test_what_is_asked_for_again_and_again_stays():
    merged = []
    encoder = BPEEncoder(
        small_model(),
        cache_size=8,
        merge_bytes=lambda piece: merged.append(piece) or list(piece),
    )
    new_words = [f" q{a}{b}" for a in "bcdfg" for b in "bcdfghjk"]
    for word in new_words:
        encoder.encode_ordinary(" zqx" + word)
    assert merged.count(b" zqx") == 1
    encoder.encode_ordinary(new_words[0])
    assert merged.count(new_words[0].encode()) == 2  # was forgotten


def test_a_stream_of_new_words_takes_bounded_memory():
    def new_words(n_blocks):
        letters = random.Random(0)
        for _ in range(n_blocks):
            block = letters.choices("abcdefghijklmnopqrstuvwxyz", k=9 * 400)
            yield "".join(" " + "".join(block[i : i + 9]) for i in range(0, 9 * 400, 9))

    tokenizer = Tokenizer(small_model(), backend="python")
    tracemalloc.start()
    try:
        n_ids = sum(1 for _ in tokenizer.encode_iterable(new_words(150)))  # half a MB
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert n_ids > 150_000
    assert peak < 6e6


def test_words_are_cut_at_what_the_patterns_call_space():
    """Python's own \\s has four control characters more; a word may not end at them."""
    from happyllm_support.text.tokenizer import encoder

    points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    spaces = regex.findall(r"\s", "".join(points))
    assert [c for c in points if encoder._find_words("a" + c + "a")[0] == "a"] == spaces
    assert "".join(encoder._find_words(ENGLISH)) == ENGLISH


def test_a_table_needs_room():
    with pytest.raises(ValueError, match="cache_size is 1; expected at least 2"):
        BPEEncoder(small_model(), cache_size=1)
