"""Learning merges fast: every pair knows where it occurs, and a merge touches only
those places.

The textbook recounts all pairs for each merge (`bpe_naive.py`). Three observations
remove almost all of that work:

1. **A merge changes only its neighbourhood.** Joining `a b` into X creates the pairs
   (left neighbour, X) and (X, right neighbour) and destroys others. So the places of
   every pair are grouped once, when the pair comes into being, by sorting one short
   array: the `NewPairs` of a merge.
2. **Counts of existing pairs only fall**, because a new occurrence of a pair always
   involves the newest token. An old count is therefore an upper bound: the queue holds
   bounds, recounts only the pair at its top, and puts it back if the bound was too
   high. Destroyed pairs need no bookkeeping at all.
3. **Only the best of the pairs that came together can be next**, so only one of them
   at a time is in the queue.

Everything per occurrence is NumPy; Python runs once per merge and recount. Integers
keep it exact.

Inside this file bytes are numbered by their rank in GPT-2's order, so that comparing
ids breaks ties as documented in `bpe.py`.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ID_BITS = 20  # a pair is one integer, left << ID_BITS | right
MAX_VOCAB = 1 << ID_BITS

Positions = NDArray[np.int64]
Weights = NDArray[np.int32 | np.int64]


class NewPairs:
    """Pairs that came into being together, the most frequent first, with the places
    where they occurred then.

    Attributes:
        codes: (n,) int64, the pairs as `left << ID_BITS | right`.
        counts: (n,) int64, how often each occurred, weighted by the count of its
            pre-token.
        begins, ends: (n,) int64, pair i occurred at `positions[begins[i]:ends[i]]`.
        next: index of the first pair that was not handed out yet.
    """

    __slots__ = ("begins", "codes", "counts", "ends", "next", "positions")

    def __init__(
        self,
        codes: Positions,
        places: NDArray[np.integer],
        weights: Weights,
        min_frequency: int,
    ) -> None:
        """Group places by pair.

        Args:
            codes: (m,) the pair at each place, sorted.
            places: (m,) the places.
            weights: (m,) the counts of the pre-tokens around them.
            min_frequency: rarer pairs are left out; their count can only fall.
        """
        begins = np.concatenate(
            (_TRUE[: len(codes)], codes[1:] != codes[:-1])
        ).nonzero()[0]
        counts = (
            np.add.reduceat(weights, begins, dtype=np.int64) if len(codes) else weights
        )
        frequent = (counts >= min_frequency).nonzero()[0]
        best_first = frequent[(-counts[frequent]).argsort(kind="stable")]
        self.codes = codes[begins[best_first]]
        self.counts = counts[best_first]
        self.begins = begins[best_first]
        self.ends = np.concatenate((begins[1:], (len(codes),)))[best_first]
        self.positions = places
        self.next = 0


_TRUE = np.ones(1, dtype=np.bool_)


class Candidate(NamedTuple):
    """A pair and the places where it occurs now."""

    left: int
    right: int
    positions: Positions


class SymbolArray:
    """The different pre-tokens laid end to end, as an array of symbols in which merges
    are made.

    A token of n bytes keeps its n positions and writes its id on the first and the last
    of them:

        |  t  h  e  |  --merge t h-->  |  X  X  e  |  --merge X e-->  |  Y  .  Y  |

    So the token after the one at `p` begins at `p + length[id]`, the one before it ends
    at `p - 1`, and neither links nor deletions are needed. A list of places may be old:
    a place still holds the pair (a, b) if and only if `symbols[p] == a` and
    `symbols[p + length[a]] == b`. An id that is a leftover inside a longer token cannot
    be mistaken for a first one, since both halves' first positions are overwritten with
    the new id.
    """

    def __init__(
        self, counts: Mapping[str, int], byte_order: tuple[int, ...], n_merges: int
    ) -> None:
        text = np.frombuffer(
            b"\xff".join((b"", *(piece.encode() for piece in counts), b"")), np.uint8
        )
        # the id between two pre-tokens, greater than all others
        self.border = 256 + n_merges
        id_type = np.uint16 if self.border < 1 << 16 else np.uint32
        rank = np.empty(256, dtype=id_type)
        rank[list(byte_order)] = np.arange(256)
        rank[0xFF] = self.border  # a byte that UTF-8 never uses
        self.symbols = rank[text]
        borders = np.flatnonzero(text == 0xFF)
        weights = np.fromiter(counts.values(), np.int64, len(counts))
        if weights.max(initial=0) < 1 << 31:
            weights = weights.astype(np.int32)
        self.weights = np.append(
            np.repeat(weights, np.diff(borders)), weights[:0].dtype.type(0)
        )
        self.length = np.ones(self.border + 1, dtype=np.int64)
        self.place_type = np.int32 if len(text) < 1 << 31 else np.int64

    def byte_pairs(self, min_frequency: int) -> NewPairs:
        """Group the pairs of neighbouring bytes."""
        inside = self.symbols != self.border
        places = np.flatnonzero(inside[:-1] & inside[1:]).astype(self.place_type)
        first, second = self.symbols[places], self.symbols[places + 1]
        keys = first.astype(np.uint16) << np.uint16(8) | second.astype(np.uint16)
        order = keys.argsort(kind="stable")  # 16 bits: a radix sort
        keys, places = keys[order].astype(np.int64), places[order]
        return NewPairs(
            keys >> 8 << ID_BITS | keys & 0xFF,
            places,
            self.weights[places],
            min_frequency,
        )

    def still_there(
        self, left: int, right: int, places: NDArray[np.integer]
    ) -> Positions:
        """Keep the places where `left right` still stands."""
        places = places.astype(np.int64, copy=False)
        places = places[self.symbols[places] == left]
        return places[self.symbols[places + self.length[left]] == right]

    def count(self, places: Positions) -> int:
        """Count occurrences at these places, in all pre-tokens that are equal."""
        return int(self.weights[places].sum(dtype=np.int64))

    def merge(
        self, pair: Candidate, new: int, min_frequency: int
    ) -> tuple[NewPairs, NewPairs]:
        """Write `new` over the pair wherever it stands, and group the pairs that `new`
        forms with its neighbours.

        Returns:
            The pairs (neighbour, new) and the pairs (new, neighbour).
        """
        left, right, places = pair
        length = self.length
        if left == right:
            places = leftmost_disjoint(places, int(length[left]))
        second = places + length[left]
        end = second + length[right]
        length[new] = length[left] + length[right]
        self.symbols[places] = new
        self.symbols[second] = new
        self.symbols[end - 1] = new
        weights = self.weights[places]

        before = self.symbols[places - 1]
        order = before.argsort(kind="stable")
        before = before[order]
        order = order[: before.searchsorted(self.border)]
        before = before[: len(order)].astype(np.int64)
        starts = (places[order] - length[before]).astype(self.place_type)
        left_pairs = NewPairs(
            before << ID_BITS | new, starts, weights[order], min_frequency
        )

        after = self.symbols[end]
        order = after.argsort(kind="stable")
        after = after[order]
        # neither borders nor (new, new), which is among the pairs on the left
        order = order[: after.searchsorted(new)]
        after = after[: len(order)].astype(np.int64)
        right_pairs = NewPairs(
            new << ID_BITS | after,
            places[order].astype(self.place_type),
            weights[order],
            min_frequency,
        )
        return left_pairs, right_pairs


class PairQueue:
    """Finds the most frequent pair: a heap of upper bounds, each made exact before it
    is believed.
    """

    def __init__(self, symbols: SymbolArray, min_frequency: int) -> None:
        self._symbols = symbols
        self._min_frequency = min_frequency
        # code - (count << 2 ID_BITS): the smallest is the best, ties included
        self._heap: list[int] = []
        # by the newer id of the pair, and whether it is the left one
        self._waiting: dict[tuple[int, bool], NewPairs] = {}
        # pairs that went back into the heap with fewer places
        self._recounted: dict[int, Positions] = {}
        self.add(0, False, symbols.byte_pairs(min_frequency))

    def add(self, newer: int, newer_is_left: bool, pairs: NewPairs) -> None:
        """Take in the pairs of a new token; `newer` is 0 for pairs of bytes."""
        if len(pairs.codes):
            self._waiting[newer, newer_is_left] = pairs
            self._offer_next(pairs)

    def pop(self) -> Candidate | None:
        """Return the best pair with its places; None when none is frequent enough."""
        while self._heap:
            entry = heapq.heappop(self._heap)
            code, bound = entry & ((1 << 2 * ID_BITS) - 1), -(entry >> 2 * ID_BITS)
            left, right = code >> ID_BITS, code & (MAX_VOCAB - 1)
            places = self._recounted.pop(code, None)
            if places is None:
                places = self._take_next(left, right)
            places = self._symbols.still_there(left, right, places)
            count = self._symbols.count(places)
            if count == bound:
                return Candidate(left, right, places)
            if count >= self._min_frequency:
                self._recounted[code] = places
                heapq.heappush(self._heap, code - (count << 2 * ID_BITS))
        return None

    def _offer_next(self, pairs: NewPairs) -> None:
        i = pairs.next
        heapq.heappush(
            self._heap, int(pairs.codes[i]) - (int(pairs.counts[i]) << 2 * ID_BITS)
        )

    def _take_next(self, left: int, right: int) -> NDArray[np.integer]:
        """Return the places of a pair, and let the next of those that came with it into
        the queue.
        """
        newer = max(left, right)
        key = (newer, left > right) if newer >= 256 else (0, False)
        pairs = self._waiting[key]
        i = pairs.next
        pairs.next += 1
        if pairs.next < len(pairs.codes):
            self._offer_next(pairs)
        else:
            del self._waiting[key]
        return pairs.positions[pairs.begins[i] : pairs.ends[i]]


def leftmost_disjoint(places: Positions, length: int) -> Positions:
    """Choose the occurrences of a pair of equal tokens that are merged: from the left,
    never overlapping.

    In `aaaaa` the pair `aa` stands at 0, 1, 2 and 3; merged are those at 0 and 2:
    `leftmost_disjoint([0, 1, 2, 3], 1) -> [0, 2]`.

    Args:
        places: where the pair stands, in any order.
        length: positions that one of the two equal tokens takes.
    """
    places = np.sort(places)
    index = np.arange(len(places))
    starts_run = np.concatenate((_TRUE[: len(places)], np.diff(places) != length))
    run_start = np.maximum.accumulate(np.where(starts_run, index, 0))
    return places[(index - run_start) % 2 == 0]
