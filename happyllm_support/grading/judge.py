"""One check of one solution, from the first call to the verdict."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from happyllm_support.grading.compare import CheckError
from happyllm_support.grading.diagnosis import Diagnosis, describe_call, diagnose
from happyllm_support.grading.labs import Lab
from happyllm_support.grading.remote import (
    LearnerRaised,
    Remote,
    Session,
    Transport,
    current,
)
from happyllm_support.grading.workbench import Workbench


class Status(Enum):
    """What became of a check."""

    PASS = "PASS"
    FAIL = "FAIL"
    BLOCKED = "BLOCKED"
    NOT_YET = "NOT YET"


class Stopped(Exception):
    """The learner's process was ended: time, memory, a shortcut, a crash. The message
    says which, in one line.

    Attributes:
        forbidden: the code did what this exercise does not allow.
    """

    def __init__(self, message: str, *, forbidden: bool = False) -> None:
        super().__init__(message)
        self.forbidden = forbidden


class GraderError(CheckError):
    """The grader itself does not work: a process of its own ended, or cannot be
    started.
    """


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of one check.

    Attributes:
        id: such as "lab03.sdpa".
        status: PASS, FAIL, BLOCKED or NOT YET.
        points, of: reached, and possible.
        diagnosis: what is wrong, for FAIL and BLOCKED.
        request: the request during which a failure was seen, counted from 0, or None.
        output: the last lines that the learner's code printed, in a failure those of
            this request.
    """

    id: str
    status: Status
    points: int
    of: int
    diagnosis: Diagnosis | None = None
    request: int | None = None
    output: str = ""

    @property
    def line(self) -> str:
        """The best single line about it, or ""."""
        return self.diagnosis.line if self.diagnosis else ""


def seed_of(identifier: str) -> int:
    """The seed of a check: always the same for the same check."""
    return zlib.crc32(identifier.encode())


def judge(lab: Lab, name: str, transport: Transport) -> Verdict:
    """Run one check and say what became of it.

    Args:
        lab: the lab.
        name: of the check.
        transport: carries requests to a workbench that has the learner's code, and
            replies back; may raise `Stopped`.

    Raises:
        CheckError: the check is wrong in itself.
    """
    check = lab.checks[name]
    seed = seed_of(check.id)
    session = Session(transport)

    def verdict(status: Status, diagnosis: Diagnosis | None = None) -> Verdict:
        points = check.points if status is Status.PASS else 0
        return Verdict(
            id=check.id,
            status=status,
            points=points,
            of=check.points,
            diagnosis=diagnosis,
        )

    try:
        with current(session):
            check.run(Remote(session, name))
    except LearnerRaised as raised:
        if raised.type_name == "NotYet":
            return _not_yet(lab, name, raised, verdict)
        if session.failure is None:
            session.fail(raised_line(raised))
    except Stopped as stop:
        call = describe_call(name, session.last_call)
        return verdict(
            Status.FAIL, Diagnosis(symptom=str(stop), call=call, section=check.section)
        )
    except GraderError:
        raise
    # such as an expected value of 0, where a check compares two results of the
    # learner's
    except CheckError as error:
        if not passes_with_reference(lab, name):
            raise
        session.fail(f"what it returns cannot be compared: {error}")
    # the check could not use what it got; is that the learner's doing or the check's?
    except Exception as error:
        if session.failure is None:
            if not passes_with_reference(lab, name):
                raise CheckError(
                    f"{check.id}: the check itself fails: {type(error).__name__}: "
                    f"{error}"
                ) from error
            session.fail(
                f"what it returns cannot be used: {type(error).__name__}: {error}"
            )
    if session.failure is not None:
        number = session.failure.number
        return replace(
            verdict(Status.FAIL, diagnose(lab, name, session, seed=seed)),
            request=number,
        )
    if not session.comparisons:
        raise CheckError(f"{check.id}: the check has compared nothing")
    return verdict(Status.PASS)


def judge_locally(lab: Lab, name: str, code: Any) -> Verdict:
    """Run a check on trusted code in this process: the reference, or a known wrong
    variant.
    """
    bench = Workbench({**lab.reference, name: code}, seed=seed_of(lab.checks[name].id))
    return judge(lab, name, bench.handle)


def passes_with_reference(lab: Lab, name: str) -> bool:
    """Whether the check accepts the course's own code, the proof that the check itself
    is sound.
    """
    bench = Workbench(lab.reference, seed=seed_of(lab.checks[name].id))
    session = Session(bench.handle)
    try:
        with current(session):
            lab.checks[name].run(Remote(session, name))
    except Exception:
        return False
    return session.failure is None


def raised_line(raised: LearnerRaised) -> str:
    """An exception of the learner's code in one line, with its place."""
    line = (
        f"it raises {raised.type_name}: {raised.message}"
        if raised.message
        else f"it raises {raised.type_name}"
    )
    if (
        raised.request is not None
        and raised.request["do"] == "gradients"
        and not raised.frames
    ):
        line = f"in the backward pass, {line}"
    if raised.frames:
        number, function, code = raised.frames[-1]
        place = ", ".join(
            [
                *([f"line {number}"] if number else []),
                *([f"in {function}"] if function else []),
            ]
        )
        line += f" ({': '.join(part for part in (place, code) if part)})"
    return line


def _not_yet(lab: Lab, name: str, raised: LearnerRaised, verdict: Any) -> Verdict:
    """NOT YET when the function is unwritten, BLOCKED when one that it calls is."""
    inside = raised.frames[-1][1].partition(".")[0] if raised.frames else name
    if inside in lab.checks and inside != name:
        return verdict(
            Status.BLOCKED,
            Diagnosis(symptom=f"calls {inside}, which is not written yet"),
        )
    return verdict(Status.NOT_YET)
