"""Training byte-level BPE: against Hugging Face's Rust trainer, and against the
textbook.

The text is real: Shakespeare, the validation split of WikiText-2 and 10 MB of classical
Chinese, 12.8 MB together. Both sides get the same documents (about 64 KiB each, cut at
line ends), read and split within the time that is measured.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from benchmarks.compare import Comparison, Measurement, alternate
from happyllm_support.text.tokenizer.bpe import BPEConfig, learn_merges, train_bpe
from happyllm_support.text.tokenizer.bpe_naive import train_bpe_naive
from happyllm_support.text.tokenizer.counting import count_pretokens
from happyllm_support.text.tokenizer.pretokenize import PATTERNS

FILES = ("tinyshakespeare.txt", "wikitext-2/valid.txt", "chinese-poetry/poetry.txt")
DOCUMENT_CHARS = 1 << 16
THREADS = 2

Merges = list[tuple[int, int]]


def read_documents(data: Path) -> list[str]:
    """Read the files and cut them into documents at line ends."""
    documents: list[str] = []
    for name in FILES:
        text = (data / name).read_bytes().decode("utf-8")
        start = 0
        while start < len(text):
            end = text.find("\n", start + DOCUMENT_CHARS) + 1 or len(text)
            documents.append(text[start:end])
            start = end
    return documents


def megabytes(documents: list[str]) -> float:
    """Bytes of UTF-8, in millions."""
    return sum(len(document.encode()) for document in documents) / 1e6


def ours(documents: list[str], config: BPEConfig) -> Merges:
    """Train with this project, counting in two processes."""
    return list(train_bpe(documents, config, workers=THREADS).merges)


def hugging_face(documents: list[str], config: BPEConfig) -> Tokenizer:
    """Train with `tokenizers`, on as many threads as RAYON_NUM_THREADS says."""
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=config.pattern == "gpt2"
    )
    if config.pattern != "gpt2":
        split = pre_tokenizers.Split(Regex(PATTERNS[config.pattern]), "isolated")
        byte_level = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.pre_tokenizer = byte_level
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def merges_of(tokenizer: Tokenizer) -> Merges:
    """Translate Hugging Face's merges into ours: pairs of ids, bytes first."""
    printable = {
        *range(ord("!"), ord("~") + 1),
        *range(0xA1, 0xAC + 1),
        *range(0xAE, 0xFF + 1),
    }
    others = iter(range(0x100, 0x100 + 68))
    ids = {
        chr(byte) if byte in printable else chr(next(others)): byte
        for byte in range(256)
    }
    merges: Merges = []
    for left, right in json.loads(tokenizer.to_str())["model"]["merges"]:
        ids.setdefault(left + right, 256 + len(merges))
        merges.append((ids[left], ids[right]))
    return merges


def against_hugging_face(data: Path, config: BPEConfig) -> Measurement:
    """Time both trainers on the same documents."""
    documents = read_documents(data)
    pair = alternate(
        lambda: ours(documents, config),
        lambda: hugging_face(documents, config),
        equal=lambda a, b: a == merges_of(b),
    )
    return Measurement(
        workload=f"{megabytes(documents):.1f} MB Chinese and English, {config.pattern} "
        "pattern, vocabulary "
        f"{config.vocab_size:,}, min_frequency {config.min_frequency}",
        peer="Hugging Face tokenizers (Rust), 2 threads",
        ours=pair.ours,
        theirs=pair.theirs,
        unit="s",
        equal=pair.equal,
    )


def gpt2_8k(data: Path) -> Measurement:
    """GPT-2's pattern: a Chinese clause is one pre-token, so there are 485,000
    different ones.
    """
    return against_hugging_face(
        data, BPEConfig(vocab_size=8192, pattern="gpt2", special_tokens=())
    )


def bilingual_8k(data: Path) -> Measurement:
    """The package's own pattern."""
    return against_hugging_face(
        data, BPEConfig(vocab_size=8192, pattern="bilingual", special_tokens=())
    )


def large_32k(data: Path) -> Measurement:
    """A vocabulary of 32,000, with what 10 GB would take beside it."""
    config = BPEConfig(
        vocab_size=32_000, min_frequency=5, pattern="gpt2", special_tokens=()
    )
    measured = against_hugging_face(data, config)
    fields = {**vars(measured), "note": extrapolation(read_documents(data), config)}
    return Measurement(**fields)


def extrapolation(documents: list[str], config: BPEConfig, goal: float = 1e10) -> str:
    """Measure counting and learning on growing shares of the text, and say what follows
    for `goal` bytes.

    Counting is linear in the text. Learning is a part per merge and a part per
    different pre-token, and the number of different pre-tokens grows as a power of the
    text.
    """
    shares = (1 / 8, 1 / 4, 1 / 2, 1)
    sizes, counting, learning, unique = [], [], [], []
    for share in shares:
        # Every k-th document, so that all shares are the same mixture of texts.
        part = documents[:: round(1 / share)]
        start = time.perf_counter()
        counted = count_pretokens(part, config.pattern, workers=THREADS)
        middle = time.perf_counter()
        learn_merges(
            counted.counts, config.n_merges, min_frequency=config.min_frequency
        )
        sizes.append(counted.n_bytes)
        counting.append(middle - start)
        learning.append(time.perf_counter() - middle)
        unique.append(len(counted.counts))
    unique_at, power = power_law(sizes, unique, goal)
    count_at, learn_at = (
        straight_line(sizes, counting, goal),
        straight_line(unique, learning, unique_at),
    )
    return (
        f"10 GB, extrapolated from {sizes[0] / 1e6:.1f} to {sizes[-1] / 1e6:.1f} MB of "
        "this mixture: counting, linear, "
        f"{count_at / 60:.0f} min with two processes; different pre-tokens, growing as "
        f"n^{power:.2f}, "
        f"{unique_at / 1e6:.0f} million; learning, linear in those, "
        f"{learn_at / 60:.0f} min. max_unique bounds "
        "the last two, and at this size it has to. A factor of 800 beyond the "
        "measurement: an order of magnitude, not "
        "a promise."
    )


def straight_line(sizes: list[int], values: list[float], goal: float) -> float:
    """Fit `value = a + b * size` by least squares of the relative errors; return the
    value at `goal`.
    """
    slope, start = np.polyfit(sizes, values, 1, w=1 / np.array(values))
    return float(start + slope * goal)


def power_law(
    sizes: list[int], values: list[float] | list[int], goal: float
) -> tuple[float, float]:
    """Fit `value = c * size ** p` by least squares of the logarithms; return the value
    at `goal`, and p.
    """
    x, y = [math.log(size) for size in sizes], [math.log(value) for value in values]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    power = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum(
        (a - mean_x) ** 2 for a in x
    )
    return math.exp(mean_y + power * (math.log(goal) - mean_x)), power


def textbook(data: Path) -> Measurement:
    """A slice that the textbook's trainer gets through in seconds; it recounts all
    pairs for every merge.
    """
    documents = [*_slices(read_documents(data), every=64)]
    config = BPEConfig(vocab_size=512, pattern="gpt2", special_tokens=())
    pair = alternate(
        lambda: train_bpe(documents, config),
        lambda: train_bpe_naive(documents, config),
        equal=lambda a, b: a == b,
    )
    return Measurement(
        workload=f"{megabytes(documents):.2f} MB Chinese and English, gpt2 pattern, "
        f"vocabulary {config.vocab_size:,}",
        peer="the textbook's trainer (Python, recounts all pairs for each merge), 1 "
        "thread",
        ours=pair.ours,
        theirs=pair.theirs,
        unit="s",
        equal=pair.equal,
        note="The textbook's time is the product of corpus and merges, so the ratio "
        "grows with both.",
    )


def _slices(documents: list[str], every: int) -> Iterator[str]:
    """Take the first lines of each document: one part in `every`."""
    for document in documents:
        yield document[: document.find("\n", len(document) // every) + 1]


COMPARISONS = (
    Comparison("bpe-train-8k", gpt2_8k, needs=FILES, threads=THREADS, floor=1.0),
    Comparison(
        "bpe-train-8k-bilingual", bilingual_8k, needs=FILES, threads=THREADS, floor=1.0
    ),
    Comparison("bpe-train-32k", large_32k, needs=FILES, threads=THREADS, floor=1.0),
    Comparison("bpe-train-textbook", textbook, needs=FILES, threads=1, floor=100.0),
)
