"""One map over processes: its order, its bounds, its errors, and that nothing is left
behind, however it ends.
"""

import functools
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from happyllm_support.parallel import AHEAD, ordered_map

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")


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


def start_another(x):
    return subprocess.Popen(["sleep", "600"]).pid


def talk(x):
    print("from Python")
    os.write(1, b"from C")
    return sys.stdin.read(), x


def generator_of(x):
    return (x for _ in range(2))


def children(parent=None):
    return [
        child
        for child in psutil.Process(parent).children()
        if "happyllm_support.parallel" in " ".join(child.cmdline())
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


def test_results_may_come_as_they_are_done():
    function = functools.partial(slow_square, slow={0})
    results = ordered_map(function, range(20), workers=2, ordered=False)
    values = [value for value, _ in results]
    assert values != sorted(values) == [x * x for x in range(20)]
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
        assert len(read) <= x + 2 * AHEAD
    assert len(children()) == 2
    results.close()
    assert children() == []


def test_no_more_processes_than_items_and_none_for_none():
    assert list(ordered_map(abs, [], workers=3)) == []
    results = ordered_map(slow_square, [-1, -2], workers=3)
    assert next(results)[0] == 1 and len(children()) == 2
    assert [value for value, _ in results] == [4]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_refusal_arrives_as_it_was(workers):
    function = functools.partial(fail, error=ValueError("file x: not this"))
    with pytest.raises(ValueError, match=r"^file x: not this$"):
        list(ordered_map(function, range(9), workers=workers))
    assert children() == []


def test_another_failure_comes_with_its_traceback():
    function = functools.partial(fail, error=KeyError("x"))
    with pytest.raises(
        RuntimeError, match=r"(?s)a worker process failed.*in fail.*KeyError: 'x'"
    ):
        list(ordered_map(function, range(9), workers=2))
    assert children() == []


@pytest.mark.parametrize(
    ("function", "items"),
    [(lambda x: x, [1, 2]), (abs, [1, lambda: 2]), (generator_of, [1, 2])],
    ids=["function", "item", "result"],
)
def test_what_cannot_be_sent_is_refused_in_one_line(function, items):
    with pytest.raises(ValueError, match="expected, for other processes, plain") as one:
        list(ordered_map(function, items, workers=2))
    assert "\n" not in str(one.value)
    assert children() == []


def test_a_function_may_print_and_read():
    assert list(ordered_map(talk, [1, 2], workers=2)) == [("", 1), ("", 2)]


@POSIX
def test_a_killed_child_is_noticed():
    with pytest.raises(ChildProcessError, match="a worker process ended with code -9"):
        list(ordered_map(die, range(9), workers=2))
    assert children() == []


@POSIX
def test_a_child_that_is_killed_between_two_items_is_noticed():
    results = ordered_map(abs, range(100), workers=2)
    next(results)
    for child in children():
        child.kill()
    with pytest.raises(ChildProcessError, match="a worker process ended with code -9"):
        list(results)


@POSIX
def test_a_child_that_never_starts_is_noticed(monkeypatch):
    class Dead(subprocess.Popen):
        def __init__(self, command, **options):
            super().__init__(["/bin/false"], **options)
            self.wait()

    monkeypatch.setattr(subprocess, "Popen", Dead)
    with pytest.raises(ChildProcessError, match="a worker process ended with code 1"):
        list(ordered_map(abs, range(9), workers=2))


@POSIX
def test_what_a_function_started_ends_too():
    results = ordered_map(start_another, range(4), workers=2)
    started = psutil.Process(next(results))
    assert started.name() == "sleep"
    results.close()
    gone, _ = psutil.wait_procs([started], timeout=10)
    assert gone or started.status() == psutil.STATUS_ZOMBIE  # where nobody reaps it


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


SCRIPT = """
from happyllm_support.parallel import ordered_map
print("started")
def mine(x):
    return x
print(sum(ordered_map(abs, range(9), workers=2)))
try:
    print(list(ordered_map(mine, range(9), workers=2)))
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize("how", ["file", "standard input"])
def test_a_script_needs_no_main_guard(tmp_path, how):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, *([tmp_path / "script.py"] if how == "file" else [])]
    result = subprocess.run(
        command, input=SCRIPT, capture_output=True, text=True, timeout=60
    )
    started, total, refusal = result.stdout.splitlines()  # each once
    assert (result.stderr, started, total) == ("", "started", "36")
    assert "'mine' on <module '__main__'" in refusal
    assert refusal.endswith("what a module defines (not a script or a notebook)")


FOR_EVER = """
import itertools, time
from happyllm_support.parallel import ordered_map
seconds = itertools.chain([0, 0], itertools.repeat(600))
for _ in ordered_map(time.sleep, seconds, workers=2):
    print(".", flush=True)
"""


@POSIX
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_or_killed_it_leaves_no_process(how):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", FOR_EVER]
    parent = subprocess.Popen(command, **pipes, start_new_session=True)
    assert parent.stdout.readline() == b".\n"
    workers = children(parent.pid)
    assert len(workers) == 2
    if how == signal.SIGINT:
        os.killpg(parent.pid, how)  # as a terminal does on Ctrl-C: to the whole group
    else:
        parent.kill()
    _, errors = parent.communicate(timeout=30)
    assert parent.returncode == -how
    # its own KeyboardInterrupt, nobody else's
    assert errors.count(b"Traceback") == (how == signal.SIGINT), errors
    deadline = time.monotonic() + 10
    while any(
        worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE
        for worker in workers
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
