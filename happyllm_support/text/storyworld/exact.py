"""What is known about a grammar without sampling: entropy, mean length, repeats, number
of texts, unambiguity.

All sums over derivations are done by dynamic programming from the last beat backwards.
What lies ahead of a beat depends on the past only through the values that a later
choice looks at, so one table entry per beat and combination of these values is enough:
a few thousand entries for billions of stories.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from happyllm_support.text.storyworld.grammar import Context, Grammar
from happyllm_support.text.storyworld.rules import (
    CompiledBeat,
    CompiledLine,
    Item,
    Part,
)

Told = Callable[[CompiledLine, Mapping[str, Item], float], float]


def entropy(grammar: Grammar) -> float:
    """H = -sum_x p(x) ln p(x) over all derivations x, in nats, by the chain rule.

    With H(state) the entropy of what is still to come, H(state) = sum over outcomes of
    p (H(next) - ln p).
    """
    return backward(grammar, lambda prob, rest: prob * (rest - math.log(prob)), end=0.0)


def collision_probability(grammar: Grammar) -> float:
    """The chance that two stories are equal, sum_x p(x)^2; among n stories n (n-1) / 2
    times as many pairs are.
    """
    return backward(grammar, lambda prob, rest: prob * prob * rest, end=1.0)


def count(grammar: Grammar) -> int:
    """The number of different stories (exact up to 2^53)."""
    return round(backward(grammar, lambda _prob, rest: rest, end=1.0))


def mean_length(
    grammar: Grammar, language: str, measure: Callable[[str], int] = len
) -> float:
    """The mean of `measure(text)` over all stories, for a measure that adds up over
    pieces (characters, bytes).

    The mean of a sum is the sum of the means: one pass for the literal words and one
    for the mentions of each variable.
    """
    grammar.check_language(language)

    def expected(prob: float, rest: float) -> float:
        return prob * rest

    def literal(line: CompiledLine, _context: Mapping[str, Item], rest: float) -> float:
        return rest + sum(
            measure(part) for part in line.parts[language] if isinstance(part, str)
        )

    def mentions_of(name: str) -> Told:
        def told(line: CompiledLine, context: Mapping[str, Item], rest: float) -> float:
            forms = [
                part[1]
                for part in line.parts[language]
                if not isinstance(part, str) and part[0] == name
            ]
            return rest + sum(
                measure(context[name].forms[language][form]) for form in forms
            )

        return told

    passes = [
        (literal, None),
        *((mentions_of(name), name) for name in grammar.variables),
    ]
    return math.fsum(
        backward(grammar, expected, end=0.0, told=told, watch=name, mean=True)
        for told, name in passes
    )


def backward(
    grammar: Grammar,
    combine: Callable[[float, float], float],
    *,
    end: float,
    told: Told | None = None,
    watch: str | None = None,
    mean: bool = False,
) -> float:
    """Sums over all derivations, from the last choice backwards.

    Args:
        grammar: what to sum over.
        combine: `combine(prob, rest)` is the share of one outcome of a choice, of
            probability `prob`, where `rest` is the sum for all that follows it; the
            shares are added up.
        end: the value of `rest` at the end of a story.
        told: `told(line, context, rest)` replaces `rest` where a line has been chosen
            and filled (to count its words).
        watch: a variable whose value `told` needs wherever a line mentions it.
        mean: the sum is an expectation, so that a variable on which nothing depends any
            more need not be drawn at all.

    Returns:
        The sum for the first choice.
    """
    live = _live_variables(grammar, watch, mean)
    tables: dict[tuple[str, int, int], dict[tuple[Item, ...], float]] = {
        step: {} for step in live
    }

    def value(step: tuple[str, int, int], context: Mapping[str, Item]) -> float:
        """The sum from a step on: the choice of a line (index -1), or of new variable
        `at` of a line, or its end.
        """
        names = live[step]
        key = tuple([context[variable] for variable in names])
        if (found := tables[step].get(key)) is None:
            known = dict(zip(names, key, strict=True))
            found = tables[step][key] = outcome(step, known)
        return found

    def outcome(step: tuple[str, int, int], context: Context) -> float:
        name, index, at = step
        beat = grammar.beats[name]
        if index < 0:
            lines = grammar.line_distribution(beat, context).probs
            return math.fsum(
                combine(prob, value((name, i, 0), context)) for i, prob in lines.items()
            )
        line = beat.lines[index]
        if at == len(line.new):
            rest = end if line.then is None else value((line.then, -1, 0), context)
            return rest if told is None else told(line, context, rest)
        variable = line.new[at]
        if mean and variable.name not in live[name, index, at + 1]:
            return value((name, index, at + 1), context)
        probs = grammar.value_distribution(variable, context).probs
        return math.fsum(
            combine(
                prob,
                value(
                    (name, index, at + 1),
                    {**context, variable.name: variable.pool[position]},
                ),
            )
            for position, prob in probs.items()
        )

    return value((grammar.start, -1, 0), {})


def _live_variables(
    grammar: Grammar, watch: str | None, mean: bool
) -> dict[tuple[str, int, int], tuple[str, ...]]:
    """For each step, the variables drawn before it that matter from there on.

    A variable matters if a choice depends on it, or if it is watched and mentioned. For
    a mean, a choice whose outcome nothing depends on does not count.
    """
    live: dict[tuple[str, int, int], tuple[str, ...]] = {}
    for name in reversed(grammar.order):
        beat = grammar.beats[name]
        of_beat = set(beat.given)
        for line in beat.lines:
            needed = (
                set(live[line.then, -1, 0]) if line.then is not None else set[str]()
            )
            mentions = (
                part
                for parts in line.parts.values()
                for part in parts
                if not isinstance(part, str)
            )
            needed |= {variable for variable, _ in mentions if variable == watch}
            live[name, line.index, len(line.new)] = tuple(sorted(needed))
            for at in range(len(line.new) - 1, -1, -1):
                variable = line.new[at]
                if not mean or variable.name in needed:
                    needed = (needed - {variable.name}) | set(variable.given)
                live[name, line.index, at] = tuple(sorted(needed))
            of_beat |= needed
        live[name, -1, 0] = tuple(sorted(of_beat))
    return live


def prefix_log_prob(grammar: Grammar, prefix: str, language: str) -> float:
    """ln of the probability that a story begins with `prefix`, in nats; -inf if none
    does.

    The difference between two prefixes is the exact conditional log-probability of what
    stands between them, so this gives the best possible loss of each token, not only of
    a whole story. Beats that are complete have one reading; the last one, cut short, is
    summed over all lines and values that fit.
    """
    grammar.check_language(language)
    context: Context = {}
    log_prob, rest = 0.0, prefix
    name: str | None = grammar.start
    while rest:
        if name is None:
            return -math.inf  # the story has ended
        begun = 0.0
        for prob, line, after, words in _outcomes(
            grammar, grammar.beats[name], context, language
        ):
            if rest.startswith(words):
                log_prob, rest, context, name = (
                    log_prob + math.log(prob),
                    rest[len(words) :],
                    after,
                    line.then,
                )
                break  # no other text of this beat begins like this one
            if words.startswith(rest):
                begun += prob
        else:
            return log_prob + math.log(begun) if begun > 0 else -math.inf
    return log_prob


def _outcomes(
    grammar: Grammar, beat: CompiledBeat, context: Context, language: str
) -> Iterator[tuple[float, CompiledLine, Context, str]]:
    """All ways to tell a beat: probability, line, values and words."""
    for index, prob in grammar.line_distribution(beat, context).probs.items():
        line = beat.lines[index]
        parts = line.parts[language]
        for chance, after in _fillings(grammar, line, 0, context):
            yield (
                prob * chance,
                line,
                after,
                "".join(
                    [
                        p if isinstance(p, str) else after[p[0]].forms[language][p[1]]
                        for p in parts
                    ]
                ),
            )


def _fillings(
    grammar: Grammar, line: CompiledLine, at: int, context: Context
) -> Iterator[tuple[float, Context]]:
    """All ways to draw the new variables of a line from number `at` on, with their
    probabilities.
    """
    if at == len(line.new):
        yield 1.0, context
        return
    variable = line.new[at]
    for position, prob in grammar.value_distribution(variable, context).probs.items():
        for chance, after in _fillings(
            grammar, line, at + 1, {**context, variable.name: variable.pool[position]}
        ):
            yield prob * chance, after


@dataclass
class _Reader:
    """A line being spelled out: the next part, words of earlier parts not yet compared,
    its own new values.
    """

    line: CompiledLine
    parts: tuple[Part, ...]
    own: Context = field(default_factory=dict[str, Item])
    at: int = 0
    words: str = ""

    def ended(self) -> bool:
        return not self.words and self.at == len(self.parts)

    def advanced(self, words: str, **own: Item) -> _Reader:
        return _Reader(self.line, self.parts, {**self.own, **own}, self.at + 1, words)


def ambiguity(grammar: Grammar, language: str) -> str | None:
    """Looks for a text that has two derivations, and for a beat that could end in two
    places.

    For every beat and every two different outcomes (line and new values) it spells both
    out side by side, for all values of the variables that they mention, until they
    differ. If each pair differs before either ends, then no text of a beat is the
    beginning of another, reading from left to right leaves no choice, and every text
    has one derivation.

    Returns:
        None when there is no ambiguity; otherwise one line that names the beat and the
        words that two outcomes share.
    """
    grammar.check_language(language)
    for name in grammar.order:
        lines = grammar.beats[name].lines
        for index, left in enumerate(lines):
            for right in lines[index:]:
                one, other = (
                    _Reader(left, left.parts[language]),
                    _Reader(right, right.parts[language]),
                )
                if (clash := _clash(grammar, language, {}, one, other, "")) is not None:
                    return (
                        f"beat {name!r}, lines {left.index} and {right.index}: "
                        "both "
                        f"can begin with {clash!r}"
                    )
    return None


def _clash(
    grammar: Grammar,
    language: str,
    shared: Context,
    left: _Reader,
    right: _Reader,
    said: str,
) -> str | None:
    """The words after which one of two outcomes ends while they still agree, or None
    when they always differ before.
    """
    while True:
        both = min(len(left.words), len(right.words))
        if left.words[:both] != right.words[:both]:
            return None
        said += left.words[:both]
        left.words, right.words = left.words[both:], right.words[both:]
        if left.ended() or right.ended():
            same = (
                left.line is right.line
                and left.own == right.own
                and left.ended()
                and right.ended()
            )
            return None if same else said
        side, other = (left, right) if not left.words else (right, left)
        part = side.parts[side.at]
        if isinstance(part, str):
            side.at, side.words = side.at + 1, part
            continue
        name, form = part
        mine = name in {variable.name for variable in side.line.new}
        if (
            not mine
            and not other.words
            and other.at < len(other.parts)
            and other.parts[other.at] == part
        ):
            side.at, other.at = (
                side.at + 1,
                other.at + 1,
            )  # the same value of an earlier variable: the same words
            continue
        known = (side.own if mine else shared).get(name)
        if known is not None:
            side.at, side.words = side.at + 1, known.forms[language][form]
            continue
        for item in grammar.variables[name].pool:
            words = item.forms[language][form]
            if other.words and not (
                words.startswith(other.words) or other.words.startswith(words)
            ):
                continue
            values = shared if mine else {**shared, name: item}
            reader = side.advanced(words, **({name: item} if mine else {}))
            copy = _Reader(other.line, other.parts, other.own, other.at, other.words)
            if not _allowed(grammar, {**values, **reader.own}):
                continue
            pair = (reader, copy) if side is left else (copy, reader)
            if (clash := _clash(grammar, language, values, *pair, said)) is not None:
                return clash
        return None


def _allowed(grammar: Grammar, context: Mapping[str, Item]) -> bool:
    """Whether values can occur together, as far as the values that they depend on are
    known.
    """
    for name, item in context.items():
        variable = grammar.variables[name]
        if variable.weight and all(parent in context for parent in variable.given):
            probs = grammar.value_distribution(variable, context).probs
            if grammar.position[name][item] not in probs:
                return False
    return True
