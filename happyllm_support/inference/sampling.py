"""Choose the next token of each row: first the distribution, then a draw from it.

    p(i) = softmax(logits / temperature)(i), over the `top_k` largest logits

Source: A. Fan et al., "Hierarchical Neural Story Generation", 2018, section 5.2
(top-k).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int64
from torch import Tensor

if TYPE_CHECKING:
    Generators = torch.Generator | Sequence[torch.Generator] | None
    """Source of random numbers: one for all rows, one for each, or torch's own."""


def probs(
    logits: Float[Tensor, "B V"], *, temperature: float = 1.0, top_k: int | None = None
) -> Float[Tensor, "B V"]:
    """The distribution that the next token is drawn from.

    Args:
        logits: of any floating dtype.
        temperature: below 1 sharpens the distribution, above 1 flattens it; 0 gives all
            of it to the largest logit, the first of equal ones.
        top_k: only that many tokens with the largest logits; None is all of them.

    Returns:
        (B, V) in fp32, rows that sum to 1.

    Raises:
        ValueError: logits of another shape, a negative temperature, or `top_k` outside
            1 to V.
    """
    if logits.ndim != 2:
        raise ValueError(
            f"logits have shape {tuple(logits.shape)}; expected (batch, vocabulary)"
        )
    check_sampling(temperature, top_k)
    vocab_size = logits.shape[1]
    if top_k is not None and top_k > vocab_size:
        raise ValueError(f"top_k is {top_k}; expected at most {vocab_size}, all tokens")
    if temperature == 0:
        best = logits.argmax(dim=1, keepdim=True)
        return torch.zeros_like(logits, dtype=torch.float32).scatter_(1, best, 1.0)
    scores = logits.float()
    if top_k is not None:
        kept, ids = scores.topk(top_k, dim=1)  # (B, top_k)
        scores = torch.full_like(scores, -math.inf).scatter_(1, ids, kept)
    # The largest is taken off first, in fp64: then no temperature is too small.
    scores = scores.double() - scores.amax(dim=1, keepdim=True)
    return torch.softmax((scores / temperature).float(), dim=1)


def draw(
    probs: Float[Tensor, "B V"], generator: Generators = None
) -> Int64[Tensor, " B"]:
    """Draw one token per row.

    Args:
        probs: a distribution per row.
        generator: source of randomness on the device of `probs`. With one per row, what
            a row draws does not depend on its neighbours.

    Returns:
        (B,) ids.

    Raises:
        ValueError: another number of generators than rows.
    """
    if generator is None or isinstance(generator, torch.Generator):
        return torch.multinomial(probs, 1, generator=generator).squeeze(1)
    if len(generator) != len(probs):
        raise ValueError(
            f"{len(generator)} generators for {len(probs)} rows; expected one each"
        )
    rows = zip(probs, generator, strict=True)
    return torch.cat([torch.multinomial(row, 1, generator=own) for row, own in rows])


def sample(
    logits: Float[Tensor, "B V"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: Generators = None,
) -> Int64[Tensor, " B"]:
    """`draw` from `probs`, with their arguments; temperature 0 needs no randomness."""
    distribution = probs(logits, temperature=temperature, top_k=top_k)
    if temperature == 0:
        return distribution.argmax(dim=1)
    return draw(distribution, generator)


def check_sampling(temperature: float, top_k: int | None) -> None:
    """Raise ValueError for settings that no vocabulary allows."""
    if not 0 <= temperature < math.inf:
        raise ValueError(
            f"temperature is {temperature}; expected 0 (greedy) or a positive number"
        )
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}; expected at least 1, or None for all")
