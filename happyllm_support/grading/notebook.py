"""Grade a function that is defined in a notebook: `check("lab03.sdpa", my_function)`."""

from __future__ import annotations

import ast
import dis
import html
import inspect
import linecache
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
        lines = [f"{verdict.id}: {verdict.status.value}, {verdict.points} of {verdict.of} points"]
        if verdict.diagnosis is not None:
            found = verdict.diagnosis
            lines += [found.symptom, *([f"the call: {found.call}"] if found.call else [])]
            lines += [found.cause] if found.cause else []
            lines.append(f'Read: chapter {self.lab.chapter[:2]}, section "{found.section}"')
        if verdict.output and not self.passed:
            lines += ["It printed:", textwrap.indent(verdict.output, "  ")]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        first, *rest = repr(self).split("\n")
        body = f"<b>{html.escape(first)}</b>\n{html.escape(chr(10).join(rest))}"
        return f'<pre style="white-space: pre-wrap">{body}</pre>'


def check(identifier: str, code: Any) -> Checked:
    """Grade one function or class as `make labs` does: in a process of its own, with the same checks.

    Args:
        identifier: lab and name, such as "lab03.sdpa".
        code: a function or class, defined in a notebook cell or in a file.

    Returns:
        What a notebook shows: status, points and diagnosis.

    Raises:
        ValueError: there is no such check, or the code uses something that cannot be sent along; the message names it.
        CheckError: the grader itself is at fault.
    """
    lab_name, dot, name = identifier.partition(".")
    labs = labs_folder()
    if not dot:
        raise ValueError(f"{identifier!r} names no function; write lab and name, such as 'lab03.sdpa'")
    lab = load_lab(labs, lab_name)
    if name not in lab.checks:
        raise ValueError(f"{lab.id} has no check {name!r}; it has {', '.join(lab.checks)}")
    with Grader(labs) as grader:
        return Checked(grader.run(lab, name, collect(code, name, lab)), lab)


def collect(code: Any, name: str, lab: Lab) -> Solution:
    """The source of a function or class, of everything in the notebook that it uses, and what the lab gives.

    Raises:
        ValueError: it is no function or class with a source, or it uses a value that cannot be written as source.
    """
    if not isinstance(code, (types.FunctionType, type)):
        raise ValueError(f"{name} must be a function or a class, defined with def or class; got {type(code).__name__}")
    module = sys.modules.get(code.__module__)
    file = getattr(module, "__file__", None)
    own = code.__qualname__
    if file and code.__module__ != "__main__" and own.isidentifier() and getattr(module, own, None) is code:
        whole = Solution.from_file(Path(file))  # an imported file: all of it, as `make labs` would take it
        renamed = "" if own == name else f"\n\n{name} = {own}\n"
        return Solution(source=whole.source + renamed, filename=whole.filename)
    parts: dict[str, str] = {}
    for given, source in _given(lab).items():
        parts[given] = source
    parts.pop(name, None)
    _collect(code, parts, [])
    header = "from __future__ import annotations\n"
    renamed = "" if own == name else f"\n\n{name} = {own}\n"
    return Solution(source=header + "\n\n".join(parts.values()) + renamed, filename="<your notebook>")


def _collect(code: Any, parts: dict[str, str], path: list[str]) -> None:
    """Add the definition of `code` and of the global names that it uses to `parts`, dependencies first."""
    own = code.__name__
    if own in path:
        return  # calls itself, or something that calls it
    if code.__qualname__ != own or (isinstance(code, types.FunctionType) and code.__closure__):
        raise ValueError(f"{own} is defined inside another function; define it at the top level of a cell")
    if own == "<lambda>":
        raise ValueError("a lambda has no name to send along; define the function with def")
    source = textwrap.dedent(_source(code))
    for used in sorted(_global_names(source)):
        scope: dict[str, Any] = (
            code.__globals__ if isinstance(code, types.FunctionType) else vars(sys.modules[code.__module__])
        )
        if used not in scope or used == own or used in parts:
            continue
        value = scope[used]
        if isinstance(value, types.ModuleType):
            parts[used] = f"import {value.__name__} as {used}"
        elif value is NotYet:
            parts[used] = "from happyllm_support.grading import NotYet"
        elif isinstance(value, (types.FunctionType, type)) and value.__module__ == code.__module__:
            _collect(value, parts, [*path, own])
            if value.__name__ != used:
                parts[used] = f"{used} = {value.__name__}"
        elif getattr(value, "__module__", None) and getattr(value, "__qualname__", ".").isidentifier():
            parts[used] = f"from {value.__module__} import {value.__qualname__} as {used}"
        elif _is_plain(value):
            parts[used] = f"{used} = {value!r}"
        else:
            kind = type(value).__name__
            raise ValueError(f"{own} uses the global {used}, a {kind}, which cannot be sent along; make it an argument")
    parts[own] = source


def _source(code: Any) -> str:
    try:
        return inspect.getsource(code)
    except (OSError, TypeError):
        pass
    members: dict[str, Any] = dict(code.__dict__)
    methods = [member for member in members.values() if isinstance(member, types.FunctionType)]
    for method in methods:  # a class of a notebook has no file; its methods know their cell
        lines = linecache.getlines(method.__code__.co_filename)
        for node in ast.walk(ast.parse("".join(lines))):
            if isinstance(node, ast.ClassDef) and node.name == code.__name__:
                start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                return "".join(lines[start - 1 : node.end_lineno])
    raise ValueError(f"the source of {code.__name__} cannot be found; define it in a cell or in a file")


def _global_names(source: str) -> set[str]:
    """Every name that some code loads from its globals, nested functions and annotations included."""
    names = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    loads: set[str] = set()
    queue = [compile(source, "<collect>", "exec", dont_inherit=True)]
    while queue:
        block = queue.pop()
        loads |= {i.argval for i in dis.get_instructions(block) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
        queue += [constant for constant in block.co_consts if isinstance(constant, types.CodeType)]
    return loads & names


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(_is_plain(item) for item in cast("list[Any]", value))
    if isinstance(value, dict):
        return _is_plain(list(cast("dict[Any, Any]", value).items()))
    return isinstance(value, PLAIN) and value == value


def _given(lab: Lab) -> dict[str, str]:
    """The imports and the definitions of the lab's file that are not graded: what a check may ask for beside them."""
    stub = lab.folder.parent / ".stubs" / f"{lab.folder.name}.py"
    text = (stub if stub.is_file() else lab.file).read_text("utf-8")
    given: dict[str, str] = {}
    for node in ast.parse(text).body:
        segment = ast.get_source_segment(text, node) or ""
        if isinstance(node, (ast.Import, ast.ImportFrom)) and "__future__" not in segment:
            given[f"import {len(given)}"] = segment
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name not in lab.checks:
            if "raise NotYet" in segment:
                continue  # not graded by itself, but for the learner to write
            decorators = "".join(f"@{ast.unparse(d)}\n" for d in node.decorator_list)
            given[node.name] = decorators + segment
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            given[f"value {len(given)}"] = segment
    return given
