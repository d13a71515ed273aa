"""The progress as a page for a browser: one file without scripts and without requests,
`labs/progress.html`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from happyllm_support.files import atomic_write_text
from happyllm_support.grading.judge import Status
from happyllm_support.grading.labs import Check, Lab
from happyllm_support.grading.progress import (
    GradingEvent,
    LabRecord,
    Standing,
    load_record,
)
from happyllm_support.grading.reading import BOOK, book_of, page_of
from happyllm_support.grading.selection import load_all

PAGE_FILE = "progress.html"
SHOWN_HISTORY = 12  # entries of the list; the line shows all

STYLE = """
:root { --paper: #ffffff; --ink: #1f2328; --soft: #5d6670; --line: #d9dee3;
  --bar: #e6eaee; --link: #0f6674; --pass: #1a7f4b; --fail: #b3261e; --blocked: #8a5a00;
  color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181f; --ink: #e4e7eb; --soft: #a3adb8; --line: #323943;
    --bar: #262d37; --link: #56c2d3; --pass: #4fc487; --fail: #ff8f86;
    --blocked: #e5b454; }
}
* { box-sizing: border-box; }
body { background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem;
  overflow-wrap: anywhere; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 0.4rem; }
h2 { font-size: 1.2rem; margin: 0; }
a { color: var(--link); }
code { font: 0.92em/1.4 ui-monospace, monospace; }
.soft { color: var(--soft); margin: 0.3rem 0; }
.soft code { white-space: nowrap; }
section { border-top: 1px solid var(--line); margin-top: 2rem; padding-top: 1rem; }
.head { align-items: baseline; display: flex; flex-wrap: wrap; gap: 0.2rem 1rem;
  justify-content: space-between; }
.bar { background: var(--bar); border-radius: 0.4rem; height: 0.8rem; margin: 0.5rem 0;
  overflow: hidden; }
.bar span { background: var(--pass); display: block; height: 100%; }
table { border-collapse: collapse; margin-top: 0.6rem; table-layout: fixed;
  width: 100%; }
th, td { border-top: 1px solid var(--line); padding: 0.35rem 1rem 0.35rem 0;
  text-align: left; vertical-align: top; }
thead th { border-top: 0; color: var(--soft); font-size: 0.85rem; font-weight: 400;
  padding-bottom: 0.1rem; width: 4.5rem; }
thead th:first-child { width: 30%; }
thead th:nth-child(3) { width: 6.5rem; }
thead th:last-child { width: auto; }
tbody th { font-weight: 400; }
td.status { font-size: 0.85rem; font-weight: 600; line-height: 1.76;
  white-space: nowrap; }
.PASS { color: var(--pass); } .FAIL { color: var(--fail); }
.BLOCKED { color: var(--blocked); }
.NOT { color: var(--soft); }
svg { display: block; height: auto; margin: 0.8rem 0; max-width: 100%; }
ol { font-size: 0.9rem; list-style: none; margin: 0; padding: 0; }
@media (max-width: 640px) {
  thead { display: none; }
  tr { border-top: 1px solid var(--line); display: flex; flex-wrap: wrap; gap: 0 0.8rem;
    padding: 0.45rem 0; }
  th, td { border: 0; padding: 0; }
  tbody th { flex: 1 1 auto; }
  td.line { width: 100%; }
  td.line:empty { display: none; }
}
"""


def render(
    labs: Sequence[Lab],
    record: LabRecord,
    *,
    book: Path | None,
    to_book: str,
    note: str = "",
) -> str:
    """The page.

    Args:
        labs: all labs, in order.
        record: what has been reached.
        book: the folder of the rendered book, None when there is none.
        to_book: how a link of the page gets there, ending in "/".
        note: one line to show at the top.
    """
    points, of = (
        sum(record.points(lab.id) for lab in labs),
        sum(lab.points for lab in labs),
    )
    parts = [
        f"<h1>Your labs</h1>\n<p class='soft'>{points} of {of} points in {len(labs)} "
        "labs</p>",
        _bar(points, of),
    ]
    if note:
        parts.append(f"<p>{escape(note)}</p>")
    if not any(record.labs.values()):
        parts.append(
            "<p>Nothing has been graded yet. <code>make labs</code> does it, and fills "
            "this page.</p>"
        )
    if book:
        parts.append(
            f"<p class='soft'><a href='{to_book}book/labs.html'>How the labs work</a>, "
            "in the book</p>"
        )
    else:
        parts.append(
            "<p class='soft'><code>make book</code> renders the book; links to its "
            "chapters appear then.</p>"
        )
    parts += [_lab(lab, record, book, to_book) for lab in labs]
    parts.append(_history(record.history, of))
    return (
        "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>\n<link "
        "rel='icon' href='data:,'>\n"
        f"<title>Your labs: {points} of {of} points</title>\n<style>{STYLE}</style>\n"
        "</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def write_pages(labs: Path) -> list[str]:
    """Write `labs/progress.html`, and a copy for the book where it has been rendered.

    Returns:
        One line for each thing that could not be shown.
    """
    loaded, problems = load_all(labs)
    record, note = load_record(labs)
    book = book_of(labs)
    atomic_write_text(
        labs / PAGE_FILE,
        render(loaded, record, book=book, to_book=f"../{BOOK.as_posix()}/"),
    )
    if book:
        write_into_book(labs, book, loaded, record)
    return [note] * bool(note) + problems


def write_into_book(
    labs: Path,
    book: Path,
    loaded: Sequence[Lab] | None = None,
    record: LabRecord | None = None,
) -> None:
    """Write the page as `labs/progress.html` below the folder of a rendered book, which
    links to it.
    """
    loaded = load_all(labs)[0] if loaded is None else loaded
    record = load_record(labs)[0] if record is None else record
    atomic_write_text(
        book / "labs" / PAGE_FILE, render(loaded, record, book=book, to_book="../")
    )


def _lab(lab: Lab, record: LabRecord, book: Path | None, to_book: str) -> str:
    points, number = record.points(lab.id), lab.id.removeprefix("lab")
    title = f"Lab {number}: {escape(lab.title)}"
    chapter = page_of(book, lab) if book else ""
    if chapter:
        chapter = f", after <a href='{to_book}{chapter}'>chapter {lab.chapter[:2]}</a>"
    rows = [
        _row(check, record.labs.get(lab.id, {}).get(check.name), lab, book, to_book)
        for check in _checks(lab)
    ]
    return (
        f"<section>\n<div class='head'><h2>{title}</h2><span>{points} of {lab.points} "
        "points</span></div>\n"
        f"{_bar(points, lab.points)}\n"
        f"<p class='soft'>about {lab.minutes} minutes{chapter}; <code>make labs "
        f"LAB={number}</code></p>\n"
        "<table>\n"
        "<thead><tr><th>function</th><th>points</th><th>status</th>"
        "<th>diagnosis</th></tr></thead>\n"
        f"<tbody>\n{''.join(rows)}</tbody>\n</table>\n</section>"
    )


def _checks(lab: Lab) -> list[Check]:
    return list(lab.checks.values())


def _row(
    check: Check, standing: Standing | None, lab: Lab, book: Path | None, to_book: str
) -> str:
    status = standing.status if standing else Status.NOT_YET.value
    line = escape(standing.line) if standing else ""
    if line and book and status == Status.FAIL.value:
        page = page_of(book, lab, check.section)
        line += f" <a href='{to_book}{escape(page)}'>Read about it</a>" if page else ""
    return (
        f"<tr><th scope='row'><code>{escape(check.name)}</code></th><td "
        f"class='points'>{standing.points if standing else 0}/{check.points}</td><td "
        f"class='status {status.partition(' ')[0]}'>{status}</td><td "
        f"class='line'>{line}</td></tr>\n"
    )


def _bar(points: int, of: int) -> str:
    width = 100 * points / of if of else 0
    return (
        "<div class='bar' aria-hidden='true'><span style='width: "
        f"{min(width, 100):.1f}%'></span></div>"
    )


def _history(history: Sequence[GradingEvent], of: int) -> str:
    if not history:
        return ""
    rows = [
        f"<li><span class='soft'>{escape(_minute(event.time))}</span> "
        f"{escape(event.lab)}: {event.points} points, {event.total} in all</li>"
        for event in reversed(history[-SHOWN_HISTORY:])
    ]
    drawing = (
        _drawing([event.total for event in history], of) if len(history) > 1 else ""
    )
    return (
        f"<section>\n<h2>How it went</h2>\n{drawing}<ol>\n{chr(10).join(rows)}\n"
        "</ol>\n</section>"
    )


def _minute(time: str) -> str:
    """`2026-01-31 12:00 UTC` for `2026-01-31T12:00:59Z`."""
    return re.sub(r"^(\S{10})T(\d\d:\d\d):\d\dZ$", r"\1 \2 UTC", time)


def _drawing(totals: Sequence[int], of: int) -> str:
    """A line in steps: the points of all labs after each grading that changed
    something.
    """
    width, height, top = 640.0, 120.0, max(of, *totals, 1)
    step = (width - 4) / (len(totals) - 1)
    corners = [
        (2 + i * step, height - 4 - (height - 8) * total / top)
        for i, total in enumerate(totals)
    ]
    path = f"M{corners[0][0]:.1f} {corners[0][1]:.1f}" + "".join(
        f"H{x:.1f}V{y:.1f}" for x, y in corners[1:]
    )
    label = (
        f"Points over {len(totals)} gradings, from {totals[0]} to {totals[-1]} of {of}"
    )
    return (
        f"<svg viewBox='0 0 {width:.0f} {height:.0f}' width='{width:.0f}' "
        f"height='{height:.0f}' role='img' aria-label='{label}'><path d='M2 "
        f"{height - 4:.0f}H{width - 2:.0f}' stroke='var(--line)'/><path d='{path}' "
        "fill='none' stroke='var(--pass)' stroke-width='2.5' "
        "stroke-linejoin='round'/></svg>\n"
        f"<p class='soft'>{label}.</p>\n"
    )
