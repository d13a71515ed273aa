"""A right solution of lab 02 that is written otherwise than the package."""

from __future__ import annotations

import itertools
import math
import random
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from hashlib import blake2b

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Grammar = dict[str, list[tuple[float, list[str]]]]


def bits_per_byte(losses: Tensor, text: str) -> float:
    """Bits of all tokens over bytes, with the base changed token by token."""
    n_bytes = len(bytearray(text, "utf-8"))
    if n_bytes == 0:
        raise ValueError("no text")
    return math.fsum(loss * math.log2(math.e) for loss in losses.tolist()) / n_bytes


def entropy(grammar: Grammar, start: str) -> float:
    """Expected number of uses of each nonterminal, from the start on, times the entropy
    of its choice.
    """
    for name, rules in grammar.items():
        if abs(math.fsum(p for p, _ in rules) - 1) > 1e-9:
            raise ValueError(name)
    order: list[str] = []
    seen: set[str] = set()
    stack = [(start, False)]
    while stack:  # a topological order, without recursion
        symbol, finished = stack.pop()
        if finished:
            order.append(symbol)
        elif symbol in grammar and symbol not in seen:
            seen.add(symbol)
            stack.append((symbol, True))
            stack += [(child, False) for _, body in grammar[symbol] for child in body]
    uses: defaultdict[str, float] = defaultdict(float)
    uses[start] = 1.0
    total = 0.0
    for symbol in reversed(order):
        for p, body in grammar[symbol]:
            total += uses[symbol] * (-p * math.log(p) if p else 0.0)
            for child in body:
                uses[child] += uses[symbol] * p
    return total


class NGram:
    """A list of documents, and one array of counts per context, made when it is asked
    for.
    """

    def __init__(self, n: int, vocab_size: int) -> None:
        self.order, self.size = n, vocab_size
        self.tables: list[dict[tuple[int, ...], np.ndarray]] = [{} for _ in range(n)]

    def learn(self, ids: list[int]) -> None:
        """One pass for each length of context."""
        for length, table in enumerate(self.tables):
            for gram in zip(
                *(ids[start:] for start in range(length + 1)), strict=False
            ):
                row = table.setdefault(gram[:-1], np.zeros(self.size))
                row[gram[-1]] += 1

    def _predict(self, context: tuple[int, ...]) -> np.ndarray:
        shorter = (
            self._predict(context[1:]) if context else np.full(self.size, 1 / self.size)
        )
        row = self.tables[len(context)].get(context)
        return shorter if row is None else (row + shorter) / (row.sum() + 1)

    def probs(self, context: list[int]) -> Tensor:
        """The longest context first, recursively."""
        kept = context[-(self.order - 1) :] if self.order > 1 else []
        return torch.tensor(self._predict(tuple(kept)))

    def surprise(self, ids: list[int]) -> Tensor:
        """By NumPy's logarithm."""
        paid = [
            -np.log(self.probs(ids[:i]).numpy()[token]) for i, token in enumerate(ids)
        ]
        return torch.tensor(paid, dtype=torch.float64)


def split(documents: list[str], shares: dict[str, float], seed: int = 0) -> list[str]:
    """The shares as ends of intervals, searched by bisection."""
    values = np.array(list(shares.values()))
    if (values < 0).any() or not np.isclose(values.sum(), 1, rtol=0, atol=1e-9):
        raise ValueError("bad shares")
    ends = list(itertools.accumulate(shares.values()))
    salt = blake2b(f"{seed}".encode(), digest_size=16).digest()

    def part(document: str) -> str:
        key = "".join(filter(str.isalnum, document.casefold())).encode("utf-8")
        digest = blake2b(key, digest_size=8, salt=salt).hexdigest()
        u = float(Fraction(int(digest, 16), 2**64))
        place = int(np.searchsorted(ends, u, side="right"))
        return list(shares)[min(place, len(ends) - 1)]

    return [part(document) for document in documents]


def best_fit(lengths: list[int], T: int) -> list[list[int]]:
    """All rows exist from the beginning; empty ones are the least full and are dropped
    in the end.
    """
    if max(lengths, default=0) > T:
        raise ValueError("too long")
    rows: list[list[int]] = [[] for _ in lengths]
    room = np.full(len(lengths), T)
    for number in np.argsort(np.array(lengths), kind="stable")[::-1].tolist():
        left = np.where(room >= lengths[number], room - lengths[number], T + 1)
        best = int(left.argmin())
        rows[best].append(number)
        room[best] -= lengths[number]
    return [row for row in reversed(rows) if row]


def fill_rows(
    rows: list[list[list[int]]], T: int, pad_id: int = 0
) -> dict[str, Tensor]:
    """Each row is joined from its documents, and padded with `F.pad`."""
    fillers = {"ids": pad_id, "targets": -100, "positions": 0, "segments": 0}
    arrays: dict[str, list[Tensor]] = {name: [] for name in fillers}
    for row in rows:
        lines: dict[str, list[int]] = {name: [] for name in fillers}
        for number, document in enumerate(row):
            lines["ids"] += document
            lines["targets"] += [*document[1:], -100]
            lines["positions"] += range(len(document))
            lines["segments"] += [number + 1] * len(document)
        missing = T - len(lines["ids"])
        if missing < 0:
            raise ValueError("too many tokens")
        for name, value in fillers.items():
            line = torch.tensor(lines[name], dtype=torch.int64)
            arrays[name].append(F.pad(line, (0, missing), value=value))
    return {name: torch.stack(lines) for name, lines in arrays.items()}


def batches(
    ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """All windows as one view."""
    if len(ids) <= T:
        return
    windows = ids.unfold(0, T + 1, T)  # (windows, T + 1)
    order = [*range(len(windows))]
    random.Random(" ".join(map(str, (seed, epoch)))).shuffle(order)
    for chosen in torch.tensor(order).split(batch_size):
        if len(chosen) == batch_size:
            yield windows[chosen, :-1], windows[chosen, 1:]
