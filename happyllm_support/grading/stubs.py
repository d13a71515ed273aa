"""The files as they were before anybody wrote into them: `labs/.stubs/labNN_name.py`,
and going back to them.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from happyllm_support.files import atomic_path
from happyllm_support.grading.labs import Lab

FOLDER = ".stubs"


def stub_of(lab: Lab) -> Path:
    """The pristine copy of the learner's file."""
    return lab.folder.parent / FOLDER / f"{lab.folder.name}.py"


def read_stub(lab: Lab) -> bytes:
    """The content of the pristine copy.

    Raises:
        ValueError: it is missing.
    """
    path = stub_of(lab)
    if not path.is_file():
        raise ValueError(
            f"{path} is missing; `git checkout -- {FOLDER}` in the folder of the labs "
            "brings it back"
        )
    return path.read_bytes()


def is_untouched(lab: Lab) -> bool:
    """Whether the learner's file is there and equals the stub."""
    return lab.file.is_file() and lab.file.read_bytes() == read_stub(lab)


def reset(lab: Lab, *, now: datetime | None = None) -> Path | None:
    """Put the stub in the place of the learner's file, and keep that file as
    `name.py.<time>.bak`.

    Args:
        lab: the lab.
        now: goes into the name of the backup.

    Returns:
        The backup, or None when there was no file to keep.

    Raises:
        ValueError: the stub is missing, or a folder lies in the file's place.
        OSError: the backup or the stub cannot be written; the learner's file is still
            there.
    """
    stub = read_stub(lab)
    backup = None
    if lab.file.is_dir():
        raise ValueError(f"{lab.file} is a folder; move it away first")
    if os.path.lexists(lab.file):
        backup = _keep(lab.file, now or datetime.now(UTC))
    write_whole(lab.file, stub)
    return backup


def write_whole(path: Path, content: bytes) -> None:
    """Write bytes to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _keep(path: Path, now: datetime) -> Path:
    """Copy a file to a name that nothing has yet."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    content = path.read_bytes()
    count = 1
    while True:
        name = (
            f"{path.name}.{stamp}.bak"
            if count == 1
            else f"{path.name}.{stamp}-{count}.bak"
        )
        backup = path.with_name(name)
        try:
            with open(backup, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            return backup
        except FileExistsError:
            count += 1
        except OSError:
            backup.unlink(
                missing_ok=True
            )  # half a backup, which the failed write left behind
            raise
