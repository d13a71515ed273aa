"""Mistakes in `mask_from_positions`: which place is compared with which, and what
padding sees.
"""

from __future__ import annotations

import torch

from . import reference
from .checks import BLIND, BROKEN, lab


def _segments(q_positions, k_positions, q_segments, k_segments):
    """(B, 1, T, 1) and (B, 1, 1, S), all ones where there are no segments."""
    q = torch.ones_like(q_positions) if q_segments is None else q_segments
    k = torch.ones_like(k_positions) if k_segments is None else k_segments
    return q[:, None, :, None], k[:, None, None, :]


def _same_segment(*tokens):
    mine, other = _segments(*tokens)
    return mine == other


def _not_later(q_positions, k_positions):
    return k_positions[:, None, None, :] <= q_positions[:, None, :, None]


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
    return later & _same_segment(q_positions, k_positions, q_segments, k_segments)


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
    return earlier & _same_segment(q_positions, k_positions, q_segments, k_segments)


@lab.mutant(
    "mask_from_positions",
    "a query also sees the next position, the answer that it is to predict",
    section="One ahead: a loss that is too good",
)
def one_ahead(q_positions, k_positions, q_segments=None, k_segments=None):
    early = k_positions[:, None, None, :] <= q_positions[:, None, :, None] + 1
    return early & _same_segment(q_positions, k_positions, q_segments, k_segments)


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
    return triangle & _same_segment(q_positions, k_positions, q_segments, k_segments)


@lab.mutant(
    "mask_from_positions",
    "the mask is a triangle over the places in the arrays, moved to the bottom right, "
    "and ignores positions",
    section="More keys than queries",
)
def from_the_bottom_right(q_positions, k_positions, q_segments=None, k_segments=None):
    T, S = q_positions.shape[1], k_positions.shape[1]
    triangle = torch.ones(T, S, dtype=torch.bool).tril(diagonal=S - T)
    return triangle & _same_segment(q_positions, k_positions, q_segments, k_segments)


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
    same = _same_segment(q_positions, k_positions, q_segments, k_segments)
    return same.expand(-1, 1, q_positions.shape[1], k_positions.shape[1])


@lab.mutant(
    "mask_from_positions", "the positions of the first row are used for all rows"
)
def first_row_for_all(q_positions, k_positions, q_segments=None, k_segments=None):
    early = k_positions[:1, None, None, :] <= q_positions[:1, None, :, None]
    return early & _same_segment(q_positions, k_positions, q_segments, k_segments)


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
    "the axis of the heads stands first: (1, B, T, S), not (B, 1, T, S)",
)
def head_axis_first(q_positions, k_positions, q_segments=None, k_segments=None):
    return reference.mask_from_positions(
        q_positions, k_positions, q_segments, k_segments
    ).transpose(0, 1)


# segments


@lab.mutant(
    "mask_from_positions",
    "segments are ignored: documents see one another, and padding is read",
    section="Padding that is read",
)
def segments_ignored(q_positions, k_positions, q_segments=None, k_segments=None):
    return _not_later(q_positions, k_positions)


@lab.mutant(
    "mask_from_positions",
    "documents see one another: segments only tell padding from what is not",
)
def documents_mixed(q_positions, k_positions, q_segments=None, k_segments=None):
    mine, other = _segments(q_positions, k_positions, q_segments, k_segments)
    return _not_later(q_positions, k_positions) & ((mine > 0) == (other > 0))


@lab.mutant(
    "mask_from_positions",
    "segments are compared with <= as positions are: a document sees those before it, "
    "and padding",
)
def earlier_segments_too(q_positions, k_positions, q_segments=None, k_segments=None):
    mine, other = _segments(q_positions, k_positions, q_segments, k_segments)
    return _not_later(q_positions, k_positions) & (other <= mine)


@lab.mutant(
    "mask_from_positions",
    "the rules are joined by or: an earlier position or the same segment is enough",
)
def either_rule(q_positions, k_positions, q_segments=None, k_segments=None):
    early = _not_later(q_positions, k_positions)
    if q_segments is None:
        return early
    return early | _same_segment(q_positions, k_positions, q_segments, k_segments)


@lab.mutant(
    "mask_from_positions",
    "padding sees nothing: its row of scores will be -infinity throughout, and its "
    "softmax 0 / 0",
    section=BLIND,
)
def padding_sees_nothing(q_positions, k_positions, q_segments=None, k_segments=None):
    mine, other = _segments(q_positions, k_positions, q_segments, k_segments)
    return _not_later(q_positions, k_positions) & (mine == other) & (mine > 0)


@lab.mutant(
    "mask_from_positions",
    "a place of padding sees itself and nothing else; padding is a segment like the "
    "others",
    section=BLIND,
)
def padding_sees_itself(q_positions, k_positions, q_segments=None, k_segments=None):
    mine, other = _segments(q_positions, k_positions, q_segments, k_segments)
    T, S = q_positions.shape[1], k_positions.shape[1]
    itself = torch.arange(S) == torch.arange(S - T, S)[:, None]  # the queries come last
    seen = (mine == other) & ((mine > 0) | itself)
    return _not_later(q_positions, k_positions) & seen


@lab.mutant(
    "mask_from_positions",
    "padding sees all padding of its row, later positions too; it is a segment like "
    "the others",
)
def padding_looks_ahead(q_positions, k_positions, q_segments=None, k_segments=None):
    mine, other = _segments(q_positions, k_positions, q_segments, k_segments)
    early = _not_later(q_positions, k_positions) | (mine == 0)
    return early & (mine == other)


@lab.mutant(
    "mask_from_positions",
    "padding sees documents as well: only tokens are held to their segment",
)
def padding_sees_documents(q_positions, k_positions, q_segments=None, k_segments=None):
    mine, other = _segments(q_positions, k_positions, q_segments, k_segments)
    seen = (mine == other) | (mine == 0)
    return _not_later(q_positions, k_positions) & seen


@lab.mutant(
    "mask_from_positions",
    "the keys of padding count as part of every document",
    section="Padding that is read",
)
def padding_in_every_document(
    q_positions, k_positions, q_segments=None, k_segments=None
):
    mine, other = _segments(q_positions, k_positions, q_segments, k_segments)
    seen = (mine == other) | (other == 0)
    return _not_later(q_positions, k_positions) & seen


@lab.mutant(
    "mask_from_positions",
    "only the keys of padding are hidden: documents see one another, and padding not "
    "even itself",
    section=BLIND,
)
def only_padded_keys_hidden(q_positions, k_positions, q_segments=None, k_segments=None):
    _, other = _segments(q_positions, k_positions, q_segments, k_segments)
    return _not_later(q_positions, k_positions) & (other > 0)


@lab.mutant(
    "mask_from_positions",
    "only the queries of padding are blind: documents see one another and padding",
    section="Padding that is read",
)
def only_padded_queries_blind(
    q_positions, k_positions, q_segments=None, k_segments=None
):
    mine, _ = _segments(q_positions, k_positions, q_segments, k_segments)
    return _not_later(q_positions, k_positions) & (mine > 0)
