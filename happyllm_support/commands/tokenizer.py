"""`happyllm tokenizer encode`, `decode`, `inspect`: what a tokenizer does to text."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from happyllm_support.commands.output import format_bytes, format_table, visible
from happyllm_support.commands.sources import load_tokenizer
from happyllm_support.commands.train_tokenizer import Train
from happyllm_support.files import decode_blocks, read_text_blocks

if TYPE_CHECKING:
    from happyllm_support.text.tokenizer.tokenizer import Tokenizer

EXAMPLES = (
    "The old fisherman gave his daughter a small blue boat.",
    "老渔夫送给女儿一条蓝色的小船。",
)


@dataclass(frozen=True, kw_only=True)
class Encode:
    """Print the ids of a text: the argument, a file, or standard input, exactly as it
    is.

    Example: happyllm tokenizer encode "Hello, 世界" --tokenizer my.json
    """

    text: Annotated[
        tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[TEXT]")
    ] = None
    """The text; without it, --file or standard input is read."""
    tokenizer: str
    """The tokenizer: a file that `tokenizer train` wrote, a folder with GPT-2's files,
    or gpt2.
    """
    file: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Read the text from this file, of any size."""
    allow_special: bool = False
    """Let special tokens in the text become their ids; otherwise they are ordinary
    text.
    """
    allow: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="TOKEN")
    ] = ()
    """Let only this special token become its id; may be given several times."""
    pieces: bool = False
    """Print one line for each token: its id and its text."""

    def run(self) -> int:
        """Encode in a stream, so that a file of any size fits."""
        if self.text is not None and self.file is not None:
            raise ValueError("both a text and --file were given; give one of them")
        tokenizer = load_tokenizer(self.tokenizer)
        ids = tokenizer.encode_iterable(
            self._blocks(), allowed_special="all" if self.allow_special else self.allow
        )
        separator = ""
        for batch in _in_batches(ids):
            if self.pieces:
                print(
                    "\n".join(
                        f"{token}\t{show_token(tokenizer.token_bytes(token))}"
                        for token in batch
                    )
                )
            else:
                print(separator + " ".join(map(str, batch)), end="")
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

    ids: Annotated[
        tyro.conf.Positional[tuple[int, ...]], tyro.conf.arg(metavar="[ID...]")
    ] = ()
    """The ids; without them, standard input is read."""
    tokenizer: str
    """The tokenizer: a file that `tokenizer train` wrote, a folder with GPT-2's files,
    or gpt2.
    """

    def run(self) -> int:
        """Decode in a stream; a character with incomplete bytes appears as U+FFFD."""
        tokenizer = load_tokenizer(self.tokenizer)
        if self.ids:
            sys.stdout.write(tokenizer.decode(self.ids))
        else:
            for text in tokenizer.decode_stream(_numbers(_stdin_blocks())):
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
            rows += [
                (show_token(data), str(token), str(len(data)))
                for token, data in longest(tokenizer, self.longest)
            ]
            print("\n" + format_table(rows, right=(1, 2)))
        if self.file is not None:
            print("\n" + fertility(tokenizer, read_text_blocks(self.file)))
        for text in (
            ()
            if self.file and self.text is None
            else EXAMPLES
            if self.text is None
            else (self.text,)
        ):
            cut = "|".join(
                show_token(tokenizer.token_bytes(token))
                for token in tokenizer.encode(text)
            )
            print(f"\n{cut}\n{fertility(tokenizer, [text])}")
        return 0


def describe(tokenizer: Tokenizer) -> str:
    """The parts of a tokenizer, as a table."""
    from happyllm_support.text.tokenizer.pretokenize import PATTERNS

    model = tokenizer.model
    pattern = next(
        (name for name, regex in PATTERNS.items() if regex == model.pattern), "custom"
    )
    specials = ", ".join(
        f"{text} {token}" for text, token in tokenizer.special_tokens.items()
    )
    rows = [
        (
            "vocabulary",
            f"{tokenizer.vocab_size:,} ids: 256 bytes, {len(model.merges):,} merges, "
            "the special tokens",
        ),
        ("special tokens", specials or "none"),
        ("pattern", f"{pattern}  {visible(model.pattern)}"),
        ("fingerprint", tokenizer.fingerprint),
    ]
    return format_table(rows)


def longest(tokenizer: Tokenizer, n: int) -> list[tuple[int, bytes]]:
    """The `n` ids with the most bytes, special tokens aside, longest first."""
    specials = set(tokenizer.special_tokens.values())
    tokens = [
        (token, tokenizer.token_bytes(token))
        for token in range(tokenizer.vocab_size)
        if token not in specials
    ]
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
    ratios = (
        f"{n_tokens / n_chars:.3f} tokens per character, {n_bytes / n_tokens:.2f} "
        "bytes per token"
    )
    return (
        f"{n_chars:,} characters, {format_bytes(n_bytes)}, {n_tokens:,} tokens: "
        f"{ratios}"
    )


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
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]  (`<&-` in a shell)
        raise ValueError(
            "standard input is closed; give the text or the ids as arguments"
        )
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
        raise ValueError(
            f"{shown!r} is not an id; expected whole numbers separated by spaces"
        )
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
