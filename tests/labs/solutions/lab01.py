"""Right answers to lab 01, written otherwise than the package: text methods, recursion,
a buffer by hand.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from functools import reduce

from happyllm_support.grading import NotYet  # noqa: F401

Pair = tuple[int, int]

PATTERN = r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s"
_PRINTABLE = [b for b in range(256) if chr(b).isprintable() and b != ord(" ")]
_RANK = {
    byte: rank
    for rank, byte in enumerate(
        _PRINTABLE + [b for b in range(256) if b not in _PRINTABLE]
    )
}


def pretokenize(text: str) -> list[str]:
    """Cut text into pieces."""
    return re.findall(PATTERN, text)


def rank(token: int) -> int:
    """Give the place of a token in the order that decides ties."""
    return _RANK.get(token, token)


def pair_counts(words: dict[tuple[int, ...], int]) -> dict[Pair, int]:
    """Count by index."""
    counts: defaultdict[Pair, int] = defaultdict(int)
    for ids, n in words.items():
        for i in range(1, len(ids)):
            counts[ids[i - 1], ids[i]] += n
    return counts


def merge(ids: list[int], pair: Pair, new: int) -> list[int]:
    """Push the ids on a stack whose top two become one."""
    stack: list[int] = []
    fresh = False  # whether the top may be the left part of a pair
    for token in ids:
        if fresh and (stack[-1], token) == pair:
            stack[-1] = new
            fresh = False
        else:
            stack.append(token)
            fresh = True
    return stack


def train(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    """Sort all candidates by the whole rule, and keep the pieces in a list."""
    if vocab_size < 256:
        raise ValueError(f"vocab_size {vocab_size} is smaller than 256")
    counted = Counter(pretokenize(text))
    rows, often = [list(piece.encode()) for piece in counted], list(counted.values())
    learned: list[Pair] = []
    for new in range(256, vocab_size):
        words: Counter[tuple[int, ...]] = Counter()
        for row, n in zip(rows, often, strict=True):
            words[tuple(row)] += n
        candidates = sorted(
            (-n, rank(a), rank(b), a, b) for (a, b), n in pair_counts(words).items()
        )
        if not candidates or -candidates[0][0] < min_frequency:
            return learned
        best = candidates[0][3:]
        learned.append(best)
        rows = [merge(row, best, new) for row in rows]
    return learned


def encode(text: str, merges: list[Pair]) -> list[int]:
    """Apply the merges one after the other to each piece: each is done with before the
    next one begins.
    """
    return [
        token
        for piece in pretokenize(text)
        for token in reduce(
            lambda ids, k: merge(ids, merges[k], 256 + k),
            range(len(merges)),
            list(piece.encode()),
        )
    ]


def decode(ids: list[int], merges: list[Pair]) -> str:
    """Take tokens apart, from the outside to the bytes."""

    def spell(token: int) -> bytes:
        if token < 256:
            return bytes((token,))
        left, right = merges[token - 256]
        return spell(left) + spell(right)

    wrong = [token for token in ids if token not in range(256 + len(merges))]
    if wrong:
        raise ValueError(f"there is no id {wrong[0]}")
    return b"".join(map(spell, ids)).decode(errors="replace")


def decode_stream(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    """Try to decode a buffer; the error says where it is broken, and whether more bytes
    could mend it.
    """
    buffer = b""
    for token in ids:
        buffer += vocab[token]
        while buffer:
            try:
                yield buffer.decode("utf-8")
                buffer = b""
            except UnicodeDecodeError as error:
                yield from buffer[: error.start].decode(
                    "utf-8"
                )  # character by character
                if error.reason == "unexpected end of data":
                    buffer = buffer[error.start :]
                    break
                yield "\N{REPLACEMENT CHARACTER}"
                buffer = buffer[error.end :]
    if buffer:
        yield "\N{REPLACEMENT CHARACTER}"


def encode_special(
    text: str,
    merges: list[Pair],
    special: dict[str, int],
    allowed: Collection[str] = (),
) -> list[int]:
    """Find the next special token by hand, and go on behind it."""
    for token in allowed:
        if token not in special:
            raise ValueError(f"{token!r} is no special token")
    ids: list[int] = []
    while True:
        found = [
            (text.find(token), -len(token), token) for token in allowed if token in text
        ]
        if not found:
            return ids + encode(text, merges)
        start, length, token = min(found)
        ids += [*encode(text[:start], merges), special[token]]
        text = text[start - length :]
