"""Byte pair encoding of one piece of text: which adjacent tokens become one, in which
order.

The rule: while some adjacent pair is in the merge table, replace the pair that was
learned first (among equals, the leftmost) by its token.

    merges (97, 97) -> 256, (256, 97) -> 257, (257, 98) -> 258
    [97, 97, 97, 98, 97, 97] -> [256, 97, 98, 97, 97] -> [256, 97, 98, 256]
    -> [257, 98, 256] -> [258, 256]

A new token's id is larger than its parts', and ids grow in the order of learning, so
"learned first" is "smallest id" and the table alone, pair -> id, says everything.

Source: Sennrich, Haddow and Birch 2016 (arXiv:1508.07909), algorithm 1; on bytes:
Radford et al. 2019 (GPT-2).
"""

from __future__ import annotations

from array import array
from heapq import heapify, heappop, heappush
from itertools import pairwise, repeat

MergeTable = dict[tuple[int, int], int]

# Where the heap overtakes the scan; both give the same ids.
LONG_PIECE = 96
_NEVER = 1 << 62  # larger than any token id
_GONE = -1  # smaller than any token id, and so in no pair


def merge_piece(ids: list[int], table: MergeTable) -> list[int]:
    """Merge `ids`, the byte tokens of one piece, until no adjacent pair is in `table`.

    Args:
        ids: byte tokens, consumed by the call.
        table: pair of ids -> id of the token it becomes.

    Returns:
        The ids that are left.
    """
    return (
        merge_by_scan(ids, table)
        if len(ids) < LONG_PIECE
        else merge_by_heap(ids, table)
    )


def merge_by_scan(ids: list[int], table: MergeTable) -> list[int]:
    """Merge by looking at all pairs again for every merge: O(n^2), and the fastest way
    for the length of a word.
    """
    look_up = table.get
    # what each pair would become
    merged = list(map(look_up, pairwise(ids), repeat(_NEVER)))
    while merged:
        new = min(merged)
        if new == _NEVER:
            break
        at = merged.index(new)
        ids[at : at + 2] = (new,)
        del merged[at]
        if at:
            merged[at - 1] = look_up((ids[at - 1], new), _NEVER)
        if at < len(merged):
            merged[at] = look_up((new, ids[at + 1]), _NEVER)
    return ids


def merge_by_heap(ids: list[int], table: MergeTable) -> list[int]:
    """Merge with a linked list and a heap of the tokens that can be made next: O(n log
    n) for any input.

    A pair that holds a new token can only become a still newer one. So tokens are made
    in the order of their ids, each at all its positions at once, from the left; the
    heap holds ids, not positions, and stays small. A position is stale when its pair
    has been changed by an earlier merge; it is skipped when its turn comes.
    """
    end = len(ids)
    # arrays, not lists: neighbours in the text stay neighbours in memory
    integers = "i" if end < 2**31 - 1 else "q"
    tokens = array(integers, ids)
    # a sentinel: no pair reaches over the end, and every position has a following one
    tokens.append(_GONE)
    # positions of the tokens beside it that are still there
    following = array(integers, range(1, end + 2))
    preceding = array(integers, range(-1, end))  # -1 is the sentinel's position too
    look_up = table.get
    # new id -> where the left part of its pair stands
    positions: dict[int, array[int]] = {}
    for position, new in enumerate(map(look_up, pairwise(ids))):
        if new is not None:
            positions.setdefault(new, array(integers)).append(position)
    heap = list(positions)
    heapify(heap)

    while heap:
        new = heappop(heap)
        for left in sorted(positions.pop(new)):
            right = following[left]
            if look_up((tokens[left], tokens[right])) != new:
                continue
            before, after = preceding[left], following[right]
            tokens[left], tokens[right] = new, _GONE
            following[left], preceding[after] = after, left
            for position, pair in (
                (before, (tokens[before], new)),
                (left, (new, tokens[after])),
            ):
                newer = look_up(pair)
                if newer is None:
                    continue
                if newer not in positions:
                    positions[newer] = array(integers)
                    heappush(heap, newer)
                positions[newer].append(position)
    return [token for token in tokens if token != _GONE]
