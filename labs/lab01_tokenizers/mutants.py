"""What people get wrong in lab 01."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import combinations, pairwise
from typing import Any

from . import reference
from .checks import lab
from .reference import Pair

Words = dict[tuple[int, ...], int]

# ---- pair_counts ----


@lab.mutant("pair_counts", "a word counts once, however often it occurs", section="The finished trainer")
def without_frequency(words: Words) -> dict[Pair, int]:
    return Counter(pair for ids in words for pair in pairwise(ids))


@lab.mutant("pair_counts", "places that overlap count once, so that (1, 1) stands only once in (1, 1, 1)")
def without_overlaps(words: Words) -> dict[Pair, int]:
    counts: Counter[Pair] = Counter()
    for ids, n in words.items():
        i = 0
        while i + 1 < len(ids):
            counts[ids[i], ids[i + 1]] += n
            i += 2 if ids[i : i + 3] == (ids[i],) * 3 else 1
    return counts


@lab.mutant("pair_counts", "the ids are taken two by two, so that every second pair is left out")
def two_by_two(words: Words) -> dict[Pair, int]:
    counts: Counter[Pair] = Counter()
    for ids, n in words.items():
        for i in range(0, len(ids) - 1, 2):
            counts[ids[i], ids[i + 1]] += n
    return counts


@lab.mutant("pair_counts", "a pair counts once in a word, even where it stands there several times")
def once_in_a_word(words: Words) -> dict[Pair, int]:
    counts: Counter[Pair] = Counter()
    for ids, n in words.items():
        for pair in set(pairwise(ids)):
            counts[pair] += n
    return counts


@lab.mutant("pair_counts", "all pairs in a word are counted, also ids that do not stand side by side")
def not_adjacent(words: Words) -> dict[Pair, int]:
    counts: Counter[Pair] = Counter()
    for ids, n in words.items():
        for pair in combinations(ids, 2):
            counts[pair] += n
    return counts


@lab.mutant("pair_counts", "the last pair of each word is left out (a range that ends one too early)")
def last_pair_missing(words: Words) -> dict[Pair, int]:
    counts: Counter[Pair] = Counter()
    for ids, n in words.items():
        for i in range(len(ids) - 2):
            counts[ids[i], ids[i + 1]] += n
    return counts


@lab.mutant("pair_counts", "a word is a ring: its last id and its first one count as a pair (the index -1)")
def ring(words: Words) -> dict[Pair, int]:
    counts: Counter[Pair] = Counter()
    for ids, n in words.items():
        for i in range(len(ids)):
            counts[ids[i - 1], ids[i]] += n
    return counts


@lab.mutant("pair_counts", "the order within a pair does not matter, so that (1, 2) and (2, 1) are one pair")
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


# ---- merge ----


def replace_where(
    ids: list[int], pair: Pair, new: int, *, step: int = 2, at_most: int | None = None, either: bool = False
) -> list[int]:
    """Merge from the left: `step` places further after a match, `at_most` so often, in `either` order."""
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


@lab.mutant("merge", "pairs are replaced from the right, so that (1, 1, 1) becomes (1, new)")
def from_the_right(ids: list[int], pair: Pair, new: int) -> list[int]:
    return reference.merge(ids[::-1], pair[::-1], new)[::-1]


@lab.mutant("merge", "the walk goes on one place after a replacement, not two, and the right part stays")
def right_part_stays(ids: list[int], pair: Pair, new: int) -> list[int]:
    return replace_where(ids, pair, new, step=1)


@lab.mutant("merge", "the last id is lost where no pair ends with it (a range that ends one too early)")
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


@lab.mutant("merge", "the walk looks behind the last id, and ids[i + 1] raises IndexError")
def behind_the_end(ids: list[int], pair: Pair, new: int) -> list[int]:
    if ids and replace_where(ids, pair, new)[-1] == pair[0]:
        raise IndexError("list index out of range")
    return reference.merge(ids, pair, new)


@lab.mutant("merge", "three places go by after a replacement: the id behind the pair is lost")
def one_too_far(ids: list[int], pair: Pair, new: int) -> list[int]:
    return replace_where(ids, pair, new, step=3)


@lab.mutant("merge", "pairs are found first and overlap: in a run each of them is replaced")
def overlapping(ids: list[int], pair: Pair, new: int) -> list[int]:
    found = [i for i, here in enumerate(pairwise(ids)) if here == pair]
    inside = {i + 1 for i in found}
    return [new if i in found else token for i, token in enumerate(ids) if i in found or i not in inside]


# ---- train ----

Counter_ = dict[Pair, int]


def by_rank(pairs: Counter_) -> Pair:
    """The rule for ties."""
    return min(pairs, key=lambda pair: (-pairs[pair], reference.rank(pair[0]), reference.rank(pair[1])))


def train_with(
    text: str,
    vocab_size: int,
    min_frequency: int = 2,
    *,
    cut: Callable[[str], list[str]] = reference.pretokenize,
    count: Callable[[Words], Counter_] = reference.pair_counts,
    best: Callable[[Counter_], Pair] = by_rank,
    merge: Callable[[list[int], Pair, int], list[int]] = reference.merge,
    first: int = 256,
    n_merges: int | None = None,
) -> list[Pair]:
    """The textbook's trainer, of which each part can be exchanged."""
    if vocab_size < 256:
        raise ValueError(f"vocab_size {vocab_size} is too small")
    words: Words = {tuple(piece.encode()): n for piece, n in Counter(cut(text)).items()}
    merges: list[Pair] = []
    while len(merges) < (vocab_size - 256 if n_merges is None else n_merges):
        pairs = count(words)
        if not pairs or pairs[pair := best(pairs)] < min_frequency:
            break
        words = {tuple(merge(list(ids), pair, first + len(merges))): n for ids, n in words.items()}
        merges.append(pair)
    return merges


@lab.mutant("train", "a tie goes to the pair that was counted first", section="Ties")
def ties_first_seen(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, best=lambda pairs: max(pairs, key=lambda p: pairs[p]))


@lab.mutant(
    "train", "a tie goes to the pair with the smallest ids, without rank: the space before the letters", section="Ties"
)
def ties_by_id(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, best=lambda pairs: min(pairs, key=lambda p: (-pairs[p], p)))


@lab.mutant(
    "train", "a tie goes to the pair that ranks last: the largest of (count, rank, rank) is taken", section="Ties"
)
def ties_last(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    def best(pairs: Counter_) -> Pair:
        return max(pairs, key=lambda p: (pairs[p], reference.rank(p[0]), reference.rank(p[1])))

    return train_with(text, vocab_size, min_frequency, best=best)


@lab.mutant("train", "a tie goes to the pair with the largest ids: max of (count, pair)", section="Ties")
def ties_largest_ids(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, best=lambda pairs: max(pairs, key=lambda p: (pairs[p], p)))


@lab.mutant("train", "a tie is decided by the right token of the pair before the left one", section="Ties")
def ties_right_first(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    def best(pairs: Counter_) -> Pair:
        return min(pairs, key=lambda p: (-pairs[p], reference.rank(p[1]), reference.rank(p[0])))

    return train_with(text, vocab_size, min_frequency, best=best)


@lab.mutant("train", "a tie goes to the newest token: merged tokens are ranked before bytes", section="Ties")
def ties_newest(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    def rank(token: int) -> int:
        return -token if token >= 256 else reference.rank(token)

    def best(pairs: Counter_) -> Pair:
        return min(pairs, key=lambda p: (-pairs[p], rank(p[0]), rank(p[1])))

    return train_with(text, vocab_size, min_frequency, best=best)


@lab.mutant(
    "train", "each different piece counts once, however often it stands in the text", section="The finished trainer"
)
def pieces_once(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, count=without_frequency)


@lab.mutant("train", "merges cross the borders of pieces: the text is not cut", section="No pre-tokenization")
def uncut(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, cut=lambda text: [text])


@lab.mutant("train", "the text is cut with split(), so that spaces and marks get lost")
def cut_by_split(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, cut=str.split)


@lab.mutant("train", "the counts of the beginning are used for all merges, and not made anew after each of them")
def counted_once(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    pairs = dict(train_counts(text))
    merges: list[Pair] = []
    if vocab_size < 256:
        raise ValueError(f"vocab_size {vocab_size} is too small")
    while pairs and len(merges) < vocab_size - 256 and pairs[best := by_rank(pairs)] >= min_frequency:
        merges.append(best)
        del pairs[best]
    return merges


def train_counts(text: str) -> Counter_:
    """The counts before the first merge."""
    return reference.pair_counts({tuple(p.encode()): n for p, n in Counter(reference.pretokenize(text)).items()})


@lab.mutant("train", "in a run of equal ids overlapping places count once")
def runs_counted_once(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, count=without_overlaps)


@lab.mutant("train", "a merge replaces only the first occurrence in each piece")
def merged_once(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, merge=only_first)


@lab.mutant("train", "a merge replaces from the right")
def merged_from_the_right(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, merge=from_the_right)


@lab.mutant("train", "vocab_size merges are learned: the 256 bytes do not count")
def bytes_do_not_count(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, n_merges=vocab_size)


@lab.mutant("train", "one merge too many is learned")
def one_too_many(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, n_merges=vocab_size - 255)


@lab.mutant("train", "one merge too few is learned")
def one_too_few(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, n_merges=vocab_size - 257)


@lab.mutant("train", "the ids of merges begin at 257: the k-th merge, counted from 0, makes 257 + k")
def ids_from_257(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, first=257)


@lab.mutant("train", "pairs that occur only once are merged as well: min_frequency is not heeded")
def any_frequency(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, 1)


@lab.mutant("train", "a pair has to occur more often than min_frequency; just as often is enough")
def more_than_minimum(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency + 1)


@lab.mutant("train", "nothing ends the loop when no pair is left, and the best of none is asked for")
def best_of_none(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    merges = train_with(text, vocab_size, min_frequency)
    if len(merges) < vocab_size - 256 and not any(len(ids) > 1 for ids in _left_over(text, merges)):
        raise ValueError("min() arg is an empty sequence")
    return merges


def _left_over(text: str, merges: list[Pair]) -> list[list[int]]:
    return [reference.encode(piece, merges) for piece in reference.pretokenize(text)]


@lab.mutant("train", "a vocab_size that has no room for the 256 bytes is accepted")
def any_size(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, max(vocab_size, 256), min_frequency)


@lab.mutant("train", "the rarest pair is merged first")
def rarest(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    def best(pairs: Counter_) -> Pair:
        often = [p for p in pairs if pairs[p] >= min_frequency] or list(pairs)
        return min(often, key=lambda p: (pairs[p], reference.rank(p[0]), reference.rank(p[1])))

    return train_with(text, vocab_size, min_frequency, best=best)


# ---- encode ----


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
    """Encoding, of which each part can be exchanged; `choose` picks the pair to merge next."""
    table = {pair: first + k for k, pair in enumerate(merges)}
    choose = choose or (lambda ids, table: min((p for p in pairwise(ids) if p in table), key=lambda p: table[p]))
    result: list[int] = []
    for piece in cut(text):
        ids, n = to_ids(piece), 0
        while any(pair in table for pair in pairwise(ids)) and n != rounds:
            pair = choose(ids, table)
            ids = merge(ids, pair, table[pair])
            n += 1
        result += ids
    return result


@lab.mutant("encode", "the text is read from the left, and at each place the longest token of the vocabulary is taken")
def longest_match(text: str, merges: list[Pair]) -> list[int]:
    vocab = [bytes([b]) for b in range(256)]
    for left, right in merges:
        vocab.append(vocab[left] + vocab[right])
    ids: list[int] = []
    for piece in reference.pretokenize(text):
        data = piece.encode()
        while data:
            ids.append(max((i for i, token in enumerate(vocab) if data.startswith(token)), key=lambda i: len(vocab[i])))
            data = data[len(vocab[ids[-1]]) :]
    return ids


@lab.mutant("encode", "the leftmost pair that can be merged is merged first, and not the one that was learned first")
def leftmost_first(text: str, merges: list[Pair]) -> list[int]:
    def choose(ids: list[int], table: dict[Pair, int]) -> Pair:
        return next(pair for pair in pairwise(ids) if pair in table)

    return encode_with(text, merges, choose=choose, merge=only_first)


@lab.mutant("encode", "the pair that was learned last is merged first")
def last_learned_first(text: str, merges: list[Pair]) -> list[int]:
    def choose(ids: list[int], table: dict[Pair, int]) -> Pair:
        return max((pair for pair in pairwise(ids) if pair in table), key=lambda pair: table[pair])

    return encode_with(text, merges, choose=choose)


@lab.mutant("encode", "the pair with the smallest ids is merged first, and not the one that was learned first")
def smallest_ids_first(text: str, merges: list[Pair]) -> list[int]:
    def choose(ids: list[int], table: dict[Pair, int]) -> Pair:
        return min(pair for pair in pairwise(ids) if pair in table)

    return encode_with(text, merges, choose=choose)


@lab.mutant("encode", "the most frequent pair of the piece is merged first, as in training")
def most_frequent_first(text: str, merges: list[Pair]) -> list[int]:
    def choose(ids: list[int], table: dict[Pair, int]) -> Pair:
        counts = Counter(pair for pair in pairwise(ids) if pair in table)
        return min(counts, key=lambda pair: (-counts[pair], table[pair]))

    return encode_with(text, merges, choose=choose)


@lab.mutant("encode", "pairs are merged from the right, so that aaa becomes a and aa")
def merges_from_the_right(text: str, merges: list[Pair]) -> list[int]:
    return encode_with(text, merges, merge=from_the_right)


@lab.mutant("encode", "each merge is applied once, to its first occurrence in a piece")
def each_merge_once(text: str, merges: list[Pair]) -> list[int]:
    ids = [list(piece.encode()) for piece in reference.pretokenize(text)]
    for k, pair in enumerate(merges):
        ids = [only_first(row, pair, 256 + k) for row in ids]
    return [token for row in ids for token in row]


@lab.mutant("encode", "a piece is merged once, and what has been merged is not looked at again")
def one_round(text: str, merges: list[Pair]) -> list[int]:
    return encode_with(text, merges, rounds=1)


@lab.mutant("encode", "one pass from the left replaces pairs of bytes; merged tokens are never merged again")
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


@lab.mutant("encode", "one pass from the left merges what it can, and never goes back to look for an earlier merge")
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


@lab.mutant("encode", "merges cross the borders of pieces: the text is not cut", section="No pre-tokenization")
def encode_uncut(text: str, merges: list[Pair]) -> list[int]:
    return encode_with(text, merges, cut=lambda text: [text])


@lab.mutant("encode", "the text is cut with split(), so that spaces get lost")
def encode_split(text: str, merges: list[Pair]) -> list[int]:
    return encode_with(text, merges, cut=str.split)


@lab.mutant(
    "encode", "ids begin as code points (ord) and not as bytes of UTF-8", section="Bytes: 256, and nothing is missing"
)
def from_code_points(text: str, merges: list[Pair]) -> list[int]:
    return encode_with(text, merges, to_ids=lambda piece: list(map(ord, piece)))


@lab.mutant("encode", "each piece gives a list of its own (append in place of extend)")
def nested(text: str, merges: list[Pair]) -> list[list[int]]:
    return [reference.encode(piece, merges) for piece in reference.pretokenize(text)]


@lab.mutant("encode", "the ids of merges are one too large: merge k, counted from 0, makes 256 + k")
def ids_one_too_large(text: str, merges: list[Pair]) -> list[int]:
    return [token + (token >= 256) for token in reference.encode(text, merges)]


@lab.mutant("encode", "a merged token gets the rank of its merge as id, without the 256 bytes before it")
def rank_as_id(text: str, merges: list[Pair]) -> list[int]:
    return [token - 256 if token >= 256 else token for token in reference.encode(text, merges)]


# ---- decode ----


def vocab_of(merges: list[Pair], *, swapped: bool = False) -> list[bytes]:
    """The bytes of each id; with `swapped`, the right part first."""
    vocab = [bytes([b]) for b in range(256)]
    for left, right in merges:
        vocab.append(vocab[right] + vocab[left] if swapped else vocab[left] + vocab[right])
    return vocab


def checked(ids: list[int], merges: list[Pair]) -> list[int]:
    """The ids, none of which is outside the vocabulary."""
    for token in ids:
        if not 0 <= token < 256 + len(merges):
            raise ValueError(f"id {token} is out of range")
    return ids


@lab.mutant(
    "decode", "each token is decoded by itself: halves of characters become U+FFFD", section="Writing half a character"
)
def token_by_token(ids: list[int], merges: list[Pair]) -> str:
    vocab = vocab_of(merges)
    return "".join(vocab[token].decode("utf-8", "replace") for token in checked(ids, merges))


@lab.mutant("decode", "broken characters raise an error (errors='strict') instead of becoming U+FFFD")
def strict(ids: list[int], merges: list[Pair]) -> str:
    vocab = vocab_of(merges)
    return b"".join(vocab[token] for token in checked(ids, merges)).decode("utf-8")


@lab.mutant("decode", "broken characters are left out (errors='ignore') instead of becoming U+FFFD")
def ignore(ids: list[int], merges: list[Pair]) -> str:
    vocab = vocab_of(merges)
    return b"".join(vocab[token] for token in checked(ids, merges)).decode("utf-8", "ignore")


@lab.mutant(
    "decode", "each byte is taken for a character (chr, or Latin-1)", section="Bytes: 256, and nothing is missing"
)
def latin1(ids: list[int], merges: list[Pair]) -> str:
    vocab = vocab_of(merges)
    return b"".join(vocab[token] for token in checked(ids, merges)).decode("latin-1")


@lab.mutant("decode", "the parts of a merged token stand in the wrong order: right before left", section="By hand")
def parts_swapped(ids: list[int], merges: list[Pair]) -> str:
    vocab = vocab_of(merges, swapped=True)
    return b"".join(vocab[token] for token in checked(ids, merges)).decode("utf-8", "replace")


@lab.mutant("decode", "a negative id is taken from the end of the list", section="By hand")
def negative_ids(ids: list[int], merges: list[Pair]) -> str:
    checked([token for token in ids if token >= 0], merges)
    vocab = vocab_of(merges)
    return b"".join(vocab[token] for token in ids).decode("utf-8", "replace")


@lab.mutant("decode", "ids outside the vocabulary are passed over, as if nothing were wrong", section="By hand")
def unknown_left_out(ids: list[int], merges: list[Pair]) -> str:
    return reference.decode([token for token in ids if 0 <= token < 256 + len(merges)], merges)


@lab.mutant(
    "decode", "an id outside the vocabulary is looked up in a dictionary without a check: KeyError", section="By hand"
)
def key_error(ids: list[int], merges: list[Pair]) -> str:
    vocab = dict(enumerate(vocab_of(merges)))
    return b"".join(vocab[token] for token in ids).decode("utf-8", "replace")


@lab.mutant(
    "decode", "ids are looked up in a list without a check: IndexError, and negative ids pass", section="By hand"
)
def index_error(ids: list[int], merges: list[Pair]) -> str:
    vocab = vocab_of(merges)
    return b"".join(vocab[token] for token in ids).decode("utf-8", "replace")


@lab.mutant("decode", "merge k, counted from 0, is taken for the id 257 + k", section="By hand")
def shifted(ids: list[int], merges: list[Pair]) -> str:
    vocab = [*vocab_of([]), b"", *vocab_of(merges)[256:]]
    return b"".join(vocab[token] for token in checked(ids, merges)).decode("utf-8", "replace")


@lab.mutant("decode", "the limit is off by one: the last id of the vocabulary is refused", section="By hand")
def last_id_refused(ids: list[int], merges: list[Pair]) -> str:
    if any(token == 255 + len(merges) for token in ids) and merges:
        raise ValueError("out of range")
    return reference.decode(ids, merges)


@lab.mutant("decode", "ids from 256 on are not looked up among the merges: bytes() refuses them", section="By hand")
def not_looked_up(ids: list[int], merges: list[Pair]) -> str:
    return bytes(ids).decode("utf-8", "replace")


@lab.mutant("decode", "the parts of a merged token are taken for bytes; they may be merged tokens", section="By hand")
def taken_apart_once(ids: list[int], merges: list[Pair]) -> str:
    parts = ((token,) if token < 256 else merges[token - 256] for token in checked(ids, merges))
    return b"".join(map(bytes, parts)).decode("utf-8", "replace")


@lab.mutant("decode", "spaces are put between tokens", section="By hand")
def with_spaces(ids: list[int], merges: list[Pair]) -> str:
    vocab = vocab_of(merges)
    return b" ".join(vocab[token] for token in checked(ids, merges)).decode("utf-8", "replace")


# ---- decode_stream ----


@lab.mutant("decode_stream", "each token is decoded by itself: halves of characters become U+FFFD")
def stream_token_by_token(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    for token in ids:
        yield vocab[token].decode("utf-8", "replace")


@lab.mutant("decode_stream", "everything is collected, and the whole text comes at the end")
def collected(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    text = b"".join(vocab[token] for token in ids).decode("utf-8", "replace")
    if text:
        yield text


@lab.mutant("decode_stream", "all ids are taken first (a list of them is made), and then the text comes in parts")
def all_taken_first(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    yield from reference.decode_stream(list(ids), vocab)


@lab.mutant("decode_stream", "a list of texts is returned: nothing can be shown before the last id has come")
def a_list(ids: Iterable[int], vocab: list[bytes]) -> list[str]:
    return list(reference.decode_stream(ids, vocab))


@lab.mutant("decode_stream", "the text is one id late: the next id is taken before it comes out")
def one_late(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    waiting = ""
    stream = reference.Utf8Stream()
    for token in ids:
        if waiting:
            yield waiting
        waiting = stream.push(vocab[token])
    if waiting := waiting + stream.flush():
        yield waiting


@lab.mutant("decode_stream", "the decoder is not told that the stream has ended: half a character there is dropped")
def never_final(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    stream = reference.Utf8Stream()
    for token in ids:
        yield stream.push(vocab[token])


@lab.mutant("decode_stream", "half a character that is left in the buffer at the end is dropped, and no U+FFFD comes")
def end_dropped(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    stream = reference.Utf8Stream()
    for token in ids:
        if text := stream.push(vocab[token]):
            yield text


@lab.mutant("decode_stream", "the decoder is strict: what is no character raises UnicodeDecodeError")
def strict_decoder(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    for token in ids:
        if text := decoder.decode(vocab[token]):
            yield text
    decoder.decode(b"", final=True)


@lab.mutant("decode_stream", "all that is collected waits while its text ends with U+FFFD, complete characters as well")
def waits_at_replacement(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    pending = b""
    for token in ids:
        pending += vocab[token]
        text = pending.decode("utf-8", "replace")
        if not text.endswith("\ufffd"):
            yield text
            pending = b""
    if pending:
        yield pending.decode("utf-8", "replace")


@lab.mutant("decode_stream", "each byte of half a character at the end becomes a U+FFFD of its own")
def end_byte_by_byte(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    data = b""
    stream = reference.Utf8Stream()
    for token in ids:
        data += vocab[token]
        if text := stream.push(vocab[token]):
            yield text
    if stream.flush():
        yield "\ufffd" * (len(data) - len(data.decode("utf-8", "ignore").encode()))


def until_valid(ids: Iterable[int], vocab: list[bytes], *, dropped: bool = False) -> Iterator[str]:
    """Collect bytes until all of them together are valid, or drop what is not."""
    pending = b""
    for token in ids:
        pending += vocab[token]
        try:
            yield pending.decode("utf-8")
        except UnicodeDecodeError:
            pending = b"" if dropped else pending
            continue
        pending = b""
    if pending:
        yield pending.decode("utf-8", "replace")


@lab.mutant(
    "decode_stream", "complete characters wait with the half one behind them, until all collected bytes are valid"
)
def waits_for_all(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    yield from until_valid(ids, vocab)


@lab.mutant("decode_stream", "a token that is no valid text by itself is dropped")
def halves_dropped(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    yield from until_valid(ids, vocab, dropped=True)


@lab.mutant("decode_stream", "bytes that can never become a character hold up everything behind them")
def blocked(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    pending = b""
    for token in ids:
        pending += vocab[token]
        try:
            text = pending.decode("utf-8")
        except UnicodeDecodeError as error:
            text = pending[: error.start].decode("utf-8")
        if text:
            yield text
        pending = pending[len(text.encode()) :]
    if pending:
        yield pending.decode("utf-8", "replace")


@lab.mutant("decode_stream", "the text repeats: what has been yielded stays in the buffer")
def repeated(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    data = b""
    for token in ids:
        data += vocab[token]
        if text := data.decode("utf-8", "ignore"):
            yield text


@lab.mutant("decode_stream", "bytes that are no character are left out (errors='ignore') instead of becoming U+FFFD")
def stream_ignores(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    stream = reference.Utf8Stream()
    for token in ids:
        if text := stream.push(vocab[token]).replace("\ufffd", ""):
            yield text


# ---- encode_special ----

Special = dict[str, int]


def special_with(
    text: str, merges: list[Pair], special: Special, allowed: Collection[str], pattern: str, **changes: Any
) -> list[int]:
    """Split with a regular expression and encode the parts; the parts between may be changed first."""
    if unknown := set(allowed) - set(special):
        raise ValueError(f"unknown special token {min(unknown)!r}")
    between = changes.get("between", lambda part: part)
    ids: list[int] = []
    for part in re.split(f"({pattern})", text) if pattern else [text]:
        ids += [special[part]] if part in allowed else reference.encode(between(part), merges)
    return ids


def alternatives(tokens: Iterable[str]) -> str:
    """A regular expression for any of them, the longest first."""
    return "|".join(map(re.escape, sorted(tokens, key=len, reverse=True)))


@lab.mutant("encode_special", "the text is not split at special tokens, allowed or not")
def never_split(text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()) -> list[int]:
    return special_with(text, merges, special, allowed, "")


@lab.mutant("encode_special", "nothing allowed is taken for everything allowed")
def none_means_all(text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()) -> list[int]:
    return reference.encode_special(text, merges, special, allowed or special)


@lab.mutant("encode_special", "a part between two special tokens is looked up among all of them, allowed or not")
def parts_looked_up(text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()) -> list[int]:
    refused(special, allowed)
    parts = re.split(f"({alternatives(allowed)})", text) if allowed else []
    ids = [[special[part]] if part in special else reference.encode(part, merges) for part in parts]
    return [token for row in ids for token in row] if allowed else reference.encode(text, merges)


@lab.mutant("encode_special", "special tokens are recognised although they are not allowed")
def always_split(text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()) -> list[int]:
    return special_with(text, merges, special, special, alternatives(special)) + refused(special, allowed)


def refused(special: Special, allowed: Collection[str]) -> list[int]:
    """Nothing, or the error for a token that is not known."""
    if not set(allowed) <= set(special):
        raise ValueError("unknown special token")
    return []


@lab.mutant("encode_special", "where two special tokens begin at the same place the shorter one is taken")
def shortest_first(text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()) -> list[int]:
    return special_with(text, merges, special, allowed, "|".join(map(re.escape, sorted(allowed, key=len))))


@lab.mutant(
    "encode_special", "the text is split at the longest special token first, even where another begins before it"
)
def longest_anywhere(text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()) -> list[int]:
    parts: list[str | int] = [text]
    for token in sorted(allowed, key=len, reverse=True):
        refused(special, [token])
        split: list[str | int] = []
        for part in parts:
            if isinstance(part, int):
                split.append(part)
                continue
            first, *others = part.split(token)
            split.append(first)
            for other in others:
                split += (special[token], other)
        parts = split
    return [i for part in parts for i in ([part] if isinstance(part, int) else reference.encode(part, merges))]


@lab.mutant("encode_special", "the bars in a special token are read as a regular expression (re.escape is missing)")
def unescaped(text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()) -> list[int]:
    pattern = "|".join(sorted(allowed, key=len, reverse=True))
    if not pattern:
        return reference.encode(text, merges) + refused(special, allowed)
    return special_with(text, merges, special, allowed, pattern)


@lab.mutant("encode_special", "special tokens split the text and are then left out")
def left_out(text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()) -> list[int]:
    ids = reference.encode_special(text, merges, special, allowed)
    return [token for token in ids if token not in {special[name] for name in allowed}]


@lab.mutant("encode_special", "white space around special tokens gets lost (strip)")
def stripped(text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()) -> list[int]:
    return special_with(text, merges, special, allowed, alternatives(allowed), between=str.strip)


@lab.mutant("encode_special", "only the first special token in the text is recognised")
def first_only(text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()) -> list[int]:
    refused(special, allowed)
    found = re.search(alternatives(allowed), text) if allowed else None
    if not found:
        return reference.encode(text, merges)
    before, after = text[: found.start()], text[found.end() :]
    return [*reference.encode(before, merges), special[found[0]], *reference.encode(after, merges)]


@lab.mutant("encode_special", "the text behind the last special token gets lost")
def end_lost(text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()) -> list[int]:
    refused(special, allowed)
    ids: list[int] = []
    start = 0
    for found in re.finditer(alternatives(allowed), text) if allowed else ():
        ids += [*reference.encode(text[start : found.start()], merges), special[found[0]]]
        start = found.end()
    return ids if ids else reference.encode(text, merges)


@lab.mutant("encode_special", "a special token that is not allowed is refused with an error; it is ordinary text")
def refuses_text(text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()) -> list[int]:
    if any(token in text for token in special if token not in allowed):
        raise ValueError("the text holds a special token that is not allowed")
    return reference.encode_special(text, merges, special, allowed)


@lab.mutant("encode_special", "the text is cut also at special tokens that are not allowed, and merges stop there")
def cut_anyway(text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()) -> list[int]:
    return special_with(text, merges, special, allowed, alternatives(special))


@lab.mutant("encode_special", "special tokens that are not allowed are left out of the text")
def removed(text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()) -> list[int]:
    for token in special:
        if token not in allowed:
            text = text.replace(token, "")
    return reference.encode_special(text, merges, special, allowed)


@lab.mutant("encode_special", "ids of special tokens are counted on behind the merges, and not looked up")
def counted_on(text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()) -> list[int]:
    own = {token: 256 + len(merges) + k for k, token in enumerate(special)}
    return reference.encode_special(text, merges, own, allowed)


@lab.mutant("encode_special", "an allowed token that does not exist is passed over without an error")
def unknown_allowed(text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()) -> list[int]:
    return reference.encode_special(text, merges, special, [token for token in allowed if token in special])
