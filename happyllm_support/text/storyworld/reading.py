"""Reading a text back: which lines and values it was derived from, and how likely.

Because no text of a beat is the beginning of another one, reading from left to right
finds the one derivation; where a text is no story, the place is known at which it
departs from every story.
"""

from __future__ import annotations

from happyllm_support.text.storyworld.grammar import Choice, Grammar
from happyllm_support.text.storyworld.rules import CompiledLine, Values


def parse(
    grammar: Grammar, text: str, language: str
) -> tuple[tuple[Choice, ...], Values, float]:
    """Find the derivation of a text; return what `Grammar.sample` returns.

    Raises:
        ValueError: an unknown language; a text that is no story (names the character at
            which it departs from every story).
    """
    grammar.check_language(language)
    values: Values = {}
    choices: list[Choice] = []
    log_prob, start = 0.0, 0
    name: str | None = grammar.start
    while name is not None:
        beat = grammar.beats[name]
        lines = grammar.line_distribution(beat, values)
        line_reader = _LineReader(grammar, text, language, values, start)
        for index in lines.probs:
            line = beat.lines[index]
            end = line_reader.read(line, 0, start)
            if end >= 0 and (line.then is not None or end == len(text)):
                break
            for variable in line.new:
                values.pop(variable.name, None)
        else:
            raise ValueError(_departure(text, line_reader.furthest))
        log_prob += lines.log_probs[index]
        for variable in line.new:
            position = grammar.position[variable.name][values[variable.name]]
            probs = grammar.value_distribution(variable, values)
            log_prob += probs.log_probs[position]
        drawn = tuple((new.name, values[new.name].key) for new in line.new)
        choices.append(Choice(name, index, drawn))
        name, start = line.then, end
    return tuple(choices), values, log_prob


class _LineReader:
    """Compares the lines of one beat with a text, and binds the variables they draw."""

    def __init__(
        self, grammar: Grammar, text: str, language: str, values: Values, start: int
    ) -> None:
        self.grammar, self.text, self.language = grammar, text, language
        self.values = values
        self.furthest = start  # how far some line agrees with the text

    def read(self, line: CompiledLine, part: int, pos: int) -> int:
        """Read a line from a part on, at a character; return its end, or -1."""
        parts = line.parts[self.language]
        for number in range(part, len(parts)):
            words = parts[number]
            if not isinstance(words, str):
                name, form = words
                if name not in self.values:
                    return self._read_new(line, number, pos)
                words = self.values[name].forms[self.language][form]
            if not self._stands(words, pos):
                return -1
            pos += len(words)
        self.furthest = max(self.furthest, pos)
        return pos

    def _read_new(self, line: CompiledLine, part: int, pos: int) -> int:
        """Try every value of a variable that this part mentions first."""
        name, form = line.parts[self.language][part]
        for item in self.grammar.variables[name].pool:
            words = item.forms[self.language][form]
            if self._stands(words, pos):
                self.values[name] = item
                if self._possible(line):
                    end = self.read(line, part + 1, pos + len(words))
                    if end >= 0:
                        return end
                del self.values[name]
        return -1

    def _stands(self, words: str, pos: int) -> bool:
        """Whether words stand at a character of the text."""
        if self.text.startswith(words, pos):
            return True
        same = 0
        while self.text.startswith(words[: same + 1], pos):
            same += 1
        self.furthest = max(self.furthest, pos + same)
        return False

    def _possible(self, line: CompiledLine) -> bool:
        """Whether the new variables bound so far can occur together."""
        for variable in line.new:
            known = (variable.name, *variable.given)
            if variable.weight and all(name in self.values for name in known):
                allowed = self.grammar.value_distribution(variable, self.values).probs
                item = self.values[variable.name]
                if self.grammar.position[variable.name][item] not in allowed:
                    return False
        return True


def _departure(text: str, pos: int) -> str:
    """One line that says where a text stops being a story."""
    if pos >= len(text):
        return f"not a story: it ends too early, after {len(text)} characters"
    before, after = text[max(0, pos - 20) : pos], text[pos : pos + 20]
    return (
        f"not a story: it departs from every story at character {pos}, {before!r} | "
        f"{after!r}"
    )
