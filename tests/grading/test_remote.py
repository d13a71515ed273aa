"""Calls that look like calls: what a check does with a `Remote`, and the transcript of
it.
"""

import pytest
import torch

from happyllm_support.grading import wire
from happyllm_support.grading.compare import expect
from happyllm_support.grading.not_yet import NotYet
from happyllm_support.grading.remote import (
    LearnerRaised,
    Remote,
    RemoteIterator,
    Session,
    current,
    session,
)
from happyllm_support.grading.workbench import Workbench


def start(**names):
    """A session with a workbench over these names."""
    return Session(Workbench(names).handle)


def remote(name, **names):
    return Remote(start(**names), name)


def test_a_call_goes_out_as_copies_and_comes_back_as_values():
    seen = []
    f = remote("f", f=lambda *a, **k: seen.append((a, k)) or (a[0] * 2, {"k": k["k"]}))
    x = torch.ones(2)
    value = f(x, "text", k=[1])
    assert torch.equal(value[0], 2 * x) and value[1] == {"k": [1]}
    ((args, kwargs),) = seen
    assert (
        torch.equal(args[0], x)
        and args[0] is not x
        and args[1] == "text"
        and kwargs == {"k": [1]}
    )
    assert repr(f) == "f"


def test_an_object_is_called_asked_and_passed_on():
    class Box:
        def __init__(self, n):
            self.n = n

        def add(self, m):
            self.n += m
            return self

        def __call__(self, m):
            return self.n * m

    made = remote("Box", Box=Box, unbox=lambda box, extra: box.n + extra)
    box = made(3)
    assert isinstance(box, Remote) and repr(box) == "a Box"
    assert box(2) == 6 and box.get("n") == 3
    assert box.add(4).get("n") == 7 and box.add(m=1).get("n") == 8
    assert made.given("unbox")(box, extra=1) == 9
    with pytest.raises(AttributeError):
        _ = box.add.further
    with pytest.raises(AttributeError):
        _ = box.__len__


def test_an_iterator_runs_only_as_far_as_it_is_asked():
    log = []

    def numbers(stream):
        for value in stream:
            log.append(value)
            yield value * 2

    f = remote("f", f=numbers)
    values = f(wire.Stream([1, 2, 3]))
    assert isinstance(values, RemoteIterator) and log == []
    assert next(values) == 2 and f.taken() == [1] and log == [1]
    assert list(values) == [4, 6] and list(values) == []


def test_an_exception_of_the_learners_carries_what_the_grader_needs():
    def f(x):
        raise KeyError(f"no {x}")

    running = start(f=f)
    with pytest.raises(LearnerRaised, match="KeyError: 'no 3'") as caught:
        Remote(running, "f")(3)
    error = caught.value
    assert (error.type_name, error.message, error.bases[1]) == (
        "KeyError",
        "'no 3'",
        "LookupError",
    )
    assert error.request["args"] == [3]


class Special(ValueError):
    pass


def refuse(error):
    raise {"special": Special("not so"), "type": TypeError("odd"), "not yet": NotYet()}[
        error
    ]


def test_an_exception_that_is_asked_for():
    running = start(refuse=refuse, accept=lambda x: x)
    f = Remote(running, "refuse")
    assert (
        f.raises(ValueError, "special") == "not so"
        and f.raises(Special, "special") == "not so"
    )
    assert running.failure is None
    with pytest.raises(LearnerRaised):
        f.raises(ValueError, "not yet")
    assert f.raises(ValueError, "type") == "odd"
    assert (
        running.failure.symptom
        == "it raises TypeError (odd) where ValueError is asked for"
    )
    accepting = start(accept=lambda x: x)
    assert Remote(accepting, "accept").raises(ValueError, 3) == ""
    assert (
        accepting.failure.symptom
        == "it accepts what it should refuse with a ValueError"
    )


@pytest.mark.parametrize(
    ("value", "change"),
    [
        (torch.ones(2, 3), lambda x: x.mul_(2)),
        (torch.ones(2, 3), lambda x: x.t_()),
        ([1, 2], lambda x: x.pop()),
        ([3, 2], lambda x: x.sort()),
        ({"a": 1}, lambda x: x.clear()),
        ({"a": [torch.ones(2)]}, lambda x: x["a"][0].zero_()),
        ((0, [{1}]), lambda x: x[1][0].add(2)),
    ],
)
@pytest.mark.parametrize("by_name", [False, True])
def test_a_changed_argument_is_a_failure(value, change, by_name):
    running = start(f=lambda x: None, g=lambda x: [change(x)])
    for name in ("f", "g"):
        assert running.failure is None
        Remote(running, name)(**{"x": value}) if by_name else Remote(running, name)(
            value
        )
    assert running.failure.symptom.startswith("it modified its arguments in place")


def test_using_up_a_stream_an_object_or_a_generator_is_no_change():
    class Kept:
        pass

    bench = Workbench(
        {
            "f": lambda s, g, box: (
                next(s),
                torch.rand(1, generator=g),
                setattr(box, "n", 1),
            ),
            "Box": Kept,
        }
    )
    running = Session(bench.handle)
    box = Remote(running, "Box")()
    Remote(running, "f")(wire.Stream([1]), torch.Generator(), box)
    assert running.failure is None


def test_gradients_and_parameters_of_a_module():
    made = remote("Linear", Linear=torch.nn.Linear)
    layer = made(3, 2)
    weight = torch.arange(6.0).reshape(2, 3)
    layer.load_parameters({"weight": weight, "bias": torch.zeros(2)})
    assert set(layer.parameters()) == {"weight", "bias"} and torch.equal(
        layer.get("weight"), weight
    )
    x, cotangent = torch.ones(4, 3), torch.full((4, 2), 2.0)
    output, grads, parameters = layer.gradients(x, cotangent=cotangent)
    assert torch.equal(output, x @ weight.T)
    assert torch.equal(grads[0], cotangent @ weight) and torch.equal(
        parameters["bias"], cotangent.sum(0)
    )
    with pytest.raises(LearnerRaised, match="no parameter scale; it has bias, weight"):
        layer.load_parameters({"scale": weight})


def test_the_transcript_holds_each_request_and_reply_and_the_first_failure_counts():
    running = start(f=lambda x: x + 1)
    f = Remote(running, "f")
    f(1)
    running.fail("first", got=1, want=2)
    f(2)
    running.fail("second")
    asked = [
        (wire.decode(request), wire.decode(reply))
        for request, reply in running.transcript
    ]
    assert [(request["args"], reply["value"]) for request, reply in asked] == [
        ([1], 2),
        ([2], 3),
    ]
    assert (running.failure.symptom, running.failure.got, running.failure.want) == (
        "first",
        1,
        2,
    )
    assert running.failure.request["args"] == [1] and running.last_call["args"] == [2]


def test_comparisons_outside_of_a_check_are_refused():
    with pytest.raises(RuntimeError, match="comparisons belong into a check"):
        expect(True, "")
    running = start()
    with current(running):
        assert session() is running and expect(True, "")
    with pytest.raises(RuntimeError):
        session()
    assert running.comparisons == 1
