"""What a comparison is made of: how to time two things fairly, and what to report.

A file of comparisons ends in a tuple of them:

    def sorting(data: Path) -> Measurement:
        numbers = np.loadtxt(data / "numbers.txt")
        mine, other = lambda: ours(numbers), lambda: theirs(numbers)
        pair = alternate(mine, other, equal=np.array_equal)
        return Measurement(workload="a million floats", peer="numpy", unit="s",
                           ours=pair.ours, theirs=pair.theirs, equal=pair.equal)

    COMPARISONS = (Comparison("sorting", sorting, needs=("numbers.txt",), floor=1.0),)

and is named in `rows.py`. Each comparison runs in a process of its own whose thread
limits are set before anything is imported; within it, ours and theirs alternate.
"""

from __future__ import annotations

import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One row's outcome.

    Attributes:
        workload: what was done, with its size.
        peer: what we are compared with, with the settings that matter.
        ours: our figure, the median of the repeats.
        theirs: the peer's.
        unit: of both, for example `s` or `MB/s`.
        equal: whether both gave the same output.
        higher_is_better: true for throughputs; times and sizes are better when lower.
        note: anything a reader must know to read the figure rightly.
    """

    workload: str
    peer: str
    ours: float
    theirs: float
    unit: str
    equal: bool
    higher_is_better: bool = False
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times better ours is; above 1 ours wins."""
        return (
            self.ours / self.theirs
            if self.higher_is_better
            else self.theirs / self.ours
        )


@dataclass(frozen=True)
class Comparison:
    """A named row, how to measure it, and what it must reach.

    Attributes:
        name: the row's name, which filters match.
        measure: called with the data folder.
        needs: files under the data folder; where one is absent the row is skipped by
            name and its old result kept.
        threads: for NumPy, PyTorch and Rayon alike.
        floor: the ratio that the row must reach.
    """

    name: str
    measure: Callable[[Path], Measurement]
    needs: tuple[str, ...] = ()
    threads: int = 1
    floor: float = 1.0


@dataclass(frozen=True)
class Pair:
    """Medians of two alternating series, in seconds, and whether the outputs were the
    same.
    """

    ours: float
    theirs: float
    equal: bool


def peak_bytes() -> int:
    """The largest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if (
        status.exists()
    ):  # Linux hands the parent's ru_maxrss on to a child, VmHWM is the process's own
        line = next(
            line for line in status.read_text().splitlines() if line.startswith("VmHWM")
        )
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds that one call takes, its result thrown away and the garbage
    collected before.
    """
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternate(
    ours: Callable[[], A],
    theirs: Callable[[], B],
    *,
    equal: Callable[[A, B], bool],
    repeats: int = 5,
) -> Pair:
    """Compare the outputs once, then time ours and theirs in turns and take the median
    of each.
    """
    same = bool(equal(ours(), theirs()))
    times = [(timed(ours), timed(theirs)) for _ in range(repeats)]
    return Pair(
        statistics.median(t for t, _ in times),
        statistics.median(t for _, t in times),
        same,
    )
