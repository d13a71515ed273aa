"""The frequencies of rotary positions, and the four ways to slow them down for texts
longer than those trained on.

Pair i of the D channels of a head turns by f_i = theta^(-2i/D) radians a token: pair 0
once in 6.3 tokens, the last one about theta times slower. Past the trained length L the
slow pairs reach angles that no query has met. Each kind of scaling by s keeps angles in
the trained range, at a price:

    "linear"    f_i / s for all pairs: nothing new is met, but neighbours become s times
                harder to tell apart
    "ntk"       theta s^(D/(D-2)) in place of theta: pair 0 keeps its speed, the last
                one turns s times slower
    "dynamic"   "ntk" by what the length at hand, n > L, asks for: s grows from 1 with
                1 + s (n/L - 1)
    "yarn"      pairs that turn often within L keep their speed, those that turn less
                than once are divided by s, a ramp between; queries and keys grow a
                little, which sharpens the softmax

Source: Chen et al. (2023), "Extending Context Window of Large Language Models via
Positional Interpolation" (linear); Peng et al. (2023), "YaRN: Efficient Context Window
Extension of Large Language Models", sections 3.1 to 3.4 (all others). The conventions
for limits and rounding are those of Hugging Face's transformers, so that its
checkpoints load.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

ScalingKind = Literal["linear", "ntk", "dynamic", "yarn"]


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How rotary frequencies are changed for a longer context.

    Attributes:
        kind: `linear`, `ntk`, `dynamic` or `yarn`; see the top of this file.
        factor: s, how many times longer the context becomes; at least 1.
        original_max_seq_len: L, tokens of the context that the model was trained on.
        beta_fast: yarn: pairs with at least this many turns within L keep their speed.
        beta_slow: yarn: pairs with at most this many turns within L are divided by
            `factor`.
        attention_factor: yarn: what cosines and sines are multiplied by; None for 0.1
            ln(factor) + 1.
        mscale: yarn, only together with `mscale_all_dim`: the attention factor is then
            (0.1 mscale ln(factor) + 1) / (0.1 mscale_all_dim ln(factor) + 1). One of
            them alone, or a 0, has no effect.
        mscale_all_dim: see `mscale`.
        truncate: yarn: round the ends of the ramp outwards to whole pairs.

    Raises:
        ValueError: for a value that is not allowed, or a field of yarn's with another
            kind.
    """

    kind: ScalingKind
    factor: float
    original_max_seq_len: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True

    def __post_init__(self) -> None:
        if self.kind not in get_args(ScalingKind):
            raise ValueError(
                f"RoPE scaling kind {self.kind!r} is unknown; "
                f"{', '.join(get_args(ScalingKind))} are"
            )
        if not 1 <= self.factor < math.inf:
            raise ValueError(
                f"RoPE scaling factor is {self.factor}; at least 1 is needed"
            )
        if self.original_max_seq_len < 1:
            raise ValueError(
                f"original_max_seq_len is {self.original_max_seq_len}; at least 1 is "
                "needed"
            )
        if self.kind != "yarn":
            self._refuse_yarn_fields()
        if not 0 < self.beta_slow < self.beta_fast < math.inf:
            raise ValueError(
                f"beta_slow is {self.beta_slow} and beta_fast {self.beta_fast}; 0 < "
                "beta_slow < beta_fast is needed"
            )
        if (
            self.attention_factor is not None
            and not 0 < self.attention_factor < math.inf
        ):
            raise ValueError(
                f"attention_factor is {self.attention_factor}; a positive number is "
                "needed"
            )
        for name, value in (
            ("mscale", self.mscale),
            ("mscale_all_dim", self.mscale_all_dim),
        ):
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; 0 or more is needed")

    def _refuse_yarn_fields(self) -> None:
        for name in (
            "beta_fast",
            "beta_slow",
            "attention_factor",
            "mscale",
            "mscale_all_dim",
            "truncate",
        ):
            if getattr(self, name) != getattr(type(self), name):
                raise ValueError(
                    f"{name} is {getattr(self, name)}; it belongs to kind 'yarn', not "
                    f"{self.kind!r}"
                )


def inverse_frequencies(
    dim: int, theta: float | Float[Tensor, ""], device: torch.device | str = "cpu"
) -> Float[Tensor, " dim_half"]:
    """Return theta^(-2i/dim) for i = 0 .. dim/2 - 1, fp32.

    Args:
        dim: channels, even.
        theta: base of the powers, a number or a tensor that holds one.
        device: where the result is to be; never left to a `with torch.device(...)`
            around the call.
    """
    return 1.0 / theta ** (
        torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim
    )


def rope_frequencies(
    head_dim: int,
    theta: float,
    scaling: RopeScaling | None = None,
    seq_len: int | Int[Tensor, ""] | None = None,
) -> tuple[Float[Tensor, " D_half"], float]:
    """Return the angle by which each pair of channels turns from one token to the next,
    and yarn's attention factor.

    Args:
        head_dim: D, channels of a head; even.
        theta: base of the frequencies, `rope_theta` in the configurations.
        scaling: how they are slowed down, None for not at all.
        seq_len: tokens of the text at hand, a number or a tensor that holds one; looked
            at by `dynamic` alone, which changes nothing without it.

    Returns:
        Radians per token, (D/2) in fp32, on the CPU or on the device of `seq_len`; what
        cosines and sines are to be multiplied by, 1 except with `yarn`.

    Raises:
        ValueError: for an odd or non-positive `head_dim`, one too small for `ntk` or
            `dynamic`, or theta <= 1.
    """
    check_frequencies(head_dim, theta, scaling)
    device = seq_len.device if isinstance(seq_len, Tensor) else "cpu"
    if scaling is None:
        return inverse_frequencies(head_dim, theta, device), 1.0
    if scaling.kind == "linear":
        return inverse_frequencies(head_dim, theta, device) / scaling.factor, 1.0
    if scaling.kind == "yarn":
        return _yarn(head_dim, theta, scaling, device), _attention_factor(scaling)
    exponent = head_dim / (head_dim - 2)
    if scaling.kind == "ntk":
        return inverse_frequencies(
            head_dim, theta * scaling.factor**exponent, device
        ), 1.0
    # A tensor stays one: to read its value would stop a GPU, and the tracing of
    # torch.compile.
    length = scaling.original_max_seq_len
    if isinstance(seq_len, Tensor):
        excess = (seq_len / length - 1).clamp(min=0)
    else:
        excess = max((seq_len or 0) / length - 1, 0.0)
    return inverse_frequencies(
        head_dim, theta * (1 + scaling.factor * excess) ** exponent, device
    ), 1.0


def check_frequencies(head_dim: int, theta: float, scaling: RopeScaling | None) -> None:
    """Raise ValueError for what `rope_frequencies` can make no frequencies of."""
    if head_dim < 1:
        raise ValueError(f"head_dim is {head_dim}; RoPE needs a positive one")
    if head_dim % 2:
        raise ValueError(f"head_dim is {head_dim}; RoPE needs an even one")
    if not 1 < theta < math.inf:
        raise ValueError(f"theta is {theta}; RoPE needs more than 1")
    if head_dim == 2 and scaling is not None and scaling.kind in ("ntk", "dynamic"):
        raise ValueError(
            f"head_dim is 2; RoPE scaling {scaling.kind!r} needs at least 4"
        )


def _yarn(
    head_dim: int, theta: float, scaling: RopeScaling, device: torch.device | str
) -> Float[Tensor, " D_half"]:
    """Blend the frequencies with those divided by `factor`, along a ramp over the
    pairs.
    """

    def pair_with(turns: float) -> float:
        """Return the i (not a whole one) whose pair turns that often within L: L f_i =
        2 pi turns.
        """
        return (
            head_dim
            * math.log(scaling.original_max_seq_len / (2 * math.pi * turns))
            / (2 * math.log(theta))
        )

    first, last = pair_with(scaling.beta_fast), pair_with(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, head_dim - 1)
    pairs = torch.arange(head_dim // 2, dtype=torch.float32, device=device)
    slowed = ((pairs - first) / max(last - first, 0.001)).clamp(
        0, 1
    )  # 0 keeps the speed, 1 divides it by factor
    frequencies = inverse_frequencies(head_dim, theta, device)
    return frequencies * (1 - slowed) + frequencies / scaling.factor * slowed


def _attention_factor(scaling: RopeScaling) -> float:
    """Return yarn's sqrt(1/t); scores, products of two scaled vectors, grow by its
    square.
    """
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    tenth = 0.1 * math.log(scaling.factor)
    if scaling.mscale and scaling.mscale_all_dim:
        return (tenth * scaling.mscale + 1) / (tenth * scaling.mscale_all_dim + 1)
    return tenth + 1
