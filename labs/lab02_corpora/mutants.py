"""Mistakes that people make in lab 02, written out."""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from . import reference
from .checks import lab
from .reference import Grammar

# ---- bits per byte ------------------------------------------------------------------------------


@lab.mutant("bits_per_byte", "the loss is divided by characters instead of bytes")
def per_character(losses: Tensor, text: str) -> float:
    if not text:
        raise ValueError
    return float(losses.double().sum()) / math.log(2) / len(text)


@lab.mutant("bits_per_byte", "the loss stays in nats, without the division by ln 2")
def nats_per_byte(losses: Tensor, text: str) -> float:
    return reference.bits_per_byte(losses, text) * math.log(2)


@lab.mutant("bits_per_byte", "the loss is multiplied by ln 2 instead of divided")
def times_ln2(losses: Tensor, text: str) -> float:
    return reference.bits_per_byte(losses, text) * math.log(2) ** 2


@lab.mutant("bits_per_byte", "the mean loss of a token is used instead of the sum over the text")
def mean_loss(losses: Tensor, text: str) -> float:
    return reference.bits_per_byte(losses, text) / len(losses)


@lab.mutant("bits_per_byte", "the loss is divided by the number of tokens, which gives bits per token")
def per_token(losses: Tensor, text: str) -> float:
    return reference.bits_per_byte(losses, text) * len(text.encode()) / len(losses)


@lab.mutant("bits_per_byte", "the perplexity, 2 to the power of the bits, is returned")
def perplexity_per_byte(losses: Tensor, text: str) -> float:
    return 2 ** reference.bits_per_byte(losses, text)


@lab.mutant("bits_per_byte", "the text is encoded in UTF-16, where a letter takes two bytes")
def utf16(losses: Tensor, text: str) -> float:
    return reference.bits_per_byte(losses, text) * len(text.encode()) / len(text.encode("utf-16-le"))


@lab.mutant("bits_per_byte", "an empty text is not refused but divides by zero")
def empty_divides(losses: Tensor, text: str) -> float:
    return float(losses.double().sum()) / math.log(2) / len(text.encode())


# ---- entropy ------------------------------------------------------------------------------------

Rules = list[tuple[float, list[str]]]


def expanded(local: Callable[[Rules, Callable[[str], float]], float]) -> Callable[[Grammar, str], float]:
    """An entropy function that computes `local(rules, of)` once per nonterminal; `of` gives that of a symbol."""

    def entropy(grammar: Grammar, start: str) -> float:
        if any(abs(sum(p for p, _ in rules) - 1) > 1e-9 for rules in grammar.values()):
            raise ValueError
        known: dict[str, float] = {}

        def of(symbol: str) -> float:
            if symbol in grammar and symbol not in known:
                known[symbol] = local([(p, body) for p, body in grammar[symbol] if p > 0], of)
            return known.get(symbol, 0.0)

        return of(start)

    return entropy


lab.mutant("entropy", "only the choice at the root is counted, and not those that follow from it")(
    expanded(lambda rules, of: sum(-p * math.log(p) for p, _ in rules))
)
lab.mutant("entropy", "the logarithm is that to base 2, so that the result is in bits")(
    expanded(lambda rules, of: sum(p * (-math.log2(p) + sum(map(of, body))) for p, body in rules))
)
lab.mutant("entropy", "what follows a rule is not weighted by the rule's probability")(
    expanded(lambda rules, of: sum(-p * math.log(p) + sum(map(of, body)) for p, body in rules))
)
lab.mutant("entropy", "a symbol that a rule uses twice is counted once")(
    expanded(lambda rules, of: sum(p * (-math.log(p) + sum(map(of, set(body)))) for p, body in rules))
)
lab.mutant("entropy", "only the first symbol of each rule is followed")(
    expanded(lambda rules, of: sum(p * (-math.log(p) + sum(map(of, body[:1]))) for p, body in rules))
)
lab.mutant("entropy", "the surprises are not weighted by their probability: -ln p is summed instead of -p ln p")(
    expanded(lambda rules, of: sum(-math.log(p) + p * sum(map(of, body)) for p, body in rules))
)
lab.mutant("entropy", "the minus sign is missing")(
    expanded(lambda rules, of: sum(p * (math.log(p) + sum(map(of, body))) for p, body in rules))
)
lab.mutant("entropy", "the surprise at the most probable text is computed instead of the mean")(
    expanded(lambda rules, of: min(-math.log(p) + sum(map(of, body)) for p, body in rules))
)
lab.mutant("entropy", "all rules of a nonterminal count as equally probable")(
    expanded(lambda rules, of: sum((math.log(len(rules)) + sum(map(of, body))) / len(rules) for _, body in rules))
)


@lab.mutant("entropy", "each nonterminal counts once instead of as often as it is expected to be used")
def each_once(grammar: Grammar, start: str) -> float:
    reference.entropy(grammar, start)
    reached = [start]
    for name in reached:
        symbols = [symbol for p, body in grammar[name] if p > 0 for symbol in body if symbol in grammar]
        reached += [symbol for symbol in dict.fromkeys(symbols) if symbol not in reached]
    return sum(-p * math.log(p) for name in reached for p, _ in grammar[name] if p > 0)


@lab.mutant("entropy", "expansion begins with the first key of the grammar instead of start")
def start_ignored(grammar: Grammar, start: str) -> float:
    return reference.entropy(grammar, next(iter(grammar)))


@lab.mutant("entropy", "a rule of probability 0 is asked for its logarithm")
def log_of_zero(grammar: Grammar, start: str) -> float:
    for rules in grammar.values():
        for p, _ in rules:
            math.log(p)
    return reference.entropy(grammar, start)


@lab.mutant("entropy", "probabilities that do not sum to 1 are accepted")
def unchecked_sum(grammar: Grammar, start: str) -> float:
    scaled = {name: [(p / sum(q for q, _ in rules), body) for p, body in rules] for name, rules in grammar.items()}
    return reference.entropy(scaled, start)


# ---- n-grams ------------------------------------------------------------------------------------


class Counts(reference.NGram):
    """A model whose `probs` is made of `step`, called for each context from the empty one on."""

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


@lab.mutant("NGram", "nothing is borrowed: only tokens that came after the context get any probability")
class NotSmoothed(Counts):
    def step(self, p: Tensor, seen: Tensor, context: tuple[int, ...]) -> Tensor:
        return seen / seen.sum() if seen.any() else p


@lab.mutant("NGram", "p_0 is spread over the tokens that have occurred and not over the whole vocabulary")
class SpreadOverSeen(Counts):
    def first(self) -> Tensor:
        seen = self.after(()) > 0
        return seen / seen.sum().clamp(min=1).double()


@lab.mutant("NGram", "the imaginary observation is missing in the denominator, so the probabilities exceed 1 in sum")
class NotNormalised(Counts):
    def step(self, p: Tensor, seen: Tensor, context: tuple[int, ...]) -> Tensor:
        return (seen + p) / seen.sum() if seen.any() else p


@lab.mutant("NGram", "every token is given one imaginary observation (add-one smoothing), whatever is known of it")
class AddOne(Counts):
    def step(self, p: Tensor, seen: Tensor, context: tuple[int, ...]) -> Tensor:
        return (seen + 1) / (seen.sum() + self.vocab_size)


@lab.mutant("NGram", "every context borrows from 1 / V instead of from the shorter context")
class BorrowsFromUniform(Counts):
    def step(self, p: Tensor, seen: Tensor, context: tuple[int, ...]) -> Tensor:
        return (seen + self.first()) / (seen.sum() + 1)


@lab.mutant("NGram", "a context that was never seen predicts 1 / V instead of what the shorter one predicts")
class UnseenIsUniform(Counts):
    def step(self, p: Tensor, seen: Tensor, context: tuple[int, ...]) -> Tensor:
        return super().step(p, seen, context) if seen.any() else self.first()


@lab.mutant("NGram", "the context is one too long: order n looks back over n tokens instead of n - 1")
class OneTooLong(reference.NGram):
    def __init__(self, n: int, vocab_size: int) -> None:
        super().__init__(n + 1, vocab_size)


@lab.mutant("NGram", "the context is one too short: order n looks back over n - 2 tokens instead of n - 1")
class OneTooShort(reference.NGram):
    def __init__(self, n: int, vocab_size: int) -> None:
        super().__init__(n - 1, vocab_size)


@lab.mutant("NGram", "the beginning of a document is not learned: its first n - 1 tokens are only used as context")
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


@lab.mutant("NGram", "the oldest tokens of the context are looked at instead of the last ones")
class LooksAtTheOldest(reference.NGram):
    def probs(self, context: list[int]) -> Tensor:
        return super().probs(context[: max(self.n - 1, 0)])


@lab.mutant("NGram", "a context is counted where a document ends, too, though nothing follows it there")
class CountsTheEnd(Counts):
    def __init__(self, n: int, vocab_size: int) -> None:
        super().__init__(n, vocab_size)
        self.ends: Counter[tuple[int, ...]] = Counter()

    def learn(self, ids: list[int]) -> None:
        super().learn(ids)
        self.ends.update(tuple(ids[len(ids) - k :]) for k in range(1, min(self.n - 1, len(ids)) + 1))

    def step(self, p: Tensor, seen: Tensor, context: tuple[int, ...]) -> Tensor:
        return (seen + p) / (seen.sum() + self.ends[context] + 1)


@lab.mutant("NGram", "different followers of a context are counted instead of all of them in the denominator")
class CountsKinds(Counts):
    def step(self, p: Tensor, seen: Tensor, context: tuple[int, ...]) -> Tensor:
        return (seen + p) / ((seen > 0).sum() + 1)


@lab.mutant("NGram", "each follower of a context is counted once, however often it came")
class CountsOnce(Counts):
    def step(self, p: Tensor, seen: Tensor, context: tuple[int, ...]) -> Tensor:
        return super().step(p, seen.clamp(max=1), context)


@lab.mutant("NGram", "the surprise is measured in bits")
class InBits(reference.NGram):
    def surprise(self, ids: list[int]) -> Tensor:
        return super().surprise(ids) / math.log(2)


@lab.mutant("NGram", "the perplexity, the exponential of the surprise, is returned instead of nats")
class Perplexity(reference.NGram):
    def surprise(self, ids: list[int]) -> Tensor:
        return super().surprise(ids).exp()


@lab.mutant("NGram", "the context in which a token is predicted contains the token itself")
class SeesTheToken(reference.NGram):
    def surprise(self, ids: list[int]) -> Tensor:
        return -torch.stack([self.probs(ids[: i + 1])[token] for i, token in enumerate(ids)]).log()


@lab.mutant("NGram", "measuring a text also learns it: held-out text becomes training text")
class LearnsTheTest(reference.NGram):
    def surprise(self, ids: list[int]) -> Tensor:
        surprise = super().surprise(ids)
        self.learn(ids)
        return surprise


# ---- splits -------------------------------------------------------------------------------------


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


# ---- rows ---------------------------------------------------------------------------------------

Choice = Callable[[list[int], int], int | None]


def rows_by(lengths: list[int], T: int, order: list[int], choose: Choice) -> list[list[int]]:
    """Place documents in this order; `choose(rooms, length)` gives the row, None for a new one."""
    if any(length > T for length in lengths):
        raise ValueError
    rows: list[list[int]] = []
    rooms: list[int] = []
    for number in order:
        row = choose(rooms, lengths[number])
        if row is None:
            row = len(rows)
            rows.append([])
            rooms.append(T)
        rows[row].append(number)
        rooms[row] -= lengths[number]
    return rows


def longest_first(lengths: list[int]) -> list[int]:
    """The numbers of documents, by length."""
    return sorted(range(len(lengths)), key=lambda number: -lengths[number])


def fullest(rooms: list[int], length: int) -> int | None:
    """The row with the least room that is enough."""
    return min((r for r in range(len(rooms)) if rooms[r] >= length), key=rooms.__getitem__, default=None)


@lab.mutant("best_fit", "each document goes into the first row that has room (first fit) instead of the fullest")
def first_fit(lengths: list[int], T: int) -> list[list[int]]:
    first: Choice = lambda rooms, length: next((r for r, room in enumerate(rooms) if room >= length), None)  # noqa: E731
    return rows_by(lengths, T, longest_first(lengths), first)


@lab.mutant("best_fit", "each document goes into the emptiest row that has room (worst fit) instead of the fullest")
def worst_fit(lengths: list[int], T: int) -> list[list[int]]:
    def emptiest(rooms: list[int], length: int) -> int | None:
        return max((r for r in range(len(rooms)) if rooms[r] >= length), key=rooms.__getitem__, default=None)

    return rows_by(lengths, T, longest_first(lengths), emptiest)


@lab.mutant("best_fit", "only the last row is tried before a new one is opened (next fit)")
def next_fit(lengths: list[int], T: int) -> list[list[int]]:
    def last(rooms: list[int], length: int) -> int | None:
        return len(rooms) - 1 if rooms and rooms[-1] >= length else None

    return rows_by(lengths, T, longest_first(lengths), last)


@lab.mutant("best_fit", "the documents are taken in their own order instead of longest first")
def unsorted(lengths: list[int], T: int) -> list[list[int]]:
    return rows_by(lengths, T, list(range(len(lengths))), fullest)


@lab.mutant("best_fit", "the documents are taken shortest first")
def shortest_first(lengths: list[int], T: int) -> list[list[int]]:
    return rows_by(lengths, T, longest_first(lengths)[::-1], fullest)


@lab.mutant("best_fit", "a row in which the document would fit exactly is passed over (> for >=)")
def never_full(lengths: list[int], T: int) -> list[list[int]]:
    return rows_by(lengths, T, longest_first(lengths), lambda rooms, length: fullest(rooms, length + 1))


@lab.mutant("best_fit", "a row is given one token more than it has places")
def one_too_many(lengths: list[int], T: int) -> list[list[int]]:
    return rows_by(lengths, T, longest_first(lengths), lambda rooms, length: fullest(rooms, length - 1))


@lab.mutant("best_fit", "every document is given a row of its own")
def one_per_row(lengths: list[int], T: int) -> list[list[int]]:
    return rows_by(lengths, T, longest_first(lengths), lambda rooms, length: None)


@lab.mutant("best_fit", "documents are numbered as they are after sorting instead of as they were given")
def sorted_numbers(lengths: list[int], T: int) -> list[list[int]]:
    return reference.best_fit(sorted(lengths, reverse=True), T)


@lab.mutant("best_fit", "the lengths of the documents are returned instead of their numbers")
def lengths_returned(lengths: list[int], T: int) -> list[list[int]]:
    return [[lengths[number] for number in row] for row in reference.best_fit(lengths, T)]


@lab.mutant("best_fit", "a document that is longer than a row is not refused")
def too_long_accepted(lengths: list[int], T: int) -> list[list[int]]:
    return reference.best_fit([min(length, T) for length in lengths], T)


# ---- filled rows --------------------------------------------------------------------------------

Rows = list[list[list[int]]]


def arrays(rows: Rows, T: int, pad_id: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """The right arrays, where there is padding, and where a document has its last token."""
    right = reference.fill_rows(rows, T, pad_id)
    padding = right["segments"] == 0
    return right, padding, ~padding & (right["targets"] == -100)


@lab.mutant("fill_rows", "the targets are not shifted: each token has itself as the target")
def unshifted(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, padding, _ = arrays(rows, T, pad_id)
    return {**right, "targets": right["ids"].masked_fill(padding, -100)}


@lab.mutant("fill_rows", "the targets are shifted twice: each is the token after the next")
def shifted_twice(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, _, _ = arrays(rows, T, pad_id)
    later = torch.full_like(right["targets"], -100)
    later[:, :-1] = right["targets"][:, 1:]
    return {**right, "targets": later.masked_fill(right["targets"] == -100, -100)}


@lab.mutant("fill_rows", "the targets are shifted to the wrong side: each is the token before")
def shifted_backwards(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, padding, _ = arrays(rows, T, pad_id)
    before = right["ids"].roll(1, dims=1)
    return {**right, "targets": before.masked_fill(padding | (right["positions"] == 0), -100)}


@lab.mutant("fill_rows", "targets cross documents: the last token of one predicts the first of the next")
def crossing(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, padding, _ = arrays(rows, T, pad_id)
    following, empty = right["ids"].roll(-1, dims=1), padding.roll(-1, dims=1)
    empty[:, -1] = True
    return {**right, "targets": following.masked_fill(padding | empty, -100)}


@lab.mutant("fill_rows", "the last token before the padding has the padding as its target")
def into_padding(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, padding, ends = arrays(rows, T, pad_id)
    before_padding = ends & padding.roll(-1, dims=1)
    before_padding[:, -1] = False
    return {**right, "targets": right["targets"].masked_fill(before_padding, pad_id)}


@lab.mutant("fill_rows", "padding is trained on: its targets are pad_id instead of -100")
def padding_trained_on(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, padding, _ = arrays(rows, T, pad_id)
    return {**right, "targets": right["targets"].masked_fill(padding, pad_id)}


@lab.mutant("fill_rows", "the last token of the row has the first as its target: the row is rolled round")
def rolled(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, _, ends = arrays(rows, T, pad_id)
    targets = right["targets"].clone()
    targets[:, -1] = torch.where(ends[:, -1], right["ids"][:, 0], targets[:, -1])
    return {**right, "targets": targets}


@lab.mutant("fill_rows", "positions run through the row instead of restarting with each document")
def running_positions(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, padding, _ = arrays(rows, T, pad_id)
    return {**right, "positions": torch.arange(T).expand(len(rows), T).masked_fill(padding, 0)}


@lab.mutant("fill_rows", "positions count from 1")
def positions_from_one(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, padding, _ = arrays(rows, T, pad_id)
    return {**right, "positions": (right["positions"] + 1).masked_fill(padding, 0)}


@lab.mutant("fill_rows", "positions go on counting at padding")
def positions_at_padding(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, padding, _ = arrays(rows, T, pad_id)
    return {**right, "positions": torch.where(padding, torch.arange(T).expand(len(rows), T), right["positions"])}


@lab.mutant("fill_rows", "segments count from 0, so that the first document looks like padding")
def segments_from_zero(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, _, _ = arrays(rows, T, pad_id)
    return {**right, "segments": (right["segments"] - 1).clamp(min=0)}


@lab.mutant("fill_rows", "segments count on from row to row instead of from 1 in each")
def segments_run_on(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, padding, _ = arrays(rows, T, pad_id)
    before = torch.tensor([sum(map(len, rows[:b])) for b in range(len(rows))])
    return {**right, "segments": (right["segments"] + before[:, None]).masked_fill(padding, 0)}


@lab.mutant("fill_rows", "padding belongs to the segment of the last document instead of to segment 0")
def padding_in_last_segment(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, _, _ = arrays(rows, T, pad_id)
    return {**right, "segments": right["segments"].cummax(dim=1).values}


@lab.mutant("fill_rows", "the whole row is one segment")
def one_segment(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, _, _ = arrays(rows, T, pad_id)
    return {**right, "segments": right["segments"].clamp(max=1)}


@lab.mutant("fill_rows", "the ids at padding are 0 whatever pad_id is")
def pad_id_ignored(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    return reference.fill_rows(rows, T)


@lab.mutant("fill_rows", "the padding lies on the left")
def padded_left(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    right, _, _ = arrays(rows, T, pad_id)
    free = [T - sum(map(len, row)) for row in rows]
    return {n: torch.stack([line.roll(k) for line, k in zip(a, free, strict=True)]) for n, a in right.items()}


@lab.mutant("fill_rows", "a row with more tokens than places is cut instead of refused")
def too_full_accepted(rows: Rows, T: int, pad_id: int = 0) -> dict[str, Tensor]:
    longest = max(T, *(sum(map(len, row)) for row in rows)) if rows else T
    return {name: array[:, :T] for name, array in reference.fill_rows(rows, longest, pad_id).items()}


# ---- batches ------------------------------------------------------------------------------------

Batches = Iterator[tuple[Tensor, Tensor]]


def batches_of(ids: Tensor, B: int, T: int, starts: list[int], shift: int = 1) -> Batches:
    """Batches of the windows that begin at these places, the targets `shift` tokens later."""
    for first in range(0, len(starts) - B + 1, B):
        group = starts[first : first + B]
        yield torch.stack([ids[s : s + T] for s in group]), torch.stack([ids[s + shift : s + T + shift] for s in group])


def shuffled(n: int, seed: object) -> list[int]:
    """Numbers 0 to n - 1 in an order that the seed decides."""
    order = list(range(n))
    random.Random(f"{seed}").shuffle(order)
    return order


@lab.mutant("batches", "the targets are not shifted: each token has itself as the target")
def batches_unshifted(ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0) -> Batches:
    starts = [w * T for w in shuffled((len(ids) - 1) // T, f"{seed} {epoch}")]
    yield from batches_of(ids, batch_size, T, starts, shift=0)


@lab.mutant("batches", "the targets are shifted twice: each is the token after the next")
def batches_shifted_twice(ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0) -> Batches:
    longer = torch.cat([ids, ids[-1:]])
    starts = [w * T for w in shuffled((len(ids) - 1) // T, f"{seed} {epoch}")]
    yield from batches_of(longer, batch_size, T, starts, shift=2)


@lab.mutant("batches", "the targets are rolled within the window, so that its last token predicts its first")
def batches_rolled(ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0) -> Batches:
    for inputs, _ in reference.batches(ids, batch_size, T, seed=seed, epoch=epoch):
        yield inputs, inputs.roll(-1, dims=1)


@lab.mutant("batches", "inputs and targets are exchanged")
def batches_exchanged(ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0) -> Batches:
    for inputs, targets in reference.batches(ids, batch_size, T, seed=seed, epoch=epoch):
        yield targets, inputs


@lab.mutant("batches", "the last window is lost: the number of windows is one too small")
def batches_lose_the_last(ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0) -> Batches:
    yield from batches_of(ids, batch_size, T, [w * T for w in shuffled((len(ids) - 2) // T, f"{seed} {epoch}")])


@lab.mutant("batches", "a window counts that lacks its last target: one token more is needed than inputs")
def batches_past_the_end(ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0) -> Batches:
    longer = torch.cat([ids, ids[:1]])
    yield from batches_of(longer, batch_size, T, [w * T for w in shuffled(len(ids) // T, f"{seed} {epoch}")])


@lab.mutant("batches", "the windows are not shuffled")
def batches_in_order(ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0) -> Batches:
    yield from batches_of(ids, batch_size, T, list(range(0, len(ids) - T, T)))


@lab.mutant("batches", "every epoch has the same order")
def batches_same_epochs(ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0) -> Batches:
    yield from reference.batches(ids, batch_size, T, seed=seed, epoch=0)


@lab.mutant("batches", "the seed is ignored")
def batches_seed_ignored(ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0) -> Batches:
    yield from reference.batches(ids, batch_size, T, seed=0, epoch=epoch)


@lab.mutant("batches", "seed and epoch are added, so that epoch 1 of seed 0 is epoch 0 of seed 1")
def batches_added(ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0) -> Batches:
    yield from batches_of(ids, batch_size, T, [w * T for w in shuffled((len(ids) - 1) // T, seed + epoch)])


@lab.mutant("batches", "the order comes from a generator without a seed, and nothing can be repeated")
def batches_unseeded(ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0) -> Batches:
    yield from batches_of(ids, batch_size, T, [w * T for w in shuffled((len(ids) - 1) // T, random.random())])


@lab.mutant("batches", "windows are drawn again and again, so that some come twice in an epoch and others never")
def batches_with_replacement(ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0) -> Batches:
    n = (len(ids) - 1) // T
    rng = random.Random(f"{seed} {epoch}")
    yield from batches_of(ids, batch_size, T, [rng.randrange(n) * T for _ in range(n)])


@lab.mutant("batches", "the windows begin anywhere instead of at multiples of T, so they overlap")
def batches_anywhere(ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0) -> Batches:
    n = (len(ids) - 1) // T
    yield from batches_of(ids, batch_size, T, shuffled(len(ids) - T, f"{seed} {epoch}")[:n])


@lab.mutant("batches", "the last windows make a batch that is too small instead of being left out")
def batches_small_last(ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0) -> Batches:
    starts = [w * T for w in shuffled((len(ids) - 1) // T, f"{seed} {epoch}")]
    yield from batches_of(ids, batch_size, T, starts)
    if rest := len(starts) % batch_size:
        yield from batches_of(ids, rest, T, starts[-rest:])


@lab.mutant("batches", "whole batches are shuffled, so that neighbours in the text always lie in the same batch")
def batches_of_neighbours(ids: Tensor, batch_size: int, T: int, *, seed: int, epoch: int = 0) -> Batches:
    groups = shuffled((len(ids) - 1) // T // batch_size, f"{seed} {epoch}")
    yield from batches_of(ids, batch_size, T, [(g * batch_size + i) * T for g in groups for i in range(batch_size)])
