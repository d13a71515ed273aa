from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_bpe import small_model

from happyllm_support.text.tokenizer.merging import (
    LONG_PIECE,
    merge_by_heap,
    merge_by_scan,
    merge_piece,
)

# The example of the module's header.
AAABAA = {(97, 97): 256, (256, 97): 257, (257, 98): 258}


def merge_naively(ids, table):
    """The rule in its plainest form: one merge at a time, the oldest, leftmost."""
    while candidates := [
        (table[pair], at) for at, pair in enumerate(pairwise(ids)) if pair in table
    ]:
        new, at = min(candidates)
        ids = [*ids[:at], new, *ids[at + 2 :]]
    return ids


def table_of(model):
    return {pair: 256 + rank for rank, pair in enumerate(model.merges)}


@pytest.mark.parametrize("merge", [merge_by_scan, merge_by_heap, merge_naively])
def test_the_worked_example(merge):
    assert merge(list(b"aaabaa"), AAABAA) == [258, 256]


@pytest.mark.parametrize("merge", [merge_by_scan, merge_by_heap])
@pytest.mark.parametrize("n", range(12))
def test_overlapping_pairs_merge_from_the_left(merge, n):
    assert merge([97] * n, {(97, 97): 256}) == [256] * (n // 2) + [97] * (n % 2)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab c", max_size=60), st.integers(0, 10))
def test_scan_heap_and_the_plain_rule_agree_on_any_merges(text, seed):
    table, tokens = {}, [97, 98, 99, 32]
    for new in range(
        256, 266
    ):  # merges chosen by arithmetic, not by training: no structure to lean on
        pair = (
            tokens[(new * 7 + seed) % len(tokens)],
            tokens[(new * 5 + seed * 3) % len(tokens)],
        )
        table.setdefault(pair, new)
        tokens.append(new)
    expected = merge_naively(list(text.encode()), table)
    assert merge_by_scan(list(text.encode()), table) == expected
    assert merge_by_heap(list(text.encode()), table) == expected


@pytest.mark.parametrize(
    "length", [0, 1, 2, LONG_PIECE - 1, LONG_PIECE, LONG_PIECE + 1, 3000]
)
def test_long_pieces_of_a_trained_model(length):
    piece = list(("thecatandthedogdidnotsee我们去长安" * 200).encode()[:length])
    table = table_of(small_model())
    merged = merge_by_scan(piece.copy(), table)
    assert (
        merge_piece(piece.copy(), table) == merge_by_heap(piece.copy(), table) == merged
    )
    if length > 100:
        assert len(merged) < length


def test_heap_work_grows_in_proportion(monkeypatch):
    """Counted, not timed: look-ups in the table for n and for 2 n bytes without a split
    point.
    """

    class Counting(dict):
        def __init__(self, table):
            super().__init__(table)
            self.n = 0

        def get(self, key, default=None):
            self.n += 1
            return super().get(key, default)

    counts = []
    for n in (4_000, 8_000, 16_000):
        table = Counting(table_of(small_model()))
        merge_piece(list(("thecatandthedogdidnotsee" * n).encode()[:n]), table)
        counts.append(table.n)
    assert counts[1] <= 2.1 * counts[0] and counts[2] <= 2.1 * counts[1]
