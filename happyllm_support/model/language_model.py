"""What every language model of this course offers, in one signature.

    logits = model(ids)                                          plain text
    logits = model(ids, segments=segments)                       padding, packed rows
    logits = model(ids, cache=cache, last_only=True)             one step of decoding

`GPT2` and `Llama2` are such models, and so is what has their signature: nothing that
trains, evaluates or samples knows which one it is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from happyllm_support.model.cache import Cache


class ModelConfig(Protocol):
    """What is asked of any model's configuration."""

    @property
    def vocab_size(self) -> int:
        """V, number of token ids."""
        ...

    @property
    def max_seq_len(self) -> int:
        """Positions that the model takes."""
        ...


class LanguageModel(Protocol):
    """From token ids to the logits of the next token; an `nn.Module`."""

    @property
    def config(self) -> Any:
        """Sizes, a `ModelConfig`."""
        ...

    def __call__(
        self,
        ids: Int64[Tensor, "B T"],
        *,
        positions: Int64[Tensor, "B T"] | None = None,
        segments: Int64[Tensor, "B T"] | None = None,
        cache: Cache | None = None,
        last_only: bool = False,
    ) -> Float[Tensor, "B T V"]:
        """Score every token of the vocabulary as the next one.

        Args:
            ids: tokens, below vocab_size.
            positions: index of each within its document; None: counted from 0, or on
                from the cache.
            segments: number of its document within the row, 0 for padding; None: each
                row is one document.
            cache: keys and values of earlier tokens, extended by this call.
            last_only: compute the last column only, which is what generation needs.

        Returns:
            Unnormalised log-probabilities; (B, 1, V) with `last_only`.

        Raises:
            ValueError: ids out of range, shapes that do not fit, a sequence longer than
                max_seq_len, or a cache that is full.
        """
        ...

    def hidden(
        self,
        ids: Int64[Tensor, "B T"],
        *,
        positions: Int64[Tensor, "B T"] | None = None,
        segments: Int64[Tensor, "B T"] | None = None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "B T C"]:
        """The residual stream after the last norm, which the head reads."""
        ...

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """As of any `nn.Module`."""
        ...

    def modules(self) -> Iterator[nn.Module]:
        """As of any `nn.Module`."""
        ...

    def train(self, mode: bool = True) -> Any:
        """As of any `nn.Module`."""
        ...


def device_of(model: LanguageModel | nn.Module) -> torch.device:
    """Return where a model's parameters are."""
    return next(iter(model.parameters())).device


def unwrapped(model: LanguageModel | nn.Module) -> Any:
    """The model inside of wrappers such as DDP, which hide its configuration."""
    inner: Any = model
    while not hasattr(inner, "config") and hasattr(inner, "module"):
        inner = inner.module
    return inner


def config_of(model: LanguageModel | nn.Module) -> ModelConfig:
    """A model's configuration, also through wrappers."""
    return unwrapped(model).config
