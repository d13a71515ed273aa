"""The rules of a grammar: items, variables, lines and beats, checked and compiled."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_GAP = re.compile(r"\{(\w+)(?:\.(\w+))?\}")


@dataclass(frozen=True, eq=False)
class Item:
    """A value of a variable.

    Attributes:
        key: what it is called in facts and weights.
        forms: its word forms per language, `forms["en"]["he"]`; the plain one is `""`.
    """

    key: str
    forms: Mapping[str, Mapping[str, str]]

    def __repr__(self) -> str:
        return f"Item({self.key})"


Values = dict[str, Item]  # drawn so far, by the names of their variables


@dataclass(frozen=True, kw_only=True)
class Variable:
    """Something to be drawn.

    Attributes:
        name: what the gaps of lines call it.
        pool: its possible values.
        given: variables drawn before, which its probabilities depend on.
        weight: `weight(item, *values of given)` is proportional to the probability of
            an item; all are equally likely where it is None.
    """

    name: str
    pool: tuple[Item, ...]
    given: tuple[str, ...] = ()
    weight: Callable[..., float] | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One way to tell a beat, in every language.

    Attributes:
        text: by language, with gaps such as `{hero.he}`.
        weight: in proportion to its probability among the lines of the beat.
        when: `{"trait": {"shy": 4.0}}` multiplies the weight by 4 where the variable
            trait has the item with the key shy.
        then: the beat that follows this line, where it is not the one that follows its
            beat.
    """

    text: Mapping[str, str]
    weight: float = 1.0
    when: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict[str, Mapping[str, float]]
    )
    then: str | None = None


@dataclass(frozen=True, kw_only=True)
class Beat:
    """A step of a story.

    Attributes:
        name: of the step.
        lines: to choose from.
        then: name of the beat that follows; None where the story ends.
    """

    name: str
    lines: tuple[Line, ...]
    then: str | None = None


Part = str | tuple[str, str]  # literal words, or (variable, form)


@dataclass(frozen=True)
class CompiledLine:
    """A line ready for use.

    Attributes:
        index: its number within the beat.
        source: the line as it was declared.
        parts: per language, the separator to the next beat included.
        new: the variables that it draws, in order.
        then: name of the beat that follows; None where the story ends.
    """

    index: int
    source: Line
    parts: Mapping[str, tuple[Part, ...]]
    new: tuple[Variable, ...]
    then: str | None


@dataclass(frozen=True)
class CompiledBeat:
    """A beat ready for use.

    Attributes:
        name: as it was declared.
        lines: to choose from.
        given: the variables that their weights depend on.
    """

    name: str
    lines: tuple[CompiledLine, ...]
    given: tuple[str, ...]


class Rules:
    """Variables and beats, compiled.

    Attributes:
        variables: by name, in the order in which a line draws its new ones.
        start: the name of the first beat.
        order: the beats that can be reached, each before all that follow it.
        beats: the compiled beats by name.

    Raises:
        ValueError: an unknown variable, form, beat or language; a cycle; a variable
            that only some ways of getting to a beat have drawn; a line that draws other
            variables in one language than in another.
    """

    def __init__(
        self,
        variables: Sequence[Variable],
        beats: Sequence[Beat],
        separators: Mapping[str, str],
    ) -> None:
        self.variables = {variable.name: variable for variable in variables}
        self.start = beats[0].name
        self._rank = {variable.name: rank for rank, variable in enumerate(variables)}
        self._separators = separators
        self._sources = {beat.name: beat for beat in beats}
        self.order = self._topological(self.start)
        self.beats = self._compile()

    def _topological(self, start: str) -> list[str]:
        """Beats that can be reached, each before all that follow it."""
        done: dict[str, bool] = {}
        order: list[str] = []

        def visit(name: str) -> None:
            if name in done:
                if not done[name]:
                    raise ValueError(
                        f"beat {name!r} leads back to itself: stories must end"
                    )
                return
            if name not in self._sources:
                raise ValueError(
                    f"unknown beat {name!r}: expected {', '.join(self._sources)}"
                )
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
            given = sorted(
                {variable for line in source.lines for variable in line.when},
                key=self._rank_of,
            )
            before = bound[name] & matters[name]
            lines: list[CompiledLine] = []
            for index, line in enumerate(source.lines):
                then = line.then or source.then
                new = self._new_variables(
                    f"beat {name!r}, line {index}", line, before, given
                )
                parts = {
                    lang: split_gaps(text + (self._separators[lang] if then else ""))
                    for lang, text in line.text.items()
                }
                lines.append(CompiledLine(index, line, parts, new, then))
                if then is not None:
                    after = (before | {variable.name for variable in new}) & matters[
                        then
                    ]
                    if bound.setdefault(then, after) & matters[then] != after:
                        odd = ", ".join(sorted((bound[then] & matters[then]) ^ after))
                        raise ValueError(
                            f"beat {then!r}: {odd} is drawn on some ways to it and not "
                            "on others"
                        )
            compiled[name] = CompiledBeat(name, tuple(lines), tuple(given))
        return compiled

    def _matters(self) -> dict[str, frozenset[str]]:
        """Return per beat the variables that it or a later one mentions or needs."""
        matters: dict[str, frozenset[str]] = {}
        for name in reversed(self.order):
            source = self._sources[name]
            names = {
                variable
                for line in source.lines
                for variable in [*line.when, *self._mentioned(line)]
            }
            names |= {
                parent
                for variable in names
                for parent in self.variables[variable].given
            }
            matters[name] = frozenset(names).union(
                *(matters[then] for then in successors(source))
            )
        return matters

    def _mentioned(self, line: Line) -> set[str]:
        names = {name for text in line.text.values() for name, _ in gaps(text)}
        for name in names:
            self._rank_of(name)
        return names

    def _rank_of(self, name: str) -> int:
        if name not in self._rank:
            raise ValueError(
                f"unknown variable {name!r}: expected {', '.join(self._rank)}"
            )
        return self._rank[name]

    def _new_variables(
        self, where: str, line: Line, before: frozenset[str], given: Sequence[str]
    ) -> tuple[Variable, ...]:
        if set(line.text) != set(self._separators):
            raise ValueError(
                f"{where}: has languages {sorted(line.text)}, expected exactly "
                f"{sorted(self._separators)}"
            )
        mentions = {
            language: {name for name, _ in gaps(text)} - before
            for language, text in line.text.items()
        }
        drawn = self._mentioned(line) - before
        for language, text in line.text.items():
            if mentions[language] != drawn:
                raise ValueError(
                    f"{where}: {', '.join(sorted(drawn - mentions[language]))} is not "
                    f"mentioned in {language!r}"
                )
            for name, form in gaps(text):
                if any(
                    form not in item.forms[language]
                    for item in self.variables[name].pool
                ):
                    raise ValueError(
                        f"{where}: {name} has no form {form!r} in {language!r}"
                    )
        known = set(before)
        new = tuple(self.variables[name] for name in sorted(drawn, key=self._rank_of))
        for variable in new:
            if missing := set(variable.given) - known:
                raise ValueError(
                    f"{where}: {variable.name} depends on "
                    f"{', '.join(sorted(missing))}, not drawn before it"
                )
            known.add(variable.name)
        if missing := set(given) - before:
            raise ValueError(
                f"{where}: weights depend on {', '.join(sorted(missing))}, not drawn "
                "before this beat"
            )
        return new


def gaps(text: str) -> Iterator[tuple[str, str]]:
    """Yield the gaps of a template: "{hero.he} ran" -> ("hero", "he")."""
    return ((match[1], match[2] or "") for match in _GAP.finditer(text))


def split_gaps(text: str) -> tuple[Part, ...]:
    """Return a template in parts: "{hero.he} ran" -> (("hero", "he"), " ran")."""
    parts: list[Part] = []
    pos = 0
    for match in _GAP.finditer(text):
        parts += [text[pos : match.start()], (match[1], match[2] or "")]
        pos = match.end()
    return tuple(part for part in [*parts, text[pos:]] if part != "")


def successors(beat: Beat) -> list[str]:
    """Return the names of the beats that may follow a beat."""
    return sorted(
        {then for line in beat.lines if (then := line.then or beat.then) is not None}
    )
