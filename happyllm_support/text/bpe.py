"""Byte-pair encoding, trained from scratch: what a model of merges is, and how one is learned.

Training starts from the 256 bytes and repeats one step: join the most frequent pair of neighbouring tokens, everywhere,
into a new token. Byte b has id b, the k-th merge makes id 256 + k, special tokens come last.

Ties matter: two trainers agree only if they break them alike. Here the highest count wins; among equals the pair that
is smallest as (left, right), bytes ranked in GPT-2's order (`!` to `~`, then U+00A1 onwards, then the other 68) and
merged tokens by age. That is what Hugging Face's trainer does, so the merges of both are identical.

Source: Sennrich, Haddow, Birch (2016), "Neural Machine Translation of Rare Words with Subword Units"; Radford et al.
(2019), "Language Models are Unsupervised Multitask Learners", section 2.2 (bytes as the alphabet).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from happyllm_support.text.pretokenize import compile_pattern, pattern_source

DEFAULT_SPECIALS = ("<|pad|>", "<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")

# Bytes in GPT-2's order: the printable ones first, then the 68 that GPT-2 writes as U+0100 and up.
_PRINTABLE = (*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1))
BYTE_ORDER: tuple[int, ...] = (*_PRINTABLE, *(b for b in range(256) if b not in set(_PRINTABLE)))


@dataclass(frozen=True, kw_only=True)
class BPEConfig:
    """What to train: the size of the vocabulary and the rules of the game.

    Attributes:
        vocab_size: number of ids in the end, the 256 bytes and the special tokens included.
        pattern: pre-tokenization, `bilingual`, `gpt2` or a regular expression.
        min_frequency: a pair is merged only if it occurs at least this often.
        special_tokens: texts that get an id of their own, are cut out before anything else and never merged across.
    """

    vocab_size: int
    pattern: str = "bilingual"
    min_frequency: int = 2
    special_tokens: tuple[str, ...] = DEFAULT_SPECIALS

    def __post_init__(self) -> None:
        check_specials(self.special_tokens)
        smallest = 256 + len(self.special_tokens)
        if self.vocab_size < smallest:
            raise ValueError(
                f"vocab_size {self.vocab_size} is too small; at least {smallest} is needed (256 bytes and "
                f"{len(self.special_tokens)} special tokens)"
            )
        if self.min_frequency < 1:
            raise ValueError(f"min_frequency {self.min_frequency} is too small; at least 1 is allowed")
        compile_pattern(self.pattern)

    @property
    def n_merges(self) -> int:
        """Merges to learn, if the corpus has as many."""
        return self.vocab_size - 256 - len(self.special_tokens)


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """What happened during training.

    Attributes:
        n_pretokens: pre-tokens read.
        n_unique: different pre-tokens that the merges were learned from.
        dropped_unique: entries pruned from the count table (0 unless `max_unique` was set and reached).
        dropped_pretokens: occurrences counted in the entries that were pruned.
        stopped_because: `vocab_size` reached, or `min_frequency`: no pair left that occurs often enough.
    """

    n_pretokens: int
    n_unique: int
    dropped_unique: int = 0
    dropped_pretokens: int = 0
    stopped_because: str = "vocab_size"


@dataclass(frozen=True, kw_only=True)
class BPEModel:
    """The merges, and all that is needed to encode and decode with them.

    Attributes:
        merges: pairs of ids in the order learned; merge k makes id 256 + k.
        pattern: the pre-tokenization as a regular expression (never a name).
        special_tokens: text -> id.
        byte_ids: 256 ids, `byte_ids[b]` is the id of byte b; the identity for ours, a permutation for GPT-2's.
        report: how training went, or None for a model that came from elsewhere.
    """

    merges: tuple[tuple[int, int], ...]
    pattern: str
    special_tokens: dict[str, int] = field(default_factory=dict[str, int])
    byte_ids: tuple[int, ...] = tuple(range(256))
    report: TrainingReport | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if sorted(self.byte_ids) != list(range(256)):
            raise ValueError("byte_ids must hold each of 0..255 once")
        for rank, pair in enumerate(self.merges):
            if not all(0 <= token < 256 + rank for token in pair):
                raise ValueError(f"merge {rank} joins ids {pair}, but only ids below {256 + rank} exist at that point")
        check_specials(tuple(self.special_tokens))
        first = 256 + len(self.merges)
        if sorted(self.special_tokens.values()) != list(range(first, first + len(self.special_tokens))):
            raise ValueError(
                f"special tokens must have the ids from {first} on, without gaps; got {self.special_tokens}"
            )
        object.__setattr__(self, "pattern", pattern_source(self.pattern))
        compile_pattern(self.pattern)

    @property
    def vocab_size(self) -> int:
        """Number of ids: bytes, merges and special tokens."""
        return 256 + len(self.merges) + len(self.special_tokens)

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes behind every id; a special token's are its text in UTF-8."""
        tokens = [b""] * 256
        for byte, token in enumerate(self.byte_ids):
            tokens[token] = bytes([byte])
        for left, right in self.merges:
            tokens.append(tokens[left] + tokens[right])
        return tokens + [text.encode() for text in sorted(self.special_tokens, key=self.special_tokens.__getitem__)]


def check_specials(special_tokens: Sequence[str]) -> None:
    """Refuse special tokens that are empty or given twice.

    Raises:
        ValueError: names the token.
    """
    seen: set[str] = set()
    for token in special_tokens:
        if not token:
            raise ValueError("a special token is empty; each needs at least one character")
        if token in seen:
            raise ValueError(f"special token {token!r} is given twice")
        seen.add(token)
