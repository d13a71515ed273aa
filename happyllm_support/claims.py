"""Four functions that keep the prose of a chapter true.

`claim` asserts a number that the text states, `measured` prints one that depends on the
machine, `table` displays numbers that are the same everywhere, `show` the source of the
finished code. When the notebooks are re-executed in CI all printed text is compared
with the committed output, except what follows the word "measured" on a line: there a
band is the test, or there is none.
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Sequence
from functools import cached_property, partial, partialmethod
from typing import Any, SupportsFloat, cast


class ClaimError(AssertionError):
    """A number that the text states is not what the code computes."""


def claim(
    name: str,
    value: SupportsFloat,
    low: float,
    high: float | None = None,
    unit: str = "",
) -> None:
    """Assert `low <= value <= high` and print the band with the measured value beside
    it.

    Args:
        name: what the number is, as the text calls it.
        value: the number: a Python or NumPy scalar, or a tensor with one element.
        low: smallest value for which the text is right; without `high`, the only one.
        high: largest value for which the text is right.
        unit: unit of all three, for example "nats per story".

    Raises:
        ClaimError: the value lies outside the band, or is not a number.
        ValueError: the band is empty.
    """
    number, unit = float(value), f" {unit}" if unit else ""
    exact = high is None or high == low
    top = low if high is None else high
    if not low <= top:
        raise ValueError(f"claim {name!r}: the band from {low} to {top} is empty")
    allowed = (
        f"{_as_stated(low)}{unit}"
        if exact
        else f"between {_as_stated(low)} and {_as_stated(top)}{unit}"
    )
    if not low <= number <= top:
        raise ClaimError(
            f"claim does not hold: {name} should be {allowed}, measured "
            f"{number:.6g}{unit}"
        )
    print(
        f"✓ {name}: {allowed}"
        if exact
        else f"✓ {name}: {allowed}, measured {_format(number)}{unit}"
    )


def measured(name: str, value: SupportsFloat | str, unit: str = "") -> None:
    """Print a value that differs from machine to machine, and assert nothing.

    Args:
        name: what was measured.
        value: the number, or text that depends on the machine (for example what
            live-trained weights wrote).
        unit: its unit, for example "s", "MB" or "times".
    """
    text = value if isinstance(value, str) else _format(float(value))
    print(f"{name}: measured {text}{' ' + unit if unit else ''}")


class Markdown:
    """An output in Markdown, rendered wherever notebooks are, and compared by nbval."""

    def __init__(self, source: str) -> None:
        self.source = source

    def __repr__(self) -> str:
        return self.source

    def _repr_markdown_(self) -> str:
        return self.source


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Display a table; numbers lie to the right, rounded to four significant digits.

    Only for values that are the same on every machine: nbval compares each of them.

    Args:
        headers: one title per column.
        rows: cells: text as it is, numbers, or None for an empty cell.

    Raises:
        ValueError: a row with another number of cells than there are headers.
    """
    import IPython.display as notebook

    for row in rows:
        if len(row) != len(headers):
            raise ValueError(
                f"table: {len(row)} cells in the row {list(row)}, but {len(headers)} "
                "headers"
            )
    numeric = [
        all(not isinstance(row[i], str) for row in rows) for i in range(len(headers))
    ]
    lines = [list(headers), ["---:" if right else ":---" for right in numeric]]
    lines += [[_cell(value) for value in row] for row in rows]
    notebook.display(Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines)))


class Listing:
    """Source code, highlighted where Markdown is rendered and plain elsewhere."""

    def __init__(self, source: str, origin: str) -> None:
        self.source = source
        self.origin = origin

    def __repr__(self) -> str:
        return self.source

    def _repr_markdown_(self) -> str:
        return f"```python\n# {self.origin}\n{self.source}\n```"


def show(*objects: Any, doc: bool = True) -> None:
    """Display the source of functions, classes or modules as it is installed.

    Args:
        objects: what to show, in this order. A property, a cached property, a partial
            and the like show the function that they hold.
        doc: keep the docstrings; without them a listing shows the working lines only.

    Raises:
        ValueError: something that has no Python source (a built-in, a number).
    """
    # here, because the rest of the package does without IPython
    import IPython.display as notebook

    for thing in objects:
        held = _function_in(thing)
        try:
            source = textwrap.dedent(inspect.getsource(held)).rstrip()
            source = source if doc else _without_docstrings(source)
        except (TypeError, OSError, SyntaxError):
            raise ValueError(
                f"show: {_one_line(thing)} has no Python source of its own; expected "
                "a function, class, method, property or module written in Python"
            ) from None
        module = inspect.getmodule(held)
        origin = module.__name__ if module else "unknown module"
        notebook.display(Listing(source, origin))


def _function_in(thing: Any) -> Any:
    """What a property, a class method, a partial holds; `inspect` sees through other
    wrappers itself.
    """
    while True:
        if isinstance(thing, property):
            thing = thing.fget
        elif isinstance(thing, classmethod | staticmethod):
            thing = cast(Any, thing).__func__
        elif isinstance(thing, cached_property | partial | partialmethod):
            thing = cast(Any, thing).func
        else:
            return thing


def _one_line(thing: object) -> str:
    text = " ".join(repr(thing).split())
    return text if len(text) <= 80 else text[:79] + "…"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.replace("|", "\\|").replace("\n", "\\n")
    if isinstance(value, SupportsFloat):
        return _format(float(value))
    raise ValueError(
        f"table: a cell holds {type(value).__name__}; allowed are text, numbers and "
        "None"
    )


def _without_docstrings(source: str) -> str:
    """Remove the lines of every docstring, comments and layout untouched."""
    dropped: set[int] = set()
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ):
            continue
        if ast.get_docstring(node) is None or len(node.body) == 1:
            continue
        start, end = node.body[0].lineno, node.body[0].end_lineno or node.body[0].lineno
        while not lines[end].strip():  # the blank lines below it go too
            end += 1
        dropped.update(range(start, end + 1))
    return "\n".join(
        line for number, line in enumerate(lines, 1) if number not in dropped
    )


def _as_stated(bound: float) -> str:
    """A bound as its author wrote it, thousands separated."""
    return (
        _format(bound)
        if not math.isfinite(bound) or bound == int(bound)
        else f"{bound:,.10g}"
    )


def _format(number: float) -> str:
    """Four significant digits; no exponent between 0.001 and a billion."""
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    if number == int(number) and abs(number) < 1e12:
        return f"{int(number):,}"
    if not 1e-3 <= abs(number) < 1e9:
        return f"{number:.3e}"
    decimals = max(0, 3 - math.floor(math.log10(abs(number))))
    return f"{number:,.{decimals}f}"
