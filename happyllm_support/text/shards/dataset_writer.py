"""Writing a dataset folder: numbered shards per split, the index, and a folder that
appears whole or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from happyllm_support.files import atomic_folder
from happyllm_support.text.shards.dataset import (
    FORMAT,
    INDEX_NAME,
    TOKENIZER_NAME,
    VERSION,
    file_sha256,
    read_index,
    shard_name,
)
from happyllm_support.text.shards.shard import ShardWriter


@contextmanager
def whole_folder(
    path: str | os.PathLike[str], *, overwrite: bool = False
) -> Generator[Path]:
    """Yield a temporary folder beside `path` that becomes `path` when the block ends
    well and is deleted otherwise.

    Args:
        path: the final name. Missing parent folders are created.
        overwrite: replace an earlier dataset there, at the very end; anything else
            there is never replaced.

    Raises:
        ValueError: something that may not be replaced is there.
        OSError: the system's error (a full disk, no permission), with one line that
            names `path`.
    """
    with atomic_folder(
        path, lambda final: _check_replaceable(final, overwrite)
    ) as folder:
        yield folder


class SplitWriter:
    """Writes the documents of one split to numbered shards.

    Args:
        folder: made by this class; its name is the split's.
        shard_tokens: a shard ends before the document that would take it past this.
        vocab_size: ids must be below it.
        vocabulary: fingerprint of the tokenizer.
    """

    def __init__(
        self, folder: Path, *, shard_tokens: int, vocab_size: int, vocabulary: str
    ) -> None:
        self.folder, self.shard_tokens = folder, shard_tokens
        self.vocab_size, self.vocabulary = vocab_size, vocabulary
        self.bytes = 0
        self.shards: list[dict[str, Any]] = []
        self._file: BinaryIO | None = None
        self._writer: ShardWriter | None = None
        folder.mkdir()

    def write(self, ids: npt.NDArray[np.integer[Any]], n_bytes: int) -> None:
        """Append one document that is `n_bytes` of UTF-8."""
        if (
            self._writer is not None
            and self._writer.n_tokens + len(ids) > self.shard_tokens
        ):
            self._finish_shard()
        if self._writer is None:
            self._file = open(self.folder / shard_name(len(self.shards)), "wb")  # noqa: SIM115 (see close)
            self._writer = ShardWriter(
                self._file, vocab_size=self.vocab_size, vocabulary=self.vocabulary
            )
        self._writer.write(ids)
        self.bytes += n_bytes

    def finish(self) -> dict[str, Any]:
        """Complete the last shard and return the split's entry for the index."""
        if self._writer is not None:
            self._finish_shard()
        return {
            "documents": sum(shard["documents"] for shard in self.shards),
            "tokens": sum(shard["tokens"] for shard in self.shards),
            "bytes": self.bytes,
            "shards": self.shards,
        }

    def close(self) -> None:
        """Close what is still open, which nothing is after `finish`."""
        if self._file is not None:
            # A full disk refuses what is still buffered; that error is on its way.
            with suppress(OSError):
                self._file.close()

    def _finish_shard(self) -> None:
        assert self._file is not None and self._writer is not None
        header = self._writer.finish()
        os.fsync(self._file.fileno())
        self._file.close()
        name = shard_name(len(self.shards))
        self.shards.append(
            {
                "file": f"{self.folder.name}/{name}",
                "tokens": header.n_tokens,
                "documents": header.n_documents,
                "sha256": file_sha256(self.folder / name),
            }
        )
        self._file = self._writer = None


def write_index(
    folder: Path,
    *,
    tokenizer: dict[str, Any],
    options: dict[str, Any],
    splits: dict[str, Any],
) -> None:
    """Write the index of a dataset folder.

    Args:
        folder: where the shards and the tokenizer's file are.
        tokenizer: fingerprint, vocab_size, bos_id, eos_id, pad_id.
        options: how the documents were prepared, for the reader.
        splits: what `SplitWriter.finish` returned, by split.
    """
    index = {
        "format": FORMAT,
        "version": VERSION,
        "tokenizer": {"file": TOKENIZER_NAME, **tokenizer},
        "options": options,
        "splits": splits,
    }
    (folder / INDEX_NAME).write_text(
        json.dumps(index, indent=1) + "\n", encoding="utf-8"
    )


def _check_replaceable(path: Path, overwrite: bool) -> None:
    """Only an empty folder, or a dataset and nothing beside it, may be replaced."""
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise ValueError(
            f"{path} exists; choose another folder, or ask for it to be replaced with "
            "overwrite"
        )
    if path.is_symlink() or not path.is_dir():
        raise ValueError(
            f"{path} is no folder; only a folder with a dataset can be replaced"
        )
    found = {
        file.relative_to(path).as_posix()
        for file in path.rglob("*")
        if file.is_symlink() or not file.is_dir()
    }
    if not found:
        return
    if INDEX_NAME not in found:
        raise ValueError(
            f"{path} holds no dataset and is not replaced; move it or choose another "
            "folder"
        )
    shards = (
        shard["file"]
        for split in read_index(path)["splits"].values()
        for shard in split["shards"]
    )
    if foreign := sorted(found - {INDEX_NAME, TOKENIZER_NAME, *shards}):
        raise ValueError(
            f"{path} holds {foreign[0]}, which is no part of a dataset; move it or "
            "choose another folder"
        )
