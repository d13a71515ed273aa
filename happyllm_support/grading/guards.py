"""What a learner's code may not do, noticed when it is done: shortcuts, other
processes, files, the network.

The guards are for accidents and for the well-known shortcuts, not against a hostile
expert, who can always find a way in a process of their own; what protects the marks is
that no expected value is ever in that process.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import types
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from happyllm_support.grading.not_yet import NotYet
from happyllm_support.grading.workbench import Workbench

PROCESSES = {
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "os.exec",
    "subprocess.Popen",
    "pty.spawn",
}
SIGNALS = {"os.kill", "os.killpg", "signal.pthread_kill"}
NETWORK = {"socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"}
CHANGES = {
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "os.link",
    "os.symlink",
}
STANDARD = tuple({sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib")})
INSTALLED = tuple({sysconfig.get_path(kind) for kind in ("purelib", "platlib")})
COURSE = ("happyllm_support", "happyllm_labs")


class Forbidden(BaseException):
    """The learner's code did what a lab does not allow. Not an Exception, so that
    `except Exception` lets it pass.
    """


class Guard:
    """Notices what is forbidden, remembers it, and stops the code that does it.

    Args:
        own: the learner's file.
        scratch: the only folder in which files may be made.
        protected: folders whose files may not be read: the checks and the package.
        imports: modules that this exercise forbids.
    """

    def __init__(
        self,
        *,
        own: str,
        scratch: str,
        protected: Sequence[str],
        imports: Sequence[str],
    ) -> None:
        self.violations: list[str] = []
        self._own = os.path.realpath(own)
        self._scratch = os.path.realpath(scratch)
        self._protected = [os.path.realpath(folder) for folder in protected]
        self._imports = tuple(imports)

    def forbid(self, message: str) -> None:
        """Remember what was done and raise.

        Raises:
            Forbidden: always.
        """
        self.violations.append(message)
        raise Forbidden(message)

    def install(self) -> None:
        """Hide the course's package from `import`, and watch what Python reports of
        itself, from now on.
        """
        hidden = (*COURSE, *self._imports)
        for name in [name for name in sys.modules if _within(name, hidden)]:
            del sys.modules[name]
        package, grading = (
            types.ModuleType("happyllm_support"),
            types.ModuleType("happyllm_support.grading"),
        )
        package.__path__ = []
        grading.__dict__.update(
            NotYet=NotYet, check=_no_check
        )  # what a lab's file may import
        package.__dict__["grading"] = grading
        sys.modules |= {
            "happyllm_support": package,
            "happyllm_support.grading": grading,
        }
        sys.dont_write_bytecode = True
        sys.meta_path.insert(0, _Finder(self._on_import))  # pyright: ignore[reportArgumentType]
        sys.addaudithook(self._watch)

    def refuse(self, operators: Sequence[str], functions: Sequence[str]) -> None:
        """Close `torch.ops.aten` for forbidden operators and functions: composite ones
        are taken apart before a `GuardedWorkbench` could see them.
        """
        import torch

        names = {name.strip("_") for name in operators} | {
            name.rpartition(".")[2] for name in functions
        }
        for name in {*operators, *names}:
            if hasattr(torch.ops.aten, name):
                setattr(
                    torch.ops.aten,
                    name,
                    _Refused(getattr(torch.ops.aten, name), name, self),
                )

    def _watch(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            self._on_open(*args)
        elif event in CHANGES:
            self._on_change(event, args)
        elif event in PROCESSES and not _by_a_library(beyond=STANDARD):
            self.forbid(
                f"it starts another process ({event}); a lab has no use for one"
            )
        elif event in SIGNALS:
            self.forbid(f"it sends a signal ({event}); a lab has no use for one")
        elif event in NETWORK:
            self.forbid(
                f"it opens a network connection ({event}); a lab has no use for one"
            )
        elif event == "resource.setrlimit":
            self.forbid("it changes the limits under which it runs")

    def _on_import(self, name: str) -> None:
        if _within(name, COURSE):
            self.forbid(f"it imports {name}; the exercise is to write it")
        if _within(name, self._imports) and not _by_a_library():
            self.forbid(f"it imports {name}, which this exercise forbids")

    def _on_open(self, path: Any, mode: Any, flags: Any) -> None:
        if not isinstance(path, (str, bytes)):
            return
        real = os.path.realpath(os.fsdecode(path))
        writes = isinstance(flags, int) and bool(
            flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        )
        writes |= isinstance(mode, str) and bool(set(mode) & set("wax+"))
        if writes and real != os.devnull and not self._below(real, self._scratch):
            self.forbid(
                f"it writes the file {os.path.basename(real)}; a lab writes no files"
            )
        if real != self._own and any(
            self._below(real, folder) for folder in self._protected
        ):
            self.forbid(
                f"it reads {os.path.basename(real)} of the course; the exercise is to "
                "write it yourself"
            )

    def _on_change(self, event: str, args: tuple[Any, ...]) -> None:
        for path in args[: 2 if event in ("os.rename", "os.link", "os.symlink") else 1]:
            real = (
                os.path.realpath(os.fsdecode(path))
                if isinstance(path, (str, bytes))
                else ""
            )
            if not self._below(real, self._scratch):
                self.forbid(
                    f"it changes the file {os.path.basename(real)} ({event}); a lab "
                    "changes no files"
                )

    @staticmethod
    def _below(path: str, folder: str) -> bool:
        return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


class GuardedWorkbench(Workbench):
    """A workbench that calls the learner's code while watching which torch operators
    and functions it uses.

    Args:
        operators: forbidden torch operators by their base name, such as "_softmax".
        functions: forbidden torch functions by their full name.
    """

    caught = BaseException

    def __init__(
        self,
        namespace: dict[str, Any],
        *,
        seed: int,
        filename: str,
        guard: Guard,
        operators: Sequence[str] = (),
        functions: Sequence[str] = (),
    ) -> None:
        super().__init__(namespace, seed=seed, filename=filename)
        self._guard = guard
        self._operators = frozenset(operators)
        self._functions = frozenset(functions)

    def call(self, function: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Call it under the watch of torch's own modes, which see every operator and
        every function.
        """
        with ExitStack() as stack:
            if self._operators:
                stack.enter_context(_operator_watch(self._operators, self._guard))
            if self._functions:
                stack.enter_context(_function_watch(self._functions, self._guard))
            return super().call(function, args, kwargs)


class _Refused:
    """Stands where a forbidden operator was, in `torch.ops.aten`; libraries get through
    to it.
    """

    def __init__(self, operator: Any, name: str, guard: Guard) -> None:
        self._operator = operator
        self._line = f"it uses torch's {name.strip('_')}, which this exercise forbids"
        self._guard = guard

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._passed()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._passed(), name)

    def _passed(self) -> Any:
        if not _by_a_library():
            self._guard.forbid(self._line)
        return self._operator


class _Finder:
    """Sees every import of a module that is not loaded yet; finds none."""

    def __init__(self, seen: Callable[[str], None]) -> None:
        self._seen = seen

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        self._seen(name)


def _within(name: str, packages: Sequence[str]) -> bool:
    return any(
        name == package or name.startswith(f"{package}.") for package in packages
    )


def _by_a_library(beyond: tuple[str, ...] = ()) -> bool:
    """Whether what is under way was written in a library's file, not in the learner's;
    looks past files in `beyond`.
    """
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        name = frame.f_code.co_filename
        passed = (
            name.startswith(beyond) and not name.startswith(INSTALLED)
            if beyond
            else False
        )
        if name != __file__ and "importlib" not in name and not passed:
            return name.startswith((*INSTALLED, *STANDARD))
        frame = frame.f_back
    return False


def _no_check(*_: Any) -> None:
    """`check` in a lab's file does nothing: the file is being checked already."""


def _operator_watch(names: frozenset[str], guard: Guard) -> Any:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            name = func._schema.name.partition("::")[2]
            if name in names:
                guard.forbid(
                    f"it uses torch's {name.strip('_')}, which this exercise forbids"
                )
            return func(*args, **(kwargs or {}))

    return Watch()


def _function_watch(names: frozenset[str], guard: Guard) -> Any:
    from torch.overrides import TorchFunctionMode, resolve_name  # pyright: ignore[reportUnknownVariableType]

    class Watch(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            name = resolve_name(func)
            if name in names:
                guard.forbid(f"it uses {name}, which this exercise forbids")
            return func(*args, **(kwargs or {}))

    return Watch()
