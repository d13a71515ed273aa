"""From "wrong" to "what is wrong": the known mistake that gives the same answers, or a
pattern in the numbers.

The requests of the failed check are put to every known wrong variant of the function.
The one that answers all of them as the learner's code did names the mistake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from happyllm_support.grading import wire
from happyllm_support.grading.compare import same
from happyllm_support.grading.labs import Lab, Mutant
from happyllm_support.grading.remote import Session
from happyllm_support.grading.workbench import Workbench

MATCH = 1e-4  # answers count as the same up to this share of the largest number


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What is known about a failure.

    Attributes:
        symptom: what was seen, one line.
        cause: the known mistake or pattern that explains it, one line, or "".
        mutant: the known mistake, when it is one.
        call: the call that it is about, with shapes, or "".
        section: the heading of the chapter that explains it.
        everywhere: it is about the whole file, which cannot be imported, and not about
            this function.
    """

    symptom: str
    cause: str = ""
    mutant: Mutant | None = None
    call: str = ""
    section: str = ""
    everywhere: bool = False

    @property
    def line(self) -> str:
        """The best single line."""
        return self.cause or self.symptom


def matching_mutant(
    lab: Lab, target: str, transcript: list[tuple[bytes, bytes]], *, seed: int
) -> tuple[Mutant, bool] | None:
    """The known wrong variant that gives the same answers.

    Each variant is asked everything again. One that answers all requests as the
    learner's code did is the mistake. Code with two mistakes has no such variant; then
    the one counts that agrees up to the first wrong answer, that one included, and
    explains at least half of the wrong answers and more of them than any other.

    Args:
        lab: the lab.
        target: the function.
        transcript: requests and the replies of the learner's code.
        seed: of the check.

    Returns:
        The variant, and whether it explains everything; None when there is none.
    """
    replies = [reply for _, reply in transcript]
    right = list(_answers(lab, target, lab.reference[target], transcript, seed))
    wrong = [
        not _same_reply(reply, answer, answer)
        for reply, answer in zip(replies, right, strict=True)
    ]
    if not any(wrong):
        return None  # the transcript does not show the mistake
    first = wrong.index(True)
    partial: list[tuple[int, Mutant]] = []
    for mutant in lab.mutants_of(target):
        answers = _answers(lab, target, mutant.code, transcript, seed)
        agrees: list[bool] = []
        for three in zip(answers, replies, right, strict=True):
            agrees.append(_same_reply(*three))
            if not agrees[-1] and len(agrees) <= first + 1:
                break  # it gives other answers: the rest need not be computed
        else:
            if all(agrees):
                return mutant, True
            explained = sum(a and w for a, w in zip(agrees, wrong, strict=True))
            partial.append((explained, mutant))
    most = max((explained for explained, _ in partial), default=0)
    best = [mutant for explained, mutant in partial if explained == most]
    return (best[0], False) if len(best) == 1 and 2 * most >= sum(wrong) else None


def _answers(
    lab: Lab, target: str, code: Any, transcript: list[tuple[bytes, bytes]], seed: int
) -> Iterator[bytes]:
    """What a wrong variant, or the reference, answers to the same requests."""
    bench = Workbench({**lab.reference, target: code}, seed=seed)
    for request, _ in transcript:
        yield bench.handle(request)


def _same_reply(left: bytes, right: bytes, reference: bytes) -> bool:
    """Whether two replies are the same; the words of an exception count only where the
    reference raises none.
    """
    a, b = wire.decode(left), wire.decode(right)
    if "raised" in a or "raised" in b:
        if not (
            "raised" in a
            and "raised" in b
            and a["raised"]["type"] == b["raised"]["type"]
        ):
            return False
        return (
            "raised" in wire.decode(reference)
            or a["raised"]["message"] == b["raised"]["message"]
        )
    left, right = _comparable(a["value"]), _comparable(b["value"])
    return a["after"] == b["after"] and same(
        left, right, tolerance=MATCH, floor=1e-3 * _largest(right)
    )


def _largest(value: Any) -> float:
    """The largest magnitude in all tensors of a reply: beside it, a gradient that is
    mathematically 0 is rounding.
    """
    import torch

    if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel():
        return float(torch.nan_to_num(value.double(), 0.0, 0.0, 0.0).abs().max())
    if isinstance(value, dict):
        return _largest(list(cast("dict[str, Any]", value).values()))
    return (
        max(map(_largest, cast("list[Any]", value)), default=0.0)
        if isinstance(value, (list, tuple))
        else 0.0
    )


def _comparable(value: Any) -> Any:
    """Objects that stay where they are count as equal; what they do is seen in the
    calls that follow.
    """
    if isinstance(value, wire.Handle):
        return None
    if isinstance(value, (list, tuple)):
        items = [_comparable(item) for item in cast("list[Any]", value)]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, dict):
        return {
            key: _comparable(item)
            for key, item in cast("dict[Any, Any]", value).items()
        }
    return value


def pattern(got: Any, want: Any) -> str:
    """What a wrong tensor has to do with the expected one, completing "The result ...",
    or "" when nothing is seen.
    """
    import torch

    if (
        not isinstance(got, torch.Tensor)
        or not isinstance(want, torch.Tensor)
        or not want.is_floating_point()
    ):
        return ""
    if got.is_complex() or not got.numel():
        return ""
    if got.shape != want.shape:
        if got.numel() == want.numel():
            for a in range(got.dim()):
                for b in range(a + 1, got.dim()):
                    if got.transpose(a, b).shape == want.shape and _near(
                        got.transpose(a, b), want
                    ):
                        return (
                            f"is right but for its axes {a} and {b}, which are "
                            "exchanged"
                        )
            if _near(got.reshape(want.shape), want):
                return "holds the right numbers in another shape"
        return ""
    a, b = got.double(), want.double()
    if bool(torch.isnan(a).any()) and not bool(torch.isnan(b).any()):
        return "holds NaN, which comes from 0 / 0, inf - inf, inf / inf or 0 * inf"
    if not bool(torch.isfinite(a).all()):
        return "holds infinities: an exponential overflows, or a mask is added twice"
    if not bool(a.any()):
        return "is all zeros"
    if a.numel() > 1 and bool((a == a.flatten()[0]).all()):
        return "is the same number everywhere"
    if _near(a, b):
        almost = (
            "is almost right: a constant that is slightly off, or digits that get "
            "lost on the way"
        )
        return "" if torch.equal(a, b) else almost
    if _near(-a, b):
        return "has the wrong sign"
    ratio = float((a * b).sum() / (b * b).sum())
    if abs(ratio - 1) > 1e-3 and _near(a, ratio * b):
        return f"is {ratio:.4g} times what it should be, everywhere"
    shift = float((a - b).mean())
    if _near(a - shift, b) and abs(shift) > 1e-3 * float(b.abs().max()):
        return (
            f"is {abs(shift):.4g} too {'large' if shift > 0 else 'small'}, everywhere"
        )
    for dim in range(a.dim()):
        if a.shape[dim] > 1:
            if _near(a.flip(dim), b):
                return f"is reversed along axis {dim}"
            for step in (1, -1):
                if _near(a.roll(step, dim), b):
                    return f"is shifted by one along axis {dim}"
    if a.dim() >= 2 and a.shape[-1] == a.shape[-2] and _near(a.transpose(-1, -2), b):
        return "is transposed: its last two axes are exchanged"
    return ""


def _near(a: Any, b: Any) -> bool:
    return same(a.double(), b.double(), tolerance=MATCH)


def describe_call(target: str, request: dict[str, Any] | None) -> str:
    """A call as one would write it, tensors as dtype and shape:
    `sdpa(float32 (2, 3, 5, 4), ..., mask=None)`.
    """
    if request is None:
        return ""
    args = [_brief(arg) for arg in request["args"]]
    args += [f"{name}={_brief(value)}" for name, value in request["kwargs"].items()]
    method = f".{request['method']}" if request.get("method") else ""
    line = f"{target}{method}({', '.join(args)})"
    return line if len(line) <= 160 else f"{line[:155]} ..."


def _brief(value: Any) -> str:
    import torch

    if isinstance(value, torch.Tensor):
        if value.numel() <= 6 and value.dim() <= 1:
            numbers = cast("list[Any]", value.flatten().tolist())
            short = (str(x) if isinstance(x, int) else f"{x:.4g}" for x in numbers)
            return f"tensor({', '.join(short)})"
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, wire.Stream):
        return f"iter({_brief(value.values)})"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]} ...{text[-4:]}"


def diagnose(lab: Lab, target: str, session: Session, *, seed: int) -> Diagnosis:
    """Name what is wrong after a check whose session has noted a failure."""
    failure = session.failure
    assert failure is not None
    call = describe_call(target, failure.request)
    match = matching_mutant(lab, target, session.transcript, seed=seed)
    if match is not None:
        mutant, alone = match
        cause = f"This is what comes out when {mutant.says}."
        if not alone:
            cause = (
                f"The first wrong answer is what comes out when {mutant.says}; that "
                "does not explain all of them."
            )
        section = mutant.section or lab.checks[target].section
        return Diagnosis(
            symptom=failure.symptom,
            cause=cause,
            mutant=mutant,
            call=call,
            section=section,
        )
    section = lab.checks[target].section
    seen = pattern(failure.got, failure.want)
    cause = f"The result {seen}." if seen else ""
    return Diagnosis(symptom=failure.symptom, cause=cause, call=call, section=section)
