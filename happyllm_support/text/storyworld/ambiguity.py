"""The proof that a text has one derivation only.

For every beat and every two different outcomes (line and new values) both are spelled
out side by side, for all values of the variables that they mention, until they differ.
If each pair differs before either ends, then no text of a beat is the beginning of
another, reading from left to right leaves no choice, and every text has one derivation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from happyllm_support.text.storyworld.grammar import Grammar
from happyllm_support.text.storyworld.rules import CompiledLine, Item, Part, Values


@dataclass
class _Spelling:
    """A line that is being spelled out.

    Attributes:
        line: which one.
        parts: its parts in the language.
        own: the values of its new variables, as far as they are mentioned.
        at: number of the next part.
        words: of earlier parts, not yet compared.
    """

    line: CompiledLine
    parts: tuple[Part, ...]
    own: Values = field(default_factory=dict[str, Item])
    at: int = 0
    words: str = ""

    def ended(self) -> bool:
        return not self.words and self.at == len(self.parts)

    def advanced(self, words: str, **own: Item) -> _Spelling:
        return _Spelling(self.line, self.parts, {**self.own, **own}, self.at + 1, words)


def ambiguity(grammar: Grammar, language: str) -> str | None:
    """Look for two derivations of a text, or two places where a beat could end.

    Returns:
        None when there is no ambiguity; otherwise one line that names the beat and the
        words that two outcomes share.
    """
    grammar.check_language(language)
    for name in grammar.order:
        lines = grammar.beats[name].lines
        for index, left in enumerate(lines):
            for right in lines[index:]:
                one = _Spelling(left, left.parts[language])
                other = _Spelling(right, right.parts[language])
                if (clash := _clash(grammar, language, {}, one, other, "")) is not None:
                    numbers = f"{left.index} and {right.index}"
                    where = f"beat {name!r}, lines {numbers}"
                    return f"{where}: both can begin with {clash!r}"
    return None


def _clash(
    grammar: Grammar,
    language: str,
    shared: Values,
    left: _Spelling,
    right: _Spelling,
    said: str,
) -> str | None:
    """Return the words with which one of two outcomes ends while they still agree, or
    None where they always differ before.
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
            # the same value of an earlier variable: the same words
            side.at, other.at = side.at + 1, other.at + 1
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
            known_to_both = shared if mine else {**shared, name: item}
            longer = side.advanced(words, **({name: item} if mine else {}))
            copy = _Spelling(other.line, other.parts, other.own, other.at, other.words)
            if not _possible(grammar, {**known_to_both, **longer.own}):
                continue
            pair = (longer, copy) if side is left else (copy, longer)
            if (
                clash := _clash(grammar, language, known_to_both, *pair, said)
            ) is not None:
                return clash
        return None


def _possible(grammar: Grammar, values: Mapping[str, Item]) -> bool:
    """Whether values can occur together, as far as what they depend on is known."""
    for name, item in values.items():
        variable = grammar.variables[name]
        if variable.weight and all(parent in values for parent in variable.given):
            probs = grammar.value_distribution(variable, values).probs
            if grammar.position[name][item] not in probs:
                return False
    return True
