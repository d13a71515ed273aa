"""The grader's side of a check: calls that look like calls, and a transcript of what
was asked and answered.

A check receives a `Remote` in place of the learner's function and calls it as if it
were one. Arguments travel out, values travel back; expected values and the comparison
never leave the grader.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from happyllm_support.grading import wire

Transport = Callable[[bytes], bytes]  # a request to its reply
RAISED = {"type", "bases", "message", "frames"}  # what a reply says of an exception


class LearnerRaised(Exception):
    """The learner's code raised an exception.

    Attributes:
        type_name: the name of its class.
        bases: the names of all its base classes, itself first.
        message: what it says.
        frames: (line or None, function, source line) of the learner's frames, the
            innermost last.
        request: the request during which it happened.
    """

    def __init__(
        self, raised: dict[str, Any], request: dict[str, Any] | None = None
    ) -> None:
        super().__init__(f"{raised['type']}: {raised['message']}")
        self.type_name: str = raised["type"]
        self.bases: list[str] = raised["bases"]
        self.message: str = raised["message"]
        self.frames: list[list[Any]] = raised["frames"]
        self.request = request


@dataclass
class Failure:
    """The first thing that a check found wrong.

    Attributes:
        symptom: one line.
        request: the call that it is about.
        number: the request during which it was seen, counted from 0.
        got, want: the values, when two values were compared.
    """

    symptom: str
    request: dict[str, Any] | None = None
    got: Any = None
    want: Any = None
    number: int = 0


@dataclass
class Session:
    """One check of one solution: the requests and replies so far, and the first
    failure.
    """

    transport: Transport
    transcript: list[tuple[bytes, bytes]] = field(
        default_factory=list[tuple[bytes, bytes]]
    )
    failure: Failure | None = None
    last_call: dict[str, Any] | None = None
    comparisons: int = 0
    _returned_none: bool = False  # the last call
    _yielded: dict[int, Any] = field(default_factory=dict[int, Any])
    _given: Any = None  # as in Workbench: what `after` in a reply is compared with
    _given_to: dict[int, Any] = field(default_factory=dict[int, Any])

    def ask(self, request: dict[str, Any]) -> Any:
        """Send a request and return the value of the reply.

        Raises:
            LearnerRaised: the learner's code raised an exception.
            ValueError: this is no reply.
        """
        message = wire.encode(request)
        if request["do"] in ("call", "gradients"):
            self.last_call = request
        self._given = self._given_by(request)
        reply = self.transport(message)
        content = wire.decode(reply, found=self._wrap)
        if not _is_reply(content):
            raise ValueError("its process sent something that is no reply")
        self.transcript.append((message, reply))
        if "raised" in content:
            raise LearnerRaised(content["raised"], request)
        if request["do"] in ("call", "gradients", "next") and content[
            "after"
        ] != wire.digest(self._given):
            what = (
                "its arguments, or what it had given,"
                if request["do"] == "next"
                else "its arguments"
            )
            self.fail(
                f"it modified {what} in place; the caller still needs them, so work on "
                "a copy"
            )
        if request["do"] == "next":
            self._yielded[request["target"].number] = content["value"]
        if request["do"] == "call":
            self._returned_none = content["value"] is None
        return content["value"]

    def fail(self, symptom: str, *, got: Any = None, want: Any = None) -> None:
        """Note a failure; the first one counts, and the check goes on so that a
        diagnosis has more to look at.
        """
        if got is None and want is not None and self._returned_none:
            symptom += "; is a return missing?"
        if self.failure is None:
            self.failure = Failure(
                symptom, self.last_call, got, want, len(self.transcript) - 1
            )

    def _given_by(self, request: dict[str, Any]) -> Any:
        target = request.get("target")
        earlier = (
            self._given_to.get(target.number)
            if isinstance(target, wire.Handle)
            else None
        )
        if request["do"] in ("call", "gradients"):
            return [request["args"], request["kwargs"], earlier]
        return (
            [earlier, self._yielded.get(target.number)]
            if isinstance(target, wire.Handle)
            else None
        )

    def _wrap(self, handle: wire.Handle) -> Any:
        self._given_to[handle.number] = self._given
        return RemoteIterator(self, handle) if handle.iterator else Remote(self, handle)


_current: list[Session] = []


@contextmanager
def current(session: Session) -> Generator[Session]:
    """Make this the session to which the comparisons of a check report."""
    _current.append(session)
    try:
        yield session
    finally:
        _current.pop()


def session() -> Session:
    """The session of the check that runs.

    Raises:
        RuntimeError: no check runs.
    """
    if not _current:
        raise RuntimeError("comparisons belong into a check that a grader runs")
    return _current[-1]


class Remote:
    """A function, a class or an object of the learner's code.

    Calling it calls the learner's; `remote.name(...)` calls a method. What cannot
    travel as data (a module, a decoder) comes back as another `Remote`, an iterator as
    a `RemoteIterator`.
    """

    def __init__(
        self, session: Session, target: str | wire.Handle, method: str | None = None
    ) -> None:
        self._session = session
        self._target = target
        self._method = method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it; tensors, arrays and plain data go out as copies.

        Raises:
            LearnerRaised: the learner's code raised an exception.
        """
        return self._session.ask(
            {"do": "call", **self._named(), **_plain(args, kwargs)}
        )

    def __getattr__(self, name: str) -> Remote:
        if name.startswith("__") or self._method is not None:
            raise AttributeError(name)
        return Remote(self._session, self._target, name)

    def __repr__(self) -> str:
        return self._target if isinstance(self._target, str) else repr(self._target)

    def gradients(
        self, *args: Any, cotangent: Any, **kwargs: Any
    ) -> tuple[Any, list[Any], dict[str, Any]]:
        """Call it and propagate `cotangent` (of the output's shape) backward.

        Returns:
            The output, the gradient of each positional argument (None where there is
            none), and of each parameter by name when it is a module.
        """
        request = {
            "do": "gradients",
            **self._named(),
            **_plain(args, kwargs),
            "cotangent": cotangent,
        }
        output, grads, parameters = self._session.ask(request)
        return output, grads, parameters

    def raises(self, error: type[BaseException], *args: Any, **kwargs: Any) -> str:
        """Call it and expect this exception (or one derived from it); returns its
        message, "" when it did not come.
        """
        try:
            self(*args, **kwargs)
        except LearnerRaised as raised:
            if raised.type_name == "NotYet":
                raise
            if error.__name__ not in raised.bases:
                got = f"{raised.type_name} ({raised.message})"
                self._session.fail(
                    f"it raises {got} where {error.__name__} is asked for"
                )
            return raised.message
        self._session.fail(
            f"it accepts what it should refuse with {wire.article(error.__name__)}"
        )
        return ""

    def get(self, path: str) -> Any:
        """The value of an attribute, such as `"weight"` or `"blocks.0.attn"`."""
        return self._session.ask({"do": "get", "target": self._target, "path": path})

    def parameters(self) -> dict[str, Any]:
        """The parameters and buffers of a module by name; a shared one is listed under
        each of its names.
        """
        return self._session.ask({"do": "parameters", "target": self._target})

    def load_parameters(self, values: dict[str, Any]) -> None:
        """Copy values into the parameters and buffers of a module.

        Raises:
            LearnerRaised: AttributeError for a name that the module does not have,
                ValueError for another shape.
        """
        self._session.ask({"do": "load", "target": self._target, "values": values})

    def taken(self) -> list[int]:
        """How many values of each `Stream` passed so far have been taken."""
        return self._session.ask({"do": "taken"})

    def given(self, name: str) -> Remote:
        """Another name of the same file: something that the lab gives, not something
        else that is graded.
        """
        return Remote(self._session, name)

    def _named(self) -> dict[str, Any]:
        return {"target": self._target, "method": self._method}


class RemoteIterator(Iterator[Any]):
    """An iterator of the learner's code; each `next` runs it in the process where it
    lives.
    """

    def __init__(self, session: Session, handle: wire.Handle) -> None:
        self._session = session
        self._handle = handle

    def __next__(self) -> Any:
        found = self._session.ask({"do": "next", "target": self._handle})
        if not found:
            raise StopIteration
        return found[0]


def _is_reply(content: Any) -> bool:
    """Whether this is what a `Workbench` answers; a learner's process could send
    anything.
    """
    if not isinstance(content, dict):
        return False
    fields = cast("dict[str, Any]", content)
    if "raised" not in fields:
        return fields.keys() >= {"value", "after"}
    return isinstance(fields["raised"], dict) and fields["raised"].keys() >= RAISED


def _plain(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {
        "args": [_handle(arg) for arg in args],
        "kwargs": {key: _handle(value) for key, value in kwargs.items()},
    }


def _handle(value: Any) -> Any:
    if isinstance(value, Remote):
        return value._target  # pyright: ignore[reportPrivateUsage]
    return value
