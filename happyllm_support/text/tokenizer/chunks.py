"""Cutting a stream of text into chunks that can be pre-tokenized apart from each other.

The pieces of all chunks, one after the other, are exactly the pieces of the whole text.
Where a chunk ends depends on the text alone: not on the size of the blocks it was read
in, and not on how many processes will work on the chunks.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator

import regex

from happyllm_support.text.corpora.documents import whole_documents
from happyllm_support.text.tokenizer.pretokenize import (
    PATTERNS,
    compile_pattern,
    ends_for_itself,
    pattern_source,
    pretokenize,
    safe_cut,
)

CHUNK_CHARS = 1 << 18  # wanted size of a chunk
# In bounded memory, a longer run without any border is cut here.
LONGEST_CHARS = 1 << 22
# More characters than a built-in pattern may look at behind a piece.
LOOKAHEAD = 8

TextSource = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


class Splitter:
    """Cuts text at special tokens, then with the pattern: what pre-tokenization means,
    in one place.

    Args:
        pattern: name or regular expression.
        special_tokens: cut out of the text; where two begin at the same place the
            longer one counts.
    """

    def __init__(self, pattern: str, special_tokens: tuple[str, ...] = ()) -> None:
        self.pattern = compile_pattern(pattern)
        self.special_tokens = special_tokens
        self.can_cut = pattern_source(pattern) in PATTERNS.values()
        longest_first = sorted(special_tokens, key=len, reverse=True)
        self._special = (
            regex.compile("|".join(map(regex.escape, longest_first)))
            if special_tokens
            else None
        )
        self.margin = LOOKAHEAD + max(map(len, special_tokens), default=0)

    def pieces(self, text: str) -> list[str]:
        """Return the pre-tokens of `text`; special tokens are left out."""
        if self._special is None or not any(
            token in text for token in self.special_tokens
        ):
            return pretokenize(text, self.pattern)
        return [
            p
            for part in self._special.split(text)
            for p in pretokenize(part, self.pattern)
        ]

    def count(self, texts: Iterable[str]) -> tuple[dict[str, int], int, int]:
        """Count the pre-tokens of a chunk.

        Returns:
            The counts, the characters of the texts, and their bytes of UTF-8.
        """
        counts = Counter[str]()
        n_chars = n_bytes = 0
        for text in texts:
            counts.update(self.pieces(text))
            n_chars += len(text)
            n_bytes += len(text.encode())
        return dict(counts), n_chars, n_bytes

    def find_cut(self, text: str, stop: int) -> int | None:
        """Find a place `0 < p <= stop` where `text` can be cut without changing a
        piece, or None if there is none.

        Needs `margin` characters after `stop`, so that nothing that follows can change
        the answer.
        """
        assert len(text) >= stop + self.margin, (len(text), stop, self.margin)
        position = safe_cut(text, stop)
        if position is not None and not self._inside_special(text, position):
            return position
        return self._last_border(text[: stop + self.margin], stop)

    def _inside_special(self, text: str, position: int) -> bool:
        return any(
            text.find(
                token, max(0, position - len(token) + 1), position + len(token) - 1
            )
            >= 0
            for token in self.special_tokens
        )

    def _last_border(self, text: str, stop: int) -> int | None:
        """Find the last end of a piece at or before `stop` that does not depend on what
        follows, by pre-tokenizing all of `text`.
        """
        best, start = 0, 0
        specials = self._special.finditer(text) if self._special else iter(())
        for begin, end in [
            *(match.span() for match in specials),
            (len(text), len(text)),
        ]:
            for piece in pretokenize(text[start:begin], self.pattern):
                start += len(piece)
                if start > stop:
                    return best or None
                if ends_for_itself(text, start):
                    best = start
            start = end
            if end <= stop:
                best = end
        return best or None


def read_chunks(
    source: TextSource, splitter: Splitter, *, bounded: bool = False
) -> Iterator[list[str]]:
    """Yield lists of texts, about `CHUNK_CHARS` characters together, whose pieces are
    those of the source.

    Args:
        source: `Path`s name files or folders; `str`s are documents. No piece reaches
            from one document into the next; a file is one document, or in JSON Lines
            each record's field `text`. Under a pattern of your own, where cuts could
            change pieces, a document is never cut and is therefore read whole.
        splitter: pattern and special tokens.
        bounded: cut a run of more than `LONGEST_CHARS` characters that has no border at
            all.

    Raises:
        ValueError: a file that is not UTF-8 or does not exist, a lone surrogate, a bare
            string.
    """
    chunk: list[str] = []
    size = 0
    for document in _documents(source):
        for text in (
            _cut(document, splitter, bounded)
            if splitter.can_cut
            else ("".join(document),)
        ):
            chunk.append(text)
            size += len(text)
            if size >= CHUNK_CHARS // 2:
                yield chunk
                chunk, size = [], 0
    if chunk:
        yield chunk


def _cut(blocks: Iterable[str], splitter: Splitter, bounded: bool) -> Iterator[str]:
    """Join blocks and cut them again, at safe places only."""
    buffer, stop = "", CHUNK_CHARS
    for block in blocks:
        buffer += block
        start = 0
        while len(buffer) - start >= stop + splitter.margin:
            text = buffer[start : start + stop + splitter.margin]
            cut = splitter.find_cut(text, stop)
            if cut is None and not (bounded and stop >= LONGEST_CHARS):
                stop *= 2  # one piece, so far: look further
                continue
            yield text[: cut or stop]
            start += cut or stop
            stop = CHUNK_CHARS
        buffer = buffer[start:]
    if buffer:
        yield buffer


def _documents(source: TextSource) -> Iterator[Iterable[str]]:
    """Yield every document as an iterable of blocks of text."""
    if isinstance(source, str):
        raise ValueError(
            f"source is the string {source[:40]!r}; expected Path(...) for a file, "
            "[text] for a document"
        )
    for number, item in enumerate(
        [source] if isinstance(source, os.PathLike) else source
    ):
        if not isinstance(item, str):
            yield from whole_documents(item)
            continue
        try:
            item.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"document {number} is not valid Unicode: lone surrogate "
                f"U+{ord(item[error.start]):04X} at character {error.start:,}; "
                "expected text that has UTF-8"
            ) from None
        yield (item[i : i + CHUNK_CHARS] for i in range(0, len(item), CHUNK_CHARS))
