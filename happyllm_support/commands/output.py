"""What the commands share: tables, sizes and a progress bar."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from tqdm import tqdm

WIDTH = 80  # of a report in a pipe
WIDEST = 100  # on a terminal, where longer lines read badly


def format_table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Lay out rows in aligned columns, two spaces apart; the columns named in `right`
    are aligned to the right.

    >>> print(format_table([("a", "1"), ("bcd", "20")], right=[1]))
    a     1
    bcd  20
    """
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    for row in rows:
        cells: list[str] = []
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            padding = " " * (width - display_width(cell))
            cells.append(padding + cell if column in right else cell + padding)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def display_width(text: str) -> int:
    """Columns that a terminal uses for `text`: two for a Chinese character, none for a
    combining mark.
    """
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def format_bytes(size: int | None) -> str:
    """A size with a unit: `512 B`, `1.3 MB`, `2.0 GB` (powers of ten, as disks and
    downloads are sold).
    """
    if size is None:
        return "unknown"
    if size < 1000:
        return f"{size} B"
    units = ["TB", "GB", "MB", "kB"]
    value = size / 1000
    while value >= 999.95 and len(units) > 1:
        value /= 1000
        units.pop()
    return f"{value:.1f} {units[-1]}"


class ProgressBar:
    """A bar on stderr for each stage of some work; nothing at all when stderr is not a
    terminal.

    Use it in a `with` block, which clears the bar at the end whatever happens.

    Args:
        units: what each stage counts; bytes where it is not named here.
    """

    def __init__(self, **units: str) -> None:
        self.units = units
        self._stage = ""
        self._bar: tqdm[Any] | None = None

    def show(self, stage: str, done: int, total: int | None) -> None:
        """Say how far a stage is; another stage begins another bar."""
        if not sys.stderr.isatty():
            return
        if self._bar is None or stage != self._stage:
            from tqdm import tqdm

            self._close()
            self._stage = stage
            unit = self.units.get(stage, "B")
            self._bar = tqdm(
                desc=stage,
                total=total,
                unit=unit,
                unit_scale=unit == "B",
                leave=False,
                delay=0.3,
            )
        bar = self._bar
        bar.total = total
        bar.update(done - bar.n)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def console() -> Console:
    """Where reports are printed: stdout, in colours and the terminal's width, plain and
    80 columns wide in a pipe.
    """
    from rich.console import Console

    plain = not sys.stdout.isatty()
    screen = Console(
        file=sys.stdout,
        markup=False,
        highlight=False,
        emoji=False,
        no_color=plain or None,
    )
    screen.width = WIDTH if plain else min(screen.width, WIDEST)
    return screen


def put(screen: Console, *shown: RenderableType) -> None:
    """Print something with rich; in a pipe without the spaces with which it fills
    lines.
    """
    with screen.capture() as captured:
        screen.print(*shown)
    text = captured.get()
    if not screen.is_terminal:
        text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    sys.stdout.write(text)


def visible(text: str) -> str:
    """Text on one line, control characters and newlines shown as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def say(text: str) -> None:
    """Print a remark for the person at the terminal (stderr), so that stdout holds
    results only.
    """
    print(text, file=sys.stderr)
