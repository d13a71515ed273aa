"""Text and bytes that arrive in parts: what is certain so far, and what must wait for
more.

Two holdbacks on the way in (a special token may be cut in two; a piece may still grow)
and one on the way out (a character may be cut in two). Each is a small object with
`push` and `flush`; what they return, joined, is exactly what the whole input would have
given.
"""

from __future__ import annotations

import codecs
import re

from happyllm_support.text.tokenizer.pretokenize import PATTERNS, safe_cut

# Every piece of a built-in pattern that holds a letter or a digit ends before these
# marks.
_MARKS = ",.;:!?，。；：！？、"


class Utf8Stream:
    """Decode UTF-8 that arrives in parts, for showing text while it is generated.

    What `push` and `flush` return, joined, is `data.decode("utf-8", errors="replace")`
    of all the bytes; a character that is still incomplete waits.

        push(b"a\\xe8\\xaf") -> "a";  push(b"\\xad") -> "语"
        push(b"\\xf0\\x9f") -> "";  flush() -> "\\ufffd"
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, data: bytes) -> str:
        """Take the next bytes and return the text that they complete."""
        return self._decoder.decode(data)

    def flush(self) -> str:
        """End the stream: an incomplete character becomes U+FFFD. The object may be
        used again afterwards.
        """
        return self._decoder.decode(b"", final=True)


class SettledText:
    """Collect text in parts and release it cut where a piece certainly ends.

    Only the built-in patterns have positions where that is certain; for another pattern
    everything waits until `flush`.

    Args:
        pattern: the regular expression of the pre-tokenization.
        block_size: characters to collect before a cut is looked for. Text without any
            place to cut is held whole, and is not searched again, so that it costs no
            more than other text.
    """

    def __init__(self, pattern: str, block_size: int = 1 << 16) -> None:
        self._can_cut = pattern in PATTERNS.values()
        self._block_size = block_size
        self._searched: list[str] = []  # no cut in here
        self._fresh: list[str] = []
        self._n_fresh = 0

    def push(self, text: str) -> str:
        """Take the next part and return what has become certain, often nothing."""
        self._fresh.append(text)
        self._n_fresh += len(text)
        if self._n_fresh < self._block_size or not self._can_cut:
            return ""
        fresh = "".join(self._fresh)
        cut = last_cut(fresh)
        released = "".join((*self._searched, fresh[:cut])) if cut else ""
        if cut:
            self._searched.clear()
        else:
            self._searched.append(fresh[:-1])
            # a cut may lie between this character and the next one
            cut = len(fresh) - 1
        self._fresh = [fresh[cut:]]
        # at least a block more before the next search, however little was released
        self._n_fresh = 0
        return released

    def flush(self) -> str:
        """Return all that is left; the object may be used again afterwards."""
        rest = "".join((*self._searched, *self._fresh))
        self._searched.clear()
        self._fresh.clear()
        self._n_fresh = 0
        return rest


def last_cut(text: str) -> int | None:
    """Return a late position in `text` where pieces of the built-in patterns certainly
    meet, or None.

    That is before whitespace that follows something visible, or else between a letter
    or digit and one of a few marks.
    """
    cut = safe_cut(text, len(text))
    if cut is not None:
        return cut
    candidates = (text.rfind(mark, 1) for mark in _MARKS)
    return max(
        (at for at in candidates if at > 0 and text[at - 1].isalnum()), default=None
    )


class SpecialSplitter:
    """Separate the allowed special tokens from the text between them, over parts that
    may cut a special token in two.

    Args:
        special_tokens: allowed special tokens, text -> id, at least one. Where two
            begin at the same place the longer wins.
    """

    def __init__(self, special_tokens: dict[str, int]) -> None:
        self._ids = special_tokens
        longest_first = sorted(special_tokens, key=len, reverse=True)
        self._find = re.compile("|".join(map(re.escape, longest_first))).finditer
        self._longest = len(longest_first[0])
        self._held = ""

    def push(self, text: str) -> list[str | int]:
        """Take the next part; return text and ids of special tokens, in order, as far
        as they are certain.
        """
        return self._split(self._held + text, hold=self._longest - 1)

    def flush(self) -> list[str | int]:
        """Return what is left; the object may be used again afterwards."""
        return self._split(self._held, hold=0)

    def split(self, text: str) -> list[str | int]:
        """Return the parts of a whole text: `push` and `flush` in one."""
        return self._split(text, hold=0)

    def _split(self, text: str, hold: int) -> list[str | int]:
        parts: list[str | int] = []
        end = 0
        # a special token that begins before here is complete, and the longest
        certain = len(text) - hold
        for match in self._find(text):
            if match.start() >= certain:
                break
            if match.start() > end:
                parts.append(text[end : match.start()])
            parts.append(self._ids[match.group()])
            end = match.end()
        stop = max(certain, end)
        if stop > end:
            parts.append(text[end:stop])
        self._held = text[stop:]
        return parts
