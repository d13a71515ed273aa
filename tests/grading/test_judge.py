"""One check, from the first call to the verdict: whose fault it is, what is said."""

import pytest
import torch
from probe_lab import RIGHT, make_lab

from happyllm_support.grading import wire
from happyllm_support.grading.compare import CheckError, expect_close, expect_equal
from happyllm_support.grading.judge import (
    GraderError,
    Status,
    Stopped,
    judge,
    judge_locally,
    seed_of,
)
from happyllm_support.grading.labs import Lab
from happyllm_support.grading.not_yet import NotYet
from happyllm_support.grading.remote import LearnerRaised
from happyllm_support.grading.workbench import Workbench

X = torch.tensor([1.0, -2.0, 4.0])


def judged(source, name="double", *, lab):
    names = {"NotYet": NotYet}
    exec(compile(source, "learner.py", "exec", dont_inherit=True), names)
    bench = Workbench(names, seed=seed_of(lab.checks[name].id), filename="learner.py")
    return judge(lab, name, bench.handle)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return make_lab(tmp_path_factory.mktemp("probe"))


def one_check(run, reference):
    lab = Lab("One", minutes=1)
    lab.check(points=2, section="Here", hints=("a", "b"))(run)
    lab.reference = {run.__name__: reference}
    return lab


def test_right_code_gets_the_points(lab):
    for name, check in lab.checks.items():
        verdict = judged(RIGHT, name, lab=lab)
        assert (verdict.id, verdict.status, verdict.points) == (
            f"lab90.{name}",
            Status.PASS,
            check.points,
        )
        assert verdict.diagnosis is None and verdict.line == ""


def test_wrong_code_gets_none_and_a_diagnosis(lab):
    verdict = judged("def double(x):\n    return x * x", lab=lab)
    assert (verdict.status, verdict.points, verdict.of) == (Status.FAIL, 0, 1)
    assert (
        verdict.line
        == "This is what comes out when the number is squared instead of doubled."
    )


@pytest.mark.parametrize(
    ("source", "name", "status", "line"),
    [
        ("def double(x):\n    raise NotYet", "double", Status.NOT_YET, ""),
        ("def double(x):\n    raise NotYet('later')", "double", Status.NOT_YET, ""),
        (
            "def helper(x):\n    raise NotYet\ndef double(x):\n    return helper(x)",
            "double",
            Status.NOT_YET,
            "",
        ),
        (
            "def double(x):\n    yield 1\n    raise NotYet",
            "double",
            Status.FAIL,
            "the result is an iterator",
        ),
        (
            "def double(x):\n    raise NotYet\ndef total(x):\n    return "
            "double(x).sum(-1)",
            "total",
            Status.BLOCKED,
            "calls double, which is not written yet",
        ),
        (
            "class Counter:\n    def __init__(self, n):\n        raise NotYet\ndef "
            "total(x):\n    return Counter(x)",
            "total",
            Status.BLOCKED,
            "calls Counter, which is not written yet",
        ),
        (
            "class Counter:\n    def __init__(self, n):\n        pass\n    def "
            "add(self, n):\n        raise NotYet",
            "Counter",
            Status.NOT_YET,
            "",
        ),
        (
            "def double(x):\n    raise NotImplementedError",
            "double",
            Status.FAIL,
            "it raises NotImplementedError (line 2, in double)",
        ),
        (
            "def double(x):\n    ...",
            "double",
            Status.FAIL,
            "the result is None; expected is",
        ),
    ],
)
def test_not_yet_blocked_and_wrong_are_told_apart(source, name, status, line, lab):
    verdict = judged(source, name, lab=lab)
    assert verdict.status is status and verdict.points == 0
    assert verdict.line.startswith(line)


def test_the_line_of_an_exception_is_shown(lab):
    verdict = judged(
        "def double(x):\n    def inner():\n        return x.nope\n    return inner()",
        lab=lab,
    )
    says = (
        "it raises AttributeError: 'Tensor' object has no attribute 'nope' (line 3, "
        "in double.inner)"
    )
    assert verdict.diagnosis.symptom == says


def test_the_first_failure_stays_when_an_exception_follows(lab):
    source = (
        "def double(x):\n"
        "    if len(x) == 1:\n"
        "        raise ValueError('later')\n"
        "    return x"
    )
    assert judged(source, lab=lab).diagnosis.symptom.startswith(
        "the result is off: 5 of 6 numbers differ"
    )


ODD = [
    None,
    "text",
    b"",
    [],
    [[1]],
    {},
    {1: 2},
    (),
    object(),
    torch.ones(1),
    torch.empty(0),
    torch.ones(2, 2, 2),
    1,
]
ODD += [
    True,
    float("nan"),
    10**4000,
    torch.tensor(97),
    iter([]),
    range(3),
    print,
    Exception,
    {object()},
]
ODD += [
    X.long(),
    X.double(),
    X.bool(),
    torch.complex(X, X),
    X.numpy(),
    [X] * 100,
    wire.Handle(0, "x"),
    torch.float32,
]


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_no_value_makes_the_grader_itself_fail(value, lab):
    """The check uses the value in every careless way that a check may have."""

    def careless(careless):
        got = careless(X)
        expect_close(got, X.softmax(0))
        expect_close(got.sum(), torch.tensor(1.0))
        expect_close(careless(X + 3), got, "the shifted input")
        expect_equal(len(got), 3)
        expect_equal([float(x) > 0 for x in got], [True] * 3)
        expect_close(got[0] / got[1], X.softmax(0)[0] / X.softmax(0)[1])

    soft = one_check(careless, lambda x: x.softmax(0))
    assert (
        judge_locally(soft, "careless", soft.reference["careless"]).status
        is Status.PASS
    )
    verdict = judge_locally(soft, "careless", lambda x: value)
    assert verdict.status is Status.FAIL and verdict.points == 0
    assert verdict.line and "\n" not in verdict.line


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        [],
        torch.ones(2),
        torch.zeros(3),
        torch.ones(3),
        X * float("nan"),
        10**400,
        object(),
    ],
)
def test_a_check_that_only_compares_the_learners_own_results_blames_them(value):
    def invariant(invariant):
        got = invariant(X)
        expect_close(invariant(X + 3), got, "the shifted input")
        expect_close(got.sum(), torch.tensor(1.0))

    soft = one_check(invariant, lambda x: x.softmax(0))
    verdict = judge_locally(soft, "invariant", lambda x: value)
    assert (
        verdict.status is Status.FAIL
        and verdict.diagnosis.symptom
        and "\n" not in verdict.diagnosis.symptom
    )


def raises_itself(f):
    f(X)
    raise KeyError("a typo in the check")


def expects_zeros(f):
    expect_close(f(X), torch.zeros(3))


def compares_nothing(f):
    f(X)


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (raises_itself, "the check itself fails: KeyError: 'a typo in the check'"),
        (expects_zeros, "the expected values are all 0.0; a constant would pass"),
        (compares_nothing, "the check has compared nothing"),
    ],
)
@pytest.mark.parametrize("code", [lambda x: x * 0, lambda x: None])
def test_a_check_that_is_wrong_in_itself_is_the_graders_fault(run, says, code):
    lab = one_check(run, lambda x: x * 0)
    if run is expects_zeros and code(X) is None:
        assert (
            judge_locally(lab, run.__name__, code).status is Status.FAIL
        )  # said before the check's mistake is seen
        return
    with pytest.raises(CheckError, match=says):
        judge_locally(lab, run.__name__, code)


def test_a_process_that_was_ended_is_a_failure_and_a_broken_grader_is_not(lab):
    def stopped(_):
        raise Stopped("it is not done after 2 s")

    verdict = judge(lab, "double", stopped)
    assert (verdict.status, verdict.line, verdict.diagnosis.section) == (
        Status.FAIL,
        "it is not done after 2 s",
        "First",
    )

    def broken(_):
        raise GraderError("no process")

    with pytest.raises(GraderError):
        judge(lab, "double", broken)


@pytest.mark.parametrize(
    "reply",
    [
        {"value": 1},
        {},
        {"raised": 3},
        {"raised": {}},
        [],
        5,
        {"value": 1, "after": None},
    ],
)
def test_a_forged_reply_is_a_failure(reply, lab):
    assert judge(lab, "double", lambda _: wire.encode(reply)).status is Status.FAIL


def test_a_seed_belongs_to_a_check():
    assert seed_of("lab03.sdpa") == seed_of("lab03.sdpa") != seed_of("lab03.softmax")


def test_random_numbers_are_the_same_in_each_run_of_a_check():
    drawn = []

    def noise(noise):
        got = noise()
        drawn.append(got)
        expect_close(noise() - got, noise() - got)

    lab = one_check(noise, lambda: torch.rand(3))
    for _ in range(2):
        assert judge_locally(lab, "noise", lambda: torch.rand(3)).status is Status.FAIL
    assert torch.equal(drawn[0], drawn[-1]) or torch.equal(
        drawn[0], drawn[len(drawn) // 2]
    )


def test_the_exception_class_of_the_learner_is_only_a_name(lab):
    error = LearnerRaised({"type": "E", "bases": ["E"], "message": "", "frames": []})
    assert (error.type_name, str(error)) == ("E", "E: ")
