"""`happyllm data`: list, fetch, look at and prepare the text that models train on."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from happyllm_support.commands.inspect_data import InspectData
from happyllm_support.commands.output import ProgressBar, format_bytes, format_table
from happyllm_support.commands.sources import Cleaning, Reading, load_tokenizer

if TYPE_CHECKING:
    from happyllm_support.text.corpora.cleaning import CleaningReport


@dataclass(frozen=True, kw_only=True)
class List:
    """List the named corpora: where they come from, how large they are, and which are
    here already.
    """

    json: bool = False
    """Print everything that is known about them as JSON."""

    def run(self) -> int:
        """Print the table."""
        from happyllm_support.text.corpora.access import home, list_corpora

        corpora = list_corpora()
        if self.json:
            print(
                json.dumps(
                    [asdict(corpus) for corpus in corpora], ensure_ascii=False, indent=1
                )
            )
            return 0
        rows = [("Name", "Kind", "Language", "Size", "Licence", "Here")]
        for corpus in corpora:
            size = (
                format_bytes(corpus.size)
                if corpus.size
                else corpus.size_text.partition(",")[0]
            )
            here = "yes" if corpus.cached else "no"
            rows.append(
                (corpus.name, corpus.kind, corpus.language, size, corpus.licence, here)
            )
        print(format_table(rows))
        print(
            f"\nDownloads go to {home()} (HAPPYLLM_HOME). A command that takes a name "
            "takes a file or folder, too."
        )
        return 0


@dataclass(frozen=True, kw_only=True)
class Fetch:
    """Download a named corpus, verify it and keep it in the cache; an interrupted
    download goes on where it stopped.

    Example: happyllm data fetch tinyshakespeare
    """

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """The corpus, or one part of it such as wikitext-2/valid (see
    `happyllm data list`).
    """

    def run(self) -> int:
        """Fetch it and print where it lies."""
        from happyllm_support.text.corpora.access import fetch

        try:
            with ProgressBar() as bar:
                path = fetch(self.name, progress=bar.show)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                "what has arrived is kept, the same command goes on from there"
            ) from None
        print(path)
        return 0


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Print some documents of a corpus, a file or a folder, chosen at random.

    Example: happyllm data sample storyworld-zh -n 2
    """

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SOURCE")]
    """The name of a corpus, a file or a folder."""
    number: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 3
    """How many documents."""
    seed: int = 0
    """Another seed shows other documents."""
    language: Annotated[
        Literal["en", "zh"] | None, tyro.conf.arg(metavar="{en,zh}")
    ] = None
    """Show only documents in this language."""
    max_chars: int = 2000
    """Show at most this many characters of each document."""
    jsonl: bool = False
    """Print whole documents as JSON Lines, which every command reads again."""
    reading: Reading = field(default_factory=Reading)

    def run(self) -> int:
        """Print the documents."""
        if self.number < 1 or self.max_chars < 1:
            raise ValueError(
                f"--number {self.number} and --max-chars {self.max_chars} must be at "
                "least 1"
            )
        found = self._choose()
        for index, text in enumerate(found, start=1):
            if self.jsonl:
                print(json.dumps({"text": text}, ensure_ascii=False))
                continue
            rest = len(text) - self.max_chars
            print(
                f"--- {index} of {len(found)} ({len(text):,} characters)\n"
                f"{text[: self.max_chars]}"
            )
            print(f"[... {rest:,} more characters]\n" if rest > 0 else "")
        return 0

    def _choose(self) -> list[str]:
        name = self.source.casefold()
        if name == "storyworld" and self.language:
            name = f"storyworld-{self.language}"
        if name in ("storyworld", "storyworld-en", "storyworld-zh"):
            documents = self.reading.open(name, stories=self.number, seed=self.seed)
        else:
            documents = self.reading.open(self.source)
        wanted = (
            text
            for text in documents
            if self.language is None or _language(text) == self.language
        )
        found = reservoir_sample(wanted, self.number, self.seed)
        if not found:
            raise ValueError(
                f"{self.source} has no document in the language {self.language!r}"
            )
        return found


def reservoir_sample(documents: Iterable[str], n: int, seed: int) -> list[str]:
    """Choose up to `n` documents of a stream with equal probability, in the order of
    the stream, in one pass.

    Source: J. S. Vitter (1985), "Random Sampling with a Reservoir", algorithm R.
    """
    rng = random.Random(seed)
    chosen: list[tuple[int, str]] = []
    for index, document in enumerate(documents):
        if index < n:
            chosen.append((index, document))
        elif (slot := rng.randrange(index + 1)) < n:
            chosen[slot] = (index, document)
    return [document for _, document in sorted(chosen)]


def _language(text: str) -> str | None:
    from happyllm_support.text.corpora.cleaning import script_of

    return {"han": "zh", "latin": "en"}.get(script_of(text))


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """Clean documents, encode them and write a dataset: memory-mapped shards of tokens,
    one folder for each split.

    Example: happyllm data prepare storyworld-en --tokenizer story.json --output
    story-data
    """

    sources: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="SOURCE...", help_behavior_hint="(at least one)"),
    ]
    """Names of corpora, files or folders."""
    tokenizer: str
    """The tokenizer: a file that `tokenizer train` wrote, a folder with GPT-2's files,
    or gpt2.
    """
    output: Path
    """The folder to make."""
    split: str = "train=0.9,valid=0.05,test=0.05"
    """The splits and their shares; a hash of its text decides where a document goes."""
    seed: int = 0
    """Another seed makes other stories and splits differently."""
    workers: int = 1
    """Processes that encode; the output does not depend on it."""
    shard_tokens: int = 1 << 26
    """A shard ends before the document that would take it past this many tokens."""
    no_bos: bool = False
    """Write documents without the token that marks their beginning."""
    no_eos: bool = False
    """Write documents without the token that marks their end."""
    force: bool = False
    """Replace a dataset that is there already."""
    clean: Cleaning = field(default_factory=Cleaning)
    reading: Reading = field(default_factory=Reading)

    def run(self) -> int:
        """Write the dataset, then report what was removed and what was written."""
        from happyllm_support.text.corpora.cleaning import clean
        from happyllm_support.text.shards.prepare import prepare

        if not self.sources:
            raise ValueError("no source was given; name a corpus, a file or a folder")
        fractions = parse_fractions(self.split)
        if self.output.exists() and not self.force:
            raise ValueError(
                f"the output {self.output} is there already; choose another, or "
                "replace it with --force"
            )
        tokenizer = load_tokenizer(self.tokenizer)
        for name, left_out, token in (
            ("bos", self.no_bos, tokenizer.bos_id),
            ("eos", self.no_eos, tokenizer.eos_id),
        ):
            if token is None and not left_out:
                raise ValueError(
                    f"the tokenizer {self.tokenizer} has no {name} token; write none "
                    f"with --no-{name}"
                )
        opened = [self.reading.open(source, seed=self.seed) for source in self.sources]
        documents, cleaned = clean(chain.from_iterable(opened), self.clean.config())
        with ProgressBar() as bar, _naming_what_cleaning_removed(cleaned):
            written = prepare(
                documents,
                tokenizer,
                self.output,
                fractions=fractions,
                seed=self.seed,
                workers=self.workers,
                shard_tokens=self.shard_tokens,
                add_bos=not self.no_bos,
                add_eos=not self.no_eos,
                overwrite=self.force,
                progress=bar.show,
            )
        rows = [("split", "documents", "tokens", "bytes", "tokens/byte", "shards")]
        for name, part in [*written.splits.items(), ("all", written.total)]:
            counts = f"{part.documents:,}", f"{part.tokens:,}", f"{part.bytes:,}"
            rows.append(
                (name, *counts, f"{part.tokens_per_byte:.3f}", str(part.shards))
            )
        print(
            f"{cleaned}\n\n{format_table(rows, right=range(1, 6))}\n\nwritten to "
            f"{self.output}"
        )
        return 0


@contextmanager
def _naming_what_cleaning_removed(report: CleaningReport) -> Generator[None]:
    """Say so where a corpus is empty only because cleaning removed everything."""
    try:
        yield
    except ValueError:
        if report.received.documents and not report.kept.documents:
            reasons = ", ".join(
                f"{tally.documents:,} {why}"
                for why, tally in report.removed.items()
                if tally.documents
            )
            raise ValueError(
                f"cleaning removed all {report.received.documents:,} documents: "
                f"{reasons}"
            ) from None
        raise


def parse_fractions(text: str) -> dict[str, float]:
    """Read `train=0.9,valid=0.1`.

    Raises:
        ValueError: something else than names and numbers that sum to 1.
    """
    fractions: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        try:
            share = float(number)
        except ValueError:
            share = math.nan
        if (
            not (equals and re.fullmatch(r"[A-Za-z0-9_-]+", name) and 0 <= share <= 1)
            or name in fractions
        ):
            raise ValueError(
                f"cannot read --split {text!r}; expected shares such as "
                "train=0.9,valid=0.1"
            )
        fractions[name] = share
    if abs(sum(fractions.values()) - 1) > 1e-9:
        raise ValueError(
            f"the shares of --split {text} sum to {sum(fractions.values()):g}, not to 1"
        )
    return fractions


@dataclass(frozen=True, kw_only=True)
class Data:
    """List, fetch, look at and prepare text."""

    command: (
        Annotated[List, tyro.conf.subcommand(name="list")]
        | Annotated[Fetch, tyro.conf.subcommand(name="fetch")]
        | Annotated[Sample, tyro.conf.subcommand(name="sample")]
        | Annotated[Prepare, tyro.conf.subcommand(name="prepare")]
        | Annotated[InspectData, tyro.conf.subcommand(name="inspect")]
    )
