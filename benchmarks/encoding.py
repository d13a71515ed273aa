"""Encoding on one thread with GPT-2's merges: the tokenizer's default path and the
from-scratch encoder.

English is the validation split of WikiText-2, Chinese a megabyte of classical poetry
with notes. The peers do the same work on the same strings and return lists of ids:
tiktoken built from the same merges, and Hugging Face's `encode_batch_fast`, its fastest
way, which skips the offsets that nobody reads here. A floor of 0 marks a figure that is
shown beside another one and promises nothing.
"""

from __future__ import annotations

import re
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import tiktoken
import tokenizers

from benchmarks.compare import Comparison, Measurement, alternate, timed
from happyllm_support.text.tokenizer.encoder import BPEEncoder
from happyllm_support.text.tokenizer.formats.huggingface import to_huggingface
from happyllm_support.text.tokenizer.formats.tiktoken import to_tiktoken
from happyllm_support.text.tokenizer.tokenizer import Tokenizer

GPT2 = ("gpt2/encoder.json", "gpt2/vocab.bpe")
ENGLISH, OTHER_ENGLISH, CHINESE = (
    "wikitext-2/valid.txt",
    "tinyshakespeare.txt",
    "chinese-poetry/poetry.txt",
)
REPEATS = 9
ARTICLE = r"(?m)^(?= = [^=])"  # where an article begins
CHINESE_CHARS = 350_000  # about a megabyte
NO_SPLIT_POINT = 100_000  # bytes
MOST_FOR_DOUBLE = 2.3


def default_whole(data: Path, *, name: str) -> Measurement:
    """The default path against bare tiktoken on one long string."""
    tokenizer, text = gpt2(data), read(data, name)
    bare = to_tiktoken(tokenizer)
    pair = alternate(
        partial(tokenizer.encode, text),
        partial(bare.encode_ordinary, text),
        equal=list.__eq__,
        repeats=REPEATS,
    )
    return throughput(
        text,
        pair.ours,
        pair.theirs,
        pair.equal,
        f"one string of {language(name)}",
        bare,
    )


def default_lines(data: Path) -> Measurement:
    """The default path against bare tiktoken on many short strings, where each call
    counts.
    """
    tokenizer, text = gpt2(data), read(data, ENGLISH)
    bare = to_tiktoken(tokenizer)
    lines = [line for line in text.splitlines(keepends=True) if line.strip()]
    encode, peer = tokenizer.encode, bare.encode_ordinary
    pair = alternate(
        lambda: [encode(line) for line in lines],
        lambda: [peer(line) for line in lines],
        equal=list.__eq__,
        repeats=REPEATS,
    )
    return throughput(
        "".join(lines),
        pair.ours,
        pair.theirs,
        pair.equal,
        f"{len(lines):,} lines of English",
        bare,
    )


def default_hugging_face(data: Path, *, whole: bool) -> Measurement:
    """The default path against Hugging Face's tokenizers, on whole articles or on their
    lines.
    """
    tokenizer, text = gpt2(data), read(data, ENGLISH)
    with tempfile.TemporaryDirectory() as folder:
        to_huggingface(tokenizer, Path(folder) / "tokenizer.json")
        peer = tokenizers.Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    texts = re.split(ARTICLE if whole else "(?<=\n)", text)
    pair = alternate(
        lambda: tokenizer.encode_batch(texts),
        lambda: [
            encoding.ids
            for encoding in peer.encode_batch_fast(texts, add_special_tokens=False)
        ],
        equal=list.__eq__,
    )
    what = f"{len(texts):,} {'articles' if whole else 'lines'} of English"
    return throughput(text, pair.ours, pair.theirs, pair.equal, what, peer)


def from_scratch(data: Path, *, name: str, warm: bool) -> Measurement:
    """Our encoder in Python against tiktoken, on text of which it has seen none, or
    only other text of the kind.
    """
    tokenizer, text = gpt2(data), read(data, name)
    bare = to_tiktoken(tokenizer)
    middle = text.index("\n", len(text) // 2) + 1
    other, text = (
        (read(data, OTHER_ENGLISH) if name == ENGLISH else "") + text[:middle],
        text[middle:],
    )

    def fresh() -> BPEEncoder:
        encoder = BPEEncoder(tokenizer.model)
        if warm:
            encoder.encode_ordinary(other)
        return encoder

    equal = fresh().encode_ordinary(text) == bare.encode_ordinary(text)
    times = [
        (
            timed(partial(fresh().encode_ordinary, text)),
            timed(partial(bare.encode_ordinary, text)),
        )
        for _ in range(REPEATS)
    ]
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    seen = (
        f"tables warmed on {len(other.encode()) / 1e6:.1f} MB of other text"
        if warm
        else "tables empty"
    )
    return throughput(text, ours, theirs, equal, f"{language(name)}, {seen}", bare)


def doubling(data: Path) -> Measurement:
    """What twice the input costs our encoder when the input is a single piece."""
    tokenizer = gpt2(data)
    letters = re.sub("[^a-z]", "", read(data, OTHER_ENGLISH).lower())
    short, long = letters[:NO_SPLIT_POINT], letters[: 2 * NO_SPLIT_POINT]
    bare = to_tiktoken(tokenizer)

    def encode(text: str) -> list[int]:
        return BPEEncoder(tokenizer.model).encode_ordinary(text)

    times = [
        (timed(partial(encode, long)), timed(partial(encode, short)))
        for _ in range(REPEATS)
    ]
    ratio = statistics.median(double for double, _ in times) / statistics.median(
        single for _, single in times
    )
    return Measurement(
        workload=f"{NO_SPLIT_POINT // 1000} and {2 * NO_SPLIT_POINT // 1000} KB of "
        "letters without a split point",
        peer="the bound that is promised",
        unit="times the time",
        ours=ratio,
        theirs=MOST_FOR_DOUBLE,
        equal=encode(long) == bare.encode_ordinary(long),
        note="the from-scratch encoder; n log n would be 2.12, n^2 would be 4",
    )


def gpt2(data: Path) -> Tokenizer:
    """The tokenizer with GPT-2's own merges."""
    return Tokenizer.from_gpt2(*(data / name for name in GPT2))


def read(data: Path, name: str) -> str:
    """The text of one file; of the Chinese one its beginning."""
    text = (data / name).read_bytes().decode("utf-8")
    return text[:CHINESE_CHARS] if name == CHINESE else text


def language(name: str) -> str:
    """What a file holds."""
    return "Chinese" if name == CHINESE else "English"


def throughput(
    text: str,
    ours: float,
    theirs: float,
    equal: bool,
    what: str,
    peer: tiktoken.Encoding | tokenizers.Tokenizer,
) -> Measurement:
    """Turn seconds for `text` into MB/s."""
    size = len(text.encode()) / 1e6
    library = tiktoken if isinstance(peer, tiktoken.Encoding) else tokenizers
    return Measurement(
        workload=f"{size:.1f} MB, {what}",
        peer=f"{library.__name__} {library.__version__}",
        unit="MB/s",
        ours=size / ours,
        theirs=size / theirs,
        equal=equal,
        higher_is_better=True,
    )


def _row(
    name: str, measure: Callable[[Path], Measurement], floor: float, *texts: str
) -> Comparison:
    return Comparison(name, measure, needs=(*GPT2, *texts), threads=1, floor=floor)


COMPARISONS = (
    _row("encode-default", partial(default_whole, name=ENGLISH), 0.95, ENGLISH),
    _row("encode-default-chinese", partial(default_whole, name=CHINESE), 0.95, CHINESE),
    _row("encode-default-lines", default_lines, 0.95, ENGLISH),
    _row("encode-default-hf", partial(default_hugging_face, whole=True), 5.0, ENGLISH),
    _row(
        "encode-default-hf-lines",
        partial(default_hugging_face, whole=False),
        0.0,
        ENGLISH,
    ),
    _row(
        "encode-python-warm",
        partial(from_scratch, name=ENGLISH, warm=True),
        0.5,
        ENGLISH,
        OTHER_ENGLISH,
    ),
    _row(
        "encode-python-cold",
        partial(from_scratch, name=ENGLISH, warm=False),
        0.0,
        ENGLISH,
        OTHER_ENGLISH,
    ),
    _row(
        "encode-python-warm-chinese",
        partial(from_scratch, name=CHINESE, warm=True),
        0.0,
        CHINESE,
    ),
    _row(
        "encode-python-cold-chinese",
        partial(from_scratch, name=CHINESE, warm=False),
        0.0,
        CHINESE,
    ),
    _row("encode-python-doubling", doubling, 1.0, OTHER_ENGLISH),
)
