"""The grader's side of the isolation: start the process of a check, and end it with
everything that it left.

On Linux a spawner makes processes in milliseconds; elsewhere (or with `method="spawn"`)
each is a new interpreter, which takes seconds for importing torch and is otherwise the
same.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from typing import Any, Literal

import psutil

from happyllm_support.grading.judge import GraderError

Method = Literal["fork", "spawn"]
STARTUP = 120.0  # longest time that importing torch may take
START = (
    "import sys; from happyllm_support.grading.spawner import main; main(sys.argv[1:])"
)


class Launcher:
    """Starts and ends the processes in which checks run. A context manager; leaving it
    ends everything.

    Args:
        method: "fork" (Linux) or "spawn"; by default what the system allows.
    """

    def __init__(self, method: Method | None = None) -> None:
        if os.name != "posix":
            raise GraderError("the grader needs Linux or macOS; on Windows use WSL")
        self.method: Method = method or ("fork" if sys.platform == "linux" else "spawn")
        self._control: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the spawner and everything below it."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._server is not None:
            try:
                self._server.wait(10)
            except subprocess.TimeoutExpired:
                _kill_tree(self._server.pid)
                self._server.wait()
            self._server = None

    def start(self, connection: int, output: int, trace: int, scratch: str) -> int:
        """Start the process of a check; the arguments are those of `child.serve`.

        Returns:
            Its process id.
        """
        if self._server is None or self._server.poll() is not None:
            self._start_server()
        return int(self._ask({"start": scratch}, (connection, output, trace))["pid"])

    def end(self, pid: int) -> tuple[int, int]:
        """Kill a process, its group and its descendants.

        Returns:
            Its exit status (negative: the signal), and how many processes it had left.
        """
        answer = self._ask({"end": pid})
        return int(answer["status"]), int(answer["left"])

    def below(self) -> list[psutil.Process]:
        """Every process that has come from a check, whoever is its parent now."""
        return (
            psutil.Process(self._server.pid).children(recursive=True)
            if self._server is not None
            else []
        )

    def _start_server(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-c", START, str(theirs.fileno()), self.method]
            self._server = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                env=_environment(),
                start_new_session=True,
                stdin=subprocess.DEVNULL,
            )

    def _ask(
        self, message: dict[str, Any], fds: tuple[int, ...] = ()
    ) -> dict[str, Any]:
        assert self._control is not None
        self._control.settimeout(STARTUP)
        try:
            socket.send_fds(self._control, [json.dumps(message).encode() + b"\n"], fds)
            answer = self._control.recv(1 << 16)
        except OSError:
            answer = b""
        if not answer:
            self._control.close()
            self._control, server = None, self._server
            self._server = None
            if server is not None:
                _kill_tree(server.pid)
                server.wait()
            raise GraderError(
                "the process that starts the checks has ended; run it again, and "
                "report it if it recurs"
            )
        return json.loads(answer)


def _kill_tree(pid: int) -> None:
    """Kill a process and all processes below it."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.Error):
                each.kill()


def _environment() -> dict[str, str]:
    """That of this process, with one thread for every library."""
    threads = {
        name: "1"
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    }
    rest = {
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
        "TORCH_COMPILE_DISABLE": "1",
    }  # compilers are processes
    return {**os.environ, **threads, **rest}
