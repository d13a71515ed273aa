"""From documents to a dataset folder: encode in several processes, split by hash, write
shards, all or nothing.

What is written depends on the documents, the tokenizer and the options, never on the
number of processes. Memory is bounded: a few bundles of documents per process, and 8
bytes per document of the shards that are being written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from happyllm_support.parallel import ordered_map
from happyllm_support.progress import Progress
from happyllm_support.text.corpora.splits import DEFAULT_FRACTIONS, split_of
from happyllm_support.text.shards.dataset import TOKENIZER_NAME
from happyllm_support.text.shards.dataset_writer import (
    SplitWriter,
    whole_folder,
    write_index,
)
from happyllm_support.text.shards.inputs import (
    TextEncoder,
    check_ends,
    texts_of,
    utf8_bytes,
)

BUNDLE_BYTES = 1 << 18  # of text in one trip to a process
BUNDLE_DOCUMENTS = 1 << 12


@dataclass(frozen=True)
class SplitReport:
    """Totals of one split.

    Attributes:
        documents: with some text.
        tokens: bos and eos included.
        bytes: of the documents' UTF-8.
        shards: files.
    """

    documents: int
    tokens: int
    bytes: int
    shards: int

    @property
    def tokens_per_byte(self) -> float:
        """Tokens (bos and eos included) per byte of text."""
        return self.tokens / self.bytes if self.bytes else 0.0


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare` wrote.

    Attributes:
        folder: the dataset.
        splits: their totals by name.
        empty_documents: documents without any text, left out.
    """

    folder: Path
    splits: dict[str, SplitReport]
    empty_documents: int

    @property
    def total(self) -> SplitReport:
        """All splits together."""
        reports = self.splits.values()
        return SplitReport(
            documents=sum(report.documents for report in reports),
            tokens=sum(report.tokens for report in reports),
            bytes=sum(report.bytes for report in reports),
            shards=sum(report.shards for report in reports),
        )


def prepare(
    documents: Iterable[str | Path] | Path,
    tokenizer: TextEncoder,
    out_dir: str | os.PathLike[str],
    *,
    fractions: Mapping[str, float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    split_key: Callable[[str], str] | None = None,
    workers: int = 1,
    shard_tokens: int = 1 << 26,
    add_bos: bool = True,
    add_eos: bool = True,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PrepareReport:
    """Encode documents and write them as a dataset folder, whole or not at all.

    Args:
        documents: texts; a `Path` among them stands for the documents in that file or
            folder (`read_documents`).
        tokenizer: makes the ids; a copy is saved with them.
        out_dir: the folder to make.
        fractions: share of the documents per split; a document's split depends on its
            text and `seed` alone.
        seed: of the splits.
        split_key: what stands for a document when its split is drawn (see `split_of`).
        workers: processes that encode; with more than one, a tokenizer of your own must
            be of a class that a module defines.
        shard_tokens: a shard ends before the document that would take it past this; a
            longer document has its own.
        add_bos: begin every document with the tokenizer's bos.
        add_eos: end every document with the tokenizer's eos.
        overwrite: replace an earlier dataset, after the new one is complete.
        progress: called now and then with the stage `preparing`, in bytes of text.

    Raises:
        ValueError: an existing folder, an empty corpus, a tokenizer without bos or eos,
            an id outside the vocabulary.
        OSError: the folder cannot be written, for example on a full disk; nothing is
            left behind.
    """
    check_ends(tokenizer, add_bos=add_bos, add_eos=add_eos)
    if shard_tokens < 1:
        raise ValueError(f"shard_tokens is {shard_tokens}; expected at least 1")
    _check_fractions(fractions)
    bundles = _bundles(
        texts_of(documents),
        partial(split_of, fractions=fractions, seed=seed, key=split_key),
    )
    encode = partial(_encode, tokenizer=tokenizer, add_bos=add_bos, add_eos=add_eos)
    options = {
        "fractions": dict(fractions),
        "seed": seed,
        "add_bos": add_bos,
        "add_eos": add_eos,
    }
    with whole_folder(out_dir, overwrite=overwrite) as folder:
        writers = _open_splits(folder, fractions, tokenizer, shard_tokens)
        try:
            empty = _write_all(
                ordered_map(encode, bundles, workers=workers), writers, progress
            )
            entries = {split: writer.finish() for split, writer in writers.items()}
        finally:
            for writer in writers.values():
                writer.close()
        if not any(entry["documents"] for entry in entries.values()):
            raise ValueError(
                f"empty corpus: {empty} documents, none with any text; nothing to "
                f"write to {out_dir}"
            )
        tokenizer.save(folder / TOKENIZER_NAME)
        write_index(
            folder, tokenizer=_about(tokenizer), options=options, splits=entries
        )
    splits = {name: _report(entry) for name, entry in entries.items()}
    return PrepareReport(folder=Path(out_dir), splits=splits, empty_documents=empty)


def _open_splits(
    folder: Path, names: Iterable[str], tokenizer: TextEncoder, shard_tokens: int
) -> dict[str, SplitWriter]:
    return {
        name: SplitWriter(
            folder / name,
            shard_tokens=shard_tokens,
            vocab_size=tokenizer.vocab_size,
            vocabulary=tokenizer.fingerprint,
        )
        for name in names
    }


def _write_all(
    bundles: Generator[_Encoded],
    writers: dict[str, SplitWriter],
    progress: Progress | None,
) -> int:
    """Write every document to its split and return how many were empty."""
    n_bytes = empty = 0
    with closing(bundles):  # ends the processes at once if anything fails here
        for encoded in bundles:
            for split, ids, size in encoded.documents():
                writers[split].write(ids, size)
            n_bytes += sum(encoded.sizes)
            empty += encoded.empty
            if progress is not None:
                progress("preparing", n_bytes, None)
    return empty


@dataclass
class _Bundle:
    """Documents that make one trip to a process; empty ones are only counted.

    Attributes:
        texts: the others.
        splits: where each belongs.
        sizes: of each, in bytes of UTF-8.
        empty: how many were left out.
    """

    texts: list[str] = field(default_factory=list[str])
    splits: list[str] = field(default_factory=list[str])
    sizes: list[int] = field(default_factory=list[int])
    empty: int = 0


@dataclass(frozen=True)
class _Encoded:
    """The same on their way back: the ids of all documents, end to end."""

    ids: npt.NDArray[np.uint32]
    lengths: list[int]
    splits: list[str]
    sizes: list[int]
    empty: int

    def documents(self) -> Iterator[tuple[str, npt.NDArray[np.uint32], int]]:
        ends = np.cumsum(self.lengths, dtype=np.int64).tolist()
        for split, size, length, end in zip(
            self.splits, self.sizes, self.lengths, ends, strict=True
        ):
            yield split, self.ids[end - length : end], size


def _encode(
    bundle: _Bundle, *, tokenizer: TextEncoder, add_bos: bool, add_eos: bool
) -> _Encoded:
    ids: list[int] = []
    lengths: list[int] = []
    for text in bundle.texts:
        document = tokenizer.encode(text, add_bos=add_bos, add_eos=add_eos)
        lengths.append(len(document))
        ids += document
    array = np.array(ids, dtype=np.uint32)
    return _Encoded(array, lengths, bundle.splits, bundle.sizes, bundle.empty)


def _bundles(
    texts: Iterable[str], split_of_text: Callable[[str], str]
) -> Iterator[_Bundle]:
    bundle, room = _Bundle(), BUNDLE_BYTES
    for number, text in enumerate(texts):
        if not text:
            bundle.empty += 1
            continue
        size = utf8_bytes(text, number)
        bundle.texts.append(text)
        bundle.splits.append(split_of_text(text))
        bundle.sizes.append(size)
        room -= size
        if room <= 0 or len(bundle.texts) == BUNDLE_DOCUMENTS:
            yield bundle
            bundle, room = _Bundle(), BUNDLE_BYTES
    yield bundle  # perhaps without documents


def _check_fractions(fractions: Mapping[str, float]) -> None:
    split_of("", fractions)  # refuses shares that are negative or do not sum to 1
    for name in fractions:
        if not re.fullmatch(r"[a-z]+", name):
            raise ValueError(
                f"split {name!r} is no name for a folder; expected small letters, as "
                "in train"
            )


def _about(tokenizer: TextEncoder) -> dict[str, Any]:
    names = ("fingerprint", "vocab_size", "bos_id", "eos_id", "pad_id")
    return {name: getattr(tokenizer, name) for name in names}


def _report(entry: dict[str, Any]) -> SplitReport:
    return SplitReport(
        entry["documents"], entry["tokens"], entry["bytes"], len(entry["shards"])
    )
