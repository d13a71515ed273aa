"""Mistakes in `sdpa`: the scale, the axes, the mask, large scores, queries that see
nothing.
"""

from __future__ import annotations

import math

import torch

from .checks import BLIND, BROKEN, SCALE, STABLE, lab


def _average(scores, v, mask):
    """The right way from scaled scores to the output."""
    if mask is None:
        return scores.softmax(-1) @ v
    weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
    return weights * mask.any(-1, keepdim=True) @ v


def _scores(q, k, scale):
    return q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)


@lab.mutant("sdpa", "the scores are not divided by sqrt(head_dim)", section=SCALE)
def unscaled(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, 1.0 if scale is None else scale), v, mask)


@lab.mutant(
    "sdpa",
    "the scores are divided by sqrt(d_model), the width of all heads together",
    section=SCALE,
)
def by_d_model(q, k, v, mask=None, scale=None):
    return _average(
        _scores(q, k, (q.shape[1] * q.shape[-1]) ** -0.5 if scale is None else scale),
        v,
        mask,
    )


@lab.mutant("sdpa", "the scores are divided by the number of heads", section=SCALE)
def by_n_head(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, 1 / q.shape[1] if scale is None else scale), v, mask)


@lab.mutant(
    "sdpa", "the scores are divided by the root of the number of heads", section=SCALE
)
def by_root_of_n_head(q, k, v, mask=None, scale=None):
    return _average(
        _scores(q, k, q.shape[1] ** -0.5 if scale is None else scale), v, mask
    )


@lab.mutant(
    "sdpa", "the scores are divided by head_dim, without the root", section=SCALE
)
def without_root(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, 1 / q.shape[-1] if scale is None else scale), v, mask)


@lab.mutant(
    "sdpa",
    "the scores are multiplied by sqrt(head_dim), not divided by it",
    section=SCALE,
)
def multiplied(q, k, v, mask=None, scale=None):
    return _average(
        _scores(q, k, q.shape[-1] ** 0.5 if scale is None else scale), v, mask
    )


@lab.mutant(
    "sdpa",
    "the scores are divided by the root of the number of keys, an axis too early",
    section=SCALE,
)
def by_number_of_keys(q, k, v, mask=None, scale=None):
    return _average(
        _scores(q, k, k.shape[-2] ** -0.5 if scale is None else scale), v, mask
    )


@lab.mutant(
    "sdpa",
    "the scores are divided by the root of the number of queries, an axis too early",
    section=SCALE,
)
def by_number_of_queries(q, k, v, mask=None, scale=None):
    return _average(
        _scores(q, k, q.shape[-2] ** -0.5 if scale is None else scale), v, mask
    )


@lab.mutant(
    "sdpa",
    "the scale comes after the softmax, where it makes weights that do not sum to 1",
    section=SCALE,
)
def scaled_after_softmax(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, 1.0), v, mask) * (
        q.shape[-1] ** -0.5 if scale is None else scale
    )


@lab.mutant("sdpa", "the argument scale is ignored", section=SCALE)
def scale_ignored(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, None), v, mask)


@lab.mutant(
    "sdpa",
    "a given scale is applied on top of 1 / sqrt(head_dim), not in its place",
    section=SCALE,
)
def scaled_twice(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, None) * (1.0 if scale is None else scale), v, mask)


@lab.mutant(
    "sdpa", "the scores are divided by a given scale; it is a factor", section=SCALE
)
def divided_by_scale(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, None if scale is None else 1 / scale), v, mask)


@lab.mutant(
    "sdpa",
    "a scale of 0 counts as not given (scale or ...); None alone means that",
    section=SCALE,
)
def zero_is_none(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, scale or None), v, mask)


@lab.mutant("sdpa", "the softmax runs over the queries, not over the keys")
def softmax_over_queries(q, k, v, mask=None, scale=None):
    scores = _scores(q, k, scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-2) @ v


@lab.mutant("sdpa", "the softmax runs over the heads, not over the keys")
def softmax_over_heads(q, k, v, mask=None, scale=None):
    scores = _scores(q, k, scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(1) @ v


@lab.mutant("sdpa", "the softmax runs over the rows of the batch, not over the keys")
def softmax_over_batch(q, k, v, mask=None, scale=None):
    scores = _scores(q, k, scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(0) @ v


@lab.mutant(
    "sdpa",
    "keys and values have changed roles: the values are compared, and the keys "
    "averaged",
)
def keys_and_values_exchanged(q, k, v, mask=None, scale=None):
    return _average(_scores(q, v, scale), k, mask)


@lab.mutant("sdpa", "the weights are returned, not the average of the values")
def weights_returned(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, scale), torch.eye(k.shape[2], dtype=q.dtype), mask)


@lab.mutant(
    "sdpa",
    "k is not transposed, which runs only where there are as many keys as head_dim",
)
def k_not_transposed(q, k, v, mask=None, scale=None):
    return _average(q @ k * (q.shape[-1] ** -0.5 if scale is None else scale), v, mask)


@lab.mutant(
    "sdpa",
    "k is viewed as (D, S) where it should be transposed: the shape is right, the "
    "content is not",
)
def k_viewed(q, k, v, mask=None, scale=None):
    turned = k.reshape(*k.shape[:2], k.shape[3], k.shape[2])
    return _average(
        q @ turned * (q.shape[-1] ** -0.5 if scale is None else scale), v, mask
    )


@lab.mutant(
    "sdpa", "the softmax is missing, and the scores themselves weigh the values"
)
def no_softmax(q, k, v, mask=None, scale=None):
    scores = _scores(q, k, scale)
    return (scores if mask is None else scores.masked_fill(~mask, 0.0)) @ v


@lab.mutant(
    "sdpa", "a causal triangle is applied that nobody asked for", section=BROKEN
)
def triangle_on_top(q, k, v, mask=None, scale=None):
    triangle = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril()
    return _average(
        _scores(q, k, scale), v, triangle if mask is None else triangle & mask
    )


@lab.mutant("sdpa", "the mask is ignored", section=BROKEN)
def unmasked(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, scale), v, None)


@lab.mutant(
    "sdpa",
    "the mask is inverted: True must mean that the query may see the key",
    section=BROKEN,
)
def inverted(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, scale), v, None if mask is None else ~mask)


@lab.mutant("sdpa", "the mask is transposed", section=BROKEN)
def transposed(q, k, v, mask=None, scale=None):
    return _average(
        _scores(q, k, scale), v, None if mask is None else mask.transpose(-1, -2)
    )


@lab.mutant(
    "sdpa",
    "a triangle from the top left stands in for the mask (is_causal, tril), whatever "
    "the mask says",
    section="More keys than queries",
)
def top_left_triangle(q, k, v, mask=None, scale=None):
    triangle = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril()
    return _average(_scores(q, k, scale), v, None if mask is None else triangle)


@lab.mutant(
    "sdpa",
    "hidden scores become 0 before the softmax, and e^0 = 1 is a weight like any other",
    section=BROKEN,
)
def zero_before_softmax(q, k, v, mask=None, scale=None):
    scores = _scores(q, k, scale)
    return (scores if mask is None else scores * mask).softmax(-1) @ v


@lab.mutant(
    "sdpa",
    "weights are masked after the softmax, so that rows no longer sum to 1 and depend "
    "on what is hidden",
    section=BROKEN,
)
def masked_after_softmax(q, k, v, mask=None, scale=None):
    weights = _scores(q, k, scale).softmax(-1)
    return (weights if mask is None else weights * mask) @ v


@lab.mutant(
    "sdpa",
    "hidden scores become -1, which is a score like any other, and not -infinity",
    section=BROKEN,
)
def minus_one(q, k, v, mask=None, scale=None):
    scores = _scores(q, k, scale)
    return (scores if mask is None else scores.masked_fill(~mask, -1.0)).softmax(-1) @ v


@lab.mutant(
    "sdpa",
    "the boolean mask is added to the scores, 1 where a key may be seen",
    section=BROKEN,
)
def mask_added(q, k, v, mask=None, scale=None):
    scores = _scores(q, k, scale)
    return (scores if mask is None else scores + mask).softmax(-1) @ v


@lab.mutant(
    "sdpa", "the mask of the first row is used for the whole batch", section=BROKEN
)
def mask_of_first_row(q, k, v, mask=None, scale=None):
    return _average(
        _scores(q, k, scale),
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
    scores = _scores(q, k, scale)
    return _average(
        scores if mask is None else scores.masked_fill(~mask, -100.0), v, None
    )


@lab.mutant(
    "sdpa",
    "hidden scores become -10,000; real scores can be lower, only -infinity cannot",
    section=BROKEN,
)
def minus_ten_thousand(q, k, v, mask=None, scale=None):
    scores = _scores(q, k, scale)
    return _average(
        scores if mask is None else scores.masked_fill(~mask, -1e4), v, None
    )


@lab.mutant("sdpa", "the softmax subtracts no maximum and overflows", section=STABLE)
def overflows(q, k, v, mask=None, scale=None):
    powers = _scores(q, k, scale).exp()
    powers = powers if mask is None else powers.masked_fill(~mask, 0.0)
    return powers @ v / powers.sum(-1, keepdim=True)


@lab.mutant(
    "sdpa",
    "hidden keys are removed only after the softmax or its maximum: where one of them "
    "had it all, 0 / 0 is left",
    section=BROKEN,
)
def renormalised(q, k, v, mask=None, scale=None):
    weights = _scores(q, k, scale).softmax(-1)
    weights = weights if mask is None else weights * mask
    return weights / weights.sum(-1, keepdim=True) @ v


@lab.mutant(
    "sdpa",
    "the maximum is taken over hidden keys too: beside a large one, all visible "
    "weights are 0",
    section=BROKEN,
)
def maximum_over_hidden(q, k, v, mask=None, scale=None):
    scores = _scores(q, k, scale)
    powers = (scores - scores.amax(-1, keepdim=True)).exp()
    powers = powers if mask is None else powers * mask
    return (
        powers @ v / powers.sum(-1, keepdim=True).clamp(min=torch.finfo(q.dtype).tiny)
    )


@lab.mutant(
    "sdpa",
    "a row without any visible key is -infinity throughout, and its softmax 0 / 0",
    section=BLIND,
)
def nan_where_blind(q, k, v, mask=None, scale=None):
    scores = _scores(q, k, scale)
    return (scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(
        -1
    ) @ v


@lab.mutant(
    "sdpa",
    "a query without any visible key gets the plain average of all values, not zeros",
    section=BLIND,
)
def average_where_blind(q, k, v, mask=None, scale=None):
    scores = _scores(q, k, scale)
    return (scores if mask is None else scores.masked_fill(~mask, -1e9)).softmax(-1) @ v


@lab.mutant(
    "sdpa",
    "a query without any visible key is shown all keys, and its output not set to "
    "zeros",
    section=BLIND,
)
def everything_where_blind(q, k, v, mask=None, scale=None):
    if mask is not None:
        mask = mask | ~mask.any(-1, keepdim=True)
    return _average(_scores(q, k, scale), v, mask)


@lab.mutant(
    "sdpa",
    "only the output is cleared of NaN: backward it comes through, for 0 times NaN is "
    "NaN",
    section=BLIND,
)
def nan_in_the_gradient(q, k, v, mask=None, scale=None):
    return nan_where_blind(q, k, v, mask, scale).nan_to_num(0.0)


@lab.mutant(
    "sdpa",
    "it is asked which keys are seen by any query, mask.any(-2), not which queries "
    "see a key",
    section=BLIND,
)
def any_over_queries(q, k, v, mask=None, scale=None):
    if mask is None:
        return _average(_scores(q, k, scale), v, None)
    weights = (
        _scores(q, k, scale).masked_fill(~mask, torch.finfo(q.dtype).min).softmax(-1)
    )
    return weights * mask.any(-2, keepdim=True) @ v


@lab.mutant(
    "sdpa", "the weights are cut off from the gradient, by detach() or no_grad()"
)
def weights_detached(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, scale).detach(), v, mask)
