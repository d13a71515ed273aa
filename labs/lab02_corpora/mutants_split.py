"""Mistakes that people make in the split of lab 02."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable

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


def words(text: str) -> list[str]:
    """The words of a text in the key's alphabet."""
    return "".join(c for c in text.casefold() if c.isalnum() or c.isspace()).split()


def blake(data: bytes, salt: bytes = b"") -> bytes:
    """BLAKE2b with a digest of 8 bytes."""
    return hashlib.blake2b(data, digest_size=8, salt=salt).digest()


def sha256(data: bytes) -> bytes:
    """The digest of SHA-256."""
    return hashlib.sha256(data).digest()


def hashed(key: str, seed: int) -> float:
    """The u of the recipe."""
    return reference.uniform(key, seed)


@lab.mutant(
    "split",
    "each document is assigned at random, so that its copies fall on both sides",
)
def at_random(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    checked(shares)
    rng = random.Random(seed)
    return [part_of(rng.random(), shares) for _ in documents]


@lab.mutant(
    "split", "each document is assigned at random, by a generator that has no seed"
)
def at_random_unseeded(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    checked(shares)
    return [part_of(random.random(), shares) for _ in documents]


@lab.mutant(
    "split", "the place of the document in the list is hashed instead of its text"
)
def by_index(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    checked(shares)
    return [part_of(hashed(str(i), seed), shares) for i in range(len(documents))]


@lab.mutant(
    "split", "Python's own hash() is used, which is another one in every process"
)
def by_python_hash(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    checked(shares)
    return [
        part_of(hash((seed, reference.key_of(text))) % 2**32 / 2**32, shares)
        for text in documents
    ]


@lab.mutant(
    "split", "the text itself is hashed, so that copies with other case or spacing leak"
)
def by_text(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    checked(shares)
    return [part_of(hashed(text, seed), shares) for text in documents]


@lab.mutant(
    "split",
    "case and outer white space are evened out, but punctuation and inner white space "
    "are not",
)
def lower_and_strip(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    checked(shares)
    return [
        part_of(hashed(text.strip().casefold(), seed), shares) for text in documents
    ]


@lab.mutant(
    "split",
    "only a to z and 0 to 9 are kept, so that every Chinese text has the same, empty "
    "key",
)
def ascii_only(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    checked(shares)
    keys = [
        "".join(c for c in text.casefold() if c.isascii() and c.isalnum())
        for text in documents
    ]
    return [part_of(hashed(key, seed), shares) for key in keys]


@lab.mutant("split", "`lower` is used in place of `casefold`, and ß is not ss")
def lower_only(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    checked(shares)
    keys = ["".join(c for c in text.lower() if c.isalnum()) for text in documents]
    return [part_of(hashed(key, seed), shares) for key in keys]


def by_key(says: str, key: Callable[[str], str]) -> None:
    """A variant that hashes another key."""

    def split(
        documents: list[str], shares: dict[str, float], seed: int = 0
    ) -> list[str]:
        checked(shares)
        return [part_of(hashed(key(text), seed), shares) for text in documents]

    split.__name__ = f"split_by_key_{len(lab.mutants)}"
    lab.mutant("split", says)(split)


def by_digest(says: str, digest: Callable[[bytes, str], bytes]) -> None:
    """A variant with another digest of the right key, given the seed as a string."""

    def split(
        documents: list[str], shares: dict[str, float], seed: int = 0
    ) -> list[str]:
        checked(shares)
        digests = [
            digest(reference.key_of(text).encode(), str(seed)) for text in documents
        ]
        return [
            part_of(int.from_bytes(digest[:8], "big") / 2.0**64, shares)
            for digest in digests
        ]

    split.__name__ = f"split_by_digest_{len(lab.mutants)}"
    lab.mutant("split", says)(split)


def salt_of(seed: str) -> bytes:
    """The salt of the recipe."""
    return hashlib.blake2b(seed.encode(), digest_size=16).digest()


by_key(
    "case is not evened out: `casefold` is missing",
    lambda text: "".join(filter(str.isalnum, text)),
)
by_key(
    "white space is kept in the key",
    lambda text: "".join(c for c in text.casefold() if c.isalnum() or c.isspace()),
)
by_key(
    "white space is evened out to one blank instead of left out",
    lambda text: " ".join(words(text)),
)
by_key(
    "only white space is left out, and punctuation stays in the key",
    lambda text: "".join(text.casefold().split()),
)
by_key(
    r"the underscore stays in the key: \W does not match it",
    lambda text: re.sub(r"\W", "", text.casefold()),
)
by_key(
    "digits are left out of the key, too",
    lambda text: "".join(filter(str.isalpha, text.casefold())),
)
by_digest(
    "the hash has no salt, so that every seed gives the same split",
    lambda key, seed: blake(key),
)
by_digest(
    "the salt is str(seed) itself instead of its BLAKE2b",
    lambda key, seed: blake(key, seed.encode()),
)
by_digest(
    "SHA-256 of the key is taken, without a salt, instead of BLAKE2b",
    lambda key, seed: sha256(key),
)
by_digest(
    "SHA-256 of seed and key is taken instead of BLAKE2b",
    lambda key, seed: sha256(seed.encode() + key),
)
by_digest(
    "SHA-256 of salt and key is taken instead of BLAKE2b",
    lambda key, seed: sha256(salt_of(seed) + key),
)
by_digest(
    "the MD5 of the key is taken, without a salt, instead of BLAKE2b",
    lambda key, seed: hashlib.md5(key).digest(),
)
by_digest(
    "the salt is in front of the key instead of in the argument salt=",
    lambda key, seed: blake(salt_of(seed) + key),
)


@lab.mutant("split", "the digest has 4 bytes instead of 8, which is another hash")
def short_digest(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    checked(shares)
    keys = [reference.key_of(text).encode() for text in documents]
    digests = [
        hashlib.blake2b(key, digest_size=4, salt=salt_of(str(seed))).digest()
        for key in keys
    ]
    return [
        part_of(int.from_bytes(digest, "big") / 2.0**32, shares) for digest in digests
    ]


@lab.mutant(
    "split", "each different text is assigned once: the result leaves out the copies"
)
def copies_left_out(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    return reference.split(
        list(dict.fromkeys(map(reference.key_of, documents))), shares, seed
    )


@lab.mutant("split", "the seed is ignored")
def seed_ignored(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    return reference.split(documents, shares)


@lab.mutant(
    "split",
    "the seed is joined to the text instead of salting the hash: another split than "
    "everybody's",
)
def seed_in_the_text(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    checked(shares)
    keys = [f"{seed}{reference.key_of(text)}".encode() for text in documents]
    digests = [hashlib.blake2b(key, digest_size=8).digest() for key in keys]
    return [
        part_of(int.from_bytes(digest, "big") / 2.0**64, shares) for digest in digests
    ]


@lab.mutant(
    "split",
    "a digest of 64 bytes is cut to 8, which is another hash than BLAKE2b of 8 bytes",
)
def cut_digest(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    checked(shares)
    salt = hashlib.blake2b(str(seed).encode(), digest_size=16).digest()
    digests = [
        hashlib.blake2b(reference.key_of(text).encode(), salt=salt).digest()[:8]
        for text in documents
    ]
    return [
        part_of(int.from_bytes(digest, "big") / 2.0**64, shares) for digest in digests
    ]


@lab.mutant("split", "the bytes of the digest are read as a little-endian number")
def little_endian(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    checked(shares)
    salt = hashlib.blake2b(str(seed).encode(), digest_size=16).digest()
    digests = [
        hashlib.blake2b(reference.key_of(t).encode(), digest_size=8, salt=salt).digest()
        for t in documents
    ]
    return [
        part_of(int.from_bytes(digest, "little") / 2.0**64, shares)
        for digest in digests
    ]


@lab.mutant(
    "split",
    "u is compared with each share by itself, without adding up the shares before it",
)
def not_cumulated(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    checked(shares)
    last = list(shares)[-1]
    us = [hashed(reference.key_of(text), seed) for text in documents]
    return [
        next((name for name, share in shares.items() if u < share), last) for u in us
    ]


@lab.mutant(
    "split", "the parts are laid in alphabetical order instead of the order of the dict"
)
def sorted_parts(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    return reference.split(
        documents, {name: shares[name] for name in sorted(shares)}, seed
    )


@lab.mutant(
    "split",
    "the list is shuffled and cut, so that a part depends on what else is in the list",
)
def shuffled_and_cut(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    checked(shares)
    order = list(range(len(documents)))
    random.Random(seed).shuffle(order)
    return [part_of(place / len(documents), shares) for place in order]


@lab.mutant(
    "split",
    "the list is cut where the shares end: its first documents train, its last ones "
    "test",
)
def cut_in_order(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    checked(shares)
    return [part_of(i / len(documents), shares) for i in range(len(documents))]


@lab.mutant("split", "shares that do not sum to 1 are accepted")
def any_shares(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    return [part_of(hashed(reference.key_of(text), seed), shares) for text in documents]


@lab.mutant(
    "split",
    "shares have to sum to exactly 1.0, which rounding makes impossible for 0.7, 0.2 "
    "and 0.1",
)
def exact_shares(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    if sum(shares.values()) != 1:
        raise ValueError("the shares do not sum to 1")
    return reference.split(documents, shares, seed)


@lab.mutant(
    "split",
    "sums that are off by more than 1e-9 are accepted: the tolerance is too wide",
)
def loose_shares(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    if abs(sum(shares.values()) - 1) > 1e-5 or min(shares.values()) < 0:
        raise ValueError
    return any_shares(documents, shares, seed)


@lab.mutant("split", "negative shares are accepted")
def negative_shares(
    documents: list[str], shares: dict[str, float], seed: int = 0
) -> list[str]:
    if abs(sum(shares.values()) - 1) > 1e-9:
        raise ValueError
    return any_shares(documents, shares, seed)
