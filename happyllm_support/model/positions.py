"""How a model knows the order of its tokens; attention alone sees a set:

    learned      a vector per position, added to the embedding: GPT-2. Nothing is known
                 past the last one.
    sinusoidal   the same with fixed waves, so any position has a vector: the first
                 transformer.
    ALiBi        scores fall with distance, by a slope per head; nothing is added.
    RoPE         queries and keys are turned by an angle per position: LLaMA; in `rope`.
    none         a causal mask alone tells a model something: a query at position p sees
                 p + 1 keys.

All names are here; those of RoPE come from `rope` and `rope_scaling`.

Source: Vaswani et al. (2017), "Attention Is All You Need", section 3.5 (sinusoidal);
Press, Smith, Lewis (2022), "Train Short, Test Long: Attention with Linear Biases
Enables Input Length Extrapolation", section 3 (ALiBi); Kazemnejad et al. (2023), "The
Impact of Positional Encoding on Length Generalization in Transformers" (none).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from happyllm_support.model.rope import (
    RotaryPositions,
    apply_rope,
    apply_rope_interleaved,
    half_split_to_interleaved,
    interleaved_to_half_split,
)
from happyllm_support.model.rope_scaling import (
    RopeScaling,
    ScalingKind,
    inverse_frequencies,
    rope_frequencies,
)

__all__ = [
    "LearnedPositions",
    "RopeScaling",
    "RotaryPositions",
    "ScalingKind",
    "SinusoidalPositions",
    "alibi_slopes",
    "apply_rope",
    "apply_rope_interleaved",
    "half_split_to_interleaved",
    "interleaved_to_half_split",
    "rope_frequencies",
]


class LearnedPositions(nn.Embedding):
    """A learned vector for each of `max_seq_len` positions.

    Args:
        max_seq_len: number of positions.
        d_model: C, channels.

    Raises:
        ValueError: if one of them is not positive.
    """

    def __init__(self, max_seq_len: int, d_model: int) -> None:
        for name, value in (("max_seq_len", max_seq_len), ("d_model", d_model)):
            if value < 1:
                raise ValueError(f"{name} is {value}; expected at least 1")
        super().__init__(max_seq_len, d_model)


class SinusoidalPositions(nn.Module):
    """Fixed waves: channels 2i and 2i + 1 of position p hold sin(p f_i) and cos(p f_i),
    f_i = theta^(-2i/C).

    Args:
        d_model: C, channels; even.
        theta: base of the frequencies.

    Raises:
        ValueError: for an odd or non-positive `d_model`, or theta <= 1.
    """

    def __init__(self, d_model: int, theta: float = 10000.0) -> None:
        super().__init__()
        if d_model < 1 or d_model % 2:
            raise ValueError(
                f"d_model is {d_model}; sinusoidal positions need a positive, even one"
            )
        if not 1 < theta < math.inf:
            raise ValueError(f"theta is {theta}; sinusoidal positions need more than 1")
        self.d_model, self.theta = d_model, theta

    def forward(self, positions: Int[Tensor, "B T"]) -> Float[Tensor, "B T C"]:
        """Return the waves at positions, of any size; fp32.

        Args:
            positions: index of each token in its document; one row serves a whole
                batch.
        """
        angles = positions[..., None].float() * inverse_frequencies(
            self.d_model, self.theta, positions.device
        )
        return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(
            -2
        )  # (B, T, C/2, 2) -> (B, T, C)


def alibi_slopes(n_head: int) -> Float[Tensor, " H"]:
    """Return how much a head's scores fall per token of distance: 2^(-8/H), 2^(-16/H),
    .. 2^(-8), fp32 on the CPU.

    Between powers of two, the slopes are those of the power below, then every other one
    of the power above, as in the code that the paper's authors released.

    Args:
        n_head: H, number of heads.

    Raises:
        ValueError: if `n_head` is not positive.
    """
    if n_head < 1:
        raise ValueError(f"n_head is {n_head}; at least 1 is needed")
    below = 1 << (n_head.bit_length() - 1)
    exponents = [8 * (h + 1) / below for h in range(below)]
    exponents += [8 * (2 * h + 1) / (2 * below) for h in range(n_head - below)]
    return torch.tensor([2.0**-exponent for exponent in exponents], device="cpu")
