"""A small engine for texts made by chance: lines with gaps, chosen and filled one after the other, in several languages at once.

A `Grammar` is a set of beats. A beat offers lines that say the same kind of thing in different ways; each line is written once per
language and has gaps such as `{hero}` or `{hero.he}`. To tell a story: pick a line of the first beat, draw a value for every variable
that the line mentions for the first time, go on to the next beat. Both choices may depend on what was drawn before.

The derivation (which lines, which values) has probability

    p(derivation) = prod over beats of  p(line | earlier values) * prod over its new variables of p(value | earlier values)

and, because no text of a beat is the beginning of another one (`happyllm_support.text.grammar_exact.ambiguity` proves it), text and
derivation determine each other. So the log-probability of a text is the log-probability of its one derivation, found by reading from
left to right.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

_GAP = re.compile(r"\{(\w+)(?:\.(\w+))?\}")


@dataclass(frozen=True, eq=False)
class Item:
    """A value of a variable: a key, and its word forms in each language (`forms["en"]["he"]`; the plain form is `""`)."""

    key: str
    forms: Mapping[str, Mapping[str, str]]

    def __repr__(self) -> str:
        return f"Item({self.key})"


Context = dict[str, Item]


@dataclass(frozen=True, kw_only=True)
class Variable:
    """Something to be drawn: `weight(item, *values of given)` is proportional to its probability (1 for every item when absent)."""

    name: str
    pool: tuple[Item, ...]
    given: tuple[str, ...] = ()
    weight: Callable[..., float] | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One way to tell a beat, in every language.

    `when={"trait": {"shy": 4.0}}` multiplies the weight by 4 where the variable trait has the item with the key shy. `then` names the
    beat that follows this line, where it is not the one that follows its beat.
    """

    text: Mapping[str, str]
    weight: float = 1.0
    when: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    then: str | None = None


@dataclass(frozen=True, kw_only=True)
class Beat:
    """A step of a story: lines to choose from, and the name of the beat that follows (None: the story ends)."""

    name: str
    lines: tuple[Line, ...]
    then: str | None = None


@dataclass(frozen=True)
class Choice:
    """What was chosen at one beat: the index of the line, and the keys of the variables that it drew, in order of declaration."""

    beat: str
    line: int
    drawn: tuple[tuple[str, str], ...]


Part = str | tuple[str, str]  # literal words, or (variable, form)


@dataclass(frozen=True)
class Distribution:
    """A finite distribution: outcomes of positive probability, with cumulative sums for drawing."""

    probs: Mapping[int, float]  # position in the pool (or index of the line) -> probability
    positions: tuple[int, ...]
    cumulative: tuple[float, ...]

    @classmethod
    def of(cls, weights: Sequence[float], what: str) -> Distribution:
        """Normalises weights; zero weights are left out."""
        total = math.fsum(weights)
        if not total > 0 or min(weights) < 0:
            raise ValueError(f"{what}: weights must be non-negative and not all zero, got {list(weights)}")
        probs = {position: weight / total for position, weight in enumerate(weights) if weight > 0}
        sums: list[float] = []
        for prob in probs.values():
            sums.append(prob + (sums[-1] if sums else 0.0))
        return cls(probs, tuple(probs), tuple(sums))

    def pick(self, uniform: float) -> int:
        """The outcome that a number in [0, 1) falls on."""
        return self.positions[min(bisect_right(self.cumulative, uniform), len(self.positions) - 1)]


@dataclass(frozen=True)
class CompiledLine:
    """A line ready for use: its parts per language (separator included), the variables that it draws, and the beat that follows."""

    index: int
    parts: Mapping[str, tuple[Part, ...]]
    new: tuple[Variable, ...]
    then: str | None


@dataclass(frozen=True)
class CompiledBeat:
    """A beat ready for use: its lines, and the variables that their weights depend on."""

    name: str
    lines: tuple[CompiledLine, ...]
    given: tuple[str, ...]
    bound: frozenset[str]  # variables that are drawn before, on every path, among those that still matter here


class Grammar:
    """Beats and variables, checked and compiled: draws, renders, parses and scores texts.

    Args:
        variables: in the order in which a line draws its new ones; `given` may name earlier ones only.
        beats: the first one starts; `then` must not lead back.
        separators: what stands between two beats, per language; its keys are the languages.

    Raises:
        ValueError: an unknown variable, form, beat or language; a cycle; a variable that only some ways of getting to a beat have
            drawn; a line that draws other variables in one language than in another.
    """

    def __init__(self, variables: Sequence[Variable], beats: Sequence[Beat], separators: Mapping[str, str]) -> None:
        self.variables = {variable.name: variable for variable in variables}
        self.rank = {variable.name: rank for rank, variable in enumerate(variables)}
        self.position = {v.name: {item: i for i, item in enumerate(v.pool)} for v in variables}
        self.separators = dict(separators)
        self.start = beats[0].name
        self._sources = {beat.name: beat for beat in beats}
        self._dists: dict[tuple[object, ...], Distribution] = {}
        self.order = self._topological(self.start)
        self.beats = self._compile()

    # ---- building ------------------------------------------------------------------------------------------------------------

    def _topological(self, start: str) -> list[str]:
        """Beats that can be reached, each before all that follow it."""
        done: dict[str, bool] = {}
        order: list[str] = []

        def visit(name: str) -> None:
            if name in done:
                if not done[name]:
                    raise ValueError(f"beat {name!r} leads back to itself: stories must end")
                return
            if name not in self._sources:
                raise ValueError(f"unknown beat {name!r}: allowed are {', '.join(self._sources)}")
            done[name] = False
            for then in successors(self._sources[name]):
                visit(then)
            done[name] = True
            order.append(name)

        visit(start)
        return order[::-1]

    def _compile(self) -> dict[str, CompiledBeat]:
        compiled: dict[str, CompiledBeat] = {}
        bound: dict[str, frozenset[str]] = {self.start: frozenset()}
        matters = self._matters()
        for name in self.order:
            source = self._sources[name]
            given = sorted({variable for line in source.lines for variable in line.when}, key=self._rank_of)
            before = bound[name] & matters[name]
            lines: list[CompiledLine] = []
            for index, line in enumerate(source.lines):
                then = line.then or source.then
                new = self._new_variables(f"beat {name!r}, line {index}", line, before, given)
                parts = {lang: split_gaps(text + (self.separators[lang] if then else "")) for lang, text in line.text.items()}
                lines.append(CompiledLine(index, parts, new, then))
                if then is not None:
                    after = (before | {variable.name for variable in new}) & matters[then]
                    if bound.setdefault(then, after) & matters[then] != after:
                        odd = ", ".join(sorted((bound[then] & matters[then]) ^ after))
                        raise ValueError(f"beat {then!r}: {odd} is drawn on some ways to it and not on others")
            compiled[name] = CompiledBeat(name, tuple(lines), tuple(given), before)
        return compiled

    def _matters(self) -> dict[str, frozenset[str]]:
        """For each beat, the variables that it or a later one mentions or depends on."""
        matters: dict[str, frozenset[str]] = {}
        for name in reversed(self.order):
            source = self._sources[name]
            names = {variable for line in source.lines for variable in [*line.when, *self._mentioned(line)]}
            names |= {parent for variable in names for parent in self.variables[variable].given}
            matters[name] = frozenset(names).union(*(matters[then] for then in successors(source)))
        return matters

    def _mentioned(self, line: Line) -> set[str]:
        names = {name for text in line.text.values() for name, _ in gaps(text)}
        for name in names:
            self._rank_of(name)
        return names

    def _rank_of(self, name: str) -> int:
        if name not in self.rank:
            raise ValueError(f"unknown variable {name!r}: allowed are {', '.join(self.rank)}")
        return self.rank[name]

    def _new_variables(self, where: str, line: Line, before: frozenset[str], given: Sequence[str]) -> tuple[Variable, ...]:
        if set(line.text) != set(self.separators):
            raise ValueError(f"{where}: has languages {sorted(line.text)}, allowed are exactly {sorted(self.separators)}")
        mentions = {language: {name for name, _ in gaps(text)} - before for language, text in line.text.items()}
        drawn = self._mentioned(line) - before
        for language, text in line.text.items():
            if mentions[language] != drawn:
                raise ValueError(f"{where}: {', '.join(sorted(drawn - mentions[language]))} is not mentioned in {language!r}")
            for name, form in gaps(text):
                if any(form not in item.forms[language] for item in self.variables[name].pool):
                    raise ValueError(f"{where}: {name} has no form {form!r} in {language!r}")
        known = set(before)
        new = tuple(self.variables[name] for name in sorted(drawn, key=self._rank_of))
        for variable in new:
            if missing := set(variable.given) - known:
                raise ValueError(f"{where}: {variable.name} depends on {', '.join(sorted(missing))}, not drawn before it")
            known.add(variable.name)
        if missing := set(given) - before:
            raise ValueError(f"{where}: weights depend on {', '.join(sorted(missing))}, not drawn before this beat")
        return new

    # ---- probabilities -------------------------------------------------------------------------------------------------------

    def line_distribution(self, beat: CompiledBeat, context: Mapping[str, Item]) -> Distribution:
        """How likely each line of a beat is, given the values drawn so far."""
        key = (beat.name, *(context[name] for name in beat.given))
        if (found := self._dists.get(key)) is None:
            weights = [
                math.prod([line.weight, *(line.when[name].get(context[name].key, 1.0) for name in line.when)])
                for line in self._sources[beat.name].lines
            ]
            found = self._dists[key] = Distribution.of(weights, f"beat {beat.name!r}")
        return found

    def value_distribution(self, variable: Variable, context: Mapping[str, Item]) -> Distribution:
        """How likely each item of a variable's pool is, given the values drawn so far."""
        key = (variable.name, *(context[name] for name in variable.given), None)
        if (found := self._dists.get(key)) is None:
            parents = [context[name] for name in variable.given]
            weights = [1.0 if variable.weight is None else float(variable.weight(item, *parents)) for item in variable.pool]
            found = self._dists[key] = Distribution.of(weights, f"variable {variable.name!r} given {parents}")
        return found

    @cached_property
    def max_draws(self) -> int:
        """The most random choices that one story makes."""
        most: dict[str | None, int] = {None: 0}
        for name in reversed(self.order):
            most[name] = max(1 + len(line.new) + most[line.then] for line in self.beats[name].lines)
        return most[self.start]

    def sample(self, uniforms: Sequence[float]) -> tuple[tuple[Choice, ...], Context, float]:
        """Draws a derivation.

        Args:
            uniforms: at least `max_draws` numbers in [0, 1), used from the front.

        Returns:
            The derivation, the values of all variables drawn, and the log-probability in nats.
        """
        context: Context = {}
        choices: list[Choice] = []
        log_prob, used = 0.0, 0
        name: str | None = self.start
        while name is not None:
            beat = self.beats[name]
            dist = self.line_distribution(beat, context)
            line = beat.lines[dist.pick(uniforms[used])]
            log_prob += math.log(dist.probs[line.index])
            drawn: list[tuple[str, str]] = []
            for variable in line.new:
                used += 1
                dist = self.value_distribution(variable, context)
                position = dist.pick(uniforms[used])
                item = context[variable.name] = variable.pool[position]
                log_prob += math.log(dist.probs[position])
                drawn.append((variable.name, item.key))
            used += 1
            choices.append(Choice(name, line.index, tuple(drawn)))
            name = line.then
        return tuple(choices), context, log_prob

    def context_of(self, derivation: Sequence[Choice]) -> Context:
        """The values that a derivation gives to its variables."""
        keys = {name: key for choice in derivation for name, key in choice.drawn}
        return {name: next(item for item in self.variables[name].pool if item.key == key) for name, key in keys.items()}

    def render(self, derivation: Sequence[Choice], context: Mapping[str, Item], language: str) -> list[str]:
        """The text of a derivation, one string per beat (each but the last ends with the separator)."""
        texts: list[str] = []
        for choice in derivation:
            parts = self.beats[choice.beat].lines[choice.line].parts[language]
            texts.append("".join([p if isinstance(p, str) else context[p[0]].forms[language][p[1]] for p in parts]))
        return texts

    # ---- reading -------------------------------------------------------------------------------------------------------------

    def parse(self, text: str, language: str) -> tuple[tuple[Choice, ...], Context, float]:
        """Finds the derivation of a text; returns what `sample` returns.

        Raises:
            ValueError: the text is no story; names the character at which it departs from every story.
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
            for index, prob in lines.probs.items():
                line = beat.lines[index]
                end = self._match(line, language, 0, text, start, context, reach)
                if end >= 0 and (line.then is not None or end == len(text)):
                    break
                reach.append(end)
            else:
                raise ValueError(departure(text, max(reach)))
            log_prob += math.log(prob)
            for variable in line.new:
                probs = self.value_distribution(variable, context).probs
                log_prob += math.log(probs[self.position[variable.name][context[variable.name]]])
            choices.append(Choice(name, index, tuple((v.name, context[v.name].key) for v in line.new)))
            name, start = line.then, end
        return tuple(choices), context, log_prob

    def check_language(self, language: str) -> None:
        """Raises ValueError for a language that the grammar does not speak."""
        if language not in self.separators:
            raise ValueError(f"unknown language {language!r}: allowed are {', '.join(map(repr, self.separators))}")

    def _match(
        self, line: CompiledLine, language: str, at: int, text: str, pos: int, context: Context, reach: list[int]
    ) -> int:
        """Reads a line from its part number `at` on; returns where it ends, or -1. Binds its new variables in `context`."""
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
                        end = self._match(line, language, index + 1, text, pos + len(words), context, reach)
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
            if variable.given and variable.name in context and all(parent in context for parent in variable.given):
                dist = self.value_distribution(variable, context)
                if self.position[variable.name][context[variable.name]] not in dist.probs:
                    return False
        return True


def gaps(text: str) -> Iterator[tuple[str, str]]:
    """The gaps of a template: "{hero.he} ran" -> ("hero", "he")."""
    return ((match[1], match[2] or "") for match in _GAP.finditer(text))


def split_gaps(text: str) -> tuple[Part, ...]:
    """A template in parts: "{hero.he} ran" -> (("hero", "he"), " ran")."""
    parts: list[Part] = []
    pos = 0
    for match in _GAP.finditer(text):
        parts += [text[pos : match.start()], (match[1], match[2] or "")]
        pos = match.end()
    return tuple(part for part in [*parts, text[pos:]] if part != "")


def successors(beat: Beat) -> list[str]:
    """The beats that may follow a beat."""
    return sorted({then for line in beat.lines if (then := line.then or beat.then) is not None})


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
    return f"not a story: it departs from every story at character {pos}, {text[max(0, pos - 20) : pos]!r} | {text[pos : pos + 20]!r}"
