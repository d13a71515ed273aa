"""The from-scratch encoder: text -> pieces -> token ids, with everything that was
worked out once remembered.

Merging is slow in Python, but text repeats itself: a table from piece to ids answers
almost always. What is left is finding the pieces, and there a second table helps.
GPT-2's pattern and ours never let a piece run from a visible character into whitespace,
so text falls apart into *words*, whitespace with the visible characters behind it, and
the pieces of a word are the same wherever it stands. Finding words is several times
faster than finding pieces:

    "the cat, the cat" -> "the" " cat," " the" " cat" -> ids of each from the table, chained

Both tables are dictionaries whose `__missing__` does the work, so that a hit runs no
Python code at all.
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
_find_words = re.compile(
    rf" [^{_SPACE}]+|[{_SPACE}]*[^{_SPACE}]+|[{_SPACE}]+"
).findall  # the first is only for speed

_REMEMBERED_LENGTH = 48  # characters; longer pieces and words hardly come twice


class BPEEncoder:
    """Encode text by the merges of `model`, in Python alone.

    Args:
        model: merges, pattern and byte tokens. Every token must be what its own bytes
            merge to, as it is after training (see
            `happyllm_support.text.tokenizer.formats.gpt2_files.check_merges`).
        cache_size: entries that each of the two tables may hold; the older half is
            dropped when one is full.
        merge_bytes: a replacement for the merging of one piece, bytes -> ids.
    """

    def __init__(
        self,
        model: BPEModel,
        *,
        cache_size: int = 1 << 17,
        merge_bytes: Callable[[bytes], list[int]] | None = None,
    ) -> None:
        if cache_size < 2:
            raise ValueError(
                f"cache_size is {cache_size}; at least 2 entries are needed"
            )
        self.table: MergeTable = {pair: 256 + k for k, pair in enumerate(model.merges)}
        self.merge_bytes = merge_bytes or self._merge_bytes
        self._to_byte_ids = bytes_to_ids(model.byte_ids)
        self._tokens = {
            token: k
            for k, token in enumerate(model.token_bytes[: 256 + len(model.merges)])
        }
        self._pattern = compile_pattern(model.pattern)
        self._has_words = model.pattern in PATTERNS.values()
        self._pieces = _Remembered(self._encode_piece, cache_size)
        self._words = _Remembered(self._encode_word, cache_size)

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

    def cached_entries(self) -> int:
        """Return how many pieces and words are remembered."""
        return len(self._pieces) + len(self._words)

    def _encode_word(self, word: str) -> tuple[int, ...]:
        pieces = self._pattern.findall(word)
        if len(pieces) == 1:
            return self._pieces[word]
        return tuple(chain.from_iterable(map(self._pieces.__getitem__, pieces)))

    def _encode_piece(self, piece: str) -> tuple[int, ...]:
        data = piece.encode("utf-8")
        token = self._tokens.get(data)
        return tuple(self.merge_bytes(data)) if token is None else (token,)

    def _merge_bytes(self, piece: bytes) -> list[int]:
        return merge_piece(self._to_byte_ids(piece), self.table)


class _Remembered(dict[str, tuple[int, ...]]):
    """A table that works out what it lacks, keeps it if it is short, and never holds
    more than `limit` entries.
    """

    def __init__(self, work_out: Callable[[str], tuple[int, ...]], limit: int) -> None:
        super().__init__()
        self._work_out = work_out
        self._limit = limit

    def __missing__(self, text: str) -> tuple[int, ...]:
        ids = self._work_out(text)
        if len(text) <= _REMEMBERED_LENGTH:
            if len(self) >= self._limit:
                for old in list(self)[: self._limit // 2]:
                    self.pop(old, None)  # another thread may have been here
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
