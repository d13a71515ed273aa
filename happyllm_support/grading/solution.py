"""The solution of a function: the source of what the package has in its place."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable
from operator import attrgetter

from happyllm_support.grading.compare import CheckError
from happyllm_support.grading.labs import Check


def places(checks: Iterable[Check]) -> list[str]:
    """What the solutions of some checks consist of, as "module:name", each once."""
    return list(dict.fromkeys(place for check in checks for place in check.solution))


def source_of(place: str) -> str:
    """The source of "module:name".

    Raises:
        CheckError: there is nothing of that name; the lab names something that the package does not have.
    """
    module, _, name = place.partition(":")
    try:
        return inspect.getsource(attrgetter(name)(importlib.import_module(module))).rstrip() + "\n"
    except (ImportError, AttributeError, TypeError, OSError) as error:
        raise CheckError(f"the solution {place} cannot be shown: {type(error).__name__}: {error}") from error
