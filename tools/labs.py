"""Keep what is derived from the labs in step with them.

    python tools/labs.py stubs   # write labs/.stubs, and the list of labs in the book
    python tools/labs.py check   # whether both are as they would be written now

`stubs` is for authors: it takes the files of `labs/` as they are for what a learner
shall begin with. `check` belongs into a checkout in which nobody has solved anything;
`make lint` calls it where HAPPYLLM_PRISTINE_LABS is set, as in CI.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from happyllm_support.files import atomic_write_text
from happyllm_support.grading.compare import CheckError
from happyllm_support.grading.labs import Lab, lab_ids
from happyllm_support.grading.selection import load_safely
from happyllm_support.grading.stubs import FOLDER, stub_of, write_whole

ROOT = Path(__file__).resolve().parent.parent
TABLE = Path("book") / "labs_table.md"  # included by book/labs.md


def table(labs: list[Lab]) -> str:
    """The list of all labs for the book, in MyST."""
    lines = [":::{list-table}", ":header-rows: 1", ":widths: 35 65", ""]
    lines += ["* - Lab", "  - Functions, with points"]
    for lab in labs:
        functions = ", ".join(
            f"`{check.name}` {check.points}" for check in lab.checks.values()
        )
        title = (
            f"**{lab.id.removeprefix('lab')} {lab.title}**, after {{doc}}`chapter "
            f"{lab.chapter[:2]}"
        )
        lines += [
            f"* - {title} <../chapters/{lab.chapter}>`:",
            f"    {lab.points} points, about {lab.minutes} minutes",
        ]
        lines += [f"  - {functions}"]
    return "\n".join([*lines, ":::", ""])


def expected(root: Path) -> dict[Path, bytes]:
    """Every derived file and its content."""
    labs = [load_safely(root / "labs", name) for name in lab_ids(root / "labs")]
    files = {stub_of(lab): lab.file.read_bytes() for lab in labs}
    return files | {root / TABLE: table(labs).encode()}


def differences(root: Path) -> list[str]:
    """One line for each derived file that is missing, out of date or left over."""
    files = expected(root)
    found = [
        f"{path.relative_to(root)} is {'out of date' if path.is_file() else 'missing'}"
        for path, content in files.items()
        if not path.is_file() or path.read_bytes() != content
    ]
    left_over = sorted(
        path for path in (root / "labs" / FOLDER).glob("*.py") if path not in files
    )
    return found + [f"{path.relative_to(root)} belongs to no lab" for path in left_over]


def write(root: Path) -> None:
    """Write every derived file."""
    for path, content in expected(root).items():
        if path.suffix == ".md":
            atomic_write_text(path, content.decode())
        else:
            write_whole(path, content)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description="Keep what is derived from the labs in step with them."
    )
    parser.add_argument("action", choices=("stubs", "check"))
    action = parser.parse_args(arguments).action
    try:
        if action == "stubs":
            write(root)
        lines = differences(root)
    except (CheckError, OSError) as error:
        lines = [str(error)]
    for line in lines:
        print(f"labs: error: {line}", file=sys.stderr)
    if lines and action == "check":
        advice = "`python tools/labs.py stubs` writes them from labs/"
        print(f"labs: {advice}, if nobody has written solutions there", file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
