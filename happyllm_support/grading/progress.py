"""What a learner has reached so far: `labs/.progress.json`, read and written whole, by
one process at a time.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

from happyllm_support.files import atomic_write_json, read_json
from happyllm_support.grading.judge import Status, Verdict

RECORD_FILE = ".progress.json"
FORMAT = "happyllm-labs-1"
LONGEST_HISTORY = 500  # entries; the oldest go first

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How one function stood when it was last graded.

    Attributes:
        status: PASS, FAIL, BLOCKED or NOT YET.
        points, of: reached, and possible.
        line: the diagnosis in one line.
        first_passed: when it passed for the first time (UTC), or "".
    """

    status: str
    points: int
    of: int
    line: str = ""
    first_passed: str = ""


@dataclass(frozen=True, kw_only=True)
class GradingEvent:
    """A grading that changed something.

    Attributes:
        time: when (UTC).
        lab: which was graded.
        points: of that lab then.
        total: of all labs then.
    """

    time: str
    lab: str
    points: int
    total: int


@dataclass
class LabRecord:
    """What a learner has reached in all labs.

    Attributes:
        labs: lab and function to its standing.
        hints: "lab03.sdpa" to the number of hints seen.
        history: oldest first.
    """

    labs: dict[str, dict[str, Standing]] = field(
        default_factory=dict[str, dict[str, Standing]]
    )
    hints: dict[str, int] = field(default_factory=dict[str, int])
    history: list[GradingEvent] = field(default_factory=list[GradingEvent])

    def points(self, lab: str) -> int:
        """The points of one lab."""
        return sum(standing.points for standing in self.labs.get(lab, {}).values())

    def passed(self, lab: str, name: str) -> bool:
        """Whether a function passed when it was last graded."""
        standing = self.labs.get(lab, {}).get(name)
        return standing is not None and standing.status == Status.PASS.value

    def add_verdicts(
        self,
        lab: str,
        names: Collection[str],
        verdicts: Iterable[Verdict],
        *,
        time: str = "",
    ) -> bool:
        """Take over the verdicts of a grading.

        Args:
            lab: such as "lab03".
            names: all functions that the lab has; what is known of others is dropped.
            verdicts: of all of them, or of some.
            time: of the grading (UTC); now by default.

        Returns:
            Whether a status or a number of points changed.
        """
        time = time or utc_now()
        before = self.labs.get(lab, {})
        after = {name: standing for name, standing in before.items() if name in names}
        for verdict in verdicts:
            name = verdict.id.partition(".")[2]
            old = before.get(name)
            first = old.first_passed if old else ""
            if verdict.status is Status.PASS:
                first = first or time
            after[name] = Standing(
                status=verdict.status.value,
                points=verdict.points,
                of=verdict.of,
                line=verdict.line,
                first_passed=first,
            )
        changed = _outcomes(before) != _outcomes(after)
        self.labs[lab] = {name: after[name] for name in names if name in after}
        if changed:
            total = sum(map(self.points, self.labs))
            self.history.append(
                GradingEvent(time=time, lab=lab, points=self.points(lab), total=total)
            )
            del self.history[:-LONGEST_HISTORY]
        return changed

    def next_hint(self, identifier: str, of: int) -> tuple[int, bool]:
        """Count one more hint of a function as seen.

        Returns:
            Its number from 1 on, the last again when all have been seen, and whether it
            is such a repetition.
        """
        seen = self.hints.get(identifier, 0)
        self.hints[identifier] = min(seen + 1, of)
        return self.hints[identifier], seen >= of


def _outcomes(standings: dict[str, Standing]) -> dict[str, tuple[str, int]]:
    return {
        name: (standing.status, standing.points) for name, standing in standings.items()
    }


def utc_now() -> str:
    """The time as it is written: `2026-01-31T12:00:00Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def load_record(labs: Path) -> tuple[LabRecord, str]:
    """Read the record, and a line for the learner if the file was damaged and has been
    put aside.
    """
    with _locked(labs):
        return _read(labs)


def update_record(
    labs: Path, change: Callable[[LabRecord], Result]
) -> tuple[Result, str]:
    """Read the record, change it, and write it back if that made a difference; no other
    process can come between.

    Args:
        labs: the folder of the labs.
        change: receives the record and may modify it.

    Returns:
        What `change` returns, and the line of `load_record`.
    """
    with _locked(labs):
        record, note = _read(labs)
        before = _as_json(record)
        result = change(record)
        after = _as_json(record)
        if after != before:
            atomic_write_json(labs / RECORD_FILE, after)
        return result, note


@contextmanager
def _locked(labs: Path) -> Generator[None]:
    """Lock the folder against other graders, where the system can; the file itself is
    written whole in any case.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    handle = os.open(labs, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network drives have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read(labs: Path) -> tuple[LabRecord, str]:
    path = labs / RECORD_FILE
    if not os.path.lexists(path):
        return LabRecord(), ""
    try:
        return _from_json(read_json(path, "a progress file")), ""
    except ValueError as error:
        aside = path.with_name(f"{RECORD_FILE}.broken")
        count = 1
        while os.path.lexists(aside):
            count += 1
            aside = path.with_name(f"{RECORD_FILE}.broken.{count}")
        os.rename(path, aside)
        return (
            LabRecord(),
            f"{' '.join(str(error).split())}; it was put aside as {aside.name}, and "
            "counting starts anew",
        )


def _as_json(record: LabRecord) -> dict[str, Any]:
    # A copy: what `update_record` compares must not follow the changes.
    return json.loads(json.dumps({"format": FORMAT, **dataclasses.asdict(record)}))


def _from_json(found: dict[str, Any]) -> LabRecord:
    wrong = f"{RECORD_FILE} is not a progress file of this version"
    if found.get("format") != FORMAT:
        raise ValueError(
            f"{wrong}: its format is {found.get('format')!r}; expected is {FORMAT!r}"
        )
    try:
        labs = {
            str(lab): {
                str(name): Standing(**standing) for name, standing in checks.items()
            }
            for lab, checks in cast("dict[str, dict[str, Any]]", found["labs"]).items()
        }
        hints = {str(name): int(seen) for name, seen in found["hints"].items()}
        history = [GradingEvent(**event) for event in found["history"]]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{wrong}: {type(error).__name__}: {error}") from None
    standings = [standing for checks in labs.values() for standing in checks.values()]
    statuses = {status.value for status in Status}
    numbers: list[Any] = [
        *(n for s in standings for n in (s.points, s.of)),
        *(n for event in history for n in (event.points, event.total)),
        *hints.values(),
    ]
    texts: list[Any] = [
        *(text for s in standings for text in (s.line, s.first_passed)),
        *(text for event in history for text in (event.time, event.lab)),
    ]
    if (
        not all(type(number) is int and number >= 0 for number in numbers)
        or not all(isinstance(text, str) for text in texts)
        or not {standing.status for standing in standings} <= statuses
    ):
        raise ValueError(
            f"{wrong}: an entry has an unknown status, or a number that is none"
        )
    return LabRecord(labs=labs, hints=hints, history=history)
