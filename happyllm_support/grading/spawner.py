"""The process between the grader and the checks: it starts one child for each check,
and ends it with all it left.

With "fork" it has imported torch and runs nothing: forking is quick where importing
torch takes seconds. It must run no torch operator itself, since a fork after the first
matrix product would leave the child waiting for threads that it does not have; which is
why it is not the grader, who has run many. With "spawn" each child is a new
interpreter.

On Linux whatever a learner's code leaves behind becomes a child of this process, and is
ended. Elsewhere a process that has left its group and lost its parent cannot be found
again.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil

from happyllm_support.grading import child

PR_SET_CHILD_SUBREAPER = 36


def serve(control: socket.socket, start: Callable[[list[int], str], int]) -> None:
    """Answer the grader until it goes: start a child, end it and everything that came
    from it.

    Messages are lines of JSON: `{"start": scratch}` with three file descriptors
    (connection, output, trace) is answered by `{"pid": ...}`, and `{"end": pid}` by
    `{"status": ..., "left": number of further processes ended}`.

    Args:
        control: the connection to the grader.
        start: makes a child from the descriptors and the folder, and returns its
            process id.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    while True:
        line, fds, _, _ = socket.recv_fds(control, 1 << 16, 3)
        if not line:
            end_descendants()
            return
        message = json.loads(line)
        if "start" in message:
            answer: dict[str, Any] = {"pid": start(fds, message["start"])}
        else:
            answer = _end(message["end"])
        for fd in fds:
            os.close(fd)
        control.sendall(json.dumps(answer).encode() + b"\n")


def spawn(fds: list[int], scratch: str) -> int:
    """Start a new interpreter for a check."""
    code = (
        "import sys; from happyllm_support.grading.child import main; "
        "main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, *map(str, fds), scratch]
    process = subprocess.Popen(command, pass_fds=fds, start_new_session=True)
    process.returncode = 0  # it is waited for by its id, not by this object
    return process.pid


def fork(control: socket.socket, fds: list[int], scratch: str) -> int:
    """Start a check in a copy of this process."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        control.close()
        child.serve(socket.socket(fileno=fds[0]), fds[1], fds[2], scratch)
        code = 0
    except BrokenPipeError:
        code = 0  # the grader has gone
    finally:
        os._exit(code)


def _end(pid: int) -> dict[str, int]:
    """Kill a child and whatever is left of it, and say how it ended (of itself, when it
    had ended already).
    """
    done, status = os.waitpid(pid, os.WNOHANG)
    if not done:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "left": end_descendants(group=pid),
    }


def end_descendants(group: int | None = None) -> int:
    """Kill every process below this one, also those that have left their group, and
    return how many there were.
    """
    ended: set[int] = set()
    if group is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        left = psutil.Process().children(recursive=True)
        for process in left:
            ended.add(process.pid)
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not left:
            break
        time.sleep(0.01)
    return len(ended)


def main(arguments: list[str]) -> None:
    """Two arguments: the file descriptor of the control connection, and "fork" or
    "spawn".
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=int(arguments[0]))
    if arguments[1] == "fork":
        child.preload()
        serve(control, functools.partial(fork, control))
    else:
        serve(control, spawn)
    os._exit(0)
