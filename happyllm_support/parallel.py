"""An ordered map over processes in bounded memory.

`multiprocessing.Pool.imap` reads its whole input ahead and hangs when a child is
killed; `ProcessPoolExecutor` cannot be told to stop a call that is running. This one
holds a few items per child, yields results in order whatever the order in which they
are finished, notices a dead child, and leaves no child behind when the loop is left for
any reason.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 4  # results per child that may wait for an earlier one


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int = 1
) -> Generator[Result, None, None]:
    """Yield `function(item)` for every item, in order, computed in `workers` processes.

    Args:
        function: importable by name from a module (children are started afresh, with
            the spawn method), its further arguments bound by `functools.partial`. One
            worker means this very process.
        items: read no further ahead than the results need.
        workers: number of processes; they are started as items arrive.

    Raises:
        ValueError: raised by `function`, with the same message.
        RuntimeError: any other exception of `function`, with its traceback.
        ChildProcessError: a child that died, mostly for lack of memory.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; expected at least 1")
    if workers == 1:
        yield from map(function, items)
        return
    children = _Children(function, workers)
    try:
        yield from _in_order(children, items, limit=AHEAD * workers)
    finally:
        children.stop()


def _in_order(
    children: _Children[Item, Result], items: Iterable[Item], limit: int
) -> Iterator[Result]:
    numbered = enumerate(items)
    upcoming = next(numbered, None)
    finished: dict[int, Result] = {}  # results that wait for an earlier one
    following = 0  # number of the result to yield next
    while upcoming is not None or children.busy:
        while (
            upcoming is not None
            and upcoming[0] < following + limit
            and children.accept(*upcoming)
        ):
            upcoming = next(numbered, None)
        finished.update(children.collect())
        while following in finished:
            yield finished.pop(following)
            following += 1


class _Children(Generic[Item, Result]):
    """Child processes that each work on at most one item, so that no pipe can fill up
    from both ends.
    """

    def __init__(self, function: Callable[[Item], Result], workers: int) -> None:
        self.function, self.workers = function, workers
        self.context = multiprocessing.get_context("spawn")
        self.processes: list[BaseProcess] = []
        self.idle: list[Connection[Any, Any]] = []
        self.busy: dict[Connection[Any, Any], int] = {}

    def accept(self, number: int, item: Item) -> bool:
        """Give the item to a new child, as long as there may be one, or to an idle one;
        False when all are busy.
        """
        if len(self.processes) < self.workers:
            self._start()
        if not self.idle:
            return False
        connection = self.idle.pop()
        try:
            connection.send(item)
        except (BrokenPipeError, ConnectionResetError):
            raise _dead_child() from None
        self.busy[connection] = number
        return True

    def collect(self) -> Iterator[tuple[int, Result]]:
        """Wait until at least one child is done and yield what is."""
        for ready in wait(list(self.busy)):
            assert isinstance(ready, Connection)
            try:
                kind, value = ready.recv()
            except (EOFError, ConnectionResetError):
                raise _dead_child() from None
            if kind != "result":
                raise (
                    ValueError(value)
                    if kind == "refusal"
                    else RuntimeError(f"a worker process failed:\n{value}")
                )
            yield self.busy.pop(ready), value
            self.idle.append(ready)

    def stop(self) -> None:
        """End every child, whatever it is doing."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join()
        for connection in (*self.idle, *self.busy):
            connection.close()

    def _start(self) -> None:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(
            target=_work, args=(self.function, theirs), daemon=True
        )
        with _interrupts_held_back():
            process.start()
            self.processes.append(process)
            self.idle.append(ours)
        theirs.close()


def _work(function: Callable[[Any], Any], connection: Connection[Any, Any]) -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the parent ends its children
    while True:
        try:
            item = connection.recv()
        except EOFError:  # the parent is gone
            return
        try:
            answer: tuple[str, Any] = ("result", function(item))
        except ValueError as error:
            answer = ("refusal", str(error))
        except Exception:
            answer = ("failure", traceback.format_exc())
        connection.send(answer)


@contextmanager
def _interrupts_held_back() -> Generator[None]:
    """Deliver Ctrl-C only after the block: a child inherits this and prints no
    traceback while it starts.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its start would lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _dead_child() -> ChildProcessError:
    return ChildProcessError(
        "a worker process died: it was killed, ran out of memory (use fewer workers), "
        "or belongs to a script without "
        'the line `if __name__ == "__main__":`'
    )
