"""Training, validation and test text that cannot leak into each other.

A document's split is decided by a hash of its content, not by its position: the same
document is always in the same split, on every machine, whatever else is in the corpus
and in whatever order. So exact duplicates can never lie on both sides. For near
duplicates the hash is taken of a *key* that they share.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from happyllm_support.text.corpora.near_duplicates import NearDuplicateIndex

DEFAULT_FRACTIONS: Mapping[str, float] = MappingProxyType(
    {"train": 0.9, "valid": 0.05, "test": 0.05}
)


def split_of(
    document: str,
    fractions: Mapping[str, float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    *,
    key: Callable[[str], str] | None = None,
) -> str:
    """Return the split of one document.

    u = first 8 bytes of BLAKE2b(key(document), salted with seed) / 2^64 is uniform in
    [0, 1); the split is the one whose interval of the cumulated fractions holds u.

    Args:
        document: its text.
        fractions: names and shares, in this order; they sum to 1. The shares are those
            of documents, not of bytes, and hold on average.
        seed: another seed gives another, independent partition.
        key: what stands for the document, by default its text. Documents of equal key
            share a split; see `normalized` and `near_duplicate_key`.

    Raises:
        ValueError: fractions that are negative or do not sum to 1.
    """
    _check(fractions)
    text = document if key is None else key(document)
    salt = hashlib.blake2b(str(seed).encode(), digest_size=16).digest()
    u = (
        int.from_bytes(
            hashlib.blake2b(text.encode("utf-8"), digest_size=8, salt=salt).digest(),
            "big",
        )
        / 2.0**64
    )
    upper = 0.0
    name = ""
    for name, fraction in fractions.items():
        upper += fraction
        if u < upper:
            return name
    return max(
        fractions, key=lambda each: fractions[each]
    )  # u fell into the rounding error of the sum


def select(
    documents: Iterable[str],
    split: str,
    fractions: Mapping[str, float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    *,
    key: Callable[[str], str] | None = None,
) -> Iterator[str]:
    """Yield the documents of one split.

    Raises:
        ValueError: an unknown split, or fractions that do not sum to 1.
    """
    _check(fractions)
    if split not in fractions:
        raise ValueError(
            f"unknown split {split!r}; choose one of {', '.join(fractions)}"
        )
    return (
        document
        for document in documents
        if split_of(document, fractions, seed, key=key) == split
    )


def normalized(document: str) -> str:
    """Return the letters and digits of a document, case folded.

    It is a key for copies that differ in case, white space and punctuation only.
    """
    return "".join(filter(str.isalnum, document.casefold()))


def near_duplicate_key(
    threshold: float = 0.8, *, shingle: int = 5
) -> Callable[[str], str]:
    """Return a key function that gives near duplicates the key of the first of them.

    It remembers what it has seen, so call it with the documents in one fixed order,
    once per pass.

    Raises:
        ValueError: a threshold out of range, or `datasketch` is not installed.
    """
    index = NearDuplicateIndex(threshold, shingle=shingle)

    def key(document: str) -> str:
        own = hashlib.blake2b(document.encode("utf-8"), digest_size=16).hexdigest()
        return index.match(document, label=own) or own

    return key


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """How much of held-out text the training text contains already.

    Attributes:
        documents: held-out documents.
        exact: those that are training documents, word for word.
        overlapping: those that share a passage with a training document, the exact ones
            included.
    """

    documents: int
    exact: int
    overlapping: int

    @property
    def share(self) -> float:
        """Overlapping documents of all held-out documents."""
        return self.overlapping / self.documents if self.documents else 0.0


def leakage(
    train: Iterable[str], held_out: Iterable[str], *, passage: int = 50
) -> Leakage:
    """Count held-out documents that training text gives away.

    Hashes of every `passage`-th window of `passage` characters of the training text are
    kept, and all windows of the held-out text are looked up: a shared passage of 2 *
    `passage` - 1 characters is always found, one shorter than `passage` never. White
    space counts as one space. Memory: about 100 bytes per `passage` characters of
    training text.

    Raises:
        ValueError: a passage of less than 1 character.
    """
    if passage < 1:
        raise ValueError(
            f"passage {passage} is out of range; expected at least 1 character"
        )
    windows: set[int] = set()
    whole: set[int] = set()
    for document in train:
        text = " ".join(document.split())
        whole.add(hash(text))
        windows.update(
            hash(text[i : i + passage])
            for i in range(0, len(text) - passage + 1, passage)
        )
    documents = exact = overlapping = 0
    for document in held_out:
        text = " ".join(document.split())
        same = hash(text) in whole
        documents += 1
        exact += same
        overlapping += same or any(
            hash(text[i : i + passage]) in windows
            for i in range(len(text) - passage + 1)
        )
    return Leakage(documents=documents, exact=exact, overlapping=overlapping)


def _check(fractions: Mapping[str, float]) -> None:
    shown = ", ".join(f"{name} {share}" for name, share in fractions.items()) or "none"
    if any(not 0.0 <= share <= 1.0 for share in fractions.values()):
        raise ValueError(f"fractions must lie between 0 and 1; got {shown}")
    if not math.isclose(sum(fractions.values()), 1.0, abs_tol=1e-9):
        raise ValueError(
            f"fractions must sum to 1; got {shown}, which sum to "
            f"{sum(fractions.values()):.6g}"
        )
