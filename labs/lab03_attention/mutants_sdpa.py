"""Mistakes in `sdpa`: the axes, the mask, large scores, the gradient."""

from __future__ import annotations

import math

import torch

from .checks import BLIND, BROKEN, STABLE, lab


def average(scores, v, mask):
    """The right way from scaled scores to the output."""
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(-1) @ v


def scores_of(q, k, scale):
    """The right way from queries and keys to scaled scores."""
    return q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)


@lab.mutant("sdpa", "the softmax runs over the queries, not over the keys")
def softmax_over_queries(q, k, v, mask=None, scale=None):
    scores = scores_of(q, k, scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(-2) @ v


@lab.mutant("sdpa", "the softmax runs over the heads, not over the keys")
def softmax_over_heads(q, k, v, mask=None, scale=None):
    scores = scores_of(q, k, scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(1) @ v


@lab.mutant("sdpa", "the softmax runs over the rows of the batch, not over the keys")
def softmax_over_batch(q, k, v, mask=None, scale=None):
    scores = scores_of(q, k, scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(0) @ v


@lab.mutant(
    "sdpa",
    "keys and values have changed roles: the values are compared, and the keys "
    "averaged",
)
def keys_and_values_exchanged(q, k, v, mask=None, scale=None):
    return average(scores_of(q, v, scale), k, mask)


@lab.mutant("sdpa", "the weights are returned, not the average of the values")
def weights_returned(q, k, v, mask=None, scale=None):
    return average(scores_of(q, k, scale), torch.eye(k.shape[2], dtype=q.dtype), mask)


@lab.mutant(
    "sdpa",
    "k is not transposed, which runs only where there are as many keys as head_dim",
)
def k_not_transposed(q, k, v, mask=None, scale=None):
    return average(q @ k * (q.shape[-1] ** -0.5 if scale is None else scale), v, mask)


@lab.mutant(
    "sdpa",
    "k is viewed as (D, S) where it should be transposed: the shape is right, the "
    "content is not",
)
def k_viewed(q, k, v, mask=None, scale=None):
    turned = k.reshape(*k.shape[:2], k.shape[3], k.shape[2])
    return average(
        q @ turned * (q.shape[-1] ** -0.5 if scale is None else scale), v, mask
    )


@lab.mutant(
    "sdpa", "the softmax is missing, and the scores themselves weigh the values"
)
def no_softmax(q, k, v, mask=None, scale=None):
    scores = scores_of(q, k, scale)
    return (scores if mask is None else scores.masked_fill(~mask, 0.0)) @ v


@lab.mutant(
    "sdpa", "a causal triangle is applied that nobody asked for", section=BROKEN
)
def triangle_on_top(q, k, v, mask=None, scale=None):
    triangle = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril()
    return average(
        scores_of(q, k, scale), v, triangle if mask is None else triangle & mask
    )


@lab.mutant("sdpa", "the mask is ignored", section=BROKEN)
def unmasked(q, k, v, mask=None, scale=None):
    return average(scores_of(q, k, scale), v, None)


@lab.mutant(
    "sdpa",
    "the mask is inverted: True must mean that the query may see the key",
    section=BROKEN,
)
def inverted(q, k, v, mask=None, scale=None):
    return average(scores_of(q, k, scale), v, None if mask is None else ~mask)


@lab.mutant("sdpa", "the mask is transposed", section=BROKEN)
def transposed(q, k, v, mask=None, scale=None):
    return average(
        scores_of(q, k, scale), v, None if mask is None else mask.transpose(-1, -2)
    )


@lab.mutant(
    "sdpa",
    "a triangle from the top left stands in for the mask (is_causal, tril), whatever "
    "the mask says",
    section="More keys than queries",
)
def top_left_triangle(q, k, v, mask=None, scale=None):
    triangle = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril()
    return average(scores_of(q, k, scale), v, None if mask is None else triangle)


@lab.mutant(
    "sdpa",
    "hidden scores become 0 before the softmax, and e^0 = 1 is a weight like any other",
    section=BROKEN,
)
def zero_before_softmax(q, k, v, mask=None, scale=None):
    scores = scores_of(q, k, scale)
    return (scores if mask is None else scores * mask).softmax(-1) @ v


@lab.mutant(
    "sdpa",
    "weights are masked after the softmax, so that rows no longer sum to 1 and depend "
    "on what is hidden",
    section=BROKEN,
)
def masked_after_softmax(q, k, v, mask=None, scale=None):
    weights = scores_of(q, k, scale).softmax(-1)
    return (weights if mask is None else weights * mask) @ v


@lab.mutant(
    "sdpa",
    "hidden scores become -1, which is a score like any other, and not -infinity",
    section=BROKEN,
)
def minus_one(q, k, v, mask=None, scale=None):
    scores = scores_of(q, k, scale)
    return (scores if mask is None else scores.masked_fill(~mask, -1.0)).softmax(-1) @ v


@lab.mutant(
    "sdpa",
    "the boolean mask is added to the scores, 1 where a key may be seen",
    section=BROKEN,
)
def mask_added(q, k, v, mask=None, scale=None):
    scores = scores_of(q, k, scale)
    return (scores if mask is None else scores + mask).softmax(-1) @ v


@lab.mutant(
    "sdpa", "the mask of the first row is used for the whole batch", section=BROKEN
)
def mask_of_first_row(q, k, v, mask=None, scale=None):
    return average(
        scores_of(q, k, scale),
        v,
        mask[:1] if mask is not None and mask.dim() == 4 else mask,
    )


@lab.mutant(
    "sdpa",
    "hidden scores become -100 or the like; real scores can be lower, only -infinity "
    "cannot",
    section=BROKEN,
)
def minus_hundred(q, k, v, mask=None, scale=None):
    scores = scores_of(q, k, scale)
    return average(
        scores if mask is None else scores.masked_fill(~mask, -100.0), v, None
    )


@lab.mutant(
    "sdpa",
    "hidden scores become -10,000; real scores can be lower, only -infinity cannot",
    section=BROKEN,
)
def minus_ten_thousand(q, k, v, mask=None, scale=None):
    scores = scores_of(q, k, scale)
    return average(scores if mask is None else scores.masked_fill(~mask, -1e4), v, None)


@lab.mutant(
    "sdpa",
    "hidden scores become -1e9; real scores can be lower, only -infinity cannot",
    section=BLIND,
)
def minus_a_billion(q, k, v, mask=None, scale=None):
    scores = scores_of(q, k, scale)
    return average(scores if mask is None else scores.masked_fill(~mask, -1e9), v, None)


@lab.mutant(
    "sdpa",
    "-1e9 is added to hidden scores; real scores can differ by more, and -infinity "
    "cannot be made up for",
    section=BLIND,
)
def minus_a_billion_added(q, k, v, mask=None, scale=None):
    scores = scores_of(q, k, scale)
    return average(scores if mask is None else scores + ~mask * -1e9, v, None)


@lab.mutant(
    "sdpa",
    "the mask is multiplied by -infinity: where a key is seen that is 0 times "
    "infinity, NaN",
    section=BLIND,
)
def infinity_times_zero(q, k, v, mask=None, scale=None):
    scores = scores_of(q, k, scale)
    return average(scores if mask is None else scores + ~mask * -math.inf, v, None)


@lab.mutant("sdpa", "the softmax subtracts no maximum and overflows", section=STABLE)
def overflows(q, k, v, mask=None, scale=None):
    powers = scores_of(q, k, scale).exp()
    powers = powers if mask is None else powers.masked_fill(~mask, 0.0)
    return powers @ v / powers.sum(-1, keepdim=True)


@lab.mutant(
    "sdpa",
    "hidden keys are removed only after the softmax or its maximum: where one of them "
    "had it all, 0 / 0 is left",
    section=BROKEN,
)
def renormalised(q, k, v, mask=None, scale=None):
    weights = scores_of(q, k, scale).softmax(-1)
    weights = weights if mask is None else weights * mask
    return weights / weights.sum(-1, keepdim=True) @ v


@lab.mutant(
    "sdpa",
    "the maximum is taken over hidden keys too: beside a large one, all visible "
    "weights are 0",
    section=BROKEN,
)
def maximum_over_hidden(q, k, v, mask=None, scale=None):
    scores = scores_of(q, k, scale)
    powers = (scores - scores.amax(-1, keepdim=True)).exp()
    powers = powers if mask is None else powers * mask
    return (
        powers @ v / powers.sum(-1, keepdim=True).clamp(min=torch.finfo(q.dtype).tiny)
    )


@lab.mutant(
    "sdpa",
    "hidden keys are cut off after the exponential, which may be infinite: backward, 0 "
    "times infinity is NaN",
    section=BLIND,
)
def cut_off_too_late(q, k, v, mask=None, scale=None):
    scores = scores_of(q, k, scale)
    if mask is None:
        return average(scores, v, None)
    top = scores.masked_fill(~mask, -math.inf).amax(-1, keepdim=True)
    powers = (scores - top).exp().where(mask, 0.0)
    return powers @ v / powers.sum(-1, keepdim=True)


@lab.mutant(
    "sdpa", "the weights are cut off from the gradient, by detach() or no_grad()"
)
def weights_detached(q, k, v, mask=None, scale=None):
    return average(scores_of(q, k, scale).detach(), v, mask)
