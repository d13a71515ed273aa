"""Training and evaluation mode, put back as it was."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from torch import nn


@contextmanager
def switched(model: nn.Module, *, training: bool) -> Generator[None]:
    """Put a model in training (or evaluation) mode, and every module of it back in its
    own at the end.

    Args:
        model: what to switch, with all its parts.
        training: True is `model.train()`, False `model.eval()`.
    """
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode
