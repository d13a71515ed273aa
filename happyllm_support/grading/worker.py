"""The grader's side of one check's process: ask it, watch what it takes meanwhile, and
say why it was stopped.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import struct
import tempfile
import time
from typing import Any

import psutil

from happyllm_support.grading import wire
from happyllm_support.grading.child import MAX_MESSAGE, MAX_OUTPUT, Job
from happyllm_support.grading.judge import GraderError, Stopped
from happyllm_support.grading.processes import STARTUP, Launcher
from happyllm_support.grading.workbench import NOTEBOOK

LONGEST_LINE = 160  # of what the learner's code prints
TICK = 0.02  # seconds between two looks at a process that is working


class Worker:
    """One process with the learner's code; `ask` is the transport of a `Session`.

    Args:
        launcher: starts the process, and ends it.
        job: what it runs.
        seconds: for everything that it is asked.

    Attributes:
        names: what the learner's file defines, after `start`.
    """

    def __init__(self, launcher: Launcher, job: Job, *, seconds: float) -> None:
        self._launcher = launcher
        self._job = job
        self._seconds = seconds
        self._left = STARTUP
        self._ended = False
        self._process: psutil.Process | None = None
        self._baseline = 0
        self._ticks = 0
        self._printed_before: list[int] = []  # each request
        self.names: list[str] = []
        self._scratch = tempfile.mkdtemp(prefix="happyllm-lab-")
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        self._trace = tempfile.TemporaryFile()  # noqa: SIM115
        self._connection, theirs = socket.socketpair()
        self._connection.setblocking(False)
        try:
            with theirs:
                files = (theirs.fileno(), self._output.fileno(), self._trace.fileno())
                self._pid = launcher.start(*files, self._scratch)
        except BaseException:
            self._release()
            self._output.close()
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._output.close()

    def start(self) -> dict[str, Any]:
        """Send the job; returns the first reply: `{"value": names}` or
        `{"raised": ...}`.

        Raises:
            Stopped: see `ask`.
        """
        if self._receive() != b"ready":
            raise GraderError("a process of the grader did not start")
        with contextlib.suppress(psutil.Error):
            self._process = psutil.Process(self._pid)
            self._baseline = self._process.memory_info().rss
        self._left = self._seconds
        reply = wire.decode(self.ask(wire.encode(vars(self._job))))
        if "value" in reply:
            self.names = reply["value"] if isinstance(reply["value"], list) else []
        return reply

    def ask(self, request: bytes) -> bytes:
        """Send a request, wait for the reply, and watch time, memory and output
        meanwhile.

        Raises:
            Stopped: the process has ended, was ended, or did what this exercise
                forbids.
        """
        self._printed_before.append(self._printed())
        self._transfer(struct.pack(">Q", len(request)) + request)
        reply = self._receive()
        try:
            content = wire.decode(reply)
            forbidden = content.get("forbidden")
        except (ValueError, AttributeError):
            raise self._stop("it writes into the connection to the grader") from None
        if forbidden is not None:
            self.end()
            raise Stopped(str(forbidden), forbidden=True)
        if not {"value", "raised"} & set(content):
            raise self._stop("it writes into the connection to the grader")
        if self._printed() >= MAX_OUTPUT:
            raise self._stop(f"it prints more than {MAX_OUTPUT >> 20} MB")
        return reply

    def left_behind(self) -> str:
        """End the process after its last call; says in one line which threads or
        processes it had left, or "".
        """
        threads = wire.decode(self.ask(wire.encode({"do": "threads"}))).get("value")
        _, processes = self.end()
        for count, kind in ((processes, "process"), (threads, "thread")):
            if count:
                return (
                    f"it leaves a {kind} running behind it; a function ends what it "
                    "starts"
                )
        return ""

    def end(self) -> tuple[int, int]:
        """End the process and everything that it left, and remove its folder.

        Returns:
            Its exit status, and how many processes it had left.
        """
        if self._ended:
            return 0, 0
        self._ended = True
        try:
            return self._launcher.end(self._pid)
        finally:
            self._release()

    def printed(self, request: int | None = None, lines: int = 20) -> str:
        """The last lines that the learner's code printed: during one request (counted
        from 0), else in all.
        """
        places = [*self._printed_before, self._printed()]
        first, last = (
            (0, places[-1]) if request is None else places[request + 1 : request + 3]
        )  # 0 was the job
        if first == last:
            first, last = 0, places[-1]
        first = max(first, last - (1 << 16))
        text = os.pread(self._output.fileno(), last - first, first).decode(
            "utf-8", "replace"
        )
        clean = re.sub(r"[^\S\n\t ]|[\x00-\x08\x0b-\x1f\x7f]", "", text)
        last = clean.splitlines()[-lines:]
        return "\n".join(
            line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} ..."
            for line in last
        )

    def _release(self) -> None:
        """Close and remove what only a living process needs; what it printed stays."""
        self._connection.close()
        self._trace.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _printed(self) -> int:
        """How many bytes the learner's code has printed so far."""
        return os.fstat(self._output.fileno()).st_size

    def _transfer(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            _, ready, _ = select.select([], [self._connection], [], TICK)
            if ready:
                try:
                    view = view[self._connection.send(view[: 1 << 20]) :]
                except OSError:
                    raise self._crashed() from None
            else:
                self._watch(TICK)

    def _receive(self) -> bytes:
        (size,) = struct.unpack(">Q", self._exactly(8))
        if size > MAX_MESSAGE + (1 << 20):
            raise self._stop("it writes into the connection to the grader")
        return self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size:
            started = time.monotonic()
            ready, _, _ = select.select([self._connection], [], [], TICK)
            self._watch(time.monotonic() - started)
            if not ready:
                continue
            try:
                part = self._connection.recv(min(size, 1 << 20))
            except OSError:
                part = b""
            if not part:
                raise self._crashed()
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _watch(self, elapsed: float) -> None:
        self._left -= elapsed
        self._ticks += 1
        if self._left < 0:
            raise self._out_of_time()
        if self._process is None:
            return
        try:
            used = self._process.memory_info().rss - self._baseline
            if self._ticks % 10 == 0:
                below = (
                    process
                    for process in self._launcher.below()
                    if process.pid != self._pid
                )
                used += sum(
                    max(0, process.memory_info().rss - self._baseline)
                    for process in below
                )
        except psutil.Error:
            return  # it has just ended; the connection will say so
        if used > self._job.memory_mb << 20:
            raise self._stop(f"it takes more than {self._job.memory_mb:,} MB of memory")

    def _stop(self, reason: str) -> Stopped:
        self.end()
        return Stopped(reason)

    def _out_of_time(self) -> Stopped:
        """Ask Python for its stack, which works in the middle of a native call too,
        then end the process.
        """
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self._pid, signal.SIGUSR1)
            time.sleep(0.2)
        place = self._place()
        guess = "a loop that never ends, or far too much work?"
        return self._stop(f"it is not done after {self._seconds:g} s{place}; {guess}")

    def _crashed(self) -> Stopped:
        place, (status, _) = self._place(), self.end()
        if status >= 0:
            return Stopped(
                f"it ends the whole process (exit code {status}) in the middle of a "
                "check; return instead"
            )
        name = signal.Signals(-status).name
        guess = (
            "; a recursion without an end?"
            if -status in (signal.SIGSEGV, signal.SIGBUS)
            else ""
        )
        return Stopped(f"it crashes ({name}){place}{guess}")

    def _place(self) -> str:
        """The learner's line in the dumped stack, innermost first, or ""."""
        text = os.pread(self._trace.fileno(), 1 << 16, 0).decode("utf-8", "replace")
        found = re.search(
            rf'File "{re.escape(self._job.filename)}", line (\d+) in (\S+)', text
        )
        if found is None:
            return ""
        return (
            f", in {found[2]}"
            if self._job.filename == NOTEBOOK
            else f", in line {found[1]}, in {found[2]}"
        )
