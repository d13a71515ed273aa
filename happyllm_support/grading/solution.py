"""The solution of a function: the source of what the package has in its place."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path

from happyllm_support.grading.compare import CheckError
from happyllm_support.grading.labs import Check, load_module


def places(checks: Iterable[Check]) -> list[str]:
    """What the solutions of some checks consist of, as "module:name", each once."""
    return list(dict.fromkeys(place for check in checks for place in check.solution))


def source_of(place: str, labs: Path) -> str:
    """The source of "module:name".

    Args:
        place: where it is; a module `labs.lab02_corpora.reference` is a file of that
            lab.
        labs: the folder of the labs.

    Raises:
        CheckError: there is nothing of that name; the lab names something that the
            package does not have.
    """
    module, _, name = place.partition(":")
    try:
        if module.startswith("labs."):
            _, folder, file = module.split(".")
            source = load_module(labs / folder, file)
        else:
            source = importlib.import_module(module)
        found = attrgetter(name)(source)
        return (
            inspect.getsource(getattr(found, "func", found)).rstrip() + "\n"
        )  # func: of a cached_property
    except (ImportError, AttributeError, TypeError, OSError) as error:
        raise CheckError(
            f"the solution {place} cannot be shown: {type(error).__name__}: {error}"
        ) from error
