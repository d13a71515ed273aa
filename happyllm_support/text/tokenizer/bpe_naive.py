"""The textbook's BPE trainer: count all pairs, merge the best one, begin again.

It does by hand, in a screen of code, what `bpe.train_bpe` does with an index, and
learns exactly the same merges. Every merge reads the whole corpus twice, so its time is
(number of merges) x (size of the corpus).

Source: Sennrich, Haddow, Birch (2016), "Neural Machine Translation of Rare Words with
Subword Units", algorithm 1, on bytes and on pre-tokens as in Radford et al. (2019).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from happyllm_support.progress import Progress
from happyllm_support.text.tokenizer.bpe import (
    BYTE_ORDER,
    BPEConfig,
    BPEModel,
    model_of,
)
from happyllm_support.text.tokenizer.chunks import Splitter, TextSource, read_chunks
from happyllm_support.text.tokenizer.counting import PretokenCounts

_RANK = {byte: rank for rank, byte in enumerate(BYTE_ORDER)}


def train_bpe_naive(
    source: TextSource, config: BPEConfig, *, progress: Progress | None = None
) -> BPEModel:
    """Learn merges by recounting all pairs for each of them.

    Args:
        source: files (`Path`) or documents (`str`); all of it is held in memory.
        config: vocabulary, pattern and special tokens.
        progress: called as `progress("merging", done, total)`.

    Returns:
        The model that `train_bpe` returns, later.

    Raises:
        ValueError: a bad source, or an empty corpus.
    """
    splitter = Splitter(config.pattern, config.special_tokens)
    pieces = [
        piece
        for chunk in read_chunks(source, splitter)
        for text in chunk
        for piece in splitter.pieces(text)
    ]
    if not pieces:
        raise ValueError(
            "the corpus is empty: no text was left to learn from (special tokens do "
            "not count)"
        )
    words = [list(piece.encode()) for piece in pieces]
    merges: list[tuple[int, int]] = []
    while len(merges) < config.n_merges:
        pairs = count_pairs(words)
        if not pairs:
            break
        best = min(
            pairs,
            key=lambda pair: (
                -pairs[pair],
                _RANK.get(pair[0], pair[0]),
                _RANK.get(pair[1], pair[1]),
            ),
        )
        if pairs[best] < config.min_frequency:
            break
        words = [merge_pair(ids, best, 256 + len(merges)) for ids in words]
        merges.append(best)
        if progress is not None:
            progress("merging", len(merges), config.n_merges)
    counts = PretokenCounts(counts=Counter(pieces), pattern=splitter.pattern.pattern)
    return model_of(merges, counts, config)


def count_pairs(words: Iterable[list[int]]) -> Counter[tuple[int, int]]:
    """Count neighbours: `count_pairs([[1, 2, 3], [1, 2]])` has (1, 2) twice."""
    pairs: Counter[tuple[int, int]] = Counter()
    for ids in words:
        pairs.update(pairwise(ids))
    return pairs


def merge_pair(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """Replace a pair from the left: `merge_pair([1, 2, 1, 2], (1, 2), 3) -> [3, 3]`."""
    merged: list[int] = []
    i = 0
    while i < len(ids):
        if i + 1 < len(ids) and ids[i] == pair[0] and ids[i + 1] == pair[1]:
            merged.append(new)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged
