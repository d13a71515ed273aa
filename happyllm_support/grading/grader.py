"""Grade a lab: each check in a process of its own, in the order of the file,
prerequisites first.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from happyllm_support.grading.child import Job
from happyllm_support.grading.diagnosis import Diagnosis
from happyllm_support.grading.judge import (
    GraderError,
    Status,
    Stopped,
    Verdict,
    judge,
    raised_line,
    seed_of,
)
from happyllm_support.grading.labs import Lab
from happyllm_support.grading.processes import Launcher
from happyllm_support.grading.remote import LearnerRaised
from happyllm_support.grading.workbench import NOTEBOOK
from happyllm_support.grading.worker import Worker

ENGINE = Path(__file__).resolve().parent
# Not the engine itself: it holds no answers, and Python reads its lines whenever a
# stack is formatted.
PACKAGE = tuple(
    path
    for path in ENGINE.parent.iterdir()
    if path != ENGINE and path.suffix in ("", ".py")
)

__all__ = ["Grader", "GraderError", "Report", "Solution"]


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Code to grade.

    Attributes:
        source: Python.
        filename: what messages call it.
        trusted: the course's own code, which may import the package.
    """

    source: str
    filename: str
    trusted: bool = False

    @classmethod
    def from_file(cls, path: Path) -> Solution:
        """Read a learner's file.

        Raises:
            ValueError: it is not UTF-8.
            OSError: it cannot be read.
        """
        try:
            return cls(source=path.read_text("utf-8-sig"), filename=str(path))
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} is not UTF-8: byte {error.start} cannot be read; save it as "
                "UTF-8"
            ) from None


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of a lab.

    Attributes:
        lab: the lab.
        verdicts: one for each check, in the order of the lab.
        seconds: how long grading took.
    """

    lab: Lab
    verdicts: tuple[Verdict, ...]
    seconds: float

    @property
    def points(self) -> int:
        """Points reached."""
        return sum(verdict.points for verdict in self.verdicts)

    @property
    def of(self) -> int:
        """Points that can be reached."""
        return sum(verdict.of for verdict in self.verdicts)


class Grader:
    """Grades solutions; a context manager that owns the processes.

    Args:
        labs: the folder of the labs, whose files a learner's code may not read.
        patience: multiplies every time limit, for slow machines.
        launcher: starts the processes, and is left to its owner; by default one that is
            ended with the grader.

    Raises:
        ValueError: the patience is not positive.
    """

    def __init__(
        self, labs: Path, *, patience: float = 1.0, launcher: Launcher | None = None
    ) -> None:
        if not 0 < patience < float("inf"):
            raise ValueError(
                f"patience {patience} must be a positive number; 2 doubles every time "
                "limit"
            )
        self._patience = patience
        self._protected = tuple(
            map(str, (*PACKAGE, labs.resolve(), labs.resolve().parent / "tests"))
        )
        self._launcher = launcher or Launcher()
        self._owns_launcher = launcher is None

    def __enter__(self) -> Grader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._owns_launcher:
            self._launcher.close()

    def grade(
        self,
        lab: Lab,
        solution: Path | Solution | None = None,
        *,
        only: Collection[str] | None = None,
        on_verdict: Callable[[Verdict], None] | None = None,
    ) -> Report:
        """Run the checks of a lab.

        Args:
            lab: the lab.
            solution: a file or code; by default the learner's file of this lab.
            only: names of checks to report; what they need is checked, too, but not
                reported.
            on_verdict: called after each check.

        Raises:
            ValueError: an unknown name, or a file that is not UTF-8.
            CheckError: the grader itself, or a check, is at fault.
        """
        if isinstance(solution, Path) or solution is None:
            solution = Solution.from_file(solution or lab.file)
        unknown = sorted(set(only or ()) - set(lab.checks))
        if unknown:
            raise ValueError(
                f"{lab.id} has no {', '.join(unknown)}; it has {', '.join(lab.checks)}"
            )
        wanted = _with_needs(lab, set(lab.checks if only is None else only))
        started = time.perf_counter()
        passed: set[str] = set()
        verdicts: list[Verdict] = []
        unusable: Diagnosis | None = (
            None  # the file cannot be imported; once is enough to know
        )
        for name, check in lab.checks.items():
            if name not in wanted:
                continue
            verdict = (
                self.run(lab, name, solution)
                if unusable is None
                else _failed(lab, name, unusable)
            )
            unusable = (
                verdict.diagnosis
                if verdict.diagnosis and verdict.diagnosis.everywhere
                else None
            )
            missing = [need for need in check.needs if need not in passed]
            if missing and verdict.status is Status.FAIL:
                missing = sorted(
                    uses(solution.source, name) & set(missing), key=check.needs.index
                )
            if verdict.status is Status.PASS:
                passed.add(name)
            elif missing and verdict.status is Status.FAIL and unusable is None:
                blocked = Diagnosis(
                    symptom=f"needs {' and '.join(missing)} first",
                    section=check.section,
                )
                verdict = replace(verdict, status=Status.BLOCKED, diagnosis=blocked)
            if only is None or name in only:
                verdicts.append(verdict)
                if on_verdict is not None:
                    on_verdict(verdict)
        return Report(
            lab=lab, verdicts=tuple(verdicts), seconds=time.perf_counter() - started
        )

    def run(self, lab: Lab, name: str, solution: Solution) -> Verdict:
        """Run one check in a process of its own, without looking at what it needs."""
        check = lab.checks[name]
        job = Job(
            source=solution.source,
            filename=solution.filename,
            module=f"{lab.id}_{lab.topic}",
            seed=seed_of(check.id),
            memory_mb=check.memory_mb,
            trusted=solution.trusted,
            operators=check.no_operators,
            functions=check.no_functions,
            imports=check.no_imports,
            protected=self._protected,
        )
        seconds = check.seconds * self._patience
        with Worker(self._launcher, job, seconds=seconds) as worker:
            code = "code" if solution.filename == NOTEBOOK else "file"
            try:
                first = worker.start()
            except Stopped as stop:
                found = Diagnosis(
                    symptom=f"while the {code} is imported, {stop}",
                    everywhere=not stop.forbidden,
                )
                verdict = _failed(lab, name, found)
            else:
                if "raised" in first:
                    line = raised_line(LearnerRaised(first["raised"])).removeprefix(
                        "it "
                    )
                    found = Diagnosis(
                        symptom=f"the {code} cannot be imported: {line}",
                        everywhere=True,
                    )
                    verdict = _failed(lab, name, found)
                elif name not in worker.names:
                    symptom = (
                        f"the file defines no {name}; "
                        f"labs/.stubs/{lab.folder.name}.py has its stub"
                    )
                    verdict = _failed(lab, name, Diagnosis(symptom=symptom))
                else:
                    verdict = judge(lab, name, worker.ask)
                    if verdict.status is Status.PASS and (left := worker.left_behind()):
                        verdict = _failed(lab, name, Diagnosis(symptom=left))
            return replace(verdict, output=worker.printed(verdict.request))


def uses(source: str, name: str) -> set[str]:
    """Every name that a function or class of a file mentions, itself or through others
    of the file that it mentions.

    Args:
        source: Python; what cannot be parsed mentions nothing.
        name: of the function or class.
    """
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    defined = {
        node.name: node
        for node in body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    found: set[str] = set()
    queue = [name]
    while queue:
        node = defined.get(queue.pop())
        names = (
            {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
            if node is not None
            else set[str]()
        )
        queue += names & set(defined) - found
        found |= names
    return found


def _with_needs(lab: Lab, names: set[str]) -> set[str]:
    for name in reversed(lab.checks):
        if name in names:
            names |= set(lab.checks[name].needs)
    return names


def _failed(lab: Lab, name: str, diagnosis: Diagnosis) -> Verdict:
    check = lab.checks[name]
    diagnosis = replace(diagnosis, section=check.section)
    return Verdict(
        id=check.id, status=Status.FAIL, points=0, of=check.points, diagnosis=diagnosis
    )
