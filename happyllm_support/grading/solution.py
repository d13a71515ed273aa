"""The solution of a function: the source of what the package has in its place."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable
from operator import attrgetter

from happyllm_support.grading.compare import CheckError
from happyllm_support.grading.labs import PACKAGE, Check


def places(checks: Iterable[Check]) -> list[str]:
    """What the solutions of some checks consist of, as "module:name", each once."""
    return list(dict.fromkeys(place for check in checks for place in check.solution))


def source_of(place: str) -> str:
    """The source of "module:name", where a module `labs.lab02_corpora.reference` is a file of that lab.

    Raises:
        CheckError: there is nothing of that name; the lab names something that the package does not have.
    """
    module, _, name = place.partition(":")
    if module.startswith("labs."):
        module = f"{PACKAGE}.{module.removeprefix('labs.')}"
    try:
        found = attrgetter(name)(importlib.import_module(module))
        return inspect.getsource(getattr(found, "func", found)).rstrip() + "\n"  # func: of a cached_property
    except (ImportError, AttributeError, TypeError, OSError) as error:
        raise CheckError(f"the solution {place} cannot be shown: {type(error).__name__}: {error}") from error
