"""A dataset in memory, for text that is made or small: what `prepare` and
`open_dataset` give, without a folder.

    train = encode_documents(StoryWorld().stories(20_000, seed=1), tokenizer)
    config = BatchConfig(batch_size=16, seq_len=64, mode="documents")
    batches = TokenBatches(train, config)

Rows, orders and resumption are those of a dataset that `prepare` would write of the
same documents as one split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from happyllm_support.text.shards.arrays import Ids, Int64
from happyllm_support.text.shards.inputs import (
    TextEncoder,
    check_ends,
    texts_of,
    utf8_bytes,
)


class TokenDocuments(Protocol):
    """Documents of token ids, numbered from 0: what batches are made of.

    `Dataset` and `InMemoryDataset` are such.
    """

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def identity(self) -> str:
        """A hash that differs where any token does."""
        ...

    @property
    def pad_id(self) -> int | None:
        """The tokenizer's padding id, None where it has none."""
        ...

    def lengths(self) -> Int64:
        """Return the token count of every document, (n_documents,)."""
        ...

    def document(self, index: int) -> Ids:
        """Return the ids of one document."""
        ...

    def release(self) -> None:
        """Give back memory that can be read again from a file."""
        ...


@dataclass(frozen=True)
class InMemoryDataset:
    """Documents end to end in one array.

    Attributes:
        ids: (n_tokens,) of all documents.
        offsets: (n_documents + 1,) document i is ids[offsets[i] : offsets[i + 1]].
        vocabulary: fingerprint of the tokenizer.
        vocab_size: ids are below it.
        pad_id: the tokenizer's padding id, None where it has none.
        n_bytes: UTF-8 bytes of the text behind the tokens, for bits per byte.
    """

    ids: Ids
    offsets: Int64
    vocabulary: str
    vocab_size: int
    pad_id: int | None
    n_bytes: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"the dataset in memory of {len(self)} documents"

    @property
    def n_tokens(self) -> int:
        """Tokens of all documents."""
        return len(self.ids)

    @cached_property
    def identity(self) -> str:
        """A hash over vocabulary and documents; it differs where any token does."""
        digest = hashlib.sha256(self.vocabulary.encode())
        digest.update(self.offsets.tobytes())
        digest.update(self.ids.tobytes())
        return digest.hexdigest()[:16]

    def lengths(self) -> Int64:
        """Return the token count of every document, (n_documents,) int64."""
        return np.diff(self.offsets)

    def document(self, index: int) -> Ids:
        """Return the ids of one document, a view."""
        if not 0 <= index < len(self):
            raise IndexError(f"document {index} of {self.name}")
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def release(self) -> None:
        """Do nothing: no file holds these ids."""


def encode_documents(
    documents: Iterable[str | Path] | Path,
    tokenizer: TextEncoder,
    *,
    add_bos: bool = True,
    add_eos: bool = True,
) -> InMemoryDataset:
    """Encode documents, in order, to a dataset in memory (4 bytes per token).

    Empty ones are left out.

    Args:
        documents: texts; a `Path` among them stands for the documents in that file or
            folder (`read_documents`).
        tokenizer: makes the ids.
        add_bos: begin every document with the tokenizer's bos.
        add_eos: end every document with the tokenizer's eos.

    Raises:
        ValueError: one string instead of many, no text at all, a tokenizer without bos
            or eos, a lone surrogate.
    """
    check_ends(tokenizer, add_bos=add_bos, add_eos=add_eos)
    pieces: list[Ids] = []
    n_bytes = 0
    for number, text in enumerate(texts_of(documents)):
        if text:
            n_bytes += utf8_bytes(text, number)
            ids = tokenizer.encode(text, add_bos=add_bos, add_eos=add_eos)
            pieces.append(np.array(ids, np.uint32))
    if not pieces:
        raise ValueError("empty corpus: no document with any text")
    lengths = np.array([len(piece) for piece in pieces], np.int64)
    return InMemoryDataset(
        ids=np.concatenate(pieces),
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        vocabulary=tokenizer.fingerprint,
        vocab_size=tokenizer.vocab_size,
        pad_id=tokenizer.pad_id,
        n_bytes=n_bytes,
    )
