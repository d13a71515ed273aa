"""Notice that files have been saved, by looking at them a few times a second; no
dependency, on any system.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

Look = (
    tuple[int, int, int] | None
)  # when it was modified (ns), size, which file it is; None: there is none


def look_at(path: Path) -> Look:
    """What distinguishes a file from its state after a save, or None while it is
    missing.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class Watcher:
    """Waits for changes of some files.

    Args:
        paths: the files; they may be missing, and come and go.
        pause: seconds between two looks.
        sleep: called with `pause` between two looks.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        pause: float = 0.25,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.paths = list(paths)
        self.pause = pause
        self._sleep = sleep
        self._seen = self._look()

    def wait(self) -> list[Path]:
        """Return the files that have changed since the last call (or the start), as
        soon as there are any.

        A file counts once two looks in a row agree, so that one that is just being
        written is left time to be finished. An editor that saves by replacing the file,
        and one that deletes it for a moment, are noticed too.
        """
        while True:
            now = self._look()
            if now != self._seen:
                settled = self._settled(now)
                changed = [
                    path for path in self.paths if settled[path] != self._seen[path]
                ]
                self._seen = settled
                if changed:
                    return changed
            self._sleep(self.pause)

    def _settled(self, now: dict[Path, Look]) -> dict[Path, Look]:
        while True:
            self._sleep(self.pause)
            later = self._look()
            if later == now:
                return now
            now = later

    def _look(self) -> dict[Path, Look]:
        return {path: look_at(path) for path in self.paths}
