"""Marks of a class: every student's files graded with the teacher's own checks, as rows
of a table.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from happyllm_support.grading.labs import Lab

if TYPE_CHECKING:
    from happyllm_support.grading.grader import Report

COLUMNS = ("student", "lab", "check", "status", "points", "of", "diagnosis")
NO_FILE = "no file"
NOT_GRADED = "NOT GRADED"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One row.

    Attributes:
        student: the name of the folder.
        lab, check: such as "lab03" and "sdpa".
        status: PASS, FAIL, BLOCKED, NOT YET; "no file"; NOT GRADED when the grader
            failed.
        points, of: reached, and possible.
        diagnosis: what is wrong, one line.
    """

    student: str
    lab: str
    check: str
    status: str
    points: int
    of: int
    diagnosis: str = ""


def submission(folder: Path, lab: Lab) -> Path | None:
    """A student's file of a lab: `labs/labNN_name/name.py` (a clone of the course),
    `labNN_name/name.py`, `name.py`.
    """
    for place in (Path("labs") / lab.folder.name, Path(lab.folder.name), Path()):
        path = folder / place / lab.file.name
        if path.is_file():
            return path
    return None


def students(folders: Sequence[Path], labs: Sequence[Lab]) -> dict[str, Path]:
    """One student for each folder, called by its name.

    Raises:
        ValueError: no folder, the same name twice, or a folder that holds students
            instead of being one.
    """
    found: dict[str, Path] = {}
    for given in folders:
        folder = given.resolve()
        if not folder.is_dir():
            raise ValueError(f"{given} is no folder; give one folder for each student")
        if folder.name in found:
            raise ValueError(
                f"two students are called {folder.name!r}: {found[folder.name]} and "
                f"{folder}; rename one"
            )
        if not any(submission(folder, lab) for lab in labs):
            inside = sorted(child for child in folder.iterdir() if child.is_dir())
            if any(submission(child, lab) for child in inside for lab in labs):
                raise ValueError(
                    f"{given} holds the folders of students; name these instead: "
                    f"{given}/*"
                )
        found[folder.name] = folder
    return found


def mark(
    people: dict[str, Path],
    labs: Sequence[Lab],
    grade: Callable[[Lab, Path], Report],
    *,
    note: Callable[[str], None],
) -> Iterator[Mark]:
    """Grade everything, student by student.

    Args:
        people: name to folder.
        labs: which labs.
        grade: grades one file; whatever it raises ends neither the lab nor the class.
        note: receives one line for each file that could not be graded.

    Yields:
        A row for each function of each lab of each student.
    """
    for student, folder in people.items():
        for lab in labs:
            path = submission(folder, lab)
            if path is None:
                yield from _without_points(
                    student, lab, NO_FILE, f"no {lab.file.name} in the student's folder"
                )
                continue
            try:
                report = grade(lab, path)
            except Exception as error:
                line = " ".join(f"{type(error).__name__}: {error}".split())
                note(f"{student}, {lab.id}: {line}")
                yield from _without_points(student, lab, NOT_GRADED, line)
                continue
            for verdict in report.verdicts:
                name = verdict.id.partition(".")[2]
                yield Mark(
                    student=student,
                    lab=lab.id,
                    check=name,
                    status=verdict.status.value,
                    points=verdict.points,
                    of=verdict.of,
                    diagnosis=verdict.line,
                )


def as_csv(marks: Sequence[Mark]) -> str:
    """The table as CSV; no cell of it is taken for a formula by a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in marks:
        cells = [getattr(row, column) for column in COLUMNS]
        writer.writerow(
            [defused(cell) if isinstance(cell, str) else cell for cell in cells]
        )
    return text.getvalue()


def defused(cell: str) -> str:
    """A cell that begins like a formula gets an apostrophe in front, which spreadsheets
    read as "this is text".

    Control characters, line ends among them, become spaces.
    """
    cell = "".join(c if c.isprintable() else " " for c in cell)
    return f"'{cell}" if cell.lstrip().startswith(("=", "+", "-", "@")) else cell


def _without_points(
    student: str, lab: Lab, status: str, diagnosis: str
) -> Iterator[Mark]:
    for check in lab.checks.values():
        named = {"student": student, "lab": lab.id, "check": check.name}
        yield Mark(
            **named, status=status, points=0, of=check.points, diagnosis=diagnosis
        )
