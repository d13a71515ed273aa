"""What a learner reads on the terminal: a table for each lab, one failure in detail,
and what to do next.

Everything here is handed to `rich` as text without markup, so that no bracket in a
learner's output changes a colour; in a pipe the same lines come out plain.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from happyllm_support.grading.judge import Status, Verdict
from happyllm_support.grading.labs import Lab
from happyllm_support.grading.reading import book_of, heading_text, page_of
from happyllm_support.grading.selection import minutes_for

if TYPE_CHECKING:
    from happyllm_support.grading.grader import Report

STYLES = {
    Status.PASS: "bold green",
    Status.FAIL: "bold red",
    Status.BLOCKED: "yellow",
    Status.NOT_YET: "dim",
}
LONGEST_OUTPUT = 12  # lines of what the learner's code printed


def lab_table(report: Report) -> RenderableType:
    """One lab: its title, and a row for each function with points, status and
    diagnosis.
    """
    title = Text.assemble(
        (heading(report.lab), "bold"), f"   {report.points} of {counted(report.of)}"
    )
    table = Table(
        box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0), expand=False
    )
    table.add_column(no_wrap=True, overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    above = ""
    for verdict in report.verdicts:
        line = printable(verdict.line)
        table.add_row(
            Text(name_of(verdict)),
            f"{verdict.points}/{verdict.of}",
            Text(verdict.status.value, style=STYLES[verdict.status]),
            Text("as above" if line and line == above else line),
        )
        above = line
    return Group(title, Padding(table, (0, 0, 0, 2)))


def detail(lab: Lab, verdict: Verdict) -> RenderableType:
    """Everything that is known about one failure."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold", ratio=1)
    for label, value in facts(lab, verdict):
        table.add_row(label, Text(value))
    title = Text.assemble(
        (verdict.id, "bold"), ": ", (verdict.status.value, STYLES[verdict.status])
    )
    return Group(title, Padding(table, (0, 0, 0, 2)))


def facts(lab: Lab, verdict: Verdict) -> list[tuple[str, str]]:
    """What `detail` shows: pairs of a label and a text."""
    rows: list[tuple[str, str]] = []
    found = verdict.diagnosis
    if found is not None:
        rows.append(("seen", printable(found.symptom)))
        if found.cause:
            rows.append(("why", printable(found.cause)))
        if found.call:
            rows.append(("in the call", printable(found.call)))
    if verdict.output.strip():
        lines = [printable(line) for line in verdict.output.rstrip().splitlines()]
        left_out = (
            [f"(the last {LONGEST_OUTPUT} lines)"]
            if len(lines) > LONGEST_OUTPUT
            else []
        )
        rows.append(("it printed", "\n".join([*left_out, *lines[-LONGEST_OUTPUT:]])))
    if not is_readable(verdict):
        return rows  # no chapter explains that, and no hint
    check = lab.checks[name_of(verdict)]
    section = (found.section if found else "") or check.section
    rows.append(
        ("read", f'chapter {lab.chapter[:2]}, section "{heading_text(section)}"')
    )
    book = book_of(lab.folder.parent)
    page = page_of(book, lab, section) if book else ""
    if book and page:
        rows.append(("", f"{shown_path(book)}/{page}"))
    rows.append(("next hint", f"make lab-hint LAB={verdict.id.removeprefix('lab')}"))
    return rows


def next_step(reports: Sequence[Report], labs: Sequence[Lab]) -> Text:
    """One or two sentences: where to begin, what to write next, or where to go from
    here.

    Args:
        reports: what was graded.
        labs: all labs there are, for the one that follows.
    """
    verdicts = [
        (report.lab, verdict) for report in reports for verdict in report.verdicts
    ]
    points, of = (
        sum(verdict.points for _, verdict in verdicts),
        sum(verdict.of for _, verdict in verdicts),
    )
    if (
        points == of
        and len(reports) == 1
        and len(verdicts) < len(reports[0].lab.checks)
    ):
        lab = reports[0].lab
        return Text(
            "Right. For the rest of the lab: make labs "
            f"LAB={lab.id.removeprefix('lab')}"
        )
    if points == of:
        return Text.assemble(
            ("Well done: ", "bold green"),
            f"all {counted(of)}.\n{_after(reports[-1].lab, labs)}",
        )
    wrong = next(((lab, v) for lab, v in verdicts if v.status is Status.FAIL), None)
    if wrong:
        file, number = shown_path(wrong[0].file), wrong[1].id.removeprefix("lab")
        if not is_readable(wrong[1]):
            return Text(
                f"Next: mend {file}, then\n  make labs LAB={number.partition('.')[0]}"
            )
        return Text(
            f"Next: change `{name_of(wrong[1])}` in {file}, then\n  make labs "
            f"LAB={number}"
        )
    lab, verdict = next((lab, v) for lab, v in verdicts if v.status is not Status.PASS)
    name = name_of(verdict)
    minutes = f"about {minutes_for(lab, name)} minutes, {counted(verdict.of)}"
    if verdict.status is Status.BLOCKED:
        return Text(
            f"Next: {name} waits for another function: {printable(verdict.line)}"
        )
    if points == 0:
        begin = f"Open {shown_path(lab.file)} and write `{name}` ({minutes})."
        return Text(
            f"{begin} Its docstring and labs/{lab.folder.name}/README.md say what it "
            "does."
        )
    return Text(f"Next: write `{name}` in {shown_path(lab.file)} ({minutes}).")


def as_json(report: Report) -> dict[str, object]:
    """A report as plain data."""
    return {
        "lab": report.lab.id,
        "title": report.lab.title,
        "points": report.points,
        "of": report.of,
        "seconds": round(report.seconds, 3),
        "checks": [_verdict_as_json(verdict) for verdict in report.verdicts],
    }


def _verdict_as_json(verdict: Verdict) -> dict[str, object]:
    found = verdict.diagnosis
    return {
        "id": verdict.id,
        "status": verdict.status.value,
        "points": verdict.points,
        "of": verdict.of,
        "line": verdict.line,
        "symptom": found.symptom if found else "",
        "cause": found.cause if found else "",
        "call": found.call if found else "",
        "section": found.section if found else "",
        "output": verdict.output,
    }


def _after(lab: Lab, labs: Sequence[Lab]) -> str:
    later = [other for other in labs if other.id > lab.id]
    if not later:
        return "That was the last lab."
    number = later[0].chapter[:2]
    return (
        f"Next: chapter {number} (chapters/{later[0].chapter}.ipynb), then make labs "
        f"LAB={number}"
    )


def heading(lab: Lab) -> str:
    """Such as "Lab 03: Attention"."""
    return f"Lab {lab.id.removeprefix('lab')}: {lab.title}"


def counted(points: int) -> str:
    """Such as "1 point" or "2 points"."""
    return f"{points} point{'s' * (points != 1)}"


def name_of(verdict: Verdict) -> str:
    """The function that a verdict is about."""
    return verdict.id.partition(".")[2]


def is_readable(verdict: Verdict) -> bool:
    """Whether the file could be imported, so that a failure is one of the function."""
    return verdict.diagnosis is None or not verdict.diagnosis.everywhere


def shown_path(path: Path) -> str:
    """A path as one types it from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith(os.path.join("..", "..")) else relative


def printable(text: str) -> str:
    """One line that moves no cursor and changes no colour: other control characters and
    escapes are shown as such.
    """
    text = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", text).replace("\t", "    ")
    return "".join(
        c if c.isprintable() else " " if c == "\n" else repr(c)[1:-1] for c in text
    )
