"""A Sphinx extension for the pages about the package.

`command-help` is a directive that shows what `happyllm ... --help` prints.

The package's docstrings are written as one writes Markdown, and Sphinx reads
reStructuredText. Four differences matter here, and all are mended before napoleon looks
at the lines: code stands between single backticks, a list needs no empty line above it,
an indented block after a colon is code, and the sentence about an attribute may contain
a colon (napoleon takes what stands before it for a type).
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from typing import Any
from unittest import mock

from docutils import nodes
from docutils.parsers.rst import Directive

BULLET = re.compile(r"\s*(-|\*|\d+\.)\s+\S")
CODE = re.compile(
    r"(?<![`:\w\\])`([^`]+)`(?![`_])"
)  # not :role:`...`, not ``...``, not `...`_
BEFORE_NAPOLEON = 400  # napoleon listens with Sphinx's default, 500


def separate_lists(lines: list[str]) -> list[str]:
    """Put an empty line between a paragraph and a list that begins right under it, and
    after such a list.

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
    r"""Double the backticks of inline code and the colon in front of an indented block;
    a bar is a bar.

    >>> mark_code(["Both `Path`s of |A|:", "", "    x = `y`", "Done."])
    ['Both ``Path``\\ s of \\|A\\|::', '', '    x = `y`', 'Done.']
    """
    out: list[str] = []
    block = (
        -1
    )  # indentation of the paragraph above the code block that we are in, -1 outside
    for number, line in enumerate(lines):
        if line.strip() and _indent(line) <= block:
            block = -1
        if block < 0:
            line = _mark_inline(line)
            empty, below = [*lines[number + 1 : number + 3], "", ""][:2]
            is_block = (
                not empty.strip()
                and _indent(below) > _indent(line)
                and not BULLET.match(below)
            )
            if line.endswith(":") and not line.endswith("::") and is_block:
                line, block = line + ":", _indent(line)
        out.append(line)
    return out


def _mark_inline(line: str) -> str:
    parts = CODE.split(line)  # text, code, text, code, ..., text
    for i in range(0, len(parts), 2):
        if "``" not in parts[i]:
            parts[i] = parts[i].replace("|", "\\|")
    for i in range(1, len(parts), 2):
        parts[i] = f"``{parts[i]}``" + ("\\ " if parts[i + 1][:1].isalnum() else "")
    return "".join(parts)


def process(
    _app: Any, what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Rewrite one docstring in place (the signature of the event
    `autodoc-process-docstring`).
    """
    lines[:] = separate_lists(mark_code(lines))
    if what in ("attribute", "data", "property") and lines and ":" in lines[0]:
        lines[:0] = [
            "..",
            "",
        ]  # an empty comment: napoleon looks at the first line only


class CommandHelp(Directive):
    """`command-help:: tokenizer train`: the help of one command, as it prints it."""

    required_arguments = 0
    optional_arguments = 2

    def run(self) -> list[nodes.Node]:
        """Ask the command line itself."""
        from happyllm_support import cli

        printed = io.StringIO()
        with (
            mock.patch.dict(os.environ, COLUMNS="80", NO_COLOR="1"),
            contextlib.redirect_stdout(printed),
        ):
            code = cli.main([*self.arguments, "--help"])
        if code or not printed.getvalue().strip():
            raise self.error(
                f"`happyllm {' '.join(self.arguments)} --help` ended with code {code}"
            )
        text = re.sub(r"\x1b\[[0-9;]*m", "", printed.getvalue()).rstrip()
        return [nodes.literal_block(text, text, language="none", classes=["hl-help"])]


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.add_directive("command-help", CommandHelp)
    app.connect("autodoc-process-docstring", process, priority=BEFORE_NAPOLEON)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
