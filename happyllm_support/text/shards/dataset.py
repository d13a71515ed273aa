"""A dataset: a folder that `prepare` writes, with the tokenizer, one folder of shards
per split, and an index:

    my-data/
      index.json           what is here: tokenizer and fingerprint, and per split the
                           totals and each shard's SHA-256
      tokenizer.json       the tokenizer that made the ids
      train/shard-00000.tokens, train/shard-00001.tokens, ...
      valid/shard-00000.tokens

`open_dataset` maps one split and numbers its documents from 0 across its shards.
"""

from __future__ import annotations

import hashlib
import os
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from happyllm_support.files import read_json
from happyllm_support.text.shards.arrays import Ids, Int64
from happyllm_support.text.shards.shard import Shard, open_shard

INDEX_NAME = "index.json"
TOKENIZER_NAME = "tokenizer.json"
FORMAT = "happyllm-dataset"
VERSION = 1


def shard_name(number: int) -> str:
    """Return the file name of a split's shard: `shard-00000.tokens` and so on."""
    return f"shard-{number:05d}.tokens"


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes as `sha256sum` prints it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Dataset:
    """One split of a dataset folder, mapped into memory.

    Attributes:
        root: the dataset's folder.
        split: its name, such as "train".
        shards: the open shards, in order.
        vocabulary: fingerprint of the tokenizer.
        vocab_size: ids are below it.
        pad_id: the tokenizer's padding id, None where it has none.
        n_bytes: UTF-8 bytes of the text behind the tokens, for bits per byte.
        identity: a hash over the shards' hashes; it differs where any token does.
    """

    root: Path
    split: str
    shards: tuple[Shard, ...]
    vocabulary: str
    vocab_size: int
    pad_id: int | None
    n_bytes: int
    identity: str

    def __len__(self) -> int:
        return self._starts[-1]

    @cached_property
    def _starts(self) -> list[int]:
        """Number of the first document of each shard, and of all documents."""
        return [0, *np.cumsum([len(shard) for shard in self.shards]).tolist()]

    @property
    def name(self) -> str:
        """What messages call it: the folder and the split."""
        return f"{self.root} ({self.split})"

    @property
    def n_tokens(self) -> int:
        """Tokens in all shards of the split."""
        return sum(shard.header.n_tokens for shard in self.shards)

    def document(self, index: int) -> Ids:
        """Return the ids of one document, a view into its shard."""
        if not 0 <= index < len(self):
            raise IndexError(
                f"document {index} of {self.root} ({self.split}); it has {len(self)}"
            )
        number = bisect_right(self._starts, index) - 1
        return self.shards[number].document(index - self._starts[number])

    def documents(self) -> Iterator[Ids]:
        """Yield every document in order."""
        return (ids for shard in self.shards for ids in shard.documents())

    def lengths(self) -> Int64:
        """Return the token count of every document, (n_documents,).

        It is the one array that grows with the data.
        """
        return np.concatenate([np.diff(shard.offsets) for shard in self.shards])

    def release(self) -> None:
        """Give back the resident pages of every shard (see `Shard.release`)."""
        for shard in self.shards:
            shard.release()


def read_index(root: str | os.PathLike[str]) -> dict[str, Any]:
    """Read and check the index of a dataset folder.

    Raises:
        ValueError: the folder has no index, or one that is damaged or of another
            version.
    """
    path = Path(root) / INDEX_NAME
    if not path.is_file():
        raise ValueError(
            f"{root} is no dataset: it has no {INDEX_NAME}; make one with `happyllm "
            "data prepare`"
        )
    index = read_json(path, "a dataset's index")
    try:
        if index["format"] != FORMAT:
            raise ValueError(
                f"{path} has format {index['format']!r}; expected {FORMAT!r}"
            )
        if index["version"] != VERSION:
            raise ValueError(
                f"{path} has version {index['version']!r}; this release reads "
                f"{VERSION}: prepare it again"
            )
        _check_index(index)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}: {error}); prepare the dataset "
            "again"
        ) from None
    return index


def _check_index(index: dict[str, Any]) -> None:
    """Raise TypeError or KeyError where a field is missing or has the wrong type."""
    tokenizer: dict[str, Any] = index["tokenizer"]
    _expect(tokenizer["fingerprint"], str)
    _expect(tokenizer["vocab_size"], int)
    _expect(tokenizer["pad_id"], int, type(None))
    splits: dict[str, dict[str, Any]] = index["splits"]
    for split, entry in splits.items():
        if not re.fullmatch(r"[a-z]+", split):
            raise TypeError(f"split {split!r}")
        _expect(entry["bytes"], int)
        for number, shard in enumerate(_expect(entry["shards"], list)):
            # no other file is ever opened
            if shard["file"] != f"{split}/{shard_name(number)}":
                raise TypeError(f"shard {shard['file']!r}")
            _expect(shard["tokens"], int)
            _expect(shard["documents"], int)
            _expect(shard["sha256"], str)


def _expect(value: Any, *types: type) -> Any:
    if type(value) not in types:
        raise TypeError(f"{value!r} is not {' or '.join(t.__name__ for t in types)}")
    return value


def open_dataset(
    root: str | os.PathLike[str],
    split: str = "train",
    *,
    vocabulary: str | None = None,
    verify: bool = False,
) -> Dataset:
    """Map one split of a dataset folder.

    Args:
        root: the folder that `prepare` wrote.
        split: which part of it.
        vocabulary: fingerprint of the tokenizer in use; shards of another one are
            refused. None accepts any.
        verify: also read every shard, compare its SHA-256 with the index and check the
            range of its ids.

    Raises:
        ValueError: no dataset, no such split, an empty split, or a shard that does not
            fit; one line with the file.
    """
    root = Path(root)
    index = read_index(root)
    if split not in index["splits"]:
        raise ValueError(
            f"{root} has no split {split!r}; it has "
            f"{', '.join(index['splits']) or 'none'}"
        )
    entry: dict[str, Any] = index["splits"][split]
    tokenizer: dict[str, Any] = index["tokenizer"]
    if vocabulary is not None and vocabulary != tokenizer["fingerprint"]:
        raise ValueError(
            f"{root} was written with vocabulary {tokenizer['fingerprint'][:12]}, "
            f"expected {vocabulary[:12]}; prepare the text again with this tokenizer"
        )
    if not entry["shards"]:
        raise ValueError(
            f"split {split!r} of {root} has no documents; prepare more text or give it "
            "a larger fraction"
        )
    shards = tuple(
        _open_listed(root, shard, tokenizer, verify) for shard in entry["shards"]
    )
    hashes = [tokenizer["fingerprint"], *(shard["sha256"] for shard in entry["shards"])]
    return Dataset(
        root=root,
        split=split,
        shards=shards,
        vocabulary=tokenizer["fingerprint"],
        vocab_size=tokenizer["vocab_size"],
        pad_id=tokenizer["pad_id"],
        n_bytes=entry["bytes"],
        identity=hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:16],
    )


def _open_listed(
    root: Path, entry: Mapping[str, Any], tokenizer: Mapping[str, Any], verify: bool
) -> Shard:
    path = root / entry["file"]
    if not path.is_file():
        raise ValueError(
            f"{path} is missing, and {INDEX_NAME} lists it; prepare the dataset again"
        )
    shard = open_shard(path, vocabulary=tokenizer["fingerprint"], verify=verify)
    found = (shard.header.n_tokens, shard.header.n_documents, shard.header.vocab_size)
    listed = (entry["tokens"], entry["documents"], tokenizer["vocab_size"])
    if found != listed:
        raise ValueError(
            f"{path} has (tokens, documents, vocab_size) {found}, and {INDEX_NAME} "
            f"lists {listed}; prepare it again"
        )
    if verify and (digest := file_sha256(path)) != entry["sha256"]:
        listed = entry["sha256"][:12]
        raise ValueError(
            f"{path} has SHA-256 {digest[:12]}, and {INDEX_NAME} lists {listed}; "
            "prepare it again"
        )
    return shard
