"""The rendered book, made once: by whichever test process comes first, and again when a
source has changed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tools import book  # noqa: E402  (tools/ is a folder of scripts, not an installed package)

PATIENCE_S = 300


@contextmanager
def only_one_process(lock: Path) -> Iterator[None]:
    """Hold a lock folder; one that is older than any build can last belonged to a
    process that was killed.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            lock.mkdir()
            break
        except FileExistsError:
            try:
                if time.time() - lock.stat().st_mtime > PATIENCE_S:
                    lock.rmdir()
            except FileNotFoundError:
                continue
            time.sleep(0.2)
    try:
        yield
    finally:
        lock.rmdir()


@pytest.fixture(scope="session")
def html() -> Path:
    """The folder of the rendered book, which is that of the sources as they are now."""
    with only_one_process(ROOT / "build" / ".book.lock"):
        if not book.is_current():
            os.environ.pop("HAPPYLLM_REPOSITORY", None)
            book.render()
    return book.HTML
