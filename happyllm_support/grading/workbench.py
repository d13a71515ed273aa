"""Where a learner's functions are called: requests in, values back. It knows no
expected value and compares nothing.

The same workbench runs in the isolated process with a learner's file, and inside the
grader with the reference and with the known wrong variants, so that all of them are
asked exactly the same.
"""

from __future__ import annotations

import linecache
import random
import re
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np

from happyllm_support.grading import wire

NOTEBOOK = "<your notebook>"  # what code that was collected from cells is called


class Counted(Iterator[Any]):
    """An iterator over given values that counts how many have been taken."""

    def __init__(self, values: list[Any]) -> None:
        self.taken = 0
        self._values = values

    def __next__(self) -> Any:
        if self.taken == len(self._values):
            raise StopIteration
        self.taken += 1
        return self._values[self.taken - 1]


class Workbench:
    """Executes requests on the names of one module.

    Args:
        namespace: the module's names.
        seed: of `random`, NumPy and torch; each request starts with its own seed
            derived from it.
        filename: of the code in the namespace, as tracebacks name it.
    """

    caught: type[BaseException] = Exception

    def __init__(
        self, namespace: dict[str, Any], *, seed: int = 0, filename: str = ""
    ) -> None:
        self.namespace = namespace
        self.seed = seed
        self.filename = filename
        self.objects: list[Any] = []
        self.streams: list[Counted] = []
        self._requests = 0
        self._yielded: dict[
            int, Any
        ] = {}  # what an iterator has given last, by its identity
        self._given: Any = None  # the arguments of the call that is under way
        self._given_to: dict[
            int, Any
        ] = {}  # those that an object which stays here was made from, by its identity

    def handle(self, message: bytes) -> bytes:
        """Execute one request and return the reply: `{"value": ...}` or
        `{"raised": ...}`, never an exception.

        A request is a dict whose `do` is one of:

            call        `target` (a name or a handle), or its `method`, with `args` and
                        `kwargs`
            gradients   call, then backward with `cotangent`: output, gradients of
                        tensor arguments and of parameters
            next        the next value of an iterator in a list, empty at its end
            get         the attribute `path` of a handle
            parameters  the parameters and buffers of a module, by name
            load        `values` into these parameters
            taken       how many values of each stream have been taken so far
            threads     how many threads the learner's code has left running

        The reply to the first three also holds `after`: a hash of the arguments as they
        are then, those included from which an iterator or an object was made, and what
        the iterator gave last. What was modified in place shows.
        """
        self._requests += 1
        self._given = None
        try:
            request = wire.decode(
                message, found=lambda handle: self.objects[handle.number]
            )
            self._seed()
            reply = getattr(self, f"_do_{request.pop('do')}")(**request)
            return wire.encode(reply, keep=self._keep)
        except self.caught as error:
            return wire.encode({"raised": describe(error, self.filename)})

    def call(self, function: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Call a learner's function; a workbench that limits what it may use wraps
        this.
        """
        return function(*args, **kwargs)

    def _seed(self) -> None:
        import torch

        seed = (self.seed * 1_000_003 + self._requests) % 2**32
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)

    def _keep(self, value: Any) -> wire.Handle:
        self.objects.append(value)
        self._given_to[id(value)] = self._given
        return wire.Handle(
            len(self.objects) - 1,
            type(value).__name__,
            iterator=wire.is_iterator(value),
        )

    def _open(self, value: Any) -> Any:
        """Replace each stream by an iterator that counts."""
        if isinstance(value, wire.Stream):
            self.streams.append(Counted(value.values))
            return self.streams[-1]
        return value

    def _find(self, target: Any, method: str | None) -> Any:
        found = self.namespace[target] if isinstance(target, str) else target
        return found if method is None else getattr(found, method)

    def _do_call(
        self,
        target: Any,
        args: list[Any],
        kwargs: dict[str, Any],
        method: str | None = None,
    ) -> Any:
        self._given = [args, kwargs, self._given_to.get(id(target))]
        opened = [self._open(arg) for arg in args]
        value = self.call(
            self._find(target, method),
            opened,
            {k: self._open(v) for k, v in kwargs.items()},
        )
        return {"value": value, "after": wire.digest(self._given)}

    def _do_gradients(
        self,
        target: Any,
        args: list[Any],
        kwargs: dict[str, Any],
        cotangent: Any,
        method: str | None = None,
    ) -> Any:
        import torch

        self._given = [args, kwargs, self._given_to.get(id(target))]
        for arg in args:
            if isinstance(arg, torch.Tensor) and arg.is_floating_point():
                arg.requires_grad_(True)
        function = self._find(target, method)
        parameters = (
            dict(function.named_parameters())
            if isinstance(function, torch.nn.Module)
            else {}
        )
        for parameter in parameters.values():
            parameter.grad = None
        output = self.call(function, args, kwargs)
        output.backward(cotangent)
        grads = [arg.grad if isinstance(arg, torch.Tensor) else None for arg in args]
        value = [output, grads, {name: p.grad for name, p in parameters.items()}]
        return {"value": value, "after": wire.digest(self._given)}

    def _do_next(self, target: Any) -> Any:
        def step() -> list[Any]:
            for value in target:
                return [value]
            return []

        self._given = [self._given_to.get(id(target)), self._yielded.get(id(target))]
        value = self.call(step, [], {})
        after = wire.digest(self._given)
        self._yielded[id(target)] = value
        return {"value": value, "after": after}

    def _do_get(self, target: Any, path: str) -> Any:
        for name in path.split("."):
            target = target[int(name)] if name.isdigit() else getattr(target, name)
        return {"value": target, "after": None}

    def _do_parameters(self, target: Any) -> Any:
        named = {
            **dict(target.named_parameters(remove_duplicate=False)),
            **dict(target.named_buffers()),
        }
        return {"value": named, "after": None}

    def _do_load(self, target: Any, values: dict[str, Any]) -> Any:
        import torch

        named = {
            **dict(target.named_parameters(remove_duplicate=False)),
            **dict(target.named_buffers()),
        }
        for name, value in values.items():
            if name not in named:
                known = (
                    ", ".join(
                        [*sorted(named)[:8], *(["..."] if len(named) > 8 else [])]
                    )
                    or "none"
                )
                raise AttributeError(
                    f"the module has no parameter {name}; it has {known}"
                )
            if named[name].shape != value.shape:
                shapes = f"{tuple(named[name].shape)}, expected is {tuple(value.shape)}"
                raise ValueError(f"the parameter {name} has the shape {shapes}")
            with torch.no_grad():
                named[name].copy_(value)
        return {"value": None, "after": None}

    def _do_threads(self) -> Any:
        others = set(threading.enumerate()) - {threading.main_thread()}
        return {
            "value": sum(type(thread) is threading.Thread for thread in others),
            "after": None,
        }

    def _do_taken(self) -> Any:
        return {"value": [stream.taken for stream in self.streams], "after": None}


def describe(error: BaseException, filename: str) -> dict[str, Any]:
    """What the grader needs to know of an exception: type, message, and the learner's
    frames.

    A frame is its line, function and code; in code from a notebook, whose lines are no
    cell's, the line is None.
    """
    walked = [(f.f_code, line) for f, line in traceback.walk_tb(error.__traceback__)]
    own = [
        (code.co_qualname, line)
        for code, line in walked
        if code.co_filename == filename
    ]
    lines: list[list[Any]] = [
        [line, name.replace(".<locals>", ""), linecache.getline(filename, line).strip()]
        for name, line in own
    ]
    if isinstance(error, SyntaxError) and error.filename == filename:
        lines.append([error.lineno, "", (error.text or "").strip()])
    if filename == NOTEBOOK:
        lines = [[None, function, code] for _, function, code in lines]
    return {
        "type": type(error).__name__,
        "bases": [base.__name__ for base in type(error).__mro__],
        "message": _message(error),
        "frames": lines[-5:],
    }


def _message(error: BaseException) -> str:
    """What an exception says, in one line that every terminal can show, whatever its
    class does.
    """
    try:
        text = str(error.msg or "") if isinstance(error, SyntaxError) else str(error)
    except Exception as broken:
        text = f"(its message cannot be shown: {type(broken).__name__})"
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "?", " ".join(text.split()))[
        :500
    ]
