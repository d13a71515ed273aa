"""Mistakes in counting and merging pairs."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, pairwise

from . import reference
from .checks import lab
from .reference import Pair

Words = dict[tuple[int, ...], int]


@lab.mutant(
    "pair_counts", "a word counts once, however often it occurs", section="The lab"
)
def without_frequency(words: Words) -> dict[Pair, int]:
    return Counter(pair for ids in words for pair in pairwise(ids))


@lab.mutant(
    "pair_counts",
    "places that overlap count once, so that (1, 1) stands only once in (1, 1, 1)",
)
def without_overlaps(words: Words) -> dict[Pair, int]:
    counts: Counter[Pair] = Counter()
    for ids, n in words.items():
        i = 0
        while i + 1 < len(ids):
            counts[ids[i], ids[i + 1]] += n
            i += 2 if ids[i : i + 3] == (ids[i],) * 3 else 1
    return counts


@lab.mutant(
    "pair_counts", "the ids are taken two by two, so that every second pair is left out"
)
def two_by_two(words: Words) -> dict[Pair, int]:
    counts: Counter[Pair] = Counter()
    for ids, n in words.items():
        for i in range(0, len(ids) - 1, 2):
            counts[ids[i], ids[i + 1]] += n
    return counts


@lab.mutant(
    "pair_counts",
    "a pair counts once in a word, even where it stands there several times",
)
def once_in_a_word(words: Words) -> dict[Pair, int]:
    counts: Counter[Pair] = Counter()
    for ids, n in words.items():
        for pair in set(pairwise(ids)):
            counts[pair] += n
    return counts


@lab.mutant(
    "pair_counts",
    "all pairs in a word are counted, also ids that do not stand side by side",
)
def not_adjacent(words: Words) -> dict[Pair, int]:
    counts: Counter[Pair] = Counter()
    for ids, n in words.items():
        for pair in combinations(ids, 2):
            counts[pair] += n
    return counts


@lab.mutant(
    "pair_counts",
    "the last pair of each word is left out (a range that ends one too early)",
)
def last_pair_missing(words: Words) -> dict[Pair, int]:
    counts: Counter[Pair] = Counter()
    for ids, n in words.items():
        for i in range(len(ids) - 2):
            counts[ids[i], ids[i + 1]] += n
    return counts


@lab.mutant(
    "pair_counts",
    "a word is a ring: its last id and its first one count as a pair (the index -1)",
)
def ring(words: Words) -> dict[Pair, int]:
    counts: Counter[Pair] = Counter()
    for ids, n in words.items():
        for i in range(len(ids)):
            counts[ids[i - 1], ids[i]] += n
    return counts


@lab.mutant(
    "pair_counts",
    "the order within a pair does not matter, so that (1, 2) and (2, 1) are one pair",
)
def unordered(words: Words) -> dict[Pair, int]:
    counts: Counter[Pair] = Counter()
    for ids, n in words.items():
        for a, b in pairwise(ids):
            counts[min(a, b), max(a, b)] += n
    return counts


@lab.mutant("pair_counts", "pairs reach from the end of one word into the next")
def across_words(words: Words) -> dict[Pair, int]:
    counts: Counter[Pair] = Counter()
    before: int | None = None
    for ids, n in words.items():
        row = ids if before is None else (before, *ids)
        for pair in pairwise(row):
            counts[pair] += n
        before = ids[-1]
    return counts


@lab.mutant(
    "pair_counts",
    "slices are counted, and the one at the end of a word holds a single id",
)
def slices(words: Words) -> dict[Pair, int]:
    counts: Counter[Pair] = Counter()
    for ids, n in words.items():
        for i in range(len(ids)):
            counts[ids[i : i + 2]] += n
    return counts


@lab.mutant(
    "pair_counts", "the last id of a word is asked for its right neighbour: IndexError"
)
def right_of_the_last(words: Words) -> dict[Pair, int]:
    counts: Counter[Pair] = Counter()
    for ids, n in words.items():
        for i in range(len(ids)):
            counts[ids[i], ids[i + 1]] += n
    return counts


@lab.mutant(
    "pair_counts",
    "a number is added to a pair that the dictionary does not hold yet: KeyError",
)
def not_there_yet(words: Words) -> dict[Pair, int]:
    counts: dict[Pair, int] = {}
    for ids, n in words.items():
        for pair in pairwise(ids):
            counts[pair] += n
    return counts


def replace_where(
    ids: list[int],
    pair: Pair,
    new: int,
    *,
    step: int = 2,
    at_most: int | None = None,
    either: bool = False,
) -> list[int]:
    """Merge from the left: `step` places further after a match, `at_most` so often, in
    `either` order.
    """
    merged: list[int] = []
    i = n = 0
    while i < len(ids):
        here = tuple(ids[i : i + 2])
        if (here == pair or (either and here == pair[::-1])) and n != at_most:
            merged.append(new)
            n += 1
            i += step
        else:
            merged.append(ids[i])
            i += 1
    return merged


@lab.mutant("merge", "only the first occurrence is replaced")
def only_first(ids: list[int], pair: Pair, new: int) -> list[int]:
    return replace_where(ids, pair, new, at_most=1)


@lab.mutant(
    "merge", "pairs are replaced from the right, so that (1, 1, 1) becomes (1, new)"
)
def from_the_right(ids: list[int], pair: Pair, new: int) -> list[int]:
    return reference.merge(ids[::-1], pair[::-1], new)[::-1]


@lab.mutant(
    "merge",
    "the walk goes on one place after a replacement, not two, and the right part stays",
)
def right_part_stays(ids: list[int], pair: Pair, new: int) -> list[int]:
    return replace_where(ids, pair, new, step=1)


@lab.mutant(
    "merge",
    "the last id is lost where no pair ends with it (a range that ends one too early)",
)
def last_lost(ids: list[int], pair: Pair, new: int) -> list[int]:
    merged: list[int] = []
    i = 0
    while i < len(ids) - 1:
        matches = (ids[i], ids[i + 1]) == pair
        merged.append(new if matches else ids[i])
        i += 2 if matches else 1
    return merged


@lab.mutant("merge", "the pair is replaced in either order")
def either_order(ids: list[int], pair: Pair, new: int) -> list[int]:
    return replace_where(ids, pair, new, either=True)


@lab.mutant("merge", "the list that was passed in is changed, and not a new one made")
def in_place(ids: list[int], pair: Pair, new: int) -> list[int]:
    i = 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) == pair:
            ids[i : i + 2] = [new]
        i += 1
    return ids


@lab.mutant(
    "merge", "the walk looks behind the last id, and ids[i + 1] raises IndexError"
)
def behind_the_end(ids: list[int], pair: Pair, new: int) -> list[int]:
    merged: list[int] = []
    i = 0
    while i < len(ids):
        matches = (ids[i], ids[i + 1]) == pair
        merged.append(new if matches else ids[i])
        i += 2 if matches else 1
    return merged


@lab.mutant(
    "merge", "three places go by after a replacement: the id behind the pair is lost"
)
def one_too_far(ids: list[int], pair: Pair, new: int) -> list[int]:
    return replace_where(ids, pair, new, step=3)


@lab.mutant(
    "merge", "pairs are found first and overlap: in a run each of them is replaced"
)
def overlapping(ids: list[int], pair: Pair, new: int) -> list[int]:
    found = [i for i, here in enumerate(pairwise(ids)) if here == pair]
    inside = {i + 1 for i in found}
    return [
        new if i in found else token
        for i, token in enumerate(ids)
        if i in found or i not in inside
    ]


@lab.mutant(
    "merge",
    "nothing is ever replaced (a slice of a list is a list, which never equals a "
    "tuple)",
)
def list_against_tuple(ids: list[int], pair: Pair, new: int) -> list[int]:
    merged: list[int] = []
    i = 0
    while i < len(ids):
        matches = ids[i : i + 2] == pair
        merged.append(new if matches else ids[i])
        i += 2 if matches else 1
    return merged


@lab.mutant(
    "merge",
    "the list gets shorter while the loop still counts to its old length: IndexError",
)
def shrinking(ids: list[int], pair: Pair, new: int) -> list[int]:
    merged = list(ids)
    for i in range(len(merged) - 1):
        if (merged[i], merged[i + 1]) == pair:
            merged[i : i + 2] = [new]
    return merged
