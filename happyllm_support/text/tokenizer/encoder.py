"""The from-scratch encoder: text -> pieces -> token ids, with what was worked out
lately remembered.

Merging is slow in Python, but text repeats itself: a table from piece to ids answers
almost always. What is left is finding the pieces, and there a second table helps.
GPT-2's pattern and ours never let a piece run from a visible character into whitespace,
so text falls apart into *words*, whitespace with the visible characters behind it, and
the pieces of a word are the same wherever it stands. Finding words is several times
faster than finding pieces:

    "the cat, the cat" -> "the" " cat," " the" " cat" -> ids of each, chained

Both tables are dictionaries whose `__missing__` does the work, so that a hit runs no
Python code at all. They are small, and forget what has not been asked for lately, so
that a stream of words that are all new does not fill the memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain

from happyllm_support.text.tokenizer.bpe import BPEModel
from happyllm_support.text.tokenizer.merging import MergeTable, merge_piece
from happyllm_support.text.tokenizer.pretokenize import (
    PATTERNS,
    compile_pattern,
    pretokenize,
)

# What \s is to the `regex` library, tiktoken and Hugging Face; Python's own \s has
# U+001C to U+001F besides.
_SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# The first alternative is only for speed.
_find_words = re.compile(rf" [^{_SPACE}]+|[{_SPACE}]*[^{_SPACE}]+|[{_SPACE}]+").findall

_LONGEST_KEPT = 48  # characters; longer pieces and words hardly come twice


class BPEEncoder:
    """Encode text by the merges of `model`, in Python alone.

    Args:
        model: merges, pattern and byte tokens. Every token must be what its own bytes
            merge to, as it is after training (see
            `happyllm_support.text.tokenizer.formats.gpt2_files.check_merges`).
        cache_size: entries that each of the two tables may hold; what was not asked for
            lately is dropped when one is full.
        merge_bytes: a replacement for the merging of one piece, bytes -> ids.
    """

    def __init__(
        self,
        model: BPEModel,
        *,
        cache_size: int = 1 << 14,
        merge_bytes: Callable[[bytes], list[int]] | None = None,
    ) -> None:
        if cache_size < 2:
            raise ValueError(f"cache_size is {cache_size}; expected at least 2 entries")
        self.table: MergeTable = {pair: 256 + k for k, pair in enumerate(model.merges)}
        self.merge_bytes = merge_bytes or self._merge_bytes
        self._to_byte_ids = bytes_to_ids(model.byte_ids)
        self._tokens = {
            token: k
            for k, token in enumerate(model.token_bytes[: 256 + len(model.merges)])
        }
        self._pattern = compile_pattern(model.pattern)
        self._has_words = model.pattern in PATTERNS.values()
        self._pieces = _LatelyUsed(self._encode_piece, cache_size)
        self._words = _LatelyUsed(self._encode_word, cache_size)

    def encode_ordinary(self, text: str) -> list[int]:
        """Encode `text`, in which special tokens are text like any other.

        Raises:
            UnicodeEncodeError: `text` holds a lone surrogate.
        """
        if self._has_words:
            return list(
                chain.from_iterable(map(self._words.__getitem__, _find_words(text)))
            )
        return list(
            chain.from_iterable(
                map(self._pieces.__getitem__, pretokenize(text, self._pattern))
            )
        )

    def _encode_word(self, word: str) -> tuple[int, ...]:
        pieces = self._pattern.findall(word)
        if len(pieces) == 1:  # no need to keep it in both tables
            return self._pieces[word]
        return tuple(chain.from_iterable(map(self._pieces.__getitem__, pieces)))

    def _encode_piece(self, piece: str) -> tuple[int, ...]:
        data = piece.encode("utf-8")
        token = self._tokens.get(data)
        return tuple(self.merge_bytes(data)) if token is None else (token,)

    def _merge_bytes(self, piece: bytes) -> list[int]:
        return merge_piece(self._to_byte_ids(piece), self.table)


class _LatelyUsed(dict[str, tuple[int, ...]]):
    """A table that works out what it lacks and keeps it if it is short.

    It holds at most `limit` entries in two halves. When the first one is full, it takes
    the place of the second, of which only what was asked for meanwhile is kept. So what
    is frequent stays.
    """

    def __init__(self, work_out: Callable[[str], tuple[int, ...]], limit: int) -> None:
        super().__init__()
        self._work_out = work_out
        self._half = limit // 2
        self._older: dict[str, tuple[int, ...]] = {}

    def __missing__(self, text: str) -> tuple[int, ...]:
        ids = self._older.get(text) or self._work_out(text)
        if len(text) <= _LONGEST_KEPT:
            if len(self) >= self._half:
                self._older = dict(self)
                self.clear()
            self[text] = ids
        return ids


def bytes_to_ids(byte_ids: tuple[int, ...]) -> Callable[[bytes], list[int]]:
    """Return the function from bytes to byte tokens: `list` itself where byte b is
    token b.
    """
    if byte_ids == tuple(range(256)):
        return list
    permutation = bytes(byte_ids)
    return lambda piece: list(piece.translate(permutation))
