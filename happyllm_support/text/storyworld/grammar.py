"""A small engine for texts made by chance: lines with gaps, chosen and filled one after
the other.

A `Grammar` is a set of beats. A beat offers lines that say the same kind of thing in
different ways; each line is written once in every language and has gaps such as
`{hero}` or `{hero.he}`. To tell a story: pick a line of the first beat, draw a value
for every variable that the line mentions for the first time, go on to the next beat.
Both choices may depend on what was drawn before.

The derivation (which lines, which values) has probability

    p(derivation) = prod over beats of  p(line | earlier values)
                    * prod over the new variables of the line of  p(value | earlier values)

and, because no text of a beat is the beginning of another one
(`happyllm_support.text.storyworld.exact.ambiguity` proves it), text and derivation
determine each other. So the log-probability of a text is the log-probability of its one
derivation, found by reading from left to right.
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
    Variable,
)

Context = dict[str, Item]


@dataclass(frozen=True)
class Choice:
    """What was chosen at one beat: the index of the line, and the keys of the values
    that it drew, in order.
    """

    beat: str
    line: int
    drawn: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Distribution:
    """A finite distribution: outcomes of positive probability, with cumulative sums for
    drawing.
    """

    probs: Mapping[
        int, float
    ]  # position in the pool (or index of the line) -> probability
    log_probs: Mapping[int, float]
    positions: tuple[int, ...]
    cumulative: tuple[float, ...]

    @classmethod
    def of(cls, weights: Sequence[float], what: str) -> Distribution:
        """Normalises weights; zero weights are left out."""
        total = math.fsum(weights)
        if not total > 0 or min(weights) < 0:
            raise ValueError(
                f"{what}: weights must be non-negative and not all zero, got "
                f"{list(weights)}"
            )
        probs = {
            position: weight / total
            for position, weight in enumerate(weights)
            if weight > 0
        }
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
        """The outcome that a number in [0, 1) falls on."""
        return self.positions[
            min(bisect_right(self.cumulative, uniform), len(self.positions) - 1)
        ]


class Grammar:
    """Beats and variables: draws, renders, reads and scores texts.

    Args:
        variables: in the order in which a line draws its new ones; `given` may name
            earlier ones only.
        beats: the first one starts; `then` must not lead back.
        separators: what stands between two beats, per language; its keys are the
            languages.

    Raises:
        ValueError: rules that do not fit together (see `grammar_rules.Rules`).
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

    # ---- probabilities
    # -------------------------------------------------------------------------

    def line_distribution(
        self, beat: CompiledBeat, context: Mapping[str, Item]
    ) -> Distribution:
        """How likely each line of a beat is, given the values drawn so far."""
        key = (beat.name, *(context[name] for name in beat.given))
        if (found := self._distributions.get(key)) is None:
            weights = [
                math.prod(
                    [
                        rule.weight,
                        *(
                            rule.when[name].get(context[name].key, 1.0)
                            for name in rule.when
                        ),
                    ]
                )
                for rule in (line.source for line in beat.lines)
            ]
            found = self._distributions[key] = Distribution.of(
                weights, f"beat {beat.name!r}"
            )
        return found

    def value_distribution(
        self, variable: Variable, context: Mapping[str, Item]
    ) -> Distribution:
        """How likely each item of a variable's pool is, given the values drawn so far."""
        key = (variable.name, *(context[name] for name in variable.given), None)
        if (found := self._distributions.get(key)) is None:
            parents = [context[name] for name in variable.given]
            weights = [
                1.0
                if variable.weight is None
                else float(variable.weight(item, *parents))
                for item in variable.pool
            ]
            found = self._distributions[key] = Distribution.of(
                weights, f"variable {variable.name!r} given {parents}"
            )
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
    ) -> tuple[tuple[Choice, ...], Context, float]:
        """Draws a derivation.

        Args:
            uniforms: at least `max_draws` numbers in [0, 1), used from the front.

        Returns:
            The derivation, the values of all variables drawn, and the log-probability
            in nats.
        """
        context: Context = {}
        choices: list[Choice] = []
        log_prob, used = 0.0, 0
        name: str | None = self.start
        while name is not None:
            beat = self.beats[name]
            dist = self.line_distribution(beat, context)
            line = beat.lines[dist.pick(uniforms[used])]
            log_prob += dist.log_probs[line.index]
            drawn: list[tuple[str, str]] = []
            for variable in line.new:
                used += 1
                dist = self.value_distribution(variable, context)
                position = dist.pick(uniforms[used])
                item = context[variable.name] = variable.pool[position]
                log_prob += dist.log_probs[position]
                drawn.append((variable.name, item.key))
            used += 1
            choices.append(Choice(name, line.index, tuple(drawn)))
            name = line.then
        return tuple(choices), context, log_prob

    def context_of(self, derivation: Sequence[Choice]) -> Context:
        """The values that a derivation gives to its variables."""
        keys = {name: key for choice in derivation for name, key in choice.drawn}
        return {
            name: next(item for item in self.variables[name].pool if item.key == key)
            for name, key in keys.items()
        }

    def render(
        self, derivation: Sequence[Choice], context: Mapping[str, Item], language: str
    ) -> list[str]:
        """The text of a derivation, one string per beat (each but the last ends with
        the separator).
        """
        texts: list[str] = []
        for choice in derivation:
            parts = self.beats[choice.beat].lines[choice.line].parts[language]
            texts.append(
                "".join(
                    [
                        p if isinstance(p, str) else context[p[0]].forms[language][p[1]]
                        for p in parts
                    ]
                )
            )
        return texts

    # ---- reading
    # -------------------------------------------------------------------------------

    def parse(
        self, text: str, language: str
    ) -> tuple[tuple[Choice, ...], Context, float]:
        """Finds the derivation of a text; returns what `sample` returns.

        Raises:
            ValueError: the text is no story; names the character at which it departs
                from every story.
        """
        self.check_language(language)
        context: Context = {}
        choices: list[Choice] = []
        log_prob, start = 0.0, 0
        name: str | None = self.start
        while name is not None:
            beat = self.beats[name]
            lines = self.line_distribution(beat, context)
            reach = [start]
            for index in lines.probs:
                line = beat.lines[index]
                end = self._match(line, language, 0, text, start, context, reach)
                if end >= 0 and (line.then is not None or end == len(text)):
                    break
                reach.append(end)
                for variable in line.new:
                    context.pop(variable.name, None)
            else:
                raise ValueError(departure(text, max(reach)))
            log_prob += lines.log_probs[index]
            for variable in line.new:
                position = self.position[variable.name][context[variable.name]]
                log_prob += self.value_distribution(variable, context).log_probs[
                    position
                ]
            choices.append(
                Choice(
                    name, index, tuple((v.name, context[v.name].key) for v in line.new)
                )
            )
            name, start = line.then, end
        return tuple(choices), context, log_prob

    def check_language(self, language: str) -> None:
        """Raises ValueError for a language that the grammar does not speak."""
        if language not in self.separators:
            raise ValueError(
                f"unknown language {language!r}: allowed are "
                f"{', '.join(map(repr, self.separators))}"
            )

    def _match(
        self,
        line: CompiledLine,
        language: str,
        at: int,
        text: str,
        pos: int,
        context: Context,
        reach: list[int],
    ) -> int:
        """Reads a line from part number `at` on and binds its new variables; returns
        where it ends, or -1.
        """
        parts = line.parts[language]
        for index in range(at, len(parts)):
            part = parts[index]
            if isinstance(part, str):
                words = part
            elif (item := context.get(part[0])) is not None:
                words = item.forms[language][part[1]]
            else:
                for item in self.variables[part[0]].pool:
                    words = item.forms[language][part[1]]
                    if not text.startswith(words, pos):
                        reach.append(pos + common_prefix(words, text, pos))
                        continue
                    context[part[0]] = item
                    if self._possible(line, context):
                        end = self._match(
                            line,
                            language,
                            index + 1,
                            text,
                            pos + len(words),
                            context,
                            reach,
                        )
                        if end >= 0:
                            return end
                    del context[part[0]]
                return -1
            if not text.startswith(words, pos):
                reach.append(pos + common_prefix(words, text, pos))
                return -1
            pos += len(words)
        reach.append(pos)
        return pos

    def _possible(self, line: CompiledLine, context: Context) -> bool:
        """Whether the new variables bound so far can occur together."""
        for variable in line.new:
            if (
                variable.weight
                and variable.name in context
                and all(parent in context for parent in variable.given)
            ):
                dist = self.value_distribution(variable, context)
                if (
                    self.position[variable.name][context[variable.name]]
                    not in dist.probs
                ):
                    return False
        return True


def common_prefix(words: str, text: str, pos: int) -> int:
    """How many characters of `words` stand in `text` at `pos`."""
    count = 0
    while count < len(words) and text[pos + count : pos + count + 1] == words[count]:
        count += 1
    return count


def departure(text: str, pos: int) -> str:
    """One line that says where a text stops being a story."""
    if pos >= len(text):
        return f"not a story: it ends too early, after {len(text)} characters"
    before, after = text[max(0, pos - 20) : pos], text[pos : pos + 20]
    return (
        f"not a story: it departs from every story at character {pos}, {before!r} "
        "| "
        f"{after!r}"
    )
