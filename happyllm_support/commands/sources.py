"""Options that several commands share: how text is read and cleaned, and which
tokenizer is meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from happyllm_support.text.corpora.cleaning import CleaningConfig
    from happyllm_support.text.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a source is cut into documents."""

    documents: Annotated[
        Literal["blank-line", "line", "file", "article"] | None,
        tyro.conf.arg(metavar="{blank-line,line,file,article}"),
    ] = None
    """Where a document of a text file ends; by default as registered, and blank-line
    for your own files.
    """
    separator: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None
    """A string that ends a document, '<|endoftext|>' say, instead of --documents."""
    field: str = "text"
    """The field of a JSON Lines record that holds the text."""
    stories: int = 10_000
    """How many stories of the story world."""

    def open(
        self, source: str, *, stories: int | None = None, seed: int = 0
    ) -> Iterator[str]:
        """Return the documents of a named corpus, a file or a folder."""
        from happyllm_support.text.corpora.access import open_corpus

        return open_corpus(
            source,
            split=self.documents,
            separator=self.separator,
            field=self.field,
            stories=self.stories if stories is None else stories,
            seed=seed,
        )


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """What is repaired in documents and which are left out."""

    keep_control: bool = False
    """Leave control and zero-width characters in the text."""
    normalization: Annotated[
        Literal["NFC", "NFKC"] | None, tyro.conf.arg(metavar="{NFC,NFKC}")
    ] = None
    """Unicode normalization of the text."""
    min_chars: int = 1
    """Leave out shorter documents."""
    max_chars: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Leave out longer documents."""
    scripts: Annotated[
        tuple[Literal["han", "latin", "mixed", "other"], ...] | None,
        tyro.conf.arg(metavar="{han,latin,mixed,other} ..."),
    ] = None
    """Keep only documents in these scripts."""
    keep_duplicates: bool = False
    """Keep documents that are there already, word for word."""
    near_duplicates: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """Leave out documents of at least this similarity (Jaccard, such as 0.8) to an
    earlier one.
    """

    def config(self) -> CleaningConfig:
        """Return these options as the library takes them."""
        from happyllm_support.text.corpora.cleaning import CleaningConfig

        return CleaningConfig(
            strip_control=not self.keep_control,
            normalization=self.normalization,
            min_chars=self.min_chars,
            max_chars=self.max_chars,
            scripts=self.scripts,
            exact_duplicates=not self.keep_duplicates,
            near_duplicates=self.near_duplicates,
        )


def load_tokenizer(name: str) -> Tokenizer:
    """Load a tokenizer: ours, Hugging Face's `tokenizer.json`, GPT-2's two files, or a
    prepared dataset's.

    Args:
        name: a file, a folder, or `gpt2` for GPT-2's files in the cache.

    Raises:
        ValueError: nothing of that name, or something that is none of these.
    """
    from happyllm_support.text.tokenizer.tokenizer import Tokenizer

    path = Path(name)
    if name == "gpt2" and not path.exists():
        from happyllm_support.text.corpora.access import home

        path = home() / "gpt2"
        if not (path / "encoder.json").exists() or not (path / "vocab.bpe").exists():
            raise ValueError(
                "GPT-2's vocabulary is not in the cache; run `happyllm data fetch "
                "gpt2-vocabulary`"
            )
    if not path.exists():
        raise ValueError(
            f"no tokenizer {name!r}; give a file that `happyllm tokenizer train` "
            "wrote, a folder, or gpt2"
        )
    if path.is_dir():
        if (path / "vocab.bpe").exists():
            return Tokenizer.from_gpt2(path / "encoder.json", path / "vocab.bpe")
        if not (path / "tokenizer.json").exists():
            raise ValueError(
                f"no tokenizer in the folder {name}; expected tokenizer.json, or "
                "encoder.json and vocab.bpe"
            )
        path /= "tokenizer.json"
    with open(path, "rb") as file:
        of_hugging_face = b'"added_tokens"' in file.read(4096)
    if of_hugging_face:
        from happyllm_support.text.tokenizer.formats.huggingface import from_huggingface

        return from_huggingface(path)
    return Tokenizer.load(path)
