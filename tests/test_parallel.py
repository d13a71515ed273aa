import functools
import os
import signal
import time

import psutil
import pytest

from happyllm_support.parallel import AHEAD, ordered_map


def slow_square(x, *, slow=()):
    if x in slow:
        time.sleep(0.3)
    return x * x, os.getpid()


def fail(x, *, error):
    if x == 3:
        raise error
    return x


def die(x):
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def sleep(x):
    time.sleep(60)


def children():
    return [
        p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())
    ]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_order_is_that_of_the_items(workers):
    function = functools.partial(slow_square, slow={0, 4})
    results = list(ordered_map(function, range(20), workers=workers))
    assert [value for value, _ in results] == [x * x for x in range(20)]
    pids = {pid for _, pid in results}
    assert (
        (pids == {os.getpid()})
        if workers == 1
        else (1 < len(pids) <= workers and os.getpid() not in pids)
    )
    assert children() == []


def test_items_are_read_no_further_ahead_than_results_need():
    read = []

    def items():
        for x in range(10_000):
            read.append(x)
            yield x

    results = ordered_map(abs, items(), workers=2)
    for x in range(30):
        assert next(results) == x
        assert len(read) <= x + 2 * AHEAD + 2
    assert len(children()) == 2
    results.close()
    assert children() == []


def test_no_more_processes_than_items_and_none_for_none():
    assert list(ordered_map(abs, [], workers=3)) == []
    results = ordered_map(abs, [-1], workers=3)
    assert next(results) == 1 and len(children()) == 1
    assert list(results) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_refusal_arrives_as_it_was(workers):
    function = functools.partial(fail, error=ValueError("file x: not this"))
    with pytest.raises(ValueError, match=r"^file x: not this$"):
        list(ordered_map(function, range(9), workers=workers))
    assert children() == []


def test_another_failure_comes_with_its_traceback():
    with pytest.raises(
        RuntimeError, match=r"(?s)a worker process failed.*in fail.*KeyError: 'x'"
    ):
        list(
            ordered_map(
                functools.partial(fail, error=KeyError("x")), range(9), workers=2
            )
        )
    assert children() == []


def test_a_killed_child_is_noticed():
    with pytest.raises(ChildProcessError, match="a worker process died"):
        list(ordered_map(die, range(9), workers=2))
    assert children() == []


def test_an_error_of_the_source_ends_busy_children():
    def items():
        yield from range(2)
        raise OSError("source")

    with pytest.raises(OSError, match="source"):
        list(ordered_map(sleep, items(), workers=3))
    assert children() == []


def test_workers_must_be_positive():
    with pytest.raises(ValueError, match="workers is 0; expected at least 1"):
        list(ordered_map(abs, [1], workers=0))
