"""The process that counts pre-tokens for `counting.py`: texts come in on stdin, counts
go out on stdout.

It is a plain child process instead of one of `multiprocessing`'s: it neither forks a
process that may hold threads, nor runs the caller's script again, so that `workers=2`
works from a script, a notebook and a test alike. Its input ends when its parent closes
the pipe or dies; either way the loop below ends too: no process is ever left behind.
"""

from __future__ import annotations

import marshal  # both ends run the same interpreter, and nothing is stored
import os
import struct
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from happyllm_support.text.tokenizer.chunks import Splitter


def write_frame(pipe: IO[bytes], value: Any) -> None:
    """Send a value of plain built-in types through a pipe."""
    body = marshal.dumps(value)
    pipe.write(struct.pack("<Q", len(body)))
    pipe.write(body)
    pipe.flush()


def read_frame(pipe: IO[bytes]) -> Any:
    """Receive what `write_frame` sent.

    Raises:
        EOFError: the other end is closed.
    """
    header = pipe.read(8)
    body = pipe.read(struct.unpack("<Q", header)[0]) if len(header) == 8 else b""
    if not body:
        raise EOFError
    return marshal.loads(body)


class Worker:
    """A counting process, seen from its parent."""

    def __init__(self, pattern: str, special_tokens: tuple[str, ...]) -> None:
        package_root = str(Path(__file__).parents[3])
        path = os.pathsep.join(
            filter(None, (package_root, os.environ.get("PYTHONPATH")))
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "happyllm_support.text.tokenizer.counting_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
            # Ctrl-C in a terminal interrupts the parent only, which ends this process
            start_new_session=True,
        )
        with suppress(
            BrokenPipeError
        ):  # it has died already; the first call of `count` says so
            write_frame(self._stdin, (pattern, special_tokens))

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def count(self, texts: list[str]) -> dict[str, int]:
        """Count the pre-tokens of `texts` over there.

        Raises:
            ChildProcessError: the process died.
        """
        assert self._process.stdout is not None
        try:
            write_frame(self._stdin, texts)
            return read_frame(self._process.stdout)
        except (EOFError, BrokenPipeError, ValueError):
            code = self._process.wait()
            raise ChildProcessError(
                f"a counting process ended with code {code} (-9: killed, mostly for "
                "lack of memory); use fewer workers"
            ) from None

    def kill(self) -> None:
        """End the process, whatever it is doing; a thread that waits for it gets a
        ChildProcessError.
        """
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Close the pipes; no thread may be using them any more."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # bytes that nobody will read
                pipe.close()


def main() -> None:
    """Count until the input ends."""
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    try:
        splitter = Splitter(*read_frame(stdin))
        while True:
            counts = Counter[str]()
            for text in read_frame(stdin):
                counts.update(splitter.pieces(text))
            write_frame(stdout, dict(counts))
    except (EOFError, BrokenPipeError):
        os._exit(0)  # nobody listens: skip the flush of stdout, which would fail


if __name__ == "__main__":
    main()
