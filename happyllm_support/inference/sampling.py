"""Choose the next token of each row from its logits.

    p(i) = softmax(logits / temperature)(i), over the `top_k` largest logits

Source: A. Fan et al., "Hierarchical Neural Story Generation", 2018, section 5.2
(top-k).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def sample(
    logits: Float[Tensor, "B V"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
) -> Int64[Tensor, " B"]:
    """Draw one token per row.

    Args:
        logits: of any floating dtype; probabilities are computed in fp32.
        temperature: below 1 sharpens the distribution, above 1 flattens it; 0 takes the
            largest logit, the first of equal ones.
        top_k: draw among that many tokens with the largest logits; None is all of them.
        generator: source of randomness, on the device of the logits; None is torch's
            own.

    Returns:
        (B,) ids.

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
        raise ValueError(f"top_k is {top_k}; the vocabulary has {vocab_size}")
    if temperature == 0:
        return logits.argmax(dim=1)
    logits = logits.float()
    ids = None
    if top_k is not None:
        logits, ids = logits.topk(top_k, dim=1)  # (B, top_k)
    largest = logits.amax(
        dim=1, keepdim=True
    )  # taken off first: a small temperature then overflows nowhere
    probs = torch.softmax((logits - largest) / temperature, dim=1)
    drawn = torch.multinomial(probs, 1, generator=generator)  # (B, 1)
    return (drawn if ids is None else ids.gather(1, drawn)).squeeze(1)


def check_sampling(temperature: float, top_k: int | None) -> None:
    """Raise ValueError for settings that no vocabulary allows."""
    if not 0 <= temperature < math.inf:
        raise ValueError(
            f"temperature is {temperature}; expected 0 (greedy) or a positive number"
        )
    if top_k is not None and top_k < 1:
        raise ValueError(
            f"top_k is {top_k}; expected at least 1, or None for all tokens"
        )
