"""`happyllm lab hint`, `solution` and `reset`: help with a lab, and a fresh start."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from happyllm_support.commands.output import console, put, say

GRADER_FAILED = (
    3  # exit code: an error of the labs or of the grader, not of whoever uses them
)

Self = TypeVar("Self")


def one_line_for_our_errors(run: Callable[[Self], int]) -> Callable[[Self], int]:
    """Let an error of the labs or of the grader itself end a command with one line and
    exit code 3.
    """

    @functools.wraps(run)
    def guarded(self: Self) -> int:
        from happyllm_support.grading.compare import CheckError

        try:
            return run(self)
        except CheckError as error:
            say(
                "happyllm: error of the grader, not yours: "
                f"{' '.join(str(error).split())}"
            )
            return GRADER_FAILED

    return guarded


@dataclass(frozen=True, kw_only=True)
class Hint:
    """Show the next hint for the first function of a lab that does not pass yet, or for
    the named one.

    Example: happyllm lab hint 03.sdpa
    """

    lab: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="LAB")]
    """Which lab (03, lab03, 3) or function (03.sdpa)."""
    labs: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The folder of the labs; by default the one of the repository."""

    @one_line_for_our_errors
    def run(self) -> int:
        """Print the hint and remember that it was seen."""
        from happyllm_support.grading import progress
        from happyllm_support.grading.selection import choose, find_labs, load_chosen

        folder = find_labs(self.labs)
        (choice,) = choose(folder, self.lab)
        lab = load_chosen(folder, choice)
        kept, note = progress.load_record(folder)
        name = choice.check or next(
            (name for name in lab.checks if not kept.passed(lab.id, name)), None
        )
        number = lab.id.removeprefix("lab")
        if name is None:
            example = f"{number}.{next(iter(lab.checks))}"
            print(
                f"Every function of {lab.id} passes. To see hints all the same, name "
                f"one: make lab-hint LAB={example}"
            )
            return 0
        check = lab.checks[name]
        try:
            (count, again), second = progress.update_record(
                folder, lambda kept: kept.next_hint(check.id, len(check.hints))
            )
        except OSError as error:  # a hint is a hint, remembered or not
            count, again, second = (
                1,
                False,
                f"which hints you have seen could not be kept: {error}",
            )
        for line in filter(None, (note, second)):
            say(f"note: {line}")
        screen = console()
        put(
            screen,
            f"{check.id}, hint {count} of "
            f"{len(check.hints)}{' (the last one, again)' if again else ''}:\n",
        )
        put(screen, check.hints[count - 1] + "\n")
        if count < len(check.hints):
            put(screen, f"One more: make lab-hint LAB={number}.{name}")
        else:
            put(
                screen,
                "There are no more. The solution: make lab-solution "
                f"LAB={number}.{name}",
            )
        return 0


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Show the package's source that solves a lab, or one function of it, after asking.

    Example: happyllm lab solution 03.sdpa
    """

    lab: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="LAB")]
    """Which lab (03, lab03, 3) or function (03.sdpa)."""
    yes: bool = False
    """Do not ask."""
    labs: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The folder of the labs; by default the one of the repository."""

    @one_line_for_our_errors
    def run(self) -> int:
        """List, ask, print."""
        from happyllm_support.grading.selection import choose, find_labs, load_chosen
        from happyllm_support.grading.solution import places, source_of

        folder = find_labs(self.labs)
        (choice,) = choose(folder, self.lab)
        lab = load_chosen(folder, choice)
        checks = [
            check for check in lab.checks.values() if choice.check in (None, check.name)
        ]
        sources = {place: source_of(place, folder) for place in places(checks)}
        what = lab.id if choice.check is None else f"{lab.id}.{choice.check}"
        if not sources:
            print(
                f"The checks of {what} name no solution in the package; look into "
                f"{lab.folder.name}/reference.py."
            )
            return 0
        if not self.yes:
            require_terminal("show the solution")
            print(f"The solution of {what} is in the package:")
            print("\n".join(f"  {place.replace(':', '.')}" for place in sources))
            if not ask(f"Show the solution of {what}?"):
                print("Nothing was shown.")
                return 0
        for place, source in sources.items():
            show_source(place, source)
        return 0


@dataclass(frozen=True, kw_only=True)
class Reset:
    """Begin a lab again: keep your file as a backup beside it, and put the original in
    its place.

    Example: happyllm lab reset 03
    """

    lab: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="LAB")]
    """Which lab: 03, lab03 or 3."""
    yes: bool = False
    """Do not ask."""
    labs: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The folder of the labs; by default the one of the repository."""

    @one_line_for_our_errors
    def run(self) -> int:
        """Ask, keep, replace."""
        from happyllm_support.grading import stubs
        from happyllm_support.grading.report import shown_path
        from happyllm_support.grading.selection import choose, find_labs, load_chosen

        folder = find_labs(self.labs)
        (choice,) = choose(folder, self.lab)
        if choice.check is not None:
            raise ValueError(
                "a whole file is reset, not one function; write "
                f"{choice.lab.removeprefix('lab')}"
            )
        lab = load_chosen(folder, choice)
        file = shown_path(lab.file)
        if stubs.is_untouched(lab):
            print(f"{file} is still as it came; nothing to reset.")
            return 0
        if lab.file.exists() and not self.yes:
            require_terminal(f"replace {file}")
            if not ask(f"Keep {file} as a backup, and put the original in its place?"):
                print("Nothing was changed.")
                return 0
        backup = stubs.reset(lab)
        if backup:
            print(f"Your file was kept as {shown_path(backup)}.")
        print(f"{file} is as it came.")
        return 0


def require_terminal(what: str) -> None:
    """Refuse to go on where nobody can answer.

    Raises:
        ValueError: standard input is no terminal.
    """
    if sys.stdin is None or not sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison]  (`<&-` in a shell)
        raise ValueError(
            "nobody can be asked, standard input is no terminal; add --yes (make: "
            f"YES=1) to {what}"
        )


def ask(question: str) -> bool:
    """Ask on the terminal; anything but yes is no."""
    print(f"{question} [y/N] ", end="", flush=True)
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        print()  # Ctrl-D leaves the cursor behind the question
    return answer.strip().lower() in ("y", "yes")


def show_source(place: str, source: str) -> None:
    """Print a piece of the package's source, in colours on a terminal."""
    screen = console()
    module, _, name = place.partition(":")
    header = f"# {name}, from {module.replace('.', '/')}.py"
    if not screen.is_terminal:
        print(f"{header}\n\n{source}")
        return
    from rich.syntax import Syntax

    colours = Syntax("", "python", theme="ansi_dark", background_color="default")
    screen.print(
        colours.highlight(f"{header}\n\n{source}"), soft_wrap=True
    )  # whole lines, to be copied
