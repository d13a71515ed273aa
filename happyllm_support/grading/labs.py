"""What a lab is: its checks and the known wrong variants, declared in
`labs/labNN_name/checks.py` and `mutants.py`.

What such a file says:

    lab = Lab("Attention", minutes=90)

    @lab.check(
        points=2,
        needs=("softmax",),
        section="Why $\\sqrt{D}$, and of what",
        hints=("...", "..."),
    )
    def sdpa(sdpa: Remote) -> None:
        expect_close(sdpa(q, k, v), reference.sdpa(q, k, v))

    @lab.mutant("sdpa", "the scores are not divided by sqrt(head_dim)")
    def unscaled(q, k, v, mask=None): ...
"""

from __future__ import annotations

import importlib
import re
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

PACKAGE = "happyllm_labs"  # under which the files of the labs folder are imported
ANSWERS = ("transformers", "peft")  # libraries in which whole exercises can be found
CheckFunction = Callable[[Any], None]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One graded function or class.

    Attributes:
        id: lab and name, such as "lab03.sdpa".
        points: what it is worth.
        needs: names in the same lab; code that calls one of them and fails is BLOCKED
            until that one passes.
        run: receives the learner's function as a `Remote`.
        section: the heading of the chapter that explains it.
        hints: from a nudge to almost the answer.
        solution: what to show as the solution, as "module:name" in the package.
        seconds: longest time the whole check may take.
        memory_mb: most memory that it may take on top of what an empty process has.
        no_operators: torch operators that would defeat the exercise, such as
            "_softmax".
        no_functions: torch functions by their full name, such as
            "torch.nn.functional.rms_norm".
        no_imports: modules that would defeat the exercise.
        numeric: whether its results are numbers, so that zeros, a constant, the
            negative and the double must fail.
    """

    id: str
    points: int
    run: CheckFunction
    section: str
    needs: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    solution: tuple[str, ...] = ()
    seconds: float = 10.0
    memory_mb: int = 1024
    no_operators: tuple[str, ...] = ()
    no_functions: tuple[str, ...] = ()
    no_imports: tuple[str, ...] = ()
    numeric: bool = True

    def __post_init__(self) -> None:
        if self.points < 1 or self.seconds <= 0 or self.memory_mb < 1:
            raise ValueError(
                f"{self.id}: points, seconds and memory_mb must be positive"
            )
        if len(self.hints) < 2:
            raise ValueError(
                f"{self.id}: at least two hints are needed, got {len(self.hints)}"
            )

    @property
    def name(self) -> str:
        """The name that the learner's file has to define."""
        return self.id.partition(".")[2]


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A mistake that people make, written out.

    Attributes:
        target: the name that it replaces.
        says: completes "This is what comes out when ...", in one line.
        code: the wrong function or class.
        section: the heading that explains it, when that is another than the check's.
    """

    target: str
    says: str
    code: Any
    section: str | None = None


class Lab:
    """The declarations of one lab; its number and name are those of the folder that its
    files lie in.

    Args:
        title: as in the table of contents.
        minutes: how long a learner needs who has read the chapter.
        no_imports: modules that no check of this lab allows, besides `ANSWERS`.
    """

    def __init__(
        self, title: str, *, minutes: int, no_imports: tuple[str, ...] = ()
    ) -> None:
        self.title = title
        self.minutes = minutes
        self.no_imports = (*ANSWERS, *no_imports)
        self.checks: dict[str, Check] = {}
        self.mutants: list[Mutant] = []
        self.folder = Path()  # set by load_lab
        self.reference: dict[str, Any] = {}

    @property
    def id(self) -> str:
        """Such as "lab03"."""
        return self.folder.name.partition("_")[0]

    @property
    def topic(self) -> str:
        """Such as "attention": the name of the learner's file and of the chapter."""
        return self.folder.name.partition("_")[2]

    @property
    def file(self) -> Path:
        """The learner's file."""
        return self.folder / f"{self.topic}.py"

    @property
    def chapter(self) -> str:
        """Such as "03_attention"."""
        return f"{self.id.removeprefix('lab')}_{self.topic}"

    @property
    def points(self) -> int:
        """What can be reached."""
        return sum(check.points for check in self.checks.values())

    def check(
        self,
        *,
        points: int,
        section: str,
        no_imports: tuple[str, ...] = (),
        **settings: Any,
    ) -> Callable[[CheckFunction], CheckFunction]:
        """Declare a check; the function's name is the name that the learner has to
        define. Settings: see `Check`.
        """

        def declare(run: CheckFunction) -> CheckFunction:
            name = run.__name__
            unknown = [
                need for need in settings.get("needs", ()) if need not in self.checks
            ]
            if name in self.checks:
                raise ValueError(f"{name} is declared twice")
            if unknown:
                raise ValueError(
                    f"{name} needs {', '.join(unknown)}, not declared before it"
                )
            banned = (*self.no_imports, *no_imports)
            self.checks[name] = Check(
                id=name,
                points=points,
                section=section,
                run=run,
                no_imports=banned,
                **settings,
            )
            return run

        return declare

    def mutant(
        self, target: str, says: str, *, section: str | None = None
    ) -> Callable[[Any], Any]:
        """Declare a known wrong variant of `target`; `says` completes "This is what
        comes out when ...".
        """

        def declare(code: Any) -> Any:
            if target not in self.checks:
                raise ValueError(f"a wrong variant of {target!r}, which has no check")
            self.mutants.append(
                Mutant(target=target, says=says, code=code, section=section)
            )
            return code

        return declare

    def mutants_of(self, target: str) -> list[Mutant]:
        """The known wrong variants of one function."""
        return [mutant for mutant in self.mutants if mutant.target == target]


def labs_folder() -> Path:
    """The folder `labs/`: that of the current directory or of one above it, else the
    one beside the package.

    Raises:
        ValueError: there is none.
    """
    here = Path.cwd()
    beside = Path(__file__).resolve().parent.parent.parent
    for folder in (here, *here.parents, beside):
        if list((folder / "labs").glob("lab[0-9][0-9]_*/checks.py")):
            return folder / "labs"
        if list(folder.glob("lab[0-9][0-9]_*/checks.py")):
            return folder
    raise ValueError(
        f"no labs folder in {here}, above it, or beside the package; run this in the "
        "course's repository"
    )


def lab_ids(labs: Path) -> list[str]:
    """The labs of a folder in order, such as ["lab01", "lab02"]."""
    return sorted(
        path.parent.name.partition("_")[0]
        for path in labs.glob("lab[0-9][0-9]_*/checks.py")
    )


def load_lab(labs: Path, name: str) -> Lab:
    """Import a lab's `reference.py`, `checks.py` and `mutants.py`.

    Args:
        labs: the folder of the labs.
        name: "lab03", "03" or "3".

    Raises:
        ValueError: there is no such lab.
    """
    number = re.fullmatch(r"(?:lab)?0*(\d{1,2})", name)
    folders = (
        sorted(labs.glob(f"lab{int(number[1]):02d}_*/checks.py")) if number else []
    )
    if not folders:
        known = ", ".join(lab.removeprefix("lab") for lab in lab_ids(labs))
        raise ValueError(f"there is no lab {name!r}; there are {known}")
    folder = folders[0].parent
    lab: Lab = load_module(folder, "checks").lab
    if lab.folder != folder:  # declared just now, not in an earlier call
        try:
            _complete(lab, folder)
        except BaseException:
            del sys.modules[
                f"{PACKAGE}.{folder.name}.checks"
            ]  # half a lab; the next call begins anew
            raise
    return lab


def _complete(lab: Lab, folder: Path) -> None:
    """Add what the checks do not declare themselves: the folder, the wrong variants,
    whole names, the reference.
    """
    load_module(folder, "mutants")
    reference = load_module(folder, "reference")
    missing = [name for name in lab.checks if not hasattr(reference, name)]
    if missing:
        raise ValueError(f"{folder.name}/reference.py lacks {', '.join(missing)}")
    lab.folder = folder
    lab.reference = {
        name: value
        for name, value in vars(reference).items()
        if not name.startswith("_")
    }
    for name, check in list(lab.checks.items()):
        lab.checks[name] = replace(check, id=f"{lab.id}.{name}")


def load_module(folder: Path, name: str) -> types.ModuleType:
    """Import `folder/name.py` as `happyllm_labs.<folder>.<name>`, so that a lab's files
    can import one another.
    """
    package = f"{PACKAGE}.{folder.name}"
    for parent, path in ((PACKAGE, folder.parent), (package, folder)):
        known = sys.modules.get(parent)
        if known is None or str(path) not in known.__path__:
            module = types.ModuleType(parent)
            module.__path__ = [str(path)]
            sys.modules[parent] = module
            for stale in [
                n for n in sys.modules if n.startswith(f"{parent}.") and n != package
            ]:
                del sys.modules[stale]
    return importlib.import_module(f"{package}.{name}")
