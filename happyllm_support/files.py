"""Reading text strictly and writing files whole.

Everything that the package writes appears under its final name complete, or not at all;
everything that it reads as text is valid UTF-8, or is refused with the file and the
byte at fault.
"""

from __future__ import annotations

import codecs
import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

TEXT_SUFFIXES = (".txt", ".md", ".jsonl")
COMPRESSED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zip")
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def home() -> Path:
    """The cache folder, `HAPPYLLM_HOME` or `~/.cache/happyllm`; it need not exist."""
    return Path(os.environ.get("HAPPYLLM_HOME") or "~/.cache/happyllm").expanduser()


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Generator[Path]:
    """Yield a temporary file beside `path`; it becomes `path` when the block ends well
    and is deleted when it does not.

    The temporary file exists, empty, with the permissions of any new file.

    Args:
        path: the final name. Missing parent folders are created.

    Raises:
        OSError: the system's error (a full disk, no permission), with one line that
            names `path`.
    """
    final = Path(path)
    temporary = final.parent / f".{final.name}.{secrets.token_hex(8)}.tmp"
    created = False
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _create(temporary)
        created = True
        yield temporary
        _flush_to_disk(temporary)
        os.replace(temporary, final)
    except OSError as error:
        about = (None, str(temporary), str(final), str(final.parent))
        ours = not created or error.filename in about
        if error.errno is None or not ours:
            raise  # about some other file, or already explained
        reason = error.strerror or str(error)
        advice = "nothing was left behind, free space or choose another path"
        raise OSError(f"cannot write {final}: {reason}; {advice}") from error
    finally:
        if created:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(
    path: str | os.PathLike[str], check: Callable[[Path], None]
) -> Generator[Path]:
    """Yield a temporary folder beside `path` that becomes `path` when the block ends
    well and is deleted otherwise.

    Args:
        path: the final name. Missing parent folders are created; a folder that is there
            is replaced at the very end.
        check: called with the absolute path before the block and again after it; raises
            ValueError when what is there may not be replaced.

    Raises:
        OSError: the system's error (a full disk, no permission), with one line that
            names `path`.
    """
    final = Path(os.path.abspath(path))
    check(final)
    token = secrets.token_hex(4)
    temporary, retired = (
        final.with_name(f".{final.name}.{token}.{kind}") for kind in ("tmp", "old")
    )
    try:
        temporary.mkdir(parents=True)
        yield temporary
        check(final)  # again: time has passed
        _swap(temporary, final, retired)
    except OSError as error:
        # without a number, atomic_path has put it into words
        cause = error if error.errno is not None else error.__cause__
        if not isinstance(cause, OSError) or not _concerns(cause, temporary, final):
            raise  # about some other file, such as a source of documents
        reason = cause.strerror or str(cause)
        advice = "nothing was left behind, free space or choose another path"
        raise OSError(f"cannot write {path}: {reason}; {advice}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if final.exists():
            shutil.rmtree(retired, ignore_errors=True)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def atomic_write_json(
    path: str | os.PathLike[str], value: Any, *, indent: int | None = 1
) -> None:
    """Write `value` as JSON and a newline to `path` in UTF-8, whole or not at all."""
    atomic_write_text(path, json.dumps(value, ensure_ascii=False, indent=indent) + "\n")


def read_text_blocks(
    path: str | os.PathLike[str], block_bytes: int = 1 << 20
) -> Iterator[str]:
    """Yield the text of a file in blocks: strict UTF-8, newlines as they are.

    Args:
        path: the file.
        block_bytes: bytes read at a time; a code point on the border goes whole into
            the next block.

    Raises:
        ValueError: the file is not UTF-8; the line names the file and the offset of the
            first invalid byte.
    """
    with open(path, "rb") as file:
        yield from decode_blocks(file, path, block_bytes)


def decode_blocks(
    file: BinaryIO, name: str | os.PathLike[str], block_bytes: int = 1 << 20
) -> Iterator[str]:
    """Do the same for an open binary file, such as standard input, that errors call
    `name`.

    Raises:
        ValueError: the bytes are not UTF-8; the line has `name` and the offset of the
            first invalid byte.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="strict")
    start = 0  # offset in the file of the block's first byte
    while True:
        block = file.read(block_bytes)
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            offset, byte = start - pending + error.start, error.object[error.start]
            advice = (
                "convert it first, for example with `iconv -f <its encoding> -t utf-8`"
            )
            if error.reason == "unexpected end of data":
                advice = "it ends inside a character, so it was probably cut off"
            raise ValueError(
                f"{name} is not UTF-8: byte 0x{byte:02x} at offset {offset:,}; {advice}"
            ) from None
        start += len(block)
        if text:
            yield text
        if not block:
            return


def read_json(path: str | os.PathLike[str], what: str) -> dict[str, Any]:
    """Read a JSON object from `path`.

    Args:
        path: the file.
        what: what it should be, for the error: `a tokenizer file`.

    Raises:
        ValueError: not UTF-8, not JSON (with line and column) or no object; the line
            names the file.
    """
    text = "".join(read_text_blocks(path))
    try:
        value: Any = json.loads(text)
    except json.JSONDecodeError as error:
        place = (
            f"line {error.lineno}, column {error.colno} of "
            f"{Path(path).stat().st_size:,} bytes"
        )
        raise ValueError(
            f"{path} is not {what}: no valid JSON at {place} (cut off, or another kind "
            "of file)"
        ) from None
    # a number of thousands of digits, thousands of brackets
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is not {what}: its JSON cannot be read ({error})"
        ) from None
    if not isinstance(value, dict):
        raise ValueError(
            f"{path} is not {what}: a JSON object is expected, not "
            f"{type(value).__name__}"
        )
    return cast("dict[str, Any]", value)


def iter_files(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Expand files and folders into a sorted list of text files (`.txt`, `.md`,
    `.jsonl` inside folders, recursively).

    Raises:
        ValueError: a path that does not exist or is empty, a folder without text files,
            a compressed file, or no path at all.
    """
    found: list[Path] = []
    for name in paths:
        if name == "":  # which Path would take for the current folder
            raise ValueError(
                "the name of a file or folder is empty; write . for the current folder"
            )
        path = Path(name)
        if path.is_dir():
            inside = sorted(
                p for p in path.rglob("*") if p.is_file() and p.suffix in TEXT_SUFFIXES
            )
            if not inside:
                raise ValueError(
                    f"no text files in folder {path}; expected one of "
                    f"{', '.join(TEXT_SUFFIXES)}"
                )
            found += inside
        elif path.suffix in COMPRESSED_SUFFIXES and path.exists():
            raise ValueError(
                f"{path} is compressed; unpack it first, the text is read as plain "
                "UTF-8"
            )
        elif path.is_file():
            found.append(path)
        else:
            raise ValueError(f"no such file or folder: {path}")
    if not found:
        raise ValueError("no input files were given; name at least one file or folder")
    return found


def _create(path: Path) -> None:
    """Make an empty file that was not there; the system applies the umask, which Python
    could not read without changing it for all threads.
    """
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def _flush_to_disk(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _swap(temporary: Path, final: Path, retired: Path) -> None:
    """Move the new folder into place; an old one is moved aside first, and back if
    anything goes wrong.
    """
    try:
        if final.exists():
            final.rename(retired)
        temporary.rename(final)
    except BaseException:
        if retired.exists() and not final.exists():
            retired.rename(final)
        raise


def _concerns(error: OSError, temporary: Path, final: Path) -> bool:
    if error.filename is None:  # from a write
        return error.errno in _DISK_FULL
    path = Path(str(error.filename))
    return (
        path in (final, temporary) or path in final.parents or temporary in path.parents
    )
