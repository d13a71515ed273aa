"""Mistakes that people make in the split of lab 02."""

from __future__ import annotations

import hashlib
import random

from . import reference
from .checks import lab


def part_of(u: float, shares: dict[str, float]) -> str:
    """The part in which u falls."""
    upper = 0.0
    for name, share in shares.items():
        upper += share
        if u < upper:
            return name
    return max(shares, key=lambda name: shares[name])


def checked(shares: dict[str, float]) -> None:
    """Refuse what the reference refuses."""
    reference.split([], shares)


def hashed(key: str, seed: int) -> float:
    """The u of the recipe."""
    return reference.uniform(key, seed)


@lab.mutant("split", "each document is assigned at random, so that its copies fall on both sides")
def at_random(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    checked(shares)
    rng = random.Random(seed)
    return [part_of(rng.random(), shares) for _ in documents]


@lab.mutant("split", "each document is assigned at random, by a generator that has no seed")
def at_random_unseeded(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    checked(shares)
    return [part_of(random.random(), shares) for _ in documents]


@lab.mutant("split", "the place of the document in the list is hashed instead of its text")
def by_index(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    checked(shares)
    return [part_of(hashed(str(i), seed), shares) for i in range(len(documents))]


@lab.mutant("split", "Python's own hash() is used, which is another one in every process")
def by_python_hash(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    checked(shares)
    return [part_of(hash((seed, reference.key_of(text))) % 2**32 / 2**32, shares) for text in documents]


@lab.mutant("split", "the text itself is hashed, so that copies with other case or spacing leak")
def by_text(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    checked(shares)
    return [part_of(hashed(text, seed), shares) for text in documents]


@lab.mutant("split", "case and outer white space are evened out, but punctuation and inner white space are not")
def lower_and_strip(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    checked(shares)
    return [part_of(hashed(text.strip().casefold(), seed), shares) for text in documents]


@lab.mutant("split", "only a to z and 0 to 9 are kept, so that every Chinese text has the same, empty key")
def ascii_only(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    checked(shares)
    keys = ["".join(c for c in text.casefold() if c.isascii() and c.isalnum()) for text in documents]
    return [part_of(hashed(key, seed), shares) for key in keys]


@lab.mutant("split", "`lower` is used in place of `casefold`, and ß is not ss")
def lower_only(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    checked(shares)
    keys = ["".join(c for c in text.lower() if c.isalnum()) for text in documents]
    return [part_of(hashed(key, seed), shares) for key in keys]


@lab.mutant("split", "the seed is ignored")
def seed_ignored(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    return reference.split(documents, shares)


@lab.mutant("split", "the seed is joined to the text instead of salting the hash: another split than everybody's")
def seed_in_the_text(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    checked(shares)
    keys = [f"{seed}{reference.key_of(text)}".encode() for text in documents]
    digests = [hashlib.blake2b(key, digest_size=8).digest() for key in keys]
    return [part_of(int.from_bytes(digest, "big") / 2.0**64, shares) for digest in digests]


@lab.mutant("split", "a digest of 64 bytes is cut to 8, which is another hash than BLAKE2b of 8 bytes")
def cut_digest(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    checked(shares)
    salt = hashlib.blake2b(str(seed).encode(), digest_size=16).digest()
    digests = [hashlib.blake2b(reference.key_of(text).encode(), salt=salt).digest()[:8] for text in documents]
    return [part_of(int.from_bytes(digest, "big") / 2.0**64, shares) for digest in digests]


@lab.mutant("split", "the bytes of the digest are read as a little-endian number")
def little_endian(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    checked(shares)
    salt = hashlib.blake2b(str(seed).encode(), digest_size=16).digest()
    digests = [hashlib.blake2b(reference.key_of(t).encode(), digest_size=8, salt=salt).digest() for t in documents]
    return [part_of(int.from_bytes(digest, "little") / 2.0**64, shares) for digest in digests]


@lab.mutant("split", "u is compared with each share by itself, without adding up the shares before it")
def not_cumulated(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    checked(shares)
    last = list(shares)[-1]
    us = [hashed(reference.key_of(text), seed) for text in documents]
    return [next((name for name, share in shares.items() if u < share), last) for u in us]


@lab.mutant("split", "the parts are laid in alphabetical order instead of the order of the dict")
def sorted_parts(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    return reference.split(documents, {name: shares[name] for name in sorted(shares)}, seed)


@lab.mutant("split", "the list is shuffled and cut, so that a part depends on what else is in the list")
def shuffled_and_cut(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    checked(shares)
    order = list(range(len(documents)))
    random.Random(seed).shuffle(order)
    return [part_of(place / len(documents), shares) for place in order]


@lab.mutant("split", "the list is cut where the shares end: its first documents train, its last ones test")
def cut_in_order(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    checked(shares)
    return [part_of(i / len(documents), shares) for i in range(len(documents))]


@lab.mutant("split", "shares that do not sum to 1 are accepted")
def any_shares(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    return [part_of(hashed(reference.key_of(text), seed), shares) for text in documents]
