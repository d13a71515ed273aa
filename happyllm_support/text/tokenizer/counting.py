"""Counting pre-tokens in text of any size: all that training needs to know about a
corpus.

BPE never looks across the border of a pre-token, so the text itself can be forgotten:
`{"the": 5, " cat": 2}` is enough. Memory grows with the number of *different*
pre-tokens, which real text never stops inventing; `max_unique` bounds it by dropping
the rarest ones and saying how many.

The result is the same for any number of workers: chunks depend on the text alone, and
are added in its order.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import repeat
from operator import add

import numpy as np

from happyllm_support.files import iter_files
from happyllm_support.parallel import ordered_map
from happyllm_support.progress import Progress
from happyllm_support.text.tokenizer.chunks import Splitter, TextSource, read_chunks
from happyllm_support.text.tokenizer.pretokenize import pattern_source

KEPT_SHARE = 0.75  # of max_unique that survives a pruning
# Nor may the entries together have more characters than this times max_unique.
MEAN_CHARS = 64


@dataclass(frozen=True, kw_only=True)
class PretokenCounts:
    """How often each pre-token occurs.

    Attributes:
        counts: pre-token -> occurrences, in the order of first appearance.
        pattern: the regular expression that they were cut with.
        special_tokens: what was cut out before.
        n_bytes: bytes of UTF-8 read.
        dropped_unique: entries pruned from the table; one that came back and was pruned
            again counts twice.
        dropped_pretokens: occurrences counted in the entries that were pruned.
    """

    counts: dict[str, int]
    pattern: str
    special_tokens: tuple[str, ...] = ()
    n_bytes: int = 0
    dropped_unique: int = 0
    dropped_pretokens: int = 0

    @property
    def n_pretokens(self) -> int:
        """Pre-tokens read, dropped ones included."""
        return sum(self.counts.values()) + self.dropped_pretokens


def count_pretokens(
    source: TextSource,
    pattern: str = "bilingual",
    *,
    special_tokens: tuple[str, ...] = (),
    workers: int = 1,
    max_unique: int | None = None,
    progress: Progress | None = None,
) -> PretokenCounts:
    """Count the pre-tokens of files or documents, streaming.

    Args:
        source: `Path`s name files or folders, `str`s are documents (see `read_chunks`).
        pattern: name or regular expression. Text under an expression of your own is
            never cut, so its documents are read whole.
        special_tokens: cut out of the text before anything else, and not counted.
        workers: processes that count; 1 counts in this one.
        max_unique: most entries that the table may hold; beyond, the rarest are
            dropped. It also bounds the entries' length (64 characters on average) and
            cuts runs of 4 million characters without any border.
        progress: called with the stage `counting`, in bytes of UTF-8.

    Returns:
        The counts, and what was dropped.

    Raises:
        ValueError: bad pattern, source or number; a file that is not UTF-8.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; expected at least 1")
    if max_unique is not None and max_unique < 1:
        raise ValueError(f"max_unique is {max_unique}; expected at least 1")
    splitter = Splitter(pattern, special_tokens)
    total = (
        _total_bytes(source)
        if isinstance(source, (str, os.PathLike, list, tuple))
        else None
    )
    table = _Table(max_unique)
    n_bytes = 0
    chunks = read_chunks(source, splitter, bounded=max_unique is not None)
    counted = ordered_map(splitter.count, chunks, workers=workers)
    # closed, so that workers end at once when an error or Ctrl-C leaves the loop
    with closing(counted):
        for counts, chunk_chars, chunk_bytes in counted:
            table.add(counts)
            table.prune(chunk_chars)
            n_bytes += chunk_bytes
            if progress is not None:
                progress("counting", n_bytes, total)
    return PretokenCounts(
        counts=table.counts,
        pattern=pattern_source(pattern),
        special_tokens=special_tokens,
        n_bytes=n_bytes,
        dropped_unique=table.dropped_unique,
        dropped_pretokens=table.dropped_pretokens,
    )


class _Table:
    """Counts that stay below a bound by forgetting rare entries."""

    def __init__(self, max_unique: int | None) -> None:
        self.counts: dict[str, int] = {}
        self.max_unique = max_unique
        self.dropped_unique = 0
        self.dropped_pretokens = 0
        self._most_chars = 0  # the entries' characters are at most this many

    def add(self, counts: Mapping[str, int]) -> None:
        """Add the counts of a chunk."""
        before = map(self.counts.get, counts, repeat(0))
        self.counts.update(zip(counts, map(add, before, counts.values()), strict=True))

    def prune(self, new_chars: int) -> None:
        """Keep the most frequent entries, if there are too many; among equals short
        ones, then new ones.

        Args:
            new_chars: characters counted since the last call.
        """
        self._most_chars += new_chars
        if self.max_unique is None:
            return
        most_chars = MEAN_CHARS * self.max_unique
        if len(self.counts) <= self.max_unique and self._most_chars <= most_chars:
            return
        keys = list(self.counts)
        lengths = np.fromiter(map(len, keys), np.int64, len(keys))
        self._most_chars = int(lengths.sum())
        if len(keys) <= self.max_unique and self._most_chars <= most_chars:
            return
        counts = np.fromiter(self.counts.values(), np.int64, len(keys))
        order = np.lexsort((-np.arange(len(keys)), lengths, -counts))
        fits = np.cumsum(lengths[order]) <= KEPT_SHARE * most_chars
        n_kept = min(int(fits.sum()), max(1, int(KEPT_SHARE * self.max_unique)))
        kept, dropped = np.sort(order[:n_kept]), order[n_kept:]
        self.counts = {keys[i]: int(counts[i]) for i in kept.tolist()}
        self._most_chars = int(lengths[kept].sum())
        self.dropped_unique += len(dropped)
        self.dropped_pretokens += int(counts[dropped].sum())


def _total_bytes(source: TextSource) -> int | None:
    """Sum the sizes of the files, or return None if documents or JSON Lines are among
    them.
    """
    items = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    paths = [item for item in items if not isinstance(item, str)]
    if not paths or len(paths) < len(items):
        return None
    files = iter_files(paths)
    return (
        None
        if any(file.suffix == ".jsonl" for file in files)
        else sum(file.stat().st_size for file in files)
    )
