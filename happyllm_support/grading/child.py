"""The process that runs a learner's code: it receives a job and requests, and sends
back values.

It never sees an expected value. Its output goes to a file, its folder is an empty one,
its limits are set before the first line of the learner's code runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import io
import linecache
import os
import resource
import signal
import socket
import struct
import sys
import tempfile
import types
from dataclasses import dataclass

from happyllm_support.grading import wire
from happyllm_support.grading.guards import Guard, GuardedWorkbench
from happyllm_support.grading.workbench import Workbench, describe

MAX_MESSAGE = 256 << 20
MAX_OUTPUT = 1 << 20
PR_SET_PDEATHSIG = 1
HOMES = (
    "HOME",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "HF_HOME",
    "MPLCONFIGDIR",
    "TORCHINDUCTOR_CACHE_DIR",
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a process is asked to run.

    Attributes:
        source: the learner's code.
        filename: what tracebacks call it.
        module: the name of the module that it becomes.
        seed: see `Workbench`.
        trusted: the course's own code, which may import the package: no guards.
        memory_mb: most memory on top of what the process has at the start.
        operators, functions, imports: what this exercise forbids, see `Check`.
        protected: folders whose files may not be read.
    """

    source: str
    filename: str
    module: str
    seed: int
    memory_mb: int
    trusted: bool = False
    operators: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()


def serve(connection: socket.socket, output: int, trace: int, scratch: str) -> None:
    """Be the process of one check until the connection ends.

    Args:
        connection: to the grader.
        output: file descriptor that receives stdout and stderr.
        trace: file descriptor that receives Python's stack when the process is asked
            for it or crashes.
        scratch: an empty folder, the working directory.
    """
    import torch

    with contextlib.suppress(
        PermissionError
    ):  # a process made by `spawn` leads its session already
        os.setsid()
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stderr = open(  # noqa: SIM115
        1, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
    )
    _settle(scratch)
    faulthandler.enable(trace)
    faulthandler.register(signal.SIGUSR1, trace)
    torch.set_num_threads(1)
    send(connection, b"ready")
    message = receive(connection)
    if message is None:
        return
    job = Job(**wire.decode(message))
    _limit(job.memory_mb)
    bench, guard, reply = _load(job, scratch)
    while True:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        if guard.violations:
            reply = wire.encode({"forbidden": guard.violations[0]})
        if len(reply) > MAX_MESSAGE:
            error = MemoryError(f"the result is larger than {MAX_MESSAGE >> 20} MB")
            reply = wire.encode({"raised": describe(error, job.filename)})
        send(connection, reply)
        message = receive(connection)
        if message is None:
            return
        reply = bench.handle(message)


def _load(job: Job, scratch: str) -> tuple[Workbench, Guard, bytes]:
    """Run the learner's file and return the workbench over its names, and the first
    reply: names, or what it raised.
    """
    module = types.ModuleType(job.module)
    module.__file__ = job.filename
    sys.modules[job.module] = module
    lines = io.StringIO(
        job.source
    ).readlines()  # str.splitlines would split at a form feed, too
    linecache.cache[job.filename] = (len(job.source), None, lines, job.filename)
    guard = Guard(
        own=job.filename, scratch=scratch, protected=job.protected, imports=job.imports
    )
    if job.trusted:
        bench = Workbench(module.__dict__, seed=job.seed, filename=job.filename)
    else:
        bench = GuardedWorkbench(
            module.__dict__,
            seed=job.seed,
            filename=job.filename,
            guard=guard,
            operators=job.operators,
            functions=job.functions,
        )
        guard.install()
        guard.refuse(job.operators, job.functions)
    try:
        exec(
            compile(job.source, job.filename, "exec", dont_inherit=True),
            module.__dict__,
        )
        reply = wire.encode({"value": [str(name) for name in module.__dict__]})
    except BaseException as error:
        reply = wire.encode({"raised": describe(error, job.filename)})
    return bench, guard, reply


def _settle(scratch: str) -> None:
    """Make the empty folder the place of what libraries keep somewhere: settings,
    caches, temporary files.
    """
    os.chdir(scratch)
    os.environ.update(dict.fromkeys(HOMES, scratch), MPLBACKEND="agg")
    tempfile.tempdir = scratch  # a library has asked for it already, before the fork


def _limit(memory_mb: int) -> None:
    """A bound on the address space as the last resort (the grader watches what is
    really used), on files, no cores.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_OUTPUT, MAX_OUTPUT))
    if sys.platform == "linux":
        with open("/proc/self/statm") as statm:
            pages = int(statm.read().split()[0])
        size = pages * resource.getpagesize() + (4 * memory_mb << 20)
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def send(connection: socket.socket, message: bytes) -> None:
    """Send a message with its length before it."""
    connection.sendall(struct.pack(">Q", len(message)) + message)


def receive(connection: socket.socket) -> bytes | None:
    """Receive a message, or None when the other side has gone."""
    header = _exactly(connection, 8)
    return (
        None if header is None else _exactly(connection, struct.unpack(">Q", header)[0])
    )


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    parts: list[bytes] = []
    while size:
        part = connection.recv(min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def preload() -> None:
    """Import what takes long, and what has to be here before the guards are."""
    for name in (
        "numpy",
        "torch",
        "torch.overrides",
        "torch.utils._python_dispatch",
        "torch._dynamo",
    ):
        importlib.import_module(name)
    sys.modules["torch.overrides"].resolve_name(
        print
    )  # makes its table of names once, for all forks


def main(arguments: list[str]) -> None:
    """A process made by `spawn`: the descriptors and the folder are its arguments."""
    preload()
    connection, output, trace = (int(argument) for argument in arguments[:3])
    serve(socket.socket(fileno=connection), output, trace, arguments[3])
    os._exit(0)
