"""Mistakes that people make in lab 03, written out: what comes out is what their code returns."""

from __future__ import annotations

import math

import torch

from . import reference
from .checks import lab

STABLE = "A softmax in one pass"
SCALE = "Why $\\sqrt{D}$, and of what"
BROKEN = "How masks break"
BLIND = "Rows that may see nothing"


# softmax


@lab.mutant("softmax", "no maximum is subtracted, so that the exponential of a large score overflows", section=STABLE)
def no_maximum(scores, dim=-1):
    powers = scores.exp()
    return powers / powers.sum(dim, keepdim=True)


@lab.mutant(
    "softmax",
    "the largest of all scores is subtracted, not that of each row, and low rows become 0 / 0",
    section=STABLE,
)
def global_maximum(scores, dim=-1):
    powers = (scores - scores.max()).exp()
    return powers / powers.sum(dim, keepdim=True)


@lab.mutant("softmax", "the smallest score is subtracted, not the largest", section=STABLE)
def minimum(scores, dim=-1):
    powers = (scores - scores.amin(dim, keepdim=True)).exp()
    return powers / powers.sum(dim, keepdim=True)


@lab.mutant("softmax", "the mean of the scores is subtracted, not the largest", section=STABLE)
def mean_subtracted(scores, dim=-1):
    powers = (scores - scores.mean(dim, keepdim=True)).exp()
    return powers / powers.sum(dim, keepdim=True)


@lab.mutant("softmax", "scores are clamped to a range in which the exponential is safe", section=STABLE)
def clamped(scores, dim=-1):
    return scores.clamp(-80, 80).softmax(dim)


@lab.mutant("softmax", "dim is ignored and the last axis taken")
def always_last(scores, dim=-1):
    return scores.softmax(-1)


@lab.mutant("softmax", "the weights sum to 1 along the first axis, whatever dim is")
def always_first(scores, dim=-1):
    return scores.softmax(0)


@lab.mutant("softmax", "the exponentials are divided by the sum over everything, not over dim")
def over_everything(scores, dim=-1):
    return scores.flatten().softmax(0).view_as(scores)


@lab.mutant("softmax", "the exponentials are not divided by their sum")
def not_divided(scores, dim=-1):
    return (scores - scores.amax(dim, keepdim=True)).exp()


@lab.mutant("softmax", "the maximum is subtracted above the line only: the sum is that of other exponentials")
def maximum_above_only(scores, dim=-1):
    return (scores - scores.amax(dim, keepdim=True)).exp() / scores.exp().sum(dim, keepdim=True)


@lab.mutant("softmax", "the logarithm of the weights is returned")
def logarithm(scores, dim=-1):
    return scores.log_softmax(dim)


@lab.mutant("softmax", "maximum and sum have lost their axis (no keepdim) and meet the wrong rows")
def keepdim_lost(scores, dim=-1):
    powers = (scores - scores.amax(dim)).exp()
    return powers / powers.sum(dim)


@lab.mutant("softmax", "the sum has lost its axis (no keepdim) and meets the wrong rows")
def keepdim_of_sum_lost(scores, dim=-1):
    powers = (scores - scores.amax(dim, keepdim=True)).exp()
    return powers / powers.sum(dim)


@lab.mutant("softmax", "the scores themselves are divided by their sum, without an exponential")
def no_exponential(scores, dim=-1):
    return scores / scores.sum(dim, keepdim=True)


# mask_from_positions


def _segments(q_positions, k_positions, q_segments, k_segments):
    """(B, T, 1) and (B, 1, S), all ones where there are no segments."""
    q = torch.ones_like(q_positions) if q_segments is None else q_segments
    k = torch.ones_like(k_positions) if k_segments is None else k_segments
    return q[:, :, None], k[:, None, :]


def _same_document(*tokens):
    mine, other = _segments(*tokens)
    return ((mine == other) & (mine > 0))[:, None]


@lab.mutant("mask_from_positions", "keys and queries have exchanged their axes: the mask is transposed", section=BROKEN)
def mask_transposed(q_positions, k_positions, q_segments=None, k_segments=None):
    return reference.mask_from_positions(q_positions, k_positions, q_segments, k_segments).transpose(-1, -2)


@lab.mutant("mask_from_positions", "the comparison is the wrong way round: a query sees itself and what comes later")
def looks_ahead(q_positions, k_positions, q_segments=None, k_segments=None):
    later = k_positions[:, None, None, :] >= q_positions[:, None, :, None]
    return later & _same_document(q_positions, k_positions, q_segments, k_segments)


@lab.mutant("mask_from_positions", "the mask is inverted: True must mean that the query may see the key")
def mask_inverted(q_positions, k_positions, q_segments=None, k_segments=None):
    return ~reference.mask_from_positions(q_positions, k_positions, q_segments, k_segments)


@lab.mutant("mask_from_positions", "a query does not see itself: < stands where <= should", section=BROKEN)
def not_itself(q_positions, k_positions, q_segments=None, k_segments=None):
    earlier = k_positions[:, None, None, :] < q_positions[:, None, :, None]
    return earlier & _same_document(q_positions, k_positions, q_segments, k_segments)


@lab.mutant(
    "mask_from_positions",
    "a query also sees the next position, the answer that it is to predict",
    section="One ahead: a loss that is too good",
)
def one_ahead(q_positions, k_positions, q_segments=None, k_segments=None):
    early = k_positions[:, None, None, :] <= q_positions[:, None, :, None] + 1
    return early & _same_document(q_positions, k_positions, q_segments, k_segments)


@lab.mutant(
    "mask_from_positions",
    "the mask is a triangle over the places in the arrays, from the top left, and ignores positions",
    section="More keys than queries",
)
def from_the_top_left(q_positions, k_positions, q_segments=None, k_segments=None):
    triangle = torch.ones(q_positions.shape[1], k_positions.shape[1], dtype=torch.bool).tril()
    return triangle & _same_document(q_positions, k_positions, q_segments, k_segments)


@lab.mutant(
    "mask_from_positions",
    "the mask is a triangle over the places in the arrays, moved to the bottom right, and ignores positions",
    section="More keys than queries",
)
def from_the_bottom_right(q_positions, k_positions, q_segments=None, k_segments=None):
    T, S = q_positions.shape[1], k_positions.shape[1]
    triangle = torch.ones(T, S, dtype=torch.bool).tril(diagonal=S - T)
    return triangle & _same_document(q_positions, k_positions, q_segments, k_segments)


@lab.mutant(
    "mask_from_positions",
    "the mask is a bare (T, S) triangle, into which neither positions nor rows of the batch enter",
    section="More keys than queries",
)
def bare_triangle(q_positions, k_positions, q_segments=None, k_segments=None):
    return torch.ones(q_positions.shape[1], k_positions.shape[1], dtype=torch.bool).tril()


@lab.mutant("mask_from_positions", "positions are not compared at all, only segments")
def positions_ignored(q_positions, k_positions, q_segments=None, k_segments=None):
    same = _same_document(q_positions, k_positions, q_segments, k_segments)
    return same.expand(-1, 1, q_positions.shape[1], k_positions.shape[1])


@lab.mutant("mask_from_positions", "the positions of the first row are used for all rows")
def first_row_for_all(q_positions, k_positions, q_segments=None, k_segments=None):
    early = k_positions[:1, None, None, :] <= q_positions[:1, None, :, None]
    return early & _same_document(q_positions, k_positions, q_segments, k_segments)


@lab.mutant("mask_from_positions", "the axis for the heads is missing, and rows of the batch would be taken for heads")
def no_head_axis(q_positions, k_positions, q_segments=None, k_segments=None):
    return reference.mask_from_positions(q_positions, k_positions, q_segments, k_segments)[:, 0]


@lab.mutant("mask_from_positions", "segments are ignored: documents see one another, and padding is read")
def segments_ignored(q_positions, k_positions, q_segments=None, k_segments=None):
    return reference.mask_from_positions(q_positions, k_positions)


@lab.mutant("mask_from_positions", "documents see one another: only padding is hidden")
def documents_mixed(q_positions, k_positions, q_segments=None, k_segments=None):
    mine, other = _segments(q_positions, k_positions, q_segments, k_segments)
    return reference.mask_from_positions(q_positions, k_positions) & ((mine > 0) & (other > 0))[:, None]


@lab.mutant(
    "mask_from_positions",
    "padding sees padding: equal segments are not enough, segment 0 must see nothing",
    section="Padding that is read",
)
def padding_seen(q_positions, k_positions, q_segments=None, k_segments=None):
    mine, other = _segments(q_positions, k_positions, q_segments, k_segments)
    return reference.mask_from_positions(q_positions, k_positions) & (mine == other)[:, None]


@lab.mutant(
    "mask_from_positions", "the keys of padding count as part of every document", section="Padding that is read"
)
def padding_in_every_document(q_positions, k_positions, q_segments=None, k_segments=None):
    mine, other = _segments(q_positions, k_positions, q_segments, k_segments)
    seen = ((mine == other) | (other == 0)) & (mine > 0)
    return reference.mask_from_positions(q_positions, k_positions) & seen[:, None]


# sdpa


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


@lab.mutant("sdpa", "the scores are divided by sqrt(d_model), the width of all heads together", section=SCALE)
def by_d_model(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, (q.shape[1] * q.shape[-1]) ** -0.5 if scale is None else scale), v, mask)


@lab.mutant("sdpa", "the scores are divided by the number of heads", section=SCALE)
def by_n_head(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, 1 / q.shape[1] if scale is None else scale), v, mask)


@lab.mutant("sdpa", "the scores are divided by the root of the number of heads", section=SCALE)
def by_root_of_n_head(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, q.shape[1] ** -0.5 if scale is None else scale), v, mask)


@lab.mutant("sdpa", "the scores are divided by head_dim, without the root", section=SCALE)
def without_root(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, 1 / q.shape[-1] if scale is None else scale), v, mask)


@lab.mutant("sdpa", "the scores are multiplied by sqrt(head_dim), not divided by it", section=SCALE)
def multiplied(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, q.shape[-1] ** 0.5 if scale is None else scale), v, mask)


@lab.mutant("sdpa", "the scores are divided by the root of the number of keys, an axis too early", section=SCALE)
def by_number_of_keys(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, k.shape[-2] ** -0.5 if scale is None else scale), v, mask)


@lab.mutant("sdpa", "the scores are divided by the root of the number of queries, an axis too early", section=SCALE)
def by_number_of_queries(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, q.shape[-2] ** -0.5 if scale is None else scale), v, mask)


@lab.mutant("sdpa", "the scale comes after the softmax, where it makes weights that do not sum to 1", section=SCALE)
def scaled_after_softmax(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, 1.0), v, mask) * (q.shape[-1] ** -0.5 if scale is None else scale)


@lab.mutant("sdpa", "the argument scale is ignored", section=SCALE)
def scale_ignored(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, None), v, mask)


@lab.mutant("sdpa", "a given scale is applied on top of 1 / sqrt(head_dim), not in its place", section=SCALE)
def scaled_twice(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, None) * (1.0 if scale is None else scale), v, mask)


@lab.mutant("sdpa", "the scores are divided by a given scale; it is a factor", section=SCALE)
def divided_by_scale(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, None if scale is None else 1 / scale), v, mask)


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


@lab.mutant("sdpa", "keys and values have changed roles: the values are compared, and the keys averaged")
def keys_and_values_exchanged(q, k, v, mask=None, scale=None):
    return _average(_scores(q, v, scale), k, mask)


@lab.mutant("sdpa", "the weights are returned, not the average of the values")
def weights_returned(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, scale), torch.eye(k.shape[2], dtype=q.dtype), mask)


@lab.mutant("sdpa", "k is not transposed, which runs only where there are as many keys as head_dim")
def k_not_transposed(q, k, v, mask=None, scale=None):
    return _average(q @ k * (q.shape[-1] ** -0.5 if scale is None else scale), v, mask)


@lab.mutant("sdpa", "k is viewed as (D, S) where it should be transposed: the shape is right, the content is not")
def k_viewed(q, k, v, mask=None, scale=None):
    turned = k.reshape(*k.shape[:2], k.shape[3], k.shape[2])
    return _average(q @ turned * (q.shape[-1] ** -0.5 if scale is None else scale), v, mask)


@lab.mutant("sdpa", "the softmax is missing, and the scores themselves weigh the values")
def no_softmax(q, k, v, mask=None, scale=None):
    scores = _scores(q, k, scale)
    return (scores if mask is None else scores.masked_fill(~mask, 0.0)) @ v


@lab.mutant("sdpa", "a causal triangle is applied that nobody asked for", section=BROKEN)
def triangle_on_top(q, k, v, mask=None, scale=None):
    triangle = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril()
    return _average(_scores(q, k, scale), v, triangle if mask is None else triangle & mask)


@lab.mutant("sdpa", "the mask is ignored", section=BROKEN)
def unmasked(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, scale), v, None)


@lab.mutant("sdpa", "the mask is inverted: True must mean that the query may see the key", section=BROKEN)
def inverted(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, scale), v, None if mask is None else ~mask)


@lab.mutant("sdpa", "the mask is transposed", section=BROKEN)
def transposed(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, scale), v, None if mask is None else mask.transpose(-1, -2))


@lab.mutant(
    "sdpa",
    "a triangle from the top left stands in for the mask (is_causal, tril), whatever the mask says",
    section="More keys than queries",
)
def top_left_triangle(q, k, v, mask=None, scale=None):
    triangle = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril()
    return _average(_scores(q, k, scale), v, None if mask is None else triangle)


@lab.mutant("sdpa", "hidden scores become 0 before the softmax, and e^0 = 1 is a weight like any other", section=BROKEN)
def zero_before_softmax(q, k, v, mask=None, scale=None):
    scores = _scores(q, k, scale)
    return (scores if mask is None else scores * mask).softmax(-1) @ v


@lab.mutant(
    "sdpa",
    "weights are masked after the softmax, so that rows no longer sum to 1 and depend on what is hidden",
    section=BROKEN,
)
def masked_after_softmax(q, k, v, mask=None, scale=None):
    weights = _scores(q, k, scale).softmax(-1)
    return (weights if mask is None else weights * mask) @ v


@lab.mutant("sdpa", "hidden scores become -1, which is a score like any other, and not -infinity", section=BROKEN)
def minus_one(q, k, v, mask=None, scale=None):
    scores = _scores(q, k, scale)
    return (scores if mask is None else scores.masked_fill(~mask, -1.0)).softmax(-1) @ v


@lab.mutant("sdpa", "the boolean mask is added to the scores, 1 where a key may be seen", section=BROKEN)
def mask_added(q, k, v, mask=None, scale=None):
    scores = _scores(q, k, scale)
    return (scores if mask is None else scores + mask).softmax(-1) @ v


@lab.mutant("sdpa", "the mask of the first row is used for the whole batch", section=BROKEN)
def mask_of_first_row(q, k, v, mask=None, scale=None):
    return _average(_scores(q, k, scale), v, mask[:1] if mask is not None and mask.dim() == 4 else mask)


@lab.mutant(
    "sdpa", "hidden scores become -100 or the like; real scores can be lower, only -infinity cannot", section=BROKEN
)
def minus_hundred(q, k, v, mask=None, scale=None):
    scores = _scores(q, k, scale)
    return _average(scores if mask is None else scores.masked_fill(~mask, -100.0), v, None)


@lab.mutant("sdpa", "hidden scores become -10,000; real scores can be lower, only -infinity cannot", section=BROKEN)
def minus_ten_thousand(q, k, v, mask=None, scale=None):
    scores = _scores(q, k, scale)
    return _average(scores if mask is None else scores.masked_fill(~mask, -1e4), v, None)


@lab.mutant("sdpa", "the softmax subtracts no maximum and overflows", section=STABLE)
def overflows(q, k, v, mask=None, scale=None):
    powers = _scores(q, k, scale).exp()
    powers = powers if mask is None else powers.masked_fill(~mask, 0.0)
    return powers @ v / powers.sum(-1, keepdim=True)


@lab.mutant(
    "sdpa",
    "weights are masked and divided anew after the softmax: where a hidden key had it all, that is 0 / 0",
    section=BROKEN,
)
def renormalised(q, k, v, mask=None, scale=None):
    weights = _scores(q, k, scale).softmax(-1)
    weights = weights if mask is None else weights * mask
    return weights / weights.sum(-1, keepdim=True) @ v


@lab.mutant("sdpa", "a row without any visible key is -infinity throughout, and its softmax 0 / 0", section=BLIND)
def nan_where_blind(q, k, v, mask=None, scale=None):
    scores = _scores(q, k, scale)
    return (scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(-1) @ v


@lab.mutant("sdpa", "a query without any visible key gets the plain average of all values, not zeros", section=BLIND)
def average_where_blind(q, k, v, mask=None, scale=None):
    scores = _scores(q, k, scale)
    return (scores if mask is None else scores.masked_fill(~mask, -1e9)).softmax(-1) @ v


@lab.mutant("sdpa", "a query without any visible key is shown all keys, and its output not set to zeros", section=BLIND)
def everything_where_blind(q, k, v, mask=None, scale=None):
    if mask is not None:
        mask = mask | ~mask.any(-1, keepdim=True)
    return _average(_scores(q, k, scale), v, mask)


@lab.mutant(
    "sdpa", "only the output is cleared of NaN: backward it comes through, for 0 times NaN is NaN", section=BLIND
)
def nan_in_the_gradient(q, k, v, mask=None, scale=None):
    return nan_where_blind(q, k, v, mask, scale).nan_to_num(0.0)


# split_heads and join_heads


@lab.mutant("split_heads", "view makes (B, H, T, D) at once, so that a head gets all of some tokens", section=BROKEN)
def split_by_view(x, n_head):
    return x.view(x.shape[0], n_head, x.shape[1], x.shape[2] // n_head)


@lab.mutant("split_heads", "a head gets every n_head-th number of a token, not D neighbours")
def split_interleaved(x, n_head):
    return x.view(*x.shape[:2], -1, n_head).permute(0, 3, 1, 2)


@lab.mutant("split_heads", "the axes are not exchanged after the view: (B, T, H, D) is returned")
def split_not_transposed(x, n_head):
    return x.view(*x.shape[:2], n_head, -1)


@lab.mutant("split_heads", "n_head is taken for the size of a head")
def split_by_size(x, n_head):
    return x.view(*x.shape[:2], -1, n_head).transpose(1, 2)


@lab.mutant("split_heads", "the heads come before the batch: (H, B, T, D) is returned")
def split_heads_first(x, n_head):
    return x.view(*x.shape[:2], n_head, -1).permute(2, 0, 1, 3)


@lab.mutant("split_heads", "the last two axes are exchanged: (B, H, D, T) is returned")
def split_as_columns(x, n_head):
    return x.view(*x.shape[:2], n_head, -1).permute(0, 2, 3, 1)


@lab.mutant("join_heads", "the axes are not exchanged back before H and D are merged", section=BROKEN)
def join_by_reshape(x):
    return x.reshape(x.shape[0], x.shape[2], -1)


@lab.mutant("join_heads", "the numbers of the heads alternate: D stands before H when the two are merged")
def join_interleaved(x):
    return x.permute(0, 2, 3, 1).flatten(2)


@lab.mutant("join_heads", "the last two axes are exchanged, T and D, where T and H should be")
def join_wrong_axes(x):
    return x.transpose(-1, -2).reshape(x.shape[0], x.shape[2], -1)


@lab.mutant("join_heads", "the heads lie one behind the other along the places, not side by side")
def join_along_places(x):
    return x.flatten(1, 2)


@lab.mutant("join_heads", "the heads are averaged, not laid end to end")
def join_by_mean(x):
    return x.mean(1)


@lab.mutant("join_heads", "the heads are summed, not laid end to end")
def join_by_sum(x):
    return x.sum(1)


# grouped_attention


def _repeated(x, n_head):
    return x.repeat_interleave(n_head // x.shape[1], dim=1)


def _tiled(x, n_head):
    return x.repeat(1, n_head // x.shape[1], 1, 1)


@lab.mutant("grouped_attention", "the key and value heads are tiled 0, 1, 0, 1 (h % K), not repeated 0, 0, 1, 1")
def tiled(q, k, v, mask=None):
    return reference.sdpa(q, _tiled(k, q.shape[1]), _tiled(v, q.shape[1]), mask)


@lab.mutant("grouped_attention", "the keys are tiled 0, 1, 0, 1, and only the values repeated 0, 0, 1, 1")
def keys_tiled(q, k, v, mask=None):
    return reference.sdpa(q, _tiled(k, q.shape[1]), _repeated(v, q.shape[1]), mask)


@lab.mutant("grouped_attention", "the values are tiled 0, 1, 0, 1, and only the keys repeated 0, 0, 1, 1")
def values_tiled(q, k, v, mask=None):
    return reference.sdpa(q, _repeated(k, q.shape[1]), _tiled(v, q.shape[1]), mask)


@lab.mutant("grouped_attention", "all query heads read the first key and value head")
def first_head_only(q, k, v, mask=None):
    return reference.sdpa(q, k[:, :1], v[:, :1], mask)


@lab.mutant("grouped_attention", "query head h reads key head h // K, not h // (H / K)")
def divided_by_k(q, k, v, mask=None):
    heads = [h // k.shape[1] for h in range(q.shape[1])]
    return reference.sdpa(q, k[:, heads], v[:, heads], mask)


@lab.mutant("grouped_attention", "the order of the heads in the result is that of (H / K, K), not of (K, H / K)")
def result_reordered(q, k, v, mask=None):
    out = reference.sdpa(q, k, v, mask)
    return out.unflatten(1, (k.shape[1], -1)).transpose(1, 2).flatten(1, 2)


@lab.mutant("grouped_attention", "the queries of a group are averaged, so that its heads all answer the same")
def queries_averaged(q, k, v, mask=None):
    means = q.unflatten(1, (k.shape[1], -1)).mean(2)
    return _repeated(reference.sdpa(means, k, v, mask), q.shape[1])


@lab.mutant("grouped_attention", "the key and value heads are averaged into one")
def keys_averaged(q, k, v, mask=None):
    return reference.sdpa(q, k.mean(1, keepdim=True), v.mean(1, keepdim=True), mask)


@lab.mutant("grouped_attention", "the mask is not passed on", section=BROKEN)
def mask_forgotten(q, k, v, mask=None):
    return reference.sdpa(q, k, v)


# attend_online


def _steps(q, blocks, update, *, scale=None, start=-math.inf, answer=lambda top, total, sums: sums / total):
    """Yield an answer after each block; `update` makes the new (top, total, sums) from the old and the block."""
    top, total, sums = q.new_full((len(q), 1), start), q.new_zeros(len(q), 1), torch.zeros_like(q)
    for keys, values in blocks:
        scores = q @ keys.T * (q.shape[1] ** -0.5 if scale is None else scale)
        top, total, sums = update(top, total, sums, scores, values)
        yield answer(top, total, sums)


def _right(top, total, sums, scores, values):
    new_top = torch.maximum(top, scores.amax(-1, keepdim=True))
    shrink, powers = (top - new_top).exp(), (scores - new_top).exp()
    return new_top, total * shrink + powers.sum(-1, keepdim=True), sums * shrink + powers @ values


@lab.mutant("attend_online", "the scores are not divided by sqrt(head_dim)", section=SCALE)
def online_unscaled(q, blocks):
    return _steps(q, blocks, _right, scale=1.0)


@lab.mutant("attend_online", "the sum of the exponentials is not rescaled when the maximum grows")
def total_not_rescaled(q, blocks):
    def update(top, total, sums, scores, values):
        new_top, _, new_sums = _right(top, total, sums, scores, values)
        return new_top, total + (scores - new_top).exp().sum(-1, keepdim=True), new_sums

    return _steps(q, blocks, update)


@lab.mutant("attend_online", "the summed values are not rescaled when the maximum grows")
def sums_not_rescaled(q, blocks):
    def update(top, total, sums, scores, values):
        new_top, new_total, _ = _right(top, total, sums, scores, values)
        return new_top, new_total, sums + (scores - new_top).exp() @ values

    return _steps(q, blocks, update)


@lab.mutant("attend_online", "nothing is rescaled when the maximum grows: what was summed before counts too much")
def nothing_rescaled(q, blocks):
    def update(top, total, sums, scores, values):
        new_top = torch.maximum(top, scores.amax(-1, keepdim=True))
        powers = (scores - new_top).exp()
        return new_top, total + powers.sum(-1, keepdim=True), sums + powers @ values

    return _steps(q, blocks, update)


@lab.mutant("attend_online", "each block subtracts its own maximum, and the sums of blocks are added as they are")
def maximum_of_the_block(q, blocks):
    def update(top, total, sums, scores, values):
        powers = (scores - scores.amax(-1, keepdim=True)).exp()
        return top, total + powers.sum(-1, keepdim=True), sums + powers @ values

    return _steps(q, blocks, update)


@lab.mutant("attend_online", "the maximum is that of the last block, not of all so far: where scores fall it overflows")
def maximum_falls(q, blocks):
    def update(top, total, sums, scores, values):
        new_top = scores.amax(-1, keepdim=True)
        shrink, powers = (top - new_top).exp(), (scores - new_top).exp()
        return new_top, total * shrink + powers.sum(-1, keepdim=True), sums * shrink + powers @ values

    return _steps(q, blocks, update)


@lab.mutant("attend_online", "the factor is upside down, e^(new - old) in place of e^(old - new)")
def upside_down(q, blocks):
    def update(top, total, sums, scores, values):
        new_top = torch.maximum(top, scores.amax(-1, keepdim=True))
        grow = torch.where(top.isinf(), torch.zeros_like(top), (new_top - top).exp())  # nothing is there at the start
        powers = (scores - new_top).exp()
        return new_top, total * grow + powers.sum(-1, keepdim=True), sums * grow + powers @ values

    return _steps(q, blocks, update)


@lab.mutant("attend_online", "the block is rescaled along with the past: it is added first, and then all shrinks")
def rescaled_too_late(q, blocks):
    def update(top, total, sums, scores, values):
        new_top = torch.maximum(top, scores.amax(-1, keepdim=True))
        shrink = torch.where(top.isinf(), torch.ones_like(top), (top - new_top).exp())
        powers = (scores - new_top).exp()
        return new_top, (total + powers.sum(-1, keepdim=True)) * shrink, (sums + powers @ values) * shrink

    return _steps(q, blocks, update)


@lab.mutant("attend_online", "the largest score starts at 0, so that scores far below it all become e^-1000 = 0")
def starts_at_zero(q, blocks):
    return _steps(q, blocks, _right, start=0.0)


@lab.mutant("attend_online", "no maximum is subtracted, and the exponentials overflow")
def online_without_maximum(q, blocks):
    def update(top, total, sums, scores, values):
        powers = scores.exp()
        return top, total + powers.sum(-1, keepdim=True), sums + powers @ values

    return _steps(q, blocks, update)


@lab.mutant("attend_online", "one maximum serves all queries, and those with low scores become 0 / 0")
def one_maximum_for_all(q, blocks):
    def update(top, total, sums, scores, values):
        new_top = torch.maximum(top, scores.max())
        shrink, powers = (top - new_top).exp(), (scores - new_top).exp()
        return new_top, total * shrink + powers.sum(-1, keepdim=True), sums * shrink + powers @ values

    return _steps(q, blocks, update)


@lab.mutant("attend_online", "the sums are not divided by the total")
def never_divided(q, blocks):
    return _steps(q, blocks, _right, answer=lambda top, total, sums: sums)


@lab.mutant("attend_online", "the quotient takes the place of the sums, and the next block is added to it")
def divided_in_place(q, blocks):
    def update(top, total, sums, scores, values):
        new_top, new_total, new_sums = _right(top, total, sums, scores, values)
        return new_top, new_total, new_sums / new_total

    return _steps(q, blocks, update, answer=lambda top, total, sums: sums)


@lab.mutant("attend_online", "only the last block is answered for: nothing is kept from those before")
def forgets(q, blocks):
    return _steps(q, blocks, lambda top, total, sums, *block: _right(top, 0 * total, 0 * sums, *block))


@lab.mutant("attend_online", "each block gets a softmax of its own, and the answers of the blocks are averaged")
def average_of_blocks(q, blocks):
    def update(top, total, sums, scores, values):
        return top, total + 1, sums + scores.softmax(-1) @ values

    return _steps(q, blocks, update)


@lab.mutant("attend_online", "all blocks are collected before the first answer, in memory that grows with S")
def collects_first(q, blocks):
    yield from reference.attend_online(q, iter(list(blocks)))


@lab.mutant("attend_online", "the output is returned when all blocks have come, not yielded after each")
def returns_at_the_end(q, blocks):
    *_, last = reference.attend_online(q, blocks)
    return last
