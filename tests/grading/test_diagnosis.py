"""From wrong to what is wrong: known mistakes told apart, patterns in numbers, calls in
words.
"""

import math
import warnings

import pytest
import torch

from happyllm_support.grading import wire
from happyllm_support.grading.compare import expect, expect_close, expect_equal
from happyllm_support.grading.diagnosis import Diagnosis, describe_call, pattern
from happyllm_support.grading.judge import Status, judge_locally
from happyllm_support.grading.labs import Lab

WANT = torch.tensor([[1.0, 2.0, 4.0], [-3.0, 0.5, 7.0]])
SQUARE = torch.tensor([[1.0, 2.0], [-3.0, 0.5]])


@pytest.mark.parametrize(
    ("got", "want", "says"),
    [
        (WANT.T, WANT, "is right but for its axes 0 and 1, which are exchanged"),
        (WANT.reshape(6), WANT, "holds the right numbers in another shape"),
        (WANT.T.reshape(6), WANT, ""),
        (WANT[0], WANT, ""),
        (
            WANT * math.nan,
            WANT,
            "holds NaN, which comes from 0 / 0, inf - inf, inf / inf or 0 * inf",
        ),
        (
            WANT / 0,
            WANT,
            "holds infinities: an exponential overflows, or a mask is added twice",
        ),
        (WANT * 0, WANT, "is all zeros"),
        (WANT * 0 + 3, WANT, "is the same number everywhere"),
        (-WANT, WANT, "has the wrong sign"),
        (2.5 * WANT, WANT, "is 2.5 times what it should be, everywhere"),
        (-2 * WANT, WANT, "is -2 times what it should be, everywhere"),
        (
            WANT.long(),
            WANT.long().float() * 2,
            "is 0.5 times what it should be, everywhere",
        ),
        (WANT + 0.25, WANT, "is 0.25 too large, everywhere"),
        (WANT - 3, WANT, "is 3 too small, everywhere"),
        (WANT.flip(1), WANT, "is reversed along axis 1"),
        (WANT.flip(0), WANT, "is reversed along axis 0"),
        (WANT.roll(1, 1), WANT, "is shifted by one along axis 1"),
        (WANT.roll(-1, 1), WANT, "is shifted by one along axis 1"),
        (SQUARE.T, SQUARE, "is transposed: its last two axes are exchanged"),
        (WANT**2, WANT, ""),
        (WANT, WANT, ""),
        (
            torch.tensor(3.0),
            torch.tensor(1.0),
            "is 3 times what it should be, everywhere",
        ),
        (torch.empty(0, 2), torch.empty(0, 2).double(), ""),
        (torch.complex(WANT, WANT), WANT, ""),
        (WANT.double(), WANT * 0, ""),
        (
            WANT * (1 + 5e-5),
            WANT,
            "is almost right: a constant that is slightly off, or digits that get "
            "lost on the way",
        ),
        (None, WANT, ""),
        ([1.0], WANT, ""),
        (WANT.long() + 1, WANT.long(), ""),
    ],
)
def test_a_pattern_is_seen_in_the_numbers(got, want, says):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pattern(got, want) == says


def test_the_best_line_is_the_cause():
    assert Diagnosis(symptom="off").line == "off"
    assert Diagnosis(symptom="off", cause="it is doubled").line == "it is doubled"


Y = torch.tensor([5.0, -6.0])


class Box:
    def __init__(self, factor):
        self.factor = factor

    def scale(self, x):
        return self.factor * x


class Shifted(Box):
    def scale(self, x):
        return self.factor * x + 1


def make_lab():
    """scale(x, n) is n * x, refuses n = 0, and comes with a box that does the same."""
    lab = Lab("Scaling", minutes=1)

    def scale(x, n):
        if n == 0:
            raise ValueError("n must not be 0")
        return n * x

    @lab.check(points=1, section="Scaling", hints=("a", "b"))
    def scaling(scaling):
        expect_close(scaling(Y, 2), 2 * Y)
        expect_close(scaling(Y[None], 3), 3 * Y[None], "the batch")
        scaling.raises(ValueError, Y, 0)

    @lab.check(points=1, section="Boxes", hints=("a", "b"))
    def boxes(boxes):
        box, count = boxes(3)
        expect_equal(count, 1)
        expect_close(box.scale(Y), 3 * Y)

    lab.reference = {"scaling": scale, "boxes": lambda n: (Box(n), 1)}
    lab.mutant("scaling", "n is ignored", section="What n is for")(
        lambda x, n: [2 * x, 1 / n][0]
    )
    lab.mutant("scaling", "n is added")(lambda x, n: scale(x, n) * 0 + x + n)
    lab.mutant("scaling", "0 is let through")(lambda x, n: n * x)
    lab.mutant("boxes", "a one is added")(lambda n: (Shifted(n), 1))
    lab.mutant("boxes", "they are counted from 0")(lambda n: (Box(n), 0))
    return lab


@pytest.fixture
def lab():
    return make_lab()


def test_each_known_mistake_is_told_from_the_others(lab):
    for mutant in lab.mutants:
        verdict = judge_locally(lab, mutant.target, mutant.code)
        assert verdict.status is Status.FAIL
        assert verdict.diagnosis.mutant is mutant
        assert verdict.line == f"This is what comes out when {mutant.says}."
        assert verdict.diagnosis.section == (
            mutant.section or lab.checks[mutant.target].section
        )


def test_a_known_mistake_is_asked_no_further_than_to_another_answer(lab):
    asked = []

    @lab.mutant("scaling", "all is forgotten")
    def forgotten(x, n):
        asked.append(n)
        return 0 * x

    assert judge_locally(lab, "scaling", lambda x, n: x + n).status is Status.FAIL
    assert asked == [2]  # the first answer is another one already
    asked.clear()
    assert judge_locally(lab, "scaling", lambda x, n: 0 * x).diagnosis.mutant
    assert asked == [2, 3, 0]


def test_a_mistake_behind_an_object_in_a_tuple_is_named(lab):
    class Mine:
        def scale(self, x):
            return 3 * x + 1

    assert (
        judge_locally(lab, "boxes", lambda n: (Mine(), 1)).diagnosis.mutant.says
        == "a one is added"
    )


def test_an_unknown_mistake_gets_a_pattern_or_the_symptom(lab):
    doubled = judge_locally(lab, "scaling", lambda x, n: 2 * n * x)
    assert (doubled.line, doubled.diagnosis.mutant) == (
        "The result is 2 times what it should be, everywhere.",
        None,
    )
    assert doubled.diagnosis.symptom.startswith(
        "the result is off: 2 of 2 numbers differ"
    )
    assert (
        doubled.diagnosis.call == "scaling(tensor(5, -6), 2)"
        and doubled.diagnosis.section == "Scaling"
    )
    other = judge_locally(lab, "scaling", lambda x, n: (n * x) ** 2)
    assert other.diagnosis.cause == "" and other.line == other.diagnosis.symptom


def test_a_mistake_that_the_transcript_does_not_show_is_not_named(lab):
    def same_as_right(x, n):
        if n == 0:
            raise ValueError("n must not be 0")
        return n * x

    lab.mutants.clear()
    lab.mutant("scaling", "it is right")(same_as_right)
    verdict = judge_locally(lab, "scaling", lambda x, n: None)
    assert verdict.status is Status.FAIL and verdict.diagnosis.mutant is None
    assert (
        verdict.line
        == "the result is None; expected is a float32 tensor of shape (2,); is a "
        "return missing?"
    )


ODD = [
    None,
    "text",
    [[]],
    {"a": 1},
    object(),
    torch.complex(Y, Y),
    torch.empty(0),
    Y.long(),
    iter([1]),
    10**400,
]
ODD += [
    Y.double().numpy(),
    [Y] * 3,
    (Y, object()),
    {object(): 1},
    torch.float32,
    print,
    b"x",
    wire.Stream,
    math.nan,
]


@pytest.mark.parametrize("value", ODD)
def test_no_odd_value_breaks_the_diagnosis(value, lab):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("scaling", "boxes"):
            verdict = judge_locally(lab, name, lambda *_, value=value: value)
            assert (
                verdict.status is Status.FAIL
                and verdict.diagnosis.symptom
                and "\n" not in verdict.line
            )


def test_a_call_is_written_as_one_would_write_it():
    request = {
        "args": [torch.zeros(2, 3, 5), 3, "x"],
        "kwargs": {"mask": None, "n": [1, 2]},
        "method": None,
    }
    assert (
        describe_call("sdpa", request)
        == "sdpa(float32 (2, 3, 5), 3, 'x', mask=None, n=[1, 2])"
    )
    request = {
        "args": [wire.Stream([1]), wire.Handle(0, "Box"), torch.tensor([0.5, -1e9])],
        "kwargs": {},
        "method": "go",
    }
    assert (
        describe_call("Cls", request) == "Cls.go(iter([1]), a Box, tensor(0.5, -1e+09))"
    )
    request = {
        "args": [torch.tensor([50256, 1]), torch.tensor(1j), torch.tensor(True)],
        "kwargs": {},
    }
    assert (
        describe_call("f", request) == "f(tensor(50256, 1), tensor(0+1j), tensor(True))"
    )
    assert describe_call("f", None) == ""


def test_a_long_call_is_cut():
    line = describe_call("f", {"args": ["x" * 1000] * 3, "kwargs": {"y" * 200: 1}})
    assert len(line) == 159 and line.endswith(" ...") and "xxx ...xxx'" in line


def test_two_checks_of_one_session_do_not_share_a_failure(lab):
    assert judge_locally(lab, "scaling", lambda x, n: x).status is Status.FAIL
    assert judge_locally(lab, "scaling", lab.reference["scaling"]).status is Status.PASS
    with pytest.raises(RuntimeError):
        expect(True, "")
