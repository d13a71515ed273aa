"""`happyllm lab marks`: grade the files of a class into a table."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from happyllm_support.commands.lab_files import GRADER_FAILED, one_line_for_our_errors
from happyllm_support.commands.output import format_table, say


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Grade the files of a class with your own checks, and write a CSV file.

    One folder is one student, called by the folder's name. Its file of a lab is
    labs/labNN_name/name.py (a clone of the course), labNN_name/name.py or name.py, the
    first that is there. Exit code 3 when a file could not be graded at all; the others
    are. Example: happyllm lab marks class/* --output marks.csv
    """

    folders: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        tyro.conf.arg(metavar="FOLDER...", help_behavior_hint="(at least one)"),
    ]
    """The folders of the students."""
    output: Annotated[Path, tyro.conf.arg(metavar="PATH")]
    """The CSV file to write: student, lab, check, status, points, of, diagnosis."""
    lab: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="LAB")
    ] = ()
    """Grade only this lab; may be given several times."""
    force: bool = False
    """Replace the output file if it exists."""
    labs: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The folder of your labs, whose checks are used; by default the one of the
    repository.
    """
    patience: float = 1.0
    """Multiply every time limit, on a slow machine."""

    @one_line_for_our_errors
    def run(self) -> int:
        """Grade, write, and print the sum of each student."""
        from happyllm_support.files import atomic_write_text
        from happyllm_support.grading import marks
        from happyllm_support.grading.grader import Grader
        from happyllm_support.grading.selection import choose, find_labs, load_safely

        if self.output.exists() and not self.force:
            raise ValueError(
                f"{self.output} exists; choose another name or add --force to replace "
                "it"
            )
        if not self.output.absolute().parent.is_dir():
            raise ValueError(
                f"the folder of {self.output} does not exist; make it, or write the "
                "marks elsewhere"
            )
        if not self.folders:
            raise ValueError("no folder was given; give one for each student")
        folder = find_labs(self.labs)
        chosen = [
            choice for name in self.lab or (None,) for choice in choose(folder, name)
        ]
        if any(choice.check for choice in chosen):
            raise ValueError(
                "marks are given for whole labs; write --lab 03, not one function of it"
            )
        labs = [
            load_safely(folder, name)
            for name in dict.fromkeys(choice.lab for choice in chosen)
        ]
        people = marks.students(self.folders, labs)
        troubles: list[str] = []
        rows: list[marks.Mark] = []
        with Grader(folder, patience=self.patience) as grader:
            for row in marks.mark(people, labs, grader.grade, note=troubles.append):
                if sys.stderr.isatty() and (
                    not rows or rows[-1].student != row.student
                ):
                    say(f"grading {row.student}")
                rows.append(row)
        atomic_write_text(self.output, marks.as_csv(rows))
        of = sum(lab.points for lab in labs)
        points = {
            name: sum(row.points for row in rows if row.student == name)
            for name in people
        }
        sums = [(name, f"{points[name]}/{of}") for name in people]
        print(format_table(sums, right=(1,)))
        print(
            f"{len(people)} student{'s' * (len(people) != 1)}, {len(rows)} rows: "
            f"{self.output}"
        )
        for line in troubles:
            say(f"happyllm: not graded: {line}")
        return GRADER_FAILED if troubles else 0
