"""The names of the lab, by the package where it has them, else in the shortest form.

The package computes entropies of another kind of grammar, batches of prepared datasets,
and counts n-grams in the chapter only; here they have the signatures of the lab.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from happyllm_support.text.corpora import splits
from happyllm_support.text.shards import packing

Grammar = dict[str, list[tuple[float, list[str]]]]

IGNORE_INDEX = packing.IGNORE_INDEX
PADDING_SEGMENT = packing.PADDING_SEGMENT


def bits_per_byte(losses: Tensor, text: str) -> float:
    """The loss of a text in bits, per byte of UTF-8."""
    if not text:
        raise ValueError("the text is empty; bits per byte need at least one byte")
    return float(losses.double().sum()) / math.log(2) / len(text.encode())


def entropy(grammar: Grammar, start: str) -> float:
    """The entropy of derivations by the chain rule, in nats."""
    for name, rules in grammar.items():
        if not math.isclose(total := sum(p for p, _ in rules), 1.0, abs_tol=1e-9):
            raise ValueError(f"the probabilities of {name} sum to {total}; expected 1")
    known: dict[str, float] = {}

    def of(symbol: str) -> float:
        if symbol not in grammar:
            return 0.0
        if symbol not in known:
            known[symbol] = sum(
                p * (-math.log(p) + sum(map(of, body)))
                for p, body in grammar[symbol]
                if p > 0
            )
        return known[symbol]

    return of(start)


class NGram:
    """Counts with one imaginary observation, spread as the shorter context predicts."""

    def __init__(self, n: int, vocab_size: int) -> None:
        self.n, self.vocab_size = n, vocab_size
        self.counts: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(
            Counter
        )  # context -> what came after it

    def learn(self, ids: list[int]) -> None:
        """Count each token after each context that it has."""
        for i, token in enumerate(ids):
            for k in range(min(self.n, i + 1)):
                self.counts[tuple(ids[i - k : i])][token] += 1

    def probs(self, context: list[int]) -> Tensor:
        """From no context to the longest one."""
        p = torch.full((self.vocab_size,), 1 / self.vocab_size, dtype=torch.float64)
        for k in range(min(self.n, len(context) + 1)):
            seen = self.counts.get(tuple(context[len(context) - k :]), Counter())
            for token, count in seen.items():
                p[token] += count
            p = p / (seen.total() + 1)
        return p

    def surprise(self, ids: list[int]) -> Tensor:
        """Minus the logarithm of what was predicted for each token."""
        probs = [self.probs(ids[:i])[token] for i, token in enumerate(ids)]
        return (
            -torch.stack(probs).log() if probs else torch.zeros(0, dtype=torch.float64)
        )


def split(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    """The part of each document by the package's `split_of`, with `normalized` as the
    key.
    """
    if not documents:
        splits.split_of("", shares, seed)
    return [
        splits.split_of(text, shares, seed, key=splits.normalized) for text in documents
    ]


def best_fit(lengths: list[int], T: int) -> list[list[int]]:
    """The rows of the package's plan."""
    if any(length > T for length in lengths):
        raise ValueError(f"a document has {max(lengths)} tokens; a row has {T} places")
    plan = packing.plan_best_fit(lengths, T)
    return [
        [document for _, document, _, _ in plan.pieces(row)] for row in range(len(plan))
    ]


def fill_rows(
    rows: list[list[list[int]]], T: int, pad_id: int = 0
) -> dict[str, Tensor]:
    """The package's arrays, for a plan that has these rows."""
    if any(sum(map(len, row)) > T for row in rows):
        raise ValueError(
            f"a row has {max(sum(map(len, row)) for row in rows)} tokens and only {T} "
            "places"
        )
    documents = [np.array(document) for row in rows for document in row]
    lengths = np.array([len(document) for document in documents], np.int64)
    plan = packing.Plan(
        seq_len=T,
        lengths=lengths,
        document=np.arange(len(documents)),
        start=np.zeros_like(lengths),
        length=lengths,
        row_starts=np.cumsum([0, *map(len, rows)]),
        continuous=False,
    )
    filled = packing.fill_rows(
        plan, np.arange(len(rows)), documents.__getitem__, pad_id=pad_id
    )
    return {
        name: torch.from_numpy(getattr(filled, name))
        for name in ("ids", "targets", "positions", "segments")
    }


def batches(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Windows in an order drawn from seed and epoch together."""
    n_windows = (len(ids) - 1) // T
    order = list(range(n_windows))
    random.Random(f"{seed} {epoch}").shuffle(order)
    for first in range(0, n_windows - batch_size + 1, batch_size):
        starts = [w * T for w in order[first : first + batch_size]]
        yield (
            torch.stack([ids[s : s + T] for s in starts]),
            torch.stack([ids[s + 1 : s + T + 1] for s in starts]),
        )


def key_of(document: str) -> str:
    """What copies of a document share."""
    return splits.normalized(document)


def uniform(key: str, seed: int) -> float:
    """The number between 0 and 1 that decides about a key, by the recipe of the lab."""
    salt = hashlib.blake2b(str(seed).encode(), digest_size=16).digest()
    return (
        int.from_bytes(
            hashlib.blake2b(key.encode(), digest_size=8, salt=salt).digest(), "big"
        )
        / 2.0**64
    )
