"""Mistakes in `softmax`: what is subtracted, summed and divided, along which axis."""

from __future__ import annotations

from . import reference
from .checks import STABLE, lab


@lab.mutant(
    "softmax",
    "no maximum is subtracted, so that the exponential of a large score overflows",
    section=STABLE,
)
def no_maximum(scores, dim=-1):
    powers = scores.exp()
    return powers / powers.sum(dim, keepdim=True)


@lab.mutant(
    "softmax",
    "the largest of all scores is subtracted, not that of each row, and low rows "
    "become 0 / 0",
    section=STABLE,
)
def global_maximum(scores, dim=-1):
    powers = (scores - scores.max()).exp()
    return powers / powers.sum(dim, keepdim=True)


@lab.mutant(
    "softmax", "the smallest score is subtracted, not the largest", section=STABLE
)
def minimum(scores, dim=-1):
    powers = (scores - scores.amin(dim, keepdim=True)).exp()
    return powers / powers.sum(dim, keepdim=True)


@lab.mutant(
    "softmax", "the mean of the scores is subtracted, not the largest", section=STABLE
)
def mean_subtracted(scores, dim=-1):
    powers = (scores - scores.mean(dim, keepdim=True)).exp()
    return powers / powers.sum(dim, keepdim=True)


@lab.mutant(
    "softmax",
    "scores are clamped to a range in which the exponential is safe",
    section=STABLE,
)
def clamped(scores, dim=-1):
    return scores.clamp(-80, 80).softmax(dim)


@lab.mutant("softmax", "dim is ignored and the last axis taken")
def always_last(scores, dim=-1):
    return scores.softmax(-1)


@lab.mutant("softmax", "the weights sum to 1 along the first axis, whatever dim is")
def always_first(scores, dim=-1):
    return scores.softmax(0)


@lab.mutant(
    "softmax", "the exponentials are divided by the sum over everything, not over dim"
)
def over_everything(scores, dim=-1):
    return scores.flatten().softmax(0).view_as(scores)


def _stable(scores, dim):
    return (scores - scores.amax(dim, keepdim=True)).exp()


@lab.mutant(
    "softmax",
    "the sum of the exponentials runs over everything, although the maximum is that "
    "of each row",
)
def sum_over_everything(scores, dim=-1):
    powers = _stable(scores, dim)
    return powers / powers.sum()


@lab.mutant(
    "softmax", "the sum of the exponentials runs along the first axis, not along dim"
)
def sum_along_the_first(scores, dim=-1):
    powers = _stable(scores, dim)
    return powers / powers.sum(0, keepdim=True)


@lab.mutant(
    "softmax", "the sum of the exponentials runs along the last axis, whatever dim is"
)
def sum_along_the_last(scores, dim=-1):
    powers = _stable(scores, dim)
    return powers / powers.sum(-1, keepdim=True)


@lab.mutant("softmax", "the sum runs along the last axis but one, not along dim")
def sum_along_the_one_before(scores, dim=-1):
    powers = _stable(scores, dim)
    return powers / powers.sum(-2 if scores.dim() > 1 else -1, keepdim=True)


@lab.mutant(
    "softmax",
    "the maximum is taken along the last axis, whatever dim is, and does not cancel",
)
def maximum_along_the_last(scores, dim=-1):
    powers = _stable(scores, -1)
    return powers / powers.sum(dim, keepdim=True)


@lab.mutant(
    "softmax",
    "the weights are cut off from the gradient, by detach(), no_grad() or Python's "
    "own numbers",
)
def cut_off(scores, dim=-1):
    return reference.softmax(scores, dim).detach()


@lab.mutant("softmax", "the exponentials are not divided by their sum")
def not_divided(scores, dim=-1):
    return (scores - scores.amax(dim, keepdim=True)).exp()


@lab.mutant(
    "softmax",
    "the maximum is subtracted above the line only: the sum is that of other "
    "exponentials",
)
def maximum_above_only(scores, dim=-1):
    return (scores - scores.amax(dim, keepdim=True)).exp() / scores.exp().sum(
        dim, keepdim=True
    )


@lab.mutant("softmax", "the logarithm of the weights is returned")
def logarithm(scores, dim=-1):
    return scores.log_softmax(dim)


@lab.mutant(
    "softmax",
    "maximum and sum have lost their axis (no keepdim) and meet the wrong rows",
)
def keepdim_lost(scores, dim=-1):
    powers = (scores - scores.amax(dim)).exp()
    return powers / powers.sum(dim)


@lab.mutant(
    "softmax", "the sum has lost its axis (no keepdim) and meets the wrong rows"
)
def keepdim_of_sum_lost(scores, dim=-1):
    powers = (scores - scores.amax(dim, keepdim=True)).exp()
    return powers / powers.sum(dim)


@lab.mutant(
    "softmax", "the scores themselves are divided by their sum, without an exponential"
)
def no_exponential(scores, dim=-1):
    return scores / scores.sum(dim, keepdim=True)
