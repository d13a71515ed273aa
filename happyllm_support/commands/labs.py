"""`happyllm lab grade`: run the checks of the labs, show what they say, and keep the
progress.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from happyllm_support.commands.lab_files import (
    GRADER_FAILED,
    Hint,
    Reset,
    Solution,
    one_line_for_our_errors,
)
from happyllm_support.commands.marks import Marks
from happyllm_support.commands.output import say

if TYPE_CHECKING:
    from happyllm_support.grading.grader import Grader, Report
    from happyllm_support.grading.judge import Verdict
    from happyllm_support.grading.labs import Lab
    from happyllm_support.grading.selection import Choice

POINTS_MISSING = 1


@dataclass
class Outcome:
    """What one round of grading gave.

    Attributes:
        reports: of the labs that could be graded.
        unreadable: one line for each file that is missing or cannot be read.
        notes: what else is to be known, one line each.
        errors: one line for each error of the grader itself.
        lost: points that could not be reached because of a note or an error.
    """

    reports: list[Report] = field(default_factory=list["Report"])
    unreadable: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    errors: list[str] = field(default_factory=list[str])
    lost: int = 0

    @property
    def points(self) -> int:
        """Points reached."""
        return sum(report.points for report in self.reports)

    @property
    def of(self) -> int:
        """Points that can be reached."""
        return sum(report.of for report in self.reports) + self.lost


@dataclass(frozen=True, kw_only=True)
class Grade:
    """Grade your files: all labs, one lab, or one function.

    Exit codes: 0 graded, whatever the points; 1 with --strict when points are missing;
    2 a mistake in the arguments; 3 an error of the grader itself. Example: happyllm lab
    grade 03.sdpa --watch
    """

    lab: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[LAB]")] = (
        None
    )
    """Which lab (03, lab03, 3) or function (03.sdpa); all by default."""
    watch: bool = False
    """Grade again whenever a file is saved, until Ctrl-C."""
    strict: bool = False
    """End with exit code 1 when points are missing."""
    json: bool = False
    """Print the result as JSON."""
    labs: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The folder of the labs; by default the one of the repository."""
    patience: float = 1.0
    """Multiply every time limit, on a slow machine."""
    debug: bool = False
    """Show the traceback when the grader itself fails."""

    @one_line_for_our_errors
    def run(self) -> int:
        """Grade, and watch if asked to."""
        from happyllm_support.grading.grader import Grader
        from happyllm_support.grading.selection import choose, find_labs

        if self.watch and (self.json or self.strict):
            raise ValueError(
                "--watch goes on until Ctrl-C; leave out --json and --strict"
            )
        folder = find_labs(self.labs)
        choices = choose(folder, self.lab)
        with Grader(folder, patience=self.patience) as grader:
            if self.watch:
                return self._watch(grader, folder, choices)
            outcome = self._grade(grader, folder, choices)
        if not outcome.reports and not outcome.errors and len(choices) == 1:
            raise ValueError(outcome.unreadable[0])
        self._show(outcome, folder)
        if outcome.errors:
            return GRADER_FAILED
        return POINTS_MISSING if self.strict and outcome.points < outcome.of else 0

    def _grade(
        self, grader: Grader, folder: Path, choices: Sequence[Choice]
    ) -> Outcome:
        from happyllm_support.grading.compare import CheckError
        from happyllm_support.grading.selection import load_chosen

        outcome = Outcome()
        with StatusLine() as status:
            for choice in choices:
                status.show(f"reading {choice.lab}")
                try:
                    lab = load_chosen(folder, choice)
                except CheckError as error:
                    self._failed(outcome, choice.lab, error)
                    continue
                self._grade_lab(grader, lab, choice.check, outcome, status)
        if outcome.reports:
            self._keep(folder, outcome)
        return outcome

    def _grade_lab(
        self,
        grader: Grader,
        lab: Lab,
        check: str | None,
        outcome: Outcome,
        status: StatusLine,
    ) -> None:
        of = sum(c.points for c in lab.checks.values() if check in (None, c.name))
        names = list(lab.checks) if check is None else [check]
        done = 0

        def show() -> None:
            if done < len(names):
                status.show(
                    f"checking {lab.id}.{names[done]} ({done + 1} of {len(names)})"
                )

        def on_verdict(_: Verdict) -> None:
            nonlocal done
            done += 1
            show()

        unreadable = _unreadable(lab)
        if unreadable:
            outcome.unreadable.append(unreadable)
            outcome.lost += of
            return
        show()
        try:
            report = grader.grade(
                lab, only=None if check is None else [check], on_verdict=on_verdict
            )
        except Exception as error:
            outcome.lost += of
            if (
                not lab.file.is_file()
            ):  # it was there a moment ago: an editor is saving it
                outcome.unreadable.append(f"{lab.file} has just been removed")
                return
            self._failed(outcome, f"{lab.id}.{names[min(done, len(names) - 1)]}", error)
            return
        outcome.reports.append(report)

    def _failed(self, outcome: Outcome, what: str, error: Exception) -> None:
        line = " ".join(str(error).split()) or type(error).__name__
        outcome.errors.append(
            line if line.startswith(what.partition(".")[0]) else f"{what}: {line}"
        )
        if self.debug:
            traceback.print_exception(error)

    def _keep(self, folder: Path, outcome: Outcome) -> None:
        """Write record and page; that this fails does not undo the grading."""
        from happyllm_support.grading import page, progress

        def add_verdicts(record: progress.LabRecord) -> None:
            for report in outcome.reports:
                record.add_verdicts(
                    report.lab.id, list(report.lab.checks), report.verdicts
                )

        try:
            _, note = progress.update_record(folder, add_verdicts)
            outcome.notes += [note] * bool(note)
            outcome.notes += [
                line for line in page.write_pages(folder) if line not in outcome.errors
            ]
        except OSError as error:
            outcome.notes.append(f"the progress could not be kept: {error}")

    def _show(self, outcome: Outcome, folder: Path) -> None:
        if self.json:
            from happyllm_support.grading.report import as_json

            found: dict[str, Any] = {"points": outcome.points, "of": outcome.of}
            found["labs"] = [as_json(report) for report in outcome.reports]
            found |= {
                "notes": [*outcome.unreadable, *outcome.notes],
                "errors": outcome.errors,
            }
            print(json.dumps(found, ensure_ascii=False, indent=1))
        else:
            show_reports(outcome, folder)
        for line in outcome.errors:
            more = (
                ""
                if self.debug
                else "; add --debug to see more (happyllm lab grade ... --debug)"
            )
            say(f"happyllm: error of the grader, not yours: {line}{more}")

    def _watch(self, grader: Grader, folder: Path, choices: Sequence[Choice]) -> int:
        from happyllm_support.grading.selection import load_chosen
        from happyllm_support.grading.watch import Watcher

        files = {load_chosen(folder, choice).file: choice for choice in choices}
        watcher = Watcher(list(files))
        changed = list(files)
        try:
            while True:
                if sys.stdout.isatty():
                    print("\x1b[2J\x1b[3J\x1b[H", end="")
                self._show(
                    self._grade(grader, folder, [files[path] for path in changed]),
                    folder,
                )
                print(
                    "\nwatching; save the file to grade again, Ctrl-C ends", flush=True
                )
                changed = watcher.wait()
        except KeyboardInterrupt:
            print("\nno longer watching", flush=True)
            return 0


def show_reports(outcome: Outcome, folder: Path) -> None:
    """Print the tables, the total, the failures of one lab (of several the first) in
    detail, and what to do next.
    """
    from happyllm_support.commands.output import console, put
    from happyllm_support.grading import report as shown
    from happyllm_support.grading.judge import Status
    from happyllm_support.grading.selection import load_all

    screen = console()
    for line in outcome.unreadable:
        put(screen, f"note: {line}\n")
    for report in outcome.reports:
        put(screen, shown.lab_table(report), "")
    for line in outcome.notes:
        put(screen, f"note: {line}\n")
    if not outcome.reports:
        return
    failed = [
        (r.lab, v)
        for r in outcome.reports
        for v in r.verdicts
        if v.status is Status.FAIL
    ]
    several = len(outcome.reports) == 1 and all(
        shown.is_readable(verdict) for _, verdict in failed
    )
    for lab, verdict in failed if several else failed[:1]:
        put(screen, shown.detail(lab, verdict), "")
    if len(outcome.reports) > 1:
        put(screen, f"In all: {outcome.points} of {shown.counted(outcome.of)}.")
    if outcome.unreadable:
        put(screen, f"Next: {outcome.unreadable[0]}")
    else:
        put(screen, shown.next_step(outcome.reports, load_all(folder)[0]))


def _unreadable(lab: Lab) -> str:
    """Why the learner's file cannot be graded, in one line, or ""."""
    from happyllm_support.grading.report import shown_path

    file, number = shown_path(lab.file), lab.id.removeprefix("lab")
    if not lab.file.is_file():
        return (
            f"{file} is missing; make lab-reset LAB={number} (or happyllm lab reset "
            f"{number}) brings it back"
        )
    try:
        lab.file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        return (
            f"{file} is not UTF-8 (byte {error.start}); save it as UTF-8 in your editor"
        )
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"
    return ""


class StatusLine:
    """One line on stderr that says what is being done, and disappears; nothing when
    stderr is not a terminal.
    """

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def show(self, text: str) -> None:
        """Replace the line."""
        if self._shown:
            print(f"\r\x1b[2K{text} ...", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)


@dataclass(frozen=True, kw_only=True)
class LabGroup:
    """Grade your solutions of the labs, get hints, see solutions, begin again; marks
    for a class.
    """

    command: (
        Annotated[Grade, tyro.conf.subcommand(name="grade")]
        | Annotated[Hint, tyro.conf.subcommand(name="hint")]
        | Annotated[Solution, tyro.conf.subcommand(name="solution")]
        | Annotated[Reset, tyro.conf.subcommand(name="reset")]
        | Annotated[Marks, tyro.conf.subcommand(name="marks")]
    )
