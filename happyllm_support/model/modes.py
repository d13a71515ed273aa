"""How a model is run: training mode, put back as it was."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from torch import nn


@contextmanager
def training_mode(model: nn.Module, on: bool) -> Generator[None]:
    """Put a model in training (or evaluation) mode, and each part back at the end.

    Args:
        model: what to switch, with all its parts.
        on: True is `model.train()`, False `model.eval()`.
    """
    before = [(module, module.training) for module in model.modules()]
    model.train(on)
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode
