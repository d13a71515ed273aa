"""`happyllm tokenizer train`: learn a byte-pair encoding from corpora and files."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from happyllm_support.commands.output import ProgressBar
from happyllm_support.commands.sources import Reading
from happyllm_support.files import iter_files

if TYPE_CHECKING:
    from happyllm_support.text.tokenizer.bpe import BPEModel


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a byte-level BPE tokenizer on corpora, files or folders.

    Example: happyllm tokenizer train storyworld-en notes.txt --vocab-size 2048 --output
    my.json
    """

    paths: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="SOURCE...", help_behavior_hint="(at least one)"),
    ]
    """Names of corpora (see `happyllm data list`), UTF-8 text or JSON Lines files,
    folders.
    """
    output: Path
    """The file to write (JSON)."""
    vocab_size: int = 8192
    """Ids in the end, the 256 bytes and the special tokens included."""
    pattern: Literal["bilingual", "gpt2"] = "bilingual"
    """How text is cut before merging: for English and Chinese, or as GPT-2 does."""
    min_frequency: int = 2
    """Pairs that occur less often are not merged."""
    special_tokens: Annotated[
        tuple[str, ...] | None, tyro.conf.arg(metavar="[TEXT ...]")
    ] = None
    """Texts that become one id each; by default <|pad|>, <|bos|>, <|eos|> and the four
    markers of a chat.
    """
    workers: int = 1
    """Processes that count words; the result does not depend on it."""
    max_unique: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Forget the rarest words when more different ones than this were seen, so that
    memory stays bounded.
    """
    force: bool = False
    """Replace the output if it is there already."""
    reading: Reading = field(default_factory=Reading)

    def run(self) -> int:
        """Train, save and report."""
        from happyllm_support.text.tokenizer.bpe import (
            DEFAULT_SPECIALS,
            BPEConfig,
            train_bpe,
        )
        from happyllm_support.text.tokenizer.tokenizer import Tokenizer

        check_output(self.output, force=self.force)
        config = BPEConfig(
            vocab_size=self.vocab_size,
            pattern=self.pattern,
            min_frequency=self.min_frequency,
            special_tokens=DEFAULT_SPECIALS
            if self.special_tokens is None
            else self.special_tokens,
        )
        started = time.perf_counter()
        source = self._source()
        with ProgressBar(merging=" merges") as bar:
            model = train_bpe(
                source,
                config,
                workers=self.workers,
                max_unique=self.max_unique,
                progress=bar.show,
            )
        Tokenizer(model).save(self.output)
        print(training_report(model, time.perf_counter() - started, self.vocab_size))
        print(f"written to {self.output}")
        return 0

    def _source(self) -> list[Path] | Iterator[str | Path]:
        """Files as they are, so that training can read them in blocks; what has to be
        cut or parsed as documents.
        """
        from happyllm_support.text.corpora.access import find_corpus

        if not self.paths:
            raise ValueError("no source was given; name a corpus, a file or a folder")
        cut = self.reading.documents is not None or self.reading.separator is not None
        items: list[Path | Iterator[str]] = []
        for path in self.paths:
            if find_corpus(path) is not None or not Path(path).exists():
                items.append(self.reading.open(path))  # which refuses unknown names
                continue
            for file in iter_files([path]):
                items.append(
                    self.reading.open(str(file))
                    if cut or file.suffix == ".jsonl"
                    else file
                )
        files = [item for item in items if isinstance(item, Path)]
        if len(files) < len(items):
            return _flat(items)
        if not any(file.stat().st_size for file in files):
            raise ValueError(
                f"empty corpus: {', '.join(self.paths)} holds no text; there is "
                "nothing to learn from"
            )
        return files


def _flat(items: Iterable[Path | Iterator[str]]) -> Iterator[str | Path]:
    for item in items:
        if isinstance(item, Path):
            yield item
        else:
            yield from item


def check_output(path: Path, *, force: bool) -> None:
    """Refuse, before any work, an output that is there already or cannot be written.

    Raises:
        ValueError: it exists and `force` is not set, is no ordinary file, or its folder
            cannot be written.
    """
    if path.is_dir():
        raise ValueError(f"the output {path} is a folder; name a file")
    if (
        path.exists() and not path.is_file()
    ):  # a device such as /dev/null would be replaced by a file
        raise ValueError(f"the output {path} is no ordinary file; name another one")
    if path.exists() and not force:
        raise ValueError(
            f"the output {path} is there already; choose another name, or replace it "
            "with --force"
        )
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(
            f"cannot write the output {path}: {parent} is not a folder that you may "
            "write"
        )


def training_report(model: BPEModel, seconds: float, vocab_size: int) -> str:
    """What the training did, in two or three lines."""
    lines = [f"{len(model.merges):,} merges, {model.vocab_size:,} ids, {seconds:.1f} s"]
    report = model.report
    if report is not None:
        lines.append(
            f"{report.n_pretokens:,} words and other pieces, {report.n_unique:,} of "
            "them different"
        )
        if report.dropped_unique:
            dropped = (
                f"{report.dropped_unique:,} rare pieces "
                f"({report.dropped_pretokens:,} occurrences)"
            )
            lines.append(f"dropped {dropped} to stay within --max-unique")
        if report.stopped_because != "vocab_size":
            lines.append(
                f"stopped because of {report.stopped_because}: no pair is left that "
                "occurs often enough "
                f"({vocab_size - model.vocab_size:,} ids fewer than asked for)"
            )
    return "\n".join(lines)
