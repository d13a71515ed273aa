"""What people get wrong about the angles of RoPE in lab 05: frequencies, their scaling,
positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from . import reference
from .checks import lab

STRETCH = "Beyond the trained length"
PAIRS = "Which two channels make a pair?"

# ---- rope_frequencies


def _powers(head_dim: int, theta: float) -> Tensor:
    if head_dim % 2:
        raise ValueError("odd")
    return theta ** (-torch.arange(0, head_dim, 2) / head_dim)


def _scaled(
    powers, head_dim: int, theta: float, scaling: str | None, factor: float
) -> Tensor:
    """The right scaling of wrong powers."""
    match scaling:
        case None:
            return powers(head_dim, theta)
        case "linear":
            return powers(head_dim, theta) / factor
        case "ntk":
            return powers(head_dim, theta * factor ** (head_dim / (head_dim - 2)))
        case _:
            raise ValueError("unknown")


@lab.mutant("rope_frequencies", "theta is ignored and 10,000 used")
def constant_theta(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    if scaling not in (None, "linear", "ntk"):
        raise ValueError("unknown")
    return _powers(head_dim, 10000.0) / (factor if scaling == "linear" else 1.0)


@lab.mutant(
    "rope_frequencies",
    "the exponent is -i/D instead of -2i/D, so that the slow half of the pairs is "
    "missing",
)
def exponent_without_two(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    def powers(dim, base):
        return _powers(dim, base).sqrt()

    return _scaled(powers, head_dim, theta, scaling, factor)


@lab.mutant(
    "rope_frequencies",
    "the exponent is -4i/D: D/2 stands where D belongs, or the 2 counts twice",
)
def exponent_with_half(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    def powers(dim, base):
        return _powers(dim, base).square()

    return _scaled(powers, head_dim, theta, scaling, factor)


@lab.mutant(
    "rope_frequencies",
    "the minus sign of the exponent is missing, so that these are 1 / f",
)
def inverted(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    def powers(dim, base):
        return 1 / _powers(dim, base)

    return _scaled(powers, head_dim, theta, scaling, factor)


@lab.mutant(
    "rope_frequencies", "there is one frequency per channel instead of one per pair"
)
def per_channel(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    def powers(dim, base):
        return base ** (-torch.arange(dim) / dim)

    return _scaled(powers, head_dim, theta, scaling, factor)


@lab.mutant(
    "rope_frequencies",
    "the pairs are counted from 1, so that none turns by a whole radian",
)
def from_one(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    def powers(dim, base):
        return _powers(dim, base) * base ** (-2 / dim)

    return _scaled(powers, head_dim, theta, scaling, factor)


@lab.mutant(
    "rope_frequencies",
    "the last exponent reaches -1: i is divided by D/2 - 1 instead of D/2",
)
def through_the_end(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    def powers(dim, base):
        return base ** -torch.linspace(0, 1, dim // 2)

    return _scaled(powers, head_dim, theta, scaling, factor)


@lab.mutant("rope_frequencies", "the slowest pair comes first")
def slow_first(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    return reference.rope_frequencies(
        head_dim, theta, scaling=scaling, factor=factor
    ).flip(0)


@lab.mutant(
    "rope_frequencies",
    "the exponents are divided with //, which leaves nothing but zeros",
)
def whole_exponents(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    def powers(dim, base):
        return base ** -(torch.arange(0, dim, 2) // dim).float()

    _powers(head_dim, theta)
    return _scaled(powers, head_dim, theta, scaling, factor)


@lab.mutant(
    "rope_frequencies",
    "the exponents, -2i // D, are rounded down to whole numbers by //",
)
def floored_exponents(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    def powers(dim, base):
        return base ** (-torch.arange(0, dim, 2) // dim).float()

    _powers(head_dim, theta)
    return _scaled(powers, head_dim, theta, scaling, factor)


@lab.mutant(
    "rope_frequencies",
    "the factor also divides where there is no scaling",
    section=STRETCH,
)
def divided_without_scaling(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    right = reference.rope_frequencies(head_dim, theta, scaling=scaling, factor=factor)
    return right / factor if scaling is None else right


@lab.mutant(
    "rope_frequencies",
    "the factor also changes theta where there is no scaling",
    section=STRETCH,
)
def stretched_without_scaling(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    kind = "ntk" if scaling is None else scaling
    return reference.rope_frequencies(head_dim, theta, scaling=kind, factor=factor)


@lab.mutant("rope_frequencies", "the scaling is ignored", section=STRETCH)
def unscaled(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    if scaling not in (None, "linear", "ntk"):
        raise ValueError("unknown")
    return _powers(head_dim, theta)


@lab.mutant(
    "rope_frequencies",
    "linear multiplies by the factor instead of dividing",
    section=STRETCH,
)
def linear_multiplies(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    slow = reference.rope_frequencies(head_dim, theta, scaling=scaling, factor=factor)
    return slow * factor**2 if scaling == "linear" else slow


@lab.mutant(
    "rope_frequencies",
    "linear changes theta, where it should divide the frequencies",
    section=STRETCH,
)
def linear_on_theta(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    if scaling == "linear":
        return _powers(head_dim, theta * factor)
    return reference.rope_frequencies(head_dim, theta, scaling=scaling, factor=factor)


@lab.mutant(
    "rope_frequencies",
    "ntk multiplies theta by the factor itself, without the power D/(D-2)",
    section=STRETCH,
)
def ntk_without_power(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    if scaling == "ntk":
        return _powers(head_dim, theta * factor)
    return reference.rope_frequencies(head_dim, theta, scaling=scaling, factor=factor)


@lab.mutant(
    "rope_frequencies",
    "the power of ntk is (D-2)/D instead of D/(D-2)",
    section=STRETCH,
)
def ntk_power_inverted(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    if scaling == "ntk":
        return _powers(head_dim, theta * factor ** ((head_dim - 2) / head_dim))
    return reference.rope_frequencies(head_dim, theta, scaling=scaling, factor=factor)


@lab.mutant(
    "rope_frequencies",
    "ntk divides by the factor on top of changing theta",
    section=STRETCH,
)
def ntk_twice(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    right = reference.rope_frequencies(head_dim, theta, scaling=scaling, factor=factor)
    return right / factor if scaling == "ntk" else right


@lab.mutant(
    "rope_frequencies",
    "ntk divides theta instead of multiplying it, which makes the pairs faster",
    section=STRETCH,
)
def ntk_faster(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    if scaling == "ntk":
        return _powers(head_dim, theta / factor ** (head_dim / (head_dim - 2)))
    return reference.rope_frequencies(head_dim, theta, scaling=scaling, factor=factor)


@lab.mutant("rope_frequencies", "a head with an odd number of channels is accepted")
def odd_accepted(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    if head_dim % 2:
        return theta ** (-torch.arange(0, head_dim, 2) / head_dim)
    return reference.rope_frequencies(head_dim, theta, scaling=scaling, factor=factor)


@lab.mutant(
    "rope_frequencies", "an unknown kind of scaling is taken for none", section=STRETCH
)
def unknown_accepted(head_dim, theta=10000.0, *, scaling=None, factor=1.0):
    kind = scaling if scaling in ("linear", "ntk") else None
    return reference.rope_frequencies(head_dim, theta, scaling=kind, factor=factor)


# ---- RotaryPositions


class _Rotary(nn.Module):
    """Right; each variant below changes one method."""

    def __init__(self, head_dim, *, theta=10000.0, scaling=None, factor=1.0):
        super().__init__()
        self.f = self.frequencies(head_dim, theta, scaling, factor)

    def frequencies(self, head_dim, theta, scaling, factor):
        return reference.rope_frequencies(
            head_dim, theta, scaling=scaling, factor=factor
        )

    def angles(self, positions):
        return positions[:, :, None] * self.f  # (B, T, D/2)

    def wide(self, angles):
        return torch.cat((angles, angles), dim=-1)[:, None]  # (B, 1, T, D)

    def forward(self, positions):
        angles = self.wide(self.angles(positions))
        return angles.cos(), angles.sin()


@lab.mutant("RotaryPositions", "the given positions are ignored and 0 .. T - 1 used")
class Counted(_Rotary):
    def angles(self, positions):
        return super().angles(torch.arange(positions.shape[1]).expand_as(positions))


@lab.mutant("RotaryPositions", "the positions of the first row are used for all rows")
class FirstRow(_Rotary):
    def angles(self, positions):
        return super().angles(positions[:1].expand_as(positions))


@lab.mutant("RotaryPositions", "the positions count from 1 instead of from 0")
class FromOne(_Rotary):
    def angles(self, positions):
        return super().angles(positions + 1)


@lab.mutant("RotaryPositions", "theta is ignored and 10,000 used")
class FixedTheta(_Rotary):
    def frequencies(self, head_dim, theta, scaling, factor):
        return super().frequencies(head_dim, 10000.0, scaling, factor)


@lab.mutant("RotaryPositions", "the scaling is not passed on", section=STRETCH)
class ScalingForgotten(_Rotary):
    def frequencies(self, head_dim, theta, scaling, factor):
        return super().frequencies(head_dim, theta, None, 1.0)


@lab.mutant("RotaryPositions", "the angles are taken for degrees")
class Degrees(_Rotary):
    def angles(self, positions):
        return super().angles(positions).deg2rad()


@lab.mutant("RotaryPositions", "the angles are taken for whole turns, times 2 pi")
class WholeTurns(_Rotary):
    def angles(self, positions):
        return super().angles(positions) * 2 * torch.pi


@lab.mutant(
    "RotaryPositions",
    "the angles are computed in bf16, which is off by radians at far positions",
)
class Rounded(_Rotary):
    def angles(self, positions):
        return (positions[:, :, None].bfloat16() * self.f.bfloat16()).float()


@lab.mutant(
    "RotaryPositions",
    "the positions divide by the frequencies instead of multiplying with them",
)
class Divided(_Rotary):
    def angles(self, positions):
        return positions[:, :, None] / self.f


@lab.mutant("RotaryPositions", "cosines and sines are returned in the wrong order")
class Exchanged(_Rotary):
    def forward(self, positions):
        return super().forward(positions)[::-1]


@lab.mutant(
    "RotaryPositions",
    "the angles lie side by side, twice each, as for interleaved pairs, instead of in "
    "two equal halves",
    section=PAIRS,
)
class SideBySide(_Rotary):
    def wide(self, angles):
        return angles.repeat_interleave(2, dim=-1)[:, None]


@lab.mutant(
    "RotaryPositions",
    "the angles are not repeated: there are D/2 of them where D are asked for",
)
class Narrow(_Rotary):
    def wide(self, angles):
        return angles[:, None]


@lab.mutant(
    "RotaryPositions",
    "the axis of the heads is missing: (B, T, D) instead of (B, 1, T, D)",
)
class NoHeadAxis(_Rotary):
    def wide(self, angles):
        return torch.cat((angles, angles), dim=-1)


class _Table(_Rotary):
    """Angles from a table of `length` positions."""

    length = 2048

    def angles(self, positions):
        return (torch.arange(self.length)[:, None] * self.f)[self.place(positions)]

    def place(self, positions):
        return positions


@lab.mutant(
    "RotaryPositions",
    "the angles come from a table of 2048 positions, and there are more",
)
class Table(_Table):
    pass


@lab.mutant(
    "RotaryPositions",
    "the angles come from a table of 4096 positions, and there are more",
)
class LongerTable(_Table):
    length = 4096


@lab.mutant(
    "RotaryPositions",
    "positions beyond the end of a table get the angles of its last row",
)
class ClampedTable(_Table):
    def place(self, positions):
        return positions.clamp(max=self.length - 1)


@lab.mutant(
    "RotaryPositions",
    "the frequencies are a parameter, which would be trained and saved",
)
class Trained(_Rotary):
    def __init__(self, head_dim, **settings):
        super().__init__(head_dim, **settings)
        self.f = nn.Parameter(self.f)


@lab.mutant(
    "RotaryPositions",
    "the position is only added to the frequency instead of multiplied with it",
)
class AddedPosition(_Rotary):
    def angles(self, positions):
        return positions[:, :, None] + self.f
