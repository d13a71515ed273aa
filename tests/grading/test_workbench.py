"""Where a learner's functions are called: requests, seeds, streams, handles, and what
exceptions say.
"""

import linecache
import random

import numpy as np
import pytest
import torch

from happyllm_support.grading import wire
from happyllm_support.grading.workbench import Counted, Workbench, describe


def ask(bench, do, **request):
    return wire.decode(bench.handle(wire.encode({"do": do, **request})))


def call(bench, target, *args, method=None, **kwargs):
    return ask(
        bench, "call", target=target, args=list(args), kwargs=kwargs, method=method
    )


def draw(generator=None):
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]


def test_a_call_returns_the_value_and_a_digest_of_the_arguments_afterwards():
    bench = Workbench({"add": lambda a, b=1: a + b})
    x = torch.arange(3.0)
    reply = call(bench, "add", x, b=2)
    assert torch.equal(reply["value"], x + 2)
    assert reply["after"] == wire.digest([[x], {"b": 2}, None])


@pytest.mark.parametrize(
    ("change", "value"),
    [
        (lambda x: x.add_(1), torch.ones(2)),
        (lambda x: x.resize_(1), torch.ones(2)),
        (lambda x: x.append(1), [1]),
        (lambda x: x.update(a=2), {"a": 1}),
        (lambda x: x.add(2), {1}),
        (lambda x: x["a"][0].zero_(), {"a": [torch.ones(2)]}),
        (lambda x: x[0][1].sort(), [(0, [2, 1])]),
        (lambda x: x.__setitem__(0, 5), np.arange(3)),
    ],
)
def test_arguments_that_were_modified_have_another_digest(change, value):
    bench = Workbench({"change": change, "look": lambda x: None})
    assert call(bench, "look", value)["after"] == wire.digest([[value], {}, None])
    assert call(bench, "change", value)["after"] != wire.digest([[value], {}, None])


def test_the_same_request_of_the_same_check_draws_the_same_numbers():
    first, second, other = (
        Workbench({"f": draw}, seed=5),
        Workbench({"f": draw}, seed=5),
        Workbench({"f": draw}, seed=6),
    )
    draws = [
        call(bench, "f")["value"] for bench in (first, second, other, first, second)
    ]
    assert draws[0] == draws[1] and draws[3] == draws[4]
    assert not set(draws[0]) & set(draws[2]) and not set(draws[0]) & set(draws[3])


def test_a_stream_arrives_as_an_iterator_and_is_counted():
    def take(values, n, more=()):
        assert iter(values) is values
        return [next(values) for _ in range(n)] + list(more)

    bench = Workbench({"take": take})
    assert call(bench, "take", wire.Stream([1, 2, 3]), 2, more=wire.Stream("ab"))[
        "value"
    ] == [1, 2, "a", "b"]
    assert ask(bench, "taken")["value"] == [2, 2]
    assert list(Counted([1, 2])) == [1, 2]


def test_an_iterator_stays_and_is_asked_for_each_value():
    started = []

    def count(n):
        for i in range(n):
            started.append(i)
            yield i

    bench = Workbench({"count": count})
    handle = call(bench, "count", 2)["value"]
    assert handle.iterator and handle.type_name == "generator" and started == []
    assert [ask(bench, "next", target=handle)["value"] for _ in range(4)] == [
        [0],
        [1],
        [],
        [],
    ]


class Box(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([2.0, 3.0]))
        self.tied = self.weight
        self.layers = torch.nn.ModuleList([torch.nn.Linear(1, 1)])
        self.register_buffer("table", torch.zeros(2))

    def forward(self, x):
        return (self.weight * x**2).sum()


def test_a_module_stays_and_its_parts_are_reached_by_name():
    bench = Workbench({"Box": Box})
    box = call(bench, "Box")["value"]
    assert float(call(bench, box, torch.ones(2))["value"]) == 5.0
    assert float(call(bench, box, torch.ones(2), method="forward")["value"]) == 5.0
    assert torch.equal(
        ask(bench, "get", target=box, path="weight")["value"], torch.tensor([2.0, 3.0])
    )
    assert ask(bench, "get", target=box, path="layers.0.bias")["value"].shape == (1,)
    names = set(ask(bench, "parameters", target=box)["value"])
    assert names == {"weight", "tied", "layers.0.weight", "layers.0.bias", "table"}
    assert (
        ask(
            bench,
            "load",
            target=box,
            values={"weight": torch.ones(2), "table": torch.ones(2)},
        )["value"]
        is None
    )
    assert float(call(bench, box, torch.ones(2))["value"]) == 2.0


@pytest.mark.parametrize(
    ("values", "type_name", "says"),
    [
        (
            {"bias": torch.ones(2)},
            "AttributeError",
            "the module has no parameter bias; it has layers.0.bias, ",
        ),
        (
            {"weight": torch.ones(3)},
            "ValueError",
            r"the parameter weight has the shape (2,), expected is (3,)",
        ),
    ],
)
def test_parameters_that_do_not_fit_are_named(values, type_name, says):
    bench = Workbench({"Box": Box})
    raised = ask(bench, "load", target=call(bench, "Box")["value"], values=values)[
        "raised"
    ]
    assert raised["type"] == type_name and raised["message"].startswith(says)


def test_gradients_of_arguments_and_parameters():
    bench = Workbench({"Box": Box, "f": lambda x, n, y: x * y * n})
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    request = {"args": [x, 2, y], "kwargs": {}, "cotangent": torch.tensor([1.0, 10.0])}
    output, grads, parameters = ask(bench, "gradients", target="f", **request)["value"]
    assert torch.equal(output, 2 * x * y) and parameters == {}
    assert grads[1] is None and torch.equal(grads[0], 2 * y * torch.tensor([1.0, 10.0]))
    assert torch.equal(grads[2], 2 * x * torch.tensor([1.0, 10.0]))
    box = call(bench, "Box")["value"]
    for _ in range(2):  # not added up
        request = {"args": [x], "kwargs": {}, "cotangent": torch.tensor(1.0)}
        _, grads, parameters = ask(bench, "gradients", target=box, **request)["value"]
        assert (
            torch.equal(parameters["weight"], x**2)
            and parameters["layers.0.weight"] is None
        )


BAD = [
    "no message",
    "an unknown request",
    "no such name",
    "no such handle",
    "no such method",
    "something unsendable",
]


@pytest.mark.parametrize("name", BAD)
def test_whatever_happens_the_reply_is_a_message(name):
    bench = Workbench({"f": lambda: torch.ones(1).to_sparse()})
    requests = {
        "no message": b"abc",
        "an unknown request": wire.encode({"do": "eval", "code": "1"}),
        "no such name": wire.encode(
            {"do": "call", "target": "g", "args": [], "kwargs": {}}
        ),
        "no such handle": wire.encode({"do": "next", "target": wire.Handle(3, "x")}),
        "no such method": wire.encode(
            {"do": "call", "target": "f", "args": [], "kwargs": {}, "method": "g"}
        ),
        "something unsendable": wire.encode(
            {"do": "call", "target": "f", "args": [], "kwargs": {}}
        ),
    }
    reply = wire.decode(bench.handle(requests[name]))
    assert set(reply) == {"raised"} and reply["raised"]["frames"] == []


SOURCE = """
class Box:
    def open(self):
        def inner():
            raise {}
        inner()
"""


def described(exception):
    source = SOURCE.format(exception)
    linecache.cache["<learner>"] = (
        len(source),
        None,
        source.splitlines(keepends=True),
        "<learner>",
    )
    names = {}
    try:
        exec(compile(source, "<learner>", "exec"), names)
        names["Box"]().open()
    except BaseException as error:
        return describe(error, "<learner>")
    finally:
        linecache.cache.pop("<learner>")


def test_an_exception_is_described_with_the_learners_lines():
    found = described("KeyError('no\\n key')")
    assert found["type"] == "KeyError" and found["bases"][:3] == [
        "KeyError",
        "LookupError",
        "Exception",
    ]
    assert found["frames"] == [
        [6, "Box.open", "inner()"],
        [5, "Box.open.inner", "raise KeyError('no\\n key')"],
    ]


@pytest.mark.parametrize(
    ("exception", "message"),
    [
        ("ValueError('two\\n lines')", "two lines"),
        ("ValueError('x' * 10000)", "x" * 500),
        (r"ValueError('\x1b[31m red \ud800 \x07')", "?[31m red ? ?"),
        ("ValueError", ""),
        ("SyntaxError", ""),
        ("SyntaxError('odd', ('f', 1, 1, 'x'))", "odd"),
        (
            "type('E', (Exception,), {'__str__': lambda self: 1 / 0})",
            "(its message cannot be shown: ZeroDivisionError)",
        ),
        (
            "type('E', (Exception,), {'__str__': lambda self: 3})",
            "(its message cannot be shown: TypeError)",
        ),
    ],
)
def test_a_message_is_one_line_that_every_terminal_can_show(exception, message):
    found = described(exception)
    assert found["message"] == message
    found["message"].encode("utf-8")


def test_a_syntax_error_names_its_own_line():
    try:
        compile("x = 1\ny = = 2\n", "<learner>", "exec")
    except SyntaxError as error:
        found = describe(error, "<learner>")
    assert found["message"] == "invalid syntax" and found["frames"] == [
        [2, "", "y = = 2"]
    ]


def test_arguments_that_were_modified_later_show_in_the_digest_too():
    def steps(x, stream):
        for block in stream:
            kept = block.clone()
            yield kept
            kept.zero_()
        x.zero_()

    class Holder:
        def __init__(self, x):
            self.x = x

        def spoil(self):
            self.x.zero_()

    def fresh():
        return Workbench(
            {
                "steps": steps,
                "Holder": Holder,
                "times": lambda x: (x * 2).sum() * x.detach().add_(1)[0],
            }
        )

    given = [[torch.ones(2), wire.Stream([torch.ones(1), torch.ones(1)])], {}, None]
    one = [torch.ones(1)]
    bench = fresh()
    handle = call(bench, "steps", *given[0])["value"]
    assert ask(bench, "next", target=handle)["after"] == wire.digest([given, None])
    assert ask(bench, "next", target=handle)["after"] != wire.digest(
        [given, one]
    )  # what it had given is zero now
    bench = fresh()
    handle = call(bench, "Holder", torch.ones(2))["value"]
    reply = ask(bench, "call", target=handle, method="spoil", args=[], kwargs={})
    assert reply["after"] != wire.digest([[], {}, [[torch.ones(2)], {}, None]])
    reply = ask(
        fresh(),
        "gradients",
        target="times",
        args=[torch.ones(2)],
        kwargs={},
        cotangent=torch.tensor(1.0),
    )
    assert reply["after"] != wire.digest([[torch.ones(2)], {}, None])
