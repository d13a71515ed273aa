"""What people get wrong about the rotation of RoPE in lab 05: signs, pairs, precision,
the order of weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import reference
from .checks import lab

PAIRS = "Which two channels make a pair?"

# ---- apply_rope


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.chunk(2, dim=-1)


def _join(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    return torch.cat((a, b), dim=-1).to(x.dtype)


@lab.mutant(
    "apply_rope",
    "the sign of the sine is on the wrong half, so that vectors turn the other way",
)
def other_way(x, cos, sin):
    return reference.apply_rope(x, cos, -sin)


@lab.mutant("apply_rope", "the minus sign is missing: a cos + b sin is no rotation")
def no_minus(x, cos, sin):
    a, b = _halves(x)
    return (x * cos + torch.cat((b, a), dim=-1) * sin).to(x.dtype)


@lab.mutant(
    "apply_rope", "both halves get the minus sign: b cos - a sin is no rotation"
)
def two_minus(x, cos, sin):
    return no_minus(x, cos, -sin)


@lab.mutant("apply_rope", "the halves are negated but not exchanged: a cos - a sin")
def not_exchanged(x, cos, sin):
    a, b = _halves(x)
    return (x * cos + torch.cat((-a, b), dim=-1) * sin).to(x.dtype)


@lab.mutant("apply_rope", "cosine and sine are exchanged")
def cos_for_sin(x, cos, sin):
    return reference.apply_rope(x, sin, cos)


@lab.mutant(
    "apply_rope",
    "neighbours are paired, (2i, 2i + 1), which is the interleaved layout",
    section=PAIRS,
)
def neighbours(x, cos, sin):
    return reference.apply_rope_interleaved(x, cos, sin)


@lab.mutant(
    "apply_rope",
    "half-split pairs are put back interleaved, as (a0, b0, a1, b1, ...)",
    section=PAIRS,
)
def put_back_interleaved(x, cos, sin):
    return torch.stack(_halves(reference.apply_rope(x, cos, sin)), dim=-1).flatten(-2)


@lab.mutant(
    "apply_rope",
    "the rotated half -x[2i + 1], x[2i] of the interleaved layout meets half-split "
    "angles",
    section=PAIRS,
)
def mixed_layouts(x, cos, sin):
    turned = torch.stack((-x[..., 1::2], x[..., 0::2]), dim=-1).flatten(-2)
    return (x * cos + turned * sin).to(x.dtype)


@lab.mutant("apply_rope", "channel i is paired with channel D - 1 - i", section=PAIRS)
def mirrored(x, cos, sin):
    a, b = _halves(x)
    return torch.cat(
        _halves(reference.apply_rope(_join(a, b.flip(-1), x), cos, sin)), dim=-1
    )


@lab.mutant(
    "apply_rope",
    "only the first half of the channels is turned, the second returned as it came",
)
def half_turned(x, cos, sin):
    return _join(_halves(reference.apply_rope(x, cos, sin))[0], _halves(x)[1], x)


@lab.mutant(
    "apply_rope",
    "the second half is computed from the first half that has already been turned",
)
def overwritten(x, cos, sin):
    a, b = _halves(x.float())
    (c, _), (s, _) = _halves(cos), _halves(sin)
    a = a * c - b * s
    return _join(a, b * c + a * s, x)


@lab.mutant(
    "apply_rope",
    "cosines and sines are rounded to the dtype of x, and the products with them",
)
def rounded_rotation(x, cos, sin):
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    a, b = _halves(x)
    return x * cos + torch.cat((-b, a), dim=-1) * sin


@lab.mutant("apply_rope", "the result stays in fp32 when x is in bf16")
def rotation_not_cast_back(x, cos, sin):
    return reference.apply_rope(x.float(), cos, sin)


@lab.mutant("apply_rope", "the angles of the first row are used for all rows")
def first_row_turned(x, cos, sin):
    return reference.apply_rope(x, cos[:1], sin[:1])


# ---- apply_rope_interleaved


def _even_odd(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 0::2], x[..., 1::2]


@lab.mutant(
    "apply_rope_interleaved", "halves are paired, (i, i + D/2), as in apply_rope"
)
def halves_for_neighbours(x, cos, sin):
    return reference.apply_rope(x, cos, sin)


@lab.mutant(
    "apply_rope_interleaved",
    "the sign of the sine is on the wrong channel, so that vectors turn the other way",
)
def interleaved_other_way(x, cos, sin):
    return reference.apply_rope_interleaved(x, cos, -sin)


@lab.mutant(
    "apply_rope_interleaved", "the minus sign is missing: a cos + b sin is no rotation"
)
def interleaved_no_minus(x, cos, sin):
    (a, b), (c, _), (s, _) = _even_odd(x), _halves(cos), _halves(sin)
    return torch.stack((a * c + b * s, b * c + a * s), dim=-1).flatten(-2).to(x.dtype)


@lab.mutant(
    "apply_rope_interleaved",
    "the turned channels are put back in two halves instead of side by side",
)
def put_back_in_halves(x, cos, sin):
    return torch.cat(_even_odd(reference.apply_rope_interleaved(x, cos, sin)), dim=-1)


@lab.mutant(
    "apply_rope_interleaved",
    "every second cosine is taken, as if angles lay side by side; they lie in two "
    "halves",
)
def every_second_angle(x, cos, sin):
    (a, b), c, s = _even_odd(x), cos[..., 0::2], sin[..., 0::2]
    return torch.stack((a * c - b * s, b * c + a * s), dim=-1).flatten(-2).to(x.dtype)


@lab.mutant(
    "apply_rope_interleaved",
    "cos and sin are used channel by channel, although they lie in two halves",
)
def halves_of_angles(x, cos, sin):
    a, b = _even_odd(x)
    return (x * cos + torch.stack((-b, a), dim=-1).flatten(-2) * sin).to(x.dtype)


@lab.mutant(
    "apply_rope_interleaved",
    "only the even channels are turned, the odd ones returned as they came",
)
def only_even(x, cos, sin):
    turned = _even_odd(reference.apply_rope_interleaved(x, cos, sin))[0]
    return torch.stack((turned, x[..., 1::2]), dim=-1).flatten(-2)


@lab.mutant(
    "apply_rope_interleaved",
    "the odd channel is computed from the even one that has already been turned",
)
def interleaved_overwritten(x, cos, sin):
    out = x.float().clone()
    c, s = _halves(cos)[0], _halves(sin)[0]
    out[..., 0::2] = out[..., 0::2] * c - out[..., 1::2] * s
    out[..., 1::2] = out[..., 1::2] * c + out[..., 0::2] * s
    return out.to(x.dtype)


@lab.mutant(
    "apply_rope_interleaved",
    "cosines and sines are rounded to the dtype of x, and the products with them",
)
def interleaved_rounded(x, cos, sin):
    (a, b), c, s = (
        _even_odd(x),
        _halves(cos)[0].to(x.dtype),
        _halves(sin)[0].to(x.dtype),
    )
    return torch.stack((a * c - b * s, b * c + a * s), dim=-1).flatten(-2)


@lab.mutant("apply_rope_interleaved", "the result stays in fp32 when x is in bf16")
def interleaved_not_cast_back(x, cos, sin):
    return reference.apply_rope_interleaved(x.float(), cos, sin)


# ---- interleaved_to_half_split


def _whole_heads(weight: Tensor, head_dim: int) -> int:
    if weight.shape[0] % head_dim:
        raise ValueError("no whole heads")
    return weight.shape[0] // head_dim


@lab.mutant(
    "interleaved_to_half_split",
    "the order is the inverse one, from half-split to interleaved",
)
def inverse_order(weight, head_dim):
    heads = _whole_heads(weight, head_dim)
    return (
        weight.reshape(heads, 2, head_dim // 2, *weight.shape[1:])
        .transpose(1, 2)
        .reshape(weight.shape)
    )


@lab.mutant(
    "interleaved_to_half_split",
    "all rows are treated as one head, so that channels move from head to head",
)
def one_big_head(weight, head_dim):
    _whole_heads(weight, head_dim)
    return torch.cat((weight[0::2], weight[1::2]))


@lab.mutant("interleaved_to_half_split", "the odd rows of a head come first")
def odd_first(weight, head_dim):
    heads = _whole_heads(weight, head_dim)
    pairs = weight.reshape(heads, head_dim // 2, 2, *weight.shape[1:])
    return pairs.flip(2).transpose(1, 2).reshape(weight.shape)


@lab.mutant("interleaved_to_half_split", "the rows stay as they are")
def untouched(weight, head_dim):
    _whole_heads(weight, head_dim)
    return weight.clone()


@lab.mutant(
    "interleaved_to_half_split", "the columns are reordered instead of the rows"
)
def columns(weight, head_dim):
    if weight.ndim == 1:
        return reference.interleaved_to_half_split(weight, head_dim)
    return reference.interleaved_to_half_split(weight.T, head_dim).T.contiguous()


@lab.mutant("interleaved_to_half_split", "head_dim is taken for the number of heads")
def heads_for_channels(weight, head_dim):
    _whole_heads(weight, head_dim)
    return (
        weight.reshape(head_dim, -1, 2, *weight.shape[1:])
        .transpose(1, 2)
        .reshape(weight.shape)
    )


@lab.mutant(
    "interleaved_to_half_split",
    "the halves of a head are exchanged instead of dealt apart",
)
def exchanged_halves(weight, head_dim):
    heads = _whole_heads(weight, head_dim)
    halves = weight.reshape(heads, 2, head_dim // 2, *weight.shape[1:])
    return halves.flip(1).reshape(weight.shape)


@lab.mutant("interleaved_to_half_split", "rows that are not whole heads are accepted")
def rest_accepted(weight, head_dim):
    whole = weight.shape[0] // head_dim * head_dim
    return torch.cat(
        (reference.interleaved_to_half_split(weight[:whole], head_dim), weight[whole:])
    )
