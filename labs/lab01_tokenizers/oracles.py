"""The rules of lab 01 once more, by other means than the package's, as a second opinion."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

from . import reference


def noise(rng: random.Random, length: int, letters: str = "aab bc,") -> str:
    """Text of few letters, in which pairs repeat, overlap and tie."""
    return "".join(rng.choices(letters, k=length))


def code_points(text: str) -> list[str]:
    """The pieces of a text with a character per id, so that text methods can merge them."""
    return ["".join(map(chr, piece.encode())) for piece in reference.pretokenize(text)]


def train_on_strings(text: str, vocab_size: int, min_frequency: int) -> list[tuple[int, int]]:
    """The rule of `train` once more, by other means: pairs of characters, merged with `str.replace`."""
    pieces, merges = code_points(text), []
    for new in range(256, vocab_size):
        found = [pair for piece in pieces for pair in pairwise(piece)]
        if not found:
            break
        counts = Counter(found)
        left, right = min(counts, key=lambda p: (-counts[p], *(reference.rank(ord(c)) for c in p)))
        if counts[left, right] < min_frequency:
            break
        merges.append((ord(left), ord(right)))
        pieces = [piece.replace(left + right, chr(new)) for piece in pieces]
    return merges


def encode_on_strings(text: str, merges: list[tuple[int, int]]) -> list[int]:
    """The rule of `encode` by other means: each merge in its turn, everywhere, by `str.replace`."""
    pieces = code_points(text)
    for k, (left, right) in enumerate(merges):
        pieces = [piece.replace(chr(left) + chr(right), chr(256 + k)) for piece in pieces]
    return [ord(character) for piece in pieces for character in piece]


def spelled(merges: list[tuple[int, int]]) -> list[bytes]:
    """The bytes of each id."""
    vocab = [bytes([b]) for b in range(256)]
    for left, right in merges:
        vocab.append(vocab[left] + vocab[right])
    return vocab


def special_on_strings(
    text: str, merges: list[tuple[int, int]], special: dict[str, int], allowed: set[str]
) -> list[int]:
    """The rule of `encode_special` by other means: character by character."""
    ids: list[int] = []
    start = i = 0
    while i < len(text):
        here = [token for token in special if token in allowed and text.startswith(token, i)]
        if here:
            token = max(here, key=len)
            ids += [*encode_on_strings(text[start:i], merges), special[token]]
            start = i = i + len(token)
        else:
            i += 1
    return ids + encode_on_strings(text[start:], merges)
