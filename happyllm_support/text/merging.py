"""Byte pair encoding of one piece of text: which adjacent tokens become one, in which order.

The rule: while some adjacent pair is in the merge table, replace the pair that was learned first (among equals, the
leftmost) by its token.

    ids=[97, 97, 97, 98, 97, 97], merges (97, 97) -> 256, (256, 97) -> 257, (257, 98) -> 258
    -> [256, 97, 98, 97, 97] -> [256, 97, 98, 256] -> [257, 98, 256] -> [258, 256]

A new token's id is larger than its parts', and ids grow in the order of learning, so "learned first" is "smallest id"
and the table alone, pair -> id, says everything.

Source: Sennrich, Haddow and Birch 2016 (arXiv:1508.07909), algorithm 1; on bytes: Radford et al. 2019 (GPT-2).
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import repeat

MergeTable = dict[tuple[int, int], int]

# Where the heap overtakes the scan; both give the same ids.
LONG_PIECE = 64
_NEVER = 1 << 62  # larger than any token id


def merge_piece(ids: list[int], table: MergeTable) -> list[int]:
    """Merge `ids`, the byte tokens of one piece, until no adjacent pair is in `table`.

    Args:
        ids: byte tokens, consumed by the call.
        table: pair of ids -> id of the token it becomes.

    Returns:
        The ids that are left.
    """
    return merge_by_scan(ids, table) if len(ids) < LONG_PIECE else merge_by_heap(ids, table)


def merge_by_scan(ids: list[int], table: MergeTable) -> list[int]:
    """Merge by looking at all pairs again for every merge: O(n^2), and the fastest way for the length of a word."""
    look_up = table.get
    merged = list(map(look_up, zip(ids, ids[1:], strict=False), repeat(_NEVER)))  # what each pair would become
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
    """Merge with a linked list and a heap of candidate pairs: O(n log n) for any input.

    A heap entry is the single integer `new id * n + position`, so that entries compare by id, then from the left. An
    entry is stale when the tokens at its position no longer form its pair; it is skipped when it comes up.
    """
    n = len(ids)
    look_up = table.get
    following = list(range(1, n + 1))  # position of the next token that is still there; n at the end
    preceding = list(range(-1, n - 1))
    heap = [
        new * n + position
        for position, pair in enumerate(zip(ids, ids[1:], strict=False))
        if (new := look_up(pair)) is not None
    ]
    heapify(heap)
    gone = -1
    while heap:
        new, left = divmod(heappop(heap), n)
        right = following[left]
        if right == n or look_up((ids[left], ids[right])) != new:
            continue  # stale; a position that is gone holds -1, which is in no pair
        after = following[right]
        ids[left], ids[right] = new, gone
        following[left] = after
        if after < n:
            preceding[after] = left
            joined = look_up((new, ids[after]))
            if joined is not None:
                heappush(heap, joined * n + left)
        before = preceding[left]
        if before >= 0:
            joined = look_up((ids[before], new))
            if joined is not None:
                heappush(heap, joined * n + before)
    return [token for token in ids if token != gone]
