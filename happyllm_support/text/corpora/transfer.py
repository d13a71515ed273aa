"""One transfer from a URL into a file, resumable.

The bytes that have arrived are the state: a transfer that is called again asks for the
rest (HTTP Range) and appends it. `NAME.part.json` beside the part notes the source and
its version tag (ETag), so that the rest of a *changed* file is never appended to the
beginning of the old one; a server that knows no ranges sends everything, and the part
starts over. Nothing here judges the content: that is what the hash in `download.py` is
for.

Source: RFC 9110, sections 13.1.5 (If-Range) and 14 (range requests).
"""

from __future__ import annotations

import http.client
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from happyllm_support.files import atomic_write_json
from happyllm_support.progress import Progress

BLOCK_BYTES = 1 << 18
TIMEOUT_SECONDS = 30.0


class DownloadError(OSError):
    """A transfer that did not come to its end; one line that says what to do."""


class BrokenOffError(Exception):
    """One source failed; what came is in the part, and the next try may succeed."""


def transfer(
    url: str, part: Path, *, size: int | None = None, progress: Progress | None = None
) -> bool:
    """Append to `part`, which nobody else writes, what it lacks of the file at `url`.

    Args:
        url: http, https or file.
        part: the file to complete; it need not exist, its folder must.
        size: bytes of the whole file, when they are known.
        progress: called after each block with the stage `fetching NAME`, in bytes.

    Returns:
        Whether the beginning was kept from an earlier call.

    Raises:
        BrokenOffError: the source does not answer, offers another size, or stops early.
            What came is kept.
        OSError: the disk.
    """
    with open(part, "a+b", buffering=0) as stream:
        offset = size_of(part)
        if offset and offset == size:
            return True
        response = _open(url, offset, part)
        if response.status == 206 and not _continues(response, offset, part, url):
            response.close()
            stream.truncate(0)
            response = _open(url, 0, part)
        with response:
            begin = offset if response.status == 206 and size_of(part) else 0
            total = _announced_total(response, begin)
            if total is not None and size is not None and total != size:
                raise BrokenOffError(
                    f"offers {total:,} bytes, expected {size:,}: the file there has "
                    "changed"
                )
            stream.truncate(begin)
            atomic_write_json(
                notes_path(part), {"url": url, "etag": response.headers.get("ETag")}
            )
            on_block = progress and partial(progress, f"fetching {part.stem}")
            _copy(response, stream, begin, size or total, on_block)
        return begin > 0


def _open(url: str, offset: int, part: Path) -> Any:
    # Some servers turn away Python's own agent name; and a compressed transfer could
    # not be resumed.
    headers = {"User-Agent": "happyllm", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        notes = read_notes(notes_path(part)) or {}
        etag = notes.get("etag") if notes.get("url") == url else None
        if isinstance(etag, str) and not etag.startswith("W/"):
            headers["If-Range"] = etag
    try:
        return urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS
        )
    except urllib.error.HTTPError as error:
        error.close()
        # nothing lies behind the part: it is not a beginning of this file
        if error.code == 416 and offset:
            os.truncate(part, 0)
            return _open(url, 0, part)
        raise BrokenOffError(f"HTTP status {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise BrokenOffError(_reason(error)) from None


def _copy(
    response: Any,
    stream: IO[bytes],
    done: int,
    total: int | None,
    on_block: Callable[[int, int], None] | None,
) -> None:
    while True:
        try:
            block: bytes = response.read(BLOCK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise BrokenOffError(
                f"broke off after {done:,} bytes ({_reason(error)})"
            ) from None
        if not block:
            break
        rest = memoryview(block)
        while rest:  # unbuffered: what is written is on file, whatever comes next
            rest = rest[stream.write(rest) :]
        done += len(block)
        if on_block is not None:
            on_block(done, total or done)
    if total is not None and done != total:
        raise BrokenOffError(f"broke off after {done:,} of {total:,} bytes")


def _continues(response: Any, offset: int, part: Path, url: str) -> bool:
    """Whether a partial response goes on where the part ends, in the same version."""
    found = re.fullmatch(
        r"bytes (\d+)-\d+/(?:\d+|\*)", response.headers.get("Content-Range", "")
    )
    notes = read_notes(notes_path(part)) or {}
    etag = response.headers.get("ETag")
    same_version = (
        notes.get("url") != url
        or None in (notes.get("etag"), etag)
        or notes["etag"] == etag
    )
    return found is not None and int(found[1]) == offset and same_version


def _announced_total(response: Any, begin: int) -> int | None:
    length = response.headers.get("Content-Length")
    return begin + int(length) if length is not None and length.isdigit() else None


def notes_path(part: Path) -> Path:
    """Where the source of a part is noted."""
    return part.with_name(part.name + ".json")


def read_notes(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file that may be missing or damaged; then None."""
    try:
        notes: Any = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return cast("dict[str, Any]", notes) if isinstance(notes, dict) else None


def size_of(path: Path) -> int:
    """Bytes of a file, 0 when there is none."""
    return path.stat().st_size if path.exists() else 0


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return " ".join(str(reason).split()) or type(error).__name__
