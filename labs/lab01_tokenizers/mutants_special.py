"""Mistakes with special tokens."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from . import reference
from .checks import lab
from .reference import Pair

Special = dict[str, int]


def special_with(
    text: str,
    merges: list[Pair],
    special: Special,
    allowed: Collection[str],
    pattern: str,
    **changes: Any,
) -> list[int]:
    """Split with a regular expression and encode the parts; the parts between may be
    changed first.
    """
    if unknown := set(allowed) - set(special):
        raise ValueError(f"unknown special token {min(unknown)!r}")
    between = changes.get("between", lambda part: part)
    ids: list[int] = []
    for part in re.split(f"({pattern})", text) if pattern else [text]:
        ids += (
            [special[part]]
            if part in allowed
            else reference.encode(between(part), merges)
        )
    return ids


def alternatives(tokens: Iterable[str]) -> str:
    """A regular expression for any of them, the longest first."""
    return "|".join(map(re.escape, sorted(tokens, key=len, reverse=True)))


@lab.mutant("encode_special", "the text is not split at special tokens, allowed or not")
def never_split(
    text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()
) -> list[int]:
    return special_with(text, merges, special, allowed, "")


@lab.mutant("encode_special", "nothing allowed is taken for everything allowed")
def none_means_all(
    text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()
) -> list[int]:
    return reference.encode_special(text, merges, special, allowed or special)


@lab.mutant(
    "encode_special",
    "a part between two special tokens is looked up among all of them, allowed or not",
)
def parts_looked_up(
    text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()
) -> list[int]:
    refused(special, allowed)
    parts = re.split(f"({alternatives(allowed)})", text) if allowed else []
    ids = [
        [special[part]] if part in special else reference.encode(part, merges)
        for part in parts
    ]
    return (
        [token for row in ids for token in row]
        if allowed
        else reference.encode(text, merges)
    )


@lab.mutant(
    "encode_special", "special tokens are recognised although they are not allowed"
)
def always_split(
    text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()
) -> list[int]:
    return special_with(
        text, merges, special, special, alternatives(special)
    ) + refused(special, allowed)


def refused(special: Special, allowed: Collection[str]) -> list[int]:
    """Nothing, or the error for a token that is not known."""
    if not set(allowed) <= set(special):
        raise ValueError("unknown special token")
    return []


@lab.mutant(
    "encode_special",
    "the shorter one is taken where two special tokens begin at the same place",
)
def shortest_first(
    text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()
) -> list[int]:
    return special_with(
        text,
        merges,
        special,
        allowed,
        "|".join(map(re.escape, sorted(allowed, key=len))),
    )


@lab.mutant(
    "encode_special",
    "the text is split at the longest special token first, even where another begins "
    "before it",
)
def longest_anywhere(
    text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()
) -> list[int]:
    parts: list[str | int] = [text]
    for token in sorted(allowed, key=len, reverse=True):
        refused(special, [token])
        split: list[str | int] = []
        for part in parts:
            if isinstance(part, int):
                split.append(part)
                continue
            first, *others = part.split(token)
            split.append(first)
            for other in others:
                split += (special[token], other)
        parts = split
    return [
        i
        for part in parts
        for i in ([part] if isinstance(part, int) else reference.encode(part, merges))
    ]


@lab.mutant(
    "encode_special",
    "the bars in a special token are read as a regular expression (re.escape is "
    "missing)",
)
def unescaped(
    text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()
) -> list[int]:
    pattern = "|".join(sorted(allowed, key=len, reverse=True))
    if not pattern:
        return reference.encode(text, merges) + refused(special, allowed)
    return special_with(text, merges, special, allowed, pattern)


@lab.mutant(
    "encode_special",
    "a token's bars are read as a regular expression, and the parts that this finds "
    "as tokens: KeyError",
)
def unescaped_lookup(
    text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()
) -> list[int]:
    refused(special, allowed)
    parts = (
        re.split(f"({'|'.join(sorted(allowed, key=len, reverse=True))})", text)
        if allowed
        else [text]
    )
    ids = [
        [special[part]] if i % 2 else reference.encode(part, merges)
        for i, part in enumerate(parts)
    ]
    return [token for row in ids for token in row]


@lab.mutant(
    "encode_special",
    "the pattern is empty with nothing allowed, and splits the text between all "
    "characters",
)
def empty_pattern(
    text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()
) -> list[int]:
    refused(special, allowed)
    parts = re.split(f"({alternatives(allowed)})", text)
    ids = [
        [special[part]] if part in allowed else reference.encode(part, merges)
        for part in parts
    ]
    return [token for row in ids for token in row]


@lab.mutant("encode_special", "special tokens split the text and are then left out")
def left_out(
    text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()
) -> list[int]:
    ids = reference.encode_special(text, merges, special, allowed)
    return [token for token in ids if token not in {special[name] for name in allowed}]


@lab.mutant("encode_special", "white space around special tokens gets lost (strip)")
def stripped(
    text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()
) -> list[int]:
    return special_with(
        text, merges, special, allowed, alternatives(allowed), between=str.strip
    )


@lab.mutant("encode_special", "only the first special token in the text is recognised")
def first_only(
    text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()
) -> list[int]:
    refused(special, allowed)
    found = re.search(alternatives(allowed), text) if allowed else None
    if not found:
        return reference.encode(text, merges)
    before, after = text[: found.start()], text[found.end() :]
    return [
        *reference.encode(before, merges),
        special[found[0]],
        *reference.encode(after, merges),
    ]


@lab.mutant("encode_special", "the text behind the last special token gets lost")
def end_lost(
    text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()
) -> list[int]:
    refused(special, allowed)
    ids: list[int] = []
    start = 0
    for found in re.finditer(alternatives(allowed), text) if allowed else ():
        ids += [
            *reference.encode(text[start : found.start()], merges),
            special[found[0]],
        ]
        start = found.end()
    return ids if ids else reference.encode(text, merges)


@lab.mutant(
    "encode_special",
    "a special token that is not allowed is refused with an error; it is ordinary text",
)
def refuses_text(
    text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()
) -> list[int]:
    if any(token in text for token in special if token not in allowed):
        raise ValueError("the text holds a special token that is not allowed")
    return reference.encode_special(text, merges, special, allowed)


@lab.mutant(
    "encode_special",
    "the text is cut also at special tokens that are not allowed, and merges stop "
    "there",
)
def cut_anyway(
    text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()
) -> list[int]:
    return special_with(text, merges, special, allowed, alternatives(special))


@lab.mutant(
    "encode_special", "special tokens that are not allowed are left out of the text"
)
def removed(
    text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()
) -> list[int]:
    for token in special:
        if token not in allowed:
            text = text.replace(token, "")
    return reference.encode_special(text, merges, special, allowed)


@lab.mutant(
    "encode_special",
    "ids of special tokens are counted on behind the merges, and not looked up",
)
def counted_on(
    text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()
) -> list[int]:
    own = {token: 256 + len(merges) + k for k, token in enumerate(special)}
    return reference.encode_special(text, merges, own, allowed)


@lab.mutant(
    "encode_special",
    "an allowed token that does not exist is passed over without an error",
)
def unknown_allowed(
    text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()
) -> list[int]:
    return reference.encode_special(
        text, merges, special, [token for token in allowed if token in special]
    )


@lab.mutant(
    "encode_special",
    "an allowed token that does not exist is looked up: KeyError, not ValueError",
)
def unknown_looked_up(
    text: str, merges: list[Pair], special: Special, allowed: Collection[str] = ()
) -> list[int]:
    return reference.encode_special(
        text, merges, {token: special[token] for token in allowed}, allowed
    )
