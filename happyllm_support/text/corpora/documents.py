"""Your own files as a stream of documents.

A *document* is a string that a model may read from its beginning: a story, an article,
a speech. Files of any size are read in blocks; only one document is in memory at a time
(with `split="file"` that is the whole file).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, cast, get_args

from happyllm_support.files import iter_files, read_text_blocks

Split = Literal["blank-line", "line", "file", "article"]
SPLITS: tuple[str, ...] = get_args(Split)

_ARTICLE_HEADING = re.compile(r" = [^=]+ = ")


def read_documents(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    split: Split = "blank-line",
    separator: str | None = None,
    field: str = "text",
) -> Iterator[str]:
    """Yield the documents of UTF-8 text files and JSON Lines files, in the order of the
    sorted paths.

    Args:
        paths: a file, a folder (its `.txt`, `.md` and `.jsonl` files, recursively), or
            several of them.
        split: where a document of a text file ends: at a run of blank lines, at each
            line, at the end of the file, or before each top heading ` = Title = ` of
            WikiText's notation ("article").
        separator: a literal string that ends a document, such as `<|endoftext|>`; it
            takes the place of `split`.
        field: the field of a JSON Lines object that holds the text (files named
            `*.jsonl`).

    Returns:
        An iterator; documents of white space only are left out, line ends around a
        document are cut off.

    Raises:
        ValueError: a missing path, an unknown `split`, an empty `separator` (at once);
            a file that is not UTF-8, a JSON Lines record without `field`, no document
            at all (while reading). The line names the file.
    """
    if split not in SPLITS:
        raise ValueError(
            f"unknown split {split!r}; choose one of {', '.join(SPLITS)}, or give a "
            "separator"
        )
    if separator == "":
        raise ValueError(
            "the separator is empty; give the string that ends a document, or None"
        )
    files = iter_files([paths] if isinstance(paths, str | os.PathLike) else paths)
    return _nonempty(_all_documents(files, split, separator, field), files)


def whole_documents(path: str | os.PathLike[str]) -> Iterator[Iterator[str]]:
    """Yield the documents of a file or folder uncut and in blocks of text, for readers
    that need no document whole: a text file is one, a JSON Lines file has one a record.

    Raises:
        ValueError: as `read_documents`, but for empty files.
    """
    for file in iter_files([path]):
        if file.suffix == ".jsonl":
            yield from (iter((text,)) for text in read_jsonl(file))
        else:
            yield _blocks(file)


def _all_documents(
    files: list[Path], split: str, separator: str | None, field: str
) -> Iterator[str]:
    for path in files:
        if path.suffix == ".jsonl":
            yield from read_jsonl(path, field)
        elif separator is not None:
            yield from _trimmed(_pieces(path, separator))
        else:
            yield from _trimmed(_READERS[split](path))


def _nonempty(documents: Iterator[str], files: list[Path]) -> Iterator[str]:
    empty = True
    for document in documents:
        empty = False
        yield document
    if empty:
        rest = f" (and {len(files) - 1} more)" if len(files) > 1 else ""
        raise ValueError(
            f"empty corpus: {files[0]}{rest} holds no text; a corpus needs at least "
            "one document"
        )


def read_jsonl(path: str | os.PathLike[str], field: str = "text") -> Iterator[str]:
    """Yield one string field of each object of a JSON Lines file.

    Raises:
        ValueError: a line that is not a JSON object, lacks `field`, or holds something
            else than a string there; the line says file and line number.
    """
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            text = _field_of(line, field, f"{path}:{number}")
            if text.strip():
                yield text


def _field_of(line: str, field: str, where: str) -> str:
    try:
        record: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{where}: not a JSON object on one line: {error.msg}, column {error.colno}"
        ) from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # a number of thousands of digits, thousands of brackets
        raise ValueError(f"{where}: this JSON cannot be read: {error}") from None
    if not isinstance(record, dict):
        raise ValueError(
            f"{where}: a JSON {type(record).__name__}, not an object with a field "
            f"{field!r}"
        )
    record = cast("dict[str, Any]", record)
    if field not in record:
        raise ValueError(
            f"{where}: no field {field!r}; the object has "
            f"{', '.join(map(repr, record)) or 'no field'}"
        )
    value = record[field]
    if not isinstance(value, str):
        raise ValueError(
            f"{where}: field {field!r} holds {type(value).__name__}; a string is needed"
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        surrogate = f"\\u{ord(value[error.start]):04x}"
        raise ValueError(
            f"{where}: field {field!r} holds the lone surrogate {surrogate}, which is "
            "not text"
        ) from None
    return value


def _trimmed(documents: Iterable[str]) -> Iterator[str]:
    for document in documents:
        if document.strip():
            yield document.strip("\r\n")


def _blocks(path: str | os.PathLike[str]) -> Iterator[str]:
    """The text of a file in blocks, without the byte order mark that some editors put
    at the start.
    """
    for index, block in enumerate(read_text_blocks(path)):
        yield block.removeprefix("\ufeff") if index == 0 else block


def _lines(path: str | os.PathLike[str]) -> Iterator[str]:
    """Lines without their newline; only a line feed ends a line."""
    pending: list[str] = []
    for block in _blocks(path):
        first, *rest = block.split("\n")
        pending.append(first)
        if rest:
            yield "".join(pending)
            yield from rest[:-1]
            pending = [rest[-1]]
    if last := "".join(pending):
        yield last


def _pieces(path: Path, separator: str) -> Iterator[str]:
    """The text between occurrences of `separator`, wherever blocks happen to end."""
    pending: list[str] = []
    tail = ""  # the end of the text so far that may be the beginning of a separator
    for block in _blocks(path):
        first, *rest = (tail + block).split(separator)
        pending.append(first)
        for piece in rest:
            yield "".join(pending)
            pending = [piece]
        keep = min(len(separator) - 1, len(pending[-1]))
        tail = pending[-1][len(pending[-1]) - keep :]
        pending[-1] = pending[-1][: len(pending[-1]) - keep]
    yield "".join(pending) + tail


def _blank_line_documents(path: Path) -> Iterator[str]:
    lines: list[str] = []
    for line in _lines(path):
        if line.strip():
            lines.append(line)
        elif lines:
            yield "\n".join(lines)
            lines = []
    yield "\n".join(lines)


def _articles(path: Path) -> Iterator[str]:
    lines: list[str] = []
    after_blank = True
    for line in _lines(path):
        if after_blank and _ARTICLE_HEADING.fullmatch(line) and lines:
            yield "\n".join(lines)
            lines = []
        lines.append(line)
        after_blank = not line.strip()
    yield "\n".join(lines)


def _whole_file(path: Path) -> Iterator[str]:
    yield "".join(_blocks(path))


_READERS: dict[str, Callable[[Path], Iterator[str]]] = {
    "blank-line": _blank_line_documents,
    "line": _lines,
    "file": _whole_file,
    "article": _articles,
}
