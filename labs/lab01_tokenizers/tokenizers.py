"""Lab 01: a byte-level BPE tokenizer, from counting pairs to text that appears token by
token.

Write the functions below, in this order; `make labs LAB=01` tells how far you are.
README.md explains each of them. None of them may change the lists and dictionaries that
it is given.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from happyllm_support.grading import NotYet

Pair = tuple[int, int]

# ---- given: use these two, and leave them as they are ----

PATTERN = r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s"
_PRINTABLE = [b for b in range(256) if chr(b).isprintable() and b != ord(" ")]
_RANK = {
    byte: rank
    for rank, byte in enumerate(
        _PRINTABLE + [b for b in range(256) if b not in _PRINTABLE]
    )
}


def pretokenize(text: str) -> list[str]:
    """Cut text into pieces that no merge may cross: a word with the space before it,
    marks, or white space.

    Example: pretokenize("the cat, sat") -> ["the", " cat", ",", " sat"]. The pieces
    joined are the text.
    """
    return re.findall(PATTERN, text)


def rank(token: int) -> int:
    """Give the place of a token in the order that decides ties: the smaller one wins.

    Printable bytes come first, then the other bytes (the space among them), then merged
    tokens from the oldest on. Among pairs that occur equally often, training takes the
    one with the smallest (rank(left), rank(right)).

    Example: rank(ord("a")) < rank(ord(" ")) < rank(256) < rank(257)
    """
    return _RANK.get(token, token)


# ---- yours ----


def pair_counts(words: dict[tuple[int, ...], int]) -> dict[Pair, int]:
    """Count how often each pair of neighbours occurs.

    Every place counts, also where two places overlap: in (1, 1, 1) the pair (1, 1)
    stands twice. No pair reaches from one word into the next.

    Example: pair_counts({(1, 2, 3): 10, (1, 2): 3}) -> {(1, 2): 13, (2, 3): 10}

    Args:
        words: the ids of each different word -> how often the word occurs.

    Returns:
        Pair -> number of occurrences, for the pairs that occur and no others.
    """
    raise NotYet


def merge(ids: list[int], pair: Pair, new: int) -> list[int]:
    """Replace each occurrence of a pair by one new id, from the left to the right.

    What has been replaced is used up: in [1, 1, 1] the pair (1, 1) is replaced once,
    and the last 1 stays.

    Example: merge([1, 2, 3, 1, 2], (1, 2), 4) -> [4, 3, 4]; merge([1, 1, 1], (1, 1), 2)
    -> [2, 1]

    Args:
        ids: ids of a word; left as they are.
        pair: the two neighbours, in this order.
        new: the id that takes their place.

    Returns:
        A new list.
    """
    raise NotYet


def train(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    """Learn the merges of a text.

    Cut the text with `pretokenize` and begin with the bytes of each piece in UTF-8:
    byte b is id b. Then again and again: count all pairs, take the most frequent one (a
    tie goes to the smallest (rank(left), rank(right))), and merge it everywhere. The
    k-th merge, counted from 0, makes the id 256 + k. Stop when the vocabulary is full,
    or when no pair occurs at least `min_frequency` times.

    Example: train("aab aab ab", 258) -> [(97, 98), (97, 256)]: "ab" occurs three times,
    then "a" before "ab" twice.

    Args:
        text: any text, also an empty one.
        vocab_size: number of ids, the 256 bytes included; so at most vocab_size - 256
            merges are learned.
        min_frequency: the least number of times that a pair has to occur to be merged.

    Returns:
        The pairs as tuples of two ids, in the order in which they were learned.

    Raises:
        ValueError: `vocab_size` is smaller than 256.
    """
    raise NotYet


def encode(text: str, merges: list[Pair]) -> list[int]:
    """Turn text into ids.

    Cut the text with `pretokenize` and begin with the bytes of each piece. As long as a
    pair of neighbours is among the merges, merge the pair that was *learned first*, its
    occurrences from the left to the right.

    Example: encode("abc", [(98, 99), (97, 98)]) -> [97, 256]: "bc" was learned before
    "ab", so "b" is used up.

    Args:
        text: any text, also an empty one.
        merges: what `train` returned; merge k makes the id 256 + k.

    Returns:
        The ids of all pieces, one after the other.
    """
    raise NotYet


def decode(ids: list[int], merges: list[Pair]) -> str:
    """Turn ids into text.

    The bytes of id b < 256 are the byte b; those of id 256 + k are the bytes of the
    left token of merge k and then those of the right one. Ids may break a character in
    two, so bytes that are no UTF-8 become U+FFFD, as in
    `bytes.decode("utf-8", errors="replace")` for all the bytes together.

    Example: decode([97, 257], [(97, 98), (256, 99)]) -> "aabc";
    decode([0xE8, 0xAF, 0xAD], []) -> "语"

    Args:
        ids: any ids of the vocabulary, not only such as `encode` returns.
        merges: what `train` returned.

    Returns:
        The text.

    Raises:
        ValueError: an id is negative, or not smaller than 256 + len(merges).
    """
    raise NotYet


def decode_stream(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    """Turn ids into text while they arrive (a generator).

    Yield each character as soon as its last byte is there, before the next id is taken.
    Half a character is never yielded: its bytes wait for the rest, and only they wait.
    If the stream ends with half a character, a single U+FFFD comes last. Everything
    that is yielded, joined, is `bytes.decode("utf-8", errors="replace")` of all the
    bytes together; so bytes that can never become a character become U+FFFD, and must
    not hold up what follows them.

    Example: with the tokens b"a\\xe8", b"\\xaf", b"\\xad", b"\\xf0\\x9f" it yields "a",
    then "语" when the third one has been taken, then, at the end, "\\ufffd".

    Args:
        ids: an iterator; take its values one at a time.
        vocab: the bytes of each id; a token may be half a character, or a whole
            sentence and a half character.

    Yields:
        Text, one or more characters at a time.
    """
    raise NotYet


def encode_special(
    text: str,
    merges: list[Pair],
    special: dict[str, int],
    allowed: Collection[str] = (),
) -> list[int]:
    """Turn text into ids, with special tokens where they are allowed.

    An allowed special token in the text becomes its id, and the text between is encoded
    by `encode`, each part for itself. The text is read from the left; where two special
    tokens begin at the same place the longer one counts. A special token that is not
    allowed is text like any other: it is neither recognised, nor refused, nor left out.

    Example: encode_special("a<|end|>", [], {"<|end|>": 300}, {"<|end|>"}) -> [97, 300];
    without the last argument -> [97, 60, 124, 101, 110, 100, 124, 62]

    Args:
        text: any text.
        merges: what `train` returned.
        special: special token -> id, any ids.
        allowed: those of them that are recognised.

    Returns:
        The ids.

    Raises:
        ValueError: `allowed` holds something that is not in `special`.
    """
    raise NotYet
