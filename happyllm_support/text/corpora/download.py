"""Files from the network that arrive whole, verified, or not at all.

A transfer (`transfer.py`) goes into `NAME.part` beside its final name. Whatever
interrupts it, the part stays and the next call goes on from there; only when the part
has the registered size and hash does it become NAME. One process at a time does this,
and others wait for what it brings. A file that lies in the folder already is verified
and used without a network. Only the standard library is needed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sys
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from happyllm_support.files import atomic_path, atomic_write_json, home
from happyllm_support.progress import Progress
from happyllm_support.text.corpora.transfer import (
    BLOCK_BYTES,
    BrokenOffError,
    DownloadError,
    notes_path,
    read_notes,
    size_of,
    transfer,
)

__all__ = [
    "DownloadError",
    "RemoteFile",
    "fetch_file",
    "hash_file",
    "home",
    "is_cached",
    "verify",
]

# Larger files are hashed once, and again when their size or date changes.
ALWAYS_VERIFY_BELOW = 64 << 20

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file, and what proves that it is the right one.

    Attributes:
        path: where it lies below the cache folder, with forward slashes.
        digest: `algorithm:hex`, such as `sha256:86c4...`.
        size: bytes; None when only the hash is published.
        urls: sources, tried in turn; none for a file that one has to put there oneself.
        archive: a zip file that contains it.
        member: its name inside the archive.
    """

    path: str
    digest: str
    size: int | None = None
    urls: tuple[str, ...] = ()
    archive: RemoteFile | None = None
    member: str = ""

    @property
    def algorithm(self) -> str:
        """The hash function of `digest`."""
        return self.digest.partition(":")[0]


def fetch_file(
    file: RemoteFile, folder: Path | None = None, progress: Progress | None = None
) -> Path:
    """Return the verified path of `file`, after downloading or unpacking it when it is
    not there yet.

    Args:
        file: what to get.
        folder: the cache folder, by default `home()`.
        progress: called after each block with the stage `fetching NAME`, in bytes.

    Raises:
        ValueError: the file that is there, or that came, has another size or hash than
            the registered one; it is refused, and the line says what was expected and
            how to go on. Also a file without a source.
        DownloadError: no network, a transfer that broke off (what came is kept and
            resumed), a full disk.
    """
    target = (home() if folder is None else folder) / file.path
    if target.exists():
        verify(target, file)
    elif file.archive is not None:
        _extract(fetch_file(file.archive, folder, progress), file, target)
        _remember(target, file)
    elif file.urls:
        _download(file, target, progress)
    else:
        raise ValueError(
            f"{file.path} has no download; put the file ({_identity(file)}) at {target}"
        )
    return target


def is_cached(file: RemoteFile, folder: Path | None = None) -> bool:
    """Whether a file of this name and size is there; its hash is checked in use."""
    target = (home() if folder is None else folder) / file.path
    return target.is_file() and file.size in (None, target.stat().st_size)


def verify(path: Path, file: RemoteFile) -> None:
    """Check the size and the hash of a file that is there.

    Files below 64 MiB are hashed each time. For a larger one a small `.NAME.verified`
    beside it notes size, date and hash after the first time, and the file is hashed
    again only when one of them differs.

    Raises:
        ValueError: it is not the registered file.
    """
    size = path.stat().st_size
    advice = "delete it and fetch it again, or point HAPPYLLM_HOME to another folder"
    if file.size is not None and size != file.size:
        raise ValueError(
            f"{path} is not the registered file: {size:,} bytes, expected "
            f"{file.size:,}; {advice}"
        )
    if size >= ALWAYS_VERIFY_BELOW and _stamp(path, file) == read_notes(
        _stamp_path(path)
    ):
        return
    found = hash_file(path, file.algorithm)
    if found != file.digest:
        raise ValueError(
            f"{path} is not the registered file: {found}, expected {file.digest}; "
            f"{advice}"
        )
    _remember(path, file)


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """The digest of a file's bytes as `algorithm:hex`."""
    with open(path, "rb") as stream:
        return f"{algorithm}:{hashlib.file_digest(stream, algorithm).hexdigest()}"


def _download(file: RemoteFile, target: Path, progress: Progress | None) -> None:
    """Get `file` from the first source that has it, or wait for who is doing so."""
    part = target.with_name(target.name + ".part")
    with _disk_errors(part, file):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(target):
            if target.exists():  # another process has brought it meanwhile
                verify(target, file)
            else:
                _download_alone(file, target, part, progress)
                _remember(target, file)


def _download_alone(
    file: RemoteFile, target: Path, part: Path, progress: Progress | None
) -> None:
    failures: list[str] = []
    wrong_content = False
    _require_space(part, file)
    for url in file.urls:
        try:
            found = _transferred(file, url, part, progress)
        except BrokenOffError as failure:
            failures.append(f"{url}: {failure}")
            _drop_empty(part)
            continue
        if found == file.digest:
            os.replace(part, target)
            notes_path(part).unlink(missing_ok=True)
            return
        part.unlink()
        _drop_empty(part)
        wrong_content = True
        failures.append(
            f"{url}: the content has {found}, expected {file.digest}; it was "
            "refused and deleted"
        )
    kept = (
        f"; {size_of(part):,} bytes are kept in {part.name} and resumed"
        if size_of(part)
        else ""
    )
    by_hand = f"or put the file ({_identity(file)}) at {target} by hand"
    message = (
        f"cannot fetch {target.name} from {'; '.join(failures)}{kept}; "
        f"try again later, {by_hand}"
    )
    raise ValueError(message) if wrong_content else DownloadError(message)


def _transferred(
    file: RemoteFile, url: str, part: Path, progress: Progress | None
) -> str:
    """Complete the part and return its digest."""
    resumed = transfer(url, part, size=file.size, progress=progress)
    found = hash_file(part, file.algorithm)
    if found != file.digest and resumed:
        # the beginning may have been of another version: once more from the start
        part.unlink()
        transfer(url, part, size=file.size, progress=progress)
        found = hash_file(part, file.algorithm)
    return found


@contextmanager
def _one_at_a_time(target: Path) -> Generator[None]:
    """Let one process (or thread) at a time get `target`; the others wait here."""
    if sys.platform == "win32":  # which has no flock
        yield
        return
    import fcntl

    lock = target.with_name(f".{target.name}.lock")
    while True:
        with open(lock, "ab") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _LOGGER.warning("another process is downloading %s; waiting", target)
                fcntl.flock(stream, fcntl.LOCK_EX)
            if not _is_open_as(lock, stream):
                continue  # who held it has deleted it
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _is_open_as(path: Path, stream: IO[bytes]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False


def _extract(archive: Path, file: RemoteFile, target: Path) -> None:
    """Unpack one named member; names inside the archive never become paths."""
    try:
        with (
            zipfile.ZipFile(archive) as bundle,
            bundle.open(file.member) as source,
            atomic_path(target) as temporary,
        ):
            with open(temporary, "wb") as stream:
                shutil.copyfileobj(source, stream, BLOCK_BYTES)
            found = hash_file(temporary, file.algorithm)
            if found != file.digest:
                raise ValueError(
                    f"{file.member} in {archive} is not the registered file: {found}, "
                    f"not {file.digest}"
                )
    except KeyError:
        raise ValueError(
            f"{archive} holds no {file.member}; delete the archive and fetch it again"
        ) from None
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"{archive} is not an intact zip file ({error}); delete it and fetch it "
            "again"
        ) from None


@contextmanager
def _disk_errors(part: Path, file: RemoteFile) -> Generator[None]:
    """Explain an OSError; those of the network have been dealt with inside."""
    try:
        yield
    except DownloadError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        size = size_of(part)
        kept = (
            f"{size:,} bytes are kept in {part.name} and resumed"
            if size
            else "nothing was written"
        )
        advice = "free space or point HAPPYLLM_HOME to another folder"
        message = (
            f"cannot write {part.with_suffix('')} ({_identity(file)}): {reason}; "
            f"{kept}; {advice}"
        )
        raise DownloadError(message) from error


def _drop_empty(part: Path) -> None:
    if not size_of(part):
        part.unlink(missing_ok=True)
        notes_path(part).unlink(missing_ok=True)


def _require_space(part: Path, file: RemoteFile) -> None:
    free = shutil.disk_usage(part.parent).free
    missing = (file.size or 0) - size_of(part)
    if missing > free:
        raise DownloadError(
            f"not enough space for {part.with_suffix('')}: {missing:,} bytes are "
            f"needed and {free:,} are free; free space or point HAPPYLLM_HOME to "
            "another folder"
        )


def _remember(path: Path, file: RemoteFile) -> None:
    if path.stat().st_size >= ALWAYS_VERIFY_BELOW:
        try:
            atomic_write_json(_stamp_path(path), _stamp(path, file))
        except (
            OSError
        ) as error:  # a cache that may only be read: hashed again next time
            _LOGGER.debug("cannot note the verification of %s: %s", path, error)


def _stamp(path: Path, file: RemoteFile) -> dict[str, Any]:
    status = path.stat()
    return {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "digest": file.digest,
    }


def _stamp_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.verified")


def _identity(file: RemoteFile) -> str:
    return (
        f"{file.digest}" if file.size is None else f"{file.size:,} bytes, {file.digest}"
    )
