"""How a finished model is run: in training mode or not, with which attention kernel and
with how much dropout. None of it belongs to the architecture or is saved with it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import get_args

from torch import nn

from happyllm_support.model.attention import Attention
from happyllm_support.model.context import Kernel
from happyllm_support.model.language_model import LanguageModel, unwrapped


@contextmanager
def training_mode(model: nn.Module | LanguageModel, on: bool) -> Generator[None]:
    """Put a model in training (or evaluation) mode, and each part back at the end.

    Args:
        model: what to switch, with all its parts.
        on: True is `model.train()`, False `model.eval()`.
    """
    before = [(module, module.training) for module in model.modules()]
    if any(mode != on for _, mode in before):
        model.train(on)
    try:
        yield
    finally:
        for module, mode in before:
            if module.training != mode:  # to set it takes longer than to look
                module.training = mode


def set_kernel(model: nn.Module | LanguageModel, kernel: Kernel) -> None:
    """Let a model compute attention with another function; the numbers are the same.

    Args:
        model: GPT-2, LLaMA2 or a wrapper of one.
        kernel: "sdpa", PyTorch's fused kernels, is what models begin with; "naive"
            keeps all weights, "online" none.

    Raises:
        ValueError: an unknown kernel, or a model that has no choice.
    """
    if kernel not in get_args(Kernel):
        names = ", ".join(get_args(Kernel))
        raise ValueError(f"attention kernel {kernel!r} is unknown; expected {names}")
    inner = unwrapped(model)
    if not hasattr(inner, "kernel"):
        raise ValueError(f"{type(inner).__name__} has no attention kernel to choose")
    inner.kernel = kernel


def set_dropout(model: nn.Module | LanguageModel, probability: float) -> None:
    """Let a model drop that share of numbers in training; models begin with 0.

    Dropped are attention weights, elements of what each part adds to the stream, and
    elements of the embeddings; those that stay are scaled up to make up for it.

    Args:
        model: what to change, in all its parts.
        probability: from 0 to below 1.

    Raises:
        ValueError: no probability.
    """
    check_dropout(probability)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability
        elif isinstance(module, Attention):
            module.dropout = probability


def check_dropout(probability: float) -> None:
    """Raise ValueError for what is no probability below 1."""
    number = isinstance(probability, int | float)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not number or not 0.0 <= probability < 1.0:
        raise ValueError(f"dropout is {probability!r}; expected 0 to below 1")
