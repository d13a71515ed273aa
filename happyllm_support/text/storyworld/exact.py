"""What is known about a grammar without sampling: entropy, mean length, repeats, number
of texts, and the probability of every beginning.

All sums over derivations are done by dynamic programming from the last beat backwards.
What lies ahead of a beat depends on the past only through the values that a later
choice looks at, so one table entry per beat and combination of these values is enough:
a few thousand entries for billions of stories.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from happyllm_support.text.storyworld.grammar import Grammar, line_text
from happyllm_support.text.storyworld.rules import (
    CompiledBeat,
    CompiledLine,
    Item,
    Values,
)

LengthOfLine = Callable[[CompiledLine, Mapping[str, Item]], float]


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
    """The mean of `measure(text)` over all stories, such as characters or bytes.

    The measure has to add up over pieces. The mean of a sum is the sum of the means:
    one pass for the literal words and one for the mentions of each variable.
    """
    grammar.check_language(language)

    def expected(prob: float, rest: float) -> float:
        return prob * rest

    def literal(line: CompiledLine, _values: Mapping[str, Item]) -> float:
        words = (part for part in line.parts[language] if isinstance(part, str))
        return sum(map(measure, words))

    def mentions_of(name: str) -> LengthOfLine:
        def mentions(line: CompiledLine, values: Mapping[str, Item]) -> float:
            gaps = (part for part in line.parts[language] if not isinstance(part, str))
            forms = [form for variable, form in gaps if variable == name]
            return sum(measure(values[name].forms[language][form]) for form in forms)

        return mentions

    passes = [
        (literal, None),
        *((mentions_of(name), name) for name in grammar.variables),
    ]
    return math.fsum(
        backward(grammar, expected, end=0.0, length=length, watch=name, mean=True)
        for length, name in passes
    )


def backward(
    grammar: Grammar,
    combine: Callable[[float, float], float],
    *,
    end: float,
    length: LengthOfLine | None = None,
    watch: str | None = None,
    mean: bool = False,
) -> float:
    """Sum over all derivations, from the last choice backwards.

    Args:
        grammar: what to sum over.
        combine: `combine(prob, rest)` is the share of one outcome of a choice, of
            probability `prob`, where `rest` is the sum for all that follows it; the
            shares are added up.
        end: the value of `rest` at the end of a story.
        length: `length(line, values)` is added to `rest` where a line has been chosen
            and filled.
        watch: a variable whose value `length` needs wherever a line mentions it.
        mean: the sum is an expectation, so that a variable on which nothing depends any
            more need not be drawn at all.

    Returns:
        The sum for the first choice.
    """
    live = _live_variables(grammar, watch, mean)
    tables: dict[tuple[str, int, int], dict[tuple[Item, ...], float]] = {
        step: {} for step in live
    }

    def value(step: tuple[str, int, int], values: Mapping[str, Item]) -> float:
        """The sum from a step on: the choice of a line (index -1), or of new variable
        `at` of a line, or its end.
        """
        names = live[step]
        key = tuple([values[variable] for variable in names])
        if (found := tables[step].get(key)) is None:
            known = dict(zip(names, key, strict=True))
            found = tables[step][key] = outcome(step, known)
        return found

    def outcome(step: tuple[str, int, int], values: Values) -> float:
        name, index, at = step
        beat = grammar.beats[name]
        if index < 0:
            lines = grammar.line_distribution(beat, values).probs
            return math.fsum(
                combine(prob, value((name, i, 0), values)) for i, prob in lines.items()
            )
        line = beat.lines[index]
        if at == len(line.new):
            rest = end if line.then is None else value((line.then, -1, 0), values)
            return rest if length is None else rest + length(line, values)
        variable = line.new[at]
        if mean and variable.name not in live[name, index, at + 1]:
            return value((name, index, at + 1), values)
        probs = grammar.value_distribution(variable, values).probs
        return math.fsum(
            combine(
                prob,
                value(
                    (name, index, at + 1),
                    {**values, variable.name: variable.pool[position]},
                ),
            )
            for position, prob in probs.items()
        )

    return value((grammar.start, -1, 0), {})


def _live_variables(
    grammar: Grammar, watch: str | None, mean: bool
) -> dict[tuple[str, int, int], tuple[str, ...]]:
    """Return for each step the variables drawn before it that matter from there on.

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
    """ln of the probability that a story begins with `prefix`; -inf if none does.

    The difference between two prefixes is the exact conditional log-probability of what
    stands between them, so this gives the best possible loss of each token, not only of
    a whole story. Beats that are complete have one reading; the last one, cut short, is
    summed over all lines and values that fit.
    """
    grammar.check_language(language)
    values: Values = {}
    log_prob, rest = 0.0, prefix
    name: str | None = grammar.start
    while rest:
        if name is None:
            return -math.inf  # the story has ended
        begun = 0.0
        outcomes = _outcomes(grammar, grammar.beats[name], values, language)
        for prob, line, after, words in outcomes:
            if rest.startswith(words):
                log_prob += math.log(prob)
                rest, values, name = rest.removeprefix(words), after, line.then
                break  # no other text of this beat begins like this one
            if words.startswith(rest):
                begun += prob
        else:
            return log_prob + math.log(begun) if begun > 0 else -math.inf
    return log_prob


def _outcomes(
    grammar: Grammar, beat: CompiledBeat, values: Values, language: str
) -> Iterator[tuple[float, CompiledLine, Values, str]]:
    """Yield all ways to tell a beat: probability, line, values and words."""
    for index, prob in grammar.line_distribution(beat, values).probs.items():
        line = beat.lines[index]
        for chance, after in _fillings(grammar, line, 0, values):
            yield prob * chance, line, after, line_text(line, after, language)


def _fillings(
    grammar: Grammar, line: CompiledLine, at: int, values: Values
) -> Iterator[tuple[float, Values]]:
    """Yield all ways to draw the new variables of a line from number `at` on."""
    if at == len(line.new):
        yield 1.0, values
        return
    variable = line.new[at]
    for position, prob in grammar.value_distribution(variable, values).probs.items():
        for chance, after in _fillings(
            grammar, line, at + 1, {**values, variable.name: variable.pool[position]}
        ):
            yield prob * chance, after
