"""`happyllm tokenizer`: train a byte-pair encoding, and look at what it does to text."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from happyllm_support.commands.output import ProgressBar, format_bytes, format_table, visible
from happyllm_support.commands.sources import Reading, load_tokenizer
from happyllm_support.files import decode_blocks, iter_files, read_text_blocks

if TYPE_CHECKING:
    from happyllm_support.text.bpe import BPEModel
    from happyllm_support.text.tokenizer import Tokenizer

EXAMPLES = ("The old fisherman gave his daughter a small blue boat.", "老渔夫送给女儿一条蓝色的小船。")


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a byte-level BPE tokenizer on corpora, files or folders.

    Example: happyllm tokenizer train storyworld-en notes.txt --vocab-size 2048 --output my.json
    """

    paths: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="SOURCE...", help_behavior_hint="(at least one)")
    ]
    """Names of corpora (see `happyllm data list`), UTF-8 text or JSON Lines files, folders."""
    output: Path
    """The file to write (JSON)."""
    vocab_size: int = 8192
    """Ids in the end, the 256 bytes and the special tokens included."""
    pattern: Literal["bilingual", "gpt2"] = "bilingual"
    """How text is cut before merging: for English and Chinese, or as GPT-2 does."""
    min_frequency: int = 2
    """Pairs that occur less often are not merged."""
    special_tokens: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="[TEXT ...]")] = None
    """Texts that become one id each; by default <|pad|>, <|bos|>, <|eos|> and the four markers of a chat."""
    workers: int = 1
    """Processes that count words; the result does not depend on it."""
    max_unique: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Forget the rarest words when more different ones than this were seen, so that memory stays bounded."""
    force: bool = False
    """Replace the output if it is there already."""
    reading: Reading = field(default_factory=Reading)

    def run(self) -> int:
        """Train, save and report."""
        from happyllm_support.text.bpe import DEFAULT_SPECIALS, BPEConfig, train_bpe
        from happyllm_support.text.tokenizer import Tokenizer

        check_output(self.output, force=self.force)
        config = BPEConfig(
            vocab_size=self.vocab_size,
            pattern=self.pattern,
            min_frequency=self.min_frequency,
            special_tokens=DEFAULT_SPECIALS if self.special_tokens is None else self.special_tokens,
        )
        started = time.perf_counter()
        source = self._source()
        with ProgressBar() as bar:
            model = train_bpe(source, config, workers=self.workers, max_unique=self.max_unique, progress=bar.show)
        Tokenizer(model).save(self.output)
        print(training_report(model, time.perf_counter() - started, self.vocab_size))
        print(f"written to {self.output}")
        return 0

    def _source(self) -> list[Path] | Iterator[str | Path]:
        """Files as they are, so that training can read them in blocks; anything else as documents."""
        from happyllm_support.text.corpora import find_corpus

        if not self.paths:
            raise ValueError("no source was given; name a corpus, a file or a folder")
        items: list[Path | Iterator[str]] = []
        for path in self.paths:
            if find_corpus(path) is not None or not Path(path).exists():
                items.append(self.reading.open(path))  # which refuses unknown names
                continue
            for file in iter_files([path]):
                items.append(self.reading.open(str(file)) if file.suffix == ".jsonl" else file)
        files = [item for item in items if isinstance(item, Path)]
        return files if len(files) == len(items) else _flat(items)


def _flat(items: Iterable[Path | Iterator[str]]) -> Iterator[str | Path]:
    for item in items:
        if isinstance(item, Path):
            yield item
        else:
            yield from item


def check_output(path: Path, *, force: bool) -> None:
    """Refuse, before any work, an output that is there already or cannot be written.

    Raises:
        ValueError: it exists and `force` is not set, is a folder, or its folder cannot be written.
    """
    if path.is_dir():
        raise ValueError(f"the output {path} is a folder; name a file")
    if path.exists() and not force:
        raise ValueError(f"the output {path} is there already; choose another name, or replace it with --force")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"cannot write the output {path}: {parent} is not a folder that you may write")


def training_report(model: BPEModel, seconds: float, vocab_size: int) -> str:
    """What the training did, in two or three lines."""
    lines = [f"{len(model.merges):,} merges, {model.vocab_size:,} ids, {seconds:.1f} s"]
    report = model.report
    if report is not None:
        lines.append(f"{report.n_pretokens:,} words and other pieces, {report.n_unique:,} of them different")
        if report.dropped_unique:
            dropped = f"{report.dropped_unique:,} rare pieces ({report.dropped_pretokens:,} occurrences)"
            lines.append(f"dropped {dropped} to stay within --max-unique")
        if report.stopped_because != "vocab_size":
            lines.append(
                f"stopped because of {report.stopped_because}: no pair is left that occurs often enough "
                f"({vocab_size - model.vocab_size:,} ids fewer than asked for)"
            )
    return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Encode:
    """Print the ids of a text: the argument, a file, or standard input, exactly as it is.

    Example: happyllm tokenizer encode "Hello, 世界" --tokenizer my.json
    """

    text: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[TEXT]")] = None
    """The text; without it, --file or standard input is read."""
    tokenizer: str
    """The tokenizer: a file that `tokenizer train` wrote, a folder with GPT-2's files, or gpt2."""
    file: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Read the text from this file, of any size."""
    allow_special: bool = False
    """Let special tokens in the text become their ids; otherwise they are ordinary text."""
    pieces: bool = False
    """Print one line for each token: its id and its text."""

    def run(self) -> int:
        """Encode in a stream, so that a file of any size fits."""
        if self.text is not None and self.file is not None:
            raise ValueError("both a text and --file were given; give one of them")
        tokenizer = load_tokenizer(self.tokenizer)
        ids = tokenizer.encode_iterable(self._blocks(), allowed_special="all" if self.allow_special else ())
        separator = ""
        for some in _in_batches(ids):
            if self.pieces:
                print("\n".join(f"{token}\t{show_token(tokenizer.token_bytes(token))}" for token in some))
            else:
                print(separator + " ".join(map(str, some)), end="")
                separator = " "
        if not self.pieces:
            print()
        return 0

    def _blocks(self) -> Iterable[str]:
        if self.text is not None:
            return [self.text]
        return _stdin_blocks() if self.file is None else read_text_blocks(self.file)


@dataclass(frozen=True, kw_only=True)
class Decode:
    """Print the text of ids: the arguments, or numbers on standard input.

    Example: happyllm tokenizer decode 72 105 --tokenizer my.json
    """

    ids: Annotated[tyro.conf.Positional[tuple[int, ...]], tyro.conf.arg(metavar="[ID...]")] = ()
    """The ids; without them, standard input is read."""
    tokenizer: str
    """The tokenizer: a file that `tokenizer train` wrote, a folder with GPT-2's files, or gpt2."""

    def run(self) -> int:
        """Decode in a stream; a character whose bytes are incomplete appears as U+FFFD."""
        tokenizer = load_tokenizer(self.tokenizer)
        for text in tokenizer.decode_stream(self.ids or _numbers(_stdin_blocks())):
            sys.stdout.write(text)
        if sys.stdout.isatty():
            print()
        return 0


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Describe a tokenizer: its vocabulary, its longest tokens, and how it cuts a text.

    Example: happyllm tokenizer inspect my.json --text "Hello, 世界"
    """

    tokenizer: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TOKENIZER")]
    """A file that `tokenizer train` wrote, a folder with GPT-2's files, or gpt2."""
    text: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None
    """Cut this text; by default a sentence in English and one in Chinese."""
    file: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Measure the text of this file."""
    longest: int = 10
    """How many of the longest tokens to show."""

    def run(self) -> int:
        """Print the description."""
        if self.longest < 0:
            raise ValueError(f"--longest {self.longest} is negative; give 0 or more")
        tokenizer = load_tokenizer(self.tokenizer)
        print(describe(tokenizer))
        if self.longest:
            rows = [("longest tokens", "id", "bytes")]
            rows += [(show_token(data), str(token), str(len(data))) for token, data in longest(tokenizer, self.longest)]
            print("\n" + format_table(rows, right=(1, 2)))
        if self.file is not None:
            print("\n" + fertility(tokenizer, read_text_blocks(self.file)))
        for text in () if self.file and self.text is None else EXAMPLES if self.text is None else (self.text,):
            cut = "|".join(show_token(tokenizer.token_bytes(token)) for token in tokenizer.encode(text))
            print(f"\n{cut}\n{fertility(tokenizer, [text])}")
        return 0


def describe(tokenizer: Tokenizer) -> str:
    """The parts of a tokenizer, as a table."""
    from happyllm_support.text.pretokenize import PATTERNS

    model = tokenizer.model
    pattern = next((name for name, regex in PATTERNS.items() if regex == model.pattern), "custom")
    specials = ", ".join(f"{text} {token}" for text, token in tokenizer.special_tokens.items())
    rows = [
        ("vocabulary", f"{tokenizer.vocab_size:,} ids: 256 bytes, {len(model.merges):,} merges, the special tokens"),
        ("special tokens", specials or "none"),
        ("pattern", f"{pattern}  {visible(model.pattern)}"),
        ("fingerprint", tokenizer.fingerprint),
    ]
    return format_table(rows)


def longest(tokenizer: Tokenizer, n: int) -> list[tuple[int, bytes]]:
    """The `n` ids with the most bytes, special tokens aside, longest first."""
    specials = set(tokenizer.special_tokens.values())
    tokens = [(token, tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size) if token not in specials]
    return sorted(tokens, key=lambda pair: (-len(pair[1]), pair[0]))[:n]


def fertility(tokenizer: Tokenizer, blocks: Iterable[str]) -> str:
    """How many tokens a text costs, on one line."""
    n_chars = n_bytes = 0

    def counted() -> Iterator[str]:
        nonlocal n_chars, n_bytes
        for block in blocks:
            n_chars += len(block)
            n_bytes += len(block.encode("utf-8", "surrogatepass"))
            yield block

    n_tokens = sum(1 for _ in tokenizer.encode_iterable(counted()))
    if not n_tokens:
        return "no text"
    ratios = f"{n_tokens / n_chars:.3f} tokens per character, {n_bytes / n_tokens:.2f} bytes per token"
    return f"{n_chars:,} characters, {format_bytes(n_bytes)}, {n_tokens:,} tokens: {ratios}"


def show_token(data: bytes) -> str:
    """A token's text on one line; bytes that are no whole characters appear as `\\xe4`.

    >>> show_token(b" caf"), show_token(b"\\n"), show_token(b"\\xe4\\xbd")
    (' caf', '\\\\n', '\\\\xe4\\\\xbd')
    """
    try:
        return visible(data.decode("utf-8"))
    except UnicodeDecodeError:
        return repr(data)[2:-1]


def _in_batches(ids: Iterator[int], size: int = 4096) -> Iterator[list[int]]:
    while batch := list(islice(ids, size)):
        yield batch


def _stdin_blocks() -> Iterator[str]:
    return decode_blocks(sys.stdin.buffer, "standard input")


def _numbers(blocks: Iterable[str]) -> Iterator[int]:
    """Numbers separated by white space, however blocks divide them."""
    rest = ""
    for block in chain(blocks, [" "]):
        text = rest + block
        words = text.split()
        rest = "" if text[-1:].isspace() or not words else words.pop()
        yield from map(_number, words)
        if len(rest) > 20:  # no id is that long
            yield _number(rest)


def _number(word: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,20}", word):
        shown = word if len(word) <= 40 else word[:40] + "..."
        raise ValueError(f"{shown!r} is not an id; expected whole numbers separated by spaces")
    return int(word)


@dataclass(frozen=True, kw_only=True)
class TokenizerGroup:
    """Train tokenizers, and look at what they do to text."""

    command: (
        Annotated[Train, tyro.conf.subcommand(name="train")]
        | Annotated[Encode, tyro.conf.subcommand(name="encode")]
        | Annotated[Decode, tyro.conf.subcommand(name="decode")]
        | Annotated[Inspect, tyro.conf.subcommand(name="inspect")]
    )
