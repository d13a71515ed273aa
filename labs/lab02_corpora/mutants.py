"""Mistakes that people make in lab 02, written out: bits per byte and entropy; the
others are beside this file.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from . import mutants_batches, mutants_ngram, mutants_rows, mutants_split, reference
from .checks import lab
from .reference import Grammar

__all__ = ["mutants_batches", "mutants_ngram", "mutants_rows", "mutants_split"]


# ---- bits per byte


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


@lab.mutant(
    "bits_per_byte", "the mean loss of a token is used instead of the sum over the text"
)
def mean_loss(losses: Tensor, text: str) -> float:
    return reference.bits_per_byte(losses, text) / len(losses)


@lab.mutant(
    "bits_per_byte",
    "the loss is divided by the number of tokens, which gives bits per token",
)
def per_token(losses: Tensor, text: str) -> float:
    return reference.bits_per_byte(losses, text) * len(text.encode()) / len(losses)


@lab.mutant("bits_per_byte", "the perplexity, 2 to the power of the bits, is returned")
def perplexity_per_byte(losses: Tensor, text: str) -> float:
    return 2 ** reference.bits_per_byte(losses, text)


@lab.mutant(
    "bits_per_byte",
    "the text is encoded in UTF-16, where a letter takes two bytes, and a mark in "
    "front two more",
)
def utf16(losses: Tensor, text: str) -> float:
    return (
        reference.bits_per_byte(losses, text)
        * len(text.encode())
        / len(text.encode("utf-16"))
    )


@lab.mutant(
    "bits_per_byte",
    "the text is encoded in UTF-16 (without a mark), where a letter takes two bytes",
)
def utf16_without_mark(losses: Tensor, text: str) -> float:
    return (
        reference.bits_per_byte(losses, text)
        * len(text.encode())
        / len(text.encode("utf-16-le"))
    )


@lab.mutant(
    "bits_per_byte",
    "the loss is multiplied by the bytes: a / b * c is (a / b) * c, and not a / (b * "
    "c)",
)
def slip_of_bytes(losses: Tensor, text: str) -> float:
    return reference.bits_per_byte(losses, text) * len(text.encode()) ** 2


@lab.mutant("bits_per_byte", "an empty text is not refused but divides by zero")
def empty_divides(losses: Tensor, text: str) -> float:
    return float(losses.double().sum()) / math.log(2) / len(text.encode())


# ---- entropy

Rules = list[tuple[float, list[str]]]


def expanded(
    local: Callable[[Rules, Callable[[str], float]], float],
) -> Callable[[Grammar, str], float]:
    """An entropy function that computes `local(rules, of)` once per nonterminal; `of`
    gives that of a symbol.
    """

    def entropy(grammar: Grammar, start: str) -> float:
        if any(abs(sum(p for p, _ in rules) - 1) > 1e-9 for rules in grammar.values()):
            raise ValueError
        known: dict[str, float] = {}

        def of(symbol: str) -> float:
            if symbol in grammar and symbol not in known:
                known[symbol] = local(
                    [(p, body) for p, body in grammar[symbol] if p > 0], of
                )
            return known.get(symbol, 0.0)

        return of(start)

    return entropy


lab.mutant(
    "entropy",
    "only the choice at the root is counted, and not those that follow from it",
)(expanded(lambda rules, of: sum(-p * math.log(p) for p, _ in rules)))
lab.mutant("entropy", "the logarithm is that to base 2, so that the result is in bits")(
    expanded(
        lambda rules, of: sum(
            p * (-math.log2(p) + sum(map(of, body))) for p, body in rules
        )
    )
)
lab.mutant("entropy", "what follows a rule is not weighted by the rule's probability")(
    expanded(
        lambda rules, of: sum(
            -p * math.log(p) + sum(map(of, body)) for p, body in rules
        )
    )
)
lab.mutant("entropy", "a symbol that a rule uses twice is counted once")(
    expanded(
        lambda rules, of: sum(
            p * (-math.log(p) + sum(map(of, set(body)))) for p, body in rules
        )
    )
)
lab.mutant("entropy", "only the first symbol of each rule is followed")(
    expanded(
        lambda rules, of: sum(
            p * (-math.log(p) + sum(map(of, body[:1]))) for p, body in rules
        )
    )
)
lab.mutant(
    "entropy",
    "the surprises are not weighted by their probability: -ln p is summed instead of "
    "-p ln p",
)(
    expanded(
        lambda rules, of: sum(
            -math.log(p) + p * sum(map(of, body)) for p, body in rules
        )
    )
)
lab.mutant("entropy", "the minus sign is missing")(
    expanded(
        lambda rules, of: sum(
            p * (math.log(p) + sum(map(of, body))) for p, body in rules
        )
    )
)
lab.mutant(
    "entropy", "the surprise at the most probable text is computed instead of the mean"
)(
    expanded(
        lambda rules, of: min(-math.log(p) + sum(map(of, body)) for p, body in rules)
    )
)
lab.mutant("entropy", "all rules of a nonterminal count as equally probable")(
    expanded(
        lambda rules, of: sum(
            (math.log(len(rules)) + sum(map(of, body))) / len(rules)
            for _, body in rules
        )
    )
)


@lab.mutant(
    "entropy",
    "each nonterminal counts once instead of as often as it is expected to be used",
)
def each_once(grammar: Grammar, start: str) -> float:
    reference.entropy(grammar, start)
    reached = [start]
    for name in reached:
        symbols = [
            symbol
            for p, body in grammar[name]
            if p > 0
            for symbol in body
            if symbol in grammar
        ]
        reached += [
            symbol for symbol in dict.fromkeys(symbols) if symbol not in reached
        ]
    return sum(-p * math.log(p) for name in reached for p, _ in grammar[name] if p > 0)


@lab.mutant(
    "entropy", "expansion begins with the first key of the grammar instead of start"
)
def start_ignored(grammar: Grammar, start: str) -> float:
    return reference.entropy(grammar, next(iter(grammar)))


@lab.mutant("entropy", "expansion begins with a symbol called S instead of start")
def start_fixed(grammar: Grammar, start: str) -> float:
    return reference.entropy(grammar, "S")


@lab.mutant(
    "entropy",
    "symbols in upper case are taken for nonterminals; a nonterminal is what is a key "
    "of the grammar",
)
def by_case(grammar: Grammar, start: str) -> float:
    reference.entropy(grammar, start)
    return reference.entropy(
        {name: rules for name, rules in grammar.items() if name.isupper()}, start
    )


@lab.mutant("entropy", "a rule of probability 0 is asked for its logarithm")
def log_of_zero(grammar: Grammar, start: str) -> float:
    for rules in grammar.values():
        for p, _ in rules:
            math.log(p)
    return reference.entropy(grammar, start)


@lab.mutant("entropy", "probabilities that do not sum to 1 are accepted")
def unchecked_sum(grammar: Grammar, start: str) -> float:
    scaled = {
        name: [(p / sum(q for q, _ in rules), body) for p, body in rules]
        for name, rules in grammar.items()
    }
    return reference.entropy(scaled, start)


@lab.mutant(
    "entropy",
    "probabilities have to sum to exactly 1.0, which rounding makes impossible for "
    "0.7, 0.2 and 0.1",
)
def exact_sum(grammar: Grammar, start: str) -> float:
    if any(sum(p for p, _ in rules) != 1 for rules in grammar.values()):
        raise ValueError("probabilities do not sum to 1")
    return reference.entropy(grammar, start)


@lab.mutant(
    "entropy",
    "sums that are off by more than 1e-9 are accepted: the tolerance is too wide",
)
def loose_sum(grammar: Grammar, start: str) -> float:
    if any(abs(sum(p for p, _ in rules) - 1) > 1e-5 for rules in grammar.values()):
        raise ValueError
    return unchecked_sum(grammar, start)


@lab.mutant(
    "entropy",
    "only nonterminals that come up in the expansion have their probabilities checked",
)
def checked_on_the_way(grammar: Grammar, start: str) -> float:
    reached = [start]
    for name in reached:
        symbols = [symbol for _, body in grammar.get(name, []) for symbol in body]
        reached += [
            symbol for symbol in dict.fromkeys(symbols) if symbol not in reached
        ]
    return reference.entropy(
        {name: rules for name, rules in grammar.items() if name in reached}, start
    )
