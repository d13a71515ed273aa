"""What a dataset is made of: a tokenizer, and texts or files of them, both checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from happyllm_support.text.corpora.documents import read_documents


class TextEncoder(Protocol):
    """What a dataset needs of a tokenizer; `Tokenizer` has it."""

    @property
    def vocab_size(self) -> int:
        """Ids are below it."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides the ids, in hexadecimal."""
        ...

    @property
    def bos_id(self) -> int | None:
        """Id that begins a document."""
        ...

    @property
    def eos_id(self) -> int | None:
        """Id that ends a document."""
        ...

    @property
    def pad_id(self) -> int | None:
        """Id of padding."""
        ...

    def encode(
        self, text: str, *, add_bos: bool = False, add_eos: bool = False
    ) -> list[int]:
        """Return the ids of a text."""
        ...

    def save(self, path: Path, /) -> object:
        """Write the tokenizer to one file."""
        ...


def check_ends(tokenizer: TextEncoder, *, add_bos: bool, add_eos: bool) -> None:
    """Raise ValueError where the tokenizer has no bos or eos and one is asked for."""
    for name, wanted, present in (
        ("bos", add_bos, tokenizer.bos_id),
        ("eos", add_eos, tokenizer.eos_id),
    ):
        if wanted and present is None:
            raise ValueError(
                f"add_{name} is set, and the tokenizer has no {name} token; use "
                f"add_{name}=False"
            )


def utf8_bytes(text: str, number: int) -> int:
    """Return the size of a document; ValueError where it holds a lone surrogate."""
    try:
        return len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        surrogate = f"\\u{ord(text[error.start]):04x}"
        raise ValueError(
            f"document {number} holds the lone surrogate {surrogate}, which is not text"
        ) from None


def texts_of(documents: Iterable[str | Path] | Path) -> Iterator[str]:
    """Yield the texts that `documents` stands for; ValueError for anything else."""
    if isinstance(documents, str):
        raise ValueError(
            "documents is one string; give a list of documents, or a Path for a file"
        )
    for item in [documents] if isinstance(documents, Path) else documents:
        if isinstance(item, Path):
            yield from read_documents(item)
        elif isinstance(item, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            yield item
        else:
            raise ValueError(
                f"a document is a {type(item).__name__}; expected a str, or a Path for "
                "a file"
            )
