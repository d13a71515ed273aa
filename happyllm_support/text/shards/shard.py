"""Token shards: files of token ids that are mapped into memory instead of read.

A shard holds whole documents, one after the other. Its bytes:

    offset 0     the header (`shard_header`), 512 bytes
    offset 512   n_tokens ids, little-endian, uint16 where the vocabulary has at most
                 65,536 entries, else uint32
    ...          zeros up to a multiple of 64
    ...          n_documents + 1 offsets, little-endian int64: document i is
                 tokens[offsets[i] : offsets[i + 1]]

So both arrays are aligned to 64 bytes, and the size of the file follows from its
header. Every document has at least one token, so the offsets increase strictly.

Source: one flat array of ids is the idea of nanoGPT's `train.bin`
(github.com/karpathy/nanoGPT); header, checks and document boundaries are added here.
"""

from __future__ import annotations

import mmap
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from happyllm_support.files import atomic_path
from happyllm_support.text.shards.arrays import Ids, Int64, token_dtype
from happyllm_support.text.shards.shard_header import HEADER_BYTES, ShardHeader

BLOCK = 1 << 20  # elements looked at together when a whole array is checked


class ShardWriter:
    """Stream documents into an open binary file; `finish` completes it.

    Memory: 8 bytes per document.

    Args:
        file: an empty, seekable binary file.
        vocab_size: ids must be below it.
        vocabulary: fingerprint of the tokenizer that made the ids.
    """

    def __init__(self, file: BinaryIO, *, vocab_size: int, vocabulary: str) -> None:
        # made here to refuse bad values now
        ShardHeader(
            vocab_size=vocab_size, vocabulary=vocabulary, n_tokens=0, n_documents=0
        )
        self._file, self._vocab_size, self._vocabulary = file, vocab_size, vocabulary
        self._dtype = token_dtype(vocab_size)
        self._offsets = array("q", [0])
        self._file.write(bytes(HEADER_BYTES))

    @property
    def n_tokens(self) -> int:
        """Tokens written so far."""
        return self._offsets[-1]

    @property
    def n_documents(self) -> int:
        """Documents written so far."""
        return len(self._offsets) - 1

    def write(self, ids: Sequence[int] | npt.NDArray[np.integer[Any]]) -> None:
        """Append one document.

        Raises:
            ValueError: the document is empty, or an id is outside the vocabulary.
        """
        document = np.asarray(ids)
        if document.ndim != 1 or len(document) == 0:
            raise ValueError(
                f"document {self.n_documents} has shape {document.shape}; expected "
                "(n,) with n at least 1"
            )
        if not np.issubdtype(document.dtype, np.integer):
            raise ValueError(
                f"document {self.n_documents} holds {document.dtype} values; expected "
                "integer ids"
            )
        low, high = int(document.min()), int(document.max())
        if low < 0 or high >= self._vocab_size:
            raise ValueError(
                f"document {self.n_documents} holds id {low if low < 0 else high}; "
                f"the vocabulary has ids 0 to {self._vocab_size - 1}"
            )
        self._file.write(document.astype(self._dtype).tobytes())
        self._offsets.append(self.n_tokens + len(document))

    def finish(self) -> ShardHeader:
        """Write the offsets and then the header, which makes the file a shard."""
        header = ShardHeader(
            vocab_size=self._vocab_size,
            vocabulary=self._vocabulary,
            n_tokens=self.n_tokens,
            n_documents=self.n_documents,
        )
        self._file.write(bytes(header.offsets_at - self._file.tell()))
        self._file.write(np.asarray(self._offsets, dtype="<i8").tobytes())
        self._file.seek(0)
        self._file.write(header.to_bytes())
        self._file.flush()
        return header


def write_shard(
    path: str | os.PathLike[str],
    documents: Iterable[Sequence[int]],
    *,
    vocab_size: int,
    vocabulary: str,
) -> ShardHeader:
    """Write documents of ids to one shard, whole or not at all; return its header."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        writer = ShardWriter(file, vocab_size=vocab_size, vocabulary=vocabulary)
        for document in documents:
            writer.write(document)
        return writer.finish()


class Shard:
    """An open shard: two read-only arrays over a mapped file.

    Opening reads the header and the offsets, no tokens.

    Attributes:
        path: the file.
        header: its checked header.
        tokens: (n_tokens,) uint16 or uint32, mapped.
        offsets: (n_documents + 1,) int64, mapped.
    """

    def __init__(self, path: Path, header: ShardHeader, mapped: mmap.mmap) -> None:
        self.path, self.header, self._map = path, header, mapped
        self.tokens: Ids = np.frombuffer(
            mapped, header.dtype, header.n_tokens, HEADER_BYTES
        )
        self.offsets: Int64 = np.frombuffer(
            mapped, np.dtype("<i8"), header.n_documents + 1, header.offsets_at
        )

    def __len__(self) -> int:
        return self.header.n_documents

    def document(self, index: int) -> Ids:
        """Return the ids of one document as a view into the file (no copy)."""
        if not 0 <= index < len(self):
            raise IndexError(f"document {index} of {self.path}; it has {len(self)}")
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    def documents(self) -> Iterator[Ids]:
        """Yield every document in order."""
        return (self.document(index) for index in range(len(self)))

    def release(self) -> None:
        """Give the mapped pages back, so that the process's resident memory does not
        add up over an epoch.

        Pages that are read become resident; the system takes them back when memory is
        short, and this does it now. The arrays stay valid: what is read again comes
        from the system's file cache, or from the disk.
        """
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def verify(self) -> None:
        """Read every token once and check that it lies in the vocabulary.

        Raises:
            ValueError: an id is too large; the line names the file, the place and the
                allowed range.
        """
        if np.iinfo(self.header.dtype).max < self.header.vocab_size:
            return  # no id of this type can be too large
        for start in range(0, self.header.n_tokens, BLOCK):
            block = self.tokens[start : start + BLOCK]
            if int(block.max()) >= self.header.vocab_size:
                at = start + int(np.argmax(block >= self.header.vocab_size))
                raise ValueError(
                    f"{self.path} holds id {int(self.tokens[at])} at token {at}; "
                    f"its vocabulary has ids 0 to {self.header.vocab_size - 1}"
                )
            self.release()


def open_shard(
    path: str | os.PathLike[str], *, vocabulary: str | None = None, verify: bool = False
) -> Shard:
    """Map a shard into memory, after all checks that need not read its tokens.

    Args:
        path: the file; it may come from anywhere.
        vocabulary: fingerprint of the tokenizer that the caller uses; another one is
            refused. None accepts any.
        verify: also read all tokens and check their range.

    Raises:
        ValueError: no shard, truncated, damaged, of another version or vocabulary; one
            line that names the file.
        OSError: it cannot be read.
    """
    path = Path(path)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            header = ShardHeader.from_bytes(file.read(HEADER_BYTES))
        except ValueError as error:
            raise ValueError(f"{path} {error}") from None
        if size != header.file_bytes:
            state = "truncated" if size < header.file_bytes else "damaged"
            raise ValueError(
                f"{path} is {state}: {size:,} bytes, expected {header.file_bytes:,} "
                f"for {header.n_tokens:,} tokens in {header.n_documents:,} documents"
            )
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if vocabulary is not None and vocabulary != header.vocabulary:
        raise ValueError(
            f"{path} was written with vocabulary {header.vocabulary[:12]}, expected "
            f"{vocabulary[:12]}; prepare the text again with this tokenizer"
        )
    shard = Shard(path, header, mapped)
    if not _offsets_are_valid(shard):
        raise ValueError(
            f"{path} is damaged: its document offsets do not increase from 0 to "
            f"{header.n_tokens:,}"
        )
    shard.release()
    if verify:
        shard.verify()
    return shard


def _offsets_are_valid(shard: Shard) -> bool:
    offsets = shard.offsets
    if offsets[0] != 0 or offsets[-1] != shard.header.n_tokens:
        return False
    blocks = (
        offsets[start : start + BLOCK + 1] for start in range(0, len(offsets), BLOCK)
    )
    return all(bool(np.all(block[1:] > block[:-1])) for block in blocks)
