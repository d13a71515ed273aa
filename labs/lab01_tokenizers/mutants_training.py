"""Mistakes in training: ties, counts, ids, and where to stop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from . import reference
from .checks import lab
from .mutants_counting import (
    Words,
    from_the_right,
    only_first,
    without_frequency,
    without_overlaps,
)
from .reference import Pair

Counter_ = dict[Pair, int]


def by_rank(pairs: Counter_) -> Pair:
    """The rule for ties."""
    return min(
        pairs,
        key=lambda pair: (
            -pairs[pair],
            reference.rank(pair[0]),
            reference.rank(pair[1]),
        ),
    )


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
        words = {
            tuple(merge(list(ids), pair, first + len(merges))): n
            for ids, n in words.items()
        }
        merges.append(pair)
    return merges


@lab.mutant("train", "a tie goes to the pair that was counted first", section="Ties")
def ties_first_seen(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(
        text,
        vocab_size,
        min_frequency,
        best=lambda pairs: max(pairs, key=lambda p: pairs[p]),
    )


@lab.mutant(
    "train",
    "a tie goes to the pair with the smallest ids, without rank: the space before the "
    "letters",
    section="Ties",
)
def ties_by_id(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(
        text,
        vocab_size,
        min_frequency,
        best=lambda pairs: min(pairs, key=lambda p: (-pairs[p], p)),
    )


@lab.mutant(
    "train",
    "a tie goes to the pair that ranks last: the largest of (count, rank, rank) is "
    "taken",
    section="Ties",
)
def ties_last(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    def best(pairs: Counter_) -> Pair:
        return max(
            pairs, key=lambda p: (pairs[p], reference.rank(p[0]), reference.rank(p[1]))
        )

    return train_with(text, vocab_size, min_frequency, best=best)


@lab.mutant(
    "train",
    "a tie goes to the pair with the largest ids: max of (count, pair)",
    section="Ties",
)
def ties_largest_ids(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(
        text,
        vocab_size,
        min_frequency,
        best=lambda pairs: max(pairs, key=lambda p: (pairs[p], p)),
    )


@lab.mutant(
    "train",
    "a tie is decided by the right token of the pair before the left one",
    section="Ties",
)
def ties_right_first(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    def best(pairs: Counter_) -> Pair:
        return min(
            pairs, key=lambda p: (-pairs[p], reference.rank(p[1]), reference.rank(p[0]))
        )

    return train_with(text, vocab_size, min_frequency, best=best)


@lab.mutant(
    "train",
    "a tie goes to the newest token: merged tokens are ranked before bytes",
    section="Ties",
)
def ties_newest(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    def rank(token: int) -> int:
        return -token if token >= 256 else reference.rank(token)

    def best(pairs: Counter_) -> Pair:
        return min(pairs, key=lambda p: (-pairs[p], rank(p[0]), rank(p[1])))

    return train_with(text, vocab_size, min_frequency, best=best)


@lab.mutant(
    "train",
    "each different piece counts once, however often it stands in the text",
    section="The lab",
)
def pieces_once(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, count=without_frequency)


@lab.mutant(
    "train",
    "merges cross the borders of pieces: the text is not cut",
    section="No pre-tokenization",
)
def uncut(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, cut=lambda text: [text])


@lab.mutant(
    "train",
    "the spaces get lost: the text is not cut with pretokenize (but with split, say)",
)
def cut_by_split(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, cut=str.split)


@lab.mutant(
    "train",
    "the counts of the beginning are used for all merges, and not made anew after "
    "each of them",
)
def counted_once(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    pairs = dict(train_counts(text))
    merges: list[Pair] = []
    if vocab_size < 256:
        raise ValueError(f"vocab_size {vocab_size} is too small")
    while (
        pairs
        and len(merges) < vocab_size - 256
        and pairs[best := by_rank(pairs)] >= min_frequency
    ):
        merges.append(best)
        del pairs[best]
    return merges


def train_counts(text: str) -> Counter_:
    """The counts before the first merge."""
    return reference.pair_counts(
        {tuple(p.encode()): n for p, n in Counter(reference.pretokenize(text)).items()}
    )


@lab.mutant("train", "overlapping places in a run of equal ids count once")
def runs_counted_once(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, count=without_overlaps)


@lab.mutant("train", "a merge replaces only the first occurrence in each piece")
def merged_once(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, merge=only_first)


@lab.mutant("train", "a merge replaces from the right")
def merged_from_the_right(
    text: str, vocab_size: int, min_frequency: int = 2
) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, merge=from_the_right)


@lab.mutant("train", "vocab_size merges are learned: the 256 bytes do not count")
def bytes_do_not_count(
    text: str, vocab_size: int, min_frequency: int = 2
) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, n_merges=vocab_size)


@lab.mutant("train", "one merge too many is learned")
def one_too_many(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, n_merges=vocab_size - 255)


@lab.mutant("train", "one merge too few is learned")
def one_too_few(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, n_merges=vocab_size - 257)


@lab.mutant(
    "train",
    "the ids of merges begin at 257: the k-th merge, counted from 0, makes 257 + k",
)
def ids_from_257(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency, first=257)


@lab.mutant(
    "train",
    "pairs that occur only once are merged as well: min_frequency is not heeded",
)
def any_frequency(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, 1)


@lab.mutant(
    "train",
    "a pair has to occur more often than min_frequency; just as often is enough",
)
def more_than_minimum(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    return train_with(text, vocab_size, min_frequency + 1)


@lab.mutant(
    "train",
    "nothing ends the loop when no pair is left, and the best of none is asked for",
)
def best_of_none(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    merges = train_with(text, vocab_size, min_frequency)
    if len(merges) < vocab_size - 256 and not any(
        len(ids) > 1 for ids in _left_over(text, merges)
    ):
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
        return min(
            often, key=lambda p: (pairs[p], reference.rank(p[0]), reference.rank(p[1]))
        )

    return train_with(text, vocab_size, min_frequency, best=best)
