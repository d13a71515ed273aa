"""Rotary positions (RoPE): queries and keys are turned by an angle that grows with
their position.

Two channels (a, b) of a head at position p are a point in the plane, turned by p f
(`rope_scaling` says which f):

    (a cos(p f) - b sin(p f),  b cos(p f) + a sin(p f))

Turning keeps lengths, and the product of a query turned by p f and a key turned by r f
depends on p - r alone: position enters the scores as distance.

Which two channels make a pair is a convention. Ours, and Hugging Face's, is half-split:
channel i goes with i + D/2. Meta's is interleaved: 2i with 2i + 1. They are the same
rotation of channels in another order, so a checkpoint is converted once, by reordering
the rows of its query and key projections.

Source: Su et al. (2021), "RoFormer: Enhanced Transformer with Rotary Position
Embedding", section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from happyllm_support.model.rope_scaling import RopeScaling, rope_frequencies


class RotaryPositions(nn.Module):
    """Cosines and sines of the angles for any positions, computed once per forward and
    used by all layers.

    The frequencies depend on nothing that is learned: they are in no state dict, are
    built on the CPU even inside `with torch.device("meta")`, and stay fp32 when a model
    is moved to another dtype (rounded to bf16, they would turn position 1,000 by as
    much as a radian too far).

    With `dynamic` scaling they follow the largest position of the batch, so rows of a
    batch influence each other, and keys kept in a cache have been turned by the
    frequencies of their time.

    Args:
        head_dim: D, channels of a head; even.
        theta: base of the frequencies.
        scaling: how they are changed for a context longer than trained on.

    Raises:
        ValueError: as `rope_frequencies` does.
    """

    inv_freq: Float[Tensor, " D_half"]

    def __init__(
        self,
        head_dim: int,
        *,
        theta: float = 10000.0,
        scaling: RopeScaling | None = None,
    ) -> None:
        super().__init__()
        self.head_dim, self.theta, self.scaling = head_dim, theta, scaling
        frequencies, self.attention_factor = rope_frequencies(head_dim, theta, scaling)
        self.register_buffer("inv_freq", frequencies, persistent=False)

    def forward(
        self, positions: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B 1 T D"], Float[Tensor, "B 1 T D"]]:
        """Return cosines and sines, both multiplied by the attention factor; fp32, the
        halves of D alike.

        Args:
            positions: index of each token in its document; one row serves a whole
                batch.
        """
        inv_freq = self.inv_freq
        if self.scaling is not None and self.scaling.kind == "dynamic":
            inv_freq, _ = rope_frequencies(
                self.head_dim, self.theta, self.scaling, positions.max() + 1
            )
        angles = positions[:, None, :, None].float() * inv_freq  # (B, 1, T, D/2)
        angles = torch.cat((angles, angles), dim=-1)  # (B, 1, T, D)
        cos, sin = angles.cos(), angles.sin()
        if self.attention_factor != 1:
            cos, sin = cos * self.attention_factor, sin * self.attention_factor
        return cos, sin

    def extra_repr(self) -> str:
        """Return what `print(model)` shows."""
        return f"head_dim={self.head_dim}, theta={self.theta}, scaling={self.scaling}"

    def _apply(
        self, fn: Callable[[Tensor], Tensor], recurse: bool = True
    ) -> RotaryPositions:
        """Follow a module to its device, but neither to its dtype nor through
        `to_empty`.
        """
        super()._apply(fn, recurse)
        device = self.inv_freq.device
        frequencies, _ = rope_frequencies(self.head_dim, self.theta, self.scaling)
        self.inv_freq = frequencies if device.type == "meta" else frequencies.to(device)
        return self


def apply_rope(
    x: Float[Tensor, "B H T D"],
    cos: Float[Tensor, "#B 1 T D"],
    sin: Float[Tensor, "#B 1 T D"],
) -> Float[Tensor, "B H T D"]:
    """Turn the pairs (i, i + D/2) of each head: the half-split layout, the one of all
    models here.

    Args:
        x: queries or keys.
        cos: cosines from `RotaryPositions`.
        sin: sines from `RotaryPositions`.

    Returns:
        The dtype of x, computed in fp32 (in fp64 for an x in fp64).
    """
    half = x.shape[-1] // 2
    sin = torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)
    return torch.addcmul(x * cos, x.roll(half, dims=-1), sin).to(
        x.dtype
    )  # (a, b) cos + (b, a) (-sin, sin)


def apply_rope_interleaved(
    x: Float[Tensor, "B H T D"],
    cos: Float[Tensor, "#B 1 T D"],
    sin: Float[Tensor, "#B 1 T D"],
) -> Float[Tensor, "B H T D"]:
    """Turn the pairs (2i, 2i + 1) of each head: Meta's layout, for weights that have
    not been converted.

    Args:
        x: queries or keys.
        cos: cosines from `RotaryPositions`, as for `apply_rope`.
        sin: sines from `RotaryPositions`, as for `apply_rope`.

    Returns:
        The dtype of x, computed in fp32 (in fp64 for an x in fp64).
    """
    half = x.shape[-1] // 2
    a, b = x[..., 0::2], x[..., 1::2]
    cos, sin = cos[..., :half], sin[..., :half]
    return (
        torch.stack((a * cos - b * sin, b * cos + a * sin), dim=-1)
        .flatten(-2)
        .to(x.dtype)
    )


def interleaved_to_half_split(
    weight: Float[Tensor, " rows *d_in"], head_dim: int
) -> Float[Tensor, " rows *d_in"]:
    """Reorder the rows of a query or key projection, so that `apply_rope` does what
    `apply_rope_interleaved` did.

    Rows of a head with D = 4: (0, 1, 2, 3) -> (0, 2, 1, 3).

    Args:
        weight: a projection's weight (n D, d_in) or bias (n D,), n heads one below the
            other.
        head_dim: D, channels of a head.

    Raises:
        ValueError: if the rows are not whole heads, or `head_dim` is not even.
    """
    heads = _heads(weight, head_dim)
    return (
        weight.reshape(heads, head_dim // 2, 2, *weight.shape[1:])
        .transpose(1, 2)
        .reshape(weight.shape)
    )


def half_split_to_interleaved(
    weight: Float[Tensor, " rows *d_in"], head_dim: int
) -> Float[Tensor, " rows *d_in"]:
    """Undo `interleaved_to_half_split`, with the same arguments and errors."""
    heads = _heads(weight, head_dim)
    return (
        weight.reshape(heads, 2, head_dim // 2, *weight.shape[1:])
        .transpose(1, 2)
        .reshape(weight.shape)
    )


def _heads(weight: Tensor, head_dim: int) -> int:
    if head_dim < 1 or head_dim % 2:
        raise ValueError(f"head_dim is {head_dim}; RoPE needs a positive, even one")
    if weight.ndim == 0 or weight.shape[0] % head_dim:
        raise ValueError(
            f"a weight of shape {tuple(weight.shape)} has no whole heads of {head_dim} "
            "rows"
        )
    return weight.shape[0] // head_dim
