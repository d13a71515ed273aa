"""Mistakes in encoding: which merge comes first, and how far it may reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from . import reference
from .checks import lab
from .mutants_counting import from_the_right, only_first
from .reference import Pair


def encode_with(
    text: str,
    merges: list[Pair],
    *,
    choose: Callable[[list[int], dict[Pair, int]], Pair] | None = None,
    merge: Callable[[list[int], Pair, int], list[int]] = reference.merge,
    cut: Callable[[str], list[str]] = reference.pretokenize,
    to_ids: Callable[[str], list[int]] = lambda piece: list(piece.encode()),
    first: int = 256,
    rounds: int | None = None,
) -> list[int]:
    """Encoding, of which each part can be exchanged; `choose` picks the pair to merge
    next.
    """
    table = {pair: first + k for k, pair in enumerate(merges)}
    choose = choose or (
        lambda ids, table: min(
            (p for p in pairwise(ids) if p in table), key=lambda p: table[p]
        )
    )
    result: list[int] = []
    for piece in cut(text):
        ids, n = to_ids(piece), 0
        while any(pair in table for pair in pairwise(ids)) and n != rounds:
            pair = choose(ids, table)
            ids = merge(ids, pair, table[pair])
            n += 1
        result += ids
    return result


@lab.mutant(
    "encode",
    "the text is read from the left, and at each place the longest token of the "
    "vocabulary is taken",
)
def longest_match(text: str, merges: list[Pair]) -> list[int]:
    vocab = [bytes([b]) for b in range(256)]
    for left, right in merges:
        vocab.append(vocab[left] + vocab[right])
    ids: list[int] = []
    for piece in reference.pretokenize(text):
        data = piece.encode()
        while data:
            ids.append(
                max(
                    (i for i, token in enumerate(vocab) if data.startswith(token)),
                    key=lambda i: len(vocab[i]),
                )
            )
            data = data[len(vocab[ids[-1]]) :]
    return ids


@lab.mutant(
    "encode",
    "the leftmost pair that can be merged is merged first, and not the one that was "
    "learned first",
)
def leftmost_first(text: str, merges: list[Pair]) -> list[int]:
    def choose(ids: list[int], table: dict[Pair, int]) -> Pair:
        return next(pair for pair in pairwise(ids) if pair in table)

    return encode_with(text, merges, choose=choose, merge=only_first)


@lab.mutant("encode", "the pair that was learned last is merged first")
def last_learned_first(text: str, merges: list[Pair]) -> list[int]:
    def choose(ids: list[int], table: dict[Pair, int]) -> Pair:
        return max(
            (pair for pair in pairwise(ids) if pair in table),
            key=lambda pair: table[pair],
        )

    return encode_with(text, merges, choose=choose)


@lab.mutant(
    "encode",
    "the pair with the smallest ids is merged first, and not the one that was learned "
    "first",
)
def smallest_ids_first(text: str, merges: list[Pair]) -> list[int]:
    def choose(ids: list[int], table: dict[Pair, int]) -> Pair:
        return min(pair for pair in pairwise(ids) if pair in table)

    return encode_with(text, merges, choose=choose)


@lab.mutant(
    "encode", "the most frequent pair of the piece is merged first, as in training"
)
def most_frequent_first(text: str, merges: list[Pair]) -> list[int]:
    def choose(ids: list[int], table: dict[Pair, int]) -> Pair:
        counts = Counter(pair for pair in pairwise(ids) if pair in table)
        return min(counts, key=lambda pair: (-counts[pair], table[pair]))

    return encode_with(text, merges, choose=choose)


@lab.mutant("encode", "pairs are merged from the right, so that aaa becomes a and aa")
def merges_from_the_right(text: str, merges: list[Pair]) -> list[int]:
    return encode_with(text, merges, merge=from_the_right)


@lab.mutant("encode", "nothing is merged: the bytes are returned as they are")
def bytes_only(text: str, merges: list[Pair]) -> list[int]:
    return list(text.encode())


@lab.mutant("encode", "each merge is applied once, to its first occurrence in a piece")
def each_merge_once(text: str, merges: list[Pair]) -> list[int]:
    ids = [list(piece.encode()) for piece in reference.pretokenize(text)]
    for k, pair in enumerate(merges):
        ids = [only_first(row, pair, 256 + k) for row in ids]
    return [token for row in ids for token in row]


@lab.mutant(
    "encode", "a piece is merged once, and what has been merged is not looked at again"
)
def one_round(text: str, merges: list[Pair]) -> list[int]:
    return encode_with(text, merges, rounds=1)


@lab.mutant(
    "encode",
    "one pass from the left replaces pairs of bytes; merged tokens are never merged "
    "again",
)
def one_pass(text: str, merges: list[Pair]) -> list[int]:
    table = {pair: 256 + k for k, pair in enumerate(merges)}
    result: list[int] = []
    for piece in reference.pretokenize(text):
        ids, i = list(piece.encode()), 0
        while i < len(ids):
            new = table.get((ids[i], ids[i + 1])) if i + 1 < len(ids) else None
            result.append(ids[i] if new is None else new)
            i += 1 if new is None else 2
    return result


@lab.mutant(
    "encode",
    "one pass from the left merges what it can, and never goes back to look for an "
    "earlier merge",
)
def never_back(text: str, merges: list[Pair]) -> list[int]:
    table = {pair: 256 + k for k, pair in enumerate(merges)}
    result: list[int] = []
    for piece in reference.pretokenize(text):
        ids, i = list(piece.encode()), 0
        while i < len(ids) - 1:
            new = table.get((ids[i], ids[i + 1]))
            if new is None:
                i += 1
            else:
                ids[i : i + 2] = [new]
        result += ids
    return result


@lab.mutant(
    "encode",
    "merges cross the borders of pieces: the text is not cut",
    section="No pre-tokenization",
)
def encode_uncut(text: str, merges: list[Pair]) -> list[int]:
    return encode_with(text, merges, cut=lambda text: [text])


@lab.mutant(
    "encode",
    "the spaces get lost: the text is not cut with pretokenize (but with split, say)",
)
def encode_split(text: str, merges: list[Pair]) -> list[int]:
    return encode_with(text, merges, cut=str.split)


@lab.mutant(
    "encode",
    "ids begin as code points (ord) and not as bytes of UTF-8",
    section="Bytes: 256, and nothing is missing",
)
def from_code_points(text: str, merges: list[Pair]) -> list[int]:
    return encode_with(text, merges, to_ids=lambda piece: list(map(ord, piece)))


@lab.mutant("encode", "each piece gives a list of its own (append in place of extend)")
def nested(text: str, merges: list[Pair]) -> list[list[int]]:
    return [reference.encode(piece, merges) for piece in reference.pretokenize(text)]


@lab.mutant(
    "encode",
    "the ids of merges are one too large: merge k, counted from 0, makes 256 + k",
)
def ids_one_too_large(text: str, merges: list[Pair]) -> list[int]:
    return [token + (token >= 256) for token in reference.encode(text, merges)]


@lab.mutant(
    "encode",
    "a merged token gets the rank of its merge as id, without the 256 bytes before it",
)
def rank_as_id(text: str, merges: list[Pair]) -> list[int]:
    return [
        token - 256 if token >= 256 else token
        for token in reference.encode(text, merges)
    ]
