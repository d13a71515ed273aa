"""Mistakes that people make in lab 03, written out: first those of the softmax and of
masks.
"""

from __future__ import annotations

import torch

from . import mutants_heads, mutants_online, mutants_sdpa, reference
from .checks import BLIND, BROKEN, STABLE, lab

__all__ = [
    "mutants_heads",
    "mutants_online",
    "mutants_sdpa",
]  # they declare theirs when they are imported


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


# mask_from_positions


def _segments(q_positions, k_positions, q_segments, k_segments):
    """(B, T, 1) and (B, 1, S), all ones where there are no segments."""
    q = torch.ones_like(q_positions) if q_segments is None else q_segments
    k = torch.ones_like(k_positions) if k_segments is None else k_segments
    return q[:, :, None], k[:, None, :]


def _same_document(*tokens):
    mine, other = _segments(*tokens)
    return ((mine == other) & (mine > 0))[:, None]


@lab.mutant(
    "mask_from_positions",
    "keys and queries have exchanged their axes: the mask is transposed",
    section=BROKEN,
)
def mask_transposed(q_positions, k_positions, q_segments=None, k_segments=None):
    return reference.mask_from_positions(
        q_positions, k_positions, q_segments, k_segments
    ).transpose(-1, -2)


@lab.mutant(
    "mask_from_positions",
    "the comparison is the wrong way round: a query sees itself and what comes later",
)
def looks_ahead(q_positions, k_positions, q_segments=None, k_segments=None):
    later = k_positions[:, None, None, :] >= q_positions[:, None, :, None]
    return later & _same_document(q_positions, k_positions, q_segments, k_segments)


@lab.mutant(
    "mask_from_positions",
    "the mask is inverted: True must mean that the query may see the key",
)
def mask_inverted(q_positions, k_positions, q_segments=None, k_segments=None):
    return ~reference.mask_from_positions(
        q_positions, k_positions, q_segments, k_segments
    )


@lab.mutant(
    "mask_from_positions",
    "a query does not see itself: < stands where <= should",
    section=BROKEN,
)
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
    "the mask is a triangle over the places in the arrays, from the top left, and "
    "ignores positions",
    section="More keys than queries",
)
def from_the_top_left(q_positions, k_positions, q_segments=None, k_segments=None):
    triangle = torch.ones(
        q_positions.shape[1], k_positions.shape[1], dtype=torch.bool
    ).tril()
    return triangle & _same_document(q_positions, k_positions, q_segments, k_segments)


@lab.mutant(
    "mask_from_positions",
    "the mask is a triangle over the places in the arrays, moved to the bottom right, "
    "and ignores positions",
    section="More keys than queries",
)
def from_the_bottom_right(q_positions, k_positions, q_segments=None, k_segments=None):
    T, S = q_positions.shape[1], k_positions.shape[1]
    triangle = torch.ones(T, S, dtype=torch.bool).tril(diagonal=S - T)
    return triangle & _same_document(q_positions, k_positions, q_segments, k_segments)


@lab.mutant(
    "mask_from_positions",
    "the mask is a bare (T, S) triangle, into which neither positions nor rows of the "
    "batch enter",
    section="More keys than queries",
)
def bare_triangle(q_positions, k_positions, q_segments=None, k_segments=None):
    return torch.ones(
        q_positions.shape[1], k_positions.shape[1], dtype=torch.bool
    ).tril()


@lab.mutant("mask_from_positions", "positions are not compared at all, only segments")
def positions_ignored(q_positions, k_positions, q_segments=None, k_segments=None):
    same = _same_document(q_positions, k_positions, q_segments, k_segments)
    return same.expand(-1, 1, q_positions.shape[1], k_positions.shape[1])


@lab.mutant(
    "mask_from_positions", "the positions of the first row are used for all rows"
)
def first_row_for_all(q_positions, k_positions, q_segments=None, k_segments=None):
    early = k_positions[:1, None, None, :] <= q_positions[:1, None, :, None]
    return early & _same_document(q_positions, k_positions, q_segments, k_segments)


@lab.mutant(
    "mask_from_positions",
    "the axis for the heads is missing, and rows of the batch would be taken for heads",
)
def no_head_axis(q_positions, k_positions, q_segments=None, k_segments=None):
    return reference.mask_from_positions(
        q_positions, k_positions, q_segments, k_segments
    )[:, 0]


@lab.mutant(
    "mask_from_positions",
    "segments are ignored: documents see one another, and padding is read",
)
def segments_ignored(q_positions, k_positions, q_segments=None, k_segments=None):
    return reference.mask_from_positions(q_positions, k_positions)


@lab.mutant("mask_from_positions", "documents see one another: only padding is hidden")
def documents_mixed(q_positions, k_positions, q_segments=None, k_segments=None):
    mine, other = _segments(q_positions, k_positions, q_segments, k_segments)
    return (
        reference.mask_from_positions(q_positions, k_positions)
        & ((mine > 0) & (other > 0))[:, None]
    )


@lab.mutant(
    "mask_from_positions",
    "padding sees padding: equal segments are not enough, segment 0 must see nothing",
    section="Padding that is read",
)
def padding_seen(q_positions, k_positions, q_segments=None, k_segments=None):
    mine, other = _segments(q_positions, k_positions, q_segments, k_segments)
    return (
        reference.mask_from_positions(q_positions, k_positions)
        & (mine == other)[:, None]
    )


@lab.mutant(
    "mask_from_positions",
    "the rules are joined by or: an earlier position or the same segment is enough",
)
def either_rule(q_positions, k_positions, q_segments=None, k_segments=None):
    early = reference.mask_from_positions(q_positions, k_positions)
    if q_segments is None:
        return early
    return early | _same_document(q_positions, k_positions, q_segments, k_segments)


@lab.mutant(
    "mask_from_positions",
    "the segment rules are joined by or: the same segment, or a query not in padding",
)
def either_segment_rule(q_positions, k_positions, q_segments=None, k_segments=None):
    mine, other = _segments(q_positions, k_positions, q_segments, k_segments)
    return (
        reference.mask_from_positions(q_positions, k_positions)
        & ((mine == other) | (mine > 0))[:, None]
    )


@lab.mutant(
    "mask_from_positions",
    "only the keys of padding are hidden: documents see one another, and padding sees",
)
def only_padded_keys_hidden(q_positions, k_positions, q_segments=None, k_segments=None):
    _, other = _segments(q_positions, k_positions, q_segments, k_segments)
    return (
        reference.mask_from_positions(q_positions, k_positions) & (other > 0)[:, None]
    )


@lab.mutant(
    "mask_from_positions",
    "only the queries of padding are blind: documents see one another and padding",
)
def only_padded_queries_blind(
    q_positions, k_positions, q_segments=None, k_segments=None
):
    mine, _ = _segments(q_positions, k_positions, q_segments, k_segments)
    return reference.mask_from_positions(q_positions, k_positions) & (mine > 0)[:, None]


@lab.mutant(
    "mask_from_positions",
    "a token of padding sees itself; it must see nothing",
    section=BLIND,
)
def padding_sees_itself(q_positions, k_positions, q_segments=None, k_segments=None):
    mask = reference.mask_from_positions(
        q_positions, k_positions, q_segments, k_segments
    )
    own = torch.eye(mask.shape[-2], mask.shape[-1], dtype=torch.bool)
    return (
        mask | own
        if q_segments is not None and mask.shape[-2] == mask.shape[-1]
        else mask
    )


@lab.mutant(
    "mask_from_positions",
    "the axis of the heads stands first: (1, B, T, S), not (B, 1, T, S)",
)
def head_axis_first(q_positions, k_positions, q_segments=None, k_segments=None):
    return reference.mask_from_positions(
        q_positions, k_positions, q_segments, k_segments
    ).transpose(0, 1)


@lab.mutant(
    "mask_from_positions",
    "the keys of padding count as part of every document",
    section="Padding that is read",
)
def padding_in_every_document(
    q_positions, k_positions, q_segments=None, k_segments=None
):
    mine, other = _segments(q_positions, k_positions, q_segments, k_segments)
    seen = ((mine == other) | (other == 0)) & (mine > 0)
    return reference.mask_from_positions(q_positions, k_positions) & seen[:, None]
