"""Grade a function of a notebook: `check("lab03.sdpa", my_function)`."""

from __future__ import annotations
import __future__

import ast
import dis
import inspect
import linecache
import re
import sys
import textwrap
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from happyllm_support.grading.grader import Grader, Solution
from happyllm_support.grading.judge import Status, Verdict
from happyllm_support.grading.labs import Lab, labs_folder, load_lab
from happyllm_support.grading.not_yet import NotYet
from happyllm_support.grading.report import facts
from happyllm_support.grading.workbench import NOTEBOOK

PLAIN = (int, float, complex, str, bytes, bool, type(None))


@dataclass(frozen=True)
class Checked:
    """What became of a check, to be shown in a notebook.

    Attributes:
        verdict: status, points and diagnosis.
        lab: the lab that the check belongs to.
    """

    verdict: Verdict
    lab: Lab

    @property
    def passed(self) -> bool:
        """Whether the code is right."""
        return self.verdict.status is Status.PASS

    def __repr__(self) -> str:
        verdict = self.verdict
        lines = [
            f"{verdict.id}: {verdict.status.value}, {verdict.points} of {verdict.of} "
            "points"
        ]
        if verdict.diagnosis is not None:
            for label, value in facts(self.lab, verdict):
                wrapped = [
                    part
                    for line in value.splitlines()
                    for part in textwrap.wrap(line, 76)
                ]
                # Without a label: where the rendered page lies, which is not the same
                # everywhere.
                lines += [
                    f"  {label if i == 0 else '':<13}{part}"
                    for i, part in enumerate(wrapped)
                    if label
                ]
        return "\n".join(lines)


def check(identifier: str, code: Any) -> Checked:
    """Grade one function or class as `make labs` does: in a process of its own, with
    the same checks.

    Args:
        identifier: lab and name, such as "lab03.sdpa".
        code: a function or class, defined in a notebook cell or in a file.

    Returns:
        What a notebook shows: status, points and diagnosis.

    Raises:
        ValueError: there is no such check, or the code uses something that cannot be
            sent along; the message names it.
        CheckError: the grader itself is at fault.
    """
    lab_name, dot, name = identifier.partition(".")
    labs = labs_folder()
    if not dot:
        raise ValueError(
            f"{identifier!r} names no function; write lab and name, such as "
            "'lab03.sdpa'"
        )
    lab = load_lab(labs, lab_name)
    if name not in lab.checks:
        raise ValueError(
            f"{lab.id} has no check {name!r}; it has {', '.join(lab.checks)}"
        )
    with Grader(labs) as grader:
        return Checked(grader.run(lab, name, collect(code, name, lab)), lab)


def collect(code: Any, name: str, lab: Lab) -> Solution:
    """The source of a function or class, of everything in the notebook that it uses,
    and what the lab gives.

    Raises:
        ValueError: it is no function or class with a source, or it uses a value that
            cannot be written as source.
    """
    module = sys.modules.get(getattr(code, "__module__", None) or "")
    own = str(getattr(code, "__qualname__", "."))
    file = getattr(module, "__file__", None)
    renamed = "" if own == name else f"\n\n{name} = {own}\n"
    if (
        module
        and file
        and module.__name__ != "__main__"
        and own.isidentifier()
        and getattr(module, own, None) is code
    ):
        whole = Solution.from_file(
            Path(file)
        )  # an imported file: all of it, as `make labs` would take it
        return Solution(source=whole.source + renamed, filename=whole.filename)
    found = (
        inspect.unwrap(code) if callable(code) else code
    )  # the function below its decorators
    if not isinstance(found, (types.FunctionType, type)):
        raise ValueError(
            f"{name} must be a function or a class, defined with def or class; got "
            f"{type(code).__name__}"
        )
    parts: dict[str, str] = {}
    _collect(found, parts, [])
    given = [source for given, source in _given(lab).items() if given != name]
    source = (
        "\n\n".join(["from __future__ import annotations", *given, *parts.values()])
        + renamed
    )
    return Solution(source=source, filename=NOTEBOOK)


def _collect(code: Any, parts: dict[str, str], path: list[str]) -> None:
    """Add the definition of `code` and of the global names that it uses to `parts`,
    dependencies first.
    """
    own = code.__name__
    if own in path:
        return  # calls itself, or something that calls it
    if own == "<lambda>":
        raise ValueError(
            "a lambda has no name to send along; define the function with def"
        )
    if code.__qualname__ != own or (
        isinstance(code, types.FunctionType) and code.__closure__
    ):
        raise ValueError(
            f"{own} is defined inside another function; define it at the top level of "
            "a cell"
        )
    source = textwrap.dedent(_source(code))
    needed = _global_names(source, annotations=False)
    scope: dict[str, Any] = (
        code.__globals__
        if isinstance(code, types.FunctionType)
        else vars(sys.modules[code.__module__])
    )
    for used in sorted(_global_names(source, annotations=True)):
        if used not in scope or used == own or used in parts:
            continue
        value = inspect.unwrap(scope[used]) if callable(scope[used]) else scope[used]
        try:
            if (
                isinstance(value, (types.FunctionType, type))
                and value.__module__ == code.__module__
            ):
                _collect(value, parts, [*path, own])
                if value.__name__ != used:
                    parts[used] = f"{used} = {value.__name__}"
            else:
                parts[used] = _statement(used, scope[used], own)
        except ValueError:
            if used in needed:
                raise  # else it is an annotation, which nothing evaluates
    parts[own] = source


def _statement(name: str, value: Any, user: str) -> str:
    """A statement that gives a global name its value again.

    Raises:
        ValueError: the value cannot be written as source.
    """
    kind, library = type(value).__name__, type(value).__module__.strip("_")
    if isinstance(value, types.ModuleType):
        return f"import {value.__name__} as {name}"
    if value is NotYet:
        return "from happyllm_support.grading import NotYet"
    if _is_plain(value):
        written = f"{name} = {value!r}"
        return (
            f"from math import inf, nan\n\n{written}"
            if re.search(r"\b(inf|nan)\b", written)
            else written
        )
    if library == "torch" and kind in ("dtype", "device"):
        return f"import torch\n\n{name} = torch.{repr(value).removeprefix('torch.')}"
    if library in ("re", "regex") and kind == "Pattern":
        return (
            f"import {library}\n\n{name} = {library}.compile({value.pattern!r}, "
            f"{int(value.flags)})"
        )
    own = str(getattr(value, "__name__", "."))
    for module in (getattr(value, "__module__", None), "torch.nn.functional"):
        if (
            isinstance(module, str)
            and module != "__main__"
            and getattr(sys.modules.get(module), own, None) is value
        ):
            return f"from {module} import {own} as {name}"
    raise ValueError(
        f"{user} uses the global {name}, a {kind}, which cannot be sent along; make it "
        "an argument"
    )


def _source(code: Any) -> str:
    try:
        return inspect.getsource(code)
    except (OSError, TypeError):
        pass
    if isinstance(
        code, type
    ):  # a class of a notebook has no file; its methods know their cell
        methods = [
            member
            for member in vars(code).values()
            if isinstance(member, types.FunctionType)
        ]
        cells = [
            "".join(linecache.getlines(method.__code__.co_filename))
            for method in methods
        ]
        cells += reversed(
            vars(sys.modules[code.__module__]).get("In", [])
        )  # where it has no methods: the last cells
        for cell in cells:
            source = _class_in(cell, code.__name__)
            if source:
                return source
    raise ValueError(
        f"the source of {code.__name__} cannot be found; define it in a cell or in a "
        "file"
    )


def _class_in(cell: str, name: str) -> str:
    """The last definition of a class in a cell, or ""."""
    lines = [
        "\n" if line.startswith(("%", "!")) else line
        for line in cell.splitlines(keepends=True)
    ]
    try:
        nodes = ast.parse("".join(lines)).body
    except SyntaxError:
        return ""
    for node in reversed(nodes):
        if isinstance(node, ast.ClassDef) and node.name == name:
            start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            return "".join(lines[start - 1 : node.end_lineno])
    return ""


def _global_names(source: str, *, annotations: bool) -> set[str]:
    """Every name that some code loads from its globals, also in nested functions and,
    if asked, in annotations.
    """
    names = {
        node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)
    }
    flags = 0 if annotations else __future__.annotations.compiler_flag
    loads: set[str] = set()
    queue = [compile(source, "<collect>", "exec", flags=flags, dont_inherit=True)]
    while queue:
        block = queue.pop()
        loads |= {
            i.argval
            for i in dis.get_instructions(block)
            if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")
        }
        queue += [
            constant
            for constant in block.co_consts
            if isinstance(constant, types.CodeType)
        ]
    return loads & names


def _is_plain(value: Any) -> bool:
    """Whether `repr` of a value is source that makes it again; so exact types, not Enum
    members or named tuples.
    """
    if type(value) in (list, tuple, set, frozenset):
        return all(_is_plain(item) for item in value)
    if type(value) is dict:
        return _is_plain(list(cast("dict[Any, Any]", value).items()))
    return type(value) in PLAIN


def _given(lab: Lab) -> dict[str, str]:
    """The imports and the definitions of the lab's file that are not graded: what a
    check may ask for beside them.
    """
    stub = lab.folder.parent / ".stubs" / f"{lab.folder.name}.py"
    text = (stub if stub.is_file() else lab.file).read_text("utf-8")
    given: dict[str, str] = {}
    for node in ast.parse(text).body:
        segment = ast.get_source_segment(text, node) or ""
        if (
            isinstance(node, (ast.Import, ast.ImportFrom))
            and "__future__" not in segment
        ):
            given[f"import {len(given)}"] = segment
        elif (
            isinstance(node, (ast.FunctionDef, ast.ClassDef))
            and node.name not in lab.checks
        ):
            if "raise NotYet" in segment:
                continue  # not graded by itself, but for the learner to write
            decorators = "".join(f"@{ast.unparse(d)}\n" for d in node.decorator_list)
            given[node.name] = decorators + segment
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            given[f"value {len(given)}"] = segment
    return given
