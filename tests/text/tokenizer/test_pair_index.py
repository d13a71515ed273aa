"""The index: which of several overlapping occurrences are merged, what stands where
after a merge, and the queue.
"""

from __future__ import annotations

import numpy as np
import pytest

from happyllm_support.text.tokenizer.pair_index import (
    Candidate,
    PairQueue,
    SymbolArray,
    leftmost_disjoint,
)

IDENTITY = tuple(range(256))
A, B, N = map(ord, "abn")


@pytest.mark.parametrize(
    ("places", "length", "chosen"),
    [
        ([0, 1, 2, 3], 1, [0, 2]),
        ([3, 1, 2, 0], 1, [0, 2]),
        ([0, 1, 2, 4, 5], 1, [0, 2, 4]),
        ([0, 2, 4, 9], 2, [0, 4, 9]),
        ([], 1, []),
    ],
)
def test_leftmost_disjoint(places: list[int], length: int, chosen: list[int]) -> None:
    assert (
        leftmost_disjoint(np.array(places, dtype=np.int64), length).tolist() == chosen
    )


def read(symbols: SymbolArray) -> list[list[int]]:
    """Walk over the tokens of every pre-token, as the layout promises."""
    words: list[list[int]] = []
    place = 0
    while place < len(symbols.symbols):
        token = int(symbols.symbols[place])
        assert (
            token == symbols.symbols[place + symbols.length[token] - 1]
        )  # its last position says the same
        if token == symbols.border:
            words.append([])
        else:
            words[-1].append(token)
        place += int(symbols.length[token])
    return words[:-1]


def test_merging_and_walking() -> None:
    symbols = SymbolArray({"banana": 3, "nan": 2}, IDENTITY, n_merges=3)
    queue = PairQueue(symbols, min_frequency=1)
    best = queue.pop()
    assert best is not None and (best.left, best.right) == (
        A,
        N,
    )  # 3 * 2 + 2, like (n, a), and smaller
    assert sorted(best.positions.tolist()) == [2, 4, 9]
    left, right = symbols.merge(best, 256, 1)
    assert read(symbols) == [[B, 256, 256, A], [N, 256]]
    # (b, X) three times, (n, X) twice, (X, X) three times; (X, a) three times.
    pairs = [divmod(code, 1 << 20) for code in left.codes.tolist()]
    assert list(zip(pairs, left.counts.tolist(), strict=True)) == [
        ((B, 256), 3),
        ((256, 256), 3),
        ((N, 256), 2),
    ]
    assert [divmod(code, 1 << 20) for code in right.codes.tolist()] == [(256, A)]
    assert right.counts.tolist() == [3]


def test_places_that_were_merged_are_no_longer_there() -> None:
    symbols = SymbolArray({"abab": 1, "cab": 1}, IDENTITY, n_merges=2)
    places = np.array([1, 3, 7])
    assert symbols.still_there(A, B, places).tolist() == [1, 3, 7]
    symbols.merge(Candidate(A, B, np.array([3])), 256, 1)
    assert symbols.still_there(A, B, places).tolist() == [1, 7]


def test_the_queue_recounts_before_it_believes() -> None:
    # (b, c) starts with 5, but 4 of them are lost to (a, b), which has 6; then (x, y)
    # with 3 is the best.
    symbols = SymbolArray({"abc": 4, "bc": 1, "ab": 2, "xy": 3}, IDENTITY, n_merges=5)
    queue = PairQueue(symbols, min_frequency=1)
    found: list[tuple[str, int]] = []
    for new in range(256, 260):
        best = queue.pop()
        assert best is not None
        found.append((f"{best.left} {best.right}", symbols.count(best.positions)))
        left, right = symbols.merge(best, new, 1)
        queue.add(new, False, left)
        queue.add(new, True, right)
    assert found == [("97 98", 6), ("256 99", 4), ("120 121", 3), ("98 99", 1)]
    assert queue.pop() is None


def test_counts_beyond_32_bits() -> None:
    symbols = SymbolArray({"ab": 2**33, "bc": 2**33 + 1}, IDENTITY, n_merges=1)
    best = PairQueue(symbols, min_frequency=1).pop()
    assert best is not None and (best.left, best.right) == (B, ord("c"))
    assert symbols.count(best.positions) == 2**33 + 1
