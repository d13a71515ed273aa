"""Comparisons: what is close, what is equal, what is said, and what may not be
expected.
"""

import math

import numpy as np
import pytest
import torch

from happyllm_support.grading.compare import (
    CheckError,
    expect,
    expect_close,
    expect_equal,
    kind_of,
    right_so_far,
    same,
)
from happyllm_support.grading.remote import Session, current
from happyllm_support.grading.workbench import Workbench

WANT = torch.tensor([[0.0, 1.0, -2.0], [100.0, 5.0, 0.5]])


@pytest.fixture
def running():
    with current(Session(Workbench({}).handle)) as running:
        yield running


def symptom(running):
    return running.failure.symptom if running.failure else ""


@pytest.mark.parametrize("factor", [1e-12, 1.0, 1e12])
def test_the_tolerance_is_a_share_of_the_largest_number(factor, running):
    want = WANT.double() * factor
    assert expect_close(want + 0.9e-3 * factor, want, tolerance=1e-5)
    assert running.failure is None
    assert not expect_close(want + 1.1e-3 * factor, want, tolerance=1e-5)
    assert running.comparisons == 2


@pytest.mark.parametrize(
    "got",
    [
        WANT * 0,
        torch.ones(2, 3),
        -WANT,
        2 * WANT,
        WANT + 0.1,
        WANT * math.nan,
        WANT / 0,
        WANT.flip(0),
    ],
)
def test_zeros_constants_and_the_usual_mistakes_are_not_close(got, running):
    assert not expect_close(got, WANT) and not right_so_far()


def test_what_is_said_of_a_difference(running):
    got = WANT.clone()
    got[1, 0], got[1, 2] = 90.0, 0.75
    expect_close(got, WANT, "the output")
    says = (
        "the output is off: 2 of 6 numbers differ, the first at [1, 0] is 90 instead "
        "of 100 (largest error 10)"
    )
    assert symptom(running) == says
    assert running.failure.got is got and running.failure.want is WANT


@pytest.mark.parametrize(
    ("got", "want", "says"),
    [
        (None, WANT, "is None; expected is a float32 tensor of shape (2, 3)"),
        ([1, 2], WANT, "is a list of 2; expected is a float32 tensor"),
        (np.ones((2, 3)), WANT, "is a NumPy array of shape (2, 3); expected is"),
        (3.0, WANT, "is the float 3.0; expected is"),
        ("x" * 500, WANT, "is a str of 500; expected is"),
        (WANT.T, WANT, "has the shape (3, 2); expected is (2, 3)"),
        (WANT[None], WANT, "has the shape (1, 2, 3); expected is (2, 3)"),
        (WANT.double(), WANT, "is float64; expected is float32"),
        (WANT.to(torch.complex64), WANT, "is complex64; expected is float32"),
        (
            WANT * math.nan,
            WANT,
            "is off: 6 of 6 numbers differ, the first at [0, 0] is nan instead of 0",
        ),
        (None, 2.0, "is None; expected is a number"),
        (True, 1.0, "is the bool True; expected is a number"),
        ("2", 2.0, "is a str of 1; expected is a number"),
        (
            torch.tensor(2.0),
            2.0,
            "is a float32 tensor of shape (); expected is a number",
        ),
        (3, 2.0, "is off: it is 3 instead of 2"),
        (123456.0, 2.0, "is off: it is 1.235e+05 instead of 2"),
        (math.inf, 2.0, "is off: it is inf instead of 2"),
        (torch.tensor(3.0), torch.tensor(2.0), "is off: it is 3 instead of 2"),
    ],
)
def test_each_kind_of_wrong_value_is_named(got, want, says, running):
    assert not expect_close(got, want, "the result")
    assert symptom(running).startswith(f"the result {says}") and "\n" not in symptom(
        running
    )


def test_numbers(running):
    assert (
        expect_close(2, 2.0)
        and expect_close(2.00001, 2.0)
        and not expect_close(2.0001, 2.0)
    )


@pytest.mark.parametrize(
    ("want", "says"),
    [
        (torch.zeros(2, 3), "a constant would pass"),
        (torch.full((3,), 7.0), "a constant would pass"),
        (torch.tensor(0.0), "nothing but zeros would pass"),
        (0.0, "nothing but zeros would pass"),
        (torch.tensor([1.0, math.inf]), "not finite"),
        (torch.tensor([1.0, math.nan]), "not finite"),
        (math.nan, "not finite"),
        (torch.empty(0, 3), "nothing but zeros would pass"),
        (
            torch.complex(torch.ones(2), torch.arange(2.0)),
            "complex; compare torch.view_as_real",
        ),
    ],
)
def test_an_expectation_that_wrong_code_would_meet_is_the_checks_mistake(
    want, says, running
):
    with pytest.raises(CheckError, match=says):
        expect_close(want, want, "it")


def test_a_trivial_expectation_has_to_be_asked_for(running):
    for want in (
        torch.zeros(2, 3),
        torch.full((3,), 7.0),
        0.0,
        torch.tensor([1.0, -math.inf]),
        torch.empty(0),
    ):
        assert expect_close(want, want, trivial=True)
    for got in (
        torch.zeros(2),
        torch.tensor([1.0, -math.inf]),
        torch.tensor([0.0, math.inf]),
    ):
        assert not expect_close(got, torch.tensor([0.0, -math.inf]), trivial=True)
    assert not expect_close(0.0, math.inf, trivial=True)


@pytest.mark.parametrize(
    ("got", "want", "says"),
    [
        (3, 2, "it is 3; expected is 2"),
        (True, 1, "it is the bool True; expected is the int 1"),
        (2.0, 2, "it is the float 2.0; expected is the int 2"),
        ((1, 2), [1, 2], "it is a tuple of 2; expected is a list of 2"),
        ([1, 3], [1, 2], "it is [1, 3]; expected is [1, 2]"),
        (
            list(range(9)),
            list(range(10)),
            "it ends after 9 of 10 items; 9 should follow",
        ),
        (
            list(range(10)),
            list(range(9)),
            "it has 10 items where 9 are expected; the first too many is 9",
        ),
        ([0] * 9, [0] * 8 + [1], "it differs first at index 8: 0 instead of 1"),
        (
            "abcdefgh!jk",
            "abcdefghijk",
            "it differs from index 8 on: ... 'abcdefgh!jk' instead of ... "
            "'abcdefghijk'",
        ),
        (b"a", b"b", "it is b'a'; expected is b'b'"),
        ({1: 2}, {1: 3}, "it is {1: 2}; expected is {1: 3}"),
        (None, [1], "it is None; expected is a list of 1"),
        (WANT, [1], "it is a float32 tensor of shape (2, 3); expected is a list of 1"),
        ([1], WANT, "it is a list of 1; expected is a float32 tensor"),
        (WANT.T, WANT, "it has the shape (3, 2); expected is (2, 3)"),
        (WANT > 0, (WANT > 0).int(), "it is bool; expected is int32"),
        (
            torch.tensor([[1, 2]]),
            torch.tensor([[1, 3]]),
            "it is off: 1 of 2 entries differ, the first at [0, 1] is 2 inst",
        ),
        (
            torch.tensor(1),
            torch.tensor(3),
            "it is off: 1 of 1 entries differ, the first at [] is 1 instead of 3",
        ),
    ],
)
def test_equal_means_equal_in_type_shape_and_content(got, want, says, running):
    assert not expect_equal(got, want, "it")
    assert symptom(running).startswith(says) and len(symptom(running)) < 300
    assert expect_equal(want, want, "it") and running.comparisons == 2


def test_a_condition_says_its_own_words(running):
    assert expect(True, "never seen") and running.failure is None and right_so_far()
    assert expect(False, "it is so") is False and symptom(running) == "it is so"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, 1.0), (True, 1), (1, "1"), ([1], (1,)), ([1], [1, 2]), (None, 0),
        ({1: 2}, {1: 2, 3: 4}), ({1}, {1, 2}),
        (torch.ones(2), torch.ones(2).double()), (torch.ones(2), torch.ones(1, 2)),
        (torch.ones(1), 1.0), (np.ones(2), np.zeros(2)), (np.ones(2), np.ones(3)),
        (np.ones(2), np.ones(2, "f4")), (np.ones(2), torch.ones(2)), (math.nan, 1.0),
        (torch.tensor(1j), torch.tensor(2j)),
        (torch.tensor(math.inf), torch.tensor(-math.inf)),
        ({"a": [torch.ones(1)]}, {"a": [torch.zeros(1)]}),
    ],
)  # fmt: skip
def test_not_the_same(left, right):
    assert not same(left, right) and not same(right, left)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        torch.tensor([math.nan, math.inf, 1.0]),
        np.array([1 + 2j]),
        {"a": (1, [None, {2}])},
        torch.empty(0),
    ],
)
def test_the_same(value):
    assert same(value, value)


def test_the_same_up_to_a_tolerance_or_a_floor():
    a, b = torch.tensor([1.0, 100.0]), torch.tensor([1.009, 100.0])
    assert same(a, b, tolerance=1e-4) and not same(a, b, tolerance=1e-5)
    assert same([1.0], [1.00001], tolerance=1e-4) and not same(
        [1.0], [1.001], tolerance=1e-4
    )
    tiny, none = torch.tensor([1e-9]), torch.tensor([0.0])
    assert same(tiny, none, tolerance=1e-4, floor=1e-3) and not same(
        tiny, none, tolerance=1e-4
    )


def test_the_words_for_a_value():
    values = (None, 2, {1, 2}, {}, object(), torch.ones(1))
    words = ["None", "the int 2", "a set of 2", "a dict of 0", "an object"]
    assert [kind_of(value) for value in values] == [
        *words,
        "a float32 tensor of shape (1,)",
    ]
