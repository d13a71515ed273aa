"""A Sphinx extension: the package's docstrings are written as one writes Markdown, Sphinx reads reStructuredText.

Four differences matter here, and all are mended before napoleon looks at the lines: code stands between single
backticks, a list needs no empty line above it, an indented block after a colon is code, and the sentence about an
attribute may contain a colon (napoleon takes what stands before it for a type).
"""

from __future__ import annotations

import re
from typing import Any

BULLET = re.compile(r"\s*(-|\*|\d+\.)\s+\S")
CODE = re.compile(r"(?<![`:\w\\])`([^`]+)`(?![`_])")  # not :role:`...`, not ``...``, not `...`_
BEFORE_NAPOLEON = 400  # napoleon listens with Sphinx's default, 500


def separate_lists(lines: list[str]) -> list[str]:
    """Put an empty line between a paragraph and a list that begins right under it, and after such a list.

    >>> separate_lists(["Three verbs:", "- sync", "- run", "  slowly", "Then more."])
    ['Three verbs:', '', '- sync', '- run', '  slowly', '', 'Then more.']
    """
    out: list[str] = []
    item = -1  # indentation of the list item that we are in, -1 outside
    for line in lines:
        indent = _indent(line)
        if BULLET.match(line):
            if item < 0 and out and out[-1].strip():
                out.append("")
            item = indent if item < 0 else min(item, indent)
        elif line.strip() and item >= 0 and indent <= item:
            if out and out[-1].strip():
                out.append("")
            item = -1
        out.append(line)
    return out


def mark_code(lines: list[str]) -> list[str]:
    """Double the backticks of inline code, and the colon in front of an indented block.

    >>> mark_code(["Both `Path`s, see `str`:", "", "    x = `y`", "Done."])
    ['Both ``Path``\\\\ s, see ``str``::', '', '    x = `y`', 'Done.']
    """
    out: list[str] = []
    block = -1  # indentation of the paragraph above the code block that we are in, -1 outside
    for number, line in enumerate(lines):
        if line.strip() and _indent(line) <= block:
            block = -1
        if block < 0:
            line = CODE.sub(lambda m: f"``{m[1]}``" + ("\\ " if m.string[m.end() :][:1].isalnum() else ""), line)
            empty, below = [*lines[number + 1 : number + 3], "", ""][:2]
            is_block = not empty.strip() and _indent(below) > _indent(line) and not BULLET.match(below)
            if line.endswith(":") and not line.endswith("::") and is_block:
                line, block = line + ":", _indent(line)
        out.append(line)
    return out


def process(_app: Any, what: str, _name: str, _obj: object, _options: object, lines: list[str]) -> None:
    """Rewrite one docstring in place (the signature of the event `autodoc-process-docstring`)."""
    lines[:] = separate_lists(mark_code(lines))
    if what in ("attribute", "data", "property") and lines and ":" in lines[0]:
        lines[:0] = ["..", ""]  # an empty comment: napoleon looks at the first line only


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("autodoc-process-docstring", process, priority=BEFORE_NAPOLEON)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
