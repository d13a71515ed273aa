"""A map over processes in bounded memory.

`multiprocessing.Pool.imap` reads its whole input ahead and hangs when a child is
killed; `ProcessPoolExecutor` cannot be told to stop a call that is running; both run
the caller's script again in each child, or copy a process that may hold threads. Here a
child is a fresh interpreter that knows one function, gets one item at a time through a
pipe and sends one result back. So it works from a script, a notebook and a test alike;
a child that dies is noticed, because its pipe ends; and none is left behind, because
the parent kills its children (and what they have started) whatever ends the loop, and a
child whose parent has died finds its own pipe closed and does the same.
"""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue
from typing import Any, BinaryIO, Generic, TypeVar, cast

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 4  # items per child that are taken before their results are asked for

_START = (
    "import sys; sys.path[:] = {path!r}; "
    "from happyllm_support.parallel import work; work()"
)


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int = 1,
    ordered: bool = True,
) -> Generator[Result]:
    """Yield `function(item)` for every item, computed in `workers` processes.

    Args:
        function: defined in a module (not in a script or a notebook), its further
            arguments bound by `functools.partial`. One worker means this very process.
        items: read no further ahead than the results need.
        workers: number of processes; they are started as items arrive.
        ordered: yield the results in the order of the items; otherwise as they come.

    Raises:
        ValueError: raised by `function`, with the same message; a function or an item
            that cannot be sent to another process.
        RuntimeError: any other exception of `function`, with its traceback.
        ChildProcessError: a child that died, mostly for lack of memory.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; expected at least 1")
    if workers == 1:
        yield from map(function, items)
        return
    children = _Children(function, workers)
    running: list[Future[Result]] = []
    try:
        for item in items:
            running.append(children.submit(item))
            while len(running) >= AHEAD * workers:
                yield from _finished(running, ordered)
        while running:
            yield from _finished(running, ordered)
    finally:
        children.stop()


def _finished(running: list[Future[Result]], ordered: bool) -> Iterator[Result]:
    """Wait for the first result, or for any, and take what is done off the list."""
    wait(running[:1] if ordered else running, return_when=FIRST_COMPLETED)
    done = running[:1] if ordered else [call for call in running if call.done()]
    for call in done:
        running.remove(call)
        yield call.result()


class _Children(Generic[Item, Result]):
    """Child processes, and a thread for each that waits for its answer."""

    def __init__(self, function: Callable[[Item], Result], workers: int) -> None:
        self._function = _packed(function)
        self._workers = workers
        self._children: list[_Child] = []
        self._idle: SimpleQueue[_Child] = SimpleQueue()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="worker")

    def submit(self, item: Item) -> Future[Result]:
        """Hand the item to an idle child; start another while there may be more."""
        if len(self._children) < self._workers:
            self._children.append(_Child(self._function))
            self._idle.put(self._children[-1])
        return self._threads.submit(self._call, item)

    def _call(self, item: Item) -> Result:
        child = self._idle.get()
        try:
            return cast("Result", child.call(item))
        finally:
            # a dead one too: the next to take it fails, and nobody waits for ever
            self._idle.put(child)

    def stop(self) -> None:
        """End every child, whatever it is doing."""
        for child in self._children:
            child.kill()
        self._threads.shutdown(cancel_futures=True)
        for child in self._children:
            child.close()


class _Child:
    """A child process, seen from its parent."""

    def __init__(self, function: bytes) -> None:
        path = [str(folder) for folder in sys.path]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START.format(path=path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C in a terminal interrupts the parent only, which ends this process
            start_new_session=True,
        )
        # it has died already: the first call says so
        with suppress(BrokenPipeError):
            _write_frame(self._stdin, function)

    @property
    def _stdin(self) -> BinaryIO:
        return cast("BinaryIO", self._process.stdin)

    @property
    def _stdout(self) -> BinaryIO:
        return cast("BinaryIO", self._process.stdout)

    def call(self, item: Any) -> Any:
        """Return the function's value for `item`, or raise what `ordered_map` says."""
        frame = _packed(item)
        try:
            _write_frame(self._stdin, frame)
            kind, value = _unpacked(_read_frame(self._stdout))
        except (EOFError, BrokenPipeError):
            raise ChildProcessError(
                f"a worker process ended with code {self._process.wait()} (-9: killed, "
                "mostly for lack of memory); use fewer workers"
            ) from None
        if kind == "refusal":
            raise ValueError(value)
        if kind == "failure":
            raise RuntimeError(f"a worker process failed:\n{value}")
        return value

    def kill(self) -> None:
        """End the process and those that it started; a thread that waits for it gets a
        ChildProcessError.
        """
        if self._process.poll() is None:
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Close the pipes; no thread may be using them any more."""
        for pipe in (self._stdin, self._stdout):
            with suppress(BrokenPipeError):  # bytes that nobody will read
                pipe.close()


def work() -> None:
    """Be a child: receive a function, then answer each item until the pipe ends."""
    requests, answers = _private_pipes()
    frames: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_receive, args=(requests, frames), daemon=True).start()
    function = _unpacked_function(frames.get())
    while True:
        try:
            answer = _packed(("result", function(_unpacked(frames.get()))))
        except ValueError as error:
            answer = _packed(("refusal", str(error)))
        except Exception:
            answer = _packed(("failure", traceback.format_exc()))
        try:
            _write_frame(answers, answer)
        except BrokenPipeError:
            _end()


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Take standard input and output for the messages; what the function prints goes
    to standard error.
    """
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, answers


def _receive(requests: BinaryIO, frames: SimpleQueue[bytes]) -> None:
    """Pass on what the parent sends, and end this process when the parent is gone."""
    while True:
        try:
            frames.put(_read_frame(requests))
        except EOFError:
            _end()


def _end() -> None:
    """End at once, with what the function has started: nobody listens."""
    if sys.platform != "win32":
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _unpacked_function(frame: bytes) -> Callable[[Any], Any]:
    """Return the function to call; where it cannot be found, one that says so."""
    try:
        return _unpacked(frame)
    except (AttributeError, ImportError) as error:
        message = f"{error}; {_EXPECTED}"

    def refuse(_: Any) -> None:
        raise ValueError(message)

    return refuse


_EXPECTED = (
    "expected, for other processes, plain data and what a module defines (not a "
    "script or a notebook)"
)


def _packed(value: Any) -> bytes:
    """Turn a value into bytes, as `multiprocessing` does.

    Raises:
        ValueError: the value cannot be sent.
    """
    try:
        return bytes(ForkingPickler.dumps(value))
    except Exception as error:  # whatever its class raises
        raise ValueError(f"{' '.join(str(error).split())}; {_EXPECTED}") from None


def _unpacked(frame: bytes) -> Any:
    """Turn bytes that `_packed` made a moment ago, in this program, into a value."""
    # The stubs take it for a method, which has no type then.
    return ForkingPickler.loads(frame)  # pyright: ignore


def _write_frame(pipe: BinaryIO, body: bytes) -> None:
    pipe.write(struct.pack("<Q", len(body)))
    pipe.write(body)
    pipe.flush()


def _read_frame(pipe: BinaryIO) -> bytes:
    """Read what `_write_frame` wrote; EOFError where the other end is closed."""
    header = pipe.read(8)
    size = struct.unpack("<Q", header)[0] if len(header) == 8 else 1
    body = pipe.read(size)
    if len(body) < size:
        raise EOFError
    return body
