"""Byte-pair encoding, trained from scratch: what a model of merges is, and how one is
learned.

Training starts from the 256 bytes and repeats one step: join the most frequent pair of
neighbouring tokens, everywhere, into a new token. Byte b has id b, the k-th merge makes
id 256 + k, special tokens come last.

Ties matter: two trainers agree only if they break them alike. Here the highest count
wins; among equals the pair that is smallest as (left, right), bytes ranked in GPT-2's
order (`!` to `~`, then U+00A1 onwards, then the other 68) and merged tokens by age.
That is what Hugging Face's trainer does, so the merges of both are identical.

Source: Sennrich, Haddow, Birch (2016), "Neural Machine Translation of Rare Words with
Subword Units"; Radford et al. (2019), "Language Models are Unsupervised Multitask
Learners", section 2.2 (bytes as the alphabet).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from happyllm_support.progress import Progress
from happyllm_support.text.tokenizer.chunks import TextSource
from happyllm_support.text.tokenizer.counting import PretokenCounts, count_pretokens
from happyllm_support.text.tokenizer.pair_index import MAX_VOCAB, PairQueue, SymbolArray
from happyllm_support.text.tokenizer.pretokenize import compile_pattern, pattern_source

DEFAULT_SPECIALS = (
    "<|pad|>",
    "<|bos|>",
    "<|eos|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
)

# Bytes in GPT-2's order: the printable ones first, then the 68 that GPT-2 writes as
# U+0100 and up.
_PRINTABLE = (
    *range(ord("!"), ord("~") + 1),
    *range(0xA1, 0xAC + 1),
    *range(0xAE, 0xFF + 1),
)
BYTE_ORDER: tuple[int, ...] = (
    *_PRINTABLE,
    *(b for b in range(256) if b not in set(_PRINTABLE)),
)


@dataclass(frozen=True, kw_only=True)
class BPEConfig:
    """What to train: the size of the vocabulary and the rules of the game.

    Attributes:
        vocab_size: number of ids in the end, the 256 bytes and the special tokens
            included.
        pattern: pre-tokenization, `bilingual`, `gpt2` or a regular expression.
        min_frequency: a pair is merged only if it occurs at least this often.
        special_tokens: texts that get an id of their own, are cut out before anything
            else and never merged across.
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
                f"vocab_size is {self.vocab_size}; expected at least {smallest} (256 "
                f"bytes and {len(self.special_tokens)} special tokens)"
            )
        if self.vocab_size > MAX_VOCAB:
            raise ValueError(
                f"vocab_size is {self.vocab_size}; expected at most {MAX_VOCAB}"
            )
        if self.min_frequency < 1:
            raise ValueError(
                f"min_frequency is {self.min_frequency}; expected at least 1"
            )
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
        dropped_unique: entries pruned from the count table (0 unless `max_unique` was
            set and reached).
        dropped_pretokens: occurrences counted in the entries that were pruned.
        stopped_because: `vocab_size` reached, or `min_frequency`: no pair left that
            occurs often enough.
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
        byte_ids: 256 ids, `byte_ids[b]` is the id of byte b; the identity for ours, a
            permutation for GPT-2's.
        report: how training went, or None for a model that came from elsewhere.
    """

    merges: tuple[tuple[int, int], ...]
    pattern: str
    special_tokens: dict[str, int] = field(default_factory=dict[str, int])
    byte_ids: tuple[int, ...] = tuple(range(256))
    report: TrainingReport | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if sorted(self.byte_ids) != list(range(256)):
            raise ValueError("byte_ids is wrong; expected each of 0 to 255 once")
        for rank, pair in enumerate(self.merges):
            if not all(0 <= token < 256 + rank for token in pair):
                raise ValueError(
                    f"merge {rank} joins ids {pair}, but only ids below {256 + rank} "
                    "exist at that point"
                )
        check_specials(tuple(self.special_tokens))
        first = 256 + len(self.merges)
        if sorted(self.special_tokens.values()) != list(
            range(first, first + len(self.special_tokens))
        ):
            raise ValueError(
                f"special tokens are {self.special_tokens}; expected the ids from "
                f"{first} on, without gaps"
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
        return tokens + [
            text.encode()
            for text in sorted(self.special_tokens, key=self.special_tokens.__getitem__)
        ]


def train_bpe(
    source: TextSource | PretokenCounts,
    config: BPEConfig,
    *,
    workers: int = 1,
    max_unique: int | None = None,
    progress: Progress | None = None,
) -> BPEModel:
    """Learn merges from files or documents of any size.

    Args:
        source: `Path`s name files or folders, `str`s are documents; or counts from
            `count_pretokens`, so that several vocabularies can be trained from one
            reading.
        config: vocabulary, pattern and special tokens.
        workers: processes that count; the result does not depend on it.
        max_unique: bound on the count table, see `count_pretokens`.
        progress: called as `progress(stage, done, total)` with the stages `counting`
            (bytes) and `merging` (merges).

    Returns:
        The model; `report` says what was read, what was dropped, and why training
        stopped.

    Raises:
        ValueError: a bad source, an empty corpus, or counts made with another pattern
            or other special tokens.
    """
    counts = _counts_for(source, config, workers, max_unique, progress)
    merges = learn_merges(
        counts.counts,
        config.n_merges,
        min_frequency=config.min_frequency,
        progress=progress,
    )
    return model_of(merges, counts, config)


def learn_merges(
    counts: Mapping[str, int],
    n_merges: int,
    *,
    min_frequency: int = 2,
    progress: Progress | None = None,
) -> list[tuple[int, int]]:
    """Learn up to `n_merges` merges from counted pre-tokens.

    `learn_merges({"aab": 2, "ab": 1}, 2) -> [(97, 98), (97, 256)]`: `ab` occurs three
    times, then `a ab` twice.

    Args:
        counts: pre-token -> occurrences.
        n_merges: how many merges to learn at most.
        min_frequency: pairs that occur less often are not merged.
        progress: called with the stage `merging`.

    Returns:
        Pairs of ids; the k-th makes id 256 + k. Fewer than asked for when no pair is
        left.
    """
    symbols = SymbolArray(counts, BYTE_ORDER, n_merges)
    queue = PairQueue(symbols, min_frequency)
    merges: list[tuple[int, int]] = []
    while len(merges) < n_merges and (best := queue.pop()) is not None:
        new = 256 + len(merges)
        left_pairs, right_pairs = symbols.merge(best, new, min_frequency)
        queue.add(new, False, left_pairs)
        queue.add(new, True, right_pairs)
        merges.append((best.left, best.right))
        if progress is not None and len(merges) % 64 == 0:
            progress("merging", len(merges), n_merges)
    if progress is not None:
        progress("merging", len(merges), n_merges)
    to_byte = (*BYTE_ORDER, *range(256, 256 + n_merges))
    return [(to_byte[left], to_byte[right]) for left, right in merges]


def model_of(
    merges: Sequence[tuple[int, int]], counts: PretokenCounts, config: BPEConfig
) -> BPEModel:
    """Return the model that `merges` learned from `counts` make, with its report."""
    first = 256 + len(merges)
    return BPEModel(
        merges=tuple(merges),
        pattern=counts.pattern,
        special_tokens={
            text: first + i for i, text in enumerate(config.special_tokens)
        },
        report=TrainingReport(
            n_pretokens=counts.n_pretokens,
            n_unique=len(counts.counts),
            dropped_unique=counts.dropped_unique,
            dropped_pretokens=counts.dropped_pretokens,
            stopped_because="vocab_size"
            if len(merges) == config.n_merges
            else "min_frequency",
        ),
    )


def _counts_for(
    source: TextSource | PretokenCounts,
    config: BPEConfig,
    workers: int,
    max_unique: int | None,
    progress: Progress | None,
) -> PretokenCounts:
    if not isinstance(source, PretokenCounts):
        source = count_pretokens(
            source,
            config.pattern,
            special_tokens=config.special_tokens,
            workers=workers,
            max_unique=max_unique,
            progress=progress,
        )
    elif (source.pattern, set(source.special_tokens)) != (
        pattern_source(config.pattern),
        set(config.special_tokens),
    ):
        raise ValueError(
            f"the counts were made with pattern {source.pattern[:40]!r} and special "
            f"tokens {source.special_tokens}; "
            f"the configuration has {pattern_source(config.pattern)[:40]!r} and "
            f"{config.special_tokens}"
        )
    if not source.counts:
        raise ValueError(
            "the corpus is empty: no text was left to learn from (special tokens do "
            "not count)"
        )
    return source


def check_specials(special_tokens: Sequence[str]) -> None:
    """Refuse special tokens that are empty, given twice, or no valid Unicode.

    Raises:
        ValueError: names the token.
    """
    if isinstance(special_tokens, str):
        raise ValueError(
            f"special_tokens is the string {special_tokens!r}; expected a tuple of "
            "strings"
        )
    seen: set[str] = set()
    for token in special_tokens:
        if not token:
            raise ValueError(
                "a special token is empty; expected at least one character"
            )
        if any("\ud800" <= character <= "\udfff" for character in token):
            raise ValueError(
                f"special token {token!r} holds a lone surrogate; expected Unicode text"
            )
        if token in seen:
            raise ValueError(f"special token {token!r} is given twice")
        seen.add(token)
