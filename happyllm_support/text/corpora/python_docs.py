"""Real English on every machine: the documentation that ships inside CPython.

Two sources: the chapters of the language reference that `help()` shows
(`pydoc_data.topics`), and the docstrings of the standard library, parsed from its
source files. Nothing of the library is imported, so nothing of it runs. The text
changes with each patch release of Python: numbers measured on it are bands.
"""

from __future__ import annotations

import ast
import importlib
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import cast

# Test suites, vendored or generated code, character tables: little prose, many files.
_LEFT_OUT = {
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "encodings",
    "turtledemo",
}


def python_docs() -> Iterator[str]:
    """Yield the reference chapters of this Python, then a document per module of it.

    A module's document is its docstring, those of its classes and functions below it in
    the order of the source, separated by blank lines; modules without docstrings are
    left out.

    Raises:
        ValueError: this Python came without its sources or its topics (some embedded
            distributions).
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    advice = (
        "install a complete Python (python.org, or Debian's python3-full), or "
        "choose another corpus"
    )
    try:
        topics = cast(
            "dict[str, str]", importlib.import_module("pydoc_data.topics").topics
        )
    except ImportError:
        raise ValueError(
            f"no pydoc_data.topics in {library}: this Python has no documentation; "
            f"{advice}"
        ) from None
    sources = sorted(
        path
        for path in library.rglob("*.py")
        if _LEFT_OUT.isdisjoint(path.relative_to(library).parts)
    )
    if not sources:
        raise ValueError(f"no Python source files in {library}; {advice}")
    return _documents(topics, sources)


def _documents(topics: dict[str, str], sources: list[Path]) -> Iterator[str]:
    for name in sorted(topics):
        yield topics[name].strip()
    for path in sources:
        if document := "\n\n".join(docstrings(path.read_bytes())):
            yield document


def docstrings(source: bytes) -> Iterator[str]:
    """Yield the docstrings of a module's source, in order, without indents."""
    try:
        module = ast.parse(source)
    # a template or a file for another version of the language
    except (SyntaxError, ValueError):
        return
    pending: list[ast.AST] = [module]
    while pending:
        node = pending.pop()
        if isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ):
            if text := (ast.get_docstring(node) or "").strip():
                yield text
            pending.extend(reversed(node.body))
        elif isinstance(node, ast.If | ast.Try | ast.ExceptHandler):
            pending.extend(reversed(list(ast.iter_child_nodes(node))))
