"""Mistakes in `attend_online`: what is rescaled, by what, and when."""

from __future__ import annotations

import math

import torch

from . import reference
from .checks import SCALE, lab


def _steps(
    q,
    blocks,
    update,
    *,
    scale=None,
    start=-math.inf,
    answer=lambda top, total, sums: sums / total,
):
    """Yield an answer after each block; `update` makes the new (top, total, sums) from
    the old and the block.
    """
    top, total, sums = (
        q.new_full((len(q), 1), start),
        q.new_zeros(len(q), 1),
        torch.zeros_like(q),
    )
    for keys, values in blocks:
        scores = q @ keys.T * (q.shape[1] ** -0.5 if scale is None else scale)
        top, total, sums = update(top, total, sums, scores, values)
        yield answer(top, total, sums)


def _right(top, total, sums, scores, values):
    new_top = torch.maximum(top, scores.amax(-1, keepdim=True))
    shrink, powers = (top - new_top).exp(), (scores - new_top).exp()
    return (
        new_top,
        total * shrink + powers.sum(-1, keepdim=True),
        sums * shrink + powers @ values,
    )


@lab.mutant(
    "attend_online", "the scores are not divided by sqrt(head_dim)", section=SCALE
)
def online_unscaled(q, blocks):
    return _steps(q, blocks, _right, scale=1.0)


@lab.mutant(
    "attend_online",
    "the sum of the exponentials is not rescaled when the maximum grows",
)
def total_not_rescaled(q, blocks):
    def update(top, total, sums, scores, values):
        new_top, _, new_sums = _right(top, total, sums, scores, values)
        return new_top, total + (scores - new_top).exp().sum(-1, keepdim=True), new_sums

    return _steps(q, blocks, update)


@lab.mutant(
    "attend_online", "the summed values are not rescaled when the maximum grows"
)
def sums_not_rescaled(q, blocks):
    def update(top, total, sums, scores, values):
        new_top, new_total, _ = _right(top, total, sums, scores, values)
        return new_top, new_total, sums + (scores - new_top).exp() @ values

    return _steps(q, blocks, update)


@lab.mutant(
    "attend_online",
    "nothing is rescaled when the maximum grows: what was summed before counts too "
    "much",
)
def nothing_rescaled(q, blocks):
    def update(top, total, sums, scores, values):
        new_top = torch.maximum(top, scores.amax(-1, keepdim=True))
        powers = (scores - new_top).exp()
        return new_top, total + powers.sum(-1, keepdim=True), sums + powers @ values

    return _steps(q, blocks, update)


@lab.mutant(
    "attend_online",
    "each block subtracts its own maximum, and the sums of blocks are added as they "
    "are",
)
def maximum_of_the_block(q, blocks):
    def update(top, total, sums, scores, values):
        powers = (scores - scores.amax(-1, keepdim=True)).exp()
        return top, total + powers.sum(-1, keepdim=True), sums + powers @ values

    return _steps(q, blocks, update)


@lab.mutant(
    "attend_online",
    "the maximum is that of the last block, not of all so far: where scores fall it "
    "overflows",
)
def maximum_falls(q, blocks):
    def update(top, total, sums, scores, values):
        new_top = scores.amax(-1, keepdim=True)
        shrink, powers = (top - new_top).exp(), (scores - new_top).exp()
        return (
            new_top,
            total * shrink + powers.sum(-1, keepdim=True),
            sums * shrink + powers @ values,
        )

    return _steps(q, blocks, update)


@lab.mutant(
    "attend_online",
    "the factor is upside down, e^(new - old) in place of e^(old - new)",
)
def upside_down(q, blocks):
    def update(top, total, sums, scores, values):
        new_top = torch.maximum(top, scores.amax(-1, keepdim=True))
        grow = torch.where(
            top.isinf(), torch.zeros_like(top), (new_top - top).exp()
        )  # nothing is there at the start
        powers = (scores - new_top).exp()
        return (
            new_top,
            total * grow + powers.sum(-1, keepdim=True),
            sums * grow + powers @ values,
        )

    return _steps(q, blocks, update)


@lab.mutant(
    "attend_online",
    "the block is rescaled along with the past: it is added first, and then all "
    "shrinks",
)
def rescaled_too_late(q, blocks):
    def update(top, total, sums, scores, values):
        new_top = torch.maximum(top, scores.amax(-1, keepdim=True))
        shrink = torch.where(top.isinf(), torch.ones_like(top), (top - new_top).exp())
        powers = (scores - new_top).exp()
        return (
            new_top,
            (total + powers.sum(-1, keepdim=True)) * shrink,
            (sums + powers @ values) * shrink,
        )

    return _steps(q, blocks, update)


@lab.mutant(
    "attend_online",
    "the largest score starts at 0, so that scores far below it all become e^-1000 = 0",
)
def starts_at_zero(q, blocks):
    return _steps(q, blocks, _right, start=0.0)


@lab.mutant("attend_online", "no maximum is subtracted, and the exponentials overflow")
def online_without_maximum(q, blocks):
    def update(top, total, sums, scores, values):
        powers = scores.exp()
        return top, total + powers.sum(-1, keepdim=True), sums + powers @ values

    return _steps(q, blocks, update)


@lab.mutant(
    "attend_online",
    "one maximum serves all queries, and those with low scores become 0 / 0",
)
def one_maximum_for_all(q, blocks):
    def update(top, total, sums, scores, values):
        new_top = torch.maximum(top, scores.max())
        shrink, powers = (top - new_top).exp(), (scores - new_top).exp()
        return (
            new_top,
            total * shrink + powers.sum(-1, keepdim=True),
            sums * shrink + powers @ values,
        )

    return _steps(q, blocks, update)


@lab.mutant("attend_online", "the sums are not divided by the total")
def never_divided(q, blocks):
    return _steps(q, blocks, _right, answer=lambda top, total, sums: sums)


@lab.mutant(
    "attend_online",
    "the quotient takes the place of the sums, and the next block is added to it",
)
def divided_in_place(q, blocks):
    def update(top, total, sums, scores, values):
        new_top, new_total, new_sums = _right(top, total, sums, scores, values)
        return new_top, new_total, new_sums / new_total

    return _steps(q, blocks, update, answer=lambda top, total, sums: sums)


@lab.mutant(
    "attend_online",
    "the largest score is not kept: top is what the first block made it, and each "
    "block rescales by it",
)
def top_of_the_first_block(q, blocks):
    def update(top, total, sums, *block):
        new_top, total, sums = _right(top, total, sums, *block)
        return torch.where(top.isinf(), new_top, top), total, sums

    return _steps(q, blocks, update)


@lab.mutant(
    "attend_online",
    "only the last block counts: the sums are not kept, or top is still -infinity, "
    "and e^-infinity is 0",
)
def forgets(q, blocks):
    return _steps(
        q,
        blocks,
        lambda top, total, sums, *block: _right(top, 0 * total, 0 * sums, *block),
    )


@lab.mutant(
    "attend_online",
    "each block gets a softmax of its own, and the answers of the blocks are averaged",
)
def average_of_blocks(q, blocks):
    def update(top, total, sums, scores, values):
        return top, total + 1, sums + scores.softmax(-1) @ values

    return _steps(q, blocks, update)


@lab.mutant(
    "attend_online",
    "all blocks are collected before the first answer, in memory that grows with S",
)
def collects_first(q, blocks):
    yield from reference.attend_online(q, iter(list(blocks)))


@lab.mutant(
    "attend_online",
    "the output is returned when all blocks have come, not yielded after each",
)
def returns_at_the_end(q, blocks):
    *_, last = reference.attend_online(q, blocks)
    return last
