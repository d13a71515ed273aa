"""Pre-tokenization: cut text into pieces that byte-pair merges may never cross.

Two patterns come with the package. `gpt2` is the one GPT-2 was trained with; it treats
a whole Chinese clause as one "word". `bilingual` is ours, for English and Chinese
together:

    It's 2024, 我们去长安。   ->   It · 's ·  · 202 · 4 · , ·  · 我们去长 · 安 · 。

Both cover every text exactly (the pieces joined are the text), run in linear time, and
share two properties that the streaming code builds on. **No piece holds a whitespace
character after a character that is not whitespace**, so text may be cut before any run
of whitespace without changing a single piece. And what follows a piece matters only to
whitespace and to contractions, so it may be cut behind any other piece too.

Source: the GPT-2 pattern is the one in openai/gpt-2, src/encoder.py.
"""

from __future__ import annotations

from functools import cache

import regex

GPT2_PATTERN = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)

HAN_RUN = 4  # characters; most Chinese words have one or two, most idioms four
_CONTRACTION = r"['’](?i:s|t|re|ve|m|ll|d)"  # English, straight or curly
BILINGUAL_PATTERN = "|".join(
    (
        _CONTRACTION + r"(?![\p{L}\p{M}])",  # but not 'start
        # a word: letters with their marks, no Han
        r" ?[^\P{L}\p{Han}][^\p{Han}\p{N}\p{P}\p{S}\p{Z}\p{C}]*",
        rf"\p{{Han}}{{1,{HAN_RUN}}}",  # a short run of Chinese characters
        # digits in groups of at most three, so that numbers share tokens
        r"\p{N}{1,3}",
        # punctuation, half and full width, and every other symbol
        r" ?[^\s\p{L}\p{N}]+",
        r"[\r\n]+",  # line ends
        # spaces and tabs, all but the one that belongs to the next word
        r"[^\S\r\n]+(?!\S)",
        r"\s+",
    )
)

PATTERNS = {"gpt2": GPT2_PATTERN, "bilingual": BILINGUAL_PATTERN}


@cache
def compile_pattern(name_or_regex: str) -> regex.Pattern[str]:
    """Compile a pattern given by name (see `PATTERNS`) or as a regular expression of
    your own.

    Args:
        name_or_regex: `gpt2`, `bilingual`, or a regular expression in the syntax of the
            `regex` library.

    Raises:
        ValueError: an unknown name, an expression that does not compile, holds a
            capturing group, or is empty.
    """
    known = PATTERNS.get(name_or_regex)
    # no operator in it: meant as a name
    if known is None and regex.fullmatch(r"[\w-]*", name_or_regex):
        raise ValueError(
            f"unknown pattern {name_or_regex!r}; expected one of "
            f"{', '.join(PATTERNS)} or a regular expression such as '\\s?\\S+'"
        )
    try:
        compiled = regex.compile(known or name_or_regex)
    except regex.error as error:
        raise ValueError(f"bad regular expression {name_or_regex!r}: {error}") from None
    if compiled.groups:
        raise ValueError(
            f"pattern {name_or_regex!r} has a capturing group; expected (?:...) instead"
        )
    return compiled


def pattern_source(name_or_regex: str) -> str:
    """Return the regular expression behind a name, or the expression given."""
    return PATTERNS.get(name_or_regex, name_or_regex)


def pretokenize(text: str, pattern: str | regex.Pattern[str]) -> list[str]:
    """Cut `text` into pieces; `"".join(pieces) == text` whatever the pattern.

    Text that a pattern of your own does not match is kept: what lies between two
    matches becomes a piece.

    Args:
        text: any text.
        pattern: a name, a regular expression, or a compiled one.

    Returns:
        The pieces in order, none of them empty.
    """
    compiled = compile_pattern(pattern) if isinstance(pattern, str) else pattern
    pieces: list[str] = compiled.findall(text)
    if sum(map(len, pieces)) == len(text) and all(pieces):
        return pieces
    pieces, end = [], 0
    for match in compiled.finditer(text):
        pieces += (text[end : match.start()], match.group())
        end = match.end()
    pieces.append(text[end:])
    return [piece for piece in pieces if piece]


def safe_cut(text: str, stop: int) -> int | None:
    """Find a late position `0 < p < stop` where text under a built-in pattern may be
    cut, or None where none is found.

    A safe position has whitespace on its right and none on its left:
    `safe_cut("one two three", 9) == 7`.
    """
    last = max(text.rfind(" ", 1, stop), text.rfind("\n", 1, stop))
    if last < 0:
        return None
    position = len(text[:last].rstrip())  # where the run of whitespace begins
    # which are whitespace to Python, but not to a regular expression
    if position == 0 or text[position] in "\x1c\x1d\x1e\x1f":
        return None
    return position


_GROWN_CONTRACTION = regex.compile(rf"(?<={_CONTRACTION})[\p{{L}}\p{{M}}]")


def ends_for_itself(text: str, end: int) -> bool:
    """Whether the pieces before `end`, where a piece under a built-in pattern ends,
    would be the same if nothing followed.

    Two kinds would not: whitespace leaves its last character to the next word, and
    `'re们` is `'`, `re` and `们`, but `'re` alone is a contraction.

    Args:
        text: any text.
        end: a position inside it where a piece ends.
    """
    return not text[end - 1].isspace() and not _GROWN_CONTRACTION.match(text, end)
