"""A small engine for texts made by chance: lines with gaps, chosen and filled one after
the other.

A `Grammar` is a set of beats. A beat offers lines that say the same kind of thing in
different ways; each line is written once in every language and has gaps such as
`{hero}` or `{hero.he}`. To tell a story: pick a line of the first beat, draw a value
for every variable that the line mentions for the first time, go on to the next beat.
Both choices may depend on what was drawn before.

The derivation (which lines, which values) has probability

    p(derivation) = prod over beats of  p(line | earlier values)
                    * prod over the line's new variables of  p(value | earlier values)

and, because no text of a beat is the beginning of another one (`ambiguity` proves it),
text and derivation determine each other. So the log-probability of a text is that of
its one derivation, found by reading from left to right (`reading`).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from happyllm_support.text.storyworld.rules import (
    Beat,
    CompiledBeat,
    CompiledLine,
    Item,
    Rules,
    Values,
    Variable,
)


@dataclass(frozen=True)
class Choice:
    """What was chosen at one beat.

    Attributes:
        beat: its name.
        line: the index of the line.
        drawn: the variables that the line drew, in order, each with its value's key.
    """

    beat: str
    line: int
    drawn: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Distribution:
    """A finite distribution over outcomes of positive probability.

    Attributes:
        probs: by position in the pool, or index of the line.
        log_probs: their logarithms, in nats.
        positions: the keys of both.
        cumulative: sums of the probabilities up to each position, for drawing.
    """

    probs: Mapping[int, float]
    log_probs: Mapping[int, float]
    positions: tuple[int, ...]
    cumulative: tuple[float, ...]

    @classmethod
    def of(cls, weights: Sequence[float], what: str) -> Distribution:
        """Normalise weights; zero weights are left out."""
        total = math.fsum(weights)
        if not total > 0 or min(weights) < 0:
            raise ValueError(
                f"{what}: weights are {list(weights)}; expected numbers from 0 on, "
                "not all zero"
            )
        probs = {at: weight / total for at, weight in enumerate(weights) if weight > 0}
        sums: list[float] = []
        for prob in probs.values():
            sums.append(prob + (sums[-1] if sums else 0.0))
        return cls(
            probs,
            {at: math.log(prob) for at, prob in probs.items()},
            tuple(probs),
            tuple(sums),
        )

    def pick(self, uniform: float) -> int:
        """Return the outcome that a number in [0, 1) falls on."""
        number = bisect_right(self.cumulative, uniform)
        return self.positions[min(number, len(self.positions) - 1)]


class Grammar:
    """Beats and variables: draws derivations and tells them.

    Args:
        variables: in the order in which a line draws its new ones; `given` may name
            earlier ones only.
        beats: the first one starts; `then` must not lead back.
        separators: what stands between two beats, per language; its keys are the
            languages.

    Raises:
        ValueError: rules that do not fit together (see `rules.Rules`).
    """

    def __init__(
        self,
        variables: Sequence[Variable],
        beats: Sequence[Beat],
        separators: Mapping[str, str],
    ) -> None:
        rules = Rules(variables, beats, separators)
        self.variables, self.beats = rules.variables, rules.beats
        self.order, self.start = rules.order, rules.start
        self.separators = dict(separators)
        self.position = {
            v.name: {item: i for i, item in enumerate(v.pool)} for v in variables
        }
        self._distributions: dict[tuple[object, ...], Distribution] = {}

    def line_distribution(
        self, beat: CompiledBeat, values: Mapping[str, Item]
    ) -> Distribution:
        """Return how likely each line of a beat is, given the values drawn so far."""
        key = (beat.name, *(values[name] for name in beat.given))
        if (found := self._distributions.get(key)) is None:
            weights: list[float] = []
            for line in beat.lines:
                factors = [
                    by_key.get(values[name].key, 1.0)
                    for name, by_key in line.source.when.items()
                ]
                weights.append(math.prod([line.source.weight, *factors]))
            found = Distribution.of(weights, f"beat {beat.name!r}")
            self._distributions[key] = found
        return found

    def value_distribution(
        self, variable: Variable, values: Mapping[str, Item]
    ) -> Distribution:
        """Return how likely each item of a pool is, given the values drawn so far."""
        key = (variable.name, *(values[name] for name in variable.given), None)
        if (found := self._distributions.get(key)) is None:
            parents = [values[name] for name in variable.given]
            weights = [1.0] * len(variable.pool)
            if variable.weight is not None:
                weights = [float(variable.weight(x, *parents)) for x in variable.pool]
            what = f"variable {variable.name!r} given {parents}"
            found = self._distributions[key] = Distribution.of(weights, what)
        return found

    @cached_property
    def max_draws(self) -> int:
        """The most random choices that one story makes."""
        most: dict[str | None, int] = {None: 0}
        for name in reversed(self.order):
            most[name] = max(
                1 + len(line.new) + most[line.then] for line in self.beats[name].lines
            )
        return most[self.start]

    def sample(
        self, uniforms: Sequence[float]
    ) -> tuple[tuple[Choice, ...], Values, float]:
        """Draw a derivation.

        Args:
            uniforms: at least `max_draws` numbers in [0, 1), used from the front.

        Returns:
            The derivation, the values of all variables drawn, and the log-probability
            in nats.
        """
        values: Values = {}
        choices: list[Choice] = []
        log_prob, used = 0.0, 0
        name: str | None = self.start
        while name is not None:
            beat = self.beats[name]
            dist = self.line_distribution(beat, values)
            line = beat.lines[dist.pick(uniforms[used])]
            log_prob += dist.log_probs[line.index]
            drawn: list[tuple[str, str]] = []
            for variable in line.new:
                used += 1
                dist = self.value_distribution(variable, values)
                position = dist.pick(uniforms[used])
                item = values[variable.name] = variable.pool[position]
                log_prob += dist.log_probs[position]
                drawn.append((variable.name, item.key))
            used += 1
            choices.append(Choice(name, line.index, tuple(drawn)))
            name = line.then
        return tuple(choices), values, log_prob

    def render(
        self, derivation: Sequence[Choice], values: Mapping[str, Item], language: str
    ) -> list[str]:
        """Return the text of a derivation, one string per beat.

        Each but the last ends with the separator.
        """
        return [
            line_text(self.beats[choice.beat].lines[choice.line], values, language)
            for choice in derivation
        ]

    def check_language(self, language: str) -> None:
        """Raise ValueError for a language that the grammar does not speak."""
        if language not in self.separators:
            raise ValueError(
                f"unknown language {language!r}: expected "
                f"{', '.join(map(repr, self.separators))}"
            )


def line_text(line: CompiledLine, values: Mapping[str, Item], language: str) -> str:
    """Return the words of a line with its gaps filled."""
    words = [
        part if isinstance(part, str) else values[part[0]].forms[language][part[1]]
        for part in line.parts[language]
    ]
    return "".join(words)
