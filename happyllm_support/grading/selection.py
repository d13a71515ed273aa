"""Which labs and which function a learner means: "03", "lab03", "3", "03.sdpa"."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from happyllm_support.grading.compare import CheckError
from happyllm_support.grading.labs import Lab, lab_ids, labs_folder, load_lab


@dataclass(frozen=True)
class Choice:
    """A lab, and one function of it or all (None).

    Attributes:
        lab: such as "lab03".
        check: such as "sdpa".
    """

    lab: str
    check: str | None = None


def find_labs(folder: Path | None) -> Path:
    """The folder of the labs: the given one, or the one that is found from here.

    Raises:
        ValueError: there are no labs in it.
    """
    if folder is None:
        return labs_folder()
    if not lab_ids(folder):
        raise ValueError(
            f"{folder} holds no labs; a folder with labNN_name/checks.py in it is "
            "expected"
        )
    return folder.resolve()


def choose(labs: Path, name: str | None) -> list[Choice]:
    """Understand the argument LAB; without one all labs are meant.

    Raises:
        ValueError: there is no such lab.
    """
    known = lab_ids(labs)
    if name is None:
        return [Choice(lab) for lab in known]
    parts = re.fullmatch(r"(?:lab)?0*(\d{1,2})(?:\.(\w+))?", name.strip())
    if not parts or f"lab{int(parts[1]):02d}" not in known:
        there = ", ".join(lab.removeprefix("lab") for lab in known)
        raise ValueError(
            f"there is no lab {name!r}; write one of {there}, or one function as in "
            f"{known[0][3:]}.name"
        )
    return [Choice(f"lab{int(parts[1]):02d}", parts[2])]


def load_chosen(labs: Path, choice: Choice) -> Lab:
    """Import the chosen lab.

    Raises:
        ValueError: the lab has no such function.
        CheckError: the lab's own files are wrong.
    """
    lab = load_safely(labs, choice.lab)
    if choice.check is not None and choice.check not in lab.checks:
        close = difflib.get_close_matches(choice.check, lab.checks, n=1)
        meant = f"; perhaps you meant {close[0]}" if close else ""
        raise ValueError(
            f"{lab.id} has no function {choice.check!r}{meant}; it has "
            f"{', '.join(lab.checks)}"
        )
    return lab


def load_safely(labs: Path, name: str) -> Lab:
    """Import a lab; whatever is wrong with its files is no mistake of the learner.

    Raises:
        CheckError: the lab's own files are wrong.
    """
    try:
        return load_lab(labs, name)
    except Exception as error:
        raise CheckError(
            f"{name}: its own files cannot be loaded: {type(error).__name__}: {error}"
        ) from error


def load_all(labs: Path) -> tuple[list[Lab], list[str]]:
    """All labs of a folder in order, and one line for each that cannot be loaded."""
    loaded: list[Lab] = []
    problems: list[str] = []
    for name in lab_ids(labs):
        try:
            loaded.append(load_safely(labs, name))
        except CheckError as error:
            problems.append(" ".join(str(error).split()))
    return loaded, problems


def minutes_for(lab: Lab, name: str) -> int:
    """About how long one function takes: its share of the lab's minutes by points, in
    steps of five.
    """
    return max(5, 5 * round(lab.minutes * lab.checks[name].points / lab.points / 5))
