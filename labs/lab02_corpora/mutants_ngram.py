"""Mistakes that people make in the n-gram model of lab 02."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import ClassVar

import torch
from torch import Tensor

from . import reference
from .checks import lab


class Counts(reference.NGram):
    """A model whose `probs` is made of `step`, called for each context from the empty
    one on.
    """

    def step(self, p: Tensor, seen: Tensor, context: tuple[int, ...]) -> Tensor:
        return (seen + p) / (seen.sum() + 1)

    def first(self) -> Tensor:
        return torch.full((self.vocab_size,), 1 / self.vocab_size, dtype=torch.float64)

    def probs(self, context: list[int]) -> Tensor:
        p = self.first()
        for k in range(min(self.n, len(context) + 1)):
            key = tuple(context[len(context) - k :])
            p = self.step(p, self.after(key), key)
        return p

    def after(self, context: tuple[int, ...]) -> Tensor:
        seen = torch.zeros(self.vocab_size, dtype=torch.float64)
        for token, count in self.counts.get(context, {}).items():
            seen[token] = count
        return seen


@lab.mutant(
    "NGram",
    "nothing is borrowed: only tokens that came after the context get any probability",
)
class NotSmoothed(Counts):
    def step(self, p: Tensor, seen: Tensor, context: tuple[int, ...]) -> Tensor:
        return seen / seen.sum() if seen.any() else p


@lab.mutant(
    "NGram",
    "p_0 is spread over the tokens that have occurred and not over the whole "
    "vocabulary",
)
class SpreadOverSeen(Counts):
    def first(self) -> Tensor:
        seen = self.after(()) > 0
        return seen / seen.sum().clamp(min=1).double()


@lab.mutant(
    "NGram",
    "the imaginary observation is missing in the denominator, so the probabilities "
    "exceed 1 in sum",
)
class NotNormalised(Counts):
    def step(self, p: Tensor, seen: Tensor, context: tuple[int, ...]) -> Tensor:
        return (seen + p) / seen.sum() if seen.any() else p


@lab.mutant(
    "NGram",
    "every token is given one imaginary observation (add-one smoothing), whatever is "
    "known of it",
)
class AddOne(Counts):
    def step(self, p: Tensor, seen: Tensor, context: tuple[int, ...]) -> Tensor:
        return (seen + 1) / (seen.sum() + self.vocab_size)


@lab.mutant(
    "NGram",
    "add-one smoothing after contexts that were seen, and the shorter context only "
    "after others",
)
class AddOneOrShorter(Counts):
    def step(self, p: Tensor, seen: Tensor, context: tuple[int, ...]) -> Tensor:
        return (seen + 1) / (seen.sum() + self.vocab_size) if seen.any() else p


@lab.mutant(
    "NGram", "every context borrows from 1 / V instead of from the shorter context"
)
class BorrowsFromUniform(Counts):
    def step(self, p: Tensor, seen: Tensor, context: tuple[int, ...]) -> Tensor:
        return (seen + self.first()) / (seen.sum() + 1)


@lab.mutant(
    "NGram",
    "a context that was never seen predicts 1 / V instead of what the shorter one "
    "predicts",
)
class UnseenIsUniform(Counts):
    def step(self, p: Tensor, seen: Tensor, context: tuple[int, ...]) -> Tensor:
        return super().step(p, seen, context) if seen.any() else self.first()


@lab.mutant(
    "NGram",
    "the context is one too long: order n looks back over n tokens instead of n - 1",
)
class OneTooLong(reference.NGram):
    def __init__(self, n: int, vocab_size: int) -> None:
        super().__init__(n + 1, vocab_size)


@lab.mutant(
    "NGram",
    "the context is one too short: order n looks back over n - 2 tokens instead of n "
    "- 1",
)
class OneTooShort(reference.NGram):
    def __init__(self, n: int, vocab_size: int) -> None:
        super().__init__(n - 1, vocab_size)


@lab.mutant(
    "NGram",
    "the beginning of a document is not learned: its first n - 1 tokens are only used "
    "as context",
)
class SkipsTheBeginning(reference.NGram):
    def learn(self, ids: list[int]) -> None:
        for i in range(self.n - 1, len(ids)):
            for k in range(self.n):
                self.counts[tuple(ids[i - k : i])][ids[i]] += 1


@lab.mutant("NGram", "the context reaches back from one document into the one before")
class RunsOn(reference.NGram):
    def __init__(self, n: int, vocab_size: int) -> None:
        super().__init__(n, vocab_size)
        self.line: list[int] = []

    def learn(self, ids: list[int]) -> None:
        self.line += ids
        self.counts.clear()
        super().learn(self.line)


@lab.mutant("NGram", "learning a document forgets those before")
class Forgets(reference.NGram):
    def learn(self, ids: list[int]) -> None:
        self.counts.clear()
        super().learn(ids)


@lab.mutant(
    "NGram",
    "context[-k:] is the whole context for k = 0, so that p_1 is looked up in the "
    "wrong place",
)
class WholeForNothing(Counts):
    def probs(self, context: list[int]) -> Tensor:
        p = self.first()
        for k in range(min(self.n, len(context) + 1)):
            p = self.step(p, self.after(tuple(context[-k:])), tuple(context[-k:]))
        return p


@lab.mutant(
    "NGram", "ids[:i][-k:] is everything for k = 0, when counting and when predicting"
)
class WholeForNothingTwice(WholeForNothing):
    def learn(self, ids: list[int]) -> None:
        for i, token in enumerate(ids):
            for k in range(min(self.n, i + 1)):
                self.counts[tuple(ids[:i][-k:])][token] += 1


@lab.mutant(
    "NGram",
    "the counts belong to the class and not to the object, so that all models share "
    "them",
)
class Shared(reference.NGram):
    shared: ClassVar[defaultdict[tuple[int, ...], Counter[int]]] = defaultdict(Counter)

    def __init__(self, n: int, vocab_size: int) -> None:
        super().__init__(n, vocab_size)
        if n == 2:  # the first model of the check: begin as a new process does
            self.shared.clear()
        self.counts = self.shared


@lab.mutant(
    "NGram",
    "only the longest context of each token is counted, and the shorter ones stay "
    "empty",
)
class OnlyTheLongest(reference.NGram):
    def learn(self, ids: list[int]) -> None:
        for i, token in enumerate(ids):
            k = min(self.n - 1, i)
            self.counts[tuple(ids[i - k : i])][token] += 1


@lab.mutant(
    "NGram",
    "only contexts of n - 1 tokens are counted: neither shorter ones nor the "
    "beginning of a document",
)
class OnlyFullContexts(reference.NGram):
    def learn(self, ids: list[int]) -> None:
        for i in range(self.n - 1, len(ids)):
            self.counts[tuple(ids[i - self.n + 1 : i])][ids[i]] += 1


@lab.mutant(
    "NGram", "the oldest tokens of the context are looked at instead of the last ones"
)
class LooksAtTheOldest(reference.NGram):
    def probs(self, context: list[int]) -> Tensor:
        return super().probs(context[: max(self.n - 1, 0)])


@lab.mutant(
    "NGram",
    "a context is counted where a document ends, too, though nothing follows it there",
)
class CountsTheEnd(Counts):
    def __init__(self, n: int, vocab_size: int) -> None:
        super().__init__(n, vocab_size)
        self.ends: Counter[tuple[int, ...]] = Counter()

    def learn(self, ids: list[int]) -> None:
        super().learn(ids)
        self.ends.update(
            tuple(ids[len(ids) - k :]) for k in range(1, min(self.n - 1, len(ids)) + 1)
        )

    def step(self, p: Tensor, seen: Tensor, context: tuple[int, ...]) -> Tensor:
        return (seen + p) / (seen.sum() + self.ends[context] + 1)


@lab.mutant(
    "NGram",
    "different followers of a context are counted instead of all of them in the "
    "denominator",
)
class CountsKinds(Counts):
    def step(self, p: Tensor, seen: Tensor, context: tuple[int, ...]) -> Tensor:
        return (seen + p) / ((seen > 0).sum() + 1)


@lab.mutant(
    "NGram", "each follower of a context is counted once, however often it came"
)
class CountsOnce(Counts):
    def step(self, p: Tensor, seen: Tensor, context: tuple[int, ...]) -> Tensor:
        return super().step(p, seen.clamp(max=1), context)


@lab.mutant("NGram", "the surprise is measured in bits")
class InBits(reference.NGram):
    def surprise(self, ids: list[int]) -> Tensor:
        return super().surprise(ids) / math.log(2)


@lab.mutant(
    "NGram",
    "the perplexity, the exponential of the surprise, is returned instead of nats",
)
class Perplexity(reference.NGram):
    def surprise(self, ids: list[int]) -> Tensor:
        return super().surprise(ids).exp()


@lab.mutant(
    "NGram", "the context in which a token is predicted contains the token itself"
)
class SeesTheToken(reference.NGram):
    def surprise(self, ids: list[int]) -> Tensor:
        return -torch.stack(
            [self.probs(ids[: i + 1])[token] for i, token in enumerate(ids)]
        ).log()


@lab.mutant(
    "NGram", "measuring a text also learns it: held-out text becomes training text"
)
class LearnsTheTest(reference.NGram):
    def surprise(self, ids: list[int]) -> Tensor:
        surprise = super().surprise(ids)
        self.learn(ids)
        return surprise
