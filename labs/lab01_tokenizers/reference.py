"""The package's code under this lab's names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from happyllm_support.text.tokenizer.bpe import (
    BYTE_ORDER,
    BPEConfig,
    BPEModel,
    learn_merges,
)
from happyllm_support.text.tokenizer.bpe_naive import count_pairs
from happyllm_support.text.tokenizer.bpe_naive import merge_pair as merge
from happyllm_support.text.tokenizer.merging import merge_piece
from happyllm_support.text.tokenizer.streaming import SpecialSplitter, Utf8Stream
from happyllm_support.text.tokenizer.tokenizer import Tokenizer

__all__ = [
    "PATTERN",
    "Pair",
    "decode",
    "decode_stream",
    "encode",
    "encode_special",
    "merge",
    "pair_counts",
    "pretokenize",
    "rank",
    "train",
]

Pair = tuple[int, int]
PATTERN = r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s"
_RANK = {byte: place for place, byte in enumerate(BYTE_ORDER)}


def pretokenize(text: str) -> list[str]:
    return re.findall(PATTERN, text)


def rank(token: int) -> int:
    return _RANK.get(token, token)


def pair_counts(words: dict[tuple[int, ...], int]) -> dict[Pair, int]:
    return count_pairs(list(ids) for ids, n in words.items() for _ in range(n))


def train(text: str, vocab_size: int, min_frequency: int = 2) -> list[Pair]:
    config = BPEConfig(
        vocab_size=vocab_size, min_frequency=min_frequency, special_tokens=()
    )
    return learn_merges(
        Counter(pretokenize(text)), config.n_merges, min_frequency=min_frequency
    )


def encode(text: str, merges: list[Pair]) -> list[int]:
    table = {pair: 256 + k for k, pair in enumerate(merges)}
    return [
        token
        for piece in pretokenize(text)
        for token in merge_piece(list(piece.encode()), table)
    ]


def decode(ids: list[int], merges: list[Pair]) -> str:
    return Tokenizer(
        BPEModel(merges=tuple(merges), pattern=PATTERN), backend="python"
    ).decode(ids)


def decode_stream(ids: Iterable[int], vocab: list[bytes]) -> Iterator[str]:
    stream = Utf8Stream()
    for token in ids:
        if text := stream.push(vocab[token]):
            yield text
    if text := stream.flush():
        yield text


def encode_special(
    text: str,
    merges: list[Pair],
    special: dict[str, int],
    allowed: Collection[str] = (),
) -> list[int]:
    if unknown := set(allowed) - set(special):
        raise ValueError(f"unknown special token {min(unknown)!r}")
    parts = (
        SpecialSplitter({token: special[token] for token in allowed}).split(text)
        if allowed
        else [text]
    )
    return [
        token
        for part in parts
        for token in ([part] if isinstance(part, int) else encode(part, merges))
    ]
